"""Everything that touches the world: files, ledgers, executors, models, telemetry."""
