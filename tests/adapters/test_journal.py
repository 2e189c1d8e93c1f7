"""The effect journal: what has finished is written down at once, and never performed again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import anyio
import pytest

from converge_adapters.executors import AnyioExecutor
from converge_adapters.journal import JournalingExecutor, journals
from converge_adapters.ledgers.memory import MemoryLedger
from converge_adapters.ledgers.sqlite import SqliteLedger
from converge_adapters.testing.ledgers import raised
from converge_core.context.allowance import Usage
from converge_core.context.facts import ProposedFact
from converge_core.context.keys import ContextKey
from converge_core.context.payloads import FactPayload, PayloadRegistry, TextPayload
from converge_core.context.state import Context, ContextState
from converge_core.engine.calls import Call, Outcome
from converge_core.errors import LedgerError, PayloadError, UnknownRun
from converge_core.ports import Executor, Ledger
from converge_core.suggestors.contract import AgentEffect, Replayability, Suggestor

pytestmark = pytest.mark.anyio

PAYLOADS = PayloadRegistry()


class Asking(Suggestor):
    """Answers with its name and how often it was asked; what this costs is journaled unless it says otherwise."""

    replayability = Replayability.NONE

    def __init__(self, name: str, journal: bool | None = None) -> None:
        self.name, self.journal, self.asked = name, journal, 0

    async def execute(self, ctx: Context) -> AgentEffect:
        self.asked += 1
        payload = TextPayload(text=f"{self.name} was asked {self.asked} times")
        return AgentEffect.with_proposal(ProposedFact(ContextKey.SIGNALS, self.name, payload), Usage(7, 5))


class Failing(Asking):
    async def execute(self, ctx: Context) -> AgentEffect:
        self.asked += 1
        raise ConnectionError("nobody answers")


class CountingLedger(MemoryLedger):
    """Counts the look-ups in the journal, tells when it keeps an effect, and can refuse to."""

    def __init__(self) -> None:
        super().__init__()
        self.look_ups = 0
        self.recorded = anyio.Event()
        self.fault: Exception | None = None

    async def recorded_effects(self, run_id: str, cycle: int) -> Mapping[str, str]:
        self.look_ups += 1
        return await super().recorded_effects(run_id, cycle)

    async def record_effect(self, run_id: str, cycle: int, suggestor: str, body: str) -> None:
        if self.fault is not None:
            raise self.fault
        await super().record_effect(run_id, cycle, suggestor, body)
        self.recorded.set()


class Batches:
    """An executor that notes the names of the calls it is given."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    async def execute(self, calls: Sequence[Call]) -> Sequence[Outcome]:
        self.batches.append([call.name for call in calls])
        return [await call.perform() for call in calls]


@pytest.fixture
async def ledger() -> CountingLedger:
    ledger = CountingLedger()
    await ledger.create_run("run")
    return ledger


def batch(*suggestors: Suggestor, cycle: int = 1) -> list[Call]:
    return [Call(cycle, suggestor, ContextState(), PAYLOADS, 1_000) for suggestor in suggestors]


def journaling(ledger: Ledger, inner: Executor | None = None, run_id: str = "run") -> JournalingExecutor:
    return JournalingExecutor(inner or AnyioExecutor(), ledger, run_id, PAYLOADS)


@pytest.mark.parametrize(
    ("journal", "replayability", "expected"),
    [
        (None, Replayability.DETERMINISTIC, False),
        (None, Replayability.BEST_EFFORT, True),
        (None, Replayability.NONE, True),
        (True, Replayability.DETERMINISTIC, True),
        (False, Replayability.NONE, False),
    ],
)
def test_what_is_not_deterministic_is_journaled_unless_the_suggestor_says_otherwise(
    journal: bool | None, replayability: Replayability, expected: bool
) -> None:
    suggestor = Asking("ask", journal)
    suggestor.replayability = replayability
    assert journals(suggestor) is expected


async def test_an_outcome_is_journaled_as_the_event_that_enters_the_ledger(ledger: CountingLedger) -> None:
    [outcome] = await journaling(ledger).execute(batch(Asking("ask"), cycle=4))
    assert await ledger.recorded_effects("run", 4) == {"ask": outcome.event().body()}


