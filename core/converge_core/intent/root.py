"""The root intent: what a run is for. Its hash names the run's constitution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

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

    def to_json(self) -> dict[str, JsonValue]:
        """Return the intent as it stands in the ledger."""
        return {
            "active_packs": self.active_packs,
            "budget": None if self.budget is None else self.budget.to_json(),
            "id": self.id,
            "kind": self.kind.value,
            "objective": self.objective,
            "scope": self.scope.to_json(),
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
        )

    @property
    def hash(self) -> ContentHash:
        """The SHA-256 of the canonical intent."""
        return ContentHash.of(canonical(self.to_json()))
