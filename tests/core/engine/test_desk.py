"""The desk: what waits for people, what their answers come to, and what the ledger tells of both."""

from __future__ import annotations

import pytest

from converge_core import (
    Actor,
    ActorKind,
    Budget,
    ContextKey,
    ContextState,
    Convergence,
    DiagnosticPayload,
    GateDecision,
    HitlPolicy,
    PayloadRegistry,
    TextPayload,
    TimeoutAction,
    TimeoutPolicy,
    Verdict,
)
from converge_core.engine.desk import Desk
from converge_core.gates.authority import ApprovalPolicy, AuthorityGrant, AuthorityScope
from converge_core.gates.drafts import Draft, draft
from converge_core.ledger.events import (
    ApprovalCounted,
    DecisionRefused,
    GateDecided,
    ProposalDuplicate,
    ProposalGated,
    ProposalRejected,
)
from tests.core.stage import SIGNALS, Says, advance, engine_of, gates_of, seeded, text

GATED = HitlPolicy(gated_keys=(SIGNALS,))
POLICY = Actor("timeout-policy", ActorKind.SYSTEM)


def drafted(words: str = "words", proposer: str = "rule", key: ContextKey = SIGNALS) -> Draft:
    made = draft(text("a", words, key, provenance=proposer), proposer, PayloadRegistry())
    assert isinstance(made, Draft)
    return made


def desk(policy: HitlPolicy | None = GATED) -> Desk:
    return Desk(engine_of(hitl_policy=policy).begin(ContextState()).setup, "run")


def held(at: Desk, item: Draft | None = None, cycle: int = 1) -> str:
    event = at.hold(item or drafted(), cycle)
    assert isinstance(event, ProposalGated)
    return event.gate


def approve(gate: str, by: str = "ann", at: str | None = None) -> GateDecision:
    return GateDecision.approve(gate, by, at=at)


# --- what is held ---------------------------------------------------------------------------------------------------


def test_what_no_policy_holds_passes() -> None:
    assert desk(None).hold(drafted(), 1) is None
    assert desk().hold(drafted(key=ContextKey.SEEDS), 1) is None


def test_what_is_at_a_gate_asks_once_whoever_says_it() -> None:
    at = desk()
    held(at)
    assert isinstance(at.hold(drafted(proposer="other"), 1), ProposalDuplicate)
    assert isinstance(at.hold(drafted("other words"), 1), ProposalGated)
    assert len(at.waiting) == 2


def test_what_was_turned_down_does_not_ask_again() -> None:
    at = desk()
    at.turn_down(drafted())
    refused = at.hold(drafted(proposer="other"), 7)
    assert isinstance(refused, ProposalRejected)
    assert refused.code == "refused_before"


def test_a_gate_belongs_to_its_run_and_its_cycle() -> None:
    first = held(desk())
    assert held(desk()) == first
    assert held(desk(), cycle=2) != first


# --- what answers come to -------------------------------------------------------------------------------------------


def test_a_decision_is_told_with_the_authority_it_used() -> None:
    grants = ApprovalPolicy((AuthorityGrant("finance", ("ann",)),))
    at = desk(HitlPolicy(gated_keys=(SIGNALS,), approval=grants))
    gate = held(at)
    assert at.answer(GateDecision.reject(gate, "ann", "no")) == GateDecided(
        gate=gate, verdict="reject", actor="human:ann", authority="grant:finance"
    )
    assert at.waiting == []


def test_each_of_several_approvals_is_told_with_its_own_authority() -> None:
    grants = AuthorityGrant("lead", ("ann",)), AuthorityGrant("board", ("bob", "cyd"))
    at = desk(HitlPolicy(gated_keys=(SIGNALS,), approval=ApprovalPolicy(grants, needs=2)))
    gate = held(at)
    assert at.answer(approve(gate)) == ApprovalCounted(
        gate=gate, actor="human:ann", authority="grant:lead", have=1, needs=2
    )
    assert at.answer(approve(gate, "bob")) == GateDecided(
        gate=gate, verdict="approve", actor="human:bob", authority="grant:board (human:ann, human:bob)"
    )


@pytest.mark.parametrize("answered", [False, True])
def test_a_gate_that_is_decided_stays_so_when_the_run_has_moved_on(answered: bool) -> None:
    at = desk()
    gate = held(at)
    at.answer(approve(gate))
    if answered:
        at.clear()
    refused = at.answer(GateDecision.reject(gate, "bob"))
    assert refused == DecisionRefused(
        gate=gate, actor="human:bob", code="already_decided", reason="decided by human:ann"
    )


def test_nobody_waits_at_a_desk_that_was_cleared() -> None:
    at = desk()
    gates = [held(at, drafted(words)) for words in ("one", "two")]
    for gate in reversed(gates):
        at.answer(approve(gate))
    assert [gate.request.gate_id for gate in at.clear()] == gates, "merge order, not the order of answers"
    assert not at.is_busy
    assert isinstance(at.hold(drafted("one"), 2), ProposalGated), "another cycle may ask again"