async def test_a_journaled_call_is_not_performed_again(ledger: CountingLedger) -> None:
    ask = Asking("ask")
    first = await journaling(ledger).execute(batch(ask))
    again = await journaling(ledger).execute(batch(ask))
    assert again == first
    assert ask.asked == 1


async def test_another_cycle_is_another_call(ledger: CountingLedger) -> None:
    ask = Asking("ask")
    for cycle in (1, 2):
        await journaling(ledger).execute(batch(ask, cycle=cycle))
    assert ask.asked == 2


async def test_another_run_is_another_call(ledger: CountingLedger) -> None:
    ask = Asking("ask")
    await ledger.create_run("other")
    for run_id in ("run", "other"):
        await journaling(ledger, run_id=run_id).execute(batch(ask))
    assert ask.asked == 2


async def test_a_call_is_in_the_journal_before_the_slower_ones_of_its_cycle_are_done(ledger: CountingLedger) -> None:
    found: list[str] = []

    class Slow(Asking):
        async def execute(self, ctx: Context) -> AgentEffect:
            await ledger.recorded.wait()
            found.extend(await ledger.recorded_effects("run", 1))
            return await super().execute(ctx)

    with anyio.fail_after(10):
        await journaling(ledger).execute(batch(Slow("slow"), Asking("ask")))
    assert found == ["ask"]


async def test_after_a_crash_only_what_had_not_finished_is_performed(ledger: CountingLedger) -> None:
    class Hanging(Asking):
        async def execute(self, ctx: Context) -> AgentEffect:
            if self.asked == 0:
                self.asked += 1
                await anyio.sleep_forever()
            return await super().execute(ctx)

    done, hanging = Asking("done"), Hanging("hanging")

    async def crash() -> None:
        await ledger.recorded.wait()
        group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(crash)
        await journaling(ledger).execute(batch(hanging, done))

    inner = Batches()
    outcomes = await journaling(ledger, inner).execute(batch(hanging, done))
    assert inner.batches == [["hanging"]]
    assert {outcome.suggestor for outcome in outcomes} == {"done", "hanging"}
    assert (done.asked, hanging.asked) == (1, 2)


async def test_a_failure_is_not_journaled_and_is_tried_again(ledger: CountingLedger) -> None:
    failing = Failing("ask")
    for _ in range(2):
        [outcome] = await journaling(ledger).execute(batch(failing))
        assert outcome.failure is not None
    assert failing.asked == 2
    assert await ledger.recorded_effects("run", 1) == {}


async def test_what_does_not_journal_is_performed_each_time(ledger: CountingLedger) -> None:
    rule, ask = Asking("rule", journal=False), Asking("ask")
    for _ in range(2):
        await journaling(ledger).execute(batch(rule, ask))
    assert (rule.asked, ask.asked) == (2, 1)
    assert list(await ledger.recorded_effects("run", 1)) == ["ask"]


async def test_a_cycle_in_which_nobody_journals_does_not_touch_the_journal(ledger: CountingLedger) -> None:
    calls = batch(Asking("a", journal=False), Asking("b", journal=False))
    inner = Batches()
    assert len(await journaling(ledger, inner).execute(calls)) == 2
    assert ledger.look_ups == 0
    assert inner.batches == [["a", "b"]]


async def test_a_cycle_looks_into_the_journal_once(ledger: CountingLedger) -> None:
    await journaling(ledger).execute(batch(Asking("a"), Asking("b"), Asking("c", journal=False)))
    assert ledger.look_ups == 1


async def test_when_everything_is_in_the_journal_nothing_is_executed(ledger: CountingLedger) -> None:
    calls = batch(Asking("a"), Asking("b"))
    await journaling(ledger).execute(calls)
    inner = Batches()
    assert [outcome.suggestor for outcome in await journaling(ledger, inner).execute(calls)] == ["a", "b"]
    assert inner.batches == []


