from __future__ import annotations

from hypothesis import given, settings

from converge_core.packs import SolverReport, SolverStop, examine_plan
from converge_plugins.solvers.jobs import Job, SchedulePlan, ScheduleProblem, lower_bound, on_machines, value
from converge_plugins.solvers.list_scheduling import list_schedule
from converge_plugins.solvers.schedule import SchedulePack
from tests.plugins.solvers.schedules import problem, problems


@settings(max_examples=200)
@given(problems())
def test_a_listed_schedule_keeps_all_conditions(stated: ScheduleProblem) -> None:
    starts = list_schedule(stated)
    if starts is not None:
        report = SolverReport(stop=SolverStop.FEASIBLE, method="list_scheduling", objective=value(stated, starts))
        plan = SchedulePlan(report=report, confidence=1.0, tasks=on_machines(stated, starts))
        assert value(stated, starts) >= lower_bound(stated)
        assert [finding.severity for finding in examine_plan(SchedulePack().invariants, stated, plan)] == ["advisory"]


def test_the_longest_jobs_go_first_if_that_is_shorter() -> None:
    jobs = [Job(id=f"{number}", duration=duration) for number, duration in enumerate([1, 1, 2, 2, 4])]
    starts = list_schedule(problem(*jobs, machines=2))
    assert starts is not None
    assert value(problem(*jobs, machines=2), starts) == 5


def test_who_has_a_deadline_goes_first() -> None:
    jobs = [Job(id="a", duration=1), Job(id="b", duration=3, deadline=3)]
    assert list_schedule(problem(*jobs)) == {"b": 0, "a": 3}


def test_who_is_worth_most_for_its_time_goes_first_where_ends_are_weighed() -> None:
    jobs = [Job(id="a", duration=4, weight=1), Job(id="b", duration=2, weight=9), Job(id="c", duration=1, weight=2)]
    stated = problem(*jobs, objective="weighted_completion")
    assert list_schedule(stated) == {"b": 0, "c": 2, "a": 3}


def test_there_is_none_where_a_deadline_is_missed() -> None:
    assert list_schedule(problem(Job(id="a", duration=3, deadline=2))) is None
