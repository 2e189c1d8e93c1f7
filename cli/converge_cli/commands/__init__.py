"""The commands of ``converge``, one module each; a module's ``command`` is the click command."""
