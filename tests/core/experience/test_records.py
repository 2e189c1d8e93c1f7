"""Each entry of a run as a record: what happened, to what, and by whom."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from converge_core import (
    Actor,
    ActorKind,
    ApprovalPolicy,
    Budget,
    ContextState,
    Engine,
    GateDecision,
    HitlPolicy,
    LedgerCorrupt,
    TextPayload,
    canonical,
)
from converge_core.experience.query import KINDS, UserExperience
from converge_core.experience.records import ExperienceRecord, RunExperience
from converge_core.ledger.canonical import JsonValue
from converge_core.ledger.events import TimeObserved
from converge_core.ledger.merkle import leaf_hash
from tests.core.experience.told import AT, LABELS, answered, begun, correction, ended, record, records, stored, told
from tests.core.stage import SEEDS, SIGNALS, Says, advance, approve, edit, engine_of, gates_of, reject, text

GATED = HitlPolicy(gated_keys=(SIGNALS,))
EDITED = {"family": "converge.text", "version": 1, "body": {"text": "better"}}


def gated(needs: int = 1) -> Engine:
    """An engine whose one signal is decided by people."""
    policy = replace(GATED, approval=ApprovalPolicy(needs=needs))
    return engine_of(Says("echo", text("x", "an echo", SIGNALS), reads=[SEEDS]), hitl_policy=policy)


def data(one: ExperienceRecord) -> dict[str, JsonValue]:
    return dict(one.data)


# --- what a record says -----------------------------------------------------------------------------------------------


def test_every_entry_is_a_record_of_a_known_kind_at_its_place() -> None:
    run = ended()
    entries = told(run).stored
    run = ended()
    assert [(one.sequence, one.entry) for one in records(run)] == [(e.sequence, e.kind) for e in entries]
    assert {one.kind for one in records(ended())} <= set(KINDS)


def test_a_record_says_of_which_run_it_is_and_when_the_store_had_it() -> None:
    one = record(ended(), "run_stopped")
    assert (one.run_id, one.id, one.recorded_at) == ("past", f"past/{one.sequence}", AT)
    assert (one.tenant, one.labels) == ("acme", LABELS)


def test_a_promotion_says_of_which_fact_it_is_and_what_that_says() -> None:
    [one] = [one for one in records(ended()) if one.subject == "signals/x" and one.kind == "fact_promoted"]
    assert one.content == {"family": "converge.text", "version": 1, "body": {"text": "an echo"}}
    assert one.data["proposer"] == "echo"


def test_what_was_turned_away_says_of_what_it_was() -> None:
    engine = engine_of(Says("echo", text("s", "another text", SEEDS), reads=[SEEDS]))
    one = record(ended(engine), "proposal_conflicted")
    assert (one.subject, one.content) == (
        "seeds/s",
        {"family": "converge.text", "version": 1, "body": {"text": "another text"}},
    )


def test_what_a_fork_begins_with_says_what_it_is() -> None:
    run = ended()
    child = engine_of().begin(ContextState(run.result().context.facts()), run_id="child")
    advance(child)
    carried = [one for one in records(child) if one.kind == "fact_carried"]
    assert [one.subject for one in carried] == ["seeds/s", "signals/x"]
    assert carried[1].content == {"family": "converge.text", "version": 1, "body": {"text": "an echo"}}


def test_what_is_about_nothing_has_no_subject() -> None:
    one = record(ended(), "run_stopped")
    assert (one.subject, one.content) == (None, None)


def test_a_record_as_json_leaves_out_what_it_does_not_have() -> None:
    told_ = record(ended(), "run_stopped").to_json()
    assert set(told_) == {
        "id",
        "run_id",
        "sequence",
        "kind",
        "entry",
        "recorded_at",
        "tenant",
        "correlation",
        "data",
    }
    assert json.loads(canonical(told_))["correlation"] == "order-7"


def test_a_run_without_labels_belongs_to_nobody() -> None:
    run = engine_of().begin(ContextState(), run_id="free")
    advance(run)
    assert {one.tenant for one in records(run)} == {None}


# --- what people did --------------------------------------------------------------------------------------------------


def test_an_approval_says_who_gave_it_why_and_for_what() -> None:
    one = record(
        answered(gated(), lambda gate: GateDecision.approve(gate, "ann", "looks right")), "user_approval_granted"
    )
    assert (one.actor, one.reason, one.subject, one.entry) == ("human:ann", "looks right", "signals/x", "gate_decided")
    assert one.content is not None
    assert one.content["body"] == {"text": "an echo"}
    assert isinstance(one.data["gate_request_id"], str)


def test_a_rejection_is_told_as_one() -> None:
    one = record(answered(gated(), reject("eve", "no")), UserExperience.APPROVAL_REJECTED)
    assert (one.actor, one.reason, one.subject) == ("human:eve", "no", "signals/x")


def test_an_edit_at_a_gate_is_a_correction_of_the_proposal() -> None:
    one = record(answered(gated(), edit(TextPayload(text="better"))), "user_correction")
    assert (one.data["target"], one.subject) == ("proposal", "signals/x")
    assert one.content == one.data["corrected_content"] == EDITED
    assert isinstance(one.data["original_content"], str)


def test_each_of_several_approvals_is_told_with_its_own_words() -> None:
    run = answered(
        gated(needs=2),
        lambda gate: GateDecision.approve(gate, "ann", "first"),
        lambda gate: GateDecision.approve(gate, "bob", "second"),
    )
    granted = [one for one in records(run) if one.kind == "user_approval_granted"]
    assert [(one.actor, one.reason) for one in granted] == [("human:ann", "first"), ("human:bob", "second")]


def test_answers_at_many_gates_are_each_told_with_their_own_reason() -> None:
    engine = engine_of(
        Says("echo", text("x", "one", SIGNALS), text("y", "two", SIGNALS), reads=[SEEDS]), hitl_policy=GATED
    )
    run = begun(engine)
    gates = gates_of(advance(run))
    run.decide([reject("eve", f"not {ref}")(request.gate_id) for ref, request in gates.items()])
    advance(run)
    told_ = {one.subject: one.reason for one in records(run) if one.kind == "user_approval_rejected"}
    assert told_ == {"signals/x": "not signals/x", "signals/y": "not signals/y"}


def test_an_answer_that_did_not_count_is_nothing_that_a_person_did() -> None:
    run = answered(gated(), approve("ann"), approve("bob"))
    assert [one.actor for one in records(run) if one.kind in set(UserExperience)] == ["human:ann"]


def test_what_a_time_out_decided_no_person_did() -> None:
    run = answered(gated(), lambda gate: GateDecision.reject(gate, Actor("timeout", ActorKind.SYSTEM), "too late"))
    assert not any(one.kind in set(UserExperience) for one in records(run))


def test_a_correction_says_what_stands_in_the_place_of_what() -> None:
    run = ended()
    run.correct(correction("right"))
    run.reopen()
    advance(run)
    one = record(run, UserExperience.CORRECTION)
    assert (one.actor, one.reason, one.subject, one.data["target"]) == ("human:ann", "a typo", "seeds/s", "fact")
    assert one.content == one.data["corrected_content"]
    assert isinstance(one.data["original_content"], str)


def test_a_correction_that_was_refused_is_nothing_that_a_person_did() -> None:
    run = ended()
    run.correct(correction("right", fact="seeds/nobody"))
    told_ = records(run)
    assert [one.kind for one in told_[-2:]] == ["correction_received", "correction_refused"]


def test_who_calls_a_run_off_overrides_it() -> None:
    run = begun()
    run.next()
    run.cancel("enough", Actor("ann"))
    advance(run)
    one = record(run, UserExperience.OVERRIDE_ISSUED)
    assert (one.actor, one.reason, one.data["target"], one.entry) == ("human:ann", "enough", "run", "cancel_requested")


def test_a_cancellation_by_no_person_is_told_as_the_entry_it_is() -> None:
    run = begun()
    run.next()
    run.cancel("signal", Actor("driver", ActorKind.SYSTEM))
    advance(run)
    assert record(run, "cancel_requested").actor == "system:driver"


def test_who_lets_a_run_go_on_under_another_engine_overrides_it() -> None:
    run = ended()
    run.accept_changes(Actor("ann"))
    one = record(run, UserExperience.OVERRIDE_ISSUED)
    assert (one.actor, one.data["target"]) == ("human:ann", "setup")


def test_another_budget_is_a_boundary_that_was_adjusted() -> None:
    run = ended()
    run.reopen(Budget(max_cycles=99))
    advance(run)
    one = record(run, UserExperience.BOUNDARY_ADJUSTED)
    before, after = one.data["previous_value"], one.data["new_value"]
    assert isinstance(before, dict)
    assert isinstance(after, dict)
    assert (before["max_cycles"], after["max_cycles"]) == (Budget().max_cycles, 99)
    assert (one.data["boundary"], one.data["target"]) == ("budget", "global")


def test_a_run_that_is_reopened_as_it_was_adjusts_no_boundary() -> None:
    run = ended()
    run.reopen()
    advance(run)
    assert record(run, "run_reopened").entry == "run_reopened"


def test_a_boundary_is_compared_with_the_one_before_it_not_with_the_first() -> None:
    run = ended()
    for _ in range(2):
        run.reopen(Budget(max_cycles=99))
        advance(run)
    reopened = [one.kind for one in records(run) if one.entry == "run_reopened"]
    assert reopened == ["user_boundary_adjusted", "run_reopened"]


# --- entries that are not what was written ----------------------------------------------------------------------------


def test_an_entry_that_was_changed_is_found_when_it_is_read() -> None:
    entries = stored(ended().drain())
    entries[2] = entries[2]._replace(body=entries[2].body.replace("s", "z", 1))
    with pytest.raises(LedgerCorrupt) as caught:
        RunExperience("past", entries).record(2)
    assert (caught.value.run_id, caught.value.sequence) == ("past", 2)


def test_an_entry_that_is_no_event_is_found_too() -> None:
    entries = stored(ended().drain())
    entries[2] = entries[2]._replace(body="[]", leaf=leaf_hash(b"[]"))
    with pytest.raises(LedgerCorrupt, match="an event"):
        RunExperience("past", entries).record(2)


def test_labels_that_are_no_labels_are_found() -> None:
    entries = stored(ended().drain())
    body = canonical({**json.loads(entries[0].body), "labels": ["acme"]})
    entries[0] = entries[0]._replace(body=body, leaf=leaf_hash(body.encode()))
    with pytest.raises(LedgerCorrupt):
        RunExperience("past", entries).labels  # noqa: B018  # reading is what is tried


def test_a_decision_without_an_answer_before_it_is_found() -> None:
    entries = answered(gated(), approve()).drain()
    [place] = [place for place, entry in enumerate(entries) if entry.kind == "gate_decided"]
    entries.insert(place, TimeObserved(cycle=1, elapsed_ms=5).entry())
    with pytest.raises(LedgerCorrupt, match="an answer at the gate before it"):
        RunExperience("past", stored(entries)).record(place + 1)
