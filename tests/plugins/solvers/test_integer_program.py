from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from converge_core.packs import SolverStop
from converge_plugins.solvers.integer_program import IntegerProgram, Solution, Tie
from converge_plugins.solvers.needs import Deadline
from tests.plugins.solvers.clocks import looks, stopped

NODES = 10_000


class Condition(NamedTuple):
    factors: tuple[int, ...]
    low: int | None
    high: int | None


class Problem(NamedTuple):
    """A program over variables from 0 to ``tops``, small enough to try everything."""

    tops: tuple[int, ...]
    objective: tuple[int, ...]
    conditions: tuple[Condition, ...]

    def solve(self) -> Solution:
        program = IntegerProgram()
        variables = [program.variable(high=top) for top in self.tops]
        for factors, low, high in self.conditions:
            program.require(dict(enumerate(factors)), low=low, high=high)
        ties = [Tie({variable: 1}, 0, top) for variable, top in zip(variables, self.tops, strict=True)]
        return program.minimise(dict(enumerate(self.objective)), ties, Deadline(60, stopped), NODES)

    def first_best(self) -> tuple[int, tuple[int, ...]] | None:
        feasible = [
            (dot(self.objective, values), values)
            for values in product(*(range(top + 1) for top in self.tops))
            if all(
                (low is None or dot(factors, values) >= low) and (high is None or dot(factors, values) <= high)
                for factors, low, high in self.conditions
            )
        ]
        return min(feasible, default=None)


def dot(factors: Sequence[int], values: Sequence[int]) -> int:
    return sum(factor * value for factor, value in zip(factors, values, strict=True))


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    size = draw(st.integers(1, 4))
    unit = draw(st.sampled_from([1, 10**4, 10**6, 10**8]))
    amounts = st.builds(lambda many, few: many * unit + few, st.integers(-3, 5), st.integers(-1, 1))
    rows = st.tuples(*[amounts] * size)
    tops = draw(st.tuples(*[st.integers(1, 3)] * size))
    limits = st.none() | st.builds(lambda many, few: many * unit + few, st.integers(-5, 9), st.integers(-1, 1))
    conditions = st.lists(st.builds(Condition, rows, limits, limits), max_size=3)
    return Problem(tops, draw(rows), tuple(draw(conditions)))


@settings(max_examples=150)
@given(problems())
# HiGHS calls this one infeasible if it gets the coefficients as they are.
@example(
    Problem(
        (1,) * 6,
        (0, 0, -4000001, -2999999, -1999999, -4999999),
        (
            Condition((0, 0, 5000001, 1000001, 1000000, 1000001), None, 6000000),
            Condition((1000000, 4000001, 0, 5000001, 1000000, 5000000), None, 2000001),
        ),
    )
)
def test_the_answer_is_the_first_of_the_best_however_large_the_numbers(problem: Problem) -> None:
    found, best = problem.solve(), problem.first_best()
    if best is None:
        assert found == Solution(SolverStop.INFEASIBLE)
    else:
        assert found.stop is SolverStop.OPTIMAL
        assert (found.objective, found.bound) == (best[0], best[0])
        assert found.values is not None
        assert found.values[: len(problem.tops)] == best[1]


def choice(program: IntegerProgram, size: int) -> Mapping[int, int]:
    """Some of which exactly one is to be chosen."""
    terms = {program.variable(): 1 for _ in range(size)}
    program.require(terms, low=1, high=1)
    return terms


def test_more_ties_than_one_objective_can_hold_are_broken_in_their_order() -> None:
    program = IntegerProgram()
    wide = [choice(program, 9) for _ in range(20)]  # 9 ** 20 orders, where 2 ** 20 fit into one objective
    program.require({next(iter(wide[0])): 1}, high=0)
    program.require({variable: 1 for terms in wide for variable in list(terms)[1::2]}, low=4)
    ties = [Tie({variable: at for at, variable in enumerate(terms)}, 0, 8) for terms in wide]
    found = program.minimise({}, ties, Deadline(60, stopped), NODES)
    assert found.values is not None
    chosen = [next(at for at, variable in enumerate(terms) if found.values[variable]) for terms in wide]
    assert chosen == [1] + [0] * 16 + [1, 1, 1]


