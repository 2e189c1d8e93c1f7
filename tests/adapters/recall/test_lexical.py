"""Recall by words: the port's promises, how words are found and weighed, and which runs are past."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_adapters.ledgers.memory import MemoryLedger
from converge_adapters.recall.index import RecallIndex
from converge_adapters.recall.lexical import MAX_WORDS, MOST, LexicalRecall, index_path
from converge_adapters.testing.ledgers import raised
from converge_adapters.testing.recall import RecallConformance
from converge_adapters.testing.runs import minute_ledger, remember
from converge_core import (
    AuthorityError,
    Engine,
    Entry,
    HitlPolicy,
    LedgerCorrupt,
    MerkleLog,
    MisuseError,
    RecallQuery,
    StoredEntry,
    UnknownRun,
    drive,
    replay,
)
from converge_core.ledger.hashes import MerkleRoot
from converge_core.ledger.merkle import Head
from converge_core.ports import Ledger
from converge_core.recall.answers import RecallAnswer
from converge_core.recall.payloads import ReplayabilityDowngradeReason
from converge_core.recall.policy import RecallBudgets
from tests.core.recall.found import memory
from tests.core.stage import SEEDS, seeded

NOT_PINNED = ReplayabilityDowngradeReason.RECALL_CORPUS_NOT_PINNED
LATIN = st.characters(min_codepoint=0x41, max_codepoint=0x17F, categories=["L", "N"])
WORDS = st.lists(st.text(LATIN, min_size=1, max_size=8), min_size=1, max_size=6)


class TestLexicalRecallInMemory(RecallConformance):
    async def make_recall(self, tmp_path: Path, ledger: Ledger, tenant: str | None) -> LexicalRecall:
        return LexicalRecall(lambda: ledger, None, tenant)


class TestLexicalRecallInFiles(RecallConformance):
    async def make_recall(self, tmp_path: Path, ledger: Ledger, tenant: str | None) -> LexicalRecall:
        return LexicalRecall(lambda: ledger, index_path(tmp_path / "ledger.db", tenant), tenant)


class Spied(MemoryLedger):
    """Remembers which runs were read, and whether it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[str] = []
        self.closed = 0

    async def read(self, run_id: str, start: int = 0) -> tuple[StoredEntry, ...]:
        self.reads.append(run_id)
        return tuple(await super().read(run_id, start))

    async def close(self) -> None:
        self.closed += 1


def over(ledger: Ledger, heads: Mapping[str, Head] | None = None, tenant: str | None = None) -> LexicalRecall:
    return LexicalRecall(lambda: ledger, None, tenant, heads)


async def ask(recall: LexicalRecall, text: str) -> RecallAnswer:
    await recall.refresh()
    return await recall.search(RecallQuery(text, tenant=recall.tenant), RecallBudgets())


def asked(text: str, *texts: str) -> RecallAnswer:
    """Recall from one run that began with these texts."""

    async def run() -> RecallAnswer:
        ledger = minute_ledger()
        await remember(ledger, "past", *texts)
        return await ask(over(ledger), text)

    return anyio.run(run)


def scores(text: str, *texts: str) -> dict[str | None, float]:
    """What every text that was found was worth, by what it is about."""
    return {one.memory.subject: one.final_score for one in asked(text, *texts).candidates}


# --- words ------------------------------------------------------------------------------------------------------------


def test_a_memory_with_every_word_has_the_best_score_whatever_else_it_says() -> None:
    assert scores("late fee", "a fee that came too late, among others", "a fee")["seeds/s1"] == 1.0


def test_a_score_is_the_share_of_the_words_weighed_by_their_rarity() -> None:
    def weight(n: int) -> float:
        return math.log1p((3 - n + 0.5) / (n + 0.5))

    found = scores("late fee", "late fee", "fee", "chairs")
    assert found == {"seeds/s1": 1.0, "seeds/s2": round(weight(2) / (weight(1) + weight(2)), 6)}


def test_a_word_that_nobody_has_used_is_missing_from_everything() -> None:
    assert scores("fee zeppelin", "fee", "chairs")["seeds/s1"] == 0.5


def test_what_has_none_of_the_words_is_not_found() -> None:
    assert set(scores("fee", "a fee", "chairs")) == {"seeds/s1"}


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("FEES", "a fee"),
        ("refunding", "refunded"),
        ("Žluť", "zlut"),
        ("zlut", "žluť"),
        ("e\u0301tude", "étude"),
        ("étude", "e\u0301tude"),
        ("İstanbul", "İstanbul"),
        ("x\u0302y", "x\u0302y"),
        ("invoice_no", "invoice no"),
        ("漢字", "漢字"),
    ],
)
def test_words_are_found_whatever_their_case_their_accents_and_their_endings(query: str, text: str) -> None:
    assert scores(query, text, "chairs") == {"seeds/s1": 1.0}


