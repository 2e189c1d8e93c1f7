"""Work under deadlines, on asyncio or trio: coroutines are cancelled when they are late, threads are left behind.

What blocks cannot be interrupted. So a plain function runs in a worker thread, and when its time is up nobody waits for
it any longer; the thread ends when the function does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from inspect import iscoroutinefunction
from typing import TypeVar, cast

from anyio import CapacityLimiter, create_task_group, move_on_after
from anyio.to_thread import run_sync

from converge_core.deadlines import DeadlinePassed
from converge_core.errors import MisuseError

T = TypeVar("T")


class AnyioDeadlines:
    """Implements the port `Deadlines`; ``concurrency`` pieces of work are under way at once."""

    def __init__(self, concurrency: int = 8) -> None:
        if concurrency < 1:
            raise MisuseError(f"concurrency must be at least 1, not {concurrency}")
        self._concurrency = concurrency

    async def attempt(self, works: Sequence[Callable[[], T | Awaitable[T]]], limit_ms: int) -> Sequence[T | Exception]:
        waiting = iter(enumerate(works))
        ends: dict[int, T | Exception] = {}

        async def perform() -> None:
            for place, work in waiting:
                ends[place] = await _within(work, limit_ms)

        async with create_task_group() as workers:
            for _ in range(min(self._concurrency, len(works))):
                workers.start_soon(perform)
        return tuple(ends[place] for place in range(len(works)))


async def _within(work: Callable[[], T | Awaitable[T]], limit_ms: int) -> T | Exception:
    try:
        with move_on_after(limit_ms / 1000):
            if iscoroutinefunction(work):
                return cast("T", await work())
            # In a tuple, as trio takes a function that returns an awaitable for a mistake. One token each: how many
            # run at once is decided already.
            (said,) = await run_sync(lambda: (work(),), abandon_on_cancel=True, limiter=CapacityLimiter(1))
            return cast("T", await said if isinstance(said, Awaitable) else said)
    except Exception as error:
        return error
    return DeadlinePassed(limit_ms)
