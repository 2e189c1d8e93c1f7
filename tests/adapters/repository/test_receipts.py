"""What earlier runs have concluded, found in a ledger that real runs have written."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from converge_adapters.ledgers import NoLedger, open_ledger
from converge_adapters.repository.receipts import LedgerReceipts
from converge_core import ContextKey, ContextState, Engine, FactPayload, Ledger, LedgerCorrupt, ProposedFact, drive
from converge_core.ledger.merkle import leaf_hash
from converge_core.ports import StoredEntry

pytestmark = pytest.mark.anyio


class Note(FactPayload):
    family: ClassVar[str] = "test.note"
    about: str
    text: str


async def run(ledger: Ledger, run_id: str, *notes: Note, tenant: str | None = None) -> list[str]:
    """Run an engine that takes these notes in; return the hashes of the facts."""
    context = ContextState()
    for number, note in enumerate(notes):
        context.add_proposal(ProposedFact(ContextKey.SEEDS, f"n{number}", note))
    engine = Engine()
    engine.payloads.register(Note)
    machine = engine.begin(context, run_id=run_id, labels=None if tenant is None else {"tenant": tenant})
    await ledger.create_run(run_id)
    result = await drive(machine, ledger=ledger)
    return [fact.hash.hex() for fact in result.context.get(Note)]


class Kept:
    """A ledger that stays open, so that what is in memory outlives a question."""

    def __init__(self) -> None:
        self.ledger = open_ledger("memory:")
        self.ledger.close = self._stay  # type: ignore[method-assign]

    async def _stay(self) -> None:
        pass

    def __call__(self) -> Ledger:
        return self.ledger


async def test_without_a_ledger_there_is_no_receipt(tmp_path: Path) -> None:
    def missing() -> Ledger:
        raise NoLedger("x")

    assert await LedgerReceipts(missing).newest("test.note", {}) is None


async def test_the_newest_of_the_family_that_matches_is_found_with_its_hash() -> None:
    kept = Kept()
    await run(kept.ledger, "one", Note(about="a", text="old"))
    hashes = await run(kept.ledger, "two", Note(about="a", text="new"), Note(about="b", text="other"))
    await run(kept.ledger, "three")

    found = await LedgerReceipts(kept).newest("test.note", {"about": "a"})

    assert found is not None
    assert (found.run_id, found.hash, found.body["text"]) == ("two", hashes[0], "new")
    assert await LedgerReceipts(kept).newest("test.note", {"about": "c"}) is None
    assert await LedgerReceipts(kept).newest("test.other", {}) is None


async def test_runs_of_other_tenants_are_not_looked_into() -> None:
    kept = Kept()
    await run(kept.ledger, "mine", Note(about="a", text="mine"), tenant="me")
    await run(kept.ledger, "theirs", Note(about="a", text="theirs"), tenant="them")

    mine = await LedgerReceipts(kept, "me").newest("test.note", {})

    assert mine is not None
    assert mine.body["text"] == "mine"
    assert await LedgerReceipts(kept).newest("test.note", {}) is None


@pytest.mark.parametrize(("place", "old", "new"), [(1, "old", "odd"), (-1, '"cycles":1', '"cycles":2')])
async def test_x20_a_receipt_in_a_run_that_is_corrupt_is_an_error(
    monkeypatch: pytest.MonkeyPatch, place: int, old: str, new: str
) -> None:
    kept = Kept()
    await run(kept.ledger, "one", Note(about="a", text="old"))
    stored = [*await kept.ledger.read("one")]
    body = stored[place].body.replace(old, new)
    assert body != stored[place].body
    stored[place] = stored[place]._replace(body=body, leaf=leaf_hash(body.encode()))

    async def tampered(run_id: str, start: int = 0) -> list[StoredEntry]:
        return stored

    monkeypatch.setattr(kept.ledger, "read", tampered)

    with pytest.raises(LedgerCorrupt):
        await LedgerReceipts(kept).newest("test.note", {})
