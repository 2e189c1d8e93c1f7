from __future__ import annotations

import pytest
from pydantic import ValidationError

from converge_plugins.solvers.jobs import (
    Job,
    ScheduleProblem,
    Task,
    Window,
    in_order,
    latest_sensible_end,
    lower_bound,
    on_machines,
    value,
    windows,
)
from tests.plugins.solvers.schedules import problem

A = Job(id="a", duration=2)
B = Job(id="b", duration=3, release=4, after=("a",))
C = Job(id="c", duration=1, after=("b",), deadline=9)


def test_a_job_stands_after_those_it_waits_for() -> None:
    assert [job.id for job in in_order((C, B, A))] == ["a", "b", "c"]


def test_a_window_takes_in_what_comes_before_and_after() -> None:
    assert windows(problem(A, B, C), 20) == {"a": Window(0, 3), "b": Window(4, 5), "c": Window(7, 8)}


def test_everything_ends_by_the_horizon() -> None:
    assert windows(problem(A), 5) == {"a": Window(0, 3)}


def test_a_window_that_is_none_says_that_there_is_no_schedule() -> None:
    late = Job(id="d", duration=2, release=3, deadline=4)
    assert list(windows(problem(late), 9)["d"].moments()) == []


def test_the_moments_of_a_window_are_its_ends_and_all_between() -> None:
    assert list(Window(2, 4).moments()) == [2, 3, 4]


def test_nothing_needs_to_end_later_than_if_all_waited_for_the_last_release() -> None:
    assert latest_sensible_end(problem(A, B, C)) == 10


def test_the_makespan_is_the_last_end() -> None:
    assert value(problem(A, B), {"a": 0, "b": 4}) == 7


def test_a_weighted_completion_weighs_every_end() -> None:
    heavy = Job(id="h", duration=2, weight=10)
    assert value(problem(A, heavy, objective="weighted_completion"), {"a": 2, "h": 0}) == 24


def test_no_schedule_is_shorter_than_its_longest_chain() -> None:
    assert lower_bound(problem(A, B, C, machines=9)) == 8


def test_no_schedule_is_shorter_than_the_work_for_its_machines() -> None:
    jobs = [Job(id=f"j{number}", duration=3, release=1) for number in range(5)]
    assert lower_bound(problem(*jobs, machines=2)) == 1 + 8


def test_no_weighted_completion_is_less_than_if_each_job_were_alone() -> None:
    assert lower_bound(problem(A, B, objective="weighted_completion")) == 2 + 7


def test_a_job_gets_the_first_machine_that_is_free() -> None:
    jobs = [Job(id=name, duration=2) for name in "xyz"]
    tasks = on_machines(problem(*jobs, machines=2), {"x": 0, "y": 1, "z": 2})
    assert tasks == (Task(0, 2, "x", "m0"), Task(1, 3, "y", "m1"), Task(2, 4, "z", "m0"))


def test_more_jobs_at_a_time_than_machines_are_refused() -> None:
    with pytest.raises(ArithmeticError, match="no machine is free at 1 for b"):
        on_machines(problem(A, Job(id="b", duration=1)), {"a": 0, "b": 1})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"machines": ["m", "m"]}, "`machines` has some names twice: m"),
        ({"machines": []}, "at least 1 item"),
        ({"jobs": [{"id": "a", "duration": 1}, {"id": "a", "duration": 1}]}, "`jobs` has some names twice: a"),
        ({"jobs": [{"id": "a", "duration": 1, "after": ["q"]}]}, "`after` names what is no job: q"),
        ({"jobs": [{"id": "a", "duration": 1, "after": ["a"]}]}, "wait for each other in a circle: a, a"),
        ({"jobs": [{"id": "a", "duration": 0}]}, "greater than or equal to 1"),
        ({"objective": "beauty"}, "makespan"),
    ],
)
def test_a_problem_that_makes_no_sense_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ScheduleProblem.model_validate({"machines": ["m"], "jobs": [], **changes})
