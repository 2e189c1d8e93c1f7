"""What is remembered while a process lives, so that nothing is done twice on the same inputs; all of it bounded."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from converge_plugins.repo_loop.phase import Finding
    from converge_plugins.repo_loop.survey import Survey

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MAX_FINDINGS = 256
MAX_SURVEYS = 2


class Bounded(Generic[K, V]):
    """At most ``bound`` values by key; the least recently used is forgotten first, and counted in ``evictions``."""

    def __init__(self, bound: int) -> None:
        self._bound, self._kept = bound, OrderedDict[K, V]()
        self.evictions = 0

    def __len__(self) -> int:
        return len(self._kept)

    def recall(self, key: K) -> V | None:
        """Return a value, which counts as used, or None."""
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def keep(self, key: K, value: V) -> None:
        """Remember a value."""
        self._kept[key] = value
        self._kept.move_to_end(key)
        if len(self._kept) > self._bound:
            self._kept.popitem(last=False)
            self.evictions += 1


@dataclass(frozen=True)
class Memory:
    """What the phases of a process share: what they have found, and how the repository was.

    A finding is remembered by run, phase and fingerprint, a survey by the root of the repository and its digest. All
    phases share one bound, those too that somebody adds to the table.
    """

    findings: Bounded[tuple[str, str, str], Finding] = field(default_factory=lambda: Bounded(MAX_FINDINGS))
    surveys: Bounded[tuple[str, str], Survey] = field(default_factory=lambda: Bounded(MAX_SURVEYS))
