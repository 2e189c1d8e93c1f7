"""History: what the entries of a run tell, tied together, without any plugin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from converge_core import (
    Actor,
    ActorKind,
    Convergence,
    Entry,
    GateDecision,
    HitlPolicy,
    LedgerCorrupt,
    TextPayload,
    TimeoutAction,
    TimeoutPolicy,
    Verdict,
)
from converge_core.gates.authority import ApprovalPolicy, AuthorityGrant
from converge_core.ledger.canonical import JsonValue
from converge_core.ledger.events import CorrectionEvent, EffectReceived, ProposalGated, read_event
from converge_core.ledger.history import History
from tests.core.stage import (
    HYPOTHESES,
    SEEDS,
    SIGNALS,
    Played,
    Says,
    advance,
    approve,
    edit,
    engine_of,
    gates_of,
    play,
    reject,
    seeded,
    text,
)
from tests.fakes.approver import Answer, FakeApprover

REF = "hypotheses/x"


def gated(answer: Answer) -> Played:
    """A run whose only proposal waits for a human, who gives this answer."""
    engine = engine_of(Says("guesses", text("x", key=HYPOTHESES)), hitl_policy=HitlPolicy(gated_keys=(HYPOTHESES,)))
    return play(engine, approver=FakeApprover({REF: answer}))


def paused(**settings: object) -> tuple[Convergence, str]:
    """A machine that waits at one gate, and the gate's id."""
    policy = HitlPolicy(gated_keys=(HYPOTHESES,), **settings)  # type: ignore[arg-type]  # settings of the policy
    run = engine_of(Says("guesses", text("x", key=HYPOTHESES)), hitl_policy=policy).begin(seeded(), run_id="run")
    return run, gates_of(advance(run))[REF].gate_id


def told(run: Convergence) -> History:
    return History.of(run.drain())


def altered(played: Played, kind: str, change: Callable[[str], str]) -> list[Entry]:
    """The entries of a run, with the bodies of one kind rewritten."""
    return [Entry.of(change(entry.body)) if entry.kind == kind else entry for entry in played.log]


# --- gates ----------------------------------------------------------------------------------------------------------


def test_an_approved_fact_is_tied_to_its_gate() -> None:
    fact = History.of(gated(approve()).log).facts[REF]
    assert fact.gate is not None
    assert fact.gate.decision is not None
    assert (fact.gate.decision.actor, fact.gate.edited) == ("human:ann", None)


def test_an_edited_fact_is_tied_to_the_gate_whose_proposal_it_replaces() -> None:
    fact = History.of(gated(edit(TextPayload(text="better"))).log).facts[REF]
    assert fact.body == {"text": "better"}
    assert fact.gate is not None
    assert fact.gate.proposal["payload"]["body"] == {"text": "words"}
    assert fact.gate.edited == fact.promotion["proposal"]


def test_a_rejected_proposal_leaves_a_decided_gate_and_no_fact() -> None:
    history = History.of(gated(reject(reason="no")).log)
    assert REF not in history.facts
    assert history.open_gates() == []


def test_of_two_edits_by_one_person_each_is_tied_to_its_own_gate() -> None:
    engine = engine_of(
        Says("one", text("x", "first", key=HYPOTHESES)),
        Says("two", text("y", "second", key=HYPOTHESES)),
        hitl_policy=HitlPolicy(gated_keys=(HYPOTHESES,)),
    )
    answers = {REF: edit(TextPayload(text="1st")), "hypotheses/y": edit(TextPayload(text="2nd"))}
    facts = History.of(play(engine, approver=FakeApprover(answers)).log).facts
    gates = [facts[ref].gate for ref in answers]
    assert [gate and gate.proposal["payload"]["body"]["text"] for gate in gates] == ["first", "second"]


def test_an_approval_that_another_has_to_join_leaves_the_gate_open() -> None:
    run, gate = paused(approval=ApprovalPolicy(needs=2))
    run.decide([GateDecision.approve(gate, "ann")])
    history = told(run)
    assert [gate.gate for gate in history.open_gates()] == [gate]
    assert [approval.actor for approval in history.gates[gate].approvals] == ["human:ann"]


def test_the_last_approval_that_is_needed_decides() -> None:
    run, gate = paused(approval=ApprovalPolicy(needs=2))
    run.decide([GateDecision.approve(gate, "ann"), GateDecision.approve(gate, "bob")])
    decision = told(run).gates[gate].decision
    assert decision is not None
    assert decision.actor == "human:bob"


def test_a_second_answer_that_is_refused_leaves_the_first() -> None:
    run, gate = paused()
    run.decide([GateDecision.approve(gate, "ann"), GateDecision.reject(gate, "bob")])
    decision = told(run).gates[gate].decision
    assert decision is not None
    assert decision.actor == "human:ann"


def test_an_answer_that_comes_when_the_gate_has_long_been_passed_does_not_open_it_again() -> None:
    run, gate = paused()
    run.decide([GateDecision.approve(gate, "ann")])
    advance(run)
    run.decide([GateDecision.reject(gate, "bob")])
    decision = told(run).gates[gate].decision
    assert decision is not None
    assert decision.actor == "human:ann"


def test_an_escalated_gate_is_open() -> None:
    boss = ApprovalPolicy((AuthorityGrant("team", ("ann",)), AuthorityGrant("boss", ("eve",), level=2)))
    run, gate = paused(approval=boss, timeout=TimeoutPolicy(action=TimeoutAction.ESCALATE))
    assert run.decide([GateDecision(gate, Verdict.ESCALATE, Actor("clock", ActorKind.SYSTEM))]) == ()
    assert [gate.gate for gate in told(run).open_gates()] == [gate]


# --- proposals and corrections --------------------------------------------------------------------------------------


