"""Recall by vectors: the port's promises, and what a vector may be."""

from __future__ import annotations

from collections.abc import Sequence
from math import hypot
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_adapters.recall.vectors import VectorRecall
from converge_adapters.testing.recall import RecallConformance
from converge_core import MisuseError, RecallQuery
from converge_core.context.allowance import BudgetRefused
from converge_core.experience.records import RunExperience
from converge_core.ledger.hashes import MerkleRoot
from converge_core.ledger.merkle import Head
from converge_core.ports import Ledger
from converge_core.recall.answers import RecallAnswer
from converge_core.recall.memories import memories_of
from converge_core.recall.payloads import ReplayabilityDowngradeReason
from converge_core.recall.policy import RecallBudgets
from tests.core.recall.found import memory
from tests.core.stage import finish
from tests.fakes.embedder import FakeEmbedder, vector_of

QUERY = RecallQuery("fee")
HEAD = Head(1, MerkleRoot(bytes(32)))
VECTORS = st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3).filter(lambda values: hypot(*values) > 1e-3)


class Given:
    """An embedder whose every vector is the one that was given."""

    id, settings_hash, is_deterministic = "given", "", True

    def __init__(self, *vector: float) -> None:
        self._vector = vector

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        return [self._vector for _ in texts]


class TestVectorRecall(RecallConformance):
    async def make_recall(self, tmp_path: Path, ledger: Ledger, tenant: str | None) -> VectorRecall:
        memories = []
        for info in await ledger.runs():
            experience = RunExperience(info.run_id, await ledger.read(info.run_id))
            memories += list(memories_of(experience, await ledger.head(info.run_id)))
        ours = [one for one in memories if one.tenant == tenant]
        return VectorRecall(FakeEmbedder(), [(one, vector_of(one.detail)) for one in ours], tenant)


def recall(*vectors: Sequence[float], asks: Sequence[float] = (1.0, 0.0)) -> VectorRecall:
    """A recall over memories past/0, past/1, ... with these vectors, and of a query with its own."""
    return VectorRecall(Given(*asks), [(memory(sequence=place), vector) for place, vector in enumerate(vectors)])


def search(recall: VectorRecall, budgets: RecallBudgets | None = None) -> RecallAnswer:
    return finish(recall.search(QUERY, budgets or RecallBudgets()))


def test_the_score_is_the_cosine_and_nothing_for_what_points_away() -> None:
    answer = search(recall((2, 0), (1, 1), (0, 3), (-1, 0)))
    told = [(one.id, one.raw_score, one.final_score) for one in answer.candidates]
    assert told == [
        ("past/0", 1.0, 1.0),
        ("past/1", 0.707107, 0.707107),
        ("past/2", 0.0, 0.0),
        ("past/3", -1.0, 0.0),
    ]


@given(VECTORS, VECTORS, st.floats(0.001, 1000))
def test_the_length_of_a_vector_does_not_matter(asks: list[float], vector: list[float], scale: float) -> None:
    [one] = search(recall(vector, asks=asks)).candidates
    [other] = search(recall([scale * value for value in vector], asks=asks)).candidates
    assert one.raw_score == pytest.approx(other.raw_score, abs=2e-6)
    assert 0 <= one.final_score <= 1


def test_a_search_without_a_call_of_the_embedder_to_spare_is_refused_before_it_is_called() -> None:
    embedder = FakeEmbedder()
    source = VectorRecall(embedder, [(memory(), vector_of("fee"))])
    with pytest.raises(BudgetRefused):
        search(source, RecallBudgets(max_embedding_calls=0))
    assert embedder.calls == []


def test_a_search_calls_the_embedder_once() -> None:
    embedder = FakeEmbedder()
    search(VectorRecall(embedder, [(memory(), vector_of("fee"))]), RecallBudgets(max_embedding_calls=1))
    assert embedder.calls == [("fee",)]


def test_the_answer_tells_what_the_embedder_made_of_the_query() -> None:
    trace = search(VectorRecall(FakeEmbedder(), [])).embedding
    assert trace is not None
    assert (trace.embedder_id, trace.settings_hash) == ("letters", "0" * 64)
    other = finish(VectorRecall(FakeEmbedder(), []).search(RecallQuery("fees"), RecallBudgets())).embedding
    assert other is not None
    assert trace.input_hash != other.input_hash
    assert trace.embedding_hash != other.embedding_hash


def test_an_embedder_that_is_not_deterministic_takes_from_replayability() -> None:
    reason = ReplayabilityDowngradeReason.RECALL_EMBEDDER_NOT_DETERMINISTIC
    assert VectorRecall(FakeEmbedder(is_deterministic=False), []).downgrades == (reason,)
    assert VectorRecall(FakeEmbedder(), []).downgrades == ()


@pytest.mark.parametrize("vector", [(), (0.0, 0.0), (1.0, float("nan")), (float("inf"), 1.0)])
def test_what_points_nowhere_is_no_vector(vector: Sequence[float]) -> None:
    with pytest.raises(MisuseError, match="past/0: a vector is finite numbers"):
        recall(vector)


def test_vectors_have_one_length() -> None:
    with pytest.raises(MisuseError, match="past/1: its vector has another length than that of past/0"):
        recall((1, 0), (1, 0, 0))


def test_an_embedder_that_does_not_fit_the_memories_is_named() -> None:
    with pytest.raises(MisuseError, match="given makes vectors of another length"):
        search(recall((1, 0, 0)))


def test_an_embedder_that_makes_no_vector_is_refused() -> None:
    with pytest.raises(MisuseError, match="the query: a vector is finite numbers"):
        search(recall((1, 0), asks=(0, 0)))


def test_a_memory_of_another_tenant_is_refused() -> None:
    with pytest.raises(MisuseError, match="past/0 is a memory of another tenant"):
        VectorRecall(FakeEmbedder(), [(memory(tenant="other"), [1.0])], "acme")


@pytest.mark.parametrize("heads", [{"past": HEAD}, {"nobody": HEAD}])
def test_a_run_of_which_there_is_no_memory_at_its_head_is_named(heads: dict[str, Head]) -> None:
    with pytest.raises(MisuseError, match=f"no memory of {min(heads)} at {HEAD}"):
        recall((1, 0)).within(heads)


def test_other_vectors_are_another_corpus() -> None:
    prints = {search(recall(*vectors)).corpus_fingerprint for vectors in [[], [(1, 0)], [(0, 1)], [(1, 0), (0, 1)]]}
    assert len(prints) == 4
