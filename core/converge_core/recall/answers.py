"""What a search answers, before any policy is applied to it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from converge_core.errors import MisuseError
from converge_core.ledger.canonical import canonical
from converge_core.ledger.hashes import ContentHash
from converge_core.recall.memories import Memory
from converge_core.recall.payloads import RelevanceLevel


@dataclass(frozen=True, slots=True)
class RecallCandidate:
    """A memory that was found.

    ``final_score`` is how well it fits, 0.0 (not at all) to 1.0, by a measure that its search documents; ``raw_score``
    is what the ranking itself came to, in its own unit. Raises MisuseError for a final score out of range.
    """

    memory: Memory
    raw_score: float
    final_score: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.final_score <= 1.0:  # nor is NaN
            raise MisuseError(f"{self.memory.id}: a final score is within 0.0 and 1.0, unlike {self.final_score!r}")

    @property
    def id(self) -> str:
        """``run/sequence``."""
        return self.memory.id

    @property
    def relevance(self) -> RelevanceLevel:
        """How well it fits, in a word."""
        return RelevanceLevel.of(self.final_score)


@dataclass(frozen=True, slots=True)
class EmbeddingTrace:
    """Which embedder took part in a search, and what it made of the query; hashes in hex."""

    embedder_id: str
    settings_hash: str
    input_hash: str
    embedding_hash: str


@dataclass(frozen=True, slots=True)
class RecallAnswer:
    """What was found, best first, in a corpus of ``searched`` memories.

    ``corpus_fingerprint`` is a hash (hex) of all that could have been found, None where there is none.
    """

    candidates: tuple[RecallCandidate, ...]
    searched: int
    corpus_fingerprint: str | None
    embedding: EmbeddingTrace | None = None


def fingerprint_of(corpus: Iterable[tuple[str, str, str]]) -> str:
    """Return the fingerprint of a corpus: SHA-256, in hex, of its runs, each with its head and when it stopped."""
    return str(ContentHash.of(canonical([list(run) for run in sorted(corpus)])))


def ranked(candidates: Iterable[RecallCandidate]) -> tuple[RecallCandidate, ...]:
    """Return candidates best first; of those that fit equally well, the newest first."""
    by_place = sorted(candidates, key=lambda found: (found.memory.run_id, found.memory.sequence))
    by_time = sorted(by_place, key=lambda found: found.memory.recorded_at, reverse=True)
    return tuple(sorted(by_time, key=lambda found: (-found.final_score, -found.raw_score)))
