"""Policies and suggestors: pure like the core, registered through pluggy."""
