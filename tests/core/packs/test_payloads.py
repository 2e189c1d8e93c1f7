from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from converge_core import canonical
from converge_core.packs import Finding, PackInput, PackOutcome, Severity, SolverReport, SolverStop
from tests.core.packs.toy import Purse, purse, report

VALUES = st.integers(-(10**9), 10**9) | st.floats(-1e9, 1e9)


def test_a_gap_is_relative_to_the_solution() -> None:
    assert report(sense="max", objective=80, bound=100).gap == 0.25
    assert report(objective=80, bound=60).gap == 0.25


def test_a_gap_of_less_than_one_is_not_blown_up() -> None:
    assert report(objective=0, bound=-1).gap == 1.0


def test_a_gap_is_unknown_where_nothing_was_proved() -> None:
    assert report(objective=1).gap is None


def test_a_gap_stands_in_the_body_so_that_rules_can_read_it() -> None:
    assert report(objective=80, bound=60).model_dump(mode="json")["gap"] == 0.25


def test_a_report_cannot_claim_another_gap_than_it_has() -> None:
    with pytest.raises(ValidationError, match=r"the gap between 80 and 60 is not 0\.0"):
        report(objective=80, bound=60, gap=0.0)


def test_an_optimum_has_no_gap() -> None:
    with pytest.raises(ValidationError, match="an optimum is its own bound: 80 is not 79"):
        report(SolverStop.OPTIMAL, objective=80, bound=79)
    assert report(SolverStop.OPTIMAL, objective=80, bound=80).gap == 0.0


@pytest.mark.parametrize("stop", [SolverStop.INFEASIBLE, SolverStop.DATA_INSUFFICIENT])
def test_what_has_no_solution_has_no_objective(stop: SolverStop) -> None:
    with pytest.raises(ValidationError, match=f"a problem that is {stop} has no objective"):
        report(stop, objective=1)


@pytest.mark.parametrize("stop", [SolverStop.OPTIMAL, SolverStop.FEASIBLE])
def test_a_solution_has_an_objective(stop: SolverStop) -> None:
    with pytest.raises(ValidationError, match=f"a solution that is {stop} has an objective"):
        report(stop)


@pytest.mark.parametrize(("sense", "objective", "bound"), [("min", 5, 6), ("max", 6, 5)])
def test_no_solution_is_better_than_its_bound(sense: str, objective: int, bound: int) -> None:
    with pytest.raises(ValidationError, match=f"better than the bound {bound}, as {objective} is"):
        report(sense=sense, objective=objective, bound=bound)


@given(VALUES, VALUES)
def test_a_report_is_read_back_as_it_was_written(one: float, other: float) -> None:
    wrote = report(SolverStop.TIME_BUDGET_EXHAUSTED, objective=max(one, other), bound=min(one, other))
    assert SolverReport.model_validate_json(canonical(wrote.model_dump(mode="json"))) == wrote


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (report(SolverStop.OPTIMAL, objective=3, bound=3), "objective 3, optimal"),
        (report(objective=3), "objective 3, gap unknown, feasible by greedy"),
        (
            report(SolverStop.TIME_BUDGET_EXHAUSTED, objective=80, bound=60, detail="2 s"),
            "objective 80, gap 25.00%, time_budget_exhausted by greedy (2 s)",
        ),
        (report(SolverStop.INFEASIBLE), "no solution, infeasible by greedy"),
    ],
)
def test_a_report_is_a_sentence(said: SolverReport, sentence: str) -> None:
    assert str(said) == sentence


def test_a_plan_needs_a_solution() -> None:
    with pytest.raises(ValidationError, match="without a solution there is no plan"):
        Purse(report=report(SolverStop.INFEASIBLE), confidence=1.0, coins=())


@pytest.mark.parametrize("confidence", [-0.1, 1.1, float("nan")])
def test_a_plan_is_as_sure_as_can_be(confidence: float) -> None:
    with pytest.raises(ValidationError):
        purse(1, confidence=confidence)


def test_a_plan_shows_what_is_to_be_said_against_it() -> None:
    finding = Finding(invariant="is-light", severity=Severity.ADVISORY, reason="4 coins are a lot")
    plan = purse(1, 1, 1, 1).model_copy(update={"findings": (finding,)})
    assert plan.summary() == "objective 4, gap unknown, feasible by greedy; is-light: 4 coins are a lot"


def test_an_outcome_says_why_there_is_no_plan() -> None:
    outcome = PackOutcome(
        pack="toy.coins", problem="seeds/p", report=report(SolverStop.INFEASIBLE), rationale="2 is left"
    )
    assert outcome.summary() == "toy.coins has no plan for seeds/p: 2 is left"


@pytest.mark.parametrize("pack", ["", "  "])
def test_an_input_names_its_pack(pack: str) -> None:
    with pytest.raises(ValidationError):
        PackInput(pack=pack, inputs={})
