"""What a recall leaves in the run that asked: an item for each thing it may use, and the record of the search.

Both are payloads of ordinary proposals, which the gates judge as they judge everything. Neither holds a time: what a
clock said would make two equal searches two different facts. When it was is in the store, beside the entry.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from converge_core.context.payloads import FactPayload
from converge_core.ledger.hashes import ContentHash
from converge_core.recall.policy import (
    RecallConsumer,
    RecallUse,
    basis_points,
    number,
    ordinal,
    stable_hash,
    text,
)
from converge_core.suggestors.contract import Replayability

RECALLED = "converge.recall."
"""The beginning of the families of payloads that recall makes, which is itself never recalled."""


class CandidateSourceType(StrEnum):
    """What sort of lesson a candidate is."""

    SIMILAR_FAILURE = "similar_failure"
    SIMILAR_SUCCESS = "similar_success"
    RUNBOOK = "runbook"
    ANTI_PATTERN = "anti_pattern"


class RelevanceLevel(StrEnum):
    """How well a candidate fits, in a word."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"

    @classmethod
    def of(cls, score: float) -> RelevanceLevel:
        """Return the level of a score: high from 0.8, medium from 0.5."""
        return cls.HIGH if score >= 0.8 else cls.MEDIUM if score >= 0.5 else cls.LOW


class ReplayabilityDowngradeReason(StrEnum):
    """Why the same search may one day give another answer."""

    RECALL_EMBEDDER_NOT_DETERMINISTIC = "recall_embedder_not_deterministic"
    """The same words may get another vector."""
    RECALL_CORPUS_NOT_PINNED = "recall_corpus_not_pinned"
    """The corpus is known by its content, and grows with every run."""
    RECALL_CORPUS_NOT_CONTENT_ADDRESSED = "recall_corpus_not_content_addressed"
    """Nobody can tell which corpus it was."""
    RECALL_TOO_LATE = "recall_too_late"
    """The clock decided: what was found was not used."""


_NO_REPLAY = {
    ReplayabilityDowngradeReason.RECALL_CORPUS_NOT_CONTENT_ADDRESSED,
    ReplayabilityDowngradeReason.RECALL_TOO_LATE,
}


def replayability_of(reasons: tuple[ReplayabilityDowngradeReason, ...]) -> Replayability:
    """Return what is left of replayability for these reasons: a search is deterministic when there are none."""
    if _NO_REPLAY.intersection(reasons):
        return Replayability.NONE
    return Replayability.BEST_EFFORT if reasons else Replayability.DETERMINISTIC


class RecallStop(StrEnum):
    """Why a recall came to nothing, whatever there was to be found."""

    DISABLED = "disabled"
    TOO_LATE = "too_late"


class LeftOutReason(StrEnum):
    """Why something that was found may not be used."""

    BELOW_THRESHOLD = "below_threshold"
    REPEATED = "repeated"
    OVER_COUNT = "over_count"
    OVER_TOKENS = "over_tokens"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class LeftOut(_Part):
    """How many of those that were found may not be used, and why."""

    reason: LeftOutReason
    count: int = Field(ge=1)


class ScoredCandidate(_Part):
    """Something that was found and used: its id (``run/sequence``) and its score, 0 to 1."""

    id: str
    score: float = Field(ge=0, le=1)
    tokens: int = Field(ge=0)
    truncated: bool = False


class RecalledItem(FactPayload):
    """Something of a past run: ``run`` and ``subject`` (``key/id`` there) say where it comes from.

    ``text`` is what may be read of it; where that is not all, ``truncated`` says so and an ellipsis ends it.
    """

    family: ClassVar[str] = "converge.recall.item"

    text: str
    run: str
    record: str
    subject: str | None = None
    source_type: CandidateSourceType
    relevance: RelevanceLevel
    score: float = Field(ge=0, le=1)
    tokens: int = Field(ge=0)
    truncated: bool = False

    def summary(self) -> str:
        return self.text


class RecallExecuted(FactPayload):
    """That a search was made: for what, under which policy, in which corpus, and what came of it.

    The hashes are stable hashes in hex; the fields of an embedding are None where no embedder took part. ``searched``
    counts the memories of the corpus. ``downgraded_from`` and the reasons for it stand where ``replayability`` is not
    what a search by itself would have.
    """

    family: ClassVar[str] = "converge.recall.executed"

    query: str
    query_hash: str
    policy_hash: str
    corpus_fingerprint: str | None
    purpose: RecallUse
    consumers: tuple[RecallConsumer, ...]
    candidates: tuple[ScoredCandidate, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    searched: int = Field(default=0, ge=0)
    stop_reason: RecallStop | None = None
    embedder_id: str | None = None
    embedder_settings_hash: str | None = None
    embedding_input_hash: str | None = None
    embedding_hash: str | None = None
    replayability: Replayability
    downgraded_from: Replayability | None = None
    downgrade_reasons: tuple[ReplayabilityDowngradeReason, ...] = ()

    def summary(self) -> str:
        reasons = f", {self.replayability} as {', '.join(self.downgrade_reasons)}" if self.downgrade_reasons else ""
        stopped = f" ({self.stop_reason})" if self.stop_reason is not None else ""
        return f"recalled {len(self.candidates)} of {self.searched} memories{stopped}{reasons}"

    def matches_for_replay(self, other: RecallExecuted) -> bool:
        """Say whether two searches were the same, and found the same; the embedding itself may differ in its bits."""
        return all(
            getattr(self, name) == getattr(other, name)
            for name in (
                "query_hash",
                "embedding_input_hash",
                "embedder_id",
                "embedder_settings_hash",
                "corpus_fingerprint",
                "policy_hash",
                "purpose",
                "consumers",
                "candidates",
            )
        )

    def stable_hash(self, latency_ms: int = 0, timestamp: str = "") -> ContentHash:
        """Return the hash that names the whole envelope of a search, with what a clock said about it."""
        return stable_hash(
            "recall-envelope-v1",
            text(self.query_hash),
            text(self.embedding_input_hash or ""),
            text(self.embedding_hash or ""),
            text(self.embedder_id or ""),
            text(self.embedder_settings_hash or ""),
            text(self.corpus_fingerprint or ""),
            text(self.policy_hash),
            ordinal(self.purpose),
            *(ordinal(consumer) for consumer in self.consumers),
            *(part for found in self.candidates for part in (text(found.id), basis_points(found.score))),
            number(self.searched),
            number(len(self.candidates)),
            number(latency_ms),
            text(timestamp),
        )
