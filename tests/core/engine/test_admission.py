"""Observations that come when a run has begun: admitted once, judged like everything, never lost."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import pytest

from converge_core import (
    AdmissionActorKind,
    AdmissionError,
    AdmissionRequest,
    Budget,
    ConflictPolicy,
    ContentHash,
    ContextState,
    Convergence,
    DataPayload,
    Engine,
    Entry,
    Execute,
    FactPayload,
    FlowAction,
    FlowGateOutcome,
    HitlPolicy,
    InvariantClass,
    ReplayDifference,
    RootIntent,
    Scope,
    Step,
    Stopped,
    SubjectRef,
    TruthDefinition,
    TruthKind,
    ValidationPolicy,
    Violation,
    canonical,
    replay,
    uphold,
)
from converge_core.gates.stop import Converged, StopReason
from converge_core.invariants import FunctionInvariant
from tests.core.stage import (
    HYPOTHESES,
    SEEDS,
    SIGNALS,
    Says,
    advance,
    approve,
    bodies,
    engine_of,
    gates_of,
    perform,
    reject,
    seeded,
    text,
)
from tests.fakes.approver import Answer
from tests.fakes.authorizer import FakeAuthorizer

REQUEST = AdmissionRequest("sensor-7", AdmissionActorKind.EXTERNAL, "plant", SIGNALS, "t1", "21 degrees")


class Reading(FactPayload):
    family: ClassVar[str] = "test.reading"
    degrees: int


def reactive(**settings: object) -> Engine:
    """An engine in which a signal leads to a hypothesis."""
    return engine_of(Says("rule", text("warm", key=HYPOTHESES), reads=[SIGNALS]), **settings)


def settled(engine: Engine, intent: RootIntent | None = None) -> Convergence:
    """A run that has come to its stop."""
    run = engine.begin(seeded("s"), intent)
    assert isinstance(advance(run), Stopped)
    run.drain()
    return run


def woken(run: Convergence) -> Step:
    """Reopen a run, and drive it on."""
    run.reopen()
    return advance(run)


def stop_of(step: Step) -> StopReason:
    assert isinstance(step, Stopped)
    return step.result.stop_reason


def kinds(entries: list[Entry]) -> list[str]:
    return [entry.kind for entry in entries]


# --- the receipt ------------------------------------------------------------------------------------------------------


def test_the_ledger_holds_who_brought_it_from_where_and_the_hash_that_the_receipt_has() -> None:
    run = settled(reactive())
    receipt = run.admit(REQUEST)
    assert receipt.staged
    assert receipt.content_hash == ContentHash.of("21 degrees")
    (entry,) = run.drain()
    assert entry.body == canonical(
        {
            "content_hash": str(receipt.content_hash),
            "cycle": 1,
            "kind": "input_admitted",
            "proposal": {
                "confidence": 1,
                "id": "t1",
                "key": "signals",
                "payload": {"body": {"text": "21 degrees"}, "family": "converge.text", "version": 1},
                "provenance": "admission:external:sensor-7:plant",
            },
            "proposer": "input",
        }
    )


def test_an_observation_that_is_staged_before_the_run_is_hashed_in_its_ledger_too() -> None:
    context = ContextState().add_input(SEEDS, "s", "s")
    receipt = context.submit_observation(REQUEST)
    run = engine_of().begin(context)
    plain, observed = (entry.body for entry in run.drain() if entry.kind == "input_admitted")
    assert "content_hash" not in plain
    assert f'"content_hash":"{receipt.content_hash}"' in observed


def test_a_payload_of_any_class_is_admitted() -> None:
    run = settled(engine_of(Says("rule", text("warm", key=HYPOTHESES), reads=[Reading])))
    receipt = run.admit(replace(REQUEST, content=Reading(degrees=21)))
    assert receipt.content_hash == ContentHash.of('{"degrees":21}')
    step = woken(run)
    assert isinstance(step, Stopped)
    found = step.result.context.find(SIGNALS, "t1", Reading)
    assert found is not None
    assert found.payload.degrees == 21
    assert step.result.context.has(HYPOTHESES)


def test_the_same_observation_is_admitted_once() -> None:
    run = settled(reactive())
    run.admit(REQUEST)
    assert not run.admit(REQUEST).staged, "it waits to be judged"
    woken(run)
    assert not run.admit(REQUEST).staged, "it is a fact"
    assert kinds(run.drain()).count("input_admitted") == 1


@pytest.mark.parametrize("judged", [False, True])
def test_another_content_under_the_same_id_is_refused_and_stops_nothing(judged: bool) -> None:
    run = settled(reactive())
    run.admit(REQUEST)
    if judged:
        woken(run)
    for other in (replace(REQUEST, content="22 degrees"), replace(REQUEST, subject=SubjectRef("plant://room/1"))):
        with pytest.raises(AdmissionError, match="the run has other content under signals/t1"):
            run.admit(other)
    assert kinds(run.drain()).count("input_admitted") == 1


def test_where_conflicts_are_turned_away_so_is_a_contradicting_observation_visibly() -> None:
    run = settled(reactive(conflict_policy=ConflictPolicy.REJECT))
    run.admit(replace(REQUEST, key=SEEDS, id="s", content="other"))
    assert stop_of(woken(run)) == Converged()
    assert "proposal_conflicted" in kinds(run.drain())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"id": "x" * 300}, "invalid_id"),
        ({"content": "x" * 200}, "payload_too_large"),
        ({"source": "\ud800"}, "surrogate"),
    ],
)
def test_an_observation_without_a_form_is_refused_at_the_door(change: dict[str, str], reason: str) -> None:
    run = settled(reactive(validation=ValidationPolicy(max_payload_bytes=100)))
    with pytest.raises(AdmissionError, match=reason):
        run.admit(replace(REQUEST, **change))  # type: ignore[arg-type]
    assert run.drain() == []


def test_an_observation_may_target_a_truth_of_the_intent_and_no_other() -> None:
    intent = uphold(RootIntent("i"), [TruthDefinition(key="comfort", kind=TruthKind.JOB)])
    run = settled(reactive(), intent)
    assert run.admit(replace(REQUEST, target_truth="comfort")).target_truth == "comfort"
    assert '"admission:external:sensor-7:plant:truth:comfort"' in run.drain()[0].body
    with pytest.raises(AdmissionError, match="'profit'; it upholds comfort"):
        run.admit(replace(REQUEST, id="t2", target_truth="profit"))
    with pytest.raises(AdmissionError, match=r"does not uphold a truth 'comfort'$"):
        settled(reactive()).admit(replace(REQUEST, target_truth="comfort"))


# --- the gates --------------------------------------------------------------------------------------------------------


def test_an_observation_wakes_those_whom_it_concerns() -> None:
    run = settled(reactive())
    run.admit(REQUEST)
    run.reopen()
    step = run.next()
    assert isinstance(step, Execute)
    assert [call.name for call in step.batch] == ["rule"]
    run.receive(perform(step))
    step = advance(run)
    assert isinstance(step, Stopped)
    assert [fact.ref for fact in step.result.context.facts()] == ["seeds/s", "signals/t1", "hypotheses/warm"]


def test_the_reopening_is_recorded() -> None:
    run = settled(reactive())
    run.admit(REQUEST)
    woken(run)
    assert kinds(run.drain())[:3] == ["input_admitted", "run_reopened", "fact_promoted"]


def test_an_observation_out_of_scope_is_turned_away() -> None:
    run = settled(reactive(), RootIntent("i", scope=Scope((("plant", "north"),))))
    run.admit(replace(REQUEST, content=DataPayload(data={"plant": "south"})))
    woken(run)
    assert '"code":"out_of_scope"' in "".join(bodies(run.drain()))


def test_an_observation_passes_the_checks_that_the_policy_requires() -> None:
    engine = reactive(validation=ValidationPolicy(("cold",)))
    engine.register_check("cold", lambda proposal, ctx: "too warm" if proposal.key is SIGNALS else None)
    run = settled(engine)
    run.admit(REQUEST)
    woken(run)
    assert '"reason":"cold: too warm"' in "".join(bodies(run.drain()))


def test_an_observation_stops_at_a_human_gate() -> None:
    run = settled(reactive(hitl_policy=HitlPolicy(gated_keys=(SIGNALS,))))
    run.admit(REQUEST)
    gate = gates_of(woken(run))["signals/t1"]
    run.decide([approve()(gate.gate_id)])
    assert stop_of(advance(run)) == Converged()


def test_who_brought_an_observation_may_not_let_it_in() -> None:
    run = settled(reactive(hitl_policy=HitlPolicy(gated_keys=(SIGNALS,))))
    run.admit(replace(REQUEST, actor="ann", actor_kind=AdmissionActorKind.HUMAN))
    gate = gates_of(woken(run))["signals/t1"]
    (refused,) = run.decide([approve("ann")(gate.gate_id)])
    assert refused.code == "own_proposal"


def test_a_flow_gate_is_told_who_brought_an_observation() -> None:
    flow = FakeAuthorizer()
    run = settled(reactive(flow=flow))
    run.admit(REQUEST)
    woken(run)
    (provenance,) = {question.provenance for question in flow.asked if question.resource.id == "signals/t1"}
    assert provenance == "admission:external:sensor-7:plant"


def test_an_observation_is_checked_by_the_invariants() -> None:
    engine = reactive()
    engine.register_invariant(
        FunctionInvariant("cold", InvariantClass.SEMANTIC, lambda ctx: Violation("warm") if ctx.has(SIGNALS) else None)
    )
    run = settled(engine)
    run.admit(REQUEST)
    assert stop_of(woken(run)).name == "invariant_violated"


# --- the moment -------------------------------------------------------------------------------------------------------


def test_a_run_that_violates_something_admits_nothing() -> None:
    engine = reactive()
    engine.register_invariant(FunctionInvariant("no", InvariantClass.ACCEPTANCE, lambda ctx: Violation("bad")))
    run = settled(engine)
    with pytest.raises(AdmissionError, match="admits nothing any more: Acceptance invariant 'no' violated: bad"):
        run.admit(REQUEST)
    assert run.drain() == []


def test_an_observation_before_the_first_step_is_judged_in_the_first_cycle() -> None:
    run = reactive().begin(seeded("s"))
    run.admit(REQUEST)
    step = advance(run)
    assert isinstance(step, Stopped)
    assert step.result.context.has(HYPOTHESES)
    assert_replays(reactive(), run)


def test_an_observation_that_comes_while_others_are_at_work_is_judged_after_them() -> None:
    run = reactive().begin(ContextState().add_input(SIGNALS, "t0", "20 degrees"))
    step = run.next()
    assert isinstance(step, Execute)
    run.admit(REQUEST)
    assert run.next() is step
    run.receive(perform(step))
    assert isinstance(advance(run), Stopped)
    assert_replays(reactive(), run)


def test_nothing_is_concluded_before_an_observation_that_has_come_is_judged() -> None:
    flow = FakeAuthorizer()
    run = engine_of(Says("idle", reads=[SEEDS]), flow=flow).begin(seeded("s"))
    step = run.next()
    run.admit(REQUEST)
    run.receive(perform(step))
    advance(run)
    assert [q.resource.id for q in flow.questions(FlowAction.COMMIT)] == ["consensus_outcomes/commitment:2"]


@pytest.mark.parametrize("answer", [approve(), reject()], ids=["approve", "reject"])
def test_an_observation_that_comes_while_people_are_asked_is_judged_before_the_run_settles(answer: Answer) -> None:
    def engine() -> Engine:
        return engine_of(
            Says("rule", text("warm", key=HYPOTHESES), reads=[SIGNALS]), hitl_policy=HitlPolicy(gated_keys=(SEEDS,))
        )

    run = engine().begin(seeded("s"))
    step = advance(run)
    gate = gates_of(step)["seeds/s"]
    run.admit(REQUEST)
    assert run.next() is step
    run.decide([answer(gate.gate_id)])
    step = advance(run)
    assert isinstance(step, Stopped)
    assert step.result.context.has(HYPOTHESES)
    assert_replays(engine(), run)


def test_an_observation_that_comes_while_the_commitment_is_asked_about_is_committed_too() -> None:
    flow = FakeAuthorizer({"commit consensus_outcomes/commitment:1": FlowGateOutcome.ESCALATE})
    run = reactive(flow=flow).begin(seeded("s"))
    (gate,) = gates_of(advance(run)).values()
    run.admit(REQUEST)
    run.decide([approve()(gate.gate_id)])
    step = advance(run)
    assert isinstance(step, Stopped)
    assert [fact.id for fact in step.result.context.facts()] == ["s", "commitment:1", "t1", "warm", "commitment:4"]


def test_an_observation_waits_for_the_budget_of_a_run_that_ran_out_of_it() -> None:
    run = reactive(budget=Budget(max_cycles=1)).begin(seeded("s"))
    advance(run)
    run.admit(REQUEST)
    assert stop_of(woken(run)).name == "cycle_budget_exhausted"
    run.reopen(Budget())
    step = advance(run)
    assert isinstance(step, Stopped)
    assert step.result.context.has(HYPOTHESES)


def assert_replays(engine: Engine, run: Convergence) -> None:
    """Demand that a replay of a run's ledger derives the same bytes, and stands where it stood."""
    log = run.drain()
    again = replay(engine, log)
    assert again.pending == 0
    assert again.cycles == run.cycles


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_replay_meets_every_observation_where_the_run_met_it(times: int) -> None:
    run = reactive().begin(seeded("s"))
    advance(run)
    for number in range(times):
        run.admit(replace(REQUEST, id=f"t{number}"))
        woken(run)
    assert_replays(reactive(), run)


def test_an_admission_in_the_name_of_the_engine_is_not_replayed() -> None:
    run = reactive().begin(seeded("s"))
    advance(run)
    run.admit(REQUEST)
    log = run.drain()
    forged = Entry.of(log[-1].body.replace('"proposer":"input"', '"proposer":"converge-engine"'))
    with pytest.raises(ReplayDifference):
        replay(reactive(), [*log[:-1], forged])
