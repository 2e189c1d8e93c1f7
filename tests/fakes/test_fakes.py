"""The fakes keep the promises of the ports they stand for, and fail where a test was not written to its end."""

from __future__ import annotations

import pytest

from converge_core import (
    Approver,
    Entry,
    Executor,
    HitlPolicy,
    Ledger,
    LedgerConflict,
    Observer,
    UnknownRun,
    verify,
)
from converge_core.deadlines import Deadlines
from converge_core.ports import Clock
from converge_core.repository import Repository
from tests.core.stage import SEEDS, Says, approve, engine_of, finish, play, seeded, text
from tests.fakes.approver import FakeApprover
from tests.fakes.clock import FakeClock
from tests.fakes.deadlines import FakeDeadlines
from tests.fakes.executor import FakeExecutor
from tests.fakes.ledger import FakeLedger
from tests.fakes.observer import FakeObserver
from tests.fakes.repository import FakeRepository

LOG = play(engine_of(Says("a", text("a")))).log


def test_every_fake_fits_its_port() -> None:
    executor: Executor = FakeExecutor()
    approver: Approver = FakeApprover({})
    observer: Observer = FakeObserver()
    ledger: Ledger = FakeLedger()
    clock: Clock = FakeClock([1])
    deadlines: Deadlines = FakeDeadlines()
    repository: Repository = FakeRepository()
    assert all((executor, approver, observer, ledger, clock, deadlines, repository))


def test_an_approver_without_an_answer_fails_the_test() -> None:
    engine = engine_of(hitl_policy=HitlPolicy(gated_keys=(SEEDS,)))
    with pytest.raises(AssertionError, match="the script has no answer for seeds/b"):
        play(engine, seeded("a", "b"), approver=FakeApprover({"seeds/a": approve()}))


def test_an_approver_gives_each_answer_once() -> None:
    approver = FakeApprover({"seeds/a": [approve("ann")]})
    engine = engine_of(hitl_policy=HitlPolicy(gated_keys=(SEEDS,)))
    assert play(engine, seeded("a"), approver=approver).result.converged
    with pytest.raises(AssertionError):
        play(engine, seeded("a"), approver=approver)


@pytest.mark.parametrize(("order", "names"), [((0,), "abc"), ((2, 0, 1), "bca"), ((1, 0), "bac")])
def test_an_executor_lets_calls_finish_in_the_order_it_is_given(order: tuple[int, ...], names: str) -> None:
    executor = FakeExecutor(order)
    play(engine_of(*(Says(name, text(name)) for name in "abc")), executor=executor)
    assert executor.batches == [tuple(names)]


def test_a_clock_stays_at_its_last_reading() -> None:
    clock = FakeClock([1, 5])
    assert [clock(), clock(), clock()] == [1, 5, 5]


def test_a_ledger_keeps_what_it_is_given_and_is_intact() -> None:
    ledger = FakeLedger()
    finish(ledger.create_run("run"))
    finish(ledger.append("run", 0, LOG[:2]))
    head = finish(ledger.append("run", 2, LOG[2:]))
    stored = finish(ledger.read("run"))
    assert verify("run", stored) == finish(ledger.head("run")) == head
    assert finish(ledger.read("run", 2)) == stored[2:]
    assert [(info.run_id, info.size, info.last) for info in finish(ledger.runs())] == [("run", len(LOG), stored[-1])]


def test_a_ledger_has_a_fence() -> None:
    ledger = FakeLedger()
    finish(ledger.create_run("run"))
    finish(ledger.append("run", 0, LOG[:2]))
    with pytest.raises(LedgerConflict):
        finish(ledger.append("run", 0, LOG[:2]))
    with pytest.raises(LedgerConflict):
        finish(ledger.create_run("run"))
    assert len(finish(ledger.read("run"))) == 2


def test_a_ledger_knows_its_runs() -> None:
    ledger = FakeLedger()
    with pytest.raises(UnknownRun):
        finish(ledger.read("nobody"))
    with pytest.raises(UnknownRun):
        finish(ledger.append("nobody", 0, [Entry.of(LOG[0].body)]))


def test_a_journal_keeps_effects_by_cycle_and_suggestor() -> None:
    ledger = FakeLedger()
    finish(ledger.record_effect("run", 1, "a", "one"))
    finish(ledger.record_effect("run", 1, "b", "two"))
    finish(ledger.record_effect("run", 2, "a", "three"))
    assert finish(ledger.recorded_effects("run", 1)) == {"a": "one", "b": "two"}
    assert finish(ledger.recorded_effects("run", 3)) == {}


def test_a_ledger_can_be_closed() -> None:
    ledger = FakeLedger()
    finish(ledger.close())
    assert ledger.closed