def test_of_equal_proposals_of_two_suggestors_a_fact_names_the_entry_of_its_own_proposer() -> None:
    same = text("x", key=HYPOTHESES, provenance="the same source")
    played = play(engine_of(Says("one", same), Says("two", same)))
    effects = [place for place, entry in enumerate(played.log) if entry.kind == EffectReceived.kind]
    fact = History.of(played.log).facts[REF]
    assert (fact.promotion["proposer"], fact.proposed_at) == ("one", effects[0])


def test_what_was_turned_away_can_be_read() -> None:
    engine = engine_of(Says("one", text("x", "mine", key=SIGNALS), text("x", "yours", key=SIGNALS)))
    history = History.of(play(engine).log)
    [conflict] = history.refused
    proposal = history.proposal("one", str(conflict.to_json()["proposal"]))
    assert proposal is not None
    assert proposal["payload"]["body"] == {"text": "yours"}


def correct(run: Convergence, fact: str, words: str, actor: str = "human:ann") -> None:
    payload: dict[str, JsonValue] = {"body": {"text": words}, "family": "converge.text", "version": 1}
    run.correct(CorrectionEvent(fact=fact, actor=actor, reason_code="data_error", reason=words, payload=payload))


def test_corrections_are_tied_to_what_was_asked_for_in_the_order_in_which_it_was() -> None:
    run = engine_of().begin(seeded("a", "b"), run_id="run")
    advance(run)
    run.reopen()
    correct(run, "seeds/b", "for b")
    correct(run, "seeds/unknown", "refused")
    correct(run, "seeds/a", "for a")
    advance(run)
    run.reopen()
    correct(run, "seeds/a~2", "for a, again", "human:bob")
    advance(run)
    history = told(run)
    corrections = {ref: fact.correction.reason for ref, fact in history.facts.items() if fact.correction is not None}
    assert corrections == {"seeds/b~2": "for b", "seeds/a~2": "for a", "seeds/a~3": "for a, again"}
    assert history.superseded == {"seeds/b": "seeds/b~2", "seeds/a": "seeds/a~2", "seeds/a~2": "seeds/a~3"}


# --- what is no history ---------------------------------------------------------------------------------------------


def corrupt(entries: Sequence[Entry]) -> str:
    with pytest.raises(LedgerCorrupt) as caught:
        History.of(entries)
    return str(caught.value)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"id":"a"', '"id":["a"]'),
        ('"payload":{', '"payload":7,"x":{'),
        ('"confidence":1', '"confidence":"1"'),
        ('"id":"a"', '"evidence":"seeds/b","id":"a"'),
        ('"proposal":{', '"proposal":"text","x":{'),
    ],
)
def test_a_proposal_of_another_form_is_refused(old: str, new: str) -> None:
    played = play(engine_of(), seeded("a"))
    assert "entry 1: expected an event that fits" in corrupt(
        altered(played, "input_admitted", lambda body: body.replace(old, new, 1))
    )


def test_a_promotion_carried_over_with_a_field_of_another_type_is_refused() -> None:
    carried = play(engine_of(), play(engine_of(), seeded("a")).result.context, run_id="next")
    odd = altered(carried, "fact_carried", lambda body: body.replace('"lamport":1', '"lamport":true'))
    assert "lamport is a bool" in corrupt(odd)


def test_a_promotion_under_the_name_of_another_fact_is_refused() -> None:
    played = play(engine_of(), seeded("a"))
    renamed = altered(played, "fact_promoted", lambda body: body.replace('"id":"a"', '"id":"b"'))
    assert "seeds/b is promoted for a proposal of another fact" in corrupt(renamed)


def test_a_gate_for_a_proposal_that_nobody_made_is_refused() -> None:
    played = gated(approve())
    event = read_event(next(entry.body for entry in played.log if entry.kind == ProposalGated.kind))
    assert isinstance(event, ProposalGated)
    stranger = replace(event, proposal="0" * 64).body()
    assert "proposal_gated" in corrupt(altered(played, ProposalGated.kind, lambda _: stranger))


@pytest.mark.parametrize("old", ["seeds/b", "seeds/z"])
def test_nothing_supersedes_itself_or_what_is_no_fact(old: str) -> None:
    played = play(engine_of(), seeded("a", "b"))
    odd = altered(played, "fact_promoted", lambda body: body.replace("}", f',"supersedes":"{old}"}}'))
    assert f"seeds/a is to supersede {old}, which is no current fact" in corrupt(odd)


def test_two_facts_cannot_supersede_one() -> None:
    played = play(engine_of(), seeded("a", "b", "c"))

    def claims(body: str) -> str:
        return body if '"id":"a"' in body else body.replace("}", ',"supersedes":"seeds/a"}')

    assert "seeds/c is to supersede seeds/a" in corrupt(altered(played, "fact_promoted", claims))


def test_a_fact_is_promoted_once() -> None:
    played = play(engine_of(), seeded("a"))
    again = [entry for entry in played.log if entry.kind == "fact_promoted"]
    assert "seeds/a is promoted twice" in corrupt([*played.log, *again])


def test_a_gate_that_nobody_has_answered_is_not_decided() -> None:
    played = gated(approve())
    silent = [entry for entry in played.log if entry.kind != "decision_received"]
    assert "is decided, and nobody has answered" in corrupt(silent)


def test_evidence_is_what_the_proposal_cites() -> None:
    engine = engine_of(
        Says("one", text("x", key=HYPOTHESES, evidence=["seeds/a", "https://example.com"]), reads=[SEEDS])
    )
    facts = History.of(play(engine, seeded("a")).log).facts
    assert facts[REF].evidence == ("seeds/a", "https://example.com")
    assert facts["seeds/a"].evidence == ()
