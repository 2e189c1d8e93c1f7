"""``solve.knapsack``: what to choose when not everything fits.

Items have a value and cost something of one or more resources, each of which has a limit. An item may be required, may
need others, and of the items of an exclusive group at most one is chosen. So it allocates a budget; with a limit of 1
for each thing that may be used once, it also picks the best of overlapping sets (set packing).

Values, costs and limits are whole numbers. The problem is solved as an integer program. Of several choices with the
same value it is the first: it has the smallest item that any of them has, the next smallest of what is then possible,
and so on. When a limit ends the search, the best choice so far is the plan, with the gap that is left.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from converge_core import FactPayload, FrozenObject, Replayability, Site
from converge_core.context.payloads import FrozenDict
from converge_core.packs import (
    DeterminismSpec,
    Pack,
    PackPlan,
    PackSuggestor,
    PlanInvariant,
    Severity,
    SolveBudgets,
    SolverReport,
    SolverStop,
)
from converge_plugins.solvers.integer_program import METHOD, IntegerProgram, Tie
from converge_plugins.solvers.naming import few, repeated
from converge_plugins.solvers.needs import Clock, Deadline, require_scipy
from converge_plugins.solvers.settings import SearchConfig, confidence_in, excess_gap

MAX_AMOUNT = 10**9


def _check_amounts(amounts: Mapping[str, Any]) -> Mapping[str, Any]:
    for resource, amount in amounts.items():
        if type(amount) is not int or not 0 <= amount <= MAX_AMOUNT:
            raise ValueError(f"{resource}: an amount is a whole number from 0 to {MAX_AMOUNT}, unlike {amount!r:.40}")
    return amounts


Amounts = Annotated[FrozenObject, AfterValidator(_check_amounts)]
"""Whole numbers by resource."""


class KnapsackItem(BaseModel):
    """Something that can be chosen. ``needs`` are the items without which it cannot."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(min_length=1)
    value: int = Field(ge=-MAX_AMOUNT, le=MAX_AMOUNT)
    costs: Amounts = Field(default_factory=FrozenDict)
    required: bool = False
    needs: tuple[str, ...] = ()


class KnapsackProblem(FactPayload):
    """What there is to choose from, and the limit of each resource. Of each ``exclusive`` group one item at most."""

    family: ClassVar[str] = "converge.solve.knapsack.problem"

    items: tuple[KnapsackItem, ...]
    limits: Amounts
    exclusive: tuple[tuple[str, ...], ...] = ()

    @model_validator(mode="after")
    def _names_are_known_and_unique(self) -> Self:
        ids = [item.id for item in self.items]
        if twice := repeated(ids):
            raise ValueError(f"`items` has some ids twice: {twice}")
        known = set(ids)
        named = {name for group in self.exclusive for name in group} | {n for item in self.items for n in item.needs}
        if unknown := few(named - known):
            raise ValueError(f"`needs` or `exclusive` names what is no item: {unknown}")
        if unlimited := few({resource for item in self.items for resource in item.costs} - set(self.limits)):
            raise ValueError(f"`limits` does not limit {unlimited}")
        return self

    def summary(self) -> str:
        """Return the size of the problem."""
        return f"{len(self.items)} items, {len(self.limits)} resources"


class KnapsackPlan(PackPlan):
    """What is chosen, and what it uses of each resource. The value of the choice is the objective of the report."""

    family: ClassVar[str] = "converge.solve.knapsack.plan"

    chosen: tuple[str, ...]
    used: FrozenObject

    def summary(self) -> str:
        """Return the size of the plan, and its report."""
        return f"{len(self.chosen)} items chosen; {super().summary()}"


class KnapsackConfig(SearchConfig):
    """The configuration of ``solve.knapsack``. Its candidates are items."""


