"""``solve.schedule``: what runs when, on one machine or several alike.

The exact search (`converge_plugins.solvers.time_indexed`) has a variable for each job and each moment at which it may
start, so it is for small problems: the candidate cap counts these variables. Where the cap or a limit keeps it from a
schedule, list scheduling stands in, and the report says so: ``method`` is ``list_scheduling``, ``fallback`` is true,
``stop`` says which limit it was, and the gap is measured against a bound that holds for every schedule.

Of several optimal schedules it is the first: the smallest job starts as early as in any of them, the next smallest as
early as is then possible, and so on; jobs go to the first machine that is free.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from pydantic import Field

from converge_core import Replayability, Site
from converge_core.packs import (
    DeterminismSpec,
    Pack,
    PackSuggestor,
    PlanInvariant,
    Severity,
    SolveBudgets,
    SolverReport,
    SolverStop,
)
from converge_plugins.solvers import integer_program, list_scheduling
from converge_plugins.solvers.jobs import (
    SchedulePlan,
    ScheduleProblem,
    latest_sensible_end,
    lower_bound,
    on_machines,
    value,
    windows,
)
from converge_plugins.solvers.list_scheduling import list_schedule
from converge_plugins.solvers.naming import few, miscounted
from converge_plugins.solvers.needs import Clock, Deadline, require_scipy
from converge_plugins.solvers.settings import SearchConfig, confidence_in, excess_gap
from converge_plugins.solvers.time_indexed import search


class ScheduleConfig(SearchConfig):
    """The configuration of ``solve.schedule``. Its candidates are the moments at which each of the jobs may start."""

    fallback: bool = Field(default=True, description="Whether list scheduling may stand in for an unfinished search.")


class SchedulePack(Pack[ScheduleProblem, SchedulePlan]):
    """Scheduling on identical parallel machines.

    A time limit makes it depend on the machine, so its plans are journaled.
    """

    name = "solve.schedule"
    version = "1"
    problem = ScheduleProblem
    plan = SchedulePlan
    replayability = Replayability.BEST_EFFORT

    def __init__(self, max_gap: float = 0.0, fallback: bool = True, clock: Clock = time.monotonic) -> None:
        self._max_gap = max_gap
        self._fallback = fallback
        self._clock = clock

    @property
    def invariants(self) -> Sequence[PlanInvariant[ScheduleProblem, SchedulePlan]]:
        """Return what must hold for a schedule, whoever made it."""
        return (
            PlanInvariant("every-job-once", _every_job_once),
            PlanInvariant("one-job-at-a-time-on-a-machine", _machines_are_free),
            PlanInvariant("no-job-before-its-release", _released),
            PlanInvariant("every-deadline-is-met", _deadlines_met),
            PlanInvariant("jobs-wait-for-those-before-them", _in_sequence),
            PlanInvariant("the-objective-is-what-the-tasks-say", _objective_holds),
            PlanInvariant("near-enough-to-the-best", self._near_the_best, Severity.ADVISORY),
        )

    def _near_the_best(self, problem: ScheduleProblem, plan: SchedulePlan) -> str | None:
        return excess_gap(plan.report, self._max_gap)

    def solve(
        self, problem: ScheduleProblem, budgets: SolveBudgets, determinism: DeterminismSpec
    ) -> SchedulePlan | SolverReport:
        """Return the first of the best schedules, or the best that was found. Raises PluginError without scipy."""
        require_scipy()
        if not problem.jobs:
            return _report(SolverStop.DATA_INSUFFICIENT, detail="there is nothing to do")
        listed = list_schedule(problem)
        may_start = windows(problem, _horizon(problem, listed))
        if late := few(name for name, window in may_start.items() if not window.moments()):
            return _report(SolverStop.INFEASIBLE, detail=f"too little time by itself for {late}")
        candidates = sum(len(window.moments()) for window in may_start.values())
        if candidates > budgets.candidate_cap:
            detail = f"{candidates} moments to start where {budgets.candidate_cap} are allowed"
            cut_off = _report(SolverStop.CANDIDATE_CAP_REACHED, bound=lower_bound(problem), detail=detail)
            return self._stand_in(problem, listed, cut_off) or cut_off
        deadline = Deadline(budgets.time_limit, self._clock)
        starts, report = search(problem, may_start, deadline, budgets.iteration_limit)
        if starts is None:
            return self._stand_in(problem, listed, report) or report
        if listed is not None and value(problem, listed) < value(problem, starts):
            return self._stand_in(problem, listed, report) or _plan(problem, starts, report)
        return _plan(problem, starts, report)

    def _stand_in(
        self, problem: ScheduleProblem, listed: Mapping[str, int] | None, cut_off: SolverReport
    ) -> SchedulePlan | None:
        """Return the listed schedule, if there is one, under the reason for which the exact search has none as good."""
        if listed is None or not self._fallback:
            return None
        reached = value(problem, listed)
        report = SolverReport(
            stop=cut_off.stop,
            method=list_scheduling.METHOD,
            objective=reached,
            bound=cut_off.bound,
            fallback=True,
            detail=cut_off.detail,
        )
        return _plan(problem, listed, report)


def _report(stop: SolverStop, detail: str, bound: int | None = None) -> SolverReport:
    return SolverReport(stop=stop, method=integer_program.METHOD, bound=bound, detail=detail)


def _horizon(problem: ScheduleProblem, listed: Mapping[str, int] | None) -> int:
    """Return when everything has ended in some optimal schedule, if there is a schedule at all."""
    if listed is None or problem.objective != "makespan":
        return latest_sensible_end(problem)
    return value(problem, listed)


def _plan(problem: ScheduleProblem, starts: Mapping[str, int], report: SolverReport) -> SchedulePlan:
    return SchedulePlan(report=report, confidence=confidence_in(report), tasks=on_machines(problem, starts))


def _every_job_once(problem: ScheduleProblem, plan: SchedulePlan) -> str | None:
    if wrong := miscounted((job.id for job in problem.jobs), (task.job for task in plan.tasks)):
        return f"missing, strange or there twice: {wrong}"
    durations = {job.id: job.duration for job in problem.jobs}
    broken = [task.job for task in plan.tasks if task.end - task.start != durations[task.job]]
    return f"not as long as it takes: {few(broken)}" if broken else None


def _machines_are_free(problem: ScheduleProblem, plan: SchedulePlan) -> str | None:
    free = dict.fromkeys(problem.machines, 0)
    for task in sorted(plan.tasks):
        if task.machine not in free:
            return f"there is no machine {task.machine}"
        if task.start < free[task.machine]:
            return f"{task.machine} is busy when {task.job} starts"
        free[task.machine] = task.end
    return None


def _released(problem: ScheduleProblem, plan: SchedulePlan) -> str | None:
    release = {job.id: job.release for job in problem.jobs}
    early = [task.job for task in plan.tasks if task.start < release[task.job]]
    return f"too early: {few(early)}" if early else None


def _deadlines_met(problem: ScheduleProblem, plan: SchedulePlan) -> str | None:
    deadline = {job.id: job.deadline for job in problem.jobs if job.deadline is not None}
    late = [task.job for task in plan.tasks if task.end > deadline.get(task.job, task.end)]
    return f"too late: {few(late)}" if late else None


def _in_sequence(problem: ScheduleProblem, plan: SchedulePlan) -> str | None:
    task = {task.job: task for task in plan.tasks}
    for job in problem.jobs:
        for name in job.after:
            if task[job.id].start < task[name].end:
                return f"{job.id} starts before {name} has ended"
    return None


def _objective_holds(problem: ScheduleProblem, plan: SchedulePlan) -> str | None:
    if problem.objective == "makespan":
        total = max(task.end for task in plan.tasks)
    else:
        weight = {job.id: job.weight for job in problem.jobs}
        total = sum(weight[task.job] * task.end for task in plan.tasks)
    stated = plan.report.objective
    return None if stated == total else f"the tasks come to {total}, not to {stated}"


def schedule_suggestor(config: ScheduleConfig, site: Site) -> PackSuggestor[ScheduleProblem, SchedulePlan]:
    """Return the suggestor that a configuration describes."""
    return config.suggestor(SchedulePack(config.max_gap, config.fallback), site)
