"""pydantic-graph: a step for each suggestor, a state object whose list of facts they add to, and a join.

It keeps nothing on disk, and has nobody who waits for people; what waits here is a run that is held between two steps.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import count as numbers_from
from itertools import pairwise
from typing import Any

from pydantic_graph import GraphBuilder, reduce_null

from bench import shapes
from bench.shapes import Fact, Laps
from bench.worker import Sample, Work, resident, serve, timed


@dataclass
class State:
    """What the steps share."""

    facts: list[Fact] = field(default_factory=list)


Function = Callable[[Any], Awaitable[None]]


def step(name: str, topic: int, laps: Laps | None = None) -> Function:
    """Return a step that adds a fact of its own."""

    async def call(ctx: Any) -> None:
        if laps is not None:
            laps.mark()
        facts = ctx.state.facts
        facts.append(shapes.fact(f"{name}@{len(facts)}", topic))

    return call


def builder() -> Any:
    """Return a builder of graphs that begin with nothing and end with nothing."""
    return GraphBuilder(state_type=State, output_type=type(None))


def chained(length: int, laps: Laps | None = None) -> Any:
    """Return a graph whose steps follow each other."""
    made = builder()
    last = made.start_node
    for number in range(length):
        following = made.step(step(f"s{number}", number + 1, laps), node_id=f"s{number}")
        made.add_edge(last, following)
        last = following
    made.add_edge(last, made.end_node)
    return made.build()


def fanned(functions: list[Function], last: Function) -> Any:
    """Return a graph of a broadcast, a join, and a step after it."""
    made = builder()
    steps = [made.step(function, node_id=f"s{number}") for number, function in enumerate(functions)]
    join = made.join(reduce_null, initial=None)
    end = made.step(last, node_id="join")
    made.add(
        made.edge_from(made.start_node).to(*steps),
        made.edge_from(*steps).to(join),
        made.edge_from(join).to(end),
        made.edge_from(end).to(made.end_node),
    )
    return made.build()


def started() -> State:
    """Return the state to begin with."""
    return State([shapes.fact("start", 0)])


def chain(length: int) -> Work:
    """W1."""
    graph = chained(length)
    return timed(lambda: graph.run(state=started()), length)


def small(width: int) -> Any:
    """Return the graph of W2 and W6."""
    return fanned([step(f"s{number}", 1) for number in range(width)], step("join", 2))


def fan_out(width: int) -> Work:
    """W2."""
    graph = small(width)
    return timed(lambda: graph.run(state=started()), width)


def sparse(registered: int, active: int = 10, cycles: int = 50) -> Work:
    """W3: ten lanes and a join; whoever sleeps is a branch of a decision that is never taken."""
    made = builder()
    steps = [made.step(step(f"s{number}", number), node_id=f"s{number}") for number in range(registered)]

    async def awake(ctx: Any) -> int:
        return -1

    router = made.step(awake, node_id="router")
    first = made.step(step("first", 0), node_id="first")
    join = made.join(reduce_null, initial=None)
    decision = made.decision().branch(made.match(int, matches=lambda number: number == -1).to(first))
    for number in range(active * cycles, registered):
        decision = decision.branch(made.match(int, matches=lambda chosen, own=number: chosen == own).to(steps[number]))
    made.add(made.edge_from(made.start_node).to(router), made.edge_from(router).to(decision))
    ways = list(shapes.lanes(active, cycles))
    made.add(made.edge_from(first).to(*(steps[way[0]] for way in ways)))
    for way in ways:
        for before, after in pairwise(way):
            made.add_edge(steps[before], steps[after])
    made.add(made.edge_from(*(steps[way[-1]] for way in ways)).to(join), made.edge_from(join).to(made.end_node))
    if registered > active * cycles:
        made.add(made.edge_from(*steps[active * cycles :]).to(made.end_node))
    graph = made.build()
    return timed(lambda: graph.run(state=started()), active * cycles)


def large_context(facts: int, cycles: int = 20) -> Work:
    """W4."""
    laps = Laps()
    graph, old = chained(cycles + 2, laps), shapes.facts(facts)

    async def sample() -> Sample:
        await graph.run(state=State(list(old)))
        return laps.take(skip=1)

    return sample


def many_small(runs: int) -> Work:
    """W6."""
    graph = small(4)

    async def call() -> None:
        for _ in range(runs):
            await graph.run(state=started())

    return timed(call, runs)


def waiting(runs: int) -> Work:
    """W6w: a live task each, which awaits an answer in its last step."""

    async def sample() -> Sample:
        answer, all_asked, numbers = asyncio.Event(), asyncio.Event(), numbers_from()

        async def ask(ctx: Any) -> None:
            if next(numbers) == runs - 1:
                all_asked.set()
            await answer.wait()

        graph = fanned([step(f"s{number}", 1) for number in range(4)], ask)
        before = resident()
        tasks = [asyncio.ensure_future(graph.run(state=started())) for _ in range(runs)]
        await all_asked.wait()
        bytes_each = (resident() - before) / runs
        answer.set()
        await asyncio.gather(*tasks)
        return {"bytes": bytes_each}

    return sample


def sleepers(count: int, milliseconds: int, loop: str = "asyncio") -> Work:
    """W8."""

    async def sleep(ctx: Any) -> None:
        await asyncio.sleep(milliseconds / 1000)

    graph = fanned([sleep] * count, step("join", 2))
    return timed(lambda: graph.run(state=started()), 1)


if __name__ == "__main__":
    serve(
        {
            "chain": chain,
            "fan_out": fan_out,
            "sparse": sparse,
            "large_context": large_context,
            "many_small": many_small,
            "waiting": waiting,
            "sleepers": sleepers,
        },
        "pydantic-graph",
    )
