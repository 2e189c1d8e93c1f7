"""Clocks for tests: time passes when a clock is looked at, and not otherwise."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count


def stopped() -> float:
    """A clock on which no time passes."""
    return 0.0


def looks(enough_for: int) -> Callable[[], float]:
    """A clock by which a limit of one second is used up after so many looks at what is left."""
    ticks = count()
    return lambda: 0.0 if next(ticks) <= enough_for else 1.0
