from __future__ import annotations

from itertools import product
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from converge_core.packs import DeterminismSpec, Finding, Severity, SolveBudgets, SolverReport, SolverStop, examine_plan
from converge_plugins.solvers.knapsack import KnapsackItem, KnapsackPack, KnapsackPlan, KnapsackProblem
from tests.plugins.solvers.clocks import looks, stopped

PACK = KnapsackPack(clock=stopped)
BUDGETS = SolveBudgets()


def item(id: str, value: int, eur: int = 0, days: int = 0, **more: object) -> KnapsackItem:
    return KnapsackItem.model_validate({"id": id, "value": value, "costs": {"eur": eur, "days": days}, **more})


def problem(*items: KnapsackItem, eur: int = 10, days: int = 10, exclusive: tuple[str, ...] = ()) -> KnapsackProblem:
    return KnapsackProblem(
        items=items, limits={"eur": eur, "days": days}, exclusive=tuple(tuple(group) for group in exclusive)
    )


def solve(
    stated: KnapsackProblem, pack: KnapsackPack = PACK, budgets: SolveBudgets = BUDGETS
) -> KnapsackPlan | SolverReport:
    return pack.solve(stated, budgets, DeterminismSpec())


def plan(stated: KnapsackProblem) -> KnapsackPlan:
    found = solve(stated)
    assert isinstance(found, KnapsackPlan), found
    return found


def report(stated: KnapsackProblem, pack: KnapsackPack = PACK, budgets: SolveBudgets = BUDGETS) -> SolverReport:
    found = solve(stated, pack, budgets)
    assert isinstance(found, SolverReport), found
    return found


def first_best(stated: KnapsackProblem) -> tuple[int, tuple[str, ...]] | None:
    """Try everything: return the highest value, and the first choice that has it."""
    items = sorted(stated.items, key=lambda item: item.id)
    allowed = []
    for bits in product((1, 0), repeat=len(items)):
        chosen = [item for item, bit in zip(items, bits, strict=True) if bit]
        names = {item.id for item in chosen}
        if (
            all(item.id in names for item in items if item.required)
            and all(names.issuperset(item.needs) for item in chosen)
            and all(len(names & set(group)) <= 1 for group in stated.exclusive)
            and all(sum(item.costs[name] for item in chosen) <= limit for name, limit in stated.limits.items())
        ):
            allowed.append((sum(item.value for item in chosen), bits, tuple(item.id for item in chosen)))
    return (max(allowed)[0], max(allowed)[2]) if allowed else None


@st.composite
def problems(draw: st.DrawFn) -> KnapsackProblem:
    names = "abcdefg"[: draw(st.integers(1, 7))]
    few = st.lists(st.sampled_from(names), max_size=2).map(tuple)
    items = [
        item(
            name,
            draw(st.integers(-2, 6)),
            draw(st.integers(0, 6)),
            draw(st.integers(0, 6)),
            required=draw(st.integers(0, 9)) == 0,
            needs=draw(few) if draw(st.booleans()) else (),
        )
        for name in names
    ]
    groups = draw(st.lists(st.lists(st.sampled_from(names), max_size=3).map("".join), max_size=2))
    return problem(*items, eur=draw(st.integers(0, 15)), days=draw(st.integers(0, 15)), exclusive=tuple(groups))


HARD = problem(
    *(item(f"{n:02}", 50 + n * 37 % 51, 10 + n * n * 3 % 51, 10 + (n * n * 7 + 17) % 51) for n in range(40)),
    eur=600,
    days=600,
)


# Solutions.


@settings(max_examples=150)
@given(problems())
def test_the_plan_is_the_first_of_those_with_the_highest_value(stated: KnapsackProblem) -> None:
    found, best = solve(stated), first_best(stated)
    if best is None:
        assert isinstance(found, SolverReport)
        assert found.stop is SolverStop.INFEASIBLE
    else:
        assert isinstance(found, KnapsackPlan)
        assert found.report.stop is SolverStop.OPTIMAL
        assert (found.report.objective, found.chosen) == best
        assert examine_plan(PACK.invariants, stated, found) == ()


