"""Why a run stopped. One type for each reason, each with its own data; none of them loses the context."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum
from functools import cache
from typing import Any, ClassVar

from converge_core.ledger.canonical import JsonValue


class StopClass(StrEnum):
    """The family of a stop reason: what a caller has to do about it."""

    SUCCESS = "success"
    CANCELLED = "cancelled"
    HUMAN = "human"
    BUDGET = "budget"
    VALIDATION = "validation"
    FAILURE = "failure"


@cache
def _word(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


@dataclass(frozen=True, slots=True)
class StopReason:
    """The base of all stop reasons. ``str()`` gives a sentence, `to_json` the form in the ledger."""

    stop_class: ClassVar[StopClass] = StopClass.FAILURE

    @property
    def name(self) -> str:
        """The reason's name as a word of the ledger: ``CycleBudgetExhausted`` is ``cycle_budget_exhausted``."""
        return _word(type(self).__name__)

    def to_json(self) -> dict[str, JsonValue]:
        """Return the reason as ``{"reason": name, …data}``."""
        return {"reason": self.name} | {field.name: getattr(self, field.name) for field in fields(self)}

    @staticmethod
    def from_json(value: dict[str, Any]) -> StopReason:
        """Read a reason back. Raises KeyError for an unknown name."""
        data = {name: tuple(v) if isinstance(v, list) else v for name, v in value.items() if name != "reason"}
        return STOP_REASONS[value["reason"]](**data)


@dataclass(frozen=True, slots=True)
class Converged(StopReason):
    """The fixed point: nobody has anything new to say."""

    stop_class: ClassVar[StopClass] = StopClass.SUCCESS

    def __str__(self) -> str:
        return "Converged"


@dataclass(frozen=True, slots=True)
class CriteriaMet(StopReason):
    """The fixed point, with every required success criterion met."""

    criteria: tuple[str, ...]
    stop_class: ClassVar[StopClass] = StopClass.SUCCESS

    def __str__(self) -> str:
        return f"Criteria met: {', '.join(self.criteria)}"


@dataclass(frozen=True, slots=True)
class UserCancelled(StopReason):
    """Somebody with the right to do so called the run off."""

    actor: str
    cause: str
    stop_class: ClassVar[StopClass] = StopClass.CANCELLED

    def __str__(self) -> str:
        return f"Cancelled by {self.actor}: {self.cause}"


@dataclass(frozen=True, slots=True)
class HumanInterventionRequired(StopReason):
    """The fixed point, with required criteria that only a human can unblock."""

    criteria: tuple[str, ...]
    approval_refs: tuple[str, ...] = ()
    stop_class: ClassVar[StopClass] = StopClass.HUMAN

    def __str__(self) -> str:
        refs = f" (refs: {', '.join(self.approval_refs)})" if self.approval_refs else ""
        return f"Human intervention required for: {', '.join(self.criteria)}{refs}"


@dataclass(frozen=True, slots=True)
class HitlGatePending(StopReason):
    """Proposals wait for a human's decision; the run goes on when they have it."""

    gates: tuple[str, ...]
    cycle: int
    stop_class: ClassVar[StopClass] = StopClass.HUMAN

    def __str__(self) -> str:
        return f"{len(self.gates)} human gate(s) pending in cycle {self.cycle}"


@dataclass(frozen=True, slots=True)
class CycleBudgetExhausted(StopReason):
    """The next cycle is not allowed; it was not started."""

    cycles_executed: int
    limit: int
    stop_class: ClassVar[StopClass] = StopClass.BUDGET

    def __str__(self) -> str:
        return f"Cycle budget exhausted: {self.cycles_executed}/{self.limit}"


@dataclass(frozen=True, slots=True)
class FactBudgetExhausted(StopReason):
    """The next fact is not allowed; it was not promoted."""

    facts_count: int
    limit: int
    stop_class: ClassVar[StopClass] = StopClass.BUDGET

    def __str__(self) -> str:
        return f"Fact budget exhausted: {self.facts_count}/{self.limit}"


@dataclass(frozen=True, slots=True)
class TokenBudgetExhausted(StopReason):
    """A call would have needed more tokens than are left, or has reported more than it reserved."""

    tokens_consumed: int
    limit: int
    stop_class: ClassVar[StopClass] = StopClass.BUDGET

    def __str__(self) -> str:
        return f"Token budget exhausted: {self.tokens_consumed}/{self.limit}"


@dataclass(frozen=True, slots=True)
class CostBudgetExhausted(StopReason):
    """As for tokens, in micro-dollars."""

    microusd_spent: int
    limit: int
    stop_class: ClassVar[StopClass] = StopClass.BUDGET

    def __str__(self) -> str:
        return f"Cost budget exhausted: ${self.microusd_spent / 1e6:.6f}/${self.limit / 1e6:.6f}"


@dataclass(frozen=True, slots=True)
class TimeBudgetExhausted(StopReason):
    """The driver's clock has passed the limit; no further cycle was started."""

    duration_ms: int
    limit_ms: int
    stop_class: ClassVar[StopClass] = StopClass.BUDGET

    def __str__(self) -> str:
        return f"Time budget exhausted: {self.duration_ms}ms/{self.limit_ms}ms"


@dataclass(frozen=True, slots=True)
class InvariantViolated(StopReason):
    """An invariant does not hold; ``facts`` are the ones it names."""

    invariant_class: str
    invariant: str
    message: str
    facts: tuple[str, ...] = ()
    stop_class: ClassVar[StopClass] = StopClass.VALIDATION

    def __str__(self) -> str:
        return f"{self.invariant_class.capitalize()} invariant '{self.invariant}' violated: {self.message}"


@dataclass(frozen=True, slots=True)
class ConflictDetected(StopReason):
    """A proposal contradicts the fact of the same key and id. The fact stays; the proposal was not promoted."""

    fact: str
    proposer: str
    stop_class: ClassVar[StopClass] = StopClass.VALIDATION

    def __str__(self) -> str:
        return f"Conflict: '{self.proposer}' proposes other content for the fact '{self.fact}'"


@dataclass(frozen=True, slots=True)
class CommitRefused(StopReason):
    """The fixed point was reached, and the flow gate, or the human whom it asked, does not let it count."""

    message: str
    stop_class: ClassVar[StopClass] = StopClass.VALIDATION

    def __str__(self) -> str:
        return f"Commitment refused: {self.message}"


@dataclass(frozen=True, slots=True)
class SuggestorFailed(StopReason):
    """A suggestor that is not optional raised, timed out or refused. ``code`` is its reason code."""

    suggestor: str
    code: str
    message: str
    stop_class: ClassVar[StopClass] = StopClass.FAILURE

    def __str__(self) -> str:
        return f"Suggestor '{self.suggestor}' failed ({self.code}): {self.message}"


STOP_REASONS: dict[str, type[StopReason]] = {
    "converged": Converged,
    "criteria_met": CriteriaMet,
    "user_cancelled": UserCancelled,
    "human_intervention_required": HumanInterventionRequired,
    "hitl_gate_pending": HitlGatePending,
    "cycle_budget_exhausted": CycleBudgetExhausted,
    "fact_budget_exhausted": FactBudgetExhausted,
    "token_budget_exhausted": TokenBudgetExhausted,
    "cost_budget_exhausted": CostBudgetExhausted,
    "time_budget_exhausted": TimeBudgetExhausted,
    "invariant_violated": InvariantViolated,
    "conflict_detected": ConflictDetected,
    "commit_refused": CommitRefused,
    "suggestor_failed": SuggestorFailed,
}
