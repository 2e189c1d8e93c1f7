from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from converge_core import (
    Budget,
    ConstraintPayload,
    ConstraintSeverity,
    Context,
    ContextKey,
    ContextState,
    Criterion,
    CriterionResult,
    Engine,
    FactPayload,
    HitlPolicy,
    IntentConstraint,
    IntentError,
    IntentKind,
    InvariantClass,
    Met,
    ProposedFact,
    RiskPosture,
    RootIntent,
    Scope,
    StopWhen,
    TimeWindow,
    Unmet,
    Violation,
    canonical,
    replay,
    suggestor,
)
from converge_core.gates.stop import CriteriaMet, CycleBudgetExhausted
from converge_core.intent.root import UpheldTruth
from converge_core.invariants import FunctionInvariant
from converge_core.ledger.canonical import parse
from tests.core.stage import Says, engine_of, play, refs, seeded, text
from tests.fakes.authorizer import FakeAuthorizer

FULL = RootIntent(
    id="expenses",
    kind=IntentKind.RISK_ASSESSMENT,
    objective="Decide.",
    scope=Scope((("product", "expenses"), ("product", "claims"), ("date", TimeWindow("2026-10-01", "2026-10-31")))),
    success=(Criterion("decided", "All are decided."), Criterion("nice", required=False)),
    budget=Budget(max_cycles=20, max_cost_usd=1.25),
    active_packs=("a", "b"),
    stop_when=StopWhen.CRITERIA_MET,
    risk_posture=RiskPosture.AGGRESSIVE,
    constraints=(
        IntentConstraint("currency", "EUR"),
        IntentConstraint("style", "short", ConstraintSeverity.SOFT),
    ),
    truths=(UpheldTruth("expense-policy", "ab" * 32),),
    approval_points=(ContextKey.STRATEGIES,),
)


@pytest.mark.parametrize("intent", [RootIntent("i"), FULL], ids=["least", "full"])
def test_an_intent_is_read_back_from_the_ledger(intent: RootIntent) -> None:
    value: Any = parse(canonical(intent.to_json()))
    assert RootIntent.from_json(value) == intent


@pytest.mark.parametrize(
    "other",
    [
        RootIntent("j"),
        RootIntent("i", kind=IntentKind.SCHEDULING),
        RootIntent("i", objective="more"),
        RootIntent("i", scope=Scope((("a", "b"),))),
        RootIntent("i", success=(Criterion("c"),)),
        RootIntent("i", budget=Budget()),
        RootIntent("i", active_packs=("a",)),
        RootIntent("i", stop_when=StopWhen.CRITERIA_MET),
        RootIntent("i", risk_posture=RiskPosture.CONSERVATIVE),
        RootIntent("i", constraints=(IntentConstraint("k", "v"),)),
        RootIntent("i", truths=(UpheldTruth("t", "hash"),)),
        RootIntent("i", approval_points=(ContextKey.SEEDS,)),
    ],
    ids=lambda intent: str(intent.to_json()),
)
def test_the_hash_of_an_intent_names_all_of_it(other: RootIntent) -> None:
    assert RootIntent("i").hash == RootIntent("i").hash
    assert other.hash != RootIntent("i").hash


def test_the_hash_of_an_intent_is_the_same_in_every_program() -> None:
    """A golden value: it names constitutions, so it may change with the format of a ledger alone."""
    assert str(RootIntent("i").hash) == "c8967e99e8ba238ea3cc66c703a7350c84125777c83b8f3e83c798eaa75dba53"


# --- what is wrong with it --------------------------------------------------------------------------------------------


def test_an_intent_without_fault_has_none() -> None:
    assert FULL.faults() == RootIntent("i").faults() == ()


