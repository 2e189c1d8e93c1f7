"""What earlier runs have concluded, read out of their ledger: the newest fact of one family.

Runs are looked at from the newest to the oldest, and only one that has the family's name in it anywhere is read as a
history, so that finding nothing costs the reading of the runs and little more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from converge_adapters.ledgers import NoLedger
from converge_core.experience.query import TENANT
from converge_core.experience.records import RunExperience, labels_of
from converge_core.ledger.canonical import JsonValue, quote
from converge_core.ledger.events import FactPromoted
from converge_core.ledger.verify import verify
from converge_core.ports import Ledger, StoredEntry
from converge_core.repository import PastReceipt


class LedgerReceipts:
    """Implements the port `Receipts` over a ledger, which is opened for each question and closed after it."""

    def __init__(self, open_ledger: Callable[[], Ledger], tenant: str | None = None) -> None:
        self._open_ledger, self._tenant = open_ledger, tenant

    async def newest(self, family: str, matching: Mapping[str, JsonValue]) -> PastReceipt | None:
        try:
            ledger = self._open_ledger()
        except NoLedger:
            return None
        try:
            oldest_first = sorted(await ledger.runs(), key=lambda info: info.updated_at)
            for info in reversed(oldest_first):
                if info.first is None or labels_of(info.run_id, info.first).get(TENANT) != self._tenant:
                    continue
                stored = await ledger.read(info.run_id)
                if (found := _newest_of(info.run_id, stored, family, matching)) is not None:
                    return found
            return None
        finally:
            await ledger.close()


def _newest_of(
    run_id: str, stored: Sequence[StoredEntry], family: str, matching: Mapping[str, JsonValue]
) -> PastReceipt | None:
    name = f'"family":{quote(family)}'
    if not any(name in entry.body for entry in stored):
        return None
    verify(run_id, stored)  # what is built on must be what was written
    run = RunExperience(run_id, stored)
    for entry in reversed(stored):
        if entry.kind != FactPromoted.kind:
            continue
        content = run.record(entry.sequence).content or {}
        body = content.get("body")
        if content.get("family") != family or not isinstance(body, Mapping):
            continue
        if all(body.get(field) == value for field, value in matching.items()):
            return PastReceipt(run_id, entry.leaf.hex(), body)
    return None
