"""The workloads: what a governed run costs, in the shapes that matter.

Each is a function that sets everything up and returns what is to be timed, an async function, and the number of units
(steps, facts, runs) that one call of it does. A fact is about 300 bytes of canonical JSON with a text of its own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from converge_adapters.ledgers.memory import MemoryLedger
from converge_adapters.ledgers.sqlite import SqliteLedger
from converge_core import (
    AgentEffect,
    Budget,
    Context,
    ContextKey,
    ContextState,
    Engine,
    FactPayload,
    Ledger,
    ProposedFact,
    Suggestor,
    TextPayload,
)

FILLER = "x" * 180


class Work(NamedTuple):
    """What is timed, and how many units it does."""

    call: Callable[[], Awaitable[object]]
    units: int


@cache
def topic(number: int) -> type[FactPayload]:
    """Return the payload class of a topic, so that a suggestor can be woken by that topic alone."""
    namespace = {"__annotations__": {"text": str}, "family": f"bench.{number}", "__module__": __name__}
    return type(f"Topic{number}", (FactPayload,), namespace)


def fact(number: int, name: str) -> ProposedFact[Any]:
    """Return a proposal of a topic."""
    return ProposedFact(ContextKey.HYPOTHESES, name, topic(number).model_validate({"text": f"{name} {FILLER}"}))


class Step(Suggestor):
    """Woken by one topic, proposes one fact of another."""

    def __init__(self, name: str, reads: int, writes: int) -> None:
        self.name = name
        self.dependencies = (topic(reads),)
        self._writes = writes

    def execute(self, ctx: Context) -> AgentEffect:
        return AgentEffect.with_proposal(fact(self._writes, f"{self.name}@{ctx.version}"))


class Join(Suggestor):
    """Woken by a topic, waits until it has all of it."""

    def __init__(self, reads: int, count: int) -> None:
        self.name = "join"
        self.dependencies = (topic(reads),)
        self._reads, self._count = reads, count

    def accepts(self, ctx: Context) -> bool:
        return ctx.count(topic(self._reads)) >= self._count

    def execute(self, ctx: Context) -> AgentEffect:
        return AgentEffect.with_proposal(fact(1_000_000, "joined"))


def engine() -> Engine:
    """Return an engine with room for every workload."""
    return Engine(budget=Budget(max_cycles=1_000_000, max_facts=10_000_000))


def start(number: int = 0) -> ContextState:
    """Return a context with one staged fact of a topic."""
    return ContextState().add_proposal(fact(number, "start"))


def runner(
    made: Engine, context: ContextState, ledger: Callable[[], Ledger] = MemoryLedger
) -> Callable[[], Awaitable[object]]:
    """Return a call that runs a context with a new ledger each time."""

    async def call() -> object:
        store = ledger()
        result = await made.run(context, ledger=store)
        assert result.converged, result.stop_reason
        await store.close()
        return result

    return call


def chain(length: int, ledger: Callable[[], Ledger] = MemoryLedger) -> Work:
    """W1: each suggestor is woken by the fact of the one before."""
    made = engine()
    for number in range(length):
        made.register_suggestor(Step(f"s{number}", number, number + 1))
    return Work(runner(made, start(), ledger), length)


def fan_out(width: int) -> Work:
    """W2: all are woken by one fact, one joins what they say."""
    made = engine()
    for number in range(width):
        made.register_suggestor(Step(f"s{number}", 0, 1))
    made.register_suggestor(Join(1, width))
    return Work(runner(made, start()), width)


def sparse(registered: int, active: int = 10, cycles: int = 50) -> Work:
    """W3: many are registered; in each cycle ten of them are woken."""
    made = engine()
    for lane in range(active):
        for cycle in range(cycles):
            place = cycle * active + lane
            made.register_suggestor(Step(f"s{place}", place, place + active))
    for number in range(active * cycles, registered):
        made.register_suggestor(Step(f"s{number}", 2_000_000 + number % 50, 3_000_000))
    context = ContextState()
    for lane in range(active):
        context.add_proposal(fact(lane, f"start{lane}"))
    return Work(runner(made, context), active * cycles)


def large_context(facts: int, cycles: int = 20) -> Work:
    """W4: a context of many facts, then some cycles of one fact. Loading the context is part of the time."""
    made = engine()
    for number in range(cycles):
        made.register_suggestor(Step(f"s{number}", number, number + 1))
    context = start()
    for number in range(facts):
        context.add_proposal(fact(4_000_000, f"old{number}"))
    return Work(runner(made, context), facts + cycles)


def durable(length: int, synchronous: str) -> Work:
    """W5: the chain with every cycle durable in SQLite."""
    folder = Path(tempfile.mkdtemp(prefix="converge-bench-"))
    numbers = iter(range(1_000_000))
    return chain(length, lambda: SqliteLedger(folder / f"{next(numbers)}.db", synchronous=synchronous))  # type: ignore[arg-type]


def many_small(runs: int) -> Work:
    """W6: many runs of five suggestors and three cycles."""
    made = engine()
    for number in range(4):
        made.register_suggestor(Step(f"first{number}", 0, 1))
    made.register_suggestor(Join(1, 4))
    one = runner(made, start())

    async def call() -> object:
        for _ in range(runs):
            await one()
        return runs

    return Work(call, runs)


def staged_inputs(count: int) -> Work:
    """W9: staged inputs through all gates."""
    context = ContextState()
    for number in range(count):
        context.add_proposal(ProposedFact(ContextKey.SEEDS, f"i{number}", TextPayload(text=f"{number} {FILLER}")))
    return Work(runner(engine(), context), count)


WORKLOADS: dict[str, Callable[[], Work]] = {
    "W1 chain 200": lambda: chain(200),
    "W1 chain 2,000": lambda: chain(2_000),
    "W2 fan-out 200": lambda: fan_out(200),
    "W3 10 of 1,000 x 50": lambda: sparse(1_000),
    "W3b 10 of 10,000 x 50": lambda: sparse(10_000),
    "W4 10,000 facts + 20": lambda: large_context(10_000),
    "W5 chain 200, NORMAL": lambda: durable(200, "NORMAL"),
    "W5 chain 200, FULL": lambda: durable(200, "FULL"),
    "W6 100 small runs": lambda: many_small(100),
    "W9 1,000 inputs": lambda: staged_inputs(1_000),
    "W9 9,000 inputs": lambda: staged_inputs(9_000),
}
