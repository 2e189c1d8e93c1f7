"""Where an event loop is started: once, at the outermost place, for a program that has none of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

T = TypeVar("T")


async def sleep_ms(delay_ms: int) -> None:
    """Wait for so many milliseconds."""
    await anyio.sleep(delay_ms / 1000)


def run_async(function: Callable[..., Awaitable[T]], *args: object, backend: str = "asyncio") -> T:
    """Run an async function to its end, on asyncio or trio, and return what it returns."""
    return anyio.run(function, *args, backend=backend)
