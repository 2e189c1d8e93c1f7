"""LangGraph: a node for each suggestor, one list in the state that all of them add to.

Of its two ways, plain nodes with ``invoke`` and async nodes with ``ainvoke``, each workload goes the one that is
faster: plain for a chain and for one wide step, async for many narrow steps and small runs. No tracing. The SQLite
checkpointer commits a checkpoint a superstep (``durability="sync"``), in WAL and at ``synchronous=FULL``: its own
setting.
"""

from __future__ import annotations

import asyncio
import operator
import tempfile
from collections.abc import Awaitable, Callable
from itertools import count as numbers_from
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt

from bench import shapes
from bench.shapes import Fact, Laps
from bench.worker import Sample, Work, on_disk, resident, serve, timed


class State(TypedDict):
    """Every node adds to the facts."""

    facts: Annotated[list[Fact], operator.add]


Node = Callable[[State], dict[str, list[Fact]]]


def step(name: str, topic: int, size: int = 1) -> Node:
    """Return a node that adds facts of its own."""

    def node(state: State) -> dict[str, list[Fact]]:
        known = len(state["facts"])
        return {"facts": [shapes.fact(f"{name}.{number}@{known}", topic) for number in range(size)]}

    return node


def awaited(node: Node) -> Callable[[State], Awaitable[dict[str, list[Fact]]]]:
    """Return an async node that does the same."""

    async def call(state: State) -> dict[str, list[Fact]]:
        return node(state)

    return call


def chained(length: int, size: int = 1, laps: Laps | None = None) -> Any:
    """Return a graph whose nodes follow each other."""
    graph: Any = StateGraph(State)
    for number in range(length):
        node = step(f"s{number}", number + 1, size)
        graph.add_node(f"s{number}", node if laps is None else _marked(node, laps))
        graph.add_edge(f"s{number - 1}" if number else START, f"s{number}")
    graph.add_edge(f"s{length - 1}", END)
    return graph


def _marked(node: Node, laps: Laps) -> Node:
    def marked(state: State) -> dict[str, list[Fact]]:
        laps.mark()
        return node(state)

    return marked


def start() -> dict[str, list[Fact]]:
    """Return the state to begin with."""
    return {"facts": [shapes.fact("start", 0)]}


def config(length: int, thread: str = "run") -> dict[str, Any]:
    """Return the settings of a run of so many supersteps."""
    return {"recursion_limit": length + 10, "configurable": {"thread_id": thread}}


def chain(length: int) -> Work:
    """W1."""
    graph = chained(length).compile()
    return timed(lambda: graph.invoke(start(), config(length)), length)


def fanned(width: int, kind: Callable[[Node], Any] = awaited) -> Any:
    """Return a graph of a fan-out and a join."""
    graph: Any = StateGraph(State)
    for number in range(width):
        graph.add_node(f"s{number}", kind(step(f"s{number}", 1)))
        graph.add_edge(START, f"s{number}")
    graph.add_node("join", kind(step("join", 2)))
    graph.add_edge([f"s{number}" for number in range(width)], "join")
    graph.add_edge("join", END)
    return graph


def fan_out(width: int) -> Work:
    """W2."""
    graph = fanned(width, kind=lambda node: node).compile()
    return timed(lambda: graph.invoke(start(), config(2)), width)


def sparse(registered: int, active: int = 10, cycles: int = 50) -> Work:
    """W3: the lanes are edges; whoever sleeps is a node that a router could choose, and never does."""
    graph: Any = StateGraph(State)
    sleeping = [f"s{number}" for number in range(active * cycles, registered)]
    for number in range(registered):
        graph.add_node(f"s{number}", awaited(step(f"s{number}", number)))
    for lane in shapes.lanes(active, cycles):
        for before, after in pairwise(lane):
            graph.add_edge(f"s{before}", f"s{after}")
    first = [f"s{lane}" for lane in range(active)]

    def route(state: State) -> list[str]:
        return first

    graph.add_conditional_edges(START, route, first + sleeping)
    compiled = graph.compile()
    return timed(lambda: compiled.ainvoke(start(), config(cycles)), active * cycles)


def large_context(facts: int, cycles: int = 20) -> Work:
    """W4."""
    laps = Laps()
    graph = chained(cycles + 2, laps=laps).compile()
    state = {"facts": shapes.facts(facts)}

    def sample() -> Sample:
        graph.invoke(state, config(cycles + 2))
        return laps.take(skip=1)

    return sample


def durable(length: int, synchronous: str) -> Work:
    """W5."""
    folder, numbers = Path(tempfile.mkdtemp(prefix="bench-")), numbers_from()
    graph = chained(length)

    async def sample() -> Sample:
        path = folder / f"{next(numbers)}.db"
        with SqliteSaver.from_conn_string(str(path)) as saver:
            saver.setup()
            assert saver.conn.execute("PRAGMA synchronous").fetchone() == (2,), "FULL"
            compiled = graph.compile(checkpointer=saver)
            taken = await timed(lambda: compiled.invoke(start(), config(length), durability="sync"), length)()
        return {**taken, "bytes": on_disk(path) / length}

    return sample


def resume(facts: int) -> Work:
    """W5r: the state of a run of a hundred supersteps is read back; nothing is verified."""
    path = str(Path(tempfile.mkdtemp(prefix="bench-")) / "run.db")
    graph = chained(100, facts // 100)
    with SqliteSaver.from_conn_string(path) as saver:
        graph.compile(checkpointer=saver).invoke({"facts": []}, config(100))

    def call() -> None:
        with SqliteSaver.from_conn_string(path) as again:
            assert len(graph.compile(checkpointer=again).get_state(config(100)).values["facts"]) == facts

    return timed(call, facts)


def many_small(runs: int) -> Work:
    """W6."""
    graph = fanned(4).compile()

    async def call() -> None:
        for _ in range(runs):
            await graph.ainvoke(start(), config(2))

    return timed(call, runs)


def waiting(runs: int) -> Work:
    """W6w: an interrupt after the join, kept by the checkpointer in memory."""

    async def ask(state: State) -> dict[str, list[Fact]]:
        interrupt("approve?")
        return {"facts": []}

    async def sample() -> Sample:
        graph = fanned(4)
        graph.add_node("ask", ask)
        graph.add_edge("join", "ask")
        compiled = graph.compile(checkpointer=InMemorySaver())
        await compiled.ainvoke(start(), config(3, "first"))
        before = resident()
        for number in range(runs):
            await compiled.ainvoke(start(), config(3, f"run-{number}"))
        return {"bytes": (resident() - before) / runs}

    return sample


def sleepers(count: int, milliseconds: int, loop: str = "asyncio") -> Work:
    """W8."""

    async def sleep(state: State) -> dict[str, list[Fact]]:
        await asyncio.sleep(milliseconds / 1000)
        return {"facts": [shapes.fact("slept", 1)]}

    graph: Any = StateGraph(State)
    for number in range(count):
        graph.add_node(f"s{number}", sleep)
        graph.add_edge(START, f"s{number}")
    compiled = graph.compile()
    return timed(lambda: compiled.ainvoke(start(), config(2)), 1)


if __name__ == "__main__":
    serve(
        {
            "chain": chain,
            "fan_out": fan_out,
            "sparse": sparse,
            "large_context": large_context,
            "durable": durable,
            "resume": resume,
            "many_small": many_small,
            "waiting": waiting,
            "sleepers": sleepers,
        },
        "langgraph",
        "langgraph-checkpoint-sqlite",
    )
