"""A ledger in memory, for embedding and for tests: the whole contract of the port but that it lasts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from converge_adapters.ledgers.wall_clock import Now, timestamp, utc_now
from converge_core.errors import LedgerConflict, UnknownRun
from converge_core.ledger.events import Entry
from converge_core.ledger.merkle import Head, MerkleLog
from converge_core.ports import RunInfo, StoredEntry


@dataclass(slots=True)
class _Run:
    created_at: str
    entries: list[StoredEntry] = field(default_factory=list)
    log: MerkleLog = field(default_factory=MerkleLog)
    effects: dict[int, dict[str, str]] = field(default_factory=dict)


class MemoryLedger:
    """Implements the port `Ledger`. What it holds is gone with it."""

    def __init__(self, *, now: Now = utc_now) -> None:
        self._now = now
        self._runs: dict[str, _Run] = {}

    async def create_run(self, run_id: str) -> None:
        if run_id in self._runs:
            raise LedgerConflict(run_id, 0, len(self._runs[run_id].entries))
        self._runs[run_id] = _Run(timestamp(self._now()))

    async def append(self, run_id: str, expected_size: int, entries: Sequence[Entry]) -> Head:
        run = self._run(run_id)
        if len(run.entries) != expected_size:
            raise LedgerConflict(run_id, expected_size, len(run.entries))
        log = run.log.copy()  # a leaf that is refused leaves the run as it was
        for entry in entries:
            log.append(entry.leaf)
        recorded_at, head = timestamp(self._now()), log.head
        run.entries += [
            StoredEntry(sequence, *entry, head.root if sequence == head.size - 1 else None, recorded_at)
            for sequence, entry in enumerate(entries, expected_size)
        ]
        run.log = log
        return head

    async def read(self, run_id: str, start: int = 0) -> Sequence[StoredEntry]:
        return tuple(self._run(run_id).entries[start:])

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
    first, last = (run.entries[0], run.entries[-1]) if run.entries else (None, None)
    updated_at = last.recorded_at if last else run.created_at
    return RunInfo(run_id, len(run.entries), run.created_at, updated_at, first, last)
