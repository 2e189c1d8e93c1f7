"""A ledger in a dictionary: the port's promises and nothing more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from converge_core import Entry, Head, LedgerConflict, MerkleLog, RunInfo, StoredEntry, UnknownRun

EPOCH = "1970-01-01T00:00:00Z"


class FakeLedger:
    """Keeps runs in memory. All time is the epoch."""

    def __init__(self) -> None:
        self._runs: dict[str, list[StoredEntry]] = {}
        self._journal: dict[tuple[str, int], dict[str, str]] = {}
        self.closed = False

    async def create_run(self, run_id: str) -> None:
        if run_id in self._runs:
            raise LedgerConflict(run_id, 0, len(self._runs[run_id]))
        self._runs[run_id] = []

    async def append(self, run_id: str, expected_size: int, entries: Sequence[Entry]) -> Head:
        stored = self._stored(run_id)
        if len(stored) != expected_size:
            raise LedgerConflict(run_id, expected_size, len(stored))
        log = MerkleLog([entry.leaf for entry in stored])
        for entry in entries:
            log.append(entry.leaf)
            stored.append(StoredEntry(len(stored), entry.kind, entry.body, entry.leaf, None, EPOCH))
        if entries:
            stored[-1] = stored[-1]._replace(root=log.root())
        return log.head

    async def read(self, run_id: str, start: int = 0) -> Sequence[StoredEntry]:
        return tuple(self._stored(run_id)[start:])

    async def runs(self) -> Sequence[RunInfo]:
        return [
            RunInfo(run_id, len(stored), EPOCH, EPOCH, stored[0] if stored else None, stored[-1] if stored else None)
            for run_id, stored in self._runs.items()
        ]

    async def head(self, run_id: str) -> Head:
        return MerkleLog(entry.leaf for entry in self._stored(run_id)).head

    async def record_effect(self, run_id: str, cycle: int, suggestor: str, body: str) -> None:
        self._journal.setdefault((run_id, cycle), {})[suggestor] = body

    async def recorded_effects(self, run_id: str, cycle: int) -> Mapping[str, str]:
        return dict(self._journal.get((run_id, cycle), {}))

    async def close(self) -> None:
        self.closed = True

    def _stored(self, run_id: str) -> list[StoredEntry]:
        if run_id not in self._runs:
            raise UnknownRun(run_id)
        return self._runs[run_id]
