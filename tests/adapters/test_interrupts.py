"""A call that a signal breaks off, in a program that goes on."""

from __future__ import annotations

import os
import signal
import sys

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from converge_adapters.interrupts import SIGNALS, unless_interrupted
from converge_core.llm.errors import StreamAborted

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform == "win32", reason="there are no signals of this kind"),
]


async def test_what_a_call_returns_comes_out() -> None:
    async def call() -> int:
        await anyio.lowlevel.checkpoint()
        return 7

    assert await unless_interrupted(call) == 7


async def test_what_a_call_raises_comes_out_as_it_is() -> None:
    async def call() -> int:
        raise LookupError("its own")

    with pytest.raises(LookupError, match="its own"):
        await unless_interrupted(call)


@pytest.mark.parametrize("number", SIGNALS)
async def test_a_signal_cancels_the_call_and_the_program_goes_on(number: signal.Signals) -> None:
    ended: list[str] = []

    async def call() -> None:
        try:
            os.kill(os.getpid(), number)
            await anyio.sleep_forever()
        finally:
            ended.append("cancelled")

    with pytest.raises(StreamAborted, match=number.name):
        await unless_interrupted(call)
    assert ended == ["cancelled"]
    assert await unless_interrupted(_seven) == 7


async def test_a_signal_means_afterwards_what_it_meant_before() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    await unless_interrupted(_seven)
    assert [signal.getsignal(number) for number in SIGNALS] == before


async def test_elsewhere_than_in_the_main_thread_a_call_is_simply_awaited() -> None:
    assert await anyio.to_thread.run_sync(anyio.run, unless_interrupted, _seven) == 7


async def _seven() -> int:
    return 7
