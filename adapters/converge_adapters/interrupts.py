"""Ctrl-C, heard: a call that is cancelled by a signal, in a program that goes on.

Without this, Ctrl-C ends the program wherever it is. Whoever has something to record about a call that was broken off
waits for it here.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Awaitable, Callable
from threading import current_thread, main_thread
from typing import TypeVar

import anyio
from anyio.abc import TaskStatus

from converge_core.llm.errors import StreamAborted

T = TypeVar("T")

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""What ends a program that is asked politely."""


async def unless_interrupted(call: Callable[[], Awaitable[T]]) -> T:
    """Await a call. A signal cancels it, and then StreamAborted is raised; what the call raises comes out as it is.

    Only the main thread hears signals, and only where signals are: elsewhere the call is simply awaited.
    """
    if sys.platform == "win32" or current_thread() is not main_thread():
        return await call()
    result: list[T] = []
    failure: list[Exception] = []
    heard: list[signal.Signals] = []

    async def listen(*, task_status: TaskStatus[None]) -> None:
        with anyio.open_signal_receiver(*SIGNALS) as signals:
            task_status.started()
            async for each in signals:
                heard.append(each)
                tasks.cancel_scope.cancel()

    before = {each: signal.getsignal(each) for each in SIGNALS}
    try:
        async with anyio.create_task_group() as tasks:
            await tasks.start(listen)
            try:
                result.append(await call())
            except Exception as error:
                failure.append(error)
            tasks.cancel_scope.cancel()
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)  # an event loop that let go of a signal leaves another handler behind
    if failure:
        raise failure[0]
    if result:
        return result[0]
    raise StreamAborted(f"{heard[0].name} was received")