class KnapsackPack(Pack[KnapsackProblem, KnapsackPlan]):
    """The knapsack problem with several resources, dependencies and exclusions.

    A time limit makes it depend on the machine, so its plans are journaled.
    """

    name = "solve.knapsack"
    version = "1"
    problem = KnapsackProblem
    plan = KnapsackPlan
    replayability = Replayability.BEST_EFFORT

    def __init__(self, max_gap: float = 0.0, clock: Clock = time.monotonic) -> None:
        self._max_gap = max_gap
        self._clock = clock

    @property
    def invariants(self) -> Sequence[PlanInvariant[KnapsackProblem, KnapsackPlan]]:
        """Return what must hold for a choice, whoever made it."""
        return (
            PlanInvariant("only-items-and-each-once", _only_items_once),
            PlanInvariant("within-all-limits", _within_limits),
            PlanInvariant("all-required-are-chosen", _required_chosen),
            PlanInvariant("what-is-needed-is-chosen", _needs_met),
            PlanInvariant("one-of-each-exclusive-group", _exclusive_kept),
            PlanInvariant("the-values-add-up", _values_add_up),
            PlanInvariant("near-enough-to-the-best", self._near_the_best, Severity.ADVISORY),
        )

    def _near_the_best(self, problem: KnapsackProblem, plan: KnapsackPlan) -> str | None:
        return excess_gap(plan.report, self._max_gap)

    def solve(
        self, problem: KnapsackProblem, budgets: SolveBudgets, determinism: DeterminismSpec
    ) -> KnapsackPlan | SolverReport:
        """Return the first of the choices with the highest value. Raises PluginError where there is no scipy."""
        require_scipy()
        if not problem.items:
            return _report(SolverStop.DATA_INSUFFICIENT, detail="there is nothing to choose from")
        if len(problem.items) > budgets.candidate_cap:
            detail = f"{len(problem.items)} items where {budgets.candidate_cap} are allowed"
            return _report(SolverStop.CANDIDATE_CAP_REACHED, detail=detail)
        items = sorted(problem.items, key=lambda item: item.id)
        program = _program(problem, items)
        costs = {place: -item.value for place, item in enumerate(items) if item.value}
        ties = [Tie({place: -1}, -1, -int(item.required)) for place, item in enumerate(items)]
        deadline = Deadline(budgets.time_limit, self._clock)
        found = program.minimise(costs, ties, deadline, budgets.iteration_limit)
        bound = None if found.bound is None else -found.bound
        if found.values is None or found.objective is None:
            return _report(found.stop, bound=bound, detail=found.detail)
        report = _report(found.stop, -found.objective, bound, found.detail)
        chosen = [item for place, item in enumerate(items) if found.values[place]]
        return KnapsackPlan(
            report=report,
            confidence=confidence_in(report),
            chosen=tuple(item.id for item in chosen),
            used=_used(chosen, problem.limits),
        )


def _report(stop: SolverStop, objective: int | None = None, bound: int | None = None, detail: str = "") -> SolverReport:
    return SolverReport(stop=stop, method=METHOD, sense="max", objective=objective, bound=bound, detail=detail)


def _program(problem: KnapsackProblem, items: Sequence[KnapsackItem]) -> IntegerProgram:
    """Return the program whose variables say, item by item, whether it is chosen."""
    program = IntegerProgram()
    place = {item.id: program.variable(low=int(item.required)) for item in items}
    for resource, limit in sorted(problem.limits.items()):
        program.require({place[item.id]: item.costs.get(resource, 0) for item in items}, high=limit)
    for item in items:
        for needed in sorted(set(item.needs) - {item.id}):
            program.require({place[needed]: 1, place[item.id]: -1}, low=0)
    for group in sorted({tuple(sorted(set(group))) for group in problem.exclusive}):
        program.require({place[name]: 1 for name in group}, high=1)
    return program


def _used(chosen: Iterable[KnapsackItem], limits: Mapping[str, Any]) -> dict[str, int]:
    used: dict[str, int] = dict.fromkeys(sorted(limits), 0)
    for item in chosen:
        for resource, amount in item.costs.items():
            used[resource] += amount
    return used


def _items(problem: KnapsackProblem, plan: KnapsackPlan) -> list[KnapsackItem]:
    """Return the chosen items. Raises KeyError for one that is none."""
    by_id = {item.id: item for item in problem.items}
    return [by_id[name] for name in plan.chosen]


def _only_items_once(problem: KnapsackProblem, plan: KnapsackPlan) -> str | None:
    strange = Counter(plan.chosen) - Counter(item.id for item in problem.items)
    return f"no items, or chosen twice: {few(strange)}" if strange else None


def _within_limits(problem: KnapsackProblem, plan: KnapsackPlan) -> str | None:
    chosen = _items(problem, plan)
    for resource, limit in problem.limits.items():
        total = sum(item.costs.get(resource, 0) for item in chosen)
        if total > limit:
            return f"{total} of {resource} are used where {limit} are allowed"
        if total != plan.used.get(resource):
            return f"{total} of {resource} are used, not {plan.used.get(resource)}"
    return None


def _required_chosen(problem: KnapsackProblem, plan: KnapsackPlan) -> str | None:
    missing = {item.id for item in problem.items if item.required} - set(plan.chosen)
    return f"required and not chosen: {few(missing)}" if missing else None


def _needs_met(problem: KnapsackProblem, plan: KnapsackPlan) -> str | None:
    chosen = set(plan.chosen)
    for item in _items(problem, plan):
        if missing := set(item.needs) - chosen:
            return f"{item.id} needs {few(missing)}"
    return None


def _exclusive_kept(problem: KnapsackProblem, plan: KnapsackPlan) -> str | None:
    chosen = set(plan.chosen)
    for group in problem.exclusive:
        if len(both := chosen & set(group)) > 1:
            return f"only one of these can be chosen: {few(both)}"
    return None


def _values_add_up(problem: KnapsackProblem, plan: KnapsackPlan) -> str | None:
    total = sum(item.value for item in _items(problem, plan))
    stated = plan.report.objective
    return None if stated == total else f"the values come to {total}, not to {stated}"


def knapsack_suggestor(config: KnapsackConfig, site: Site) -> PackSuggestor[KnapsackProblem, KnapsackPlan]:
    """Return the suggestor that a configuration describes."""
    return config.suggestor(KnapsackPack(config.max_gap), site)
