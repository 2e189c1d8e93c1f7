"""The loop that a program without one is given."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from converge_adapters.event_loop import run_async


async def twice(number: int) -> int:
    return 2 * number


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_function_is_run_to_its_end_on_either_loop(backend: str) -> None:
    assert run_async(twice, 21, backend=backend) == 42


def test_what_goes_wrong_in_the_loop_itself_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async def fails() -> None:
        asyncio.get_running_loop().call_exception_handler({"message": "a callback has failed"})

    run_async(fails)
    assert "a callback has failed" in caplog.text


def test_a_generator_that_cannot_be_closed_at_the_end_is_nobodys_concern(caplog: pytest.LogCaptureFixture) -> None:
    left: list[AsyncIterator[int]] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            raise RuntimeError("aclose(): asynchronous generator is already running")

    async def leaves() -> None:
        left.append(numbers())
        assert await anext(left[0]) == 1

    run_async(leaves)
    assert caplog.text == ""
