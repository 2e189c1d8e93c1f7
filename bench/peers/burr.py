"""Burr: an action for each suggestor, one list in the state that they append to.

What runs in parallel are the tasks of a parallel action, gathered on one event loop. ``SQLitePersister`` saves the
whole state after every action, in a rollback journal at ``synchronous=FULL``: its own setting.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from itertools import count as numbers_from
from itertools import pairwise
from pathlib import Path
from typing import Any

from burr.core import ApplicationBuilder, action
from burr.core.action import create_action
from burr.core.graph import GraphBuilder
from burr.core.parallelism import RunnableGraph, SubGraphTask, TaskBasedParallelAction
from burr.core.persistence import SQLitePersister

from bench import shapes
from bench.shapes import Laps
from bench.worker import Sample, Work, on_disk, resident, serve, timed


def step(name: str, topic: int, size: int = 1, laps: Laps | None = None) -> Any:
    """Return an action that appends facts of its own."""

    def call(state: Any) -> Any:
        if laps is not None:
            laps.mark()
        known = len(state["facts"])
        return state.extend(facts=[shapes.fact(f"{name}.{number}@{known}", topic) for number in range(size)])

    return action(reads=["facts"], writes=["facts"])(call)


def chained(length: int, size: int = 1, laps: Laps | None = None) -> Any:
    """Return a graph whose actions follow each other."""
    actions = {f"s{number}": step(f"s{number}", number + 1, size, laps) for number in range(length)}
    names = list(actions)
    return GraphBuilder().with_actions(**actions).with_transitions(*pairwise(names)).build()


def application(graph: Any, facts: list[shapes.Fact]) -> Any:
    """Return an application at its beginning."""
    return ApplicationBuilder().with_graph(graph).with_entrypoint("s0").with_state(facts=facts)


def start() -> list[shapes.Fact]:
    """Return the facts to begin with."""
    return [shapes.fact("start", 0)]


def chain(length: int) -> Work:
    """W1."""
    graph = chained(length)

    async def sample() -> Sample:
        app = application(graph, start()).build()
        return await timed(lambda: app.run(halt_after=[f"s{length - 1}"]), length)()

    return sample


def forked(width: int, milliseconds: int = 0) -> Any:
    """Return a parallel action of so many tasks, whose reduction adds their facts."""

    def task(name: str) -> Any:
        async def call(state: Any) -> Any:
            if milliseconds:
                await asyncio.sleep(milliseconds / 1000)
            return state.update(said=[shapes.fact(f"{name}@1", 1)])

        return RunnableGraph.create(create_action(action(reads=["facts"], writes=["said"])(call), name))

    graphs = [task(f"s{number}") for number in range(width)]

    def tasks(self: Any, state: Any, context: Any, inputs: Any) -> Iterator[Any]:
        for number, graph in enumerate(graphs):
            yield SubGraphTask(graph=graph, inputs={}, state=state, application_id=f"{context.app_id}-{number}")

    async def reduce(self: Any, state: Any, states: AsyncIterator[Any]) -> Any:
        return state.extend(facts=[fact async for each in states for fact in each["said"]])

    def is_async(self: Any) -> bool:
        return True

    def fields(self: Any) -> list[str]:
        return ["facts"]

    members = {
        "is_async": is_async,
        "tasks": tasks,
        "reduce": reduce,
        "reads": property(fields),
        "writes": property(fields),
    }
    return type("Forked", (TaskBasedParallelAction,), members)()  # a class statement would need the types of its base


def fanned(width: int, milliseconds: int = 0) -> Any:
    """Return a graph of a fan-out and a join."""
    builder = GraphBuilder().with_actions(s0=forked(width, milliseconds), join=step("join", 2))
    return builder.with_transitions(("s0", "join")).build()


def fan_out(width: int) -> Work:
    """W2."""
    graph = fanned(width)

    async def sample() -> Sample:
        app = await application(graph, start()).abuild()
        return await timed(lambda: app.arun(halt_after=["join"]), width)()

    return sample


def large_context(facts: int, cycles: int = 20) -> Work:
    """W4."""
    laps = Laps()
    graph, old = chained(cycles + 2, laps=laps), shapes.facts(facts)

    def sample() -> Sample:
        application(graph, list(old)).build().run(halt_after=[f"s{cycles + 1}"])
        return laps.take(skip=1)

    return sample


def durable(length: int, synchronous: str) -> Work:
    """W5."""
    folder, numbers = Path(tempfile.mkdtemp(prefix="bench-")), numbers_from()
    graph = chained(length)

    async def sample() -> Sample:
        path = folder / f"{next(numbers)}.db"
        with SQLitePersister(str(path)) as persister:
            persister.initialize()
            assert persister.connection.execute("PRAGMA synchronous").fetchone() == (2,), "FULL"
            app = application(graph, start()).with_state_persister(persister).build()
            taken = await timed(lambda: app.run(halt_after=[f"s{length - 1}"]), length)()
        return {**taken, "bytes": on_disk(path) / length}

    return sample


def resume(facts: int) -> Work:
    """W5r: the state of a run of a hundred actions is read back; nothing is verified."""
    path = str(Path(tempfile.mkdtemp(prefix="bench-")) / "run.db")
    graph = chained(100, facts // 100)
    with SQLitePersister(path) as persister:
        persister.initialize()
        known = application(graph, []).with_identifiers(app_id="run").with_state_persister(persister)
        known.build().run(halt_after=["s99"])

    def call() -> None:
        with SQLitePersister(path) as again:
            builder = ApplicationBuilder().with_graph(graph).with_identifiers(app_id="run")
            loaded = builder.initialize_from(
                again, resume_at_next_action=False, default_state={"facts": []}, default_entrypoint="s0"
            )
            assert len(loaded.build().state["facts"]) == facts

    return timed(call, facts)


def many_small(runs: int) -> Work:
    """W6."""
    graph = fanned(4)

    async def call() -> None:
        for _ in range(runs):
            app = await application(graph, start()).abuild()
            await app.arun(halt_after=["join"])

    return timed(call, runs)


def waiting(runs: int) -> Work:
    """W6w: applications that are halted before an action, and held."""
    graph = fanned(4)

    async def halted() -> Any:
        app = await application(graph, start()).abuild()
        await app.arun(halt_before=["join"])
        return app

    async def sample() -> Sample:
        await halted()
        before = resident()
        held = [await halted() for _ in range(runs)]
        return {"bytes": (resident() - before) / len(held)}

    return sample


def sleepers(count: int, milliseconds: int, loop: str = "asyncio") -> Work:
    """W8."""
    graph = fanned(count, milliseconds)

    async def sample() -> Sample:
        app = await application(graph, start()).abuild()
        return await timed(lambda: app.arun(halt_after=["join"]), 1)()

    return sample


if __name__ == "__main__":
    serve(
        {
            "chain": chain,
            "fan_out": fan_out,
            "large_context": large_context,
            "durable": durable,
            "resume": resume,
            "many_small": many_small,
            "waiting": waiting,
            "sleepers": sleepers,
        },
        "apache-burr",
    )
