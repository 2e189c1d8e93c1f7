"""The composition root: the command `converge`, one module a subcommand."""