@given(WORDS)
def test_whatever_a_memory_says_is_found_by_its_words(words: list[str]) -> None:
    index = RecallIndex(None, None)
    recall = over(MemoryLedger())
    recall._index = index  # without a ledger
    told = memory(" ".join(words))
    index.replace((), {"past": ("1:aa", "now", [told, memory("something else", 1)])})
    answer = anyio.run(recall.search, RecallQuery(" ".join(reversed(words))), RecallBudgets())
    assert answer.candidates[0].memory == told
    assert answer.candidates[0].final_score == 1.0


def test_a_word_counts_once_however_often_it_is_asked_for() -> None:
    assert scores("fee fee Fee chairs", "fee", "chairs") == scores("fee chairs", "fee", "chairs")


def test_only_the_first_words_of_a_long_query_are_looked_up() -> None:
    words = [f"w{number}" for number in range(MAX_WORDS)]
    assert scores(" ".join([*words, "fee"]), "fee") == {}
    assert set(scores(" ".join([*words[1:], "fee"]), "fee")) == {"seeds/s1"}


def test_a_text_is_found_by_what_it_is_about_too() -> None:
    assert set(scores("s2", "fee", "chairs")) == {"seeds/s2"}


def test_of_equal_shares_the_one_with_the_greater_bm25_comes_first() -> None:
    others = ["chairs", "tables", "lamps", "desks"]
    told = asked("fee", "a fee among very many other things that nobody asked about", "fee", *others).candidates
    assert [one.memory.subject for one in told] == ["seeds/s2", "seeds/s1"]
    assert told[0].raw_score > told[1].raw_score


def test_of_equals_the_newest_comes_first() -> None:
    async def run() -> list[str]:
        ledger = minute_ledger()
        for run_id in ("one", "two", "three"):
            await remember(ledger, run_id, "a fee")
        return [one.memory.run_id for one in (await ask(over(ledger), "fee")).candidates]

    assert anyio.run(run) == ["three", "two", "one"]


def test_an_answer_has_no_more_than_so_many_and_they_are_the_best_and_newest() -> None:
    async def run() -> RecallAnswer:
        ledger = minute_ledger()
        await remember(ledger, "old", *["a fee"] * 40)
        await remember(ledger, "new", *["a fee"] * MOST)
        return await ask(over(ledger), "fee")

    answer = anyio.run(run)
    assert answer.searched == 40 + MOST
    assert [one.memory.run_id for one in answer.candidates] == ["new"] * MOST


# --- which runs are past ----------------------------------------------------------------------------------------------


def refreshed(check: Callable[[Spied, LexicalRecall], Awaitable[None]]) -> None:
    """Check something on a ledger with one run, of which the recall knows."""

    async def run() -> None:
        ledger = Spied()
        await remember(ledger, "one", "a fee")
        recall = over(ledger)
        await recall.refresh()
        ledger.reads.clear()
        await check(ledger, recall)

    anyio.run(run)


def test_a_run_that_is_known_is_not_read_again() -> None:
    async def check(ledger: Spied, recall: LexicalRecall) -> None:
        await remember(ledger, "two", "a fee")
        ledger.reads.clear()
        assert (await ask(recall, "fee")).searched == 2
        assert ledger.reads == ["two"]
        await recall.refresh()
        assert ledger.reads == ["two"]

    refreshed(check)


def test_the_ledger_is_closed_after_every_look() -> None:
    async def check(ledger: Spied, recall: LexicalRecall) -> None:
        before = ledger.closed
        await recall.refresh()
        assert ledger.closed == before + 1

    refreshed(check)


def test_a_run_that_waits_is_no_past() -> None:
    async def run() -> int:
        ledger = MemoryLedger()
        waiting = Engine(hitl_policy=HitlPolicy(gated_keys=(SEEDS,))).begin(seeded("s"), run_id="waits")
        await ledger.create_run("waits")
        await drive(waiting, ledger=ledger)
        return (await ask(over(ledger), "s")).searched

    assert anyio.run(run) == 0


def test_a_run_that_goes_on_is_no_past_until_it_stops_again() -> None:
    async def check(ledger: Spied, recall: LexicalRecall) -> None:
        engine, stored = Engine(), await ledger.read("one")
        again = replay(engine, [*map(_entry, stored)])
        again.reopen()
        head = await ledger.append("one", len(stored), again.drain())
        assert (await ask(recall, "fee")).searched == 0
        await drive(again, ledger=ledger, size=head.size)
        assert (await ask(recall, "fee")).searched == 1

    refreshed(check)


def _entry(stored: StoredEntry) -> Entry:
    return Entry(stored.kind, stored.body, stored.leaf)


