"""``work.suggest``: one spec at a time, which a person decides on, whatever other runs there are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from converge_adapters.leases import MemoryLeases
from converge_core import ContextKey, ConvergeResult
from converge_core.gates.stop import HitlGatePending
from converge_plugins.work_suggester.specs import WorkSpec
from tests.core.stage import approve, finish, reject
from tests.fakes.approver import Answer, FakeApprover
from tests.plugins.work_suggester.stage import issue, opened, run, scored, suggestor

DAY = 24 * 60 * 60


class Days:
    """A clock of which the test moves the days."""

    def __init__(self) -> None:
        self.passed = 0

    def __call__(self) -> datetime:
        return datetime(2026, 10, 31, 9, tzinfo=UTC) + timedelta(days=self.passed)


def specs(result: ConvergeResult) -> list[int]:
    """The issues that have an accepted spec."""
    return [fact.payload.number for fact in result.context.get(ContextKey.PROPOSALS, WorkSpec)]


def told(result: ConvergeResult) -> list[str]:
    assert result.converged, result.stop_reason
    return [fact.payload.summary() for fact in result.context.get(ContextKey.DIAGNOSTIC)]


def pending(result: ConvergeResult) -> list[str]:
    """The proposals that wait for a person."""
    assert result.pause is not None
    return [request.ref for request in result.pause.requests]


def held(leases: MemoryLeases) -> list[str]:
    return [f"{lease.slot} by {lease.owner}" for lease in finish(leases.active())]


def asked(answer: Answer, leases: MemoryLeases, run_id: str = "one", *scores: float) -> ConvergeResult:
    approver = FakeApprover({"proposals/suggest:1": answer, "proposals/suggest:2": answer})
    return run(scored(*(scores or (0.9, 0.4))), suggestor(leases=leases, run_id=run_id), approver=approver)


def test_the_best_issue_becomes_a_spec_and_no_other_does() -> None:
    result = run(scored(0.2, 0.7, 0.5), suggestor())
    [fact] = result.context.get(WorkSpec)
    assert (fact.ref, fact.confidence) == ("proposals/suggest:2", 0.7)
    assert fact.evidence == ("evaluations/score:2", "seeds/issue:2")
    assert (fact.payload.number, fact.payload.score) == (2, 0.7)
    assert fact.payload.spec.startswith("# auto: Issue 2\n")


def test_of_equal_scores_the_oldest_issue_is_taken() -> None:
    assert specs(run(scored(0.5, 0.5), suggestor())) == [1]


def test_the_spec_may_go_under_strategies_and_nowhere_else() -> None:
    result = run(scored(0.5), suggestor({"key": "strategies"}))
    assert [fact.ref for fact in result.context.get(WorkSpec)] == ["strategies/suggest:1"]
    with pytest.raises(ValidationError):
        suggestor({"key": "seeds"})


def test_without_scores_nothing_is_proposed_and_no_slot_is_claimed() -> None:
    leases = MemoryLeases()
    assert specs(run(opened(issue(1)), suggestor(leases=leases))) == []
    assert held(leases) == []


def test_s010_a_second_run_proposes_nothing_while_a_proposal_is_pending() -> None:
    leases = MemoryLeases()
    first = run(scored(0.9, 0.4), suggestor(leases=leases, run_id="one"), gated=True)
    assert isinstance(first.stop_reason, HitlGatePending)
    assert pending(first) == ["proposals/suggest:1"]
    second = run(scored(0.9, 0.4), suggestor(leases=leases, run_id="two"), gated=True)
    assert told(second) == ["run one has proposed work that waits to be decided on"]
    assert specs(second) == []


@pytest.mark.parametrize("answer", [approve(), reject()], ids=["accepted", "refused"])
def test_a_decision_frees_the_desk_and_the_next_issue_has_its_turn(answer: Answer) -> None:
    leases = MemoryLeases()
    assert asked(answer, leases).converged
    assert held(leases) == ["work/1 by one"]
    second = run(scored(0.9, 0.4), suggestor(leases=leases, run_id="two"), gated=True)
    assert pending(second) == ["proposals/suggest:2"]


def test_a_person_who_accepts_makes_it_a_fact_and_one_who_refuses_does_not() -> None:
    assert specs(asked(approve(), MemoryLeases())) == [1]
    assert specs(asked(reject(), MemoryLeases())) == []


def test_when_every_issue_was_proposed_nothing_is_and_the_desk_is_free() -> None:
    leases = MemoryLeases()
    asked(approve(), leases, "one", 0.9)
    assert told(asked(approve(), leases, "two", 0.9)) == ["every issue has been proposed a short while ago"]
    assert held(leases) == ["work/1 by one"]


def test_an_issue_has_its_turn_again_when_its_time_has_passed() -> None:
    days = Days()
    leases = MemoryLeases(now=days)
    asked(approve(), leases, "one", 0.9)
    days.passed = 1
    assert specs(asked(approve(), leases, "two", 0.9)) == [1]


def test_a_proposal_that_nobody_decides_on_is_in_the_way_for_a_while_and_not_for_ever() -> None:
    days = Days()
    leases = MemoryLeases(now=days)
    config = {"pending_seconds": DAY, "again_seconds": 3 * DAY}
    run(scored(0.9, 0.4), suggestor(config, leases=leases, run_id="one"), gated=True)
    days.passed = 1
    second = run(scored(0.9, 0.4), suggestor(config, leases=leases, run_id="two"), gated=True)
    assert pending(second) == ["proposals/suggest:2"]


def test_a_run_that_goes_on_after_a_crash_finds_what_it_has_claimed_itself() -> None:
    leases = MemoryLeases()
    for _ in range(2):
        again = run(scored(0.9, 0.4), suggestor(leases=leases, run_id="one"), gated=True)
        assert pending(again) == ["proposals/suggest:1"]


def test_runs_with_desks_of_their_own_do_not_mind_each_other() -> None:
    leases = MemoryLeases()
    for slot in ("here", "there"):
        stage = suggestor({"slot": slot}, leases=leases, run_id=slot)
        assert pending(run(scored(0.9), stage, gated=True)) == ["proposals/suggest:1"]


def test_only_its_own_desk_is_freed() -> None:
    leases = MemoryLeases()
    finish(leases.claim("workshop", "one", 10**9))
    asked(approve(), leases)
    assert held(leases) == ["work/1 by one", "workshop by one"]
