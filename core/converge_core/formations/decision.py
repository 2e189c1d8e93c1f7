"""The decision who is asked: a fact like any other, so it passes the gates, and a human can be asked about it.

The roster asks a candidate only if the latest decision selects it. Suggestors that are no candidates are asked as ever.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from pydantic import Field, model_validator

from converge_core.context.admission import INPUT
from converge_core.context.facts import AnyProposal, ProposedFact
from converge_core.context.keys import ContextKey
from converge_core.context.payloads import FactPayload
from converge_core.formations.kinds import FormationKind

FORMATION = "formation"
"""The proposer of the decisions that an intent's formation comes to; no suggestor may have this name."""


@dataclass(frozen=True, slots=True)
class RoleAssignment:
    """Who plays a role."""

    role: str
    suggestor: str


@dataclass(frozen=True, slots=True)
class CandidateScore:
    """How a candidate was judged. ``confidence`` is what counted as its own: what it declares, or what it has shown."""

    suggestor: str
    score: float
    confidence: float


@dataclass(frozen=True, slots=True)
class CandidateRefusal:
    """Why a candidate could not be selected."""

    suggestor: str
    reason: str


class FormationDecision(FactPayload, defer_build=True):
    """Who was considered, who is asked from now on, and why.

    ``coverage`` is the part of the required roles that somebody plays, from 0.0 to 1.0; ``confidence`` is how sure the
    decision is. ``scores`` are best first. ``variant`` counts the variants of an open formation from 1.
    """

    family: ClassVar[str] = "converge.formation.decision"
    kind: FormationKind
    candidates: tuple[str, ...] = Field(min_length=1)
    selected: tuple[str, ...]
    rationale: str = Field(min_length=1)
    confidence: float = Field(default=1.0, ge=0.0, le=1.0)
    coverage: float = Field(default=1.0, ge=0.0, le=1.0)
    assignments: tuple[RoleAssignment, ...] = ()
    unmatched_roles: tuple[str, ...] = ()
    scores: tuple[CandidateScore, ...] = ()
    refused: tuple[CandidateRefusal, ...] = ()
    variant: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _fits_together(self) -> FormationDecision:
        for name in self.selected:
            if name not in self.candidates:
                raise ValueError(f"{name!r} is selected and no candidate")
        for assignment in self.assignments:
            if assignment.suggestor not in self.selected:
                raise ValueError(f"{assignment.suggestor!r} plays a role and is not selected")
        return self

    def summary(self) -> str:
        unmatched = f"; nobody for {', '.join(self.unmatched_roles)}" if self.unmatched_roles else ""
        selected = ", ".join(self.selected) or "nobody"
        return f"{self.kind}: {selected} of {len(self.candidates)}; {self.rationale}{unmatched}"


@dataclass(frozen=True, slots=True)
class FormationOutcome:
    """How a run under a formation came out. ``suggestors_used`` are all whom one of its decisions has selected."""

    formation_kind: FormationKind
    suggestors_used: tuple[str, ...]
    fixed_point_reached: bool
    cycles_used: int
    extra_loops_used: int = 0


def decision_proposal(decision: FormationDecision, version: int) -> AnyProposal:
    """Return the proposal of a decision on a context of so many facts.

    The number of facts is its id: once the decision is one of them there are more, so no two decisions share an id.
    """
    return ProposedFact(
        ContextKey.STRATEGIES,
        f"formation:{version}",
        decision,
        confidence=decision.confidence,
        provenance=f"formation:{decision.kind}",
    )


def bearer(recorded: str) -> str:
    """Return who brought an input in, as its entry says: the formation of the run or, whatever it says, an input."""
    return FORMATION if recorded == FORMATION else INPUT


def bench(decision: FormationDecision | None, candidates: Iterable[str] = ()) -> frozenset[str]:
    """Return who is not asked under a decision: those whom it, or the formation, calls candidates, less the selected.

    Without a decision nobody is selected: what a human has not let through does not happen.
    """
    if decision is None:
        return frozenset(candidates)
    return frozenset((*candidates, *decision.candidates)).difference(decision.selected)
