"""Experience out of any ledger: runs are read one after the other, and only the records asked for are made.

Time is what the store recorded beside each entry, read as an instant: ``12:00+02:00`` is ``10:00Z``. Runs are told
apart by their first entry, so those of other tenants are never read any further. A query costs the reading of every
run that it may see, and the parsing of those that it finds something in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from heapq import heappush, heappushpop

from converge_core.errors import LedgerCorrupt, UnknownRun
from converge_core.experience.query import ExperienceQuery
from converge_core.experience.records import ExperienceRecord, RunExperience, labels_of
from converge_core.ports import Ledger, RunInfo

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_Place = tuple[int, int, int]
"""When, in which run (by creation), at which entry: what records are ordered by."""


def instant(text: str) -> int:
    """Return a moment, in ISO 8601, as microseconds since 1970 in UTC. Raises ValueError without an offset from UTC."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} is no instant: it has no offset from UTC")
    return (moment - _EPOCH) // timedelta(microseconds=1)


class LedgerExperience:
    """Implements the port `ExperienceStore`. What was recorded in the same moment is told run by run, in its order."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def query(self, query: ExperienceQuery) -> Sequence[ExperienceRecord]:
        infos = await self._ledger.runs()
        if query.run is not None and all(info.run_id != query.run for info in infos):
            raise UnknownRun(query.run)
        newest: list[tuple[_Place, RunExperience]] = []
        for order, info in enumerate(infos):
            if _may_see(info, query):
                run = RunExperience(info.run_id, await self._ledger.read(info.run_id))
                for at, sequence in _found(run, query):
                    found = (at, order, sequence), run
                    if query.limit is None or len(newest) < query.limit:
                        heappush(newest, found)
                    else:
                        heappushpop(newest, found)
        return tuple(run.record(sequence) for (_, _, sequence), run in sorted(newest, key=lambda found: found[0]))


def _may_see(info: RunInfo, query: ExperienceQuery) -> bool:
    return info.first is not None and query.admits(info.run_id, labels_of(info.run_id, info.first))


def _found(run: RunExperience, query: ExperienceQuery) -> Iterator[tuple[int, int]]:
    """Yield time and place of the entries of a run that a query asks for."""
    for sequence, entry in enumerate(run.stored):
        try:
            at = instant(entry.recorded_at)
        except ValueError as error:
            raise LedgerCorrupt(run.run_id, sequence, "the time when it was recorded", str(error)) from error
        if at in query.time and query.wants(entry.kind, run.kind(sequence)):
            yield at, sequence
