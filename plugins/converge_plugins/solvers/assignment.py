"""``solve.assignment``: who goes with whom, at the least total cost.

A problem lists the pairs that are allowed; every other pair is forbidden. Nobody has more than one partner. Leaving
somebody without one costs a penalty, or is forbidden where there is no penalty. Costs are whole numbers, so sums of
them are exact, and the result is a proven optimum.

The allowed pairs fall apart into groups that share nobody, and each group is solved by itself (`linear_sum_assignment`
of scipy). Its square matrix has a row for each left, then one for each right that stays alone, and a column for each
right, then one for each left that stays alone.

Of several optimal assignments it is the first: the smallest left has the smallest right that any of them gives it, the
next left the smallest of what is then possible, and so on; nobody is the last choice. It is found among the *tight*
pairs, those that an optimum may use: by the dual solution of the linear program these are the ones whose reduced cost
is zero.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, NamedTuple, Self

from pydantic import Field, model_validator

from converge_core import FactPayload, Replayability, Site
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
from converge_plugins.solvers.naming import few, miscounted, repeated
from converge_plugins.solvers.needs import require_scipy
from converge_plugins.solvers.settings import SolverConfig

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

METHOD = "linear_sum_assignment"
MAX_COST = 10**9
"""The largest cost of a pair or a penalty: sums of a million of them are exact in the solver's floating point."""

Cost = Annotated[int, Field(ge=-MAX_COST, le=MAX_COST)]
Penalty = Annotated[int, Field(ge=0, le=MAX_COST)]


class Pair(NamedTuple):
    """A left and a right that may go together, and what that costs. In JSON it is a list of the three."""

    left: str
    right: str
    cost: Cost


class AssignmentProblem(FactPayload):
    """Who is to be paired. A penalty of None says that everybody on that side must have a partner."""

    family: ClassVar[str] = "converge.solve.assignment.problem"

    lefts: tuple[str, ...]
    rights: tuple[str, ...]
    pairs: tuple[Pair, ...]
    unmatched_left: Penalty | None = None
    unmatched_right: Penalty | None = 0

    @model_validator(mode="after")
    def _names_are_known_and_unique(self) -> Self:
        for side, names in (("lefts", self.lefts), ("rights", self.rights)):
            if twice := repeated(names):
                raise ValueError(f"`{side}` has some names twice: {twice}")
        if twice := repeated(f"{left} and {right}" for left, right, _ in self.pairs):
            raise ValueError(f"`pairs` has some pairs twice: {twice}")
        lefts, rights = set(self.lefts), set(self.rights)
        unknown = [name for left, right, _ in self.pairs for name in ({left} - lefts) | ({right} - rights)]
        if unknown:
            raise ValueError(f"`pairs` names who is not on its side: {few(unknown)}")
        return self

    def summary(self) -> str:
        """Return the size of the problem."""
        return f"{len(self.lefts)} to {len(self.rights)}, {len(self.pairs)} pairs allowed"


class AssignmentPlan(PackPlan):
    """Who goes with whom, by left; and who has nobody."""

    family: ClassVar[str] = "converge.solve.assignment.plan"

    pairs: tuple[Pair, ...]
    unmatched_lefts: tuple[str, ...]
    unmatched_rights: tuple[str, ...]

    def summary(self) -> str:
        """Return the size of the plan, and its report."""
        alone = len(self.unmatched_lefts) + len(self.unmatched_rights)
        return f"{len(self.pairs)} pairs, {alone} without a partner; {super().summary()}"


class AssignmentConfig(SolverConfig):
    """The configuration of ``solve.assignment``. Its candidates are pairs."""

    min_matched: float = Field(
        default=0.0, ge=0, le=1, description="A human decides about a plan that matches a smaller share of the lefts."
    )


