"""A ledger in memory, for embedding and for tests: the whole contract of the port but that it lasts.

What only a reader wants, roots and the texts of moments, is made for the reader.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from converge_adapters.ledgers.wall_clock import Now, timestamp, utc_now
from converge_core.errors import LedgerConflict, UnknownRun
from converge_core.ledger.events import Entry
from converge_core.ledger.hashes import MerkleRoot
from converge_core.ledger.merkle import Head, MerkleLog
from converge_core.ports import RunInfo, StoredEntry


class _Append(NamedTuple):
    """How many entries there were after an append, and when it was."""

    size: int
    moment: datetime


@dataclass(slots=True)
class _Run:
    created: datetime
    entries: list[Entry] = field(default_factory=list)
    appends: list[_Append] = field(default_factory=list)
    log: MerkleLog = field(default_factory=MerkleLog)
    effects: dict[int, dict[str, str]] = field(default_factory=dict)
    shown: MerkleLog = field(default_factory=MerkleLog)
    roots: list[MerkleRoot] = field(default_factory=list)
    """The roots after the appends that somebody has read, and the log up to there (``shown``)."""

    def stored(self, start: int) -> Iterator[StoredEntry]:
        """Yield the entries from ``start`` on as a store holds them."""
        for size, _ in self.appends[len(self.roots) :]:
            self.shown.extend([entry.leaf for entry in self.entries[self.shown.size : size]])
            self.roots.append(self.shown.root())
        first = bisect_right(self.appends, start, key=lambda append: append.size)
        for (size, moment), root in zip(self.appends[first:], self.roots[first:], strict=True):
            recorded_at = timestamp(moment)
            for sequence in range(start, size):
                after = root if sequence == size - 1 else None
                yield StoredEntry(sequence, *self.entries[sequence], after, recorded_at)
            start = size


class MemoryLedger:
    """Implements the port `Ledger`. What it holds is gone with it."""

    def __init__(self, *, now: Now = utc_now) -> None:
        self._now = now
        self._runs: dict[str, _Run] = {}

    async def create_run(self, run_id: str) -> None:
        if run_id in self._runs:
            raise LedgerConflict(run_id, 0, len(self._runs[run_id].entries))
        self._runs[run_id] = _Run(self._now())

    async def append(self, run_id: str, expected_size: int, entries: Sequence[Entry]) -> Head:
        run = self._run(run_id)
        if len(run.entries) != expected_size:
            raise LedgerConflict(run_id, expected_size, len(run.entries))
        run.log.extend([entry.leaf for entry in entries])  # a leaf that is refused leaves the run as it was
        if entries:
            run.entries += entries
            run.appends.append(_Append(len(run.entries), self._now()))
        return run.log.head

    async def read(self, run_id: str, start: int = 0) -> Sequence[StoredEntry]:
        return tuple(self._run(run_id).stored(start))

    async def runs(self) -> Sequence[RunInfo]:
        infos = [_info(run_id, run) for run_id, run in self._runs.items()]
        return tuple(sorted(infos, key=lambda info: (info.created_at, info.run_id)))

    async def head(self, run_id: str) -> Head:
        return self._run(run_id).log.head

    async def record_effect(self, run_id: str, cycle: int, suggestor: str, body: str) -> None:
        """Keep the outcome of a finished call. The first one recorded for a call stays. Raises UnknownRun."""
        self._run(run_id).effects.setdefault(cycle, {}).setdefault(suggestor, body)

    async def recorded_effects(self, run_id: str, cycle: int) -> Mapping[str, str]:
        return dict(self._run(run_id).effects.get(cycle, {}))

    async def close(self) -> None:
        """Nothing is held that would need to be released."""

    def _run(self, run_id: str) -> _Run:
        try:
            return self._runs[run_id]
        except KeyError:
            raise UnknownRun(run_id) from None


def _info(run_id: str, run: _Run) -> RunInfo:
    created_at, size = timestamp(run.created), len(run.entries)
    if not size:
        return RunInfo(run_id, 0, created_at, created_at, None, None)
    first, last = next(run.stored(0)), next(run.stored(size - 1))
    return RunInfo(run_id, size, created_at, last.recorded_at, first, last)
