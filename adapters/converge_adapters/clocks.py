"""The clocks of the machine, in milliseconds: the time of day, and one that only ever goes on."""

from __future__ import annotations

import time


def wall_clock_ms() -> int:
    """Return the time of day: milliseconds since 1970, in UTC. It is the same for all processes of a machine."""
    return time.time_ns() // 1_000_000


def monotonic_ms() -> int:
    """Return milliseconds since whenever: they never decrease, and mean nothing to another process."""
    return time.monotonic_ns() // 1_000_000