def test_all_faults_are_told_at_once() -> None:
    intent = RootIntent(
        " ",
        scope=Scope((("", "x"), ("name", "y"))),
        success=(Criterion("a", required=False), Criterion("a", required=False), Criterion("")),
        active_packs=("p", "p", " "),
        stop_when=StopWhen.CRITERIA_MET,
        constraints=(IntentConstraint("k", "1"), IntentConstraint("k", "2"), IntentConstraint(" ", "")),
        truths=(UpheldTruth("t", "1"), UpheldTruth("t", "2")),
    )
    assert [(fault.path, fault.message) for fault in intent.faults()] == [
        ("id", "a name is blank"),
        ("scope", "a name is blank"),
        ("success", "a name is blank"),
        ("constraints", "a name is blank"),
        ("packs", "a name is blank"),
        ("success", "'a' stands there twice"),
        ("constraints", "'k' stands there twice"),
        ("packs", "'p' stands there twice"),
        ("truths", "'t' stands there twice"),
        ("constraints", "intent:k is out of the intent's own scope: name 'k' is not among y"),
        ("constraints", "intent:k is out of the intent's own scope: name 'k' is not among y"),
        ("constraints", "intent:  is out of the intent's own scope: name ' ' is not among y"),
    ]


@pytest.mark.parametrize("key", ["a\nb", "x" * 260])
def test_a_hard_constraint_has_a_key_that_can_name_a_fact(key: str) -> None:
    (fault,) = RootIntent("i", constraints=(IntentConstraint(key, "v"),)).faults()
    assert fault.message.endswith("cannot name a fact")


def test_to_stop_when_criteria_are_met_takes_a_required_one() -> None:
    early = RootIntent("i", stop_when=StopWhen.CRITERIA_MET, success=(Criterion("a", required=False),))
    assert [fault.path for fault in early.faults()] == ["stop_when"]
    assert replace(early, success=(Criterion("a"),)).faults() == ()


def test_an_engine_refuses_an_intent_with_all_of_its_faults() -> None:
    intent = RootIntent("", success=(Criterion("a"), Criterion("a")))
    with pytest.raises(IntentError) as caught:
        engine_of().begin(ContextState(), intent)
    assert caught.value.problems == intent.faults()


# --- constraints ------------------------------------------------------------------------------------------------------


def test_hard_constraints_are_facts_that_suggestors_see_and_soft_ones_are_not() -> None:
    seen: list[tuple[str, str]] = []

    @suggestor(reads=ConstraintPayload)
    def reader(ctx: Context) -> None:
        seen.extend((fact.payload.name, fact.payload.value) for fact in ctx.get(ConstraintPayload))

    intent = replace(FULL, stop_when=StopWhen.FIXED_POINT)
    result = play(engine_of(reader), None, intent).result
    assert seen == [("currency", "EUR")]
    (fact,) = result.context.get(ContextKey.CONSTRAINTS)
    assert (fact.ref, fact.provenance, fact.payload.summary()) == (
        "constraints/intent:currency",
        "intent:expenses",
        "currency=EUR",
    )


def test_constraints_are_read_back_by_an_engine_that_never_heard_of_them() -> None:
    intent = RootIntent("i", constraints=(IntentConstraint("currency", "EUR"),))
    log = play(engine_of(), None, intent).log
    assert replay(Engine(), log).result().context.has(ConstraintPayload)


def test_constraints_stand_before_the_inputs() -> None:
    intent = RootIntent("i", constraints=(IntentConstraint("currency", "EUR"),))
    assert refs(play(engine_of(), seeded("s"), intent).result) == ["constraints/intent:currency", "seeds/s"]


# --- what it asks for -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        (IntentKind.GROWTH_STRATEGY, "seeds signals competitors strategies evaluations"),
        (IntentKind.SCHEDULING, "seeds constraints strategies"),
        (IntentKind.RESOURCE_OPTIMIZATION, "seeds constraints strategies evaluations"),
        (IntentKind.RISK_ASSESSMENT, "seeds signals hypotheses evaluations"),
        (IntentKind.CONTENT_GENERATION, "seeds constraints strategies"),
        (IntentKind.CUSTOM, "seeds"),
    ],
)
def test_a_kind_of_intent_suggests_the_keys_to_work_with(kind: IntentKind, keys: str) -> None:
    assert [key.value for key in kind.suggested_keys] == keys.split()


