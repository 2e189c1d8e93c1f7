"""The executor on asyncio and on trio: order, concurrency, time limits, threads, cancellation."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterable, Awaitable, Iterable
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from converge_adapters.executors import AnyioExecutor
from converge_core.context.facts import ProposedFact
from converge_core.context.keys import ContextKey
from converge_core.context.payloads import PayloadRegistry, TextPayload
from converge_core.context.state import Context, ContextState
from converge_core.engine.calls import Call, Failure, Outcome
from converge_core.errors import MisuseError
from converge_core.gates.drafts import Draft
from converge_core.suggestors.contract import AgentEffect, FunctionSuggestor, Suggestor, SuggestorFunction

pytestmark = pytest.mark.anyio

Proposal = ProposedFact[TextPayload]


def call(suggestor: Suggestor) -> Call:
    return Call(1, suggestor, ContextState(), PayloadRegistry(), 1_000)


def calls(**functions: SuggestorFunction) -> list[Call]:
    return [call(FunctionSuggestor(function, name=name)) for name, function in functions.items()]


def proposal(text: str) -> Proposal:
    return ProposedFact(ContextKey.SEEDS, text, TextPayload(text=text))


def texts(outcome: Outcome) -> list[str]:
    """Return what was proposed."""
    return [draft.proposal.id for draft in outcome.drafts if isinstance(draft, Draft)]


class Gathering:
    """A function that returns when as many calls as expected are under way at once, and no sooner."""

    def __init__(self, expected: int) -> None:
        self._missing, self._complete = expected, anyio.Event()

    async def __call__(self, ctx: Context) -> None:
        self._missing -= 1
        if not self._missing:
            self._complete.set()
        await self._complete.wait()


class Busy:
    """A function that counts how many calls of it are under way, at most."""

    def __init__(self) -> None:
        self.now = self.most = 0

    async def __call__(self, ctx: Context) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        for _ in range(10):
            await checkpoint()
        self.now -= 1


async def forever(ctx: Context) -> None:
    await anyio.sleep_forever()


async def quick(ctx: Context) -> Proposal:
    await checkpoint()
    return proposal("quick")


def breaking(ctx: Context) -> None:
    raise ValueError("broken")


async def test_no_calls_have_no_outcomes() -> None:
    assert list(await AnyioExecutor().execute([])) == []


async def test_outcomes_are_in_the_order_of_the_calls_whichever_is_first() -> None:
    second_is_done = anyio.Event()

    async def first(ctx: Context) -> Proposal:
        await second_is_done.wait()
        return proposal("1")

    async def second(ctx: Context) -> Proposal:
        second_is_done.set()
        return proposal("2")

    outcomes = await AnyioExecutor().execute(calls(first=first, second=second))
    assert [(outcome.suggestor, texts(outcome)) for outcome in outcomes] == [("first", ["1"]), ("second", ["2"])]


async def test_a_lone_call_is_awaited_in_the_task_that_asks() -> None:
    tasks = []

    async def who(ctx: Context) -> None:
        tasks.append(anyio.get_current_task().id)

    await AnyioExecutor().execute(calls(who=who))
    assert tasks == [anyio.get_current_task().id]


async def test_as_many_calls_run_at_once_as_are_allowed() -> None:
    together = Gathering(3)
    with anyio.fail_after(10):
        outcomes = await AnyioExecutor(concurrency=3).execute(calls(a=together, b=together, c=together))
    assert [outcome.failure for outcome in outcomes] == [None] * 3


async def test_no_more_calls_run_at_once_than_are_allowed() -> None:
    busy = Busy()
    await AnyioExecutor(concurrency=2).execute(calls(**{f"busy-{number}": busy for number in range(7)}))
    assert busy.most == 2


async def test_a_call_that_fails_leaves_the_others_alone() -> None:
    outcomes = await AnyioExecutor().execute(calls(breaking=breaking, quick=quick))
    assert outcomes[0].failure == Failure("raised", "ValueError: broken")
    assert texts(outcomes[1]) == ["quick"]


async def test_the_event_loop_gets_its_turn_between_lone_plain_functions() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await checkpoint()

    async with anyio.create_task_group() as group:
        group.start_soon(count)
        await checkpoint()
        before = turns
        for _ in range(5):
            await AnyioExecutor().execute(calls(quick=lambda ctx: None))
        group.cancel_scope.cancel()
        assert turns >= before + 4  # who comes first within a turn is left to chance


# --- time limits ----------------------------------------------------------------------------------------------------


async def test_a_lone_call_over_the_time_limit_has_timed_out() -> None:
    [outcome] = await AnyioExecutor(time_limit_ms=10).execute(calls(forever=forever))
    assert outcome == Outcome(1, "forever", failure=Failure("timed_out", "no answer within 10 ms"))


async def test_a_call_over_the_time_limit_leaves_the_others_alone() -> None:
    executor = AnyioExecutor(concurrency=2, time_limit_ms=100)
    outcomes = await executor.execute(calls(forever=forever, quick=quick, again=forever, last=lambda ctx: None))
    assert [outcome.failure and outcome.failure.code for outcome in outcomes] == ["timed_out", None, "timed_out", None]
    assert texts(outcomes[1]) == ["quick"]


async def test_a_time_limit_counts_from_the_beginning_of_a_call_and_not_of_its_wait_for_a_turn() -> None:
    executor = AnyioExecutor(concurrency=1, time_limit_ms=100)
    outcomes = await executor.execute(calls(forever=forever, quick=quick))
    assert [outcome.failure and outcome.failure.code for outcome in outcomes] == ["timed_out", None]


# --- threads --------------------------------------------------------------------------------------------------------


def which_thread(ctx: Context) -> Proposal:
    return proposal("loop" if threading.current_thread() is threading.main_thread() else "worker")


async def which_thread_async(ctx: Context) -> Proposal:
    return which_thread(ctx)


def which_thread_lazily(ctx: Context) -> Iterable[Proposal]:
    yield which_thread(ctx)


async def which_thread_piecewise(ctx: Context) -> AsyncIterable[Proposal]:
    yield which_thread(ctx)


def which_thread_later(ctx: Context) -> Awaitable[Proposal]:
    return which_thread_async(ctx)


class Plain(Suggestor):
    name = "plain"

    def execute(self, ctx: Context) -> AgentEffect:
        return AgentEffect.with_proposal(which_thread(ctx))


class Asynchronous(Suggestor):
    name = "asynchronous"

    async def execute(self, ctx: Context) -> AgentEffect:
        return AgentEffect.with_proposal(which_thread(ctx))


class PlainGenerator(Suggestor):
    name = "plain-generator"

    def execute(self, ctx: Context) -> Any:
        yield which_thread(ctx)


@pytest.mark.parametrize(
    ("suggestor", "place"),
    [
        (FunctionSuggestor(which_thread, name="plain function"), "worker"),
        (FunctionSuggestor(which_thread_lazily, name="generator"), "worker"),
        (FunctionSuggestor(which_thread_async, name="async function"), "loop"),
        (FunctionSuggestor(which_thread_piecewise, name="async generator"), "loop"),
        (FunctionSuggestor(which_thread_later, name="function that returns an awaitable"), "loop"),
        (Plain(), "worker"),
        (Asynchronous(), "loop"),
        (PlainGenerator(), "worker"),
    ],
    ids=lambda parameter: parameter if isinstance(parameter, str) else parameter.name,
)
async def test_with_threads_what_may_block_leaves_the_event_loop(suggestor: Suggestor, place: str) -> None:
    [inline] = await AnyioExecutor().execute([call(suggestor)])
    [threaded] = await AnyioExecutor(threads=True).execute([call(suggestor)])
    assert (texts(inline), texts(threaded)) == (["loop"], [place])
    assert (threaded.suggestor, threaded.failure) == (suggestor.name, None)


@pytest.mark.parametrize("function", [quick, which_thread_piecewise])
async def test_an_async_function_needs_no_thread_even_to_begin(function: SuggestorFunction) -> None:
    threads = []

    class Began(FunctionSuggestor):
        def execute(self, ctx: Context) -> AgentEffect | Awaitable[AgentEffect]:
            threads.append(threading.current_thread())
            return super().execute(ctx)

    await AnyioExecutor(threads=True).execute([call(Began(function, name="began"))])
    assert threads == [threading.main_thread()]


async def test_the_provenance_of_a_suggestor_reaches_its_proposals_from_a_thread() -> None:
    class Sourced(Plain):
        @property
        def provenance(self) -> str:
            return "rules v2"

    [outcome] = await AnyioExecutor(threads=True).execute([call(Sourced())])
    assert [draft.proposal.provenance for draft in outcome.drafts if isinstance(draft, Draft)] == ["rules v2"]


async def test_what_is_raised_in_a_thread_is_a_failure_of_that_call() -> None:
    outcomes = await AnyioExecutor(threads=True).execute(calls(breaking=breaking, plain=which_thread))
    assert outcomes[0].failure == Failure("raised", "ValueError: broken")
    assert texts(outcomes[1]) == ["worker"]


async def test_threads_run_at_once_up_to_the_concurrency() -> None:
    together = threading.Barrier(3)

    def meet(ctx: Context) -> None:
        together.wait(timeout=10)

    outcomes = await AnyioExecutor(concurrency=3, threads=True).execute(calls(a=meet, b=meet, c=meet))
    assert [outcome.failure for outcome in outcomes] == [None] * 3


async def test_a_thread_over_the_time_limit_is_abandoned() -> None:
    release = threading.Event()

    def block(ctx: Context) -> Proposal:
        release.wait(timeout=10)
        return proposal("too late")

    try:
        executor = AnyioExecutor(time_limit_ms=100, threads=True)
        outcomes = await executor.execute(calls(block=block, quick=quick))
        assert not release.is_set()
    finally:
        release.set()
    assert [outcome.failure and outcome.failure.code for outcome in outcomes] == ["timed_out", None]


# --- cancellation ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 3])
async def test_what_cancels_from_outside_passes_through(number: int) -> None:
    begun, ended = anyio.Event(), []

    async def endless(ctx: Context) -> None:
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(True)

    async with anyio.create_task_group() as group:

        async def run() -> None:
            await AnyioExecutor(time_limit_ms=60_000).execute(calls(**{f"e{n}": endless for n in range(number)}))
            pytest.fail("a cancelled batch has no outcomes")

        group.start_soon(run)
        await begun.wait()
        await checkpoint()
        group.cancel_scope.cancel()
    assert group.cancel_scope.cancelled_caught
    assert len(ended) == number


@pytest.mark.parametrize(("concurrency", "time_limit_ms"), [(0, None), (-1, None), (1, 0), (1, -5)])
def test_limits_below_one_are_refused(concurrency: int, time_limit_ms: int | None) -> None:
    with pytest.raises(MisuseError, match="must be at least 1"):
        AnyioExecutor(concurrency, time_limit_ms)


async def test_with_threads_reservations_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    locks: list[CountingLock] = []

    class CountingLock:
        def __init__(self) -> None:
            self.taken = 0
            self._lock = threading.Lock()
            locks.append(self)

        def __enter__(self) -> None:
            self._lock.acquire()
            self.taken += 1

        def __exit__(self, *_: object) -> None:
            self._lock.release()

    def spend(ctx: Context) -> None:
        ctx.allowance.reserve(tokens=1).release()

    monkeypatch.setattr("converge_adapters.executors.Lock", CountingLock)
    await AnyioExecutor(threads=True).execute(calls(a=spend, b=spend))
    assert [lock.taken for lock in locks] == [4]  # one lock for all hands, taken to reserve and to settle
