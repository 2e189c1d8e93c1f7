"""Where an event loop is started: once, at the outermost place, for a program that has none of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio

T = TypeVar("T")


async def sleep_ms(delay_ms: int) -> None:
    """Wait for so many milliseconds."""
    await anyio.sleep(delay_ms / 1000)


def run_async(function: Callable[..., Awaitable[T]], *args: object, backend: str = "asyncio") -> T:
    """Run an async function to its end, on asyncio or trio, and return what it returns."""

    async def run() -> T:
        if backend == "asyncio":
            asyncio.get_running_loop().set_exception_handler(_told)
        return await function(*args)

    return anyio.run(run, backend=backend)


def _told(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Tell what went wrong in the loop itself, but for generators that it closes at its end.

    An SDK that breaks off leaves some, one inside the other. The loop closes all of them at once, and those that it
    finds being closed by another are none that anybody has to hear of.
    """
    if "asyncgen" not in context:
        loop.default_exception_handler(context)
