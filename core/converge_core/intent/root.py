"""The root intent: what a run is for. Its hash names the run's constitution."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Self

from converge_core.context.facts import AnyProposal, ProposedFact
from converge_core.context.keys import ContextKey
from converge_core.context.payloads import FactPayload
from converge_core.errors import Problem
from converge_core.formations.kinds import Formation, OpenClawFormation, formation_to_json, read_formation
from converge_core.gates.budgets import Budget
from converge_core.gates.drafts import MAX_ID_BYTES
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

    @property
    def suggested_keys(self) -> tuple[ContextKey, ...]:
        """The keys that an intent of this kind usually works with."""
        return _SUGGESTED_KEYS[self]


_SUGGESTED_KEYS: Mapping[IntentKind, tuple[ContextKey, ...]] = {
    IntentKind.GROWTH_STRATEGY: (
        ContextKey.SEEDS,
        ContextKey.SIGNALS,
        ContextKey.COMPETITORS,
        ContextKey.STRATEGIES,
        ContextKey.EVALUATIONS,
    ),
    IntentKind.SCHEDULING: (ContextKey.SEEDS, ContextKey.CONSTRAINTS, ContextKey.STRATEGIES),
    IntentKind.RESOURCE_OPTIMIZATION: (
        ContextKey.SEEDS,
        ContextKey.CONSTRAINTS,
        ContextKey.STRATEGIES,
        ContextKey.EVALUATIONS,
    ),
    IntentKind.RISK_ASSESSMENT: (
        ContextKey.SEEDS,
        ContextKey.SIGNALS,
        ContextKey.HYPOTHESES,
        ContextKey.EVALUATIONS,
    ),
    IntentKind.CONTENT_GENERATION: (ContextKey.SEEDS, ContextKey.CONSTRAINTS, ContextKey.STRATEGIES),
    IntentKind.CUSTOM: (ContextKey.SEEDS,),
}


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


@dataclass(frozen=True, slots=True)
class UpheldTruth:
    """A truth that an intent upholds: its key, and the hash of its definition. See `converge_core.intent.truths`."""

    key: str
    hash: str


class StopWhen(StrEnum):
    """When a run may end."""

    FIXED_POINT = "fixed_point"
    CRITERIA_MET = "criteria_met"


@dataclass(frozen=True, slots=True)
class RootIntent:
    """A goal, what it is about, how success is told, and what it may cost. ``budget`` None takes the engine's.

    At its ``approval_points`` a human decides about everything, whatever the engine's policy asks about besides.
    """

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
    truths: tuple[UpheldTruth, ...] = ()
    approval_points: tuple[ContextKey, ...] = ()
    formation: Formation | None = None

    @property
    def hard_constraints(self) -> tuple[IntentConstraint, ...]:
        """The constraints that must hold."""
        return tuple(constraint for constraint in self.constraints if constraint.severity is ConstraintSeverity.HARD)

    def constraint_proposals(self) -> tuple[AnyProposal, ...]:
        """Return the hard constraints as inputs of the run: ``constraints/intent:{key}``."""
        return tuple(
            ProposedFact(
                ContextKey.CONSTRAINTS,
                f"intent:{constraint.key}",
                ConstraintPayload(name=constraint.key, value=constraint.value),
                provenance=f"intent:{self.id}",
            )
            for constraint in self.hard_constraints
        )

    def faults(self) -> tuple[Problem, ...]:
        """Return everything that is wrong with the intent; nothing when it can be run."""
        named: list[tuple[str, Sequence[str]]] = [
            ("id", [self.id]),
            ("scope", [name for name, _ in self.scope.constraints]),
            ("success", [criterion.id for criterion in self.success]),
            ("constraints", [constraint.key for constraint in self.constraints]),
            ("packs", self.active_packs),
            ("truths", [truth.key for truth in self.truths]),
        ]
        found = [Problem(what, "a name is blank") for what, names in named for name in names if not name.strip()]
        for what, names in named:
            if what != "scope":  # a dimension may have several values
                found += [Problem(what, f"{name!r} stands there twice") for name, n in Counter(names).items() if n > 1]
        for proposal in self.constraint_proposals():
            if not proposal.id.isprintable() or len(proposal.id.encode()) > MAX_ID_BYTES:
                found.append(Problem("constraints", f"{proposal.id!r:.80} cannot name a fact"))
            if (outside := self.scope.excludes(proposal)) is not None:
                found.append(Problem("constraints", f"{proposal.id} is out of the intent's own scope: {outside}"))
        if self.stop_when is StopWhen.CRITERIA_MET and not any(criterion.required for criterion in self.success):
            found.append(Problem("stop_when", "criteria_met needs a required success criterion"))
        is_open = isinstance(self.formation, OpenClawFormation)
        if is_open and not any(criterion.required for criterion in self.success):
            found.append(Problem("formation", "an open one needs a required success criterion to try for"))
        return tuple(found)

    def to_json(self) -> dict[str, JsonValue]:
        """Return the intent as it stands in the ledger."""
        return {
            "active_packs": self.active_packs,
            "approval_points": [key.value for key in self.approval_points],
            "constraints": [{"key": c.key, "severity": c.severity.value, "value": c.value} for c in self.constraints],
            "budget": None if self.budget is None else self.budget.to_json(),
            "formation": None if self.formation is None else formation_to_json(self.formation),
            "id": self.id,
            "kind": self.kind.value,
            "objective": self.objective,
            "risk_posture": self.risk_posture.value,
            "scope": self.scope.to_json(),
            "stop_when": self.stop_when.value,
            "success": [{"description": c.description, "id": c.id, "required": c.required} for c in self.success],
            "truths": [{"hash": truth.hash, "key": truth.key} for truth in self.truths],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read an intent back from `to_json`."""
        return cls(
            id=value["id"],
            kind=IntentKind(value["kind"]),
            objective=value["objective"],
            scope=Scope.from_json(value["scope"]),
            success=tuple(Criterion(**item) for item in value["success"]),
            budget=None if value["budget"] is None else Budget.from_json(value["budget"]),
            active_packs=tuple(value["active_packs"]),
            stop_when=StopWhen(value["stop_when"]),
            risk_posture=RiskPosture(value["risk_posture"]),
            constraints=tuple(
                IntentConstraint(item["key"], item["value"], ConstraintSeverity(item["severity"]))
                for item in value["constraints"]
            ),
            truths=tuple(UpheldTruth(item["key"], item["hash"]) for item in value["truths"]),
            approval_points=tuple(ContextKey(key) for key in value["approval_points"]),
            formation=None if value["formation"] is None else read_formation(value["formation"]),
        )

    @property
    def hash(self) -> ContentHash:
        """The SHA-256 of the canonical intent."""
        return ContentHash.of(canonical(self.to_json()))
