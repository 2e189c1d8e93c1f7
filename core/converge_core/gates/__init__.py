"""The gates: what a proposal has to pass on its way to becoming a fact, and why a run stops."""
