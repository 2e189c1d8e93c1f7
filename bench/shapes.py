"""What every system is given: the same facts and the same shapes of work.

A fact is about 300 bytes of canonical JSON with a text of its own. This module and `bench.worker` need nothing but the
standard library, since they are also loaded by the python of the peers.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from time import perf_counter
from typing import Any

FILLER = "x" * 180

Fact = dict[str, Any]


def text(name: str) -> str:
    """Return the text of a fact; nobody else's is the same."""
    return f"{name} {FILLER}"


def fact(name: str, topic: int) -> Fact:
    """Return a fact as a system without facts of its own keeps it: 300 bytes of JSON."""
    return {
        "evidence": [],
        "id": name,
        "key": "Hypotheses",
        "payload": {"family": f"bench.{topic}", "text": text(name), "version": 1},
        "provenance": "bench",
    }


def facts(count: int) -> list[Fact]:
    """Return facts that nobody waits for."""
    return [fact(f"old{number}", 4_000_000) for number in range(count)]


def lanes(active: int, cycles: int) -> Iterator[list[int]]:
    """Yield the suggestors of each lane of W3, in the order in which they wake each other."""
    for lane in range(active):
        yield [cycle * active + lane for cycle in range(cycles)]


class Laps:
    """The moments at which steps began: what lies between the first and the last is timed, and no set-up with it."""

    def __init__(self) -> None:
        self._moments: list[float] = []

    def mark(self) -> None:
        """Note that a step begins now. Garbage of what came before the first is collected first, as for all others."""
        if not self._moments:
            gc.collect()
        self._moments.append(perf_counter())

    def take(self, skip: int = 0) -> dict[str, float]:
        """Return the seconds from the first step to the last, and how many there were in between; then forget them.

        The first ``skip`` steps do not count: they may still be clearing up what loading has left.
        """
        moments, self._moments = self._moments[skip:], []
        return {"seconds": moments[-1] - moments[0], "units": len(moments) - 1}
