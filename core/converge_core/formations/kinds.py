"""The four kinds of formation, as an intent states them.

===============  =====================================================================================
kind             who is asked
===============  =====================================================================================
``static``       those it names
``scored``       the best by weighted score, as many as it says
``deliberated``  everybody, in a huddle of some cycles; then those whose facts were confident enough
``open``         one variant after another, until the required success criteria are met
===============  =====================================================================================

A formation is about its candidates, and only about them: other suggestors are asked as ever.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from converge_core.formations.profiles import Word
from converge_core.ledger.canonical import JsonValue

Steps = tuple[str | int, ...]


class FormationKind(StrEnum):
    """How a formation is chosen: by name, by score, by what its members have shown, or again until success."""

    STATIC = "static"
    SCORED = "scored"
    DELIBERATED = "deliberated"
    OPEN = "open"


def _once(names: tuple[str, ...]) -> tuple[str, ...]:
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise ValueError(f"{twice[0]!r} stands there twice")
    return names


Names = Annotated[tuple[Word, ...], AfterValidator(_once)]
"""Suggestors by name, each once."""

SomeNames = Annotated[Names, Field(min_length=1)]


class ScoringWeights(BaseModel):
    """How much each part counts in a candidate's score; only their proportions matter."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    cost: float = Field(default=0.25, ge=0, le=10**6, description="For being cheap.")
    latency: float = Field(default=0.25, ge=0, le=10**6, description="For being fast.")
    confidence: float = Field(default=0.25, ge=0, le=10**6, description="For being sure.")
    role_coverage: float = Field(default=0.25, ge=0, le=10**6, description="For playing many of the roles.")

    @model_validator(mode="after")
    def _something_counts(self) -> ScoringWeights:
        if self.total <= 0:
            raise ValueError("at least one weight is above 0")
        return self

    @property
    def total(self) -> float:
        """The sum of the weights."""
        return self.cost + self.latency + self.confidence + self.role_coverage


class _Formation(BaseModel):
    """What all kinds have in common."""

    # Few runs have a formation: the first of a kind builds what validates it.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)

    candidates: Names = Field(
        default=(), description="Who may be asked, and not otherwise; every suggestor of the run, when empty."
    )
    roles: tuple[Word, ...] = Field(
        default=(), description="The roles to fill, each by a member of its own; one stands there twice to need two."
    )
    capabilities: tuple[Word, ...] = Field(default=(), description="What every member must be able to do.")

    def named(self) -> Iterator[tuple[Steps, str]]:
        """Yield every suggestor that the formation names, with its place in it."""
        yield from _placed(("candidates",), self.candidates)

    def _check(self, names: Iterable[str]) -> None:
        for name in names:
            if self.candidates and name not in self.candidates:
                raise ValueError(f"{name!r} is not among the candidates")


def _placed(steps: Steps, names: Iterable[str]) -> Iterator[tuple[Steps, str]]:
    for place, name in enumerate(names):
        yield (*steps, place), name


class StaticFormation(_Formation):
    """Asks those it names."""

    kind: Literal["static"] = Field(default="static", description="Chosen by name.")
    names: SomeNames = Field(description="Who is asked.")

    @model_validator(mode="after")
    def _names_are_candidates(self) -> StaticFormation:
        self._check(self.names)
        return self

    def named(self) -> Iterator[tuple[Steps, str]]:
        yield from super().named()
        yield from _placed(("names",), self.names)


class ScoredFormation(_Formation):
    """Asks the best by weighted score. Whoever fills a role that nobody better fills comes first."""

    kind: Literal["scored"] = Field(default="scored", description="Chosen by score.")
    top_n: int = Field(ge=1, description="How many are asked.")
    weights: ScoringWeights = Field(default=ScoringWeights(), description="What counts, and how much.")


class DeliberatedFormation(_Formation):
    """Asks everybody in a huddle, and after it those whose promoted facts were confident enough, best first."""

    kind: Literal["deliberated"] = Field(default="deliberated", description="Chosen by what they have shown.")
    huddle_max_cycles: int = Field(
        default=3,
        ge=1,
        description="The most cycles of the huddle; it ends before when nobody has anything new to say.",
    )
    min_confidence_threshold: float = Field(
        default=0.6, ge=0, le=1, description="The least mean confidence of the facts of a suggestor that stays."
    )
    weights: ScoringWeights = Field(default=ScoringWeights(), description="What counts, and how much.")


class OpenClawFormation(_Formation):
    """Tries one variant after another, as long as required success criteria are unmet at the fixed point."""

    kind: Literal["open"] = Field(default="open", description="Chosen again until success.")
    variants: tuple[SomeNames, ...] = Field(min_length=1, description="Who is asked, variant by variant.")
    max_extra_loops: int = Field(default=1, ge=0, description="The most variants that are tried after the first.")

    @model_validator(mode="after")
    def _variants_are_of_candidates(self) -> OpenClawFormation:
        for variant in self.variants:
            self._check(variant)
        return self

    def named(self) -> Iterator[tuple[Steps, str]]:
        yield from super().named()
        for place, variant in enumerate(self.variants):
            yield from _placed(("variants", place), variant)


Formation: TypeAlias = Annotated[
    StaticFormation | ScoredFormation | DeliberatedFormation | OpenClawFormation, Field(discriminator="kind")
]
"""A formation of any kind; ``kind`` tells which."""

_FORMATION: TypeAdapter[Formation] = TypeAdapter(Formation, config=ConfigDict(defer_build=True))


def formation_to_json(formation: Formation) -> dict[str, JsonValue]:
    """Return a formation as it stands in the ledger."""
    return formation.model_dump(mode="json")


def read_formation(value: Mapping[str, Any]) -> Formation:
    """Read a formation back from `formation_to_json`. Raises pydantic's ValidationError."""
    return _FORMATION.validate_python(value)
