"""Deadlines without a clock: nothing is ever late."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


class FakeDeadlines:
    """Does one piece of work after the other, for as long as each takes."""

    async def attempt(self, works: Sequence[Callable[[], T | Awaitable[T]]], limit_ms: int) -> Sequence[T | Exception]:
        return [await self._end(work) for work in works]

    async def _end(self, work: Callable[[], T | Awaitable[T]]) -> T | Exception:
        try:
            said = work()
            return await said if isinstance(said, Awaitable) else said
        except Exception as error:
            return error
