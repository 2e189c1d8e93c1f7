"""The executor: ticks that end, traces of whatever happens, and swaps that can be undone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_core import MisuseError
from converge_core.governance.hot_swap import SwapHysteresis, SwapTrigger
from converge_core.governance.resources import Observed
from converge_plugins.ceg.contract import ExecutionContract, ExecutionStep
from converge_plugins.ceg.executor import Activation, CEGExecutor, ExecutionOutcome, Look, Run, drive
from converge_plugins.ceg.graph import CEGraph, GraphInvariant, InvariantBroken
from converge_plugins.ceg.nodes import (
    AuthorityNode,
    ConstraintNode,
    EdgeKind,
    GraphError,
    IdentityScope,
    ResourceNode,
    Severity,
    TraceEvent,
    TraceNode,
)
from converge_plugins.ceg.state import SystemState, observe
from converge_plugins.ceg.swapping import Swap, SwapSettings, apply
from tests.plugins.ceg.stage import WELL, Time, contract, events, graph_of, registry, resource, sights, well

A, B, C = (resource(name) for name in "abc")
SPARE = resource("spare", role="a")
COMPLETED, INFEASIBLE = ExecutionOutcome.COMPLETED, ExecutionOutcome.INFEASIBLE
EXHAUSTED, ABORTED = ExecutionOutcome.EXHAUSTED, ExecutionOutcome.ABORTED
ILL = Observed(0.2, 500)
NEEDY = graph_of(resource("a", capabilities=("chat",)), B, edges=[("a", "b", EdgeKind.REQUIRES)])


def succeeds(step: ExecutionStep, before: tuple[Activation, ...]) -> Activation:
    return Activation(step.resource, True)


def fails(step: ExecutionStep, before: tuple[Activation, ...]) -> Activation:
    return Activation(step.resource, False, "no")


def always(state: SystemState) -> Look:
    return lambda run: state


def changing(*states: SystemState) -> Look:
    """Sees one state after the other, and stays at the last."""
    return lambda run: states[min(run.tick, len(states) - 1)]


def carried_out(
    graph: CEGraph,
    look: Look,
    perform: Callable[[ExecutionStep, tuple[Activation, ...]], Activation] = succeeds,
    held_to: ExecutionContract | None = None,
    standby: tuple[ResourceNode, ...] = (),
    executor: CEGExecutor | None = None,
) -> Run:
    executor = executor or CEGExecutor()
    return drive(executor, executor.begin(held_to or contract(), graph, standby), look, perform)


# --- Ticks ----------------------------------------------------------------------------------------------------------


def test_what_can_be_planned_is_executed_and_completed_in_a_tick() -> None:
    run = carried_out(graph_of(A), always(well("a")))
    assert (run.outcome, run.tick) == (COMPLETED, 0)
    assert events(run) == ["activated a", "completed a"]


def test_what_is_required_is_executed_before_and_its_failure_ends_the_tick() -> None:
    done = carried_out(NEEDY, always(well("a", "b")), held_to=contract(capabilities=["chat"]))
    assert events(done) == ["activated b", "completed b", "activated a", "completed a"]
    failed = carried_out(NEEDY, always(well("a", "b")), fails, contract(capabilities=["chat"], max_ticks=1))
    assert events(failed) == ["activated b", "failed b"]


def test_what_a_step_is_told_is_what_was_done_before() -> None:
    seen = []

    def notes(step: ExecutionStep, before: tuple[Activation, ...]) -> Activation:
        seen.append((step.resource, [each.resource for each in before]))
        return Activation(step.resource, True)

    carried_out(NEEDY, always(well("a", "b")), notes, contract(capabilities=["chat"]))
    assert seen == [("b", []), ("a", ["b"])]


@pytest.mark.parametrize("severity", [Severity.SOFT, Severity.HARD, Severity.CRITICAL])
@pytest.mark.parametrize("predicate", ["no_pii", "max_cost", "whatever"])
def test_x12_the_outcome_of_a_violated_constraint_follows_its_severity(severity: Severity, predicate: str) -> None:
    run = carried_out(graph_of(A, ConstraintNode(predicate=predicate, severity=severity)), always(well("a")))
    expected = {Severity.SOFT: COMPLETED, Severity.HARD: INFEASIBLE, Severity.CRITICAL: ABORTED}
    assert run.outcome is expected[severity]
    assert (TraceEvent.ACTIVATED in [trace.event for trace in run.graph.traces()]) is (severity is Severity.SOFT)


def test_x12_an_abort_is_no_completion_and_leaves_a_trace() -> None:
    run = carried_out(graph_of(A, ConstraintNode(predicate="x", severity=Severity.CRITICAL)), always(well("a")))
    assert (run.outcome, run.tick, events(run)) == (ABORTED, 0, ["aborted"])
    assert "critical constraint 'x' is not known to hold" in run.reason


def test_x14_what_cannot_be_planned_stops_at_the_second_look_that_shows_the_same() -> None:
    run = carried_out(graph_of(A), always(well("a")), held_to=contract(max_cost=0.1, max_ticks=20))
    assert (run.outcome, run.tick) == (INFEASIBLE, 1)
    assert run.reason == "nothing has changed since tick 0: a: cost: 1 USD > 0.1 USD"
    assert events(run) == ["swap_refused a", "infeasible"] * 2


def test_x14_what_cannot_be_planned_yet_is_looked_at_as_long_as_something_changes() -> None:
    dead = Observed(0.0, 500)
    run = carried_out(graph_of(A), changing(sights({"a": dead}), sights({"a": Observed(0.0, 400)}), well("a")))
    assert (run.outcome, run.tick) == (COMPLETED, 2)
    assert events(run) == [*["swap_refused a", "infeasible"] * 2, "activated a", "completed a"]


def test_x14_a_drift_of_costs_is_no_change() -> None:
    fell = changing(well("a"), sights({"a": Observed(0.5, 500)}))
    run = carried_out(graph_of(A), fell, held_to=contract(max_cost=0.9, max_ticks=20))
    assert (run.outcome, run.tick) == (INFEASIBLE, 2)


def test_x14_what_fails_stops_when_nothing_changes() -> None:
    run = carried_out(graph_of(A), always(well("a")), fails)
    assert (run.outcome, run.tick) == (EXHAUSTED, 1)
    assert run.reason == "nothing has changed since tick 0: it fails"


def test_there_are_no_more_ticks_than_the_contract_has() -> None:
    restless = [sights({"a": Observed(1.0, 500 + tick)}) for tick in range(9)]
    run = carried_out(graph_of(A), changing(*restless), fails, contract(max_ticks=3))
    assert (run.outcome, run.tick, run.reason) == (EXHAUSTED, 2, "there are no more than 3 ticks")


def test_x17_what_is_seen_at_a_tick_counts_and_not_what_was_seen_first() -> None:
    capacity = registry("a", "b")
    for provider in "ab":
        capacity.record_success(provider, 500)

    def asks(step: ExecutionStep, before: tuple[Activation, ...]) -> Activation:
        if step.resource == "a":
            capacity.record_error("a", "no answer")
        return Activation(step.resource, step.resource == "b")

    run = carried_out(graph_of(A, B), lambda run: observe(run.pool, capacity.snapshot(), 0), asks)
    assert (run.outcome, run.tick) == (COMPLETED, 1)
    assert events(run) == ["activated a", "failed a", "activated b", "completed b"]


def test_whatever_a_performer_raises_it_has_failed_and_there_is_a_trace_of_it() -> None:
    def raises(step: ExecutionStep, before: tuple[Activation, ...]) -> Activation:
        raise RuntimeError("secret")

    run = carried_out(graph_of(A), always(well("a")), raises, contract(max_ticks=1))
    [_, failed] = run.graph.traces()
    assert (failed.event, failed.detail) == (TraceEvent.FAILED, "RuntimeError")


def test_data_that_leaves_is_on_record_where_the_contract_has_it_so() -> None:
    run = carried_out(graph_of(A), always(well("a")), held_to=contract(external_io_policy="audit"))
    assert events(run) == ["activated a", "audited a", "completed a"]


# --- Its turns ------------------------------------------------------------------------------------------------------


def test_a_tick_is_looked_at_once_and_concluded_once() -> None:
    executor = CEGExecutor()
    run = executor.begin(contract(), graph_of(A))
    with pytest.raises(MisuseError, match="a tick is over when there was a plan"):
        executor.conclude(run)
    planned = executor.step(run, well("a"))
    with pytest.raises(MisuseError, match="looked at already"):
        executor.step(planned, well("a"))
    with pytest.raises(MisuseError, match="'b' is no step of the plan"):
        executor.activate(planned, ExecutionStep("b", 0, 0, 0))
    assert planned.plan is not None
    begun = executor.activate(planned, planned.plan.steps[0])
    with pytest.raises(MisuseError, match="nothing is being executed any more"):
        executor.conclude(begun)


def test_constraint_dominance_a_step_is_not_begun_past_a_constraint_that_came_up_since() -> None:
    executor = CEGExecutor()
    run = executor.step(executor.begin(contract(), graph_of(A)), well("a"))
    assert run.plan is not None
    changed = replace(run, graph=run.graph.add_node(ConstraintNode(id="r", predicate="p")))
    with pytest.raises(InvariantBroken) as error:
        executor.activate(changed, run.plan.steps[0])
    assert error.value.invariant is GraphInvariant.CONSTRAINT_DOMINANCE


# --- Swaps ----------------------------------------------------------------------------------------------------------


def test_who_is_ill_is_replaced_and_the_other_has_the_edges() -> None:
    rule = ConstraintNode(id="r", predicate="no_pii")
    graph = graph_of(A, rule, edges=[("a", "r", EdgeKind.REQUIRES)])
    state = sights({"a": ILL, "spare": WELL})
    run = carried_out(graph, always(state), held_to=contract(labels=["ops.load"]), standby=(SPARE,))
    assert (run.outcome, run.tick) == (COMPLETED, 1)
    assert events(run) == ["swapped spare", "activated spare", "completed spare"]
    assert run.graph.requirements_of("spare") == ("r",)
    assert [node.id for node in run.standby] == ["a"]


@pytest.mark.parametrize(("latency", "swapped"), [(500.5, False), (1000, False), (1000.5, True)])
def test_x15_a_swap_for_latency_depends_on_the_target_and_not_on_dilation(latency: float, swapped: bool) -> None:
    state = sights({"a": Observed(1.0, latency), "spare": WELL})
    run = carried_out(graph_of(A), always(state), standby=(SPARE,))
    assert run.graph.has("spare") is swapped


def test_x16_who_took_over_can_be_replaced_in_turn() -> None:
    third = resource("third", role="a")
    settings = SwapSettings(hysteresis=SwapHysteresis(cooldown_ms=0))
    states = [
        sights({"a": ILL, "spare": WELL, "third": Observed(0.9, 500)}),
        sights({"a": ILL, "spare": ILL, "third": Observed(0.9, 500)}),
        sights({"a": ILL, "spare": ILL, "third": Observed(0.9, 500)}),
    ]
    run = carried_out(graph_of(A), changing(*states), standby=(SPARE, third), executor=CEGExecutor(settings=settings))
    assert events(run)[:2] == ["swapped spare", "swapped third"]
    assert run.outcome is COMPLETED


def test_x16_hysteresis_is_asked_and_a_swap_that_is_not_to_be_leaves_a_trace() -> None:
    state = sights({"a": Observed(0.3, 500), "spare": Observed(0.33, 500)})
    run = carried_out(graph_of(A), always(state), standby=(SPARE,))
    assert events(run) == ["swap_refused a", "activated a", "completed a"]
    assert "improvement 0.030 <= 0.05" in run.graph.traces()[0].detail


def test_x16_somebody_who_can_do_less_does_not_take_over() -> None:
    able = resource("a", capabilities=("chat", "vision"))
    run = carried_out(graph_of(able), always(sights({"a": ILL, "spare": WELL})), standby=(SPARE,))
    assert events(run)[0] == "swap_refused a"


def test_x16_whoever_is_denied_by_an_authority_is_replaced_at_once() -> None:
    near = resource("spare", role="a", external=False)
    law = AuthorityNode(id="law", identity_scope=IdentityScope.PUBLIC, policies=("local-only",))
    run = carried_out(graph_of(A, law), always(well("a", "spare")), standby=(near,))
    assert events(run) == ["swapped spare", "activated spare", "completed spare"]
    assert run.graph.traces()[0].detail.startswith("authority_revoked")


def test_x16_who_stands_by_is_held_to_the_authority_of_the_place_that_it_would_fill() -> None:
    law = AuthorityNode(id="law", identity_scope=IdentityScope.PUBLIC, policies=("local-only",))
    graph = graph_of(A, law, edges=[("a", "law", EdgeKind.REQUIRES)])
    run = carried_out(graph, always(well("a", "spare")), standby=(SPARE,))
    assert (run.outcome, events(run)[0]) == (INFEASIBLE, "swap_refused a")


def test_x16_somebody_who_has_been_unsteady_does_not_take_over() -> None:
    was_dead = sights({"a": Observed(0.0, 500), "spare": Observed(0.0, 500)})
    both = {"a": Observed(0.1, 500), "spare": WELL}
    run = carried_out(graph_of(A), changing(was_dead, sights(both)), standby=(SPARE,))
    assert "stability of spare 0.200 < 0.6" in [trace.detail for trace in run.graph.traces()][2]


def test_x16_a_newcomer_that_fails_is_rolled_back_and_who_was_there_has_its_edges_again() -> None:
    rule = ConstraintNode(id="r", predicate="no_pii")
    graph = graph_of(A, rule, edges=[("a", "r", EdgeKind.REQUIRES)])

    def only_a(step: ExecutionStep, before: tuple[Activation, ...]) -> Activation:
        return Activation(step.resource, step.resource == "a")

    state = sights({"a": ILL, "spare": WELL})
    run = carried_out(graph, always(state), only_a, contract(labels=["ops.load"]), (SPARE,))
    assert events(run) == [
        "swapped spare",
        "activated spare",
        "failed spare",
        "swapped a",
        "swap_refused a",
        "activated a",
        "completed a",
    ]
    assert run.graph.untraced() == graph


def test_x16_a_swap_can_be_rolled_back_in_the_middle_of_an_execution() -> None:
    executor = CEGExecutor()
    run = executor.step(executor.begin(contract(), graph_of(A), (SPARE,)), sights({"a": ILL, "spare": WELL}))
    run = executor.step(run, sights({"a": ILL, "spare": WELL}))
    assert run.plan is not None
    run = executor.activate(run, run.plan.steps[0])
    back = executor.rollback(run, "a")
    assert back.graph.active == ()
    assert events(back) == ["swapped spare", "activated spare", "rolled_back spare", "swapped a"]
    assert back.graph.untraced() == graph_of(A)
    with pytest.raises(MisuseError, match="has not been swapped"):
        executor.rollback(back, "a")


def test_a_swap_that_was_decided_before_somebody_else_took_over_is_refused() -> None:
    registry = SwapSettings().registry(graph_of(A), (SPARE,))
    for stale in (Swap("a", "x", "spare", SwapTrigger.MANUAL, ""), Swap("b", "a", "spare", SwapTrigger.MANUAL, "")):
        with pytest.raises(GraphError, match="nobody can put 'spare' in the place of"):
            apply(registry, stale, 0, 0)


def test_nobody_is_replaced_in_the_last_tick() -> None:
    run = carried_out(
        graph_of(A), always(sights({"a": ILL, "spare": WELL})), held_to=contract(max_ticks=1), standby=(SPARE,)
    )
    assert events(run) == ["swap_refused a", "activated a", "completed a"]


# --- Whatever happens -----------------------------------------------------------------------------------------------

HEALTH = st.sampled_from([None, 0.0, 0.2, 0.5, 0.9, 1.0])
STATES = st.lists(
    st.fixed_dictionaries({name: st.builds(Observed, HEALTH, st.sampled_from([None, 100, 5000])) for name in "abc"}),
    min_size=1,
    max_size=6,
)


@given(STATES, st.sets(st.sampled_from("abc")), st.sampled_from([Severity.SOFT, Severity.HARD, Severity.CRITICAL]))
def test_every_execution_ends_and_each_tick_and_activation_has_its_trace(
    seen: list[dict[str, Observed]], failing: set[str], severity: Severity
) -> None:
    performed: list[str] = []

    def perform(step: ExecutionStep, before: tuple[Activation, ...]) -> Activation:
        performed.append(step.resource)
        return Activation(step.resource, step.resource not in failing)

    graph = graph_of(
        A, B, ConstraintNode(predicate="healthy", arguments={"resource": "a", "min_health": 0.3}, severity=severity)
    )
    look = changing(*(sights(each) for each in seen))
    spare = (resource("c", role="a"),)
    held_to = contract(max_ticks=8)
    run = carried_out(graph, look, perform, held_to, spare)
    again = carried_out(graph, look, perform, held_to, spare)
    assert run.outcome is not None
    assert run.tick < 8
    traces = run.graph.of(TraceNode)
    assert {trace.tick for trace in traces} == set(range(run.tick + 1))
    begun = [trace.actor for trace in run.graph.traces() if trace.event is TraceEvent.ACTIVATED]
    assert performed == begun + begun
    assert run.graph.active == ()
    assert again == run


def test_time_is_what_the_state_says_it_is() -> None:
    time = Time()
    executor = CEGExecutor(settings=SwapSettings(hysteresis=SwapHysteresis(cooldown_ms=1000)))
    run = executor.begin(contract(), graph_of(A), (SPARE,))
    ill = {"a": ILL, "spare": WELL}
    run = executor.step(run, SystemState(sights(ill).sights, time()))
    assert run.registry.hysteresis.swapped == {"a": time()}
