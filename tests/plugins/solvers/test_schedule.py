from __future__ import annotations

from itertools import product
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converge_core.packs import DeterminismSpec, Finding, Severity, SolveBudgets, SolverReport, SolverStop, examine_plan
from converge_plugins.solvers.jobs import (
    Job,
    SchedulePlan,
    ScheduleProblem,
    Task,
    latest_sensible_end,
    lower_bound,
    value,
)
from converge_plugins.solvers.schedule import SchedulePack
from tests.plugins.solvers.clocks import looks, stopped
from tests.plugins.solvers.schedules import problem, problems

PACK = SchedulePack(clock=stopped)
BUDGETS = SolveBudgets()


def solve(
    stated: ScheduleProblem, pack: SchedulePack = PACK, budgets: SolveBudgets = BUDGETS
) -> SchedulePlan | SolverReport:
    return pack.solve(stated, budgets, DeterminismSpec())


def plan(stated: ScheduleProblem, pack: SchedulePack = PACK, budgets: SolveBudgets = BUDGETS) -> SchedulePlan:
    found = solve(stated, pack, budgets)
    assert isinstance(found, SchedulePlan), found
    return found


def report(stated: ScheduleProblem, pack: SchedulePack = PACK, budgets: SolveBudgets = BUDGETS) -> SolverReport:
    found = solve(stated, pack, budgets)
    assert isinstance(found, SolverReport), found
    return found


def starts(found: SchedulePlan) -> dict[str, int]:
    return {task.job: task.start for task in found.tasks}


def first_best(stated: ScheduleProblem) -> tuple[int, tuple[int, ...]] | None:
    """Try everything: return the least objective, and the starts by job of the first schedule that has it."""
    jobs = sorted(stated.jobs, key=lambda job: job.id)
    end = latest_sensible_end(stated)
    best = None
    for moments in product(*(range(job.release, end - job.duration + 1) for job in jobs)):
        at = {job.id: moment for job, moment in zip(jobs, moments, strict=True)}
        ends = {job.id: at[job.id] + job.duration for job in jobs}
        if (
            all(job.deadline is None or ends[job.id] <= job.deadline for job in jobs)
            and all(at[job.id] >= ends[name] for job in jobs for name in job.after)
            and all(
                sum(at[job.id] <= moment < ends[job.id] for job in jobs) <= len(stated.machines)
                for moment in range(end)
            )
        ):
            reached = value(stated, at), moments
            best = reached if best is None else min(best, reached)
    return best


BUSY = problem(
    *(Job(id=f"{n:02}", duration=1 + n * 5 % 9, release=n * 7 % 11, weight=1 + n % 5) for n in range(10)),
    machines=3,
    objective="weighted_completion",
)


# Solutions.


@settings(max_examples=100)
@given(problems())
def test_the_plan_is_the_first_of_the_best(stated: ScheduleProblem) -> None:
    found, best = solve(stated), first_best(stated)
    if best is None:
        assert isinstance(found, SolverReport)
        assert found.stop is SolverStop.INFEASIBLE
    else:
        assert isinstance(found, SchedulePlan)
        assert found.report.stop is SolverStop.OPTIMAL
        assert (found.report.objective, tuple(moment for _, moment in sorted(starts(found).items()))) == best
        assert examine_plan(PACK.invariants, stated, found) == ()