def test_an_answer_that_leaves_the_gate_open_tells_nothing_more() -> None:
    levels = ApprovalPolicy((AuthorityGrant("team", ("ann",)), AuthorityGrant("boss", ("eve",), level=2)))
    escalating = TimeoutPolicy(60, TimeoutAction.ESCALATE)
    at = desk(HitlPolicy(gated_keys=(SIGNALS,), approval=levels, timeout=escalating))
    gate = held(at)
    assert at.answer(GateDecision.defer(gate, "ann")) is None
    assert at.answer(GateDecision(gate, Verdict.ESCALATE, POLICY)) is None
    assert [waiting.level for waiting in at.waiting] == [2]


def test_an_edit_that_is_no_payload_leaves_the_gate_open() -> None:
    at = desk()
    gate = held(at)
    wire = {"body": {"text": "x"}, "family": "converge.data", "version": 1}
    refused = at.answer(GateDecision(gate, Verdict.EDIT, Actor("ann"), payload=wire))  # type: ignore[arg-type]
    assert isinstance(refused, DecisionRefused)
    assert refused.code == "invalid_payload"
    assert isinstance(at.answer(GateDecision.edit(gate, "ann", TextPayload(text="x"))), GateDecided)


def test_time_does_not_go_back_for_authority_that_has_ended() -> None:
    scope = AuthorityScope(until="2026-10-31T12:00:00Z")
    grants = ApprovalPolicy((AuthorityGrant("ann", ("ann",), scope), AuthorityGrant("bob", ("bob",))))
    at = desk(HitlPolicy(gated_keys=(SIGNALS,), approval=grants))
    one, two = held(at, drafted("one")), held(at, drafted("two"))
    assert isinstance(at.answer(approve(one, "bob", at="2026-10-31T18:00:00Z")), GateDecided)
    refused = at.answer(approve(two, "ann", at="2026-10-31T11:00:00Z"))
    assert isinstance(refused, DecisionRefused)
    assert refused.code == "authority_expired"


# --- what a run tells -----------------------------------------------------------------------------------------------


def waiting(**settings: object) -> tuple[Convergence, str]:
    proposal = text("a", key=SIGNALS, evidence=["seeds/s", "mail:7"])
    run = engine_of(Says("rule", proposal), **{"hitl_policy": GATED, **settings}).begin(seeded("s"))
    gate = gates_of(advance(run))["signals/a"].gate_id
    run.drain()
    return run, gate


def test_a_refusal_states_what_it_is_about_and_what_that_rested_on() -> None:
    run, gate = waiting()
    run.decide([GateDecision.reject(gate, "ann", "too vague")])
    advance(run)
    (fact,) = run.result().context.get(ContextKey.DIAGNOSTIC, DiagnosticPayload)
    assert (fact.payload.source, fact.payload.about) == ("hitl", "signals/a")
    assert fact.evidence == ("seeds/s", "mail:7")


def test_a_time_out_is_no_refusal_by_a_human() -> None:
    run, gate = waiting()
    decision = GateDecision.reject(gate, POLICY, "no answer within 1800 s; the policy is to reject")
    assert run.decide([decision]) == ()
    advance(run)
    told = [entry.body for entry in run.drain() if entry.kind == "proposal_rejected"]
    assert '"code":"timed_out"' in told[0]
    assert "system:timeout-policy: no answer within 1800 s; the policy is to reject" in told[0]


def test_the_entries_after_an_answer_tell_what_it_came_to_and_who_still_waits() -> None:
    proposals = [text(name, key=SIGNALS) for name in "abc"]
    run = engine_of(Says("rule", *proposals), hitl_policy=GATED).begin(ContextState())
    gates = [request.gate_id for request in gates_of(advance(run)).values()]
    run.drain()
    for gate in gates[:2]:
        run.decide([approve(gate)])
        run.next()
    kinds = ["decision_received", "gate_decided", "run_paused"]
    entries = run.drain()
    assert [entry.kind for entry in entries] == kinds * 2
    assert [body_of(entry.body, "waiting") for entry in entries if entry.kind == "run_paused"] == ["2", "1"]


def body_of(body: str, name: str) -> str:
    return body.partition(f'"{name}":')[2].rstrip("}")


@pytest.mark.parametrize("rests", [True, False])
def test_no_time_passes_for_a_run_that_rests(rests: bool) -> None:
    """What waits for people, or has stopped, leaves no trace of being looked at."""
    run, gate = waiting(budget=Budget(time_limit_ms=1_000))
    if not rests:
        run.decide([approve(gate)])
        run.drain()
    run.observe_time(500)
    assert [entry.kind for entry in run.drain()] == ([] if rests else ["time_observed"])