def test_a_run_that_is_gone_is_forgotten() -> None:
    async def run() -> RecallAnswer:
        index = RecallIndex(None, None)
        recall = over(MemoryLedger())
        recall._index = index  # which knows of a run that the ledger has not
        index.replace((), {"gone": ("1:aa", "then", [memory("a fee", run_id="gone")])})
        return await ask(recall, "fee")

    assert anyio.run(run).searched == 0


def test_a_run_that_was_created_and_never_begun_is_no_past() -> None:
    async def run() -> int:
        ledger = MemoryLedger()
        await ledger.create_run("empty")
        return (await ask(over(ledger), "fee")).searched

    assert anyio.run(run) == 0


def test_a_past_that_was_changed_is_found_before_it_is_recalled() -> None:
    class Forged(Spied):
        async def read(self, run_id: str, start: int = 0) -> tuple[StoredEntry, ...]:
            stored = await super().read(run_id, start)
            return tuple(replace_body(entry) for entry in stored)

    async def run() -> None:
        ledger = Forged()
        await remember(ledger, "one", "a fee")
        assert (await raised(LedgerCorrupt, over(ledger).refresh())).run_id == "one"
        assert ledger.closed

    anyio.run(run)


def replace_body(entry: StoredEntry) -> StoredEntry:
    return entry._replace(body=entry.body.replace("a fee", "a gift"))


# --- runs that are pinned ---------------------------------------------------------------------------------------------


def test_a_past_that_grows_takes_from_replayability_and_one_that_is_pinned_does_not() -> None:
    assert over(MemoryLedger()).downgrades == (NOT_PINNED,)
    assert over(MemoryLedger()).within({}).downgrades == ()


def test_a_pinned_run_is_as_it_was_at_its_head_though_it_went_on() -> None:
    async def check(ledger: Spied, recall: LexicalRecall) -> None:
        stored, head = await ledger.read("one"), await ledger.head("one")
        before = await ask(recall.within({"one": head}), "fee")
        again = replay(Engine(), [*map(_entry, stored)])
        again.reopen()
        await ledger.append("one", len(stored), again.drain())
        await drive(again, ledger=ledger, size=(await ledger.head("one")).size)
        assert (await ledger.head("one")).size > head.size
        assert await ask(recall.within({"one": head}), "fee") == before

    refreshed(check)


def test_a_pinned_run_is_not_kept_in_the_index_of_all() -> None:
    async def check(ledger: Spied, recall: LexicalRecall) -> None:
        await remember(ledger, "two", "a fee")
        await recall.within({"two": await ledger.head("two")}).refresh()
        assert recall._index.runs().keys() == {"one"}  # what it knows of

    refreshed(check)


def test_a_run_that_is_pinned_and_not_there_is_named() -> None:
    async def check(ledger: Spied, recall: LexicalRecall) -> None:
        head = await ledger.head("one")
        assert (await raised(UnknownRun, recall.within({"two": head}).refresh())).run_id == "two"

    refreshed(check)


def test_a_run_that_is_pinned_at_a_head_it_never_had_is_refused() -> None:
    async def check(ledger: Spied, recall: LexicalRecall) -> None:
        head = Head((await ledger.head("one")).size, MerkleRoot(bytes(32)))
        await raised(LedgerCorrupt, recall.within({"one": head}).refresh())

    refreshed(check)


def test_a_run_that_is_pinned_before_it_had_stopped_is_refused() -> None:
    async def check(ledger: Spied, recall: LexicalRecall) -> None:
        stored = await ledger.read("one")
        early = MerkleLog(entry.leaf for entry in stored[:2]).head
        error = await raised(MisuseError, recall.within({"one": early}).refresh())
        assert str(error) == f"run 'one' had not stopped at {early}: only what is over is recalled"

    refreshed(check)


def test_the_run_of_another_tenant_cannot_be_pinned() -> None:
    async def run() -> None:
        ledger = MemoryLedger()
        head = await remember(ledger, "theirs", "a fee", labels={"tenant": "other"})
        for tenant in ("acme", None):
            await raised(AuthorityError, over(ledger, {"theirs": head}, tenant).refresh())

    anyio.run(run)


# --- where the index is -----------------------------------------------------------------------------------------------


def test_the_index_is_beside_the_ledger_and_tells_nobody_whose_it_is() -> None:
    ledger = Path("/data/ledger.db")
    assert index_path(ledger, None) == Path("/data/ledger.db.recall")
    theirs = index_path(ledger, "acme")
    assert theirs.parent == ledger.parent
    assert "acme" not in theirs.name


@given(st.lists(st.text(min_size=1, max_size=300), min_size=2, max_size=5, unique=True))
def test_no_two_tenants_share_an_index(tenants: list[str]) -> None:
    paths = {index_path(Path("ledger.db"), tenant) for tenant in tenants}
    assert len(paths | {index_path(Path("ledger.db"), None)}) == len(tenants) + 1
    assert all(len(path.name) < 100 for path in paths)
