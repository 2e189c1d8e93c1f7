"""The driver's loop: the only place where a machine meets the world, through ports.

Awaiting needs no event loop of its own, so this loop runs under asyncio, trio or anything else. What led to a step is
durable before the world acts on it. A driver that dies in between loses nothing: the next one replays the ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from converge_core.engine.calls import Call, Outcome
from converge_core.engine.convergence import Convergence
from converge_core.engine.result import ConvergeResult
from converge_core.engine.steps import AwaitDecision, Execute, Stopped
from converge_core.gates.hitl import GateRequest
from converge_core.ledger.events import Entry

if TYPE_CHECKING:
    from converge_core.ports import Approver, Clock, Executor, Ledger, Observer


class SequentialExecutor:
    """Performs one call after the other, inline."""

    async def execute(self, calls: Sequence[Call]) -> Sequence[Outcome]:
        """Return the outcomes in the order of the calls."""
        return [await call.perform() for call in calls]


async def drive(
    run: Convergence,
    *,
    executor: Executor | None = None,
    ledger: Ledger | None = None,
    size: int = 0,
    approver: Approver | None = None,
    observers: Sequence[Observer] = (),
    clock: Clock | None = None,
    log: Iterable[Entry] = (),
) -> ConvergeResult:
    """Drive a run until it stops or waits for people. One with an open formation is reopened for its next variant.

    ``size`` is the number of entries that the ledger holds already, the fence of the first append. Without a ledger the
    entries are collected after those of ``log``, and a pause carries them; with one a pause carries none, because the
    ledger has them. Raises LedgerConflict when another process drives the same run, and whatever the ports raise.
    """
    executor = executor or SequentialExecutor()
    collected = list(log)
    asked: tuple[GateRequest, ...] = ()
    while True:
        if clock is not None:
            run.observe_time(clock())
        step = run.next()
        entries = run.drain()
        if ledger is None:
            collected += entries
        elif entries:
            size = (await ledger.append(run.run_id, size, entries)).size
        for observer in observers if entries else ():
            observer.recorded(run.run_id, entries)
        match step:
            case Execute():
                run.receive(await executor.execute(step.batch))
            case AwaitDecision():
                if approver is None or step.requests == asked:  # nobody had an answer that counts
                    return run.result(log=collected)
                asked = step.requests
                run.decide(await approver.decide(asked))
            case Stopped(result):
                variant = run.lineup.next_variant(result)
                if variant is None:
                    return result
                run.form(variant)
                run.reopen()