@settings(max_examples=50)
@given(problems(), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(stated: KnapsackProblem, random: Random) -> None:
    shuffled = stated.model_copy(
        update={
            "items": tuple(random.sample(stated.items, len(stated.items))),
            "exclusive": tuple(tuple(random.sample(group, len(group))) for group in reversed(stated.exclusive)),
            "limits": dict(reversed(list(stated.limits.items()))),
        }
    )
    assert solve(shuffled) == solve(stated)


def test_a_plan_says_what_it_uses_of_each_resource() -> None:
    found = plan(problem(item("a", 3, eur=4, days=2), item("b", 2, eur=5), item("c", 1, eur=2)))
    assert found.chosen == ("a", "b")
    assert found.used == {"days": 2, "eur": 9}


def test_an_item_brings_what_it_needs_even_if_that_is_worth_nothing() -> None:
    assert plan(problem(item("roof", 9, eur=4, needs=("walls",)), item("walls", -3, eur=5))).chosen == ("roof", "walls")


def test_of_an_exclusive_group_the_better_is_chosen() -> None:
    assert plan(problem(item("a", 3), item("b", 4), item("c", 1), exclusive=("ab",))).chosen == ("b", "c")


def test_what_is_required_is_chosen_though_it_is_worth_less() -> None:
    assert plan(problem(item("a", 1, eur=6, required=True), item("b", 5, eur=6))).chosen == ("a",)


def test_of_choices_with_the_same_value_the_first_is_taken() -> None:
    assert plan(problem(item("c", 4, eur=10), item("b", 3, eur=5), item("a", 1, eur=5))).chosen == ("a", "b")


# Limits.


def test_a_limit_of_iterations_leaves_a_plan_with_a_gap() -> None:
    found = solve(HARD, budgets=SolveBudgets(iteration_limit=1))
    assert isinstance(found, KnapsackPlan)
    assert found.report.stop is SolverStop.ITERATION_BUDGET_EXHAUSTED
    assert found.report.gap is not None
    assert 0 < found.report.gap < 0.1
    assert found.confidence == round(1 - found.report.gap, 6)


def test_an_unproved_plan_is_for_a_human() -> None:
    found = solve(HARD, budgets=SolveBudgets(iteration_limit=1))
    assert isinstance(found, KnapsackPlan)
    (finding,) = examine_plan(PACK.invariants, HARD, found)
    assert finding == Finding(
        invariant="near-enough-to-the-best",
        severity=Severity.ADVISORY,
        reason=f"{found.report}; a gap of 0.00% is allowed",
    )
    assert examine_plan(KnapsackPack(max_gap=0.1).invariants, HARD, found) == ()


def test_without_time_there_is_a_report_and_no_plan() -> None:
    found = report(HARD, KnapsackPack(clock=looks(0)), SolveBudgets(time_limit=1))
    assert found.stop is SolverStop.TIME_BUDGET_EXHAUSTED
    assert found.objective is None


def test_an_optimum_whose_ties_are_cut_off_is_an_optimum_and_says_so() -> None:
    found = solve(problem(item("a", 1), item("b", 1)), KnapsackPack(clock=looks(1)), SolveBudgets(time_limit=1))
    assert isinstance(found, KnapsackPlan)
    assert found.report.stop is SolverStop.OPTIMAL
    assert "time_budget_exhausted ended the search for the first" in found.report.detail


def test_more_items_than_the_cap_are_not_searched_and_the_report_says_so() -> None:
    found = report(HARD, budgets=SolveBudgets(candidate_cap=39))
    assert found.stop is SolverStop.CANDIDATE_CAP_REACHED
    assert found.detail == "40 items where 39 are allowed"


def test_required_items_that_do_not_fit_make_it_infeasible() -> None:
    both = problem(item("a", 1, eur=6, required=True), item("b", 1, eur=6, required=True))
    assert report(both).stop is SolverStop.INFEASIBLE


def test_nothing_to_choose_from_is_no_plan() -> None:
    assert report(problem()).stop is SolverStop.DATA_INSUFFICIENT


# Invariants: whatever a solver gets wrong is found.


STATED = problem(
    item("a", 5, eur=6, required=True),
    item("b", 4, eur=4, needs=("c",)),
    item("c", 0),
    item("d", 1, eur=4),
    item("e", 1, eur=4),
    exclusive=("de",),
)
BEST = plan(STATED)


def findings(**changes: object) -> list[str]:
    broken = examine_plan(PACK.invariants, STATED, BEST.model_copy(update=changes))
    return [finding.invariant for finding in broken]


def test_a_right_solution_has_no_findings() -> None:
    assert BEST.chosen == ("a", "b", "c")
    assert findings() == []


@pytest.mark.parametrize(
    ("chosen", "invariant"),
    [
        (("a", "b", "c", "c"), "only-items-and-each-once"),
        (("a", "b", "c", "q"), "only-items-and-each-once"),
        (("a", "b", "c", "d"), "within-all-limits"),
        (("b", "c"), "all-required-are-chosen"),
        (("a", "b"), "what-is-needed-is-chosen"),
        (("a", "d", "e"), "one-of-each-exclusive-group"),
        (("a", "c"), "the-values-add-up"),
    ],
)
def test_a_choice_that_is_wrong_is_found(chosen: tuple[str, ...], invariant: str) -> None:
    assert invariant in findings(chosen=chosen)


def test_an_amount_that_is_not_what_is_used_is_found() -> None:
    assert findings(used={"days": 0, "eur": 9}) == ["within-all-limits"]


def test_a_value_that_does_not_add_up_is_found() -> None:
    assert findings(report=BEST.report.model_copy(update={"objective": 10})) == ["the-values-add-up"]


# What a problem may be.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"items": [{"id": "a", "value": 1}, {"id": "a", "value": 2}]}, "`items` has some ids twice: a"),
        ({"items": [{"id": "a", "value": 1, "needs": ["q"]}]}, "names what is no item: q"),
        ({"exclusive": [["q", "r"]]}, "names what is no item: q, r"),
        ({"items": [{"id": "a", "value": 1, "costs": {"usd": 1}}]}, "`limits` does not limit usd"),
        ({"limits": {"eur": -1}}, "eur: an amount is a whole number from 0 to 1000000000, unlike -1"),
        ({"limits": {"eur": 0.5}}, "unlike 0.5"),
        ({"limits": {"eur": True}}, "unlike True"),
        ({"items": [{"id": "a", "value": 1.5}]}, "valid integer"),
    ],
)
def test_a_problem_that_makes_no_sense_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        KnapsackProblem.model_validate({"items": [], "limits": {"eur": 1}, **changes})


@settings(max_examples=30)
@given(problems())
def test_a_problem_and_its_plan_are_read_back_as_they_were_written(stated: KnapsackProblem) -> None:
    assert KnapsackProblem.from_text(stated.model_dump_json()) == stated
    found = solve(stated)
    if isinstance(found, KnapsackPlan):
        assert KnapsackPlan.from_text(found.model_dump_json()) == found