class AssignmentPack(Pack[AssignmentProblem, AssignmentPlan]):
    """The linear sum assignment problem with forbidden pairs and penalties."""

    name = "solve.assignment"
    version = "1"
    problem = AssignmentProblem
    plan = AssignmentPlan
    replayability = Replayability.DETERMINISTIC

    def __init__(self, min_matched: float = 0.0) -> None:
        self._min_matched = min_matched

    @property
    def invariants(self) -> Sequence[PlanInvariant[AssignmentProblem, AssignmentPlan]]:
        """Return what must hold for an assignment, whoever found it."""
        return (
            PlanInvariant("everybody-is-accounted-for-once", _everybody_once),
            PlanInvariant("only-allowed-pairs", _only_allowed_pairs),
            PlanInvariant("who-must-have-a-partner-has-one", _partners_for_all_who_must),
            PlanInvariant("the-costs-add-up", _costs_add_up),
            PlanInvariant("enough-are-matched", self._enough_matched, Severity.ADVISORY),
        )

    def _enough_matched(self, problem: AssignmentProblem, plan: AssignmentPlan) -> str | None:
        wanted, found = self._min_matched * len(problem.lefts), len(plan.pairs)
        return None if found >= wanted else f"{found} of {len(problem.lefts)} are matched, {wanted:g} are expected"

    def solve(
        self, problem: AssignmentProblem, budgets: SolveBudgets, determinism: DeterminismSpec
    ) -> AssignmentPlan | SolverReport:
        """Return the first of the assignments with the least cost. Raises PluginError where there is no scipy."""
        require_scipy()
        if not problem.lefts and not problem.rights:
            return _report(SolverStop.DATA_INSUFFICIENT, "nobody is to be paired")
        if len(problem.pairs) > budgets.candidate_cap:
            detail = f"{len(problem.pairs)} pairs where {budgets.candidate_cap} are allowed"
            return _report(SolverStop.CANDIDATE_CAP_REACHED, detail)
        chosen: list[Pair] = []
        for group in _groups(problem):
            found = _solve_group(group, problem.unmatched_left, problem.unmatched_right)
            if found is None:
                names = few((*group.lefts, *group.rights))
                return _report(SolverStop.INFEASIBLE, f"those who must have a partner cannot all have one: {names}")
            chosen += found
        return _plan(problem, sorted(chosen))


class _Group(NamedTuple):
    """Those whom allowed pairs connect; both sides in order."""

    lefts: tuple[str, ...]
    rights: tuple[str, ...]
    pairs: tuple[Pair, ...]


def _report(stop: SolverStop, detail: str) -> SolverReport:
    return SolverReport(stop=stop, method=METHOD, detail=detail)


def _plan(problem: AssignmentProblem, pairs: Sequence[Pair]) -> AssignmentPlan:
    lefts = sorted(set(problem.lefts) - {pair.left for pair in pairs})
    rights = sorted(set(problem.rights) - {pair.right for pair in pairs})
    cost = (
        sum(pair.cost for pair in pairs)
        + len(lefts) * (problem.unmatched_left or 0)
        + len(rights) * (problem.unmatched_right or 0)
    )
    return AssignmentPlan(
        report=SolverReport(stop=SolverStop.OPTIMAL, method=METHOD, objective=cost, bound=cost),
        confidence=1.0,
        pairs=tuple(pairs),
        unmatched_lefts=tuple(lefts),
        unmatched_rights=tuple(rights),
    )


def _groups(problem: AssignmentProblem) -> Iterator[_Group]:
    """Split a problem into groups that share nobody, the one with the smallest name first."""
    by_left: dict[str, list[Pair]] = defaultdict(list)
    by_right: dict[str, list[Pair]] = defaultdict(list)
    for pair in sorted(problem.pairs):
        by_left[pair.left].append(pair)
        by_right[pair.right].append(pair)
    seen: set[str] = set()
    for start in sorted(problem.lefts):
        if start in seen:
            continue
        lefts, rights, waiting = {start}, set[str](), deque((start,))
        while waiting:
            for pair in by_left[waiting.popleft()]:
                if pair.right not in rights:
                    rights.add(pair.right)
                    found = {other.left for other in by_right[pair.right]} - lefts
                    lefts |= found
                    waiting.extend(found)
        seen |= lefts
        pairs = tuple(pair for left in sorted(lefts) for pair in by_left[left])
        yield _Group(tuple(sorted(lefts)), tuple(sorted(rights)), pairs)
    for right in sorted(problem.rights):
        if right not in by_right:
            yield _Group((), (right,), ())


def _solve_group(group: _Group, unmatched_left: int | None, unmatched_right: int | None) -> list[Pair] | None:
    """Return the pairs of the first optimum, or None where there is none."""
    import numpy as np
    from scipy.optimize import linear_sum_assignment

    if not group.pairs:
        penalty = unmatched_left if group.lefts else unmatched_right
        return None if penalty is None else []
    left_at = {name: place for place, name in enumerate(group.lefts)}
    right_at = {name: place for place, name in enumerate(group.rights)}
    n, m = len(left_at), len(right_at)
    matrix = np.full((n + m, m + n), np.inf)
    for left, right, cost in group.pairs:
        matrix[left_at[left], right_at[right]] = cost
    np.fill_diagonal(matrix[:n, m:], np.inf if unmatched_left is None else unmatched_left)
    np.fill_diagonal(matrix[n:, :m], np.inf if unmatched_right is None else unmatched_right)
    matrix[n:, m:] = 0.0
    try:
        _, columns = linear_sum_assignment(matrix)
    except ValueError:  # "cost matrix is infeasible"
        return None
    costs = {(left_at[pair.left], right_at[pair.right]): pair for pair in group.pairs}
    partners = _first_optimum(_tight(matrix, columns), columns, n)
    return [costs[row, column] for row, column in enumerate(partners) if column < m]


