"""The driver's loop: what led to a step is durable before the world acts on it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from converge_core import (
    Call,
    ContextState,
    Engine,
    Entry,
    GateDecision,
    GateRequest,
    Head,
    HitlPolicy,
    LedgerConflict,
    Outcome,
    SequentialExecutor,
    drive,
    replay,
    verify,
)
from tests.core.stage import SEEDS, SIGNALS, Says, advance, approve, bodies, engine_of, finish, play, refs, seeded, text
from tests.fakes.approver import FakeApprover
from tests.fakes.clock import FakeClock
from tests.fakes.ledger import FakeLedger
from tests.fakes.observer import FakeObserver


def chain(**settings: object) -> Engine:
    return engine_of(Says("a", text("a")), Says("b", text("b", key=SIGNALS), reads=[SEEDS]), **settings)


def gated() -> Engine:
    return chain(hitl_policy=HitlPolicy(gated_keys=(SIGNALS,)))


def kinds(ledger: FakeLedger) -> list[str]:
    return [entry.kind for entry in finish(ledger.read("run"))]


class Watching(SequentialExecutor):
    """Notes what the ledger holds when it is asked to act."""

    def __init__(self, ledger: FakeLedger) -> None:
        self.ledger = ledger
        self.seen: list[list[str]] = []

    async def execute(self, calls: Sequence[Call]) -> Sequence[Outcome]:
        self.seen.append(kinds(self.ledger))
        return await super().execute(calls)


class Asking(FakeApprover):
    """Notes what the ledger holds when somebody is asked."""

    def __init__(self, ledger: FakeLedger) -> None:
        super().__init__({"signals/b": approve()})
        self.ledger = ledger
        self.seen: list[list[str]] = []

    async def decide(self, requests: Sequence[GateRequest]) -> Sequence[GateDecision]:
        self.seen.append(kinds(self.ledger))
        return await super().decide(requests)


def test_what_led_to_a_call_is_in_the_ledger_before_the_call_is_made() -> None:
    ledger = FakeLedger()
    executor = Watching(ledger)
    play(chain(), ledger=ledger, executor=executor)
    assert executor.seen == [["run_started"], ["run_started", "effect_received", "fact_promoted"]]


def test_what_a_person_is_asked_about_is_in_the_ledger_before_they_are_asked() -> None:
    ledger = FakeLedger()
    approver = Asking(ledger)
    played = play(gated(), ledger=ledger, approver=approver)
    assert [seen[-2:] for seen in approver.seen] == [["proposal_gated", "run_paused"]]
    assert played.result.converged


def test_an_observer_is_told_what_is_durable_already() -> None:
    ledger = FakeLedger()
    told: list[tuple[int, int]] = []

    class Compares(FakeObserver):
        def recorded(self, run_id: str, entries: Sequence[Entry]) -> None:
            super().recorded(run_id, entries)
            told.append((len(self.entries), len(kinds(ledger))))

    run = chain().begin(ContextState())
    finish(ledger.create_run("run"))
    finish(drive(run, ledger=ledger, observers=[Compares()]))
    assert told
    assert all(here == there for here, there in told)


def test_one_append_a_step_and_the_ledger_is_intact() -> None:
    ledger = FakeLedger()
    played = play(chain(), ledger=ledger)
    stored = finish(ledger.read("run"))
    assert [entry.body for entry in stored] == bodies(played.log)
    assert [entry.sequence + 1 for entry in stored if entry.root is not None] == [1, 3, 6]
    assert verify("run", stored) == finish(ledger.head("run"))


def test_the_bytes_do_not_depend_on_whether_there_is_a_ledger() -> None:
    assert bodies(play(chain()).log) == bodies(play(chain(), ledger=FakeLedger()).log)


def test_two_drivers_of_one_run_cannot_both_append() -> None:
    ledger = FakeLedger()
    finish(ledger.create_run("run"))
    one, other = chain().begin(ContextState()), chain().begin(ContextState())
    advance(one, cycles=1)
    finish(ledger.append("run", 0, one.drain()))

    with pytest.raises(LedgerConflict) as conflict:
        finish(drive(other, ledger=ledger))

    assert (conflict.value.expected_size, conflict.value.found_size) == (0, 1)
    assert kinds(ledger) == ["run_started"], "the loser has left no trace"


def test_a_run_is_taken_up_from_its_ledger_by_another_driver() -> None:
    ledger = FakeLedger()
    assert play(gated(), ledger=ledger).result.pause is not None
    entries = [Entry.of(entry.body) for entry in finish(ledger.read("run"))]

    run = replay(gated(), entries)
    approver = FakeApprover({"signals/b": approve()})
    result = finish(drive(run, ledger=ledger, size=len(entries), approver=approver))

    assert refs(result) == ["seeds/a", "signals/b"]
    assert verify("run", finish(ledger.read("run"))).size > len(entries)


def test_a_run_of_the_same_name_is_not_begun_twice() -> None:
    ledger = FakeLedger()
    play(chain(), ledger=ledger)
    with pytest.raises(LedgerConflict):
        play(chain(), ledger=ledger)


def test_what_a_port_raises_reaches_the_caller() -> None:
    class Full(FakeLedger):
        async def append(self, run_id: str, expected_size: int, entries: Sequence[Entry]) -> Head:
            raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        play(chain(), ledger=Full())


def test_the_clock_is_read_before_every_step() -> None:
    readings: list[int] = []

    class Reads(FakeClock):
        def __call__(self) -> int:
            readings.append(super().__call__())
            return readings[-1]

    play(chain(), seeded("s"), clock=Reads([0, 10, 20]))
    assert readings == [0, 10, 20]


def test_the_executor_of_the_core_asks_in_order() -> None:
    run = engine_of(*(Says(name, text(name)) for name in "cab")).begin(ContextState())
    step = run.next()
    outcomes = finish(SequentialExecutor().execute(step.batch))  # type: ignore[union-attr]
    assert [outcome.suggestor for outcome in outcomes] == ["c", "a", "b"]
