from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from converge_core.packs import DeterminismSpec, Finding, Severity, SolveBudgets, SolverReport, SolverStop, examine_plan
from converge_plugins.solvers.assignment import AssignmentPack, AssignmentPlan, AssignmentProblem, Pair

NOBODY = 99
LEFTS, RIGHTS = "abcde", "vwxyz"


def problem(*pairs: tuple[str, str, int], left: int | None = None, right: int | None = 0) -> AssignmentProblem:
    """A problem of those whom the pairs name."""
    return AssignmentProblem(
        lefts=tuple(dict.fromkeys(pair[0] for pair in pairs)),
        rights=tuple(dict.fromkeys(pair[1] for pair in pairs)),
        pairs=tuple(Pair(*pair) for pair in pairs),
        unmatched_left=left,
        unmatched_right=right,
    )


def solve(stated: AssignmentProblem, cap: int = 1_000) -> AssignmentPlan | SolverReport:
    return AssignmentPack().solve(stated, SolveBudgets(candidate_cap=cap), DeterminismSpec())


def plan(stated: AssignmentProblem) -> AssignmentPlan:
    found = solve(stated)
    assert isinstance(found, AssignmentPlan), found
    return found


def pairs(found: AssignmentPlan) -> str:
    return " ".join(left + right for left, right, _ in found.pairs)


def report(stated: AssignmentProblem, cap: int = 1_000) -> SolverReport:
    found = solve(stated, cap)
    assert isinstance(found, SolverReport), found
    return found


def first_best(stated: AssignmentProblem) -> tuple[int, tuple[int, ...]] | None:
    """Try everything: return the least cost, and for each left the place of its right in the first such assignment."""
    lefts, rights = sorted(stated.lefts), sorted(stated.rights)
    costs = {(left, right): cost for left, right, cost in stated.pairs}

    def assignments(row: int, free: frozenset[str]) -> Iterator[tuple[int, tuple[int, ...]]]:
        if row == len(lefts):
            if not free or stated.unmatched_right is not None:
                yield len(free) * (stated.unmatched_right or 0), ()
            return
        options = [
            (costs[lefts[row], right], at, free - {right})
            for at, right in enumerate(rights)
            if right in free and (lefts[row], right) in costs
        ]
        if stated.unmatched_left is not None:
            options.append((stated.unmatched_left, NOBODY, free))
        for cost, at, left_over in options:
            for rest, places in assignments(row + 1, left_over):
                yield cost + rest, (at, *places)

    return min(assignments(0, frozenset(rights)), default=None)


@st.composite
def problems(draw: st.DrawFn) -> AssignmentProblem:
    lefts = LEFTS[: draw(st.integers(0, 5))]
    rights = RIGHTS[: draw(st.integers(0, 5))] if lefts else RIGHTS[: draw(st.integers(1, 5))]
    costs = draw(
        st.fixed_dictionaries({(left, right): st.none() | st.integers(-1, 3) for left in lefts for right in rights})
    )
    penalties = st.none() | st.integers(0, 4)
    return AssignmentProblem(
        lefts=tuple(lefts),
        rights=tuple(rights),
        pairs=tuple(Pair(left, right, cost) for (left, right), cost in costs.items() if cost is not None),
        unmatched_left=draw(penalties),
        unmatched_right=draw(penalties),
    )


# Solutions.


@settings(max_examples=300)
@given(problems())
def test_the_plan_is_the_first_of_those_with_the_least_cost(stated: AssignmentProblem) -> None:
    found, best = solve(stated), first_best(stated)
    if best is None:
        assert isinstance(found, SolverReport)
        assert found.stop is SolverStop.INFEASIBLE
    else:
        assert isinstance(found, AssignmentPlan)
        assert found.report.stop is SolverStop.OPTIMAL
        rights = {left: sorted(stated.rights).index(right) for left, right, _ in found.pairs}
        assert (found.report.objective, tuple(rights.get(left, NOBODY) for left in sorted(stated.lefts))) == best
        assert examine_plan(AssignmentPack().invariants, stated, found) == ()


