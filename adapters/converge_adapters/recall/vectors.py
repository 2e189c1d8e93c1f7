"""Recall by vectors: the memories whose vectors point where the query's does.

The vectors of the memories are given, and an embedder makes that of the query; no model comes with Converge. The raw
score is the cosine of the angle between both, -1 to 1; the final score is the same, and 0 for what points away.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

from converge_core.context.allowance import BudgetRefused
from converge_core.errors import MisuseError
from converge_core.ledger.canonical import canonical
from converge_core.ledger.hashes import ContentHash
from converge_core.ledger.merkle import Head
from converge_core.ports import Embedder
from converge_core.recall.answers import EmbeddingTrace, RecallAnswer, RecallCandidate, ranked
from converge_core.recall.memories import Memory
from converge_core.recall.payloads import ReplayabilityDowngradeReason
from converge_core.recall.policy import RecallBudgets, RecallQuery, stable_hash, text

DIGITS = 6
"""Decimal places of a score."""

Vector = tuple[float, ...]


class VectorRecall:
    """Implements the port `Recall` over memories and their vectors, all of them one tenant's.

    Raises MisuseError for vectors of different lengths, of no length, or with what is no number, and for a memory of
    another tenant.
    """

    def __init__(
        self, embedder: Embedder, vectors: Iterable[tuple[Memory, Sequence[float]]], tenant: str | None = None
    ) -> None:
        self._embedder, self._tenant = embedder, tenant
        self._vectors = [(memory, _checked(memory.id, vector)) for memory, vector in vectors]
        for memory, vector in self._vectors:
            if memory.tenant != tenant:
                raise MisuseError(f"{memory.id} is a memory of another tenant")
            if len(vector) != len(self._vectors[0][1]):
                raise MisuseError(f"{memory.id}: its vector has another length than that of {self._vectors[0][0].id}")

    @property
    def tenant(self) -> str | None:
        return self._tenant

    @property
    def downgrades(self) -> tuple[ReplayabilityDowngradeReason, ...]:
        reason = ReplayabilityDowngradeReason.RECALL_EMBEDDER_NOT_DETERMINISTIC
        return () if self._embedder.is_deterministic else (reason,)

    def within(self, heads: Mapping[str, Head]) -> VectorRecall:
        """Raises MisuseError for a run of which there is no memory at its head."""
        kept = [(memory, vector) for memory, vector in self._vectors if _stands(memory, heads)]
        if missing := heads.keys() - {memory.run_id for memory, _ in kept}:
            raise MisuseError(f"there is no memory of {min(missing)} at {heads[min(missing)]}")
        return VectorRecall(self._embedder, kept, self._tenant)

    async def refresh(self) -> None:
        """Do nothing: the memories are those that were given."""

    async def search(self, query: RecallQuery, budgets: RecallBudgets) -> RecallAnswer:
        """Raises BudgetRefused where no call of the embedder is allowed, MisuseError for a vector that does not fit."""
        query.require(self._tenant)
        if budgets.max_embedding_calls < 1:
            raise BudgetRefused("embedding_calls", 1, 0)
        [embedded] = await self._embedder.embed([query.text])
        wanted = _checked("the query", embedded)
        if self._vectors and len(wanted) != len(self._vectors[0][1]):
            raise MisuseError(f"{self._embedder.id} makes vectors of another length than those of the memories")
        candidates = []
        for memory, vector in self._vectors:
            cosine = round(_cosine(wanted, vector), DIGITS)
            candidates.append(RecallCandidate(memory, cosine, min(max(cosine, 0.0), 1.0)))
        return RecallAnswer(ranked(candidates), len(self._vectors), self._fingerprint(), self._trace(query, wanted))

    def _fingerprint(self) -> str:
        corpus = sorted(canonical([asdict(memory), list(vector)]) for memory, vector in self._vectors)
        return str(ContentHash.of("\n".join(corpus)))

    def _trace(self, query: RecallQuery, vector: Vector) -> EmbeddingTrace:
        return EmbeddingTrace(
            self._embedder.id,
            self._embedder.settings_hash,
            str(stable_hash("recall-embedding-input-v1", text(query.text))),
            str(ContentHash.of(canonical(list(vector)))),
        )


def _stands(memory: Memory, heads: Mapping[str, Head]) -> bool:
    head = heads.get(memory.run_id)
    return head is not None and memory.corpus_version == str(head)


def _checked(whose: str, values: Sequence[float]) -> Vector:
    vector = tuple(map(float, values))
    if not all(map(math.isfinite, vector)) or not any(vector):
        raise MisuseError(f"{whose}: a vector is finite numbers, not all of them 0")
    return vector


def _cosine(left: Vector, right: Vector) -> float:
    product = math.fsum(a * b for a, b in zip(left, right, strict=True))
    return product / math.hypot(*left) / math.hypot(*right)