async def test_a_finished_call_is_kept_even_if_its_time_is_up_meanwhile() -> None:
    class SlowLedger(CountingLedger):
        async def record_effect(self, run_id: str, cycle: int, suggestor: str, body: str) -> None:
            await anyio.sleep(0.05)
            await super().record_effect(run_id, cycle, suggestor, body)

    ledger = SlowLedger()
    await ledger.create_run("run")
    [outcome] = await journaling(ledger, AnyioExecutor(time_limit_ms=10)).execute(batch(Asking("ask")))
    assert outcome.failure is None
    assert list(await ledger.recorded_effects("run", 1)) == ["ask"]


@pytest.mark.parametrize("threads", [False, True])
async def test_plain_functions_are_journaled_too_in_threads_or_not(threads: bool, tmp_path: Path) -> None:
    class Plain(Asking):
        def execute(self, ctx: Context) -> AgentEffect:  # type: ignore[override]  # a suggestor may be plain or async
            return AgentEffect.empty()

    ledger = SqliteLedger(tmp_path / "ledger.db")
    await ledger.create_run("run")
    await journaling(ledger, AnyioExecutor(threads=threads)).execute(batch(Plain("a"), Plain("b")))
    assert set(await ledger.recorded_effects("run", 1)) == {"a", "b"}
    await ledger.close()


async def test_an_effect_that_cannot_be_kept_stops_the_batch_once_the_others_are_done(ledger: CountingLedger) -> None:
    ledger.fault = LedgerError("disk full")
    a, b = Asking("a"), Asking("b")
    assert await raised(LedgerError, journaling(ledger).execute(batch(a, b))) is ledger.fault
    assert (a.asked, b.asked) == (1, 1)


async def test_a_run_that_does_not_exist_is_named_before_anything_is_performed(ledger: CountingLedger) -> None:
    ask = Asking("ask")
    await raised(UnknownRun, journaling(ledger, run_id="nobody").execute(batch(ask)))
    assert ask.asked == 0


CHANGES: dict[str, Callable[[str], str]] = {
    "no JSON": lambda body: body[:-1],
    "no event": lambda body: "[]",
    "another kind": lambda body: body.replace("effect_received", "run_paused"),
    "a field missing": lambda body: body.replace('"cycle":1,', ""),
    "another cycle": lambda body: body.replace('"cycle":1,', '"cycle":2,'),
    "another suggestor": lambda body: body.replace('"suggestor":"ask"', '"suggestor":"else"'),
    "a proposal without a key": lambda body: body.replace('"key":"signals",', ""),
    "a key that is none": lambda body: body.replace('"key":"signals"', '"key":"noise"'),
    "usage below nothing": lambda body: body.replace('"input_tokens":7', '"input_tokens":-7'),
    "usage of another thing": lambda body: body.replace('"input_tokens":7', '"gallons":7'),
    "proposals that are none": lambda body: body.replace('"proposals":[', '"proposals":[1,'),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_journaled_outcome_that_cannot_be_read_is_an_error_that_names_it(
    change: str, ledger: CountingLedger
) -> None:
    [outcome] = await Batches().execute(batch(Asking("ask")))
    body = outcome.event().body()
    assert CHANGES[change](body) != body
    await ledger.record_effect("run", 1, "ask", CHANGES[change](body))
    ask = Asking("ask")
    error = await raised(LedgerError, journaling(ledger).execute(batch(ask)))
    assert "run 'run': the journaled outcome of 'ask' in cycle 1 cannot be read: " in str(error)
    assert ask.asked == 0


async def test_a_journaled_payload_of_a_plugin_that_is_not_loaded_is_named(ledger: CountingLedger) -> None:
    class Invoice(FactPayload):
        family = "test.invoice"
        amount: int

    class Billing(Asking):
        async def execute(self, ctx: Context) -> AgentEffect:
            return AgentEffect.with_proposal(ProposedFact(ContextKey.SEEDS, "i1", Invoice(amount=5)))

    def bill(payloads: PayloadRegistry) -> Call:
        return Call(1, Billing("bill"), ContextState(), payloads, 1_000)

    await journaling(ledger).execute([bill(PayloadRegistry())])
    error = await raised(PayloadError, journaling(ledger).execute([bill(PayloadRegistry())]))
    assert error.family == "test.invoice"