def test_a_program_can_be_minimised_again() -> None:
    program = IntegerProgram()
    x, y = program.variable(high=5), program.variable(high=5)
    program.require({x: 1, y: 1}, low=4)
    ties = [Tie({x: 1}, 0, 5)]
    assert program.minimise({x: 2, y: 1}, ties, Deadline(60, stopped), NODES).objective == 4
    assert program.minimise({x: 1, y: 2}, ties, Deadline(60, stopped), NODES).objective == 4


def test_without_time_nothing_is_searched() -> None:
    program = IntegerProgram()
    found = program.minimise({program.variable(): 1}, [], Deadline(1, looks(0)), NODES)
    assert found == Solution(SolverStop.TIME_BUDGET_EXHAUSTED)


def test_an_optimum_whose_ties_are_cut_off_says_so() -> None:
    program = IntegerProgram()
    x, y = program.variable(), program.variable()
    program.require({x: 1, y: 1}, low=1)
    found = program.minimise({x: 1, y: 1}, [Tie({x: 1}, 0, 1)], Deadline(1, looks(1)), NODES)
    assert (found.stop, found.objective) == (SolverStop.OPTIMAL, 1)
    assert found.detail == "one of several optimal solutions, as time_budget_exhausted ended the search for the first"


def test_a_limit_of_nodes_leaves_what_was_found_and_how_far_it_is_from_the_best() -> None:
    found = hard().minimise(
        {variable: -(50 + variable * 37 % 51) for variable in range(40)}, [], Deadline(60, stopped), 1
    )
    assert found.stop is SolverStop.ITERATION_BUDGET_EXHAUSTED
    assert found.values is not None
    assert found.objective is not None
    assert found.bound is not None
    assert found.bound < found.objective


def hard() -> IntegerProgram:
    """Forty things, five limits that half of them fit into."""
    program = IntegerProgram()
    for _ in range(40):
        program.variable()
    for row in range(5):
        terms = {variable: 10 + (variable * variable * (row + 3) + row * 17) % 51 for variable in range(40)}
        program.require(terms, high=sum(terms.values()) // 2)
    return program


def answers(monkeypatch: pytest.MonkeyPatch, **answer: object) -> Solution:
    """Have the solver answer what it is told to a program of one variable, and return what is made of it."""
    told = {"message": "no reason", "mip_node_count": 0, "mip_dual_bound": 0.0, "x": None, **answer}
    monkeypatch.setattr("scipy.optimize.milp", lambda *_, **__: SimpleNamespace(**told))
    program = IntegerProgram()
    x = program.variable(high=2)
    program.require({x: 1}, low=1)
    return program.minimise({x: 1}, [], Deadline(60, stopped), NODES)


@pytest.mark.parametrize("x", [0.4, 2.6, -1.0])
def test_an_answer_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, x: float) -> None:
    with pytest.raises(ArithmeticError, match="breaks a condition"):
        answers(monkeypatch, status=0, x=np.array([x]))


def test_a_solver_that_gives_up_is_not_taken_for_one_that_ran_out_of_iterations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ArithmeticError, match="the solver gave up: no reason"):
        answers(monkeypatch, status=4)


def test_an_optimum_without_a_proof_is_only_a_solution(monkeypatch: pytest.MonkeyPatch) -> None:
    found = answers(monkeypatch, status=0, x=np.array([2.0]), mip_dual_bound=0.99)
    assert found == Solution(SolverStop.FEASIBLE, (2,), 2, 1)


def test_a_bound_is_the_whole_number_that_it_leaves_possible(monkeypatch: pytest.MonkeyPatch) -> None:
    found = answers(monkeypatch, status=0, x=np.array([1.9999999]), mip_dual_bound=1.0000002)
    assert found == Solution(SolverStop.FEASIBLE, (2,), 2, 1)
    found = answers(monkeypatch, status=0, x=np.array([1.9999999]), mip_dual_bound=1.5)
    assert found == Solution(SolverStop.OPTIMAL, (2,), 2, 2)
