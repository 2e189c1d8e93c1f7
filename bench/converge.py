"""Converge, with everything on: every gate, every hash, the Merkle log, and a ledger that keeps it all.

Suggestors are plain functions and wait for a payload class, as its documentation proposes; those of W8 await. Runs use
the default executor but for W8, which needs one that runs calls beside each other.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Coroutine, Iterable
from functools import cache
from itertools import count as numbers_from
from pathlib import Path
from typing import Any, Literal

import anyio

from bench import shapes
from bench.shapes import Laps
from bench.worker import Sample, Work, on_disk, resident, serve, timed
from converge_adapters.executors import AnyioExecutor
from converge_adapters.ledgers.memory import MemoryLedger
from converge_adapters.ledgers.sqlite import SqliteLedger
from converge_core import (
    AgentEffect,
    Budget,
    Context,
    ContextKey,
    ContextState,
    Engine,
    Entry,
    FactPayload,
    HitlPause,
    HitlPolicy,
    Ledger,
    ProposedFact,
    Suggestor,
    TextPayload,
    replay,
    verify,
)
from converge_core.ledger.canonical import canonical

Synchronous = Literal["NORMAL", "FULL"]


@cache
def topic(number: int) -> type[FactPayload]:
    """Return the payload class of a topic, so that a suggestor can be woken by that topic alone."""
    namespace = {"__annotations__": {"text": str}, "family": f"bench.{number}", "__module__": __name__}
    return type(f"Topic{number}", (FactPayload,), namespace)


def fact(number: int, name: str, key: ContextKey = ContextKey.HYPOTHESES) -> ProposedFact[Any]:
    """Return a proposal of a topic."""
    return ProposedFact(key, name, topic(number)(text=shapes.text(name)))  # type: ignore[call-arg]  # made above


class Step(Suggestor):
    """Woken by one topic, proposes facts of another."""

    def __init__(self, name: str, reads: int, writes: int, size: int = 1, laps: Laps | None = None) -> None:
        self.name = name
        self.dependencies = (topic(reads),)
        self.payloads = (topic(writes),)
        self._writes, self._size, self._laps = writes, size, laps

    def execute(self, ctx: Context) -> AgentEffect:
        if self._laps is not None:
            self._laps.mark()
        if self._size == 1:
            return AgentEffect.with_proposal(fact(self._writes, f"{self.name}@{ctx.version}"))
        names = [f"{self.name}.{number}@{ctx.version}" for number in range(self._size)]
        return AgentEffect.with_proposals([fact(self._writes, name) for name in names])


class Join(Suggestor):
    """Woken by a topic, waits until it has all of it."""

    name = "join"

    def __init__(self, reads: int, count: int, key: ContextKey = ContextKey.HYPOTHESES) -> None:
        self.payloads = (topic(1_000_000),)
        self.dependencies = (topic(reads),)
        self._reads, self._count, self._key = reads, count, key

    def accepts(self, ctx: Context) -> bool:
        return ctx.count(topic(self._reads)) >= self._count

    def execute(self, ctx: Context) -> AgentEffect:
        return AgentEffect.with_proposal(fact(1_000_000, "joined", self._key))


class Sleeper(Suggestor):
    """Awaits, and proposes a fact."""

    def __init__(self, name: str, seconds: float) -> None:
        self.name = name
        self.dependencies = (topic(0),)
        self._seconds = seconds

    async def execute(self, ctx: Context) -> AgentEffect:
        await anyio.sleep(self._seconds)
        return AgentEffect.with_proposal(fact(1, self.name))


def engine_of(suggestors: Iterable[Suggestor], **settings: Any) -> Engine:
    """Return an engine with room for every workload."""
    made = Engine(budget=Budget(max_cycles=1_000_000, max_facts=10_000_000), **settings)
    for suggestor in suggestors:
        made.register_suggestor(suggestor)
    return made


def start(*numbers: int) -> ContextState:
    """Return a context with one staged fact of each topic."""
    context = ContextState()
    for number in numbers:
        context.add_proposal(fact(number, f"start{number}"))
    return context


def running(
    engine: Engine, context: ContextState, facts: int, ledger: Callable[[], Ledger] = MemoryLedger, **ports: Any
) -> Callable[[], Coroutine[Any, Any, None]]:
    """Return a call that runs a context with a new ledger each time, and looks whether all facts were made."""

    async def call() -> None:
        store = ledger()
        result = await engine.run(context, ledger=store, **ports)
        await store.close()
        assert result.converged, result.stop_reason
        assert len(result.context.facts()) == facts

    return call


def steps(length: int, size: int = 1, laps: Laps | None = None) -> list[Suggestor]:
    """Return suggestors that wake each other."""
    return [Step(f"s{number}", number, number + 1, size, laps) for number in range(length)]


def chain(length: int) -> Work:
    """W1."""
    return timed(running(engine_of(steps(length)), start(0), length + 1), length)


def fanned(width: int, key: ContextKey = ContextKey.HYPOTHESES) -> list[Suggestor]:
    """Return suggestors that one fact wakes, and one that waits for what they say."""
    return [*(Step(f"s{number}", 0, 1) for number in range(width)), Join(1, width, key)]


def fan_out(width: int) -> Work:
    """W2."""
    return timed(running(engine_of(fanned(width)), start(0), width + 2), width)


def sparse(registered: int, active: int = 10, cycles: int = 50) -> Work:
    """W3."""
    awake = [Step(f"s{number}", number, number + active) for number in range(active * cycles)]
    asleep = [Step(f"s{n}", 2_000_000 + n % 50, 3_000_000) for n in range(active * cycles, registered)]
    engine = engine_of([*awake, *asleep])
    return timed(running(engine, start(*range(active)), active * (cycles + 1)), active * cycles)


def large_context(facts: int, cycles: int = 20) -> Work:
    """W4."""
    laps = Laps()
    engine = engine_of(steps(cycles + 2, laps=laps))
    context = start(0)
    for number in range(facts):
        context.add_proposal(fact(4_000_000, f"old{number}"))
    call = running(engine, context, facts + cycles + 3)

    async def sample() -> Sample:
        await call()
        return laps.take(skip=1)

    return sample


def database() -> Callable[[], Path]:
    """Return a function that names a new file each time."""
    folder, numbers = Path(tempfile.mkdtemp(prefix="bench-")), numbers_from()
    return lambda: folder / f"{next(numbers)}.db"


def durable(length: int, synchronous: Synchronous) -> Work:
    """W5: opening and closing the ledger is part of the time."""
    engine, fresh = engine_of(steps(length)), database()
    bodies = [canonical(shapes.fact(f"s{number}@{number + 1}", number + 1)) for number in range(length)]
    body = sum(map(len, bodies)) / length

    async def sample() -> Sample:
        path = fresh()
        call = running(engine, start(0), length + 1, lambda: SqliteLedger(path, synchronous=synchronous))
        taken = await timed(call, length)()
        return {**taken, "bytes": on_disk(path) / length, "bodies": on_disk(path) / length / body}

    return sample


async def recorded(engine: Engine, path: Path) -> None:
    """Run a chain into a ledger."""
    ledger = SqliteLedger(path)
    assert (await engine.run(start(0), ledger=ledger)).converged
    await ledger.close()


def resume(facts: int) -> Work:
    """W5r: read a run of a hundred cycles, verify every hash, and replay it into a machine that can go on."""
    engine, path = engine_of(steps(100, facts // 100)), database()()

    async def call() -> None:
        ledger = SqliteLedger(path)
        stored = await ledger.read("run")
        verify("run", stored)
        run = replay(engine, [Entry(entry.kind, entry.body, entry.leaf) for entry in stored])
        assert len(run.result().context.facts()) == facts + 1
        await ledger.close()

    async def sample() -> Sample:
        if not path.exists():
            await recorded(engine, path)
        return await timed(call, facts)()

    return sample


def verification(facts: int) -> Work:
    """W5r: verify alone."""
    engine, path = engine_of(steps(100, facts // 100)), database()()

    async def sample() -> Sample:
        if not path.exists():
            await recorded(engine, path)
        ledger = SqliteLedger(path)
        stored = await ledger.read("run")
        await ledger.close()
        return await timed(lambda: verify("run", stored), len(stored))()

    return sample


def many_small(runs: int) -> Work:
    """W6."""
    one = running(engine_of(fanned(4)), start(0), 6)

    async def call() -> None:
        for _ in range(runs):
            await one()

    return timed(call, runs)


def waiting(runs: int) -> Work:
    """W6w: pauses, each with all that is needed to go on. On disk a waiting run is rows and nothing else."""
    policy = HitlPolicy(gated_keys=(ContextKey.STRATEGIES,))
    engine = engine_of(fanned(4, ContextKey.STRATEGIES), hitl_policy=policy)

    async def paused(number: int) -> HitlPause:
        pause = (await engine.run(start(0), run_id=f"run-{number}")).pause
        assert pause is not None
        return pause

    async def sample() -> Sample:
        await paused(-1)
        before = resident()
        held = [await paused(number) for number in range(runs)]
        return {"bytes": (resident() - before) / len(held)}

    return sample


def sleepers(count: int, milliseconds: int, loop: str = "asyncio") -> Work:
    """W8: each measurement in an event loop of its own."""
    engine = engine_of(Sleeper(f"s{number}", milliseconds / 1000) for number in range(count))
    call = timed(running(engine, start(0), count + 1, executor=AnyioExecutor(concurrency=count)), 1)
    return lambda: anyio.run(call, backend=loop)


def inputs(count: int) -> Work:
    """W9."""
    context = ContextState()
    for number in range(count):
        payload = TextPayload(text=shapes.text(f"i{number}"))
        context.add_proposal(ProposedFact(ContextKey.SEEDS, f"i{number}", payload))
    return timed(running(engine_of(()), context, count), count)


def replaying(length: int) -> Work:
    """W10: a run into a ledger in memory, and the replay of what it recorded."""
    engine = engine_of(steps(length))

    async def sample() -> Sample:
        ledger = MemoryLedger()
        run = await timed(lambda: engine.run(start(0), ledger=ledger), length)()
        entries = [Entry(entry.kind, entry.body, entry.leaf) for entry in await ledger.read("run")]
        again = await timed(lambda: replay(engine, entries), length)()
        return {**again, "run": run["seconds"]}

    return sample


def memory(facts: int) -> Work:
    """The memory of a context that a thousand cycles have filled, without its payloads' own canonical bytes."""
    engine = engine_of(steps(facts // 100, 100))
    payload = len(canonical(topic(1)(text=shapes.text("s100.10@100000")).body()))  # type: ignore[call-arg]

    async def sample() -> Sample:
        path = database()()
        before = resident()
        ledger = SqliteLedger(path)
        result = await engine.run(start(0), ledger=ledger)
        await ledger.close()
        del ledger
        count = len(result.context.facts())
        return {"bytes": (resident() - before) / count - payload}

    return sample


if __name__ == "__main__":
    serve(
        {
            "chain": chain,
            "fan_out": fan_out,
            "sparse": sparse,
            "large_context": large_context,
            "durable": durable,
            "resume": resume,
            "verification": verification,
            "many_small": many_small,
            "waiting": waiting,
            "sleepers": sleepers,
            "inputs": inputs,
            "replaying": replaying,
            "memory": memory,
        },
        "pydantic",
    )
