"""A pack that is small enough to see through: which of some coins make up an amount?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from converge_core import FactPayload, Replayability
from converge_core.packs import (
    DeterminismSpec,
    Pack,
    PackPlan,
    PlanInvariant,
    Severity,
    SolveBudgets,
    SolverReport,
    SolverStop,
)


class Change(FactPayload):
    """An amount, and the coins there are."""

    family: ClassVar[str] = "toy.change"

    amount: int
    coins: tuple[int, ...]


class Purse(PackPlan):
    """The coins that make it up."""

    family: ClassVar[str] = "toy.purse"

    coins: tuple[int, ...]


Answer = Callable[[Change], object]


def report(stop: SolverStop = SolverStop.FEASIBLE, **more: object) -> SolverReport:
    return SolverReport.model_validate({"stop": stop, "method": "greedy", **more})


def purse(*coins: int, confidence: float = 0.8) -> Purse:
    return Purse(report=report(objective=len(coins)), confidence=confidence, coins=coins)


def greedy(problem: Change) -> Purse | SolverReport:
    left, taken = problem.amount, []
    for coin in sorted(problem.coins, reverse=True):
        if coin <= left:
            left -= coin
            taken.append(coin)
    return report(SolverStop.INFEASIBLE, detail=f"{left} is left") if left else purse(*taken)


def _adds_up(problem: Change, plan: Purse) -> str | None:
    return None if sum(plan.coins) == problem.amount else f"the coins are {sum(plan.coins)}, not {problem.amount}"


def _is_light(problem: Change, plan: Purse) -> str | None:
    return None if len(plan.coins) <= 3 else f"{len(plan.coins)} coins are a lot"


class Coins(Pack[Change, Purse]):
    """Answers as it is told to, and remembers what it was given."""

    name = "toy.coins"
    version = "7"
    problem = Change
    plan = Purse
    replayability = Replayability.DETERMINISTIC

    def __init__(self, answer: Answer = greedy) -> None:
        self.answer = answer
        self.given: list[tuple[SolveBudgets, DeterminismSpec]] = []

    @property
    def invariants(self) -> Sequence[PlanInvariant[Change, Purse]]:
        return (
            PlanInvariant("adds-up", _adds_up),
            PlanInvariant("is-light", _is_light, Severity.ADVISORY),
        )

    def solve(self, problem: Change, budgets: SolveBudgets, determinism: DeterminismSpec) -> Purse | SolverReport:
        self.given.append((budgets, determinism))
        return self.answer(problem)  # type: ignore[return-value]  # a test may have it answer anything
