"""The engine: one machine, one loop, and the driver that feeds it."""
