"""Human gates in a run: no back door, and a pause that is data."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest

from converge_core import (
    Actor,
    ActorKind,
    AwaitDecision,
    Context,
    ContextKey,
    ContextState,
    ConvergeResult,
    DataPayload,
    Engine,
    FactPayload,
    GateDecision,
    HitlPause,
    HitlPolicy,
    LedgerCorrupt,
    MisuseError,
    ProposalKind,
    ProposedFact,
    ReplayDifference,
    SetupChanged,
    Stopped,
    TextPayload,
    ValidationPolicy,
    Verdict,
    structural,
    suggestor,
)
from converge_core.engine.setup import ConflictPolicy
from converge_core.gates.stop import ConflictDetected, HitlGatePending
from tests.core.stage import (
    HYPOTHESES,
    SEEDS,
    SIGNALS,
    Says,
    advance,
    approve,
    bodies,
    data,
    defer,
    edit,
    engine_of,
    finish,
    gates_of,
    play,
    refs,
    reject,
    seeded,
    text,
)
from tests.fakes.approver import FakeApprover
from tests.fakes.ledger import FakeLedger

GATED = HitlPolicy(gated_keys=(SIGNALS,))
UNSURE = HitlPolicy(confidence_threshold=0.5)


def three_gated(**settings: object) -> Engine:
    """Three proposals at gates, and one that passes between them."""
    proposals = text("a", key=SIGNALS), text("free"), text("b", key=SIGNALS), text("c", key=SIGNALS)
    return engine_of(Says("rule", *proposals), **{"hitl_policy": GATED, **settings})


def pause_of(result: ConvergeResult) -> HitlPause:
    assert result.pause is not None
    return result.pause


def resume(engine: Engine, pause: HitlPause, *decisions: GateDecision) -> ConvergeResult:
    return finish(engine.resume(pause, decisions))


# --- the pause --------------------------------------------------------------------------------------------------------


def test_a_run_pauses_at_all_gates_of_a_cycle_at_once() -> None:
    played = play(three_gated())
    result, pause = played.result, pause_of(played.result)

    assert [request.ref for request in pause.requests] == ["signals/a", "signals/b", "signals/c"]
    assert result.stop_reason == HitlGatePending(tuple(request.gate_id for request in pause.requests), 1)
    assert not result.converged
    assert refs(result) == ["seeds/free"], "what needs no human is a fact already"
    assert [proposal.id for proposal in result.context.staged] == ["a", "b", "c"]
    assert played.kinds[-1] == "run_paused"


def test_the_threshold_is_inclusive_and_the_default_is_sure() -> None:
    proposals = [text("at", confidence=0.5), text("above", confidence=0.5000001), text("sure")]
    result = play(engine_of(Says("rule", *proposals), hitl_policy=UNSURE)).result
    assert [request.ref for request in pause_of(result).requests] == ["seeds/at"]


def test_inputs_pass_the_same_gates() -> None:
    context = seeded("s").add_input(SIGNALS, "a", "words")
    result = play(engine_of(hitl_policy=GATED), context).result
    (request,) = pause_of(result).requests
    assert (request.ref, request.proposer, request.cycle) == ("signals/a", "input", 0)


def test_a_pause_is_resumed_by_another_process_from_its_json() -> None:
    text = pause_of(play(three_gated()).result).to_json()

    pause = HitlPause.from_json(text)
    result = resume(three_gated(), pause, *(GateDecision.approve(r.gate_id, "ann") for r in pause.requests))

    assert result.converged
    assert refs(result) == ["seeds/free", "signals/a", "signals/b", "signals/c"]


def test_a_pause_can_be_resumed_more_than_once() -> None:
    pause = pause_of(play(engine_of(Says("rule", text("a", key=SIGNALS)), hitl_policy=GATED)).result)
    gate = pause.requests[0].gate_id
    engine = engine_of(Says("rule", text("a", key=SIGNALS)), hitl_policy=GATED)
    assert refs(resume(engine, pause, GateDecision.approve(gate, "ann"))) == ["signals/a"]
    assert not resume(engine, pause, GateDecision.reject(gate, "ann")).context.has(SIGNALS)


def test_a_pause_resumed_without_an_answer_is_the_same_pause() -> None:
    engine = three_gated()
    pause = pause_of(play(engine).result)
    assert pause_of(resume(engine, pause)) == pause


def test_gates_may_be_answered_one_by_one_across_pauses() -> None:
    engine = three_gated()
    pause = pause_of(play(engine).result)
    for left in (2, 1):
        pause = pause_of(resume(engine, pause, GateDecision.approve(pause.requests[-1].gate_id, "ann")))
        assert len(pause.requests) == left
    result = resume(engine, pause, GateDecision.approve(pause.requests[0].gate_id, "ann"))
    assert refs(result) == ["seeds/free", "signals/a", "signals/b", "signals/c"], "merge order, not answer order"


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_answers_in_any_order_come_to_the_same_facts(order: tuple[int, ...]) -> None:
    engine = three_gated()
    pause = pause_of(play(engine).result)
    answers = [approve(), reject(), edit(TextPayload(text="better"))]
    decisions = [answers[place](pause.requests[place].gate_id) for place in order]

    result = resume(engine, pause, *decisions)

    facts = {fact.ref: fact for fact in result.context.facts()}
    assert facts["signals/a"].payload == TextPayload(text="words")
    assert facts["signals/c"].payload == TextPayload(text="better")
    assert "signals/b" not in facts
    assert [fact.lamport for fact in result.context.facts()] == [1, 2, 3, 4]
    baseline = resume(engine, pause, *(answers[place](pause.requests[place].gate_id) for place in range(3)))
    assert result.integrity == baseline.integrity


def test_a_resumed_run_counts_time_on() -> None:
    """The original began at one again after a pause, and gave the same stamp twice."""
    engine = engine_of(
        Says("rule", text("s"), text("a", key=SIGNALS)),
        Says("next", text("h", key=HYPOTHESES), reads=[SIGNALS]),
        hitl_policy=GATED,
    )
    pause = pause_of(play(engine).result)
    result = resume(engine, pause, GateDecision.approve(pause.requests[0].gate_id, "ann"))
    assert [fact.lamport for fact in result.context.facts()] == [1, 2, 3]
    assert result.cycles == 3


def test_a_later_cycle_pauses_anew_after_a_resume() -> None:
    engine = engine_of(
        Says("rule", text("a", key=SIGNALS)),
        Says("next", text("b", key=SIGNALS), reads=[SIGNALS]),
        hitl_policy=GATED,
    )
    first = pause_of(play(engine).result)
    second = pause_of(resume(engine, first, GateDecision.approve(first.requests[0].gate_id, "ann")))
    assert [request.ref for request in second.requests] == ["signals/b"]
    assert (first.cycle, second.cycle) == (1, 2)


def test_with_a_ledger_the_pause_is_in_the_ledger() -> None:
    ledger = FakeLedger()
    result = play(three_gated(), ledger=ledger, run_id="r1").result
    assert pause_of(result).log == ()
    assert finish(ledger.read("r1"))[-1].kind == "run_paused"


# --- approve ----------------------------------------------------------------------------------------------------------


def test_the_approver_of_an_approved_fact_is_the_human() -> None:
    approver = FakeApprover({"signals/a": approve("ann")})
    result = play(engine_of(Says("rule", text("a", key=SIGNALS)), hitl_policy=GATED), approver=approver).result
    record = result.context.get(SIGNALS)[0].promotion
    assert record.approver == Actor("ann", ActorKind.HUMAN)
    assert record.gate_id == "human-approval"
    assert record.authority
    assert result.context.get(SIGNALS)[0].proposer == "rule"


def test_an_approval_does_not_open_the_other_gates() -> None:
    """The original promoted whatever came after the first gate, unasked."""
    approver = FakeApprover({"signals/a": approve(), "signals/b": reject(), "signals/c": reject()})
    result = play(three_gated(), approver=approver).result
    assert [fact.id for fact in result.context.get(SIGNALS)] == ["a"]


def test_an_approved_proposal_still_meets_the_fact_that_came_first() -> None:
    engine = engine_of(
        Says("sure", text("a", "one")), Says("unsure", text("a", "other", confidence=0.1)), hitl_policy=UNSURE
    )
    result = play(engine).result
    assert result.stop_reason == ConflictDetected("seeds/a", "unsure"), "a contradiction needs no human"


def test_two_gated_proposals_for_one_fact_cannot_both_be_approved() -> None:
    engine = engine_of(Says("x", text("a", "one", SIGNALS)), Says("y", text("a", "other", SIGNALS)), hitl_policy=GATED)
    pause = pause_of(play(engine).result)
    result = resume(engine, pause, *(GateDecision.approve(r.gate_id, "ann") for r in pause.requests))
    assert result.stop_reason == ConflictDetected("signals/a", "y")
    assert result.context.get(SIGNALS)[0].payload == TextPayload(text="one")


def test_structure_is_checked_after_the_answers_too() -> None:
    engine = engine_of(Says("rule", text("a", key=SIGNALS)), hitl_policy=GATED)
    engine.register_invariant(structural(lambda ctx: "no signals" if ctx.has(SIGNALS) else None))
    result = play(engine, approver=FakeApprover({"signals/a": approve()})).result
    assert str(result.stop_reason).startswith("Structural invariant")


# --- reject -----------------------------------------------------------------------------------------------------------


def test_a_rejection_is_shown_and_stated() -> None:
    engine = engine_of(Says("rule", text("a", key=SIGNALS)), hitl_policy=GATED)
    played = play(engine, approver=FakeApprover({"signals/a": reject("ann", "too vague")}))

    rejected = played.bodies("proposal_rejected")[0]
    assert (rejected["code"], rejected["reason"]) == ("rejected_by_human", "human:ann: too vague")
    (statement,) = played.result.context.get(ContextKey.DIAGNOSTIC)
    assert statement.payload.summary() == "HITL gate rejected proposal 'a' by ann: too vague"
    assert (statement.proposer, statement.promotion.approver.kind) == ("converge-engine", ActorKind.SYSTEM)


def test_what_a_human_rejected_does_not_ask_again() -> None:
    approver = FakeApprover({"signals/a": reject()})
    played = play(engine_of(Says("rule", text("a", key=SIGNALS)), hitl_policy=GATED), approver=approver)
    assert approver.asked == [("signals/a",)]
    assert [body["code"] for body in played.bodies("proposal_rejected")] == ["rejected_by_human", "refused_before"]
    assert played.result.converged


def test_what_a_human_rejected_does_not_slip_in_when_the_proposer_is_surer() -> None:
    @suggestor
    def insists(ctx: Context) -> ProposedFact[FactPayload]:
        return text("a", key=SIGNALS, confidence=0.5 if ctx.version == 0 else 1.0)

    approver = FakeApprover({"signals/a": reject()})
    played = play(engine_of(insists, hitl_policy=UNSURE), approver=approver)
    assert not played.result.context.has(SIGNALS)
    assert played.bodies("proposal_rejected")[-1]["code"] == "refused_before"


def test_another_proposer_cannot_bring_what_a_human_rejected() -> None:
    engine = engine_of(
        Says("x", text("a", key=SIGNALS, confidence=0.1)),
        Says("y", text("a", key=SIGNALS, provenance="elsewhere"), reads=[ContextKey.DIAGNOSTIC]),
        hitl_policy=UNSURE,
    )
    assert not play(engine, approver=FakeApprover({"signals/a": reject()})).result.context.has(SIGNALS)


def test_other_content_may_ask_again() -> None:
    @suggestor
    def learns(ctx: Context) -> Iterable[ProposedFact[FactPayload]]:
        if not ctx.has(SIGNALS):
            yield text("a", f"draft {ctx.version}", SIGNALS)

    run = engine_of(learns, hitl_policy=GATED).begin(ContextState())
    first = gates_of(advance(run))["signals/a"]
    run.decide([GateDecision.reject(first.gate_id, "ann")])
    second = gates_of(advance(run))["signals/a"]
    assert (first.summary, second.summary) == ("draft 0", "draft 1")
    assert first.gate_id != second.gate_id


def test_a_rejection_is_remembered_across_a_resume() -> None:
    engine = engine_of(Says("rule", text("a", key=SIGNALS), text("b", key=SIGNALS)), hitl_policy=GATED)
    first = pause_of(play(engine).result)
    second = pause_of(resume(engine, first, GateDecision.reject(first.requests[0].gate_id, "ann")))
    result = resume(engine, second, GateDecision.approve(second.requests[0].gate_id, "ann"))
    assert result.converged
    assert [fact.id for fact in result.context.get(SIGNALS)] == ["b"]


def test_a_rejection_does_not_last_beyond_its_run() -> None:
    engine = engine_of(Says("rule", text("a", key=SIGNALS)), hitl_policy=GATED)
    play(engine, approver=FakeApprover({"signals/a": reject()}))
    assert pause_of(play(engine).result).requests[0].ref == "signals/a"


# --- edit -------------------------------------------------------------------------------------------------------------


def test_an_edit_is_a_proposal_of_the_human() -> None:
    engine = engine_of(Says("rule", text("a", key=SIGNALS, confidence=0.2)), hitl_policy=GATED)
    played = play(engine, approver=FakeApprover({"signals/a": edit(TextPayload(text="better"), "ann")}))
    (fact,) = played.result.context.get(SIGNALS)
    assert fact.payload == TextPayload(text="better")
    assert (fact.proposer, fact.provenance, fact.confidence) == ("human:ann", "human:ann", 1.0)
    assert fact.promotion.approver == Actor("ann")


def test_an_edit_stays_within_the_family_of_the_payload() -> None:
    engine = engine_of(Says("rule", text("a", key=SIGNALS)), hitl_policy=GATED)
    played = play(engine, approver=FakeApprover({"signals/a": edit(DataPayload(data={"n": 1.0}))}))
    assert [body["code"] for body in played.bodies("decision_refused")] == ["invalid_payload"]
    assert pause_of(played.result).requests[0].ref == "signals/a", "it still waits"


def test_an_edit_passes_the_gates_like_any_proposal() -> None:
    engine = engine_of(
        Says("rule", text("a", key=SIGNALS), text("b", key=SIGNALS)),
        hitl_policy=GATED,
        validation=ValidationPolicy(("short",)),
    )
    engine.register_check("short", lambda p, ctx: "too long" if len(p.payload.summary()) > 5 else None)
    approver = FakeApprover(
        {"signals/a": edit(TextPayload(text="far too long")), "signals/b": edit(TextPayload(text=" "))}
    )
    played = play(engine, approver=approver)
    assert not played.result.context.has(SIGNALS)
    rejected = [(body["proposer"], body["code"]) for body in played.bodies("proposal_rejected")]
    assert rejected[:2] == [("human:ann", "check_failed"), ("human:ann", "blank_text")]


def test_an_edit_that_contradicts_a_fact_is_a_conflict() -> None:
    engine = engine_of(
        Says("x", text("a", "one", SIGNALS)),
        Says("y", text("a", "two", SIGNALS)),
        hitl_policy=GATED,
        conflict_policy=ConflictPolicy.REJECT,
    )
    pause = pause_of(play(engine).result)
    first, second = (request.gate_id for request in pause.requests)
    result = resume(
        engine,
        pause,
        GateDecision.approve(first, "ann"),
        GateDecision.edit(second, "ann", TextPayload(text="three")),
    )
    assert [fact.payload.summary() for fact in result.context.get(SIGNALS)] == ["one"]


# --- defer ------------------------------------------------------------------------------------------------------------


def test_a_deferred_gate_stays_open_and_the_run_pauses() -> None:
    approver = FakeApprover({"signals/a": approve(), "signals/b": [defer(), defer()], "signals/c": [defer(), defer()]})
    played = play(three_gated(), approver=approver)

    assert [request.ref for request in pause_of(played.result).requests] == ["signals/b", "signals/c"]
    assert approver.asked == [("signals/a", "signals/b", "signals/c"), ("signals/b", "signals/c")], (
        "and no further time"
    )
    verdicts = [body["verdict"] for body in played.bodies("decision_received")]
    assert verdicts == ["approve", "defer", "defer", "defer", "defer"]


def test_an_approver_without_an_answer_pauses_the_run() -> None:
    class Nobody:
        async def decide(self, requests: object) -> tuple[GateDecision, ...]:
            return ()

    played = play(three_gated(), approver=Nobody())
    assert len(pause_of(played.result).requests) == 3
    assert "decision_received" not in played.kinds


# --- answers that do not count ----------------------------------------------------------------------------------------


def refused(engine: Engine, *decisions: GateDecision) -> list[str]:
    run = engine.begin(ContextState())
    advance(run)
    return [refusal.code for refusal in run.decide(decisions)]


def test_a_decision_for_an_unknown_gate_is_refused_and_recorded() -> None:
    engine = three_gated()
    run = engine.begin(ContextState())
    advance(run)
    run.drain()

    (refusal,) = run.decide([GateDecision.approve("gate-0", "ann")])

    assert (refusal.code, refusal.gate, refusal.actor) == ("unknown_gate", "gate-0", "human:ann")
    assert [entry.kind for entry in run.drain()] == ["decision_received", "decision_refused"]
    assert isinstance(run.next(), AwaitDecision), "nothing else has changed"
    assert run.drain() == []


def test_a_second_decision_is_refused_whatever_it_says() -> None:
    engine = three_gated()
    gate = pause_of(play(engine).result).requests[0].gate_id
    first = GateDecision.approve(gate, "ann")
    assert refused(engine, first, first, GateDecision.reject(gate, "bob"), GateDecision.defer(gate, "bob")) == [
        "already_decided",
        "already_decided",
        "already_decided",
    ]


def test_a_decision_for_another_run_is_refused() -> None:
    engine = three_gated()
    theirs = pause_of(play(engine, run_id="their-run").result)
    mine = pause_of(play(engine, run_id="my-run").result)
    with pytest.raises(MisuseError, match="no such gate is open"):
        resume(engine, mine, GateDecision.approve(theirs.requests[0].gate_id, "ann"))


def test_a_decision_for_a_gate_of_an_earlier_cycle_is_refused() -> None:
    engine = engine_of(
        Says("rule", text("a", key=SIGNALS)),
        Says("next", text("b", key=SIGNALS), reads=[SIGNALS]),
        hitl_policy=GATED,
    )
    run = engine.begin(ContextState())
    old = gates_of(advance(run))["signals/a"].gate_id
    run.decide([GateDecision.approve(old, "ann")])
    advance(run)
    assert [refusal.code for refusal in run.decide([GateDecision.reject(old, "ann")])] == ["already_decided"]


@pytest.mark.parametrize(
    "wire",
    [
        {"family": "test.unknown", "version": 1, "body": {}},
        {"family": "converge.text", "version": 1, "body": {"words": "x"}},
        {"family": "converge.text", "version": 9, "body": {"text": "x"}},
        {"family": "converge.text", "version": "one", "body": {"text": "x"}},
        {"family": "converge.text", "version": 1},
        {},
    ],
    ids=str,
)
def test_an_edit_that_cannot_be_read_is_refused_and_the_gate_stays_open(wire: dict[str, object]) -> None:
    engine = three_gated()
    gate = pause_of(play(engine).result).requests[0].gate_id
    decision = GateDecision(gate, Verdict.EDIT, Actor("ann"), payload=wire)  # type: ignore[arg-type]
    assert refused(engine, decision, GateDecision.approve(gate, "ann")) == ["invalid_payload"]


def test_an_edit_over_the_size_limit_is_refused() -> None:
    engine = three_gated(validation=ValidationPolicy(max_payload_bytes=40))
    gate = pause_of(play(engine).result).requests[0].gate_id
    assert refused(engine, GateDecision.edit(gate, "ann", TextPayload(text="x" * 40))) == ["payload_too_large"]


def test_a_resume_with_an_answer_that_does_not_count_changes_nothing() -> None:
    engine = three_gated()
    pause = pause_of(play(engine).result)
    with pytest.raises(MisuseError, match="gate-0: no such gate is open in this run"):
        resume(engine, pause, GateDecision.approve("gate-0", "ann"))
    assert pause_of(resume(engine, pause)) == pause


def test_a_machine_cannot_approve_what_a_machine_proposed() -> None:
    engine = three_gated()
    gate = pause_of(play(engine).result).requests[0].gate_id
    assert refused(engine, GateDecision.approve(gate, Actor("judge", ActorKind.SUGGESTOR))) == ["no_authority"]


# --- the same content twice -------------------------------------------------------------------------------------------


def test_the_same_content_from_two_proposers_asks_once() -> None:
    engine = engine_of(
        Says("x", text("a", key=SIGNALS, confidence=0.1)),
        Says("y", text("a", key=SIGNALS, confidence=0.2)),
        hitl_policy=UNSURE,
    )
    played = play(engine)
    assert len(pause_of(played.result).requests) == 1
    assert [(body["proposer"], body["code"]) for body in played.bodies("proposal_duplicate")] == [("y", "gated")]


def test_content_at_a_gate_does_not_pass_in_the_name_of_somebody_surer() -> None:
    engine = engine_of(
        Says("x", text("a", key=SIGNALS, confidence=0.1)), Says("y", text("a", key=SIGNALS)), hitl_policy=UNSURE
    )
    result = play(engine, approver=FakeApprover({"signals/a": reject()})).result
    assert not result.context.has(SIGNALS)


def test_a_proposal_that_is_a_fact_already_needs_no_human() -> None:
    engine = engine_of(
        Says("sure", text("a")), Says("unsure", text("a", confidence=0.1), reads=[SEEDS]), hitl_policy=UNSURE
    )
    assert play(engine).result.converged


# --- another engine, another log --------------------------------------------------------------------------------------


def test_a_pause_is_not_resumed_by_an_engine_of_another_setup() -> None:
    pause = pause_of(play(three_gated()).result)
    with pytest.raises((ReplayDifference, SetupChanged)):
        resume(three_gated(hitl_policy=UNSURE), pause)


def test_a_pause_without_its_log_cannot_be_resumed() -> None:
    pause = pause_of(play(three_gated()).result)
    with pytest.raises(LedgerCorrupt):
        resume(three_gated(), HitlPause(pause.run_id, pause.cycle, pause.requests, ()))


def test_the_bytes_of_a_run_do_not_depend_on_where_it_was_paused() -> None:
    script = {"signals/a": approve(), "signals/b": reject(), "signals/c": approve()}
    at_once = play(three_gated(), approver=FakeApprover(script))

    run = three_gated().begin(ContextState())
    step = advance(run)
    run.decide([script[ref](request.gate_id) for ref, request in gates_of(step).items()])
    assert isinstance(advance(run), Stopped)

    assert bodies(run.drain()) == bodies(at_once.log)


def test_free_data_can_be_gated_by_its_kind_of_statement() -> None:
    engine = engine_of(
        Says("rule", data("p", ContextKey.STRATEGIES, n=1), text("s")),
        hitl_policy=HitlPolicy(gated_kinds=(ProposalKind.PLAN,)),
    )
    assert [request.ref for request in pause_of(play(engine).result).requests] == ["strategies/p"]


def test_every_proposal_of_a_suggestor_can_be_gated() -> None:
    engine = engine_of(
        Says("model", text("m")), Says("rule", text("r")), hitl_policy=HitlPolicy(gated_suggestors=("model",))
    )
    assert [request.ref for request in pause_of(play(engine).result).requests] == ["seeds/m"]
