"""What the tests of recall share: memories and candidates that are quickly made, and a source that finds those."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from converge_core import Head
from converge_core.recall.answers import EmbeddingTrace, RecallAnswer, RecallCandidate
from converge_core.recall.memories import Memory
from converge_core.recall.payloads import CandidateSourceType, ReplayabilityDowngradeReason
from converge_core.recall.policy import RecallBudgets, RecallQuery

TRACE = EmbeddingTrace("embedder", "settings", "input", "embedding")


def memory(summary: str = "fact", sequence: int = 0, run_id: str = "past", **more: Any) -> Memory:
    """A memory whose text is its summary."""
    given = {
        "detail": "",
        "source_type": CandidateSourceType.SIMILAR_SUCCESS,
        "confidence": 0.5,
        "corpus_version": "v",
        **more,
    }
    return Memory(run_id=run_id, sequence=sequence, summary=summary, **given)


def found(score: float, summary: str = "fact", sequence: int = 0, raw: float = 0.0, **more: Any) -> RecallCandidate:
    """A candidate with a score."""
    return RecallCandidate(memory(summary, sequence, **more), raw, score)


class FakeRecall:
    """Finds the same whatever is asked, and remembers what it was asked to do."""

    def __init__(
        self,
        *candidates: RecallCandidate,
        tenant: str | None = None,
        downgrades: tuple[ReplayabilityDowngradeReason, ...] = (),
        embedding: EmbeddingTrace | None = None,
    ) -> None:
        self.tenant, self.downgrades = tenant, downgrades
        self.answer = RecallAnswer(candidates, len(candidates), "corpus", embedding)
        self.calls: list[str] = []
        self.budgets: list[RecallBudgets] = []
        self.queries: list[RecallQuery] = []

    def within(self, heads: Mapping[str, Head]) -> FakeRecall:
        candidates = (one for one in self.answer.candidates if one.memory.run_id in heads)
        return FakeRecall(*candidates, tenant=self.tenant, embedding=self.answer.embedding)

    async def refresh(self) -> None:
        self.calls.append("refresh")

    async def search(self, query: RecallQuery, budgets: RecallBudgets) -> RecallAnswer:
        query.require(self.tenant)
        self.calls.append("search")
        self.queries.append(query)
        self.budgets.append(budgets)
        return self.answer
