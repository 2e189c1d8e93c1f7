"""The contract of a pack, and the gate that its plans pass before they are proposed.

A pack solves one class of problems. It also says what must hold for a plan, as invariants that look at the problem and
the plan alone and not at the solver: a solver that is wrong is found out here. An invariant that cannot answer does
not hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from converge_core.context.payloads import FactPayload
from converge_core.ledger.events import printable
from converge_core.packs.limits import DeterminismSpec, SolveBudgets
from converge_core.packs.payloads import Finding, PackPlan, Severity, SolverReport
from converge_core.suggestors.contract import Replayability

P = TypeVar("P", bound=FactPayload)
S = TypeVar("S", bound=PackPlan)


@dataclass(frozen=True, slots=True)
class PlanInvariant(Generic[P, S]):
    """A condition on plans. ``check`` is pure; it returns None when the condition holds, else the reason why not."""

    name: str
    check: Callable[[P, S], str | None]
    severity: Severity = Severity.CRITICAL


class PlanVerdict(StrEnum):
    """What is to become of a plan."""

    PROMOTE = "promote"
    ESCALATE = "escalate"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class PlanEvaluation:
    """What a pack's gate says of a plan."""

    verdict: PlanVerdict
    rationale: str


class Pack(Protocol[P, S]):
    """One class of problems, and how they are solved.

    ``problem`` and ``plan`` are the payload classes that it reads and makes. ``version`` changes when the same problem
    may get another plan. ``replayability`` is `DETERMINISTIC` only if no answer depends on how fast the machine is.
    """

    name: str
    version: str
    problem: type[P]
    plan: type[S]
    replayability: Replayability

    @property
    def invariants(self) -> Sequence[PlanInvariant[P, S]]:
        """What must hold for a plan."""
        ...

    def solve(self, problem: P, budgets: SolveBudgets, determinism: DeterminismSpec) -> S | SolverReport:
        """Return a plan, or the report of a search that found none.

        Same problem, same limits, same seed: the same answer, in whatever order the problem lists its parts. What it
        raises fails the suggestor.
        """
        ...

    def evaluate_gate(self, findings: Sequence[Finding]) -> PlanEvaluation:
        """Say what is to become of a plan that breaks these invariants."""
        return default_gate_evaluation(findings)


def examine_plan(invariants: Iterable[PlanInvariant[P, S]], problem: P, plan: S) -> tuple[Finding, ...]:
    """Return the invariants that a plan breaks, in their order. One that raises is broken."""
    findings = []
    for invariant in invariants:
        try:
            reason = invariant.check(problem, plan)
            if reason is None:
                continue
            reason = printable(reason)
        except Exception as error:
            reason = printable(f"the check raised {type(error).__name__}: {error}")
        findings.append(Finding(invariant=invariant.name, severity=invariant.severity, reason=reason))
    return tuple(findings)


def default_gate_evaluation(findings: Sequence[Finding]) -> PlanEvaluation:
    """Reject what breaks a critical invariant, escalate what breaks an advisory one, promote the rest (seed 002)."""
    for severity, verdict in ((Severity.CRITICAL, PlanVerdict.REJECT), (Severity.ADVISORY, PlanVerdict.ESCALATE)):
        if broken := [finding.invariant for finding in findings if finding.severity is severity]:
            return PlanEvaluation(verdict, f"{severity.capitalize()} invariant(s) violated: {', '.join(broken)}")
    return PlanEvaluation(PlanVerdict.PROMOTE, "All invariants passed")
