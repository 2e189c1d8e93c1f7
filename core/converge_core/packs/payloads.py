"""What packs read and say: problems, plans, and outcomes without a plan.

Every solve ends in a fact. A plan carries the `SolverReport` of the search that found it, so whoever reads the plan
reads with it whether it is the best one, and how far from the best it may be. Where there is no plan, or none that may
stand, the report is in a `PackOutcome`. A report cannot contradict itself: whoever makes one, an optimum has no gap,
and what is infeasible has no value.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from converge_core.context.payloads import FactPayload, FrozenObject

GAP_DIGITS = 6
"""Decimal places of a gap."""


class SolverStop(StrEnum):
    """Why a solver stopped searching."""

    OPTIMAL = "optimal"
    """It has a solution, and a proof that none is better."""
    FEASIBLE = "feasible"
    """It has a solution, and does not look for a better one."""
    INFEASIBLE = "infeasible"
    """It has a proof that there is no solution."""
    TIME_BUDGET_EXHAUSTED = "time_budget_exhausted"
    ITERATION_BUDGET_EXHAUSTED = "iteration_budget_exhausted"
    CANDIDATE_CAP_REACHED = "candidate_cap_reached"
    DATA_INSUFFICIENT = "data_insufficient"
    """The problem holds nothing to decide."""


_WITHOUT_SOLUTION = (SolverStop.INFEASIBLE, SolverStop.DATA_INSUFFICIENT)


def relative_gap(objective: float | None, bound: float | None) -> float | None:
    """Return how far a solution may be from the best, relative to its own value; None if nobody knows."""
    if objective is None or bound is None:
        return None
    return round(abs(objective - bound) / max(1.0, abs(objective)), GAP_DIGITS)


def _gap_of(report: dict[str, Any]) -> float | None:
    return relative_gap(report.get("objective"), report.get("bound"))


class SolverReport(BaseModel):
    """How a search went: why it stopped, the value of its solution, and the bound that no solution can pass.

    Without a solution ``objective`` is None; where nothing was proved ``bound`` is None. ``gap`` follows from both.
    ``fallback`` says that ``method`` is not the one that was meant to solve the problem, and ``detail`` says why.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    stop: SolverStop
    method: str = Field(min_length=1)
    sense: Literal["min", "max"] = "min"
    objective: int | float | None = None
    bound: int | float | None = None
    gap: float | None = Field(default_factory=_gap_of)
    fallback: bool = False
    detail: str = ""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        objective, bound = self.objective, self.bound
        if self.stop in _WITHOUT_SOLUTION and objective is not None:
            raise ValueError(f"a problem that is {self.stop} has no objective")
        if self.stop in (SolverStop.OPTIMAL, SolverStop.FEASIBLE) and objective is None:
            raise ValueError(f"a solution that is {self.stop} has an objective")
        if self.stop is SolverStop.OPTIMAL and objective != bound:
            raise ValueError(f"an optimum is its own bound: {objective} is not {bound}")
        if objective is not None and bound is not None:
            low, high = (bound, objective) if self.sense == "min" else (objective, bound)
            if low > high:
                raise ValueError(f"no solution can be better than the bound {bound}, as {objective} is")
        if self.gap != relative_gap(objective, bound):
            raise ValueError(f"the gap between {objective} and {bound} is not {self.gap}")
        return self

    def __str__(self) -> str:
        value = "no solution" if self.objective is None else f"objective {self.objective}"
        why = f" ({self.detail})" if self.detail else ""
        if self.stop is SolverStop.OPTIMAL:
            return f"{value}, optimal{why}"
        gap = "" if self.objective is None else ", gap unknown" if self.gap is None else f", gap {self.gap:.2%}"
        return f"{value}{gap}, {self.stop} by {self.method}{why}"


class Severity(StrEnum):
    """What a plan that breaks an invariant comes to."""

    CRITICAL = "critical"
    """It is no plan."""
    ADVISORY = "advisory"
    """A human decides."""


class Finding(BaseModel):
    """An invariant that a plan breaks."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    invariant: str
    severity: Severity
    reason: str


class PackInput(FactPayload):
    """A problem for a pack as free JSON, from whoever does not have the pack's own class at hand."""

    family: ClassVar[str] = "converge.pack.input"

    pack: str = Field(min_length=1, pattern=r"\S")
    inputs: FrozenObject


class PackPlan(FactPayload):
    """The base of plans; each pack subclasses it with what it plans, under a family of its own.

    ``findings`` are the advisory invariants that the plan breaks.
    """

    family: ClassVar[str] = "converge.pack.plan"

    report: SolverReport
    confidence: float = Field(ge=0, le=1)
    findings: tuple[Finding, ...] = ()

    @model_validator(mode="after")
    def _is_a_solution(self) -> Self:
        if self.report.objective is None:
            raise ValueError("a plan has an objective; without a solution there is no plan, only a report")
        return self

    def summary(self) -> str:
        """Return the report, and what is to be said against the plan."""
        return "; ".join((str(self.report), *(f"{finding.invariant}: {finding.reason}" for finding in self.findings)))


class PackOutcome(FactPayload):
    """What a problem came to that has no plan: none was found, or the one that was found broke a critical invariant.

    ``problem`` is the fact (``key/id``) that states it. ``plan`` is the body of a plan that was turned away.
    """

    family: ClassVar[str] = "converge.pack.outcome"

    pack: str
    problem: str
    report: SolverReport
    rationale: str
    findings: tuple[Finding, ...] = ()
    plan: FrozenObject | None = None

    def summary(self) -> str:
        """Return why there is no plan."""
        return f"{self.pack} has no plan for {self.problem}: {self.rationale}"
