"""``work.score``: how much an issue wants to be done next, 0 to 1.

    use: work.score
    with: {method: bm25, query: "ledger replay after a crash"}

    score = 0.4 urgency + 0.3 importance + 0.2 similarity + 0.1 recency

*Urgency* is that of the first of the ``priorities`` that the issue has for a label, *importance* the greatest of its
``streams``. *Recency* is 0.2 for what was opened within seven days of the reading, and else 0: it breaks ties. What
*similarity* is depends on the method. With ``formula``, the original's, it is the cosine between the headline of the
issue and its text, so an issue that keeps to its subject comes first. With ``bm25`` it is how well the issue matches a
``query``, by BM25 among all issues that are known, as a share of the best match: what one is after comes first.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from converge_core import AgentEffect, Context, ContextKey, Fact, FactPayload, ProposedFact, Site, Suggestor
from converge_core.context.facts import AnyFact, AnyProposal
from converge_plugins.work_suggester.issues import Issue
from converge_plugins.work_suggester.vectors import IssueVectors, cosine, words

PRIORITIES = {"p0": 1.0, "p1": 0.6, "p2": 0.3}
STREAMS = {"dream-journal": 1.0, "csf-agent": 0.9, "convergence-io": 0.8}
URGENCY, IMPORTANCE, SIMILARITY, RECENCY = 0.4, 0.3, 0.2, 0.1
RECENT = timedelta(days=7)
DIGITS = 4
K1, B = 1.2, 0.75
"""The usual parameters of BM25: how soon repetition stops to count, and how much the length of a text does."""


class IssueScore(FactPayload):
    """The score of an issue (``key/id``), and what it is made of. ``stream`` is the label that made it important."""

    family: ClassVar[str] = "converge.work.score"

    number: int
    issue: str
    method: Literal["formula", "bm25"]
    score: float = Field(ge=0, le=1)
    urgency: float
    importance: float
    similarity: float
    recency: float
    stream: str | None = None

    def summary(self) -> str:
        return f"#{self.number} {self.score:.4f}"


class ScoresConfig(BaseModel):
    """How issues are scored."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal["formula", "bm25"] = Field(default="formula", description="What `similarity` is.")
    query: str = Field(default="", description="What one is after, in words; with `bm25`.")
    priorities: dict[str, float] = Field(
        default_factory=PRIORITIES.copy, description="Labels by urgency, 0 to 1; the first one that is there counts."
    )
    streams: dict[str, float] = Field(
        default_factory=STREAMS.copy, description="Labels by importance, 0 to 1; the greatest counts."
    )
    key: ContextKey = Field(default=ContextKey.EVALUATIONS, description="Where the scores are proposed.")

    @model_validator(mode="after")
    def _makes_sense(self) -> ScoresConfig:
        if (self.method == "bm25") != bool(words(self.query)):
            raise ValueError("`bm25` needs a `query` with words, and `formula` takes none")
        if wrong := [label for label, value in (self.priorities | self.streams).items() if not 0 <= value <= 1]:
            raise ValueError(f"a label counts from 0 to 1: {', '.join(sorted(wrong))}")
        return self


class Scorer(Suggestor):
    """Scores each new issue. Deterministic."""

    payloads = (IssueScore,)

    def __init__(self, config: ScoresConfig, site: Site) -> None:
        self.name = site.name
        self.dependencies = (Issue,) if config.method == "bm25" else (IssueVectors,)
        self.writes = (config.key,)
        self.config = config.model_dump(mode="json")
        self._scores = config

    def execute(self, ctx: Context) -> AgentEffect:
        """Return the scores of the new issues."""
        similar = self._by_query(ctx) if self._scores.method == "bm25" else self._by_vectors(ctx)
        return AgentEffect.with_proposals(
            self._proposal(issue, similarity, evidence) for issue, similarity, evidence in similar
        )

    def _by_vectors(self, ctx: Context) -> Iterator[tuple[Fact[Issue], float, AnyFact]]:
        issues = {fact.ref: fact for fact in ctx.get(Issue)}
        for fact in ctx.fresh(IssueVectors):
            if fact.payload.issue in issues:  # one that was corrected since has vectors of its own
                yield issues[fact.payload.issue], cosine(fact.payload.headline, fact.payload.text), fact

    def _by_query(self, ctx: Context) -> Iterator[tuple[Fact[Issue], float, AnyFact]]:
        texts = [_words_of(fact.payload) for fact in ctx.get(Issue)]
        matches = dict(zip((fact.ref for fact in ctx.get(Issue)), bm25(words(self._scores.query), texts), strict=True))
        best = max(matches.values(), default=0.0)
        for fact in ctx.fresh(Issue):
            yield fact, round(matches[fact.ref] / best, 6) if best else 0.0, fact

    def _proposal(self, issue: Fact[Issue], similarity: float, evidence: AnyFact) -> AnyProposal:
        payload = issue.payload
        urgency = next((value for label, value in self._scores.priorities.items() if label in payload.labels), 0.0)
        streams = {label: value for label, value in self._scores.streams.items() if label in payload.labels}
        stream = max(streams, key=lambda label: streams[label], default=None)
        importance = 0.0 if stream is None else streams[stream]
        recency = recency_of(payload)
        total = URGENCY * urgency + IMPORTANCE * importance + SIMILARITY * similarity + RECENCY * recency
        score = IssueScore(
            number=payload.number,
            issue=issue.ref,
            method=self._scores.method,
            score=min(round(total, DIGITS), 1.0),
            urgency=urgency,
            importance=importance,
            similarity=similarity,
            recency=recency,
            stream=stream,
        )
        return ProposedFact(self._scores.key, f"score:{payload.number}", score, evidence=[evidence])


def recency_of(issue: Issue) -> float:
    """Return 0.2 for an issue that was opened within seven days of its reading, else 0; so, too, without moments."""
    opened, seen = _moment(issue.created_at), _moment(issue.seen_at)
    return 0.2 if opened is not None and seen is not None and seen - opened <= RECENT else 0.0


def _moment(text: str | None) -> datetime | None:
    """Return the moment that a text names, in UTC where it does not say otherwise; None where it names none."""
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _words_of(issue: Issue) -> list[str]:
    return words(" ".join((issue.title, *issue.labels, issue.text)))


def bm25(query: Sequence[str], texts: Sequence[Sequence[str]]) -> list[float]:
    """Return how well each text (its words) matches a query, by BM25 (Robertson and Zaragoza 2009, section 3)."""
    counts = [Counter(text) for text in texts]
    average = sum(map(len, texts)) / len(texts) if texts else 0.0
    having = Counter(word for count in counts for word in count)
    return [
        sum(
            math.log(1 + (len(texts) - having[word] + 0.5) / (having[word] + 0.5))
            * (count[word] * (K1 + 1) / (count[word] + K1 * (1 - B + B * len(text) / average)))
            for word in dict.fromkeys(query)
            if count[word]
        )
        for count, text in zip(counts, texts, strict=True)
    ]