def _tight(matrix: NDArray[np.float64], columns: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Return where an optimal assignment may put its pairs: the entries whose reduced cost is zero.

    ``columns`` is one optimal assignment. The prices of the columns are shortest distances in its residual graph
    (Bellman and Ford); there is no cycle of negative length, as the assignment would not be optimal.
    """
    import numpy as np

    used = matrix[np.arange(len(columns)), columns]
    prices = np.zeros(len(columns))
    while True:
        reached = np.minimum(prices, (matrix - used[:, None] + prices[columns][:, None]).min(axis=0))
        if np.array_equal(reached, prices):
            break
        prices = reached
    tight: NDArray[np.bool_] = matrix == (used - prices[columns])[:, None] + prices
    return tight


def _first_optimum(tight: NDArray[np.bool_], columns: NDArray[np.intp], rows: int) -> list[int]:
    """Return the columns of the first rows in the first perfect matching of the tight pairs.

    Row after row takes the smallest column that leaves a partner for everybody after it.
    """
    partner: list[int] = columns.tolist()
    holder = {column: row for row, column in enumerate(partner)}
    for row in range(rows):
        for column in tight[row].nonzero()[0].tolist():
            if column >= partner[row]:
                break
            if holder[column] < row:
                continue
            moves = _reroute(tight, partner, holder, row, column)
            if moves:
                for mover, place in ((row, column), *moves):
                    partner[mover], holder[place] = place, mover
                break
    return partner[:rows]


def _reroute(
    tight: NDArray[np.bool_], partner: Sequence[int], holder: dict[int, int], row: int, column: int
) -> list[tuple[int, int]]:
    """Return who moves where so that ``row`` can have ``column``: its holder takes another, and so on, until the last
    takes what ``row`` had. Nothing, if that cannot be. Rows before ``row`` stay where they are.
    """
    came_from: dict[int, int] = {column: -1}
    waiting = deque((holder[column],))
    while waiting:
        mover = waiting.popleft()
        for place in tight[mover].nonzero()[0].tolist():
            if place in came_from or holder[place] < row:
                continue
            came_from[place] = mover
            if place != partner[row]:
                waiting.append(holder[place])
                continue
            moves = []
            while place != column:
                moves.append((came_from[place], place))
                place = partner[came_from[place]]
            return moves
    return []


def _everybody_once(problem: AssignmentProblem, plan: AssignmentPlan) -> str | None:
    for side, wanted, found in (
        ("lefts", problem.lefts, [*(pair.left for pair in plan.pairs), *plan.unmatched_lefts]),
        ("rights", problem.rights, [*(pair.right for pair in plan.pairs), *plan.unmatched_rights]),
    ):
        if wrong := miscounted(wanted, found):
            return f"of the {side}, these are missing, strange or there twice: {wrong}"
    return None


def _only_allowed_pairs(problem: AssignmentProblem, plan: AssignmentPlan) -> str | None:
    wrong = sorted(set(plan.pairs) - set(problem.pairs))
    return f"not among the allowed pairs, or not at this cost: {wrong[0]}" if wrong else None


def _partners_for_all_who_must(problem: AssignmentProblem, plan: AssignmentPlan) -> str | None:
    lefts = plan.unmatched_lefts if problem.unmatched_left is None else ()
    rights = plan.unmatched_rights if problem.unmatched_right is None else ()
    return f"without a partner: {few((*lefts, *rights))}" if lefts or rights else None


def _costs_add_up(problem: AssignmentProblem, plan: AssignmentPlan) -> str | None:
    total = sum(pair.cost for pair in plan.pairs)
    total += len(plan.unmatched_lefts) * (problem.unmatched_left or 0)
    total += len(plan.unmatched_rights) * (problem.unmatched_right or 0)
    stated = plan.report.objective
    return None if stated == total else f"the pairs and penalties come to {total}, not to {stated}"


def assignment_suggestor(config: AssignmentConfig, site: Site) -> PackSuggestor[AssignmentProblem, AssignmentPlan]:
    """Return the suggestor that a configuration describes."""
    return config.suggestor(AssignmentPack(config.min_matched), site)
