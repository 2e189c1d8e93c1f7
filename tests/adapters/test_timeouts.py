"""Time-outs of human gates, under a clock that shows what the test says."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone

import pytest

from converge_adapters.timeouts import POLICY, moment, overdue, seconds_left, waiting_since
from converge_core import (
    Actor,
    ContextState,
    Convergence,
    Engine,
    Entry,
    GateDecision,
    HitlPolicy,
    StoredEntry,
    TimeoutAction,
    TimeoutPolicy,
    Verdict,
    replay,
)
from converge_core.gates.authority import ApprovalPolicy, AuthorityGrant
from tests.core.stage import SIGNALS, Says, advance, engine_of, gates_of, text

NOON = datetime(2026, 10, 31, 12, tzinfo=UTC)
LEVELS = ApprovalPolicy((AuthorityGrant("team", ("ann",)), AuthorityGrant("boss", ("eve",), level=2)))


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def engine(timeout: TimeoutPolicy, approval: ApprovalPolicy = LEVELS) -> Engine:
    policy = HitlPolicy(gated_keys=(SIGNALS,), timeout=timeout, approval=approval)
    return engine_of(Says("rule", text("a", key=SIGNALS), text("b", key=SIGNALS)), hitl_policy=policy)


class Story:
    """A run with two gates, opened at noon, and its entries as a store holds them."""

    def __init__(self, action: TimeoutAction, seconds: int = 60, approval: ApprovalPolicy = LEVELS) -> None:
        self.run: Convergence = engine(TimeoutPolicy(seconds, action), approval).begin(ContextState(), run_id="run")
        gates = gates_of(advance(self.run))
        self.a, self.b = gates["signals/a"].gate_id, gates["signals/b"].gate_id
        self.levels = approval.levels
        self.stored: list[StoredEntry] = []
        self.record(NOON)

    def record(self, now: datetime) -> None:
        """Store what the machine has to say."""
        self.stored += stored_at(self.run.drain(), now, len(self.stored))

    def expire(self, now: datetime) -> list[GateDecision]:
        """Let the policy decide, as whoever looks at the run next does."""
        decisions = overdue(self.run.open_gates, self.levels, self.stored, now)
        assert self.run.decide(decisions) == (), "the machine agrees with the policy"
        self.run.next()
        self.record(now)
        return decisions


def stored_at(entries: Sequence[Entry], now: datetime, size: int) -> list[StoredEntry]:
    at = f"{now:%Y-%m-%dT%H:%M:%S}.000Z"
    return [StoredEntry(size + n, entry.kind, entry.body, entry.leaf, None, at) for n, entry in enumerate(entries)]


def verdicts(decisions: Sequence[GateDecision]) -> list[tuple[Verdict, str | None]]:
    return [(decision.verdict, decision.reason) for decision in decisions]


# --- how long is left -----------------------------------------------------------------------------------------------


def test_time_runs_from_the_moment_a_gate_was_recorded() -> None:
    story = Story(TimeoutAction.REJECT)
    assert waiting_since(story.stored) == dict.fromkeys((story.a, story.b), "2026-10-31T12:00:00.000Z")


@pytest.mark.parametrize(("waited", "left"), [(0, 60), (0.5, 60), (59, 1), (59.5, 1), (60, 0), (61, -1), (3600, -3540)])
def test_begun_seconds_are_left(waited: float, left: int) -> None:
    assert seconds_left("2026-10-31T12:00:00.000Z", 60, after(waited)) == left


def test_a_clock_that_was_put_back_makes_no_wait_longer() -> None:
    assert seconds_left("2026-10-31T12:00:00.000Z", 60, after(-86_400)) == 60


def test_the_zone_of_a_clock_does_not_matter() -> None:
    east = after(30).astimezone(timezone(timedelta(hours=9)))
    assert seconds_left("2026-10-31T12:00:00.000Z", 60, east) == 30
    assert moment(east) == "2026-10-31T12:00:30Z"


# --- what the policy decides ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", list(TimeoutAction))
def test_nothing_is_decided_before_the_time_is_up(action: TimeoutAction) -> None:
    assert Story(action).expire(after(59)) == []


@pytest.mark.parametrize("action", [TimeoutAction.APPROVE, TimeoutAction.REJECT])
def test_the_policy_decides_in_its_own_name_and_says_which_it_is(action: TimeoutAction) -> None:
    story = Story(action)
    decisions = story.expire(after(60))
    reason = f"no answer within 60 s; the policy is to {action}"
    assert verdicts(decisions) == [(Verdict(action.value), reason)] * 2
    assert {(decision.by, decision.at) for decision in decisions} == {(POLICY, "2026-10-31T12:01:00Z")}
    assert story.run.result().context.has(SIGNALS) is (action is TimeoutAction.APPROVE)
    assert [entry for entry in story.stored if f'"authority":"timeout:{action}"' in entry.body]


def test_a_gate_that_was_answered_in_time_is_left_alone() -> None:
    story = Story(TimeoutAction.REJECT)
    story.run.decide([GateDecision.approve(story.a, "ann")])
    assert [decision.gate_id for decision in story.expire(after(60))] == [story.b]


def test_a_deferred_gate_has_no_more_time_than_another() -> None:
    story = Story(TimeoutAction.REJECT)
    story.run.decide([GateDecision.defer(story.a, "ann")])
    story.record(after(59))
    assert len(story.expire(after(60))) == 2


def test_an_escalated_gate_waits_again_and_is_rejected_after_the_last_level() -> None:
    story = Story(TimeoutAction.ESCALATE)
    assert {decision.verdict for decision in story.expire(after(60))} == {Verdict.ESCALATE}
    assert story.expire(after(119)) == []
    last = "no answer within 60 s; the policy is to escalate, and nobody is left to be asked"
    assert verdicts(story.expire(after(120))) == [(Verdict.REJECT, last)] * 2
    assert story.run.open_gates == []


def test_a_clock_that_jumps_far_ahead_skips_no_level() -> None:
    story = Story(TimeoutAction.ESCALATE)
    year = 365 * 86_400
    assert {decision.verdict for decision in story.expire(after(year))} == {Verdict.ESCALATE}
    assert story.expire(after(year + 59)) == []


def test_where_there_is_one_level_there_is_nobody_to_escalate_to() -> None:
    story = Story(TimeoutAction.ESCALATE, approval=ApprovalPolicy())
    assert {decision.verdict for decision in story.expire(after(60))} == {Verdict.REJECT}


def test_an_escalation_that_was_refused_buys_no_time() -> None:
    story = Story(TimeoutAction.REJECT)
    refused = story.run.decide([GateDecision(story.a, Verdict.ESCALATE, Actor("ann"))])
    assert [refusal.code for refusal in refused] == ["no_authority"]
    story.record(after(59))
    assert len(story.expire(after(60))) == 2


def test_no_time_at_all_is_up_at_once() -> None:
    assert len(Story(TimeoutAction.APPROVE, seconds=0).expire(NOON)) == 2


def test_what_the_policy_decided_is_replayed_without_a_clock() -> None:
    story = Story(TimeoutAction.ESCALATE)
    for waited in (60, 120):
        story.expire(after(waited))
    entries = [Entry(entry.kind, entry.body, entry.leaf) for entry in story.stored]
    again = replay(engine(TimeoutPolicy(60, TimeoutAction.ESCALATE)), entries)
    assert again.result().integrity == story.run.result().integrity
