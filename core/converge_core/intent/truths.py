"""Truths: what an organisation holds to, written down once and upheld by many intents.

A truth is a job to be done, a policy or an invariant. An intent names it, and gets what it brings: its success criteria
(``truth/id``), its constraints, the packs that take part in it, and the keys under which a human decides. What it
brings can be no weaker in one intent than in another, and its hash is part of the run's constitution: a run is judged
by the truths with which it began.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Annotated, Any, NoReturn

from pydantic import Field, WrapValidator

from converge_core.context.keys import ContextKey
from converge_core.intent.root import RootIntent, UpheldTruth
from converge_core.intent.sections import ConstraintSection, CriterionSection, Section
from converge_core.ledger.canonical import canonical
from converge_core.ledger.hashes import ContentHash
from converge_core.suggestors.catalog import Catalog, NoConfig, Site


class TruthKind(StrEnum):
    """What sort of truth."""

    JOB = "job"
    POLICY = "policy"
    INVARIANT = "invariant"


class TruthDefinition(Section):
    """One truth, as a plugin or a YAML file defines it."""

    key: str = Field(min_length=1, max_length=64, pattern=r"^[^/\s]+$", description="Its name.")
    kind: TruthKind = Field(description="What sort of truth.")
    summary: str = Field(default="", description="What it says, in a sentence.")
    success: tuple[CriterionSection, ...] = Field(default=(), description="What is success by it.")
    constraints: tuple[ConstraintSection, ...] = Field(default=(), description="What has to be respected.")
    approval_points: tuple[ContextKey, ...] = Field(
        default=(), description="A human decides about everything under these keys."
    )
    packs: tuple[str, ...] = Field(default=(), description="The packs that take part: each needs a suggestor.")

    @property
    def hash(self) -> ContentHash:
        """The SHA-256 of the canonical definition."""
        return ContentHash.of(canonical(self.to_json()))

    def to_json(self) -> dict[str, Any]:
        """Return the definition as it may stand in an intent, what is left at its default left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)


class TruthCatalog(Catalog[TruthDefinition]):
    """The truths on offer, by key."""

    def __init__(self) -> None:
        super().__init__("truth")

    def define(self, truth: TruthDefinition) -> None:
        """Offer a truth under its key. Raises PluginError when the key is taken."""
        self.add(truth.key, lambda _config, _site: truth, summary=truth.summary)

    def find_truth(self, key: str) -> TruthDefinition:
        """Return a truth. Raises LookupError with a sentence that suggests the nearest keys."""
        return self.find(key).factory(NoConfig(), Site(key, _no_code))


def _no_code(reference: str) -> NoReturn:
    raise LookupError(f"a truth loads no code, not even {reference!r}")


def _one_form(value: object, validate: Callable[[object], object]) -> object:
    """Take a truth in one of its forms, so that a fault is told of that form alone."""
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, Mapping | TruthDefinition):
        return TruthDefinition.model_validate(value)
    raise ValueError("a truth is its name, a YAML file, or a mapping that defines it")


TruthForm = Annotated[str | TruthDefinition, WrapValidator(_one_form)]
"""How an intent names a truth: its key, a YAML file that defines some, or the definition itself."""


def uphold(intent: RootIntent, truths: Iterable[TruthDefinition]) -> RootIntent:
    """Return an intent with what truths bring to it.

    A constraint that several of them demand alike stands there once; where they differ it stands there twice, which
    `RootIntent.faults` tells. The packs of a truth join those of the intent, unless all packs are active anyway.
    """
    for truth in truths:
        constraints = [section.constraint() for section in truth.constraints]
        packs = (*intent.active_packs, *truth.packs) if intent.active_packs else ()
        intent = replace(
            intent,
            success=(*intent.success, *(section.criterion(truth.key) for section in truth.success)),
            constraints=_once((*intent.constraints, *constraints)),
            active_packs=_once(packs),
            approval_points=_once((*intent.approval_points, *truth.approval_points)),
            truths=(*intent.truths, UpheldTruth(truth.key, str(truth.hash))),
        )
    return intent


def _once(items: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(items))
