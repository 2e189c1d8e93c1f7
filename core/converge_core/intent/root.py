"""The root intent: what a run is for. Its hash names the run's constitution."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Self

from converge_core.context.facts import AnyProposal, ProposedFact
from converge_core.context.keys import ContextKey
from converge_core.context.payloads import FactPayload
from converge_core.errors import Problem
from converge_core.gates.budgets import Budget
from converge_core.intent.criteria import Criterion
from converge_core.intent.scope import Scope
from converge_core.ledger.canonical import JsonValue, canonical
from converge_core.ledger.hashes import ContentHash


class IntentKind(StrEnum):
    """What sort of decision is sought (seed 002)."""

    GROWTH_STRATEGY = "growth_strategy"
    SCHEDULING = "scheduling"
    RESOURCE_OPTIMIZATION = "resource_optimization"
    RISK_ASSESSMENT = "risk_assessment"
    CONTENT_GENERATION = "content_generation"
    CUSTOM = "custom"


class RiskPosture(StrEnum):
    """How much risk a decision may take."""

    CONSERVATIVE = "conservative"
    BALANCED = "balanced"
    AGGRESSIVE = "aggressive"


class ConstraintSeverity(StrEnum):
    """Whether a constraint must hold, or should."""

    HARD = "hard"
    SOFT = "soft"


@dataclass(frozen=True, slots=True)
class IntentConstraint:
    """A condition of the intent, by name and value; a hard one is a fact that every suggestor sees."""

    key: str
    value: str
    severity: ConstraintSeverity = ConstraintSeverity.HARD


class ConstraintPayload(FactPayload):
    """A hard constraint of the intent, as a fact under ``constraints``."""

    family: ClassVar[str] = "converge.intent.constraint"
    name: str
    value: str
    severity: ConstraintSeverity = ConstraintSeverity.HARD

    def summary(self) -> str:
        return f"{self.name}={self.value}"


class StopWhen(StrEnum):
    """When a run may end."""

    FIXED_POINT = "fixed_point"
    CRITERIA_MET = "criteria_met"


@dataclass(frozen=True, slots=True)
class RootIntent:
    """A goal, what it is about, how success is told, and what it may cost. ``budget`` None takes the engine's."""

    id: str
    kind: IntentKind = IntentKind.CUSTOM
    objective: str = ""
    scope: Scope = Scope()
    success: tuple[Criterion, ...] = ()
    budget: Budget | None = None
    active_packs: tuple[str, ...] = ()
    stop_when: StopWhen = StopWhen.FIXED_POINT
    risk_posture: RiskPosture = RiskPosture.BALANCED
    constraints: tuple[IntentConstraint, ...] = ()

    def constraint_proposals(self) -> tuple[AnyProposal, ...]:
        """Return the hard constraints as inputs of the run: ``constraints/intent:{key}``."""
        return tuple(
            ProposedFact(
                ContextKey.CONSTRAINTS,
                f"intent:{constraint.key}",
                ConstraintPayload(name=constraint.key, value=constraint.value),
                provenance=f"intent:{self.id}",
            )
            for constraint in self.constraints
            if constraint.severity is ConstraintSeverity.HARD
        )

    def faults(self) -> tuple[Problem, ...]:
        """Return everything that is wrong with the intent; nothing when it can be run."""
        found = []
        if not self.id.strip():
            found.append(Problem("id", "an intent needs an id"))
        for what, names in (
            ("success", [criterion.id for criterion in self.success]),
            ("constraints", [constraint.key for constraint in self.constraints]),
        ):
            found += [Problem(what, f"{name!r} stands there twice") for name, n in Counter(names).items() if n > 1]
        if self.stop_when is StopWhen.CRITERIA_MET and not any(criterion.required for criterion in self.success):
            found.append(Problem("stop_when", "criteria_met needs a required success criterion"))
        return tuple(found)

    def to_json(self) -> dict[str, JsonValue]:
        """Return the intent as it stands in the ledger."""
        return {
            "active_packs": self.active_packs,
            "constraints": [{"key": c.key, "severity": c.severity.value, "value": c.value} for c in self.constraints],
            "budget": None if self.budget is None else self.budget.to_json(),
            "id": self.id,
            "kind": self.kind.value,
            "objective": self.objective,
            "risk_posture": self.risk_posture.value,
            "scope": self.scope.to_json(),
            "stop_when": self.stop_when.value,
            "success": [{"description": c.description, "id": c.id, "required": c.required} for c in self.success],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read an intent back from `to_json`."""
        return cls(
            id=value["id"],
            kind=IntentKind(value["kind"]),
            objective=value["objective"],
            scope=Scope(tuple(pair for item in value["scope"] for pair in item.items())),
            success=tuple(Criterion(**item) for item in value["success"]),
            budget=None if value["budget"] is None else Budget.from_json(value["budget"]),
            active_packs=tuple(value["active_packs"]),
            stop_when=StopWhen(value["stop_when"]),
            risk_posture=RiskPosture(value["risk_posture"]),
            constraints=tuple(
                IntentConstraint(item["key"], item["value"], ConstraintSeverity(item["severity"]))
                for item in value["constraints"]
            ),
        )

    @property
    def hash(self) -> ContentHash:
        """The SHA-256 of the canonical intent."""
        return ContentHash.of(canonical(self.to_json()))
