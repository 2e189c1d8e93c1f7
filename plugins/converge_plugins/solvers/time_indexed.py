"""The exact search for a schedule: an integer program with a variable for each job and each moment of its window.

The variable is 1 if the job starts then. That program is large and its linear relaxation is strong (Sousa and Wolsey,
1992), so what fits is solved quickly. Machines are alike, so it only counts how many jobs run at each moment; which
machine a job gets can be said afterwards.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from converge_core.packs import SolverReport, SolverStop
from converge_plugins.solvers.integer_program import METHOD, IntegerProgram, Terms, Tie
from converge_plugins.solvers.jobs import ScheduleProblem, Window, lower_bound
from converge_plugins.solvers.needs import Deadline


def search(
    problem: ScheduleProblem, may_start: Mapping[str, Window], deadline: Deadline, iteration_limit: int
) -> tuple[dict[str, int] | None, SolverReport]:
    """Return the starts of the first of the best schedules, or of the best so far, or None; and how the search went."""
    indexed = _TimeIndexed(problem, may_start)
    objective, constant = indexed.makespan() if problem.objective == "makespan" else indexed.weighted_completion()
    ties = [Tie(indexed.moments[job.id], *may_start[job.id]) for job in indexed.jobs]
    found = indexed.program.minimise(objective, ties, deadline, iteration_limit)
    if found.stop is SolverStop.INFEASIBLE:
        return None, SolverReport(stop=found.stop, method=METHOD, detail="the deadlines cannot all be met")
    starts = None if found.values is None else indexed.starts(found.values)
    report = SolverReport(
        stop=found.stop,
        method=METHOD,
        objective=None if found.objective is None else found.objective + constant,
        bound=max(lower_bound(problem), constant + (found.bound or 0)),
        detail=found.detail,
    )
    return starts, report


class _TimeIndexed:
    """The program of a problem. ``moments`` says for each job which start each of its variables stands for."""

    def __init__(self, problem: ScheduleProblem, may_start: Mapping[str, Window]) -> None:
        self.program = IntegerProgram()
        self.jobs = sorted(problem.jobs, key=lambda job: job.id)
        self._problem, self._may_start = problem, may_start
        self.moments = {
            job.id: {self.program.variable(): moment for moment in may_start[job.id].moments()} for job in self.jobs
        }
        for job in self.jobs:
            self.program.require(dict.fromkeys(self.moments[job.id], 1), low=1, high=1)
        self._share_machines()
        self._keep_sequence()

    def _share_machines(self) -> None:
        running: dict[int, dict[int, int]] = defaultdict(dict)
        for job in self.jobs:
            for variable, start in self.moments[job.id].items():
                for moment in range(start, start + job.duration):
                    running[moment][variable] = 1
        for _, variables in sorted(running.items()):
            self.program.require(variables, high=len(self._problem.machines))

    def _keep_sequence(self) -> None:
        durations = {job.id: job.duration for job in self.jobs}
        for job in self.jobs:
            for name in sorted(set(job.after)):
                self.program.require(self.moments[job.id] | _negative(self.moments[name]), low=durations[name])

    def makespan(self) -> tuple[Terms, int]:
        """Return the last end as an expression, and what is to be added to its value."""
        latest = max(self._may_start[job.id].last + job.duration for job in self.jobs)
        last_end = self.program.variable(lower_bound(self._problem), latest)
        for job in self.jobs:
            self.program.require({last_end: 1} | _negative(self.moments[job.id]), low=job.duration)
        return {last_end: 1}, 0

    def weighted_completion(self) -> tuple[Terms, int]:
        """Return the weighted sum of all ends as an expression, and what is to be added to its value."""
        terms = {v: job.weight * moment for job in self.jobs for v, moment in self.moments[job.id].items()}
        return terms, sum(job.weight * job.duration for job in self.jobs)

    def starts(self, values: tuple[int, ...]) -> dict[str, int]:
        """Return the starts of the jobs that values of the variables stand for."""
        return {
            name: next(moment for variable, moment in moments.items() if values[variable])
            for name, moments in self.moments.items()
        }


def _negative(terms: Terms) -> dict[int, int]:
    return {variable: -factor for variable, factor in terms.items()}
