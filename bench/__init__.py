"""The benchmark: `make bench`. Never part of the tests, which count work instead of timing it."""
