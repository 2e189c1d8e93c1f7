"""Intents: what a run is for, what it may speak of, and how its success is judged."""
