"""Integer programs: whole numbers within bounds, linear conditions with whole coefficients, one objective to minimise.

They are solved by branch and cut (HiGHS, through `scipy.optimize.milp`), which works in floating point: a variable is
whole when it is within a millionth of a whole number. With a coefficient of a million that is an error of one, and then
HiGHS takes what breaks a condition, or finds no solution where there is one. So a condition with large coefficients is
written in digits, with a carry, as one adds by hand::

    2000013 x + 1000007 y <= 3000019    becomes      13 x +    7 y <=   19 + 1000 k
                                                   2000 x + 1000 y <= 3000 - k

Answers are rounded to whole numbers, and all conditions are checked again, exactly. An optimum is called one if the
bound that was proved leaves no whole number better than the value that was reached.

Of several optimal solutions a solver returns whichever it meets first, which may change with its version. So an answer
is made unique by *ties*: further objectives in order of importance, each minimised while all before it stay at their
best. Instead of one search for each of them, as many as fit are weighted into one objective, like the digits of a
number; `RADIX` bounds that number, so that the weights stay far from the precision of the solver.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import ceil, gcd, isfinite
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from converge_core.packs import SolverStop
from converge_plugins.solvers.needs import Deadline

if TYPE_CHECKING:
    from scipy.optimize import LinearConstraint

Terms: TypeAlias = Mapping[int, int]
"""A linear expression: the coefficient of each variable, which is named by its number."""

METHOD = "branch_and_cut"

BASE = 1000
LARGE = 10 * BASE
"""Coefficients beyond this are written in digits of that base."""

RADIX = 2**20
"""How many values the ties that are joined to one objective may have together."""

_ROUNDING = 1e-6
_STOPS = {0: SolverStop.OPTIMAL, 1: SolverStop.TIME_BUDGET_EXHAUSTED}


class Tie(NamedTuple):
    """An expression to be minimised, and the least and greatest value that it can have."""

    terms: Terms
    low: int
    high: int


class _AtMost(NamedTuple):
    terms: Terms
    high: int


@dataclass(frozen=True, slots=True)
class Solution:
    """How a search ended. ``values`` are those of the variables, if any were found; ``bound`` is what was proved."""

    stop: SolverStop
    values: tuple[int, ...] | None = None
    objective: int | None = None
    bound: int | None = None
    detail: str = ""


class IntegerProgram:
    """A program in the making; `minimise` solves it."""

    def __init__(self) -> None:
        self._bounds: list[tuple[int, int]] = []
        self._conditions: list[_AtMost] = []

    def variable(self, low: int = 0, high: int = 1) -> int:
        """Add a variable, and return its number. Nothing is below 0."""
        self._bounds.append((low, high))
        return len(self._bounds) - 1

    def require(self, terms: Terms, *, low: int | None = None, high: int | None = None) -> None:
        """Add a condition: the value of an expression is within the limits that are given."""
        if high is not None:
            self._at_most(terms, high)
        if low is not None:
            self._at_most({variable: -factor for variable, factor in terms.items()}, -low)

    def _at_most(self, terms: Terms, high: int) -> None:
        """Add a condition with an upper limit, digit after digit from the last until what is left is small."""
        divisor = gcd(*terms.values()) or 1
        terms, high = {variable: factor // divisor for variable, factor in terms.items()}, high // divisor
        while any(abs(factor) > LARGE for factor in terms.values()):
            digits = {variable: factor % BASE for variable, factor in terms.items()}
            most = sum(digit * self._bounds[variable][1] for variable, digit in digits.items())
            high, last = divmod(high, BASE)
            carry = self.variable(high=max(0, -((last - most) // BASE)))
            self._conditions.append(_AtMost(digits | {carry: -BASE}, last))
            terms = {variable: factor // BASE for variable, factor in terms.items()} | {carry: 1}
        self._conditions.append(_AtMost(terms, high))

    def minimise(self, objective: Terms, ties: Sequence[Tie], deadline: Deadline, iteration_limit: int) -> Solution:
        """Minimise an expression, then each of the ties in their order.

        The limit of iterations is of each search, the deadline of all together. When one of them ends the search for
        the ties, the solution is optimal all the same, and its ``detail`` says that it may not be the first such.
        Raises ArithmeticError when the solver gives up, or answers what is none.
        """
        with self._unchanged():
            solution = self._search(objective, deadline, iteration_limit)
            if solution.stop is not SolverStop.OPTIMAL or solution.objective is None:
                return solution
            self.require(objective, high=solution.objective)
            for terms in _weighted(ties):
                better = self._search(terms, deadline, iteration_limit)
                if better.stop is not SolverStop.OPTIMAL:
                    detail = f"one of several optimal solutions, as {better.stop} ended the search for the first"
                    return replace(solution, detail=detail)
                solution = replace(solution, values=better.values)
                self.require(terms, high=better.objective)
            return solution

    @contextmanager
    def _unchanged(self) -> Iterator[None]:
        """Take back, at the end, the variables and conditions that are added meanwhile."""
        variables, conditions = len(self._bounds), len(self._conditions)
        try:
            yield
        finally:
            del self._bounds[variables:], self._conditions[conditions:]

    def _search(self, objective: Terms, deadline: Deadline, iteration_limit: int) -> Solution:
        """Minimise one expression."""
        import numpy as np
        from scipy.optimize import Bounds, milp

        seconds = deadline.left()
        if seconds <= 0.0:
            return Solution(SolverStop.TIME_BUDGET_EXHAUSTED)
        lows, highs = zip(*self._bounds, strict=True)
        costs = np.zeros(len(lows))
        for variable, factor in objective.items():
            costs[variable] = factor
        found = milp(
            costs,
            integrality=np.ones(len(lows), int),
            bounds=Bounds(np.array(lows, float), np.array(highs, float)),
            constraints=self._constraints(),
            options={"time_limit": seconds, "node_limit": iteration_limit, "mip_rel_gap": 0.0},
        )
        if found.status == 2:
            return Solution(SolverStop.INFEASIBLE)
        stop = _STOPS.get(found.status)
        if stop is None and (found.mip_node_count or 0) >= iteration_limit:
            stop = SolverStop.ITERATION_BUDGET_EXHAUSTED
        if stop is None:
            raise ArithmeticError(f"the solver gave up: {found.message}")
        bound = _whole_bound(found.mip_dual_bound)
        if found.x is None:
            return Solution(stop, bound=bound)
        values = tuple(round(value) for value in found.x.tolist())
        self._check(values)
        reached = _value(objective, values)
        if stop is SolverStop.OPTIMAL and (bound is None or bound < reached):
            stop = SolverStop.FEASIBLE
        return Solution(stop, values, reached, None if bound is None else min(bound, reached))

    def _constraints(self) -> LinearConstraint | None:
        import numpy as np
        from scipy.optimize import LinearConstraint
        from scipy.sparse import coo_array

        if not self._conditions:
            return None
        entries = [(row, *term) for row, condition in enumerate(self._conditions) for term in condition.terms.items()]
        rows, columns, factors = zip(*entries, strict=True) if entries else ((), (), ())
        shape = (len(self._conditions), len(self._bounds))
        matrix = coo_array((np.array(factors, float), (np.array(rows, int), np.array(columns, int))), shape=shape)
        highs = np.array([condition.high for condition in self._conditions], float)
        return LinearConstraint(matrix.tocsr(), -np.inf, highs)

    def _check(self, values: Sequence[int]) -> None:
        """Raise ArithmeticError unless values meet every bound and condition."""
        bounded = all(low <= value <= high for (low, high), value in zip(self._bounds, values, strict=True))
        if not bounded or any(_value(terms, values) > high for terms, high in self._conditions):
            raise ArithmeticError("the solver's answer breaks a condition once it is rounded to whole numbers")


def _weighted(ties: Sequence[Tie]) -> Iterator[Terms]:
    """Join ties to as few objectives as have the same order."""
    joined: dict[int, int] = {}
    span = 1
    for terms, low, high in ties:
        digits = high - low + 1
        if span > 1 and span * digits > RADIX:
            yield joined
            joined, span = {}, 1
        joined = {variable: factor * digits for variable, factor in joined.items()}
        for variable, factor in terms.items():
            joined[variable] = joined.get(variable, 0) + factor
        span *= digits
    if span > 1:
        yield joined


def _value(terms: Terms, values: Sequence[int]) -> int:
    return sum(factor * values[variable] for variable, factor in terms.items())


def _whole_bound(bound: float | None) -> int | None:
    """Return the least whole number that a bound of the solver leaves possible."""
    return None if bound is None or not isfinite(bound) else ceil(bound - _ROUNDING)
