"""Work under deadlines: side by side, each with its own, whatever the others do."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Sequence

import anyio
import pytest
from anyio.lowlevel import checkpoint

from converge_adapters.deadlines import AnyioDeadlines
from converge_core import MisuseError
from converge_core.deadlines import DeadlinePassed, Deadlines

pytestmark = pytest.mark.parametrize("backend", ["asyncio", "trio"])

LONG = 30_000
SHORT = 50

Work = Callable[[], str | Awaitable[str]]


def attempt(backend: str, works: Sequence[Work], limit_ms: int = LONG, concurrency: int = 8) -> list[str]:
    """What each piece of work comes to, an exception by its name and text."""

    async def run() -> Sequence[str | Exception]:
        deadlines: Deadlines = AnyioDeadlines(concurrency)
        return await deadlines.attempt(works, limit_ms)

    ends = anyio.run(run, backend=backend)
    return [end if isinstance(end, str) else f"{type(end).__name__}: {end}" for end in ends]


def says(text: str) -> Work:
    async def say() -> str:
        await checkpoint()
        return text

    return say


async def sleeps() -> str:
    await anyio.sleep_forever()
    return "never"


async def fails() -> str:
    raise OSError("no disk")


def test_values_come_back_in_the_order_of_the_works(backend: str) -> None:
    assert attempt(backend, [says("a"), lambda: "b", says("c")]) == ["a", "b", "c"]


def test_pr002_who_is_late_costs_nobody_else_an_answer(backend: str) -> None:
    late = str(DeadlinePassed(SHORT))
    assert attempt(backend, [says("a"), sleeps, says("b")], SHORT) == ["a", f"DeadlinePassed: {late}", "b"]


def test_pr002_plain_work_that_blocks_is_left_behind(backend: str) -> None:
    released = threading.Event()

    def blocks() -> str:
        released.wait(20)  # it is released below; where nobody gets there, the test fails and ends
        return "too late"

    async def releases() -> Sequence[str | Exception]:
        works: list[Work] = [blocks, says("a")]
        ends = await AnyioDeadlines().attempt(works, SHORT)
        released.set()
        return ends

    late, other = anyio.run(releases, backend=backend)
    assert (type(late), other) == (DeadlinePassed, "a")


def test_what_is_raised_is_an_end_like_any_other(backend: str) -> None:
    assert attempt(backend, [fails, says("a")]) == ["OSError: no disk", "a"]


def test_the_time_of_a_piece_begins_when_it_does(backend: str) -> None:
    assert attempt(backend, [sleeps, sleeps, says("a")], SHORT, concurrency=1)[2] == "a"


def test_at_most_so_many_are_under_way_at_once(backend: str) -> None:
    under_way, most = 0, 0

    async def counted() -> str:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await checkpoint()
        under_way -= 1
        return ""

    attempt(backend, [counted] * 9, concurrency=3)
    assert most == 3


def test_plain_work_may_return_something_to_await(backend: str) -> None:
    assert attempt(backend, [lambda: says("a")()]) == ["a"]


def test_no_work_is_no_end(backend: str) -> None:
    assert attempt(backend, []) == []


def test_nothing_can_be_done_none_at_a_time(backend: str) -> None:
    with pytest.raises(MisuseError, match="at least 1"):
        AnyioDeadlines(0)