def test_the_budget_and_packs_of_an_intent_hold_for_its_run_alone() -> None:
    engine = engine_of(budget=Budget(max_cycles=7))
    engine.register_suggestor(Says("in", text("in")), pack="a")
    engine.register_suggestor(Says("out", text("out")), pack="b")
    engine.set_active_packs(["b"])
    assert refs(play(engine, None, RootIntent("i", active_packs=("a",))).result) == ["seeds/in"]
    run = engine.begin(ContextState(), RootIntent("i", budget=Budget(max_cycles=3)))
    assert run.setup.budget.max_cycles == 3
    assert engine.begin(ContextState()).setup.budget.max_cycles == 7
    assert refs(play(engine).result) == ["seeds/out"]


def test_an_intent_without_packs_asks_everybody() -> None:
    engine = engine_of()
    engine.register_suggestor(Says("rule", text("a")), pack="a")
    assert refs(play(engine, None, RootIntent("i")).result) == ["seeds/a"]


def test_a_run_under_an_intent_stops_at_human_gates_too() -> None:
    engine = engine_of(Says("rule", text("a")), hitl_policy=HitlPolicy(gated_keys=(ContextKey.SEEDS,)))
    assert play(engine, None, RootIntent("i")).result.pause is not None


@pytest.mark.parametrize("policy", [None, HitlPolicy(gated_keys=(ContextKey.SIGNALS,))])
def test_at_its_approval_points_a_human_decides(policy: HitlPolicy | None) -> None:
    engine = engine_of(Says("rule", text("a"), text("b", key=ContextKey.SIGNALS)), hitl_policy=policy)
    pause = play(engine, None, RootIntent("i", approval_points=(ContextKey.SEEDS,))).result.pause
    assert pause is not None
    assert [request.ref for request in pause.requests] == ["seeds/a"] + ["signals/b"] * (policy is not None)
    assert engine.hitl_policy == policy


def test_the_risk_posture_is_told_to_a_flow_gate() -> None:
    flow = FakeAuthorizer()
    play(engine_of(flow=flow), seeded("s"), RootIntent("i", risk_posture=RiskPosture.CONSERVATIVE))
    assert {question.risk_posture for question in flow.asked} == {RiskPosture.CONSERVATIVE}


# --- when it stops ----------------------------------------------------------------------------------------------------


class Enough:
    """Met, once there are three seeds."""

    def evaluate(self, criterion: Criterion, ctx: Context) -> CriterionResult:
        return Met(("seeds/n2",)) if ctx.count(ContextKey.SEEDS) >= 3 else Unmet("too few")


def endless() -> Engine:
    @suggestor
    def grows(ctx: Context) -> ProposedFact[FactPayload]:
        return text(f"n{ctx.count(ContextKey.SEEDS)}")

    return engine_of(grows, evaluator=Enough(), budget=Budget(max_cycles=10))


def test_a_run_may_end_as_soon_as_its_criteria_are_met() -> None:
    intent = RootIntent("i", success=(Criterion("three"),), stop_when=StopWhen.CRITERIA_MET)
    played = play(endless(), None, intent)
    assert played.result.stop_reason == CriteriaMet(("three",))
    assert (played.result.cycles, len(refs(played.result))) == (3, 3)
    assert [body["result"] for body in played.bodies("criterion_evaluated")] == ["met"]
    replay(endless(), played.log)


def test_criteria_that_are_met_end_no_run_that_goes_to_its_fixed_point() -> None:
    intent = RootIntent("i", success=(Criterion("three"),))
    assert play(endless(), None, intent).result.stop_reason == CycleBudgetExhausted(10, 10)


def test_what_must_hold_at_the_end_must_hold_at_an_early_one() -> None:
    engine = endless()
    engine.register_invariant(FunctionInvariant("no", InvariantClass.ACCEPTANCE, lambda ctx: Violation("bad")))
    intent = RootIntent("i", success=(Criterion("three"),), stop_when=StopWhen.CRITERIA_MET)
    assert play(engine, None, intent).result.stop_reason.name == "invariant_violated"
