"""``work.vectorise``: how often an issue says the words that matter here.

    use: work.vectorise
    with: {weights: {ledger: 3}}

The vector of a text has a component for each word of a fixed vocabulary that it says: the number of times, by the
word's weight, and all of them divided by the length of the vector. A word is what stands between others as it is
written, in lower case: ``csf-agent`` is one word, and not ``agent``. An issue has two of them, one of its title and
labels, one of its text. They know nothing of meaning, and a text without any such word has no vector.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import ClassVar, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from converge_core import AgentEffect, Context, ContextKey, FactPayload, ProposedFact, Site, Suggestor
from converge_plugins.work_suggester.issues import Issue

VOCABULARY = (
    *("convergence", "loop", "phase", "validation", "receipt", "evidence", "boundary", "promotion", "drift", "dream"),
    *("journal", "lantern", "door", "memory", "lore", "agent", "slot", "fleet", "persona", "provider", "tesseract"),
    *("cube", "status", "belief", "bayesian", "issue", "fix", "bug", "feat", "task", "stream", "csf", "ingest"),
    "signal",
)
_WORD = re.compile(r"[a-z0-9_-]+")


class Component(NamedTuple):
    """A word, and how much of a vector it is."""

    word: str
    value: float


Vector = tuple[Component, ...]


class IssueVectors(FactPayload):
    """The vectors of an issue (``key/id``): of its ``headline``, title and labels, and of its ``text``."""

    family: ClassVar[str] = "converge.work.vectors"

    number: int
    issue: str
    headline: Vector = ()
    text: Vector = ()

    def summary(self) -> str:
        return f"#{self.number}: {len(self.headline)} words in its headline, {len(self.text)} in its text"


class VectorsConfig(BaseModel):
    """Which words matter, and how much."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    vocabulary: tuple[str, ...] = Field(default=VOCABULARY, min_length=1, description="The words, in lower case.")
    weights: dict[str, float] = Field(default_factory=dict, description="What a word counts, if not 1.")
    key: ContextKey = Field(default=ContextKey.SIGNALS, description="Where the vectors are proposed.")


class Vectoriser(Suggestor):
    """Proposes the vectors of each new issue. Deterministic."""

    dependencies = (Issue,)
    payloads = (IssueVectors,)

    def __init__(self, config: VectorsConfig, site: Site) -> None:
        self.name = site.name
        self.writes = (config.key,)
        self.config = config.model_dump(mode="json")
        self._key = config.key
        self._weights = {word: config.weights.get(word, 1.0) for word in config.vocabulary}

    def execute(self, ctx: Context) -> AgentEffect:
        """Return the vectors of the new issues."""
        return AgentEffect.with_proposals(
            ProposedFact(
                self._key,
                f"vectors:{fact.payload.number}",
                IssueVectors(
                    number=fact.payload.number,
                    issue=fact.ref,
                    headline=vector([*words(fact.payload.title), *map(str.lower, fact.payload.labels)], self._weights),
                    text=vector(words(fact.payload.text), self._weights),
                ),
                evidence=[fact],
            )
            for fact in ctx.fresh(Issue)
        )


def words(text: str) -> list[str]:
    """Return the words of a text, in lower case."""
    return _WORD.findall(text.lower())


def vector(said: Iterable[str], weights: Mapping[str, float]) -> Vector:
    """Return the vector of words by their weights, of length 1, or none for words that have no weight."""
    counts = Counter(word for word in said if word in weights)
    values = {word: count * weights[word] for word, count in sorted(counts.items())}
    length = math.sqrt(sum(value * value for value in values.values()))
    return tuple(Component(word, value / length) for word, value in values.items()) if length else ()


def cosine(one: Vector, other: Vector) -> float:
    """Return the cosine of the angle between two vectors; 0 where one is none."""
    values = dict(other)
    return sum(value * values.get(word, 0.0) for word, value in one)