@given(problems(), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(stated: AssignmentProblem, random: Random) -> None:
    shuffled = stated.model_copy(
        update={name: tuple(random.sample(rows, len(rows))) for name, rows in stated if isinstance(rows, tuple)}
    )
    assert solve(shuffled) == solve(stated)


def test_costs_are_added_exactly() -> None:
    large = 10**9
    found = plan(problem(("a", "v", large), ("a", "w", large - 1), ("b", "v", large - 1), ("b", "w", large - 3)))
    assert pairs(found) == "av bw"
    assert found.report.objective == 2 * large - 3


def test_a_pair_that_is_not_listed_is_forbidden() -> None:
    assert pairs(plan(problem(("a", "v", 9), ("b", "v", 0), ("b", "w", 9)))) == "av bw"


def test_what_costs_more_than_both_penalties_is_left_alone() -> None:
    found = plan(problem(("a", "v", 8), ("b", "w", 7), left=4, right=3))
    assert pairs(found) == "bw"
    assert (found.unmatched_lefts, found.unmatched_rights) == (("a",), ("v",))
    assert found.report.objective == 14


def test_a_left_without_any_pair_is_left_alone() -> None:
    stated = problem(("a", "v", 1), left=5).model_copy(update={"lefts": ("a", "b"), "rights": ("v", "w")})
    found = plan(stated)
    assert (found.unmatched_lefts, found.unmatched_rights) == (("b",), ("w",))
    assert found.report.objective == 6


def test_a_plan_is_shown_in_a_line() -> None:
    found = plan(problem(("a", "v", 1), ("b", "v", 2), left=5))
    assert found.summary() == "1 pairs, 1 without a partner; objective 6, optimal"


# No solution.


def test_those_who_cannot_all_have_a_partner_make_it_infeasible() -> None:
    found = report(problem(("a", "v", 1), ("b", "v", 1), ("c", "w", 1)))
    assert found.stop is SolverStop.INFEASIBLE
    assert found.detail == "those who must have a partner cannot all have one: a, b, v"


def test_more_pairs_than_the_cap_are_not_searched_and_the_report_says_so() -> None:
    stated = problem(("a", "v", 1), ("b", "v", 1), left=0)
    assert report(stated, cap=1).stop is SolverStop.CANDIDATE_CAP_REACHED
    assert report(stated, cap=1).detail == "2 pairs where 1 are allowed"
    assert isinstance(solve(stated, cap=2), AssignmentPlan)


def test_a_problem_of_nobody_is_no_plan() -> None:
    assert report(AssignmentProblem(lefts=(), rights=(), pairs=())).stop is SolverStop.DATA_INSUFFICIENT


# Invariants: whatever a solver gets wrong is found.


STATED = problem(("a", "v", 1), ("a", "w", 5), ("b", "w", 2), ("c", "x", 1), left=4)
BEST = plan(STATED)


def findings(stated: AssignmentProblem = STATED, /, **changes: object) -> list[str]:
    broken = examine_plan(AssignmentPack().invariants, stated, BEST.model_copy(update=changes))
    return [finding.invariant for finding in broken]


def test_a_right_solution_has_no_findings() -> None:
    assert pairs(BEST) == "av bw cx"
    assert findings() == []


def test_a_right_that_is_given_twice_is_found() -> None:
    twice = (Pair("a", "w", 5), Pair("b", "w", 2), Pair("c", "x", 1))
    assert "everybody-is-accounted-for-once" in findings(pairs=twice)


@pytest.mark.parametrize("side", ["unmatched_lefts", "unmatched_rights"])
def test_somebody_strange_is_found(side: str) -> None:
    assert "everybody-is-accounted-for-once" in findings(**{side: ("q",)})


def test_a_pair_that_is_lost_is_found() -> None:
    assert findings(pairs=BEST.pairs[1:]) == ["everybody-is-accounted-for-once", "the-costs-add-up"]


def test_a_forbidden_pair_is_found() -> None:
    crossed = (Pair("a", "w", 5), Pair("b", "v", -2), Pair("c", "x", 1))
    assert findings(pairs=crossed) == ["only-allowed-pairs"]


def test_a_cost_that_is_not_that_of_the_pair_is_found() -> None:
    cheaper = (Pair("a", "v", 0), Pair("b", "w", 3), *BEST.pairs[2:])
    assert findings(pairs=cheaper) == ["only-allowed-pairs"]


def test_somebody_who_is_alone_and_must_not_be_is_found() -> None:
    must = STATED.model_copy(update={"unmatched_left": None})
    broken = findings(must, pairs=BEST.pairs[:2], unmatched_lefts=("c",), unmatched_rights=("x",))
    assert "who-must-have-a-partner-has-one" in broken


def test_a_cost_that_does_not_add_up_is_found() -> None:
    wrong = BEST.report.model_copy(update={"objective": 3})
    assert findings(report=wrong) == ["the-costs-add-up"]


def test_a_plan_that_matches_too_few_is_for_a_human() -> None:
    stated = problem(("a", "v", 9), ("b", "w", 1), left=4, right=4)
    (finding,) = examine_plan(AssignmentPack(min_matched=0.6).invariants, stated, plan(stated))
    assert finding == Finding(
        invariant="enough-are-matched",
        severity=Severity.ADVISORY,
        reason="1 of 2 are matched, 1.2 are expected",
    )


# What a problem may be.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lefts": ("a", "b", "a")}, "`lefts` has some names twice: a"),
        ({"rights": ("v", "v", "w")}, "`rights` has some names twice: v"),
        ({"pairs": (("a", "v", 1), ("a", "v", 2))}, "`pairs` has some pairs twice: a and v"),
        ({"pairs": (("a", "v", 1), ("q", "v", 2))}, "`pairs` names who is not on its side: q"),
        ({"pairs": (("v", "a", 1),)}, "`pairs` names who is not on its side: a, v"),
        ({"pairs": (("a", "v", 10**9 + 1),)}, "less than or equal to 1000000000"),
        ({"pairs": (("a", "v", 0.5),)}, "valid integer"),
        ({"unmatched_left": -1}, "greater than or equal to 0"),
    ],
)
def test_a_problem_that_makes_no_sense_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        AssignmentProblem.model_validate({"lefts": ("a", "b"), "rights": ("v", "w"), "pairs": (), **changes})


@given(problems())
def test_a_problem_and_its_plan_are_read_back_as_they_were_written(stated: AssignmentProblem) -> None:
    assert AssignmentProblem.from_text(stated.model_dump_json()) == stated
    found = solve(stated)
    if isinstance(found, AssignmentPlan):
        assert AssignmentPlan.from_text(found.model_dump_json()) == found
