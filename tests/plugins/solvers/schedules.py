"""Problems of scheduling, quickly stated."""

from __future__ import annotations

from hypothesis import strategies as st

from converge_plugins.solvers.jobs import Job, ScheduleProblem


def problem(*jobs: Job, machines: int = 1, objective: str = "makespan") -> ScheduleProblem:
    """A problem with so many machines, ``m0`` and so on."""
    names = tuple(f"m{number}" for number in range(machines))
    return ScheduleProblem.model_validate({"machines": names, "jobs": jobs, "objective": objective})


@st.composite
def problems(draw: st.DrawFn) -> ScheduleProblem:
    """Problems small enough to try every schedule."""
    names = "abcd"[: draw(st.integers(1, 4))]
    jobs = [
        Job(
            id=name,
            duration=draw(st.integers(1, 3)),
            release=draw(st.sampled_from([0, 0, 1, 3])),
            deadline=draw(st.none() | st.integers(3, 9)),
            weight=draw(st.integers(0, 3)),
            after=tuple(other for other in names[:place] if draw(st.integers(0, 4)) == 0),
        )
        for place, name in enumerate(names)
    ]
    objective = draw(st.sampled_from(["makespan", "weighted_completion"]))
    return problem(*jobs, machines=draw(st.integers(1, 2)), objective=objective)
