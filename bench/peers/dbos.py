"""DBOS: a workflow whose steps are recorded as they finish, in SQLite; it is always durable.

Steps that run in parallel are gathered in one async workflow. The file is in a rollback journal or WAL as DBOS opens
it, at ``synchronous=FULL``.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from dbos import DBOS, SetWorkflowID

from bench import shapes
from bench.shapes import Fact, Laps
from bench.worker import Sample, Work, on_disk, serve, timed


def add(name: str, topic: int, size: int = 1) -> list[Fact]:
    """Make facts: the step of every workflow."""
    return [shapes.fact(f"{name}.{number}", topic) for number in range(size)]


async def add_awaited(name: str, topic: int, milliseconds: int = 0) -> list[Fact]:
    """Make a fact after a while."""
    if milliseconds:
        await asyncio.sleep(milliseconds / 1000)
    return add(name, topic)


LAPS = Laps()
STEP: Any = DBOS.step()(add)
AWAITED: Any = DBOS.step()(add_awaited)


def run_chain(length: int, size: int) -> int:
    """Step after step, each with what is known so far."""
    LAPS.mark()
    facts = [shapes.fact("start", 0)]
    for number in range(length):
        facts += STEP(f"s{number}@{len(facts)}", number + 1, size)
    LAPS.mark()
    return len(facts)


async def run_fan_out(width: int, milliseconds: int) -> int:
    """Steps beside each other, and one after them."""
    said = await asyncio.gather(*(AWAITED(f"s{number}@1", 1, milliseconds) for number in range(width)))
    facts = [fact for facts in said for fact in facts]
    facts += await AWAITED(f"join@{len(facts)}", 2)
    return len(facts)


CHAIN: Any = DBOS.workflow()(run_chain)
FAN_OUT: Any = DBOS.workflow()(run_fan_out)


def launched() -> Path:
    """Start DBOS on a new file."""
    path = Path(tempfile.mkdtemp(prefix="bench-")) / "dbos.db"
    DBOS(config={"name": "bench", "system_database_url": f"sqlite:///{path}", "log_level": "ERROR"})
    DBOS.launch()
    return path


def chain(length: int) -> Work:
    """W1."""
    launched()
    return timed(lambda: CHAIN(length, 1), length)


def fan_out(width: int) -> Work:
    """W2."""
    launched()
    return timed(lambda: FAN_OUT(width, 0), width)


def durable(length: int, synchronous: str) -> Work:
    """W5: what W1 is as well. The bytes are those by which a run makes the file grow."""
    path = launched()

    async def sample() -> Sample:
        before = on_disk(path)
        taken = await timed(lambda: CHAIN(length, 1), length)()
        return {**taken, "bytes": (on_disk(path) - before) / length}

    return sample


def resume(facts: int) -> Work:
    """W5r: a finished workflow is gone through again, its hundred steps read from disk; nothing is verified.

    Only the workflow itself is timed: not the fork, and not how long it lies in the queue.
    """
    launched()

    async def sample() -> Sample:
        handle = await DBOS.fork_workflow_async("run", 101)
        assert await handle.get_result() == facts + 1
        return {**LAPS.take(), "units": facts}

    with SetWorkflowID("run"):
        assert CHAIN(100, facts // 100) == facts + 1
    LAPS.take()
    return sample


def many_small(runs: int) -> Work:
    """W6."""
    launched()

    async def call() -> None:
        for _ in range(runs):
            await FAN_OUT(4, 0)

    return timed(call, runs)


def sleepers(count: int, milliseconds: int, loop: str = "asyncio") -> Work:
    """W8."""
    launched()
    return timed(lambda: FAN_OUT(count, milliseconds), 1)


if __name__ == "__main__":
    serve(
        {
            "chain": chain,
            "fan_out": fan_out,
            "durable": durable,
            "resume": resume,
            "many_small": many_small,
            "sleepers": sleepers,
        },
        "dbos",
    )
