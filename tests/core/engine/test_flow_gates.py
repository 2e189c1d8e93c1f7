"""Flow gates in a run: who may propose, what passes, and what a fixed point counts for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_core import (
    Actor,
    ActorKind,
    AllowAllFlowGateAuthorizer,
    AuthorityLevel,
    AwaitDecision,
    Budget,
    Context,
    ContextKey,
    ContextState,
    Criterion,
    DataPayload,
    Engine,
    Entry,
    FactPayload,
    FlowAction,
    FlowGateDecision,
    FlowGateInput,
    FlowGateOutcome,
    FlowPhase,
    GateDecision,
    HitlPause,
    HitlPolicy,
    InvariantClass,
    MisuseError,
    PhasePayload,
    ProposedFact,
    RejectAllFlowGateAuthorizer,
    RootIntent,
    SetupChanged,
    Stopped,
    TimeoutAction,
    TimeoutPolicy,
    Violation,
    current_phase,
    replay,
    suggestor,
)
from converge_core.gates.flow import CommitmentPayload
from converge_core.gates.stop import CommitRefused, Converged, FactBudgetExhausted, HitlGatePending, StopReason
from converge_core.invariants import FunctionInvariant
from converge_core.ledger.events import CorrectionEvent
from tests.core.scenarios import Everything
from tests.core.stage import (
    SEEDS,
    SIGNALS,
    Played,
    Says,
    advance,
    approve,
    data,
    edit,
    engine_of,
    gates_of,
    play,
    refs,
    reject,
    seeded,
    text,
)
from tests.fakes.approver import Answer, FakeApprover
from tests.fakes.authorizer import FakeAuthorizer

PROMOTE, REJECT, ESCALATE = FlowGateOutcome.PROMOTE, FlowGateOutcome.REJECT, FlowGateOutcome.ESCALATE
GATED = [FlowAction.PROPOSE, FlowAction.VALIDATE, FlowAction.PROMOTE]
NEVER = FunctionInvariant("never", InvariantClass.ACCEPTANCE, lambda ctx: Violation("never"))
COMMITTED = "consensus_outcomes/commitment:1"


def phase(phase: FlowPhase) -> ProposedFact[FactPayload]:
    return ProposedFact(ContextKey.STRATEGIES, f"phase:{phase}", PhasePayload(phase=phase))


def one(flow: FakeAuthorizer, proposal: ProposedFact[FactPayload] | None = None, **settings: Any) -> Engine:
    return engine_of(Says("rule", proposal or text("a"), reads=[SIGNALS]), flow=flow, **settings)


def started(engine: Engine, answers: Mapping[str, Answer | Sequence[Answer]] | None = None) -> Played:
    """Play a run of an input that wakes the suggestors; its own way is not what is looked at."""
    return play(engine, ContextState().add_input(SIGNALS, "go", "go"), approver=FakeApprover(answers or {}))


def by_action(action: FlowAction, outcome: FlowGateOutcome, ref: str = "seeds/a") -> FakeAuthorizer:
    return FakeAuthorizer({f"{action} {ref}": outcome})


def replayed(engine: Engine, log: Sequence[Entry]) -> None:
    run = replay(engine, log)
    assert run.pending == 0


# --- every action, every outcome --------------------------------------------------------------------------------------


def test_a_run_asks_about_everything_in_the_order_of_its_gates() -> None:
    flow = FakeAuthorizer()
    played = started(one(flow))
    assert played.result.stop_reason == Converged()
    assert [(question.action.value, question.resource.id) for question in flow.asked] == [
        ("propose", "signals/go"),
        ("validate", "signals/go"),
        ("promote", "signals/go"),
        ("propose", "seeds/a"),
        ("validate", "seeds/a"),
        ("promote", "seeds/a"),
        ("commit", "consensus_outcomes/commitment:2"),
    ]


@pytest.mark.parametrize("action", GATED)
def test_a_proposal_that_is_rejected_is_turned_away_visibly_and_the_run_goes_on(action: FlowAction) -> None:
    played = started(one(by_action(action, REJECT)))
    assert refs(played.result) == ["signals/go", COMMITTED]
    (rejected,) = played.bodies("proposal_rejected")
    assert (rejected["code"], rejected["id"]) == ("flow_gate", "a")
    assert rejected["reason"] == f"{action}: because (fake:1)"
    assert played.result.stop_reason == Converged()


@pytest.mark.parametrize("action", GATED)
def test_a_proposal_that_is_escalated_waits_for_a_human_and_then_passes(action: FlowAction) -> None:
    flow = by_action(action, ESCALATE)
    played = started(one(flow), {"seeds/a": approve("ann")})
    (gated,) = played.bodies("proposal_gated")
    assert (gated["code"], gated["reason"]) == ("escalated", f"{action}: because (fake:1)")
    fact = played.result.context.resolve("seeds/a")
    assert fact is not None
    assert str(fact.promotion.approver) == "human:ann"
    assert [q.human_approval_present for q in flow.questions(action) if q.resource.id == "seeds/a"] == [False, True]


@pytest.mark.parametrize("action", GATED)
def test_a_proposal_that_is_escalated_and_refused_by_a_human_is_no_fact(action: FlowAction) -> None:
    played = started(one(by_action(action, ESCALATE)), {"seeds/a": reject("ann", "no")})
    assert played.result.context.resolve("seeds/a") is None
    (rejected,) = played.bodies("proposal_rejected")
    assert (rejected["code"], rejected["reason"]) == ("rejected_by_human", "human:ann: no")


def test_a_human_is_asked_once_however_many_actions_are_escalated() -> None:
    flow = FakeAuthorizer({f"{action} seeds/a": ESCALATE for action in GATED})
    played = started(one(flow), {"seeds/a": approve("ann")})
    assert len(played.bodies("proposal_gated")) == 1
    assert "seeds/a" in refs(played.result)


def test_no_human_is_asked_about_what_is_not_valid() -> None:
    flow = by_action(FlowAction.PROPOSE, ESCALATE, "seeds/blank")
    played = started(one(flow, text("blank", " ")))
    assert played.bodies("proposal_gated") == []
    assert [body["code"] for body in played.bodies("proposal_rejected")] == ["blank_text"]


def test_no_human_is_asked_twice_about_what_is_a_fact_already() -> None:
    flow = by_action(FlowAction.PROPOSE, ESCALATE)
    engine = one(flow)
    engine.register_suggestor(Says("echo", text("a"), reads=[SEEDS]))
    played = started(engine, {"seeds/a": approve("ann")})
    assert len(played.bodies("proposal_gated")) == 1
    assert [body["code"] for body in played.bodies("proposal_duplicate")] == ["fact"]


def test_a_human_who_approves_does_not_overrule_a_policy() -> None:
    class Strict(FakeAuthorizer):
        def decide(self, question: FlowGateInput) -> FlowGateDecision:
            outcome = REJECT if question.human_approval_present else ESCALATE
            return FlowGateDecision(outcome if question.resource.id == "seeds/a" else PROMOTE, "never")

    played = started(one(Strict()), {"seeds/a": approve("ann")})
    assert played.result.context.resolve("seeds/a") is None
    (rejected,) = played.bodies("proposal_rejected")
    assert (rejected["code"], rejected["reason"]) == ("flow_gate", "propose: never")


def test_the_time_out_of_a_gate_is_no_human() -> None:
    """`approve` as the time-out action lets low confidence pass, not what a policy wants a person to see."""
    policy = HitlPolicy(timeout=TimeoutPolicy(60, TimeoutAction.APPROVE))
    run = one(by_action(FlowAction.PROMOTE, ESCALATE), hitl_policy=policy).begin(
        ContextState().add_input(SIGNALS, "go", "go")
    )
    gate = gates_of(advance(run))["seeds/a"]
    assert run.decide([GateDecision.approve(gate.gate_id, Actor("timeout", ActorKind.SYSTEM))]) == ()
    step = advance(run)
    assert isinstance(step, Stopped)
    assert step.result.context.resolve("seeds/a") is None


def test_what_a_person_puts_in_the_place_of_a_proposal_is_asked_about_too() -> None:
    flow = FakeAuthorizer({"promote seeds/a": ESCALATE})
    played = started(one(flow, data("a", amount=900)), {"seeds/a": edit(DataPayload(data={"amount": 5}), "ann")})
    edited = [question for question in flow.questions(FlowAction.PROMOTE) if question.amount == 5]
    assert [(q.principal.id, q.principal.authority, q.human_approval_present) for q in edited] == [
        ("human:ann", AuthorityLevel.SOVEREIGN, True)
    ]
    fact = played.result.context.find(SEEDS, "a", DataPayload)
    assert fact is not None
    assert fact.payload["amount"] == 5


def test_a_flow_gate_and_a_human_policy_ask_one_human_together() -> None:
    engine = one(by_action(FlowAction.PROMOTE, ESCALATE), hitl_policy=HitlPolicy(gated_keys=(SEEDS,)))
    played = started(engine, {"seeds/a": approve("ann")})
    assert len(played.bodies("proposal_gated")) == 1
    assert "seeds/a" in refs(played.result)


def test_a_correction_passes_the_flow_gate() -> None:
    flow = FakeAuthorizer({"promote seeds/a~2": REJECT})
    run = engine_of(flow=flow).begin(ContextState().add_input(SEEDS, "a", "old"))
    advance(run)
    run.correct(
        CorrectionEvent(
            fact="seeds/a",
            actor="human:ann",
            reason_code="data_error",
            reason="typo",
            payload={"body": {"text": "new"}, "family": "converge.text", "version": 1},
        )
    )
    run.reopen()
    step = advance(run)
    assert isinstance(step, Stopped)
    assert step.result.context.resolve("seeds/a~2") is None
    assert [(q.principal.id, q.human_approval_present) for q in flow.questions(FlowAction.PROMOTE)][-1] == (
        "human:ann",
        True,
    )


@pytest.mark.parametrize("outcome", [REJECT, ESCALATE])
def test_what_the_engine_states_is_nobodys_to_refuse(outcome: FlowGateOutcome) -> None:
    flow = FakeAuthorizer(dict.fromkeys(FlowAction, outcome))
    engine = engine_of(flow=flow)
    engine.register_invariant(NEVER)
    played = play(engine)
    assert len(played.result.context.get(ContextKey.DIAGNOSTIC)) == 1
    assert flow.asked == []


def test_an_authorizer_that_raises_lets_nothing_pass_and_stops_nothing_else() -> None:
    played = started(one(FakeAuthorizer({"promote seeds/a": RuntimeError("down")})))
    (rejected,) = played.bodies("proposal_rejected")
    assert rejected["reason"] == "promote: the authorizer raised RuntimeError (fake:1)"
    assert refs(played.result) == ["signals/go", COMMITTED]


def test_allow_all_changes_nothing_but_that_the_run_is_committed() -> None:
    rule = Says("rule", text("a"))
    free, allowed = play(engine_of(rule)).result, play(engine_of(rule, flow=AllowAllFlowGateAuthorizer())).result
    assert refs(allowed) == [*refs(free), COMMITTED]
    assert allowed.stop_reason == free.stop_reason == Converged()


def test_reject_all_leaves_a_run_without_facts_and_without_commitment() -> None:
    played = play(engine_of(Says("rule", text("a"), reads=[SEEDS]), flow=RejectAllFlowGateAuthorizer()), seeded("s"))
    assert refs(played.result) == []
    assert played.result.stop_reason == CommitRefused("commit: nothing is allowed (reject_all)")


# --- who asks ---------------------------------------------------------------------------------------------------------


def test_a_suggestor_is_asked_about_with_its_authority_and_domains() -> None:
    @suggestor(reads=SIGNALS, authority=AuthorityLevel.SUPERVISORY, domains=("pricing", "risk"))
    def senior(ctx: Context) -> ProposedFact[FactPayload]:
        return text("a")

    flow = FakeAuthorizer()
    started(engine_of(senior, flow=flow))
    principals = {question.resource.id: question.principal for question in flow.questions(FlowAction.PROPOSE)}
    asked = principals["seeds/a"]
    assert (asked.id, asked.authority, asked.domains) == ("senior", AuthorityLevel.SUPERVISORY, ("pricing", "risk"))
    assert principals["signals/go"].id == "input"


def test_the_authority_of_a_suggestor_is_part_of_the_constitution() -> None:
    def engine(authority: AuthorityLevel, *domains: str) -> Engine:
        rule = Says("rule", text("a"))
        rule.authority, rule.domains = authority, domains
        return engine_of(rule, flow=FakeAuthorizer())

    log = play(engine(AuthorityLevel.ADVISORY)).log
    replayed(engine(AuthorityLevel.ADVISORY), log)
    with pytest.raises(SetupChanged):
        replay(engine(AuthorityLevel.SOVEREIGN), log)
    with pytest.raises(SetupChanged):
        replay(engine(AuthorityLevel.ADVISORY, "pricing"), log)


def test_another_policy_is_another_constitution() -> None:
    log = play(engine_of(flow=FakeAuthorizer(name="policy:1"))).log
    with pytest.raises(SetupChanged, match="flow"):
        replay(engine_of(flow=FakeAuthorizer(name="policy:2")), log)


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 129])
def test_an_authorizer_needs_a_name(name: str) -> None:
    with pytest.raises(MisuseError, match="authorizer needs a name"):
        Engine(flow=FakeAuthorizer(name=name))


# --- phases -----------------------------------------------------------------------------------------------------------


def phase_of(played: Played) -> FlowPhase:
    return current_phase(played.result.context)


def test_a_phase_advances_through_its_own_gate() -> None:
    flow = FakeAuthorizer()
    played = play(engine_of(Says("rule", phase(FlowPhase.FRAMING), text("a")), flow=flow))
    (question,) = flow.questions(FlowAction.ADVANCE_PHASE)
    assert (question.resource.id, question.resource.phase) == ("strategies/phase:framing", FlowPhase.INTENT)
    assert [q.resource.id for q in flow.questions(FlowAction.PROMOTE)] == ["seeds/a"]
    assert flow.questions(FlowAction.PROMOTE)[0].resource.phase is FlowPhase.FRAMING
    assert phase_of(played) is FlowPhase.COMMITMENT


def test_a_phase_that_is_not_allowed_is_not_entered() -> None:
    flow = FakeAuthorizer({"advance_phase": REJECT, "commit": REJECT})
    played = started(one(flow, phase(FlowPhase.FRAMING)))
    assert phase_of(played) is FlowPhase.INTENT
    assert played.bodies("proposal_rejected")[0]["reason"] == "advance_phase: because (fake:1)"


@pytest.mark.parametrize("answer", [approve(), reject()])
def test_a_phase_that_is_escalated_is_for_a_human_to_advance(answer: Answer) -> None:
    flow = FakeAuthorizer({"advance_phase": ESCALATE, "commit": REJECT})
    played = started(one(flow, phase(FlowPhase.FRAMING)), {"strategies/phase:framing": answer})
    approved = answer("g").verdict == "approve"
    assert phase_of(played) is (FlowPhase.FRAMING if approved else FlowPhase.INTENT)


@given(st.lists(st.sampled_from([p for p in FlowPhase if p is not FlowPhase.INTENT]), max_size=6, unique=True))
def test_a_phase_never_goes_back(wanted: list[FlowPhase]) -> None:
    flow = FakeAuthorizer({"commit": REJECT})
    played = started(engine_of(Says("rule", *map(phase, wanted), reads=[SIGNALS]), flow=flow))
    entered = [fact.payload.phase for fact in played.result.context.get(PhasePayload)]
    assert all(earlier.is_before(later) for earlier, later in pairwise(entered))
    assert FlowPhase.COMMITMENT not in entered
    refused = [body["code"] for body in played.bodies("proposal_rejected")]
    assert len(refused) == len(wanted) - len(entered) + 1, "each phase, and the commitment"


def test_a_phase_that_was_approved_too_late_is_not_entered() -> None:
    flow = FakeAuthorizer({"advance_phase strategies/phase:framing": ESCALATE, "commit": REJECT})
    rule = Says("rule", phase(FlowPhase.FRAMING), phase(FlowPhase.TENSION), reads=[SIGNALS])
    played = started(engine_of(rule, flow=flow), {"strategies/phase:framing": approve()})
    assert phase_of(played) is FlowPhase.TENSION
    assert played.bodies("proposal_rejected")[0]["reason"] == "the run is in the phase tension already"


def test_phases_keep_their_order_without_a_flow_gate_too() -> None:
    played = play(
        engine_of(Says("rule", phase(FlowPhase.TENSION), phase(FlowPhase.FRAMING), reads=[SEEDS])), seeded("s")
    )
    assert phase_of(played) is FlowPhase.TENSION


def test_no_suggestor_commits_a_run() -> None:
    forged = ProposedFact(ContextKey.CONSENSUS_OUTCOMES, "commitment:9", CommitmentPayload(facts=1))
    played = started(one(FakeAuthorizer({"commit": REJECT}), forged))
    assert phase_of(played) is FlowPhase.INTENT
    assert played.bodies("proposal_rejected")[0]["code"] == "engine_only"


# --- commit -----------------------------------------------------------------------------------------------------------


def stopped(engine: Engine, answers: Mapping[str, Answer] | None = None) -> tuple[Played, StopReason]:
    played = play(engine, seeded("s"), approver=FakeApprover(answers or {}))
    return played, played.result.stop_reason


def test_a_fixed_point_counts_when_the_gate_lets_it() -> None:
    played, reason = stopped(engine_of(flow=FakeAuthorizer()))
    assert reason == Converged()
    assert refs(played.result) == ["seeds/s", COMMITTED]
    assert phase_of(played) is FlowPhase.COMMITMENT


def test_a_fixed_point_that_the_gate_rejects_does_not_count() -> None:
    played, reason = stopped(engine_of(flow=FakeAuthorizer({"commit": REJECT})))
    assert reason == CommitRefused("commit: because (fake:1)")
    assert not played.result.converged
    assert refs(played.result) == ["seeds/s"], "what was concluded is not lost"
    assert [body["code"] for body in played.bodies("proposal_rejected")] == ["flow_gate"]


def test_a_fixed_point_that_is_escalated_counts_when_a_human_says_so() -> None:
    flow = FakeAuthorizer({"commit": ESCALATE})
    played, reason = stopped(engine_of(flow=flow), {COMMITTED: approve("ann")})
    assert reason == Converged()
    fact = played.result.context.resolve(COMMITTED)
    assert fact is not None
    assert str(fact.promotion.approver) == "human:ann"
    assert [question.human_approval_present for question in flow.questions(FlowAction.COMMIT)] == [False, True]


def test_a_fixed_point_that_a_human_refuses_does_not_count_and_the_reason_is_kept() -> None:
    played, reason = stopped(
        engine_of(flow=FakeAuthorizer({"commit": ESCALATE})), {COMMITTED: reject("ann", "too early")}
    )
    assert reason == CommitRefused("reject by human:ann: too early")
    assert not played.result.converged


def test_a_fixed_point_cannot_be_edited_into_another() -> None:
    flow = FakeAuthorizer({"commit": ESCALATE})
    _, reason = stopped(engine_of(flow=flow), {COMMITTED: edit(CommitmentPayload(facts=7))})
    assert isinstance(reason, CommitRefused)


def test_a_pause_before_the_commitment_is_resumed_from_its_ledger() -> None:
    def engine() -> Engine:
        return engine_of(flow=FakeAuthorizer({"commit": ESCALATE}))

    played = play(engine(), seeded("s"))
    assert isinstance(played.result.stop_reason, HitlGatePending)
    run = replay(engine(), played.log)
    step = run.next()
    assert isinstance(step, AwaitDecision)
    run.decide([approve()(step.requests[0].gate_id)])
    done = run.next()
    assert isinstance(done, Stopped)
    assert done.result.stop_reason == Converged()


def test_a_full_budget_leaves_the_fixed_point_uncommitted_until_it_is_raised() -> None:
    run = engine_of(flow=FakeAuthorizer(), budget=Budget(max_facts=1)).begin(seeded("s"))
    step = advance(run)
    assert isinstance(step, Stopped)
    assert step.result.stop_reason == FactBudgetExhausted(1, 1)
    run.reopen(Budget(max_facts=2))
    step = advance(run)
    assert isinstance(step, Stopped)
    assert step.result.stop_reason == Converged()
    assert refs(step.result) == ["seeds/s", COMMITTED]


def test_a_fixed_point_is_committed_once_and_every_further_one_by_itself() -> None:
    flow = FakeAuthorizer()
    run = engine_of(flow=flow).begin(seeded("s"))
    advance(run)
    run.reopen()
    advance(run)
    assert len(flow.questions(FlowAction.COMMIT)) == 1, "nothing new is to be committed"
    run.correct(
        CorrectionEvent(
            fact="seeds/s",
            actor="human:ann",
            reason_code="data_error",
            reason="typo",
            payload={"body": {"text": "t"}, "family": "converge.text", "version": 1},
        )
    )
    run.reopen()
    step = advance(run)
    assert isinstance(step, Stopped)
    assert [question.resource.id for question in flow.questions(FlowAction.COMMIT)] == [
        COMMITTED,
        "consensus_outcomes/commitment:3",
    ]
    assert step.result.stop_reason == Converged()


def test_a_child_of_a_committed_run_is_committed_for_itself() -> None:
    parent = play(engine_of(flow=FakeAuthorizer()), seeded("s")).result
    flow = FakeAuthorizer({"commit": REJECT})
    child = play(engine_of(flow=flow), ContextState(parent.context.facts())).result
    assert isinstance(child.stop_reason, CommitRefused)


def test_what_only_a_human_can_unblock_is_not_committed() -> None:
    flow = FakeAuthorizer()
    intent = RootIntent("i", success=(Criterion("blocked"),))
    played = play(engine_of(flow=flow, evaluator=Everything()), seeded("s"), intent)
    assert flow.questions(FlowAction.COMMIT) == []
    assert played.result.stop_reason.name == "human_intervention_required"


def test_what_violates_an_invariant_is_not_committed() -> None:
    flow = FakeAuthorizer()
    engine = engine_of(flow=flow)
    engine.register_invariant(NEVER)
    stopped(engine)
    assert flow.questions(FlowAction.COMMIT) == []


# --- replay -----------------------------------------------------------------------------------------------------------

_OUTCOMES = st.sampled_from([PROMOTE, REJECT, ESCALATE])


@given(
    st.fixed_dictionaries({}, optional={action.value: _OUTCOMES for action in FlowAction}),
    st.lists(st.sampled_from([approve(), reject(), edit(PhasePayload(phase=FlowPhase.TENSION))]), max_size=12),
)
def test_whatever_is_decided_a_replay_derives_the_same_bytes(
    outcomes: dict[str, FlowGateOutcome | Exception], answers: list[Answer]
) -> None:
    def engine() -> Engine:
        rule = Says("rule", text("a"), phase(FlowPhase.FRAMING), reads=[SIGNALS])
        return engine_of(rule, flow=FakeAuthorizer(outcomes))

    context = ContextState().add_input(SIGNALS, "go", "go")
    run = engine().begin(context)
    log: list[Entry] = []
    pending = list(answers)
    while True:
        step = advance(run)
        log += run.drain()
        if isinstance(step, Stopped):
            break
        assert isinstance(step, AwaitDecision)
        run.decide([(pending.pop() if pending else approve())(request.gate_id) for request in step.requests])
    again = replay(engine(), log)
    assert again.pending == 0
    last = again.next()
    assert isinstance(last, Stopped)
    assert last.result.stop_reason == step.result.stop_reason


def test_the_human_is_told_why_the_flow_gate_asks_for_one() -> None:
    pause = play(
        one(by_action(FlowAction.PROMOTE, ESCALATE)), ContextState().add_input(SIGNALS, "go", "go")
    ).result.pause
    assert pause is not None
    again = HitlPause.from_json(pause.to_json())
    assert [request.reason for request in again.requests] == ["promote: because (fake:1)"]
