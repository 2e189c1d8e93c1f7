"""What every recall must do. One of a third party proves itself with a few lines:

    from converge_adapters.testing.recall import RecallConformance

    class TestMyRecall(RecallConformance):
        async def make_recall(self, tmp_path, ledger, tenant):
            return MyRecall(ledger, tenant)

Each test records some runs, recalls from them, and checks one promise of the port `converge_core.ports.Recall`.
"""

# ruff: noqa: S101 (these are tests, if on their way to others)

from __future__ import annotations

from pathlib import Path

from converge_adapters.testing.ledgers import raised
from converge_adapters.testing.runs import minute_ledger, on_a_loop, remember
from converge_core.errors import AuthorityError
from converge_core.ports import Ledger, Recall
from converge_core.recall.answers import RecallAnswer, ranked
from converge_core.recall.payloads import replayability_of
from converge_core.recall.policy import RecallBudgets, RecallQuery
from converge_core.suggestors.contract import Replayability

WORDS = "late fee refund"
STRANGE = ("", " ", '"', "' OR 1=1 --", "a* NEAR(b) ^c:{d} -e", "AND OR NOT", "🏡 \x00 \u202e", "é" * 5_000, "\ud800")


class RecallConformance:
    """The promises of the port, for any recall."""

    async def make_recall(self, tmp_path: Path, ledger: Ledger, tenant: str | None) -> Recall:
        """Return the recall to be tested, of a tenant's runs in a ledger; it may look at them now, or at a refresh."""
        raise NotImplementedError

    @on_a_loop
    async def test_it_says_whose_past_it_is(self, tmp_path: Path) -> None:
        for tenant in ("acme", None):
            assert (await self.make_recall(tmp_path, minute_ledger(), tenant)).tenant == tenant

    @on_a_loop
    async def test_what_is_asked_for_word_by_word_is_found_first(self, tmp_path: Path) -> None:
        ledger = minute_ledger()
        await remember(ledger, "other", "new office chairs", "travel to Brno")
        await remember(ledger, "same", WORDS)
        answer = await self._search(tmp_path, ledger, WORDS)
        assert answer.candidates[0].memory.run_id == "same"
        assert answer.candidates[0].memory.subject == "seeds/s1"

    @on_a_loop
    async def test_candidates_are_told_best_first(self, tmp_path: Path) -> None:
        ledger = minute_ledger()
        await remember(ledger, "one", WORDS, "late again", "a fee", "nothing of the kind")
        await remember(ledger, "two", "late again", "refund, late")
        candidates = (await self._search(tmp_path, ledger, WORDS)).candidates
        assert len(candidates) > 1
        assert candidates == ranked(candidates)

    @on_a_loop
    async def test_the_size_of_the_corpus_is_told_whatever_is_found(self, tmp_path: Path) -> None:
        ledger = minute_ledger()
        await remember(ledger, "one", WORDS, "chairs")
        await remember(ledger, "two", "tables")
        assert (await self._search(tmp_path, ledger, WORDS)).searched == 3

    @on_a_loop
    async def test_an_empty_past_answers_with_nothing(self, tmp_path: Path) -> None:
        answer = await self._search(tmp_path, minute_ledger(), WORDS)
        assert (answer.candidates, answer.searched) == ((), 0)

    @on_a_loop
    async def test_no_query_is_anything_but_words(self, tmp_path: Path) -> None:
        ledger = minute_ledger()
        await remember(ledger, "one", WORDS)
        for text in STRANGE:
            answer = await self._search(tmp_path, ledger, text)
            assert answer.searched == 1

    @on_a_loop
    async def test_the_same_search_gives_the_same_answer(self, tmp_path: Path) -> None:
        ledger = minute_ledger()
        await remember(ledger, "one", WORDS, "a late fee", "a fee")
        recall = await self.make_recall(tmp_path, ledger, None)
        await recall.refresh()
        query = RecallQuery("a late fee")
        first, second = [await recall.search(query, RecallBudgets()) for _ in range(2)]
        assert first == second

    @on_a_loop
    async def test_the_past_of_others_is_neither_found_nor_counted(self, tmp_path: Path) -> None:
        ledger = minute_ledger()
        await remember(ledger, "ours", "chairs", labels={"tenant": "acme"})
        await remember(ledger, "theirs", WORDS, labels={"tenant": "other"})
        await remember(ledger, "free", WORDS)
        for tenant, run_id in (("acme", "ours"), ("other", "theirs"), (None, "free")):
            answer = await self._search(tmp_path, ledger, f"{WORDS} chairs", tenant)
            assert ({one.memory.run_id for one in answer.candidates}, answer.searched) == ({run_id}, 1)

    @on_a_loop
    async def test_a_query_for_the_past_of_others_is_refused(self, tmp_path: Path) -> None:
        ledger = minute_ledger()
        for tenant, asks in (("acme", "other"), ("acme", None), (None, "acme")):
            recall = await self.make_recall(tmp_path, ledger, tenant)
            await recall.refresh()
            await raised(AuthorityError, recall.search(RecallQuery(WORDS, tenant=asks), RecallBudgets()))

    @on_a_loop
    async def test_another_past_has_another_fingerprint_or_none(self, tmp_path: Path) -> None:
        ledger = minute_ledger()
        await remember(ledger, "one", WORDS)
        before = await self._search(tmp_path, ledger, WORDS)
        await remember(ledger, "two", "chairs")
        after = await self._search(tmp_path, ledger, WORDS)
        assert before.corpus_fingerprint is None or before.corpus_fingerprint != after.corpus_fingerprint

    @on_a_loop
    async def test_within_some_runs_no_other_run_is_found(self, tmp_path: Path) -> None:
        ledger = minute_ledger()
        head = await remember(ledger, "one", WORDS)
        await remember(ledger, "two", WORDS)
        recall = (await self.make_recall(tmp_path, ledger, None)).within({"one": head})
        await recall.refresh()
        answer = await recall.search(RecallQuery(WORDS), RecallBudgets())
        assert [one.memory.run_id for one in answer.candidates] == ["one"]
        assert recall.tenant is None

    @on_a_loop
    async def test_what_is_within_some_runs_stays_as_it_is_for_ever(self, tmp_path: Path) -> None:
        ledger = minute_ledger()
        head = await remember(ledger, "one", WORDS)
        answers: list[RecallAnswer] = []
        for _ in range(2):
            recall = (await self.make_recall(tmp_path, ledger, None)).within({"one": head})
            await recall.refresh()
            answers.append(await recall.search(RecallQuery(WORDS), RecallBudgets()))
            await remember(ledger, f"later {len(answers)}", WORDS)
        assert answers[0] == answers[1]

    @on_a_loop
    async def test_to_pin_the_past_takes_nothing_from_replayability(self, tmp_path: Path) -> None:
        ledger = minute_ledger()
        head = await remember(ledger, "one", WORDS)
        recall = await self.make_recall(tmp_path, ledger, None)
        order = list(Replayability)
        pinned, free = (replayability_of(one.downgrades) for one in (recall.within({"one": head}), recall))
        assert order.index(pinned) <= order.index(free)

    @on_a_loop
    async def test_who_cannot_name_the_corpus_says_that_nothing_can_be_replayed(self, tmp_path: Path) -> None:
        ledger = minute_ledger()
        await remember(ledger, "one", WORDS)
        recall = await self.make_recall(tmp_path, ledger, None)
        await recall.refresh()
        answer = await recall.search(RecallQuery(WORDS), RecallBudgets())
        assert answer.corpus_fingerprint is not None or replayability_of(recall.downgrades) is Replayability.NONE

    async def _search(self, tmp_path: Path, ledger: Ledger, text: str, tenant: str | None = None) -> RecallAnswer:
        recall = await self.make_recall(tmp_path, ledger, tenant)
        await recall.refresh()
        return await recall.search(RecallQuery(text, tenant=tenant), RecallBudgets())
