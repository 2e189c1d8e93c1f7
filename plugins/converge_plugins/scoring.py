"""``score.weighted``: rank candidates by several criteria at once, as a weighted sum.

Each criterion reads a number from every candidate and brings it to 0.0 (worst) to 1.0 (best): between the lowest and
the highest of the candidates, or on a ``scale`` of its own, outside of which values count as its ends. Where all
candidates are equal, all of them are best. The score is the sum of these values times their weights, which sum to 1.

A ranking is a statement about *all* candidates of its moment: one more of them moves the ends of the scales, and so
every score. Facts are not taken back, so each ranking is a set of facts of its own: ``rank:7:acme`` is what acme got
among the first seven candidates, and if an eighth arrives there will be ``rank:8:...`` for everyone. The ranking that
counts is the one with the most ``candidates``. That number is of all facts under the key, excluded ones too, so no
two rankings share it. To rank once, name under ``after`` the key whose first fact says that the candidates, and the
facts that exclude some of them, are complete. A fact that excludes a candidate wakes nobody by itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from converge_core import (
    AgentEffect,
    Catalog,
    Context,
    ContextKey,
    FactPayload,
    FrozenObject,
    PayloadRegistry,
    ProposedFact,
    Site,
    Suggestor,
    SuggestorError,
    hookimpl,
)
from converge_core.context.facts import AnyFact

DIGITS = 6
"""Decimal places of a score and of its parts; candidates that differ by less are tied."""


class Ranked(FactPayload):
    """The place of one candidate: ``rank`` 1 is the best.

    ``parts`` is what each criterion adds to the score; ``candidates`` counts the facts that the ranking looked at.
    """

    family: ClassVar[str] = "converge.score.ranked"

    item: str
    rank: int = Field(ge=1)
    score: float = Field(ge=0, le=1)
    parts: FrozenObject
    candidates: int = Field(ge=1)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Scale(_Section):
    """The ends of a criterion, instead of those that the candidates happen to have."""

    min: float
    max: float

    @model_validator(mode="after")
    def _has_length(self) -> Self:
        if self.min >= self.max:
            raise ValueError(f"`min` is below `max`, unlike {self.min:g} and {self.max:g}")
        return self


class WeightedCriterion(_Section):
    """One thing to judge by."""

    name: str = Field(min_length=1, description="What the criterion is called in the parts of a score.")
    field: str = Field(min_length=1, description="The number in the payload: `price`, or `terms.days`.")
    weight: float = Field(gt=0, description="Its share of the score; all weights sum to 1.")
    goal: Literal["max", "min"] = Field("max", description="Whether more is better, or less.")
    scale: Scale | None = Field(None, description="The ends; without them, those of the candidates.")

    def normalised(self, values: Sequence[float]) -> list[float]:
        """Return values on the scale of the criterion, from 0.0 for the worst to 1.0 for the best."""
        low, high = (self.scale.min, self.scale.max) if self.scale is not None else (min(values), max(values))
        length = high / 2 - low / 2  # by halves, since a difference of two numbers may be too large for a number
        if length == 0:
            return [1.0] * len(values)
        rising = [(min(max(value, low), high) / 2 - low / 2) / length for value in values]
        return rising if self.goal == "max" else [1.0 - value for value in rising]


class Exclusion(_Section):
    """Who is left out: a fact under ``key`` names a candidate's id in ``field``; without the field it names nobody."""

    key: ContextKey
    field: str = Field(min_length=1)


class ScoringConfig(_Section):
    """The configuration of a ranking."""

    for_each: ContextKey = Field(description="The candidates.")
    criteria: tuple[WeightedCriterion, ...] = Field(description="What they are judged by, at least one.")
    exclude: Exclusion | None = Field(None, description="Facts that name candidates to leave out.")
    after: ContextKey | None = Field(None, description="Wait until this key has a fact.")
    key: ContextKey = Field(ContextKey.EVALUATIONS, description="Where the ranking goes.")
    id_prefix: str = Field("rank", min_length=1, description="Ids are `{id_prefix}:{candidates}:{candidate id}`.")

    @field_validator("criteria")
    @classmethod
    def _check_criteria(cls, criteria: tuple[WeightedCriterion, ...]) -> tuple[WeightedCriterion, ...]:
        if not criteria:
            raise ValueError("a ranking needs a criterion")
        names = [criterion.name for criterion in criteria]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two criteria have the same name: {', '.join(twice)}")
        total = math.fsum(criterion.weight for criterion in criteria)
        if abs(total - 1.0) > 1e-9:
            raise ValueError(f"the weights sum to {total:.12g}, not to 1")
        return criteria

    @model_validator(mode="after")
    def _ranks_no_rankings(self) -> Self:
        if self.key == self.for_each:
            raise ValueError(
                f"`key` differs from `for_each`: else a ranking under {self.key} is a candidate of the next"
            )
        return self


