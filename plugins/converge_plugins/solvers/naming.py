"""Names in messages: a few of them, in order, so that a message stays a sentence. Of none it is empty."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

NAMED = 5


def few(names: Iterable[str]) -> str:
    """Return the first few names."""
    return ", ".join(sorted(set(names))[:NAMED])


def repeated(names: Iterable[str]) -> str:
    """Return the first few names that are there more than once."""
    return few(name for name, times in Counter(names).items() if times > 1)


def miscounted(wanted: Iterable[str], found: Iterable[str]) -> str:
    """Return the first few names that are missing, strange, or there too often."""
    due, there = Counter(wanted), Counter(found)
    return few((due - there) + (there - due))
