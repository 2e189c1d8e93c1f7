"""Governance: who may do what with which data, who can, what was done, and what is believed; as values and functions.

None of it reads a clock: the time is an argument, in milliseconds of one clock of the caller's. None of it changes: a
gate, a field or a belief that learns something returns the next one.
"""
