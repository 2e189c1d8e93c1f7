"""List scheduling: one job after the other, each as early as it can start; which is next, a rule says.

It proves nothing and may miss a schedule that meets all deadlines, but it is quick (Graham, 1966). The exact search
takes its result as a limit to stay within, and it stands in where that search cannot be finished.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from converge_plugins.solvers.jobs import Job, ScheduleProblem, Window, latest_sensible_end, value, windows

METHOD = "list_scheduling"

_Rule = Callable[[Job, Window], tuple[float, ...]]


def _who_must_start_first(job: Job, window: Window) -> tuple[float, ...]:
    """Where nothing is due, this is the longest job, or the longest chain of them."""
    return window.last, -job.duration


def _who_is_worth_most_for_its_time(job: Job, window: Window) -> tuple[float, ...]:
    return -job.weight / job.duration, window.last


_RULES: tuple[_Rule, ...] = (_who_must_start_first, _who_is_worth_most_for_its_time)


def list_schedule(problem: ScheduleProblem) -> dict[str, int] | None:
    """Return the starts of the best schedule that any of the rules leads to; None if all of them miss a deadline."""
    may_start = windows(problem, latest_sensible_end(problem))
    schedules = [_follow(rule, problem, may_start) for rule in _RULES]
    in_time = [starts for starts in schedules if _meets_deadlines(problem, starts)]
    return min(in_time, key=lambda starts: (value(problem, starts), sorted(starts.items())), default=None)


def _follow(rule: _Rule, problem: ScheduleProblem, may_start: Mapping[str, Window]) -> dict[str, int]:
    waiting = {job.id: job for job in sorted(problem.jobs, key=lambda job: job.id)}
    free = [0] * len(problem.machines)
    starts: dict[str, int] = {}
    ends: dict[str, int] = {}
    while waiting:
        ready = [job for job in waiting.values() if ends.keys() >= set(job.after)]
        machine = free.index(min(free))
        earliest = {job.id: max(free[machine], job.release, *(ends[name] for name in job.after), 0) for job in ready}
        now = min(earliest.values())
        job = min(
            (job for job in ready if earliest[job.id] == now), key=lambda job: (*rule(job, may_start[job.id]), job.id)
        )
        starts[job.id] = now
        ends[job.id] = free[machine] = now + job.duration
        del waiting[job.id]
    return starts


def _meets_deadlines(problem: ScheduleProblem, starts: Mapping[str, int]) -> bool:
    return all(job.deadline is None or starts[job.id] + job.duration <= job.deadline for job in problem.jobs)
