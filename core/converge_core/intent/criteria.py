"""Success criteria: what the intent calls success, and how it is judged at the fixed point."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Protocol

from converge_core.context.state import Context
from converge_core.gates.stop import Converged, CriteriaMet, HumanInterventionRequired, StopReason
from converge_core.ledger.events import CriterionEvaluated, printable


@dataclass(frozen=True, slots=True)
class Criterion:
    """One criterion. Unmet required criteria make a run unsuccessful though it has converged."""

    id: str
    description: str = ""
    required: bool = True


@dataclass(frozen=True, slots=True)
class Met:
    """The criterion is met; ``evidence`` are the facts (``key/id``) that show it, and they must exist."""

    evidence: tuple[str, ...] = ()
    result: ClassVar[str] = "met"


@dataclass(frozen=True, slots=True)
class Unmet:
    """The criterion is not met."""

    reason: str
    result: ClassVar[str] = "unmet"


@dataclass(frozen=True, slots=True)
class Blocked:
    """Only a human can decide; ``approval_ref`` says where."""

    reason: str
    approval_ref: str | None = None
    result: ClassVar[str] = "blocked"


@dataclass(frozen=True, slots=True)
class Indeterminate:
    """Nobody could tell: there is no evaluator, it failed, or its evidence does not exist."""

    reason: str
    result: ClassVar[str] = "indeterminate"


CriterionResult = Met | Unmet | Blocked | Indeterminate


class CriterionEvaluator(Protocol):
    """Judges a criterion on a context. Pure. One that raises leaves the criterion indeterminate."""

    def evaluate(self, criterion: Criterion, ctx: Context) -> CriterionResult:
        """Return the result of one criterion."""
        ...


@dataclass(frozen=True, slots=True)
class CriterionOutcome:
    """A criterion and how it was judged."""

    criterion: Criterion
    result: CriterionResult

    def event(self) -> CriterionEvaluated:
        """Return the outcome as an event."""
        result = self.result
        return CriterionEvaluated(
            criterion=self.criterion.id,
            required=self.criterion.required,
            result=result.result,
            reason=None if isinstance(result, Met) else result.reason,
            evidence=result.evidence if isinstance(result, Met) else (),
            approval_ref=result.approval_ref if isinstance(result, Blocked) else None,
        )


def judge(criterion: Criterion, evaluator: CriterionEvaluator | None, ctx: Context) -> CriterionOutcome:
    """Judge one criterion; whatever goes wrong, including evidence that does not exist, is indeterminate."""
    if evaluator is None:
        return CriterionOutcome(criterion, Indeterminate("no evaluator"))
    try:
        outcome = CriterionOutcome(criterion, evaluator.evaluate(criterion, ctx))
        outcome.event().entry()  # refuses what is no result, and what the ledger cannot hold
    except Exception as error:  # an evaluator that cannot answer decides nothing
        reason = printable(f"the evaluator raised {type(error).__name__}: {error}")
        return CriterionOutcome(criterion, Indeterminate(reason))
    if isinstance(outcome.result, Met):
        for ref in outcome.result.evidence:
            if ctx.resolve(ref) is None:
                return CriterionOutcome(criterion, Indeterminate(f"evidence {ref!r} does not exist"))
    return outcome


def stop_reason_of(outcomes: Iterable[CriterionOutcome]) -> StopReason:
    """Return the stop reason of a fixed point: all required criteria met, some blocked, or neither."""
    required = [outcome for outcome in outcomes if outcome.criterion.required]
    if required and all(isinstance(outcome.result, Met) for outcome in required):
        return CriteriaMet(tuple(outcome.criterion.id for outcome in required))
    blocked = [(o.criterion.id, o.result.approval_ref) for o in required if isinstance(o.result, Blocked)]
    if blocked:
        refs = tuple(ref for _, ref in blocked if ref is not None)
        return HumanInterventionRequired(tuple(criterion for criterion, _ in blocked), refs)
    return Converged()
