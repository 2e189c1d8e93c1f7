"""Recall: what past runs have to say to this one, found by its words, rationed by a policy, and proposed, not known."""
