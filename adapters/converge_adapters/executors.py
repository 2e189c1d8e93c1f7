"""Performing the calls of a cycle concurrently, on asyncio or trio.

A task is the dearest thing an event loop has to offer: two hundred times as dear as awaiting a call. So a lone call
is awaited where it is, and a batch is divided among as many workers as may be busy at once, which take the next call
when they are done with one; a plain function among them then costs a function call. Before a lone call the loop gets
its turn once, as a task group gives it by itself: a run of plain functions must not keep a signal from being heard.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import replace
from inspect import isasyncgenfunction, iscoroutinefunction
from threading import Lock

from anyio import CapacityLimiter, create_task_group, move_on_after
from anyio.lowlevel import checkpoint
from anyio.to_thread import run_sync

from converge_core.context.state import Context
from converge_core.engine.calls import Call, Outcome
from converge_core.errors import MisuseError
from converge_core.suggestors.contract import AgentEffect, FunctionSuggestor, Suggestor, as_effect


class AnyioExecutor:
    """Implements the port `Executor`. Outcomes come back in the order of the calls.

    ``concurrency`` calls run at once. A call that takes longer than ``time_limit_ms`` is cancelled, and its outcome is
    the failure ``timed_out``; the others go on. With ``threads``, plain functions run in worker threads.

    What blocks cannot be interrupted. A plain function called inline runs to its end whatever the time limit, and
    keeps the event loop; in a thread it is abandoned when its time is up, and what it still says is not heard.
    """

    def __init__(self, concurrency: int = 8, time_limit_ms: int | None = None, threads: bool = False) -> None:
        if concurrency < 1:
            raise MisuseError(f"concurrency must be at least 1, not {concurrency}")
        if time_limit_ms is not None and time_limit_ms < 1:
            raise MisuseError(f"the time limit must be at least 1 ms, not {time_limit_ms}")
        self._concurrency, self._time_limit_ms, self._threads = concurrency, time_limit_ms, threads

    async def execute(self, calls: Sequence[Call]) -> Sequence[Outcome]:
        if self._threads:
            lock = Lock()
            for call in calls:
                call.context.allowance.guard_with(lock)
        if len(calls) == 1:
            await checkpoint()
            return (await self._perform(calls[0]),)
        waiting = iter(enumerate(calls))
        outcomes: dict[int, Outcome] = {}

        async def work() -> None:
            for place, call in waiting:
                outcomes[place] = await self._perform(call)

        async with create_task_group() as workers:
            for _ in range(min(self._concurrency, len(calls))):
                workers.start_soon(work)
        return tuple(outcomes[place] for place in range(len(calls)))

    async def _perform(self, call: Call) -> Outcome:
        if self._threads and _may_block(call.suggestor):
            call = replace(call, suggestor=_InThread(call.suggestor))
        if self._time_limit_ms is None:
            return await call.perform()
        with move_on_after(self._time_limit_ms / 1000):
            return await call.perform()
        return call.failed("timed_out", f"no answer within {self._time_limit_ms} ms")


def _may_block(suggestor: Suggestor) -> bool:
    """Whether executing it runs more than the making of a coroutine."""
    function = suggestor.function if isinstance(suggestor, FunctionSuggestor) else suggestor.execute
    return not (iscoroutinefunction(function) or isasyncgenfunction(function))


class _InThread(Suggestor):
    """A suggestor whose plain ``execute`` runs in a worker thread; everything else about the call stays as it is."""

    def __init__(self, suggestor: Suggestor) -> None:
        self._suggestor = suggestor
        self.name = suggestor.name

    @property
    def provenance(self) -> str:
        return self._suggestor.provenance

    async def execute(self, ctx: Context) -> AgentEffect:
        # One token each: how many run at once is decided already.
        (said,) = await run_sync(self._say, ctx, abandon_on_cancel=True, limiter=CapacityLimiter(1))
        return await said if isinstance(said, Awaitable) else said

    def _say(self, ctx: Context) -> tuple[AgentEffect | Awaitable[AgentEffect]]:
        """Execute in the thread. In a tuple, as trio takes a function that returns an awaitable for a mistake."""
        said = self._suggestor.execute(ctx)
        return (said if isinstance(said, Awaitable) else as_effect(said),)  # a generator does its work here as well