class WeightedScore(Suggestor):
    """Ranks all candidates whenever there are new ones. Deterministic; ties are broken by id."""

    def __init__(self, config: ScoringConfig, site: Site) -> None:
        self.name = site.name
        self.dependencies = (config.for_each,) if config.after is None else (config.for_each, config.after)
        self.writes = (config.key,)
        self.config = config.model_dump(mode="json")
        self._scoring = config

    def accepts(self, ctx: Context) -> bool:
        """Say whether there are new candidates, and they are complete as far as can be told."""
        scoring = self._scoring
        return bool(ctx.fresh(scoring.for_each)) and (scoring.after is None or ctx.has(scoring.after))

    def execute(self, ctx: Context) -> AgentEffect:
        """Return a proposal for each candidate, the best first. Raises SuggestorError for one that cannot be judged."""
        scoring = self._scoring
        excluded = self._excluded(ctx)
        found = ctx.get(scoring.for_each)
        candidates = sorted((fact for fact in found if fact.id not in excluded), key=lambda fact: fact.id)
        if not candidates:
            return AgentEffect.empty()
        parts = [self._weighted(criterion, candidates) for criterion in scoring.criteria]
        scores = [round(math.fsum(column), DIGITS) for column in zip(*parts, strict=True)]
        best_first = sorted(range(len(candidates)), key=lambda place: -scores[place])  # stable: ties stay sorted by id
        names = [criterion.name for criterion in scoring.criteria]
        return AgentEffect.with_proposals(
            self._proposal(
                candidates[place],
                Ranked(
                    item=candidates[place].id,
                    rank=rank,
                    score=scores[place],
                    parts={name: round(column[place], DIGITS) for name, column in zip(names, parts, strict=True)},
                    candidates=len(found),
                ),
            )
            for rank, place in enumerate(best_first, 1)
        )

    def _proposal(self, candidate: AnyFact, ranked: Ranked) -> ProposedFact[Ranked]:
        scoring = self._scoring
        fact_id = f"{scoring.id_prefix}:{ranked.candidates}:{candidate.id}"
        return ProposedFact(scoring.key, fact_id, ranked, confidence=ranked.score, evidence=(candidate,))

    def _weighted(self, criterion: WeightedCriterion, candidates: Sequence[AnyFact]) -> list[float]:
        values = [self._number(fact, criterion.field) for fact in candidates]
        return [criterion.weight * value for value in criterion.normalised(values)]

    def _excluded(self, ctx: Context) -> set[str]:
        exclude = self._scoring.exclude
        excluded: set[str] = set()
        if exclude is None:
            return excluded
        for fact in ctx.get(exclude.key):
            named = _read(fact, exclude.field)
            if isinstance(named, str):
                excluded.add(named)
            elif named is not None:
                raise self._refused(fact, f"its {exclude.field!r} names no candidate: it is {named!r:.60}")
        return excluded

    def _number(self, fact: AnyFact, field: str) -> float:
        value = _read(fact, field)
        if value is None:
            raise self._refused(fact, f"it has no {field!r}")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._refused(fact, f"its {field!r} is not a number: it is {value!r:.60}")
        return float(value)

    def _refused(self, fact: AnyFact, reason: str) -> SuggestorError:
        return SuggestorError(self.name, "invalid_input", f"fact {fact.ref}: {reason}")


def _read(fact: AnyFact, field: str) -> object:
    """Return what a dotted path leads to in a payload, or None."""
    value: object = fact.payload.body()
    for name in field.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


@hookimpl
def converge_register_suggestors(catalog: Catalog[Suggestor]) -> None:
    """Offer ``score.weighted``."""
    catalog.add("score.weighted", WeightedScore, ScoringConfig, "Ranks candidates by a weighted sum of criteria.")


@hookimpl
def converge_register_payloads(registry: PayloadRegistry) -> None:
    """Register the payload of a ranking."""
    registry.register(Ranked)
