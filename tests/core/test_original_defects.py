"""What was wrong with the original, and cannot happen here: one test for each defect, named after it.

Defects of parts that do not exist here stand in docs/reference/seed-map.md, with the reason.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256

import pytest

from converge_adapters.timeouts import overdue
from converge_core import (
    Actor,
    AgentEffect,
    ApprovalPolicy,
    AuthorityError,
    AuthorityGrant,
    AuthorityScope,
    Blocked,
    Budget,
    ConflictPolicy,
    Context,
    ContextState,
    Criterion,
    CriterionResult,
    Engine,
    FactPayload,
    FlowAction,
    FlowGateOutcome,
    GateDecision,
    HitlPause,
    HitlPolicy,
    Invariant,
    LedgerConflict,
    MisuseError,
    ProposedFact,
    RootIntent,
    Scope,
    ScoredFormation,
    SnapshotError,
    Stopped,
    TextPayload,
    TimeoutAction,
    TimeoutPolicy,
    Usage,
    ValidationPolicy,
    Verdict,
    Violation,
    acceptance,
    canonical,
    replay,
    restore,
    semantic,
    snapshot,
    structural,
    suggestor,
)
from converge_core.experience.records import RunExperience
from converge_core.gates.stop import (
    CycleBudgetExhausted,
    FactBudgetExhausted,
    HitlGatePending,
    HumanInterventionRequired,
    InvariantViolated,
    StopReason,
    SuggestorFailed,
    TimeBudgetExhausted,
    TokenBudgetExhausted,
    UserCancelled,
)
from converge_core.invariants import InvariantCheck
from converge_core.ledger.events import CorrectionEvent
from converge_core.ledger.merkle import leaf_hash, node_hash, root_of
from converge_core.llm.breaker import Breaker, CallResult, admit, settle
from converge_core.llm.policies import CircuitBreakerConfig, CircuitState, RetryPolicy
from converge_core.llm.profiles import (
    ComplianceLevel,
    CostClass,
    DataSovereignty,
    Jurisdiction,
    Location,
    ProviderProfile,
)
from converge_core.llm.routing import ON_PREMISES_ONLY, DataClassification, RiskTier, RoutingPolicy
from converge_core.llm.selection import SelectionCriteria, select
from tests.core.stage import (
    HYPOTHESES,
    SEEDS,
    SIGNALS,
    Played,
    Raises,
    Says,
    advance,
    approve,
    bodies,
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
from tests.fakes.authorizer import FakeAuthorizer
from tests.fakes.clock import FakeClock
from tests.fakes.executor import FakeExecutor
from tests.fakes.ledger import FakeLedger

GATED = HitlPolicy(gated_keys=(SIGNALS,))


@suggestor(name="model", reads=SEEDS, writes=SIGNALS)
def model(ctx: Context) -> AgentEffect:
    """Something that costs."""
    return AgentEffect.with_proposal(text("m", key=SIGNALS), Usage(60, 20))


def two() -> tuple[Says, Says]:
    return Says("a", text("a")), Says("b", text("b", key=SIGNALS), reads=[SEEDS])


def paused() -> Played:
    """A run that waits for answers about two signals."""
    return play(engine_of(Says("a", text("x", key=SIGNALS), text("y", key=SIGNALS)), hitl_policy=GATED))


def pause_of(played: Played) -> HitlPause:
    assert played.result.pause is not None
    return played.result.pause


def gate_ids(played: Played) -> dict[str, str]:
    return {request.ref: request.gate_id for request in pause_of(played).requests}


def gated_engine() -> Engine:
    return engine_of(Says("a", text("x", key=SIGNALS), text("y", key=SIGNALS)), hitl_policy=GATED)


# 6.1 Declared but not enforced


def test_parallel_execution_that_is_sequential() -> None:
    executor = FakeExecutor((1, 0))
    played = play(engine_of(Says("a", text("a")), Says("b", text("b"))), executor=executor)
    assert executor.batches[0] == ("b", "a")  # one batch of both, finished in any order
    assert refs(played.result) == ["seeds/a", "seeds/b"]


@pytest.mark.parametrize(
    ("budget", "reason"),
    [
        (Budget(max_tokens=50), TokenBudgetExhausted),
        (Budget(time_limit_ms=15), TimeBudgetExhausted),
        (Budget(max_cycles=1), CycleBudgetExhausted),
        (Budget(max_facts=1), FactBudgetExhausted),
    ],
)
def test_budgets_and_their_stop_reasons_that_nobody_produces(budget: Budget, reason: type[StopReason]) -> None:
    follows = Says("follows", text("f", key=HYPOTHESES), reads=[SIGNALS])
    played = play(engine_of(model, follows, budget=budget), seeded("s"), clock=FakeClock([0, 10, 20, 30]))
    assert isinstance(played.result.stop_reason, reason)


def test_a_limit_of_suggestors_per_cycle_that_is_ignored() -> None:
    executor = FakeExecutor()
    play(engine_of(*(Says(n, text(n)) for n in "abc"), budget=Budget(max_suggestors_per_cycle=1)), executor=executor)
    assert {len(batch) for batch in executor.batches} == {1}


def test_a_cancellation_that_nobody_produces() -> None:
    run = engine_of(*two()).begin(ContextState())
    run.cancel("enough", Actor("ann"))
    step = advance(run)
    assert isinstance(step, Stopped)
    assert isinstance(step.result.stop_reason, UserCancelled)


def test_a_pending_gate_that_is_no_stop_reason() -> None:
    assert isinstance(paused().result.stop_reason, HitlGatePending)


def test_a_hitl_timeout_that_is_data_only() -> None:
    policy, ledger = replace(GATED, timeout=TimeoutPolicy(60, TimeoutAction.REJECT)), FakeLedger()
    engine = engine_of(Says("a", text("x", key=SIGNALS)), hitl_policy=policy)
    run = replay(engine, play(engine, ledger=ledger).log)
    decisions = overdue(run.open_gates, 1, finish(ledger.read("run")))
    assert [decision.verdict for decision in decisions] == [Verdict.REJECT]
    run.decide(decisions)
    assert run.open_gates == []


@pytest.mark.parametrize(("confidence", "asked"), [(0.5, True), (0.51, False)])
def test_two_hitl_policies_of_which_one_is_used(confidence: float, asked: bool) -> None:
    engine = engine_of(Says("a", text("x", confidence=confidence)), hitl_policy=HitlPolicy(confidence_threshold=0.5))
    assert (play(engine).result.pause is not None) == asked


def test_a_required_check_that_passes_by_its_name() -> None:
    with pytest.raises(MisuseError):
        play(engine_of(validation=ValidationPolicy(("anything",))))


def test_confidence_that_no_gate_looks_at() -> None:
    engine = engine_of(
        Says("a", text("x", confidence=0.2), text("y", confidence=1.5)), validation=ValidationPolicy(("sure",))
    )
    engine.register_check("sure", lambda proposal, ctx: None if proposal.confidence > 0.3 else "unsure")
    played = play(engine, seeded("s"))
    assert refs(played.result) == ["seeds/s"]


def test_an_authorizer_that_is_never_consulted() -> None:
    authorizer = FakeAuthorizer({"promote signals/b": FlowGateOutcome.REJECT})
    played = play(engine_of(*two(), flow=authorizer))
    assert refs(played.result)[0] == "seeds/a"
    assert "signals/b" not in refs(played.result)
    assert authorizer.questions(FlowAction.PROMOTE)


@pytest.mark.parametrize(
    ("grant", "counts"),
    [
        (AuthorityGrant("boss", ("ann",)), True),
        (AuthorityGrant("boss", ("bob",)), False),
        (AuthorityGrant("boss", ("ann",), AuthorityScope(keys=(HYPOTHESES,))), False),
        (AuthorityGrant("boss", ("ann",), AuthorityScope(until="2001-01-01")), False),
    ],
)
def test_an_authority_grant_that_is_never_consulted(grant: AuthorityGrant, counts: bool) -> None:
    policy = replace(GATED, approval=ApprovalPolicy((grant,)))
    run = engine_of(Says("a", text("x", key=SIGNALS)), hitl_policy=policy).begin(ContextState())
    [gate] = gates_of(advance(run)).values()
    refused = run.decide([GateDecision.approve(gate.gate_id, "ann", at="2026-10-31T18:00:00Z")])
    assert (not refused) == counts


def test_a_scope_that_allows_everything() -> None:
    intent = RootIntent("i", scope=Scope((("text", "words"),)))
    played = play(engine_of(Says("a", text("in"), text("out", "others"), reads=[SEEDS])), seeded("words"), intent)
    assert refs(played.result) == ["seeds/words", "seeds/in"]


def test_a_correction_that_supersedes_nothing() -> None:
    run = engine_of(Says("b", text("b", key=SIGNALS), reads=[SEEDS])).begin(seeded("s"))
    advance(run)
    run.correct(
        CorrectionEvent(
            fact="seeds/s",
            actor="human:ann",
            reason_code="data_error",
            reason="a typo",
            payload={"family": "converge.text", "version": 1, "body": {"text": "right"}},
        )
    )
    run.reopen()
    step = advance(run)
    assert isinstance(step, Stopped)
    fact = step.result.context.find(SEEDS, "s")
    assert fact is not None
    assert fact.payload == TextPayload(text="right")
    assert fact.supersedes is not None


class Pending:
    """Judges every criterion to wait for a person."""

    def evaluate(self, criterion: Criterion, ctx: Context) -> CriterionResult:
        return Blocked("somebody has to sign", "ap:1")


def test_success_criteria_that_decide_nothing() -> None:
    played = play(engine_of(*two(), evaluator=Pending()), intent=RootIntent("i", success=(Criterion("signed"),)))
    assert isinstance(played.result.stop_reason, HumanInterventionRequired)
    assert not played.result.criteria_met


def test_a_formation_that_is_not_called() -> None:
    members = Says("a", text("a", key=SIGNALS), reads=[SEEDS]), Says("b", text("b", key=SIGNALS), reads=[SEEDS])
    played = play(engine_of(*members), seeded("s"), RootIntent("i", formation=ScoredFormation(top_n=1)))
    assert [member.runs for member in members] == [1, 0]
    assert played.result.formation is not None


def test_two_suggestors_of_one_name() -> None:
    with pytest.raises(MisuseError, match="registered already"):
        engine_of(Says("a", text("a")), Says("a", text("b")))


def test_a_staged_input_without_provenance() -> None:
    played = play(engine_of(), ContextState().add_proposal(text("x", provenance=" ")))
    assert refs(played.result) == []
    assert played.bodies("proposal_rejected")[0]["code"] == "blank_provenance"


def test_a_fact_that_does_not_say_who_proposed_it() -> None:
    played = play(engine_of(Says("a", text("x", confidence=0.7, provenance="erp"))))
    [fact] = played.result.context.facts()
    assert (fact.proposer, fact.provenance, fact.confidence) == ("a", "erp", 0.7)
    assert [body["proposal"] for body in played.bodies("fact_promoted")] == [fact.promotion.proposal_hash]


def test_a_fact_that_a_human_approved_and_the_engine_signs() -> None:
    approver = FakeApprover({"signals/x": approve("ann"), "signals/y": approve("bob")})
    result = play(gated_engine(), approver=approver).result
    assert [fact.promotion.approver for fact in result.context.facts()] == [Actor("ann"), Actor("bob")]


def test_jitter_that_is_never_applied() -> None:
    waits = {RetryPolicy(jitter_percent=20).delay_for_attempt(3, seed) for seed in "abcdef"}
    assert len(waits) > 1
    assert all(320 <= wait <= 400 for wait in waits)


def test_a_circuit_breaker_that_breaks_nothing() -> None:
    config, breaker = CircuitBreakerConfig(failure_threshold=1), Breaker()
    permit = admit(breaker, config, 0).permit
    assert permit is not None
    opened = settle(breaker, config, permit, CallResult.FAILED, 0)
    assert opened.state is CircuitState.OPEN
    assert admit(opened, config, 1).permit is None


def test_a_panic_that_takes_the_engine_with_it() -> None:
    result = play(engine_of(Raises("broken", ValueError("no"))), seeded("s")).result
    assert isinstance(result.stop_reason, SuggestorFailed)
    assert refs(result)[0] == "seeds/s"


@pytest.mark.parametrize("id", ["", " ", "a\nb", "x" * 10_000])
def test_a_malformed_id_that_is_accepted(id: str) -> None:
    assert refs(play(engine_of(), ContextState().add_proposal(text(id))).result) == []


def test_an_observer_that_sees_promotions_only() -> None:
    assert {"effect_received", "fact_promoted", "run_stopped"} <= set(play(engine_of(*two())).kinds)
    assert {"proposal_gated", "run_paused"} <= set(paused().kinds)


def stamps_after_a_pause() -> list[int]:
    engine = engine_of(
        Says("a", text("x", key=SIGNALS)), Says("b", text("y", key=HYPOTHESES), reads=[SIGNALS]), hitl_policy=GATED
    )
    played = play(engine, seeded("s"))
    [gate_id] = gate_ids(played).values()
    result = finish(engine.resume(pause_of(played), [GateDecision.approve(gate_id, "ann")]))
    return [fact.lamport for fact in result.context.facts()]


def test_a_clock_that_restarts_after_a_pause() -> None:
    stamps = stamps_after_a_pause()
    assert len(stamps) == 3
    assert stamps == sorted(set(stamps))


def test_facts_that_are_fabricated_downstream() -> None:
    [fact] = play(engine_of(), seeded("s")).result.context.facts()
    with pytest.raises(AuthorityError):
        replace(fact, confidence=0.1)


def test_a_snapshot_with_a_root_of_its_own() -> None:
    mine, theirs = (play(engine_of(), seeded(id)).result for id in ("mine", "theirs"))
    with pytest.raises(SnapshotError, match="not the ones"):
        restore(snapshot(theirs.context), mine.integrity.merkle_root)


# 6.5 Other defects


def test_1_an_identical_proposal_that_conflicts() -> None:
    played = play(engine_of(Says("b", text("s", "s"), reads=[SEEDS])), seeded("s"))
    assert played.result.converged
    assert "proposal_duplicate" in played.kinds


def test_2_one_bad_proposal_that_ends_the_run() -> None:
    bad = text("blank", provenance=" "), text("s", "other"), text("good", key=SIGNALS)
    engine = engine_of(Says("b", *bad, reads=[SEEDS]), conflict_policy=ConflictPolicy.REJECT)
    result = play(engine, seeded("s")).result
    assert result.converged
    assert refs(result)[:1] == ["seeds/s"]
    assert "signals/good" in refs(result)


def test_3_a_second_gated_proposal_that_slips_through_on_resume() -> None:
    played = paused()
    assert set(gate_ids(played)) == {"signals/x", "signals/y"}
    result = finish(
        gated_engine().resume(pause_of(played), [GateDecision.approve(gate_ids(played)["signals/x"], "ann")])
    )
    assert isinstance(result.stop_reason, HitlGatePending)
    assert "signals/y" not in refs(result)


def test_4_rejections_that_outlive_their_run() -> None:
    engine = engine_of(Says("a", text("x", key=SIGNALS), reads=[SEEDS]), hitl_policy=GATED)
    approver = FakeApprover({"signals/x": [reject("ann", "no"), approve("ann")]})
    first, second = (play(engine, seeded("s"), approver=approver) for _ in range(2))
    assert "signals/x" not in refs(first.result)
    assert [body["verdict"] for body in first.bodies("decision_received")] == ["reject"]
    assert "signals/x" in refs(second.result)


def test_5_stamps_that_repeat_or_sort_as_text() -> None:
    result = play(engine_of(), seeded(*map(str, range(12)))).result
    stamps = [fact.lamport for fact in result.context.facts()]
    assert stamps == sorted(set(stamps))
    again = play(engine_of(Says("a", text("late"))), result.context).result
    assert again.context.facts()[-1].lamport > stamps[-1]


def test_6_staged_inputs_in_random_order() -> None:
    context = ContextState().add_input(SIGNALS, "z", "z").add_input(SEEDS, "y", "y").add_input(SIGNALS, "x", "x")
    assert refs(play(engine_of(), context).result) == ["signals/z", "seeds/y", "signals/x"]


def test_6_staged_inputs_that_bypass_the_human_gate() -> None:
    assert play(engine_of(hitl_policy=GATED), ContextState().add_input(SIGNALS, "x", "x")).result.pause is not None


@pytest.mark.parametrize("make", [structural, semantic])
def test_6_staged_inputs_that_bypass_invariants(make: Callable[[InvariantCheck], Invariant]) -> None:
    engine = engine_of()
    engine.register_invariant(make(_holds_no_seeds))
    assert isinstance(play(engine, seeded("s")).result.stop_reason, InvariantViolated)


def _holds_no_seeds(ctx: Context) -> str | None:
    return "a seed" if ctx.has(SEEDS) else None


def test_6_staged_inputs_that_bypass_the_fact_budget() -> None:
    result = play(engine_of(budget=Budget(max_facts=2)), seeded("a", "b", "c")).result
    assert isinstance(result.stop_reason, FactBudgetExhausted)
    assert len(refs(result)) == 2


def test_7_an_input_that_wipes_others_of_its_key() -> None:
    context = ContextState().add_proposal(text("a")).add_input(SEEDS, "b", "b").add_proposal(text("c"))
    assert refs(play(engine_of(), context).result) == ["seeds/a", "seeds/b", "seeds/c"]


def test_8_a_context_that_carries_dirty_keys_into_the_next_run() -> None:
    result = play(engine_of(Says("a", text("a"))), seeded("s")).result
    engine = engine_of(Says("b", text("b", key=SIGNALS), reads=[SEEDS]))
    restored = restore(snapshot(result.context), result.integrity.merkle_root)
    assert bodies(play(engine, result.context).log) == bodies(play(engine, restored).log)


def test_9_a_budget_stop_that_drops_the_context() -> None:
    result = play(engine_of(*two(), budget=Budget(max_cycles=1))).result
    assert refs(result) == ["seeds/a"]
    assert result.stop_reason == CycleBudgetExhausted(cycles_executed=1, limit=1)


def _names_the_seed(ctx: Context) -> Violation:
    return Violation("a seed", ("seeds/s",))


def test_10_a_violation_that_loses_its_facts() -> None:
    engine = engine_of()
    engine.register_invariant(acceptance(_names_the_seed))
    played = play(engine, seeded("s"))
    result = played.result
    assert isinstance(result.stop_reason, InvariantViolated)
    assert result.stop_reason.facts == ("seeds/s",)
    assert [body["facts"] for body in played.bodies("invariant_violated")] == [["seeds/s"]]
    assert refs(result)[0] == "seeds/s"


def test_11_leaves_that_pass_for_nodes() -> None:
    left, right = b"l" * 32, b"r" * 32
    assert leaf_hash(left + right) == sha256(b"\x00" + left + right).digest()
    assert node_hash(left, right) == sha256(b"\x01" + left + right).digest()


def test_11_a_last_leaf_that_can_be_doubled() -> None:
    a, b, c = (leaf_hash(name) for name in (b"a", b"b", b"c"))
    assert root_of([a, b, c]) != root_of([a, b, c, c])


@pytest.mark.parametrize("other", [text("x", confidence=0.5), text("x", provenance="elsewhere")])
def test_11_metadata_that_no_root_covers(other: ProposedFact[FactPayload]) -> None:
    first, second = (play(engine_of(), ContextState().add_proposal(said)).result for said in (text("x"), other))
    assert first.integrity.merkle_root != second.integrity.merkle_root


def test_11_staged_proposals_that_no_root_covers() -> None:
    first, second = (play(engine_of(hitl_policy=GATED), seeded("s").add_input(SIGNALS, "x", word)) for word in "ab")
    assert refs(first.result) == refs(second.result)
    assert first.result.integrity == second.result.integrity  # that of the facts, which are the same
    assert root_of([entry.leaf for entry in first.log]) != root_of([entry.leaf for entry in second.log])


def test_11_a_format_that_is_not_checked() -> None:
    result = play(engine_of(), seeded("s")).result
    other = canonical({**json.loads(snapshot(result.context)), "format": 99})
    with pytest.raises(SnapshotError, match="format 99"):
        restore(other, result.integrity.merkle_root)


def _policy_hash(*checks: str) -> str:
    engine = engine_of(validation=ValidationPolicy(checks))
    for name in checks:
        engine.register_check(name, lambda proposal, ctx: None)
    [fact] = play(engine, seeded("s")).result.context.facts()
    return fact.promotion.policy_hash


def test_12_a_policy_hash_without_separators_and_half_its_bits() -> None:
    assert _policy_hash("ab", "c") != _policy_hash("a", "bc")
    assert len(_policy_hash("a")) == 64


def test_13_experience_whose_ids_repeat() -> None:
    ledger = FakeLedger()
    for run_id in ("one", "two"):
        play(engine_of(*two()), run_id=run_id, ledger=ledger)
    told = [
        experience.record(place)
        for run_id in ("one", "two")
        for experience in [RunExperience(run_id, finish(ledger.read(run_id)))]
        for place in range(len(experience.stored))
    ]
    assert len({record.id for record in told}) == len(told)
    assert {record.run_id for record in told if record.kind == "fact_promoted"} == {"one", "two"}
    with pytest.raises(LedgerConflict):
        play(engine_of(), run_id="one", ledger=ledger)


LOCAL = ProviderProfile(
    "local",
    "local",
    "small",
    CostClass.LOW,
    500,
    0.7,
    sovereignty=DataSovereignty.EU,
    location=Location("EU", "DE"),
    compliance={ComplianceLevel.GDPR},
)
ASKS = SelectionCriteria(risk=RiskTier.LOW, data=DataClassification.PUBLIC, truth_ids=("t",))


@pytest.mark.parametrize(
    "criteria",
    [
        replace(ASKS, max_cost=CostClass.FREE),
        replace(ASKS, max_latency_ms=100),
        replace(ASKS, sovereignty=DataSovereignty.US),
        replace(ASKS, compliance={ComplianceLevel.HIPAA}),
        replace(ASKS, jurisdiction=Jurisdiction.SAME_COUNTRY, user=Location("EU", "FR")),
    ],
)
def test_15_a_selection_that_ignores_what_is_asked(criteria: SelectionCriteria) -> None:
    assert select(ASKS, [LOCAL], RoutingPolicy.open_to_all()).winner == LOCAL
    assert select(criteria, [LOCAL], RoutingPolicy.open_to_all()).winner is None


def test_15_a_preference_that_bypasses_the_allow_lists() -> None:
    policy = RoutingPolicy({RiskTier.LOW: ("other",)}, truth_preferences={"t": ("local",)})
    assert select(ASKS, [LOCAL], policy).winner is None


@pytest.mark.parametrize("risk", RiskTier)
@pytest.mark.parametrize("data", DataClassification)
def test_15_a_default_denial_that_leaves_tiers_open(risk: RiskTier, data: DataClassification) -> None:
    assert LOCAL.remote
    assert select(replace(ASKS, risk=risk, data=data), [LOCAL], ON_PREMISES_ONLY).winner is None


def test_15_a_trusted_jurisdiction_that_means_any() -> None:
    criteria, elsewhere = replace(ASKS, jurisdiction=Jurisdiction.TRUSTED), replace(LOCAL, location=Location("XX"))
    assert select(criteria, [LOCAL], RoutingPolicy.open_to_all()).winner == LOCAL
    assert select(criteria, [elsewhere], RoutingPolicy.open_to_all()).winner is None


def test_16_a_pause_that_is_consumed() -> None:
    played = paused()
    pause = HitlPause.from_json(json.loads(canonical(pause_of(played).to_json())))
    assert pause == pause_of(played)
    with pytest.raises(MisuseError):
        finish(gated_engine().resume(pause, [GateDecision.approve("no such gate", "ann")]))
    decisions = [GateDecision.approve(gate_id, "ann") for gate_id in gate_ids(played).values()]
    first, second = (finish(gated_engine().resume(pause, decisions)) for _ in range(2))
    assert first.converged
    assert refs(first) == refs(second) == ["signals/x", "signals/y"]
