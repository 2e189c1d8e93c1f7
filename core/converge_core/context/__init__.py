"""The context: keys, payloads, proposals and facts, and the read-only view that suggestors are given."""
