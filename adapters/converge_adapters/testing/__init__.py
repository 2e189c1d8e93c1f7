"""The test kit for those who write adapters of their own: what every ledger must do, as test classes to inherit."""