@settings(max_examples=50)
@given(problems(), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(stated: ScheduleProblem, random: Random) -> None:
    jobs = tuple(random.sample(stated.jobs, len(stated.jobs)))
    shuffled = stated.model_copy(update={"jobs": jobs, "machines": stated.machines[::-1]})
    assert solve(shuffled) == solve(stated)


def test_a_plan_is_shown_in_a_line() -> None:
    found = plan(problem(Job(id="a", duration=2), Job(id="b", duration=3)))
    assert found.summary() == "2 jobs until 5; objective 5, optimal"


# Limits, and what stands in.


def test_where_the_cap_is_reached_a_listed_schedule_stands_in_and_says_so() -> None:
    found = plan(BUSY, budgets=SolveBudgets(candidate_cap=50))
    said = found.report
    assert (said.stop, said.method, said.fallback) == (SolverStop.CANDIDATE_CAP_REACHED, "list_scheduling", True)
    assert said.detail.endswith("moments to start where 50 are allowed")
    assert said.gap is not None
    assert said.gap > 0
    assert found.confidence == round(1 - said.gap, 6)


def test_the_gap_of_a_listed_schedule_is_an_honest_one() -> None:
    listed, best = plan(BUSY, budgets=SolveBudgets(candidate_cap=50)).report, plan(BUSY).report
    assert best.stop is SolverStop.OPTIMAL
    assert listed.bound is not None
    assert best.objective is not None
    assert listed.objective is not None
    assert listed.bound <= best.objective <= listed.objective


def test_without_time_a_listed_schedule_stands_in_and_says_so() -> None:
    said = plan(BUSY, SchedulePack(clock=looks(0)), SolveBudgets(time_limit=1)).report
    assert (said.stop, said.method, said.fallback) == (SolverStop.TIME_BUDGET_EXHAUSTED, "list_scheduling", True)


def test_a_schedule_that_stands_in_keeps_the_invariants_and_is_for_a_human() -> None:
    found = plan(BUSY, budgets=SolveBudgets(candidate_cap=50))
    (finding,) = examine_plan(PACK.invariants, BUSY, found)
    assert finding == Finding(
        invariant="near-enough-to-the-best",
        severity=Severity.ADVISORY,
        reason=f"{found.report}; a gap of 0.00% is allowed",
    )
    assert examine_plan(SchedulePack(max_gap=0.5).invariants, BUSY, found) == ()


def test_nothing_stands_in_where_it_may_not() -> None:
    said = report(BUSY, SchedulePack(fallback=False, clock=looks(0)), SolveBudgets(time_limit=1))
    assert said.stop is SolverStop.TIME_BUDGET_EXHAUSTED
    assert said.objective is None
    assert said.bound == lower_bound(BUSY)


def test_nothing_stands_in_where_list_scheduling_misses_a_deadline() -> None:
    # Only who waits for `b` meets all deadlines, and list scheduling never waits.
    stated = problem(Job(id="a", duration=3), Job(id="b", duration=1, release=1, deadline=2))
    assert starts(plan(stated)) == {"a": 2, "b": 1}
    said = report(stated, budgets=SolveBudgets(candidate_cap=1))
    assert said.stop is SolverStop.CANDIDATE_CAP_REACHED
    assert said.objective is None


def test_what_a_limit_cut_off_is_kept_if_it_is_as_good_as_the_listed() -> None:
    found = plan(BUSY, SchedulePack(clock=looks(1)), SolveBudgets(time_limit=1))
    assert (found.report.stop, found.report.fallback) == (SolverStop.OPTIMAL, False)
    assert "ended the search for the first" in found.report.detail


def test_a_listed_schedule_that_is_better_than_what_a_limit_left_stands_in(monkeypatch: pytest.MonkeyPatch) -> None:
    stated = problem(Job(id="a", duration=2), Job(id="b", duration=3))
    cut_off = SolverReport(stop=SolverStop.TIME_BUDGET_EXHAUSTED, method="branch_and_cut", objective=9, bound=5)
    monkeypatch.setattr("converge_plugins.solvers.schedule.search", lambda *_: ({"a": 7, "b": 0}, cut_off))
    found = plan(stated)
    assert (found.report.method, found.report.fallback, found.report.objective) == ("list_scheduling", True, 5)
    assert starts(plan(stated, SchedulePack(fallback=False))) == {"a": 7, "b": 0}


# No solution.


def test_a_job_that_cannot_end_in_time_makes_it_infeasible() -> None:
    said = report(problem(Job(id="a", duration=3, deadline=2), Job(id="b", duration=1)))
    assert said.stop is SolverStop.INFEASIBLE
    assert said.detail == "too little time by itself for a"


def test_jobs_that_cannot_all_end_in_time_make_it_infeasible() -> None:
    said = report(problem(Job(id="a", duration=2, deadline=3), Job(id="b", duration=2, deadline=3)))
    assert said.stop is SolverStop.INFEASIBLE
    assert said.detail == "the deadlines cannot all be met"


def test_nothing_to_do_is_no_plan() -> None:
    assert report(problem()).stop is SolverStop.DATA_INSUFFICIENT


# Invariants: whatever a solver gets wrong is found.


STATED = problem(
    Job(id="a", duration=2, deadline=4),
    Job(id="b", duration=3, after=("a",)),
    Job(id="c", duration=2, release=2),
    machines=2,
)
BEST = plan(STATED)


def findings(tasks: tuple[Task, ...] = BEST.tasks, **changes: object) -> list[str]:
    broken = examine_plan(PACK.invariants, STATED, BEST.model_copy(update={"tasks": tasks, **changes}))
    return [finding.invariant for finding in broken]


def test_a_right_solution_has_no_findings() -> None:
    assert BEST.tasks == (Task(0, 2, "a", "m0"), Task(2, 5, "b", "m0"), Task(2, 4, "c", "m1"))
    assert findings() == []


@pytest.mark.parametrize(
    ("tasks", "invariant"),
    [
        (BEST.tasks[:2], "every-job-once"),
        ((*BEST.tasks, Task(7, 9, "c", "m1")), "every-job-once"),
        ((*BEST.tasks, Task(7, 9, "q", "m1")), "every-job-once"),
        ((*BEST.tasks[:2], Task(2, 3, "c", "m1")), "every-job-once"),
        ((*BEST.tasks[:2], Task(4, 6, "c", "m0")), "one-job-at-a-time-on-a-machine"),
        ((*BEST.tasks[:2], Task(2, 4, "c", "m9")), "one-job-at-a-time-on-a-machine"),
        ((*BEST.tasks[:2], Task(1, 3, "c", "m1")), "no-job-before-its-release"),
        ((Task(3, 5, "a", "m0"), Task(5, 8, "b", "m0"), BEST.tasks[2]), "every-deadline-is-met"),
        ((Task(0, 2, "a", "m0"), Task(1, 4, "b", "m1"), Task(4, 6, "c", "m1")), "jobs-wait-for-those-before-them"),
        ((*BEST.tasks[:2], Task(5, 7, "c", "m1")), "the-objective-is-what-the-tasks-say"),
    ],
)
def test_a_schedule_that_is_wrong_is_found(tasks: tuple[Task, ...], invariant: str) -> None:
    assert invariant in findings(tasks)


def test_an_objective_that_is_not_that_of_the_tasks_is_found() -> None:
    wrong = BEST.report.model_copy(update={"objective": 4})
    assert findings(report=wrong) == ["the-objective-is-what-the-tasks-say"]


@settings(max_examples=30)
@given(problems())
def test_a_problem_and_its_plan_are_read_back_as_they_were_written(stated: ScheduleProblem) -> None:
    assert ScheduleProblem.from_text(stated.model_dump_json()) == stated
    found = solve(stated)
    if isinstance(found, SchedulePlan):
        assert SchedulePlan.from_text(found.model_dump_json()) == found
