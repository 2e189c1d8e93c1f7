"""What a run returns, for every stop: the context up to it, why, and the proof of what was concluded."""

from __future__ import annotations

from dataclasses import dataclass

from converge_core.context.allowance import Usage
from converge_core.context.state import ContextState
from converge_core.errors import ConvergeError
from converge_core.formations.decision import FormationDecision, FormationOutcome
from converge_core.gates.hitl import HitlPause
from converge_core.gates.stop import StopReason
from converge_core.intent.criteria import CriterionOutcome, Met
from converge_core.ledger.hashes import IntegrityProof


class StoppedEarly(ConvergeError):
    """Raised by `ConvergeResult.raise_for_stop`; holds the reason."""

    def __init__(self, reason: StopReason) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return str(self.reason)


@dataclass(frozen=True, slots=True)
class ConvergeResult:
    """The one result of a run.

    ``cycles`` counts the cycle that found nobody eligible. ``converged`` says whether a fixed point was reached with
    every invariant intact. ``pause`` is there when the run waits for people, and is what `Engine.resume` takes.
    """

    run_id: str
    context: ContextState
    cycles: int
    converged: bool
    stop_reason: StopReason
    criteria_outcomes: tuple[CriterionOutcome, ...]
    integrity: IntegrityProof
    pause: HitlPause | None
    usage: Usage

    @property
    def criteria_met(self) -> bool:
        """Whether every required success criterion is met; true when there is none."""
        required = [outcome for outcome in self.criteria_outcomes if outcome.criterion.required]
        return all(isinstance(outcome.result, Met) for outcome in required)

    @property
    def formation(self) -> FormationOutcome | None:
        """How the run's formation came out; None where nothing was decided about it."""
        decisions = [fact.payload for fact in self.context.get(FormationDecision)]
        if not decisions:
            return None
        used = dict.fromkeys(name for decision in decisions for name in decision.selected)
        extra = sum(decision.variant is not None and decision.variant > 1 for decision in decisions)
        return FormationOutcome(decisions[-1].kind, tuple(used), self.converged, self.cycles, extra)

    def raise_for_stop(self) -> ConvergeResult:
        """Return the result itself when the run converged. Raises StoppedEarly otherwise."""
        if not self.converged:
            raise StoppedEarly(self.stop_reason)
        return self
