"""Recall: by words, with SQLite's full-text index over the ledger, and by vectors that somebody else has made."""
