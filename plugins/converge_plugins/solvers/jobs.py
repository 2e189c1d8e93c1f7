"""Jobs and machines: what a schedule is made for, and when each job may run at all.

Time is counted in whole units from 0. A job runs once, without a break, on any one of the machines, not before its
release nor before the jobs it comes ``after`` have ended, and ends by its deadline. The machines are alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, ClassVar, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from converge_core import FactPayload
from converge_core.packs import PackPlan
from converge_plugins.solvers.naming import few, repeated

MAX_TIME = 10**6

Time = Annotated[int, Field(ge=0, le=MAX_TIME)]


class Job(BaseModel):
    """Something to be done. Its ``weight`` counts where late ends are costly (``weighted_completion``)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(min_length=1)
    duration: Annotated[int, Field(ge=1, le=MAX_TIME)]
    release: Time = 0
    deadline: Time | None = None
    weight: Annotated[int, Field(ge=0, le=MAX_TIME)] = 1
    after: tuple[str, ...] = ()


class ScheduleProblem(FactPayload):
    """What is to be done on which machines, and what is to be small: the last end, or the weighted sum of all ends."""

    family: ClassVar[str] = "converge.solve.schedule.problem"

    machines: Annotated[tuple[str, ...], Field(min_length=1)]
    jobs: tuple[Job, ...]
    objective: Literal["makespan", "weighted_completion"] = "makespan"

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        for what, names in (("machines", self.machines), ("jobs", [job.id for job in self.jobs])):
            if twice := repeated(names):
                raise ValueError(f"`{what}` has some names twice: {twice}")
        if unknown := few({name for job in self.jobs for name in job.after} - {job.id for job in self.jobs}):
            raise ValueError(f"`after` names what is no job: {unknown}")
        try:
            in_order(self.jobs)
        except CycleError as error:
            raise ValueError(f"jobs wait for each other in a circle: {', '.join(error.args[1])}") from None
        return self

    def summary(self) -> str:
        """Return the size of the problem."""
        return f"{len(self.jobs)} jobs on {len(self.machines)} machines, {self.objective}"


class Task(NamedTuple):
    """A job in a schedule. In JSON it is a list of the four."""

    start: int
    end: int
    job: str
    machine: str


class SchedulePlan(PackPlan):
    """When each job runs, and where, in the order of their starts."""

    family: ClassVar[str] = "converge.solve.schedule.plan"

    tasks: Annotated[tuple[Task, ...], Field(min_length=1)]

    def summary(self) -> str:
        """Return the size of the plan, and its report."""
        return f"{len(self.tasks)} jobs until {max(task.end for task in self.tasks)}; {super().summary()}"


class Window(NamedTuple):
    """The first and the last moment at which a job may start."""

    first: int
    last: int

    def moments(self) -> range:
        """Return every moment of it; none, if its end is before its beginning."""
        return range(self.first, self.last + 1)


def in_order(jobs: Sequence[Job]) -> list[Job]:
    """Return jobs so that each stands after those it waits for. Raises CycleError."""
    by_id = {job.id: job for job in jobs}
    return [by_id[name] for name in TopologicalSorter({job.id: job.after for job in jobs}).static_order()]


def windows(problem: ScheduleProblem, horizon: int) -> dict[str, Window]:
    """Return when each job may start by its own times and those of the jobs before and after it.

    Everything ends by ``horizon``. A window whose end is before its beginning says that there is no schedule.
    """
    ordered = in_order(problem.jobs)
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    ends = {job.id: job.duration for job in ordered}
    for job in ordered:
        first[job.id] = max(job.release, *(first[name] + ends[name] for name in job.after), 0)
        last[job.id] = (horizon if job.deadline is None else min(job.deadline, horizon)) - job.duration
    for job in reversed(ordered):
        for name in job.after:
            last[name] = min(last[name], last[job.id] - ends[name])
    return {job.id: Window(first[job.id], last[job.id]) for job in ordered}


def latest_sensible_end(problem: ScheduleProblem) -> int:
    """Return when everything has ended in any schedule that does not idle without need."""
    return max((job.release for job in problem.jobs), default=0) + sum(job.duration for job in problem.jobs)


def value(problem: ScheduleProblem, starts: Mapping[str, int]) -> int:
    """Return the objective of a schedule, given by the starts of its jobs."""
    ends = {job.id: starts[job.id] + job.duration for job in problem.jobs}
    if problem.objective == "makespan":
        return max(ends.values())
    return sum(job.weight * ends[job.id] for job in problem.jobs)


def lower_bound(problem: ScheduleProblem) -> int:
    """Return a value that no schedule is below: by the chains of jobs, and by the work there is for the machines."""
    first = {name: window.first for name, window in windows(problem, latest_sensible_end(problem)).items()}
    by_chains = value(problem, first)
    if problem.objective != "makespan":
        return by_chains
    work = sum(job.duration for job in problem.jobs)
    return max(by_chains, min(first.values()) + -(-work // len(problem.machines)))


def on_machines(problem: ScheduleProblem, starts: Mapping[str, int]) -> tuple[Task, ...]:
    """Give each job the first machine, by name, that is free when it starts.

    Raises ArithmeticError when more jobs run at a time than there are machines.
    """
    free = dict.fromkeys(sorted(problem.machines), 0)
    tasks = []
    for job in sorted(problem.jobs, key=lambda job: (starts[job.id], job.id)):
        start = starts[job.id]
        machine = next((name for name, moment in free.items() if moment <= start), None)
        if machine is None:
            raise ArithmeticError(f"no machine is free at {start} for {job.id}")
        free[machine] = start + job.duration
        tasks.append(Task(start, free[machine], job.id, machine))
    return tuple(tasks)
