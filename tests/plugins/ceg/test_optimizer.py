"""The optimizer: the numbers of the original where they were right, and every rule that it did not keep."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_core.governance.actions import Gate, GatePassage
from converge_core.governance.dilation import DilationField, Signals
from converge_core.governance.negative_authority import AuthorityGate, NegativeAuthorityProfile
from converge_core.governance.ranking import CostWeights
from converge_core.governance.resources import Observed
from converge_plugins.ceg.contract import PREDICATES, ExecutionConstraints, ExternalIO, Question, Verdict, judge
from converge_plugins.ceg.graph import CEGraph
from converge_plugins.ceg.nodes import (
    AuthorityNode,
    ConstraintNode,
    EdgeKind,
    IdentityScope,
    IntentNode,
    MemoryAccess,
    MemoryNode,
    ResourceKind,
    ResourceNode,
    Severity,
)
from converge_plugins.ceg.optimizer import PCSFOptimizer
from converge_plugins.ceg.state import House, SystemState, observe
from tests.plugins.ceg.stage import WELL, contract, graph_of, plan_of, registry, rejections, resource, sights, well

A, B, C = (resource(name) for name in "abc")
REQUIRES, BLOCKS = EdgeKind.REQUIRES, EdgeKind.BLOCKS
THREE = graph_of(*(resource(name) for name in ("anthropic", "openai", "ollama")))
SEEN = {"anthropic": Observed(1.0, 500), "openai": Observed(0.9, 600), "ollama": Observed(0.8, 200)}
TWICE = DilationField().observe(dict.fromkeys(SEEN, Signals(1.0, 0.0, 0.0)))


# --- The numbers of the original ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "costs"),
    [
        (DilationField(), {"anthropic": 0.415, "openai": 0.438, "ollama": 0.446}),
        (TWICE, {"anthropic": 0.43, "ollama": 0.452, "openai": 0.456}),
    ],
    ids=["D is 1", "D is 2"],
)
def test_the_costs_are_those_that_were_observed(field: DilationField, costs: dict[str, float]) -> None:
    plan = plan_of(THREE, state=sights(SEEN), field=field)
    assert {each.resource: each.cost for each in plan.candidates} == pytest.approx(costs)
    assert list(plan.order) == list(costs)


def test_the_plan_has_one_step_with_its_price_and_its_latency() -> None:
    plan = plan_of(THREE, state=sights(SEEN))
    assert [step.resource for step in plan.steps] == ["anthropic"]
    assert (plan.total_cost, plan.total_latency_ms) == (1.0, 500)


def test_a_thousand_tokens_for_a_dollar_are_too_much_for_five_cents() -> None:
    plan = plan_of(graph_of(A), contract(max_cost=0.05))
    assert not plan.feasible
    assert plan.reasons == ("a: cost: 1 USD > 0.05 USD",)


def test_exactly_at_the_limits_is_within_them() -> None:
    assert plan_of(graph_of(A), contract(max_cost=1.0, max_latency_ms=500)).feasible


def test_weights_are_what_they_are_said_to_be() -> None:
    rulings = House().rule(THREE, contract(), sights(SEEN))
    quick = PCSFOptimizer(CostWeights(1, 0, 0, 0))
    assert quick.optimize(THREE, contract(), sights(SEEN), DilationField(), rulings).order[0] == "ollama"


def test_instability_is_a_part_of_the_cost() -> None:
    graph, state = graph_of(A), well("a")
    rulings = House().rule(graph, contract(), state)
    plan = PCSFOptimizer().optimize(graph, contract(), state, DilationField(), rulings, {"a": 0.5})
    assert plan.candidates[0].terms == pytest.approx((0.015, 0.4, 0.0, 0.05))


# --- Dilation in the order ------------------------------------------------------------------------------------------


def test_cr003_a_provider_that_is_ill_is_passed_over_and_the_route_says_how_much_each_would_cost() -> None:
    graph = graph_of(resource("a", priority=0), resource("b", priority=1))
    sure = Signals.of_health(1.0, 1.0)
    field = DilationField().observe({"a": sure, "b": sure})
    assert plan_of(graph, field=field).order == ("a", "b")
    ill = {"a": Observed(0.2, 500), "b": WELL}
    worse = field.observe({"a": Signals.of_health(0.2, 1.0)})
    plan = plan_of(graph, state=sights(ill), field=worse)
    told = {each.resource: each for each in plan.candidates}
    assert plan.order == ("b", "a")
    assert told["a"].dilation > field.get("a") == told["b"].dilation
    assert told["a"].cost > told["b"].cost
    assert plan_of(graph, field=worse.observe({"a": sure})).order == ("a", "b")


def test_cr003_dilation_alone_turns_the_order() -> None:
    slow = DilationField().observe({"a": Signals(1.0, 0.0, 0.0)})
    assert plan_of(graph_of(A, B)).order == ("a", "b")
    assert plan_of(graph_of(A, B), field=slow).order == ("b", "a")


def test_of_equals_the_lowest_priority_is_first_and_then_the_first_id() -> None:
    assert plan_of(graph_of(resource("a", priority=2), resource("b", priority=1), resource("c", priority=1))).order == (
        "b",
        "c",
        "a",
    )


def test_a_resource_in_a_hurry_is_not_faster_for_it() -> None:
    hurried = DilationField().observe({"a": Signals(0.0, 1.0, 1.0)})
    assert hurried.get("a") == 0.25
    plan = plan_of(graph_of(A), contract(max_latency_ms=499), field=hurried)
    assert rejections(plan) == {"a": ["latency"]}


def test_a_resource_that_dilates_takes_as_much_longer() -> None:
    slow = DilationField().observe({"a": Signals(1.0, 0.0, 0.0)})
    assert rejections(plan_of(graph_of(A), contract(max_latency_ms=999), field=slow)) == {"a": ["latency"]}


# --- Health from the live registry ----------------------------------------------------------------------------------


def test_s003_the_health_of_a_plan_is_that_of_the_registry() -> None:
    capacity = registry("a", "b")
    graph = graph_of(A, B)
    for provider in "ab":
        capacity.record_success(provider, 500)
    assert plan_of(graph, state=observe([A, B], capacity.snapshot(), 0)).order == ("a", "b")
    capacity.record_error("a", "no answer")
    assert plan_of(graph, state=observe([A, B], capacity.snapshot(), 0)).order == ("b", "a")


def test_td009_what_nobody_has_observed_is_unknown_and_not_well() -> None:
    capacity = registry("a", "b")
    capacity.record_success("b", 500)
    plan = plan_of(graph_of(A, B), state=observe([A, B], capacity.snapshot(), 0))
    assert {each.resource: each.health for each in plan.candidates} == {"a": None, "b": 1.0}
    assert plan.order == ("b", "a")


def test_td009_a_constraint_on_health_fails_closed_where_nobody_knows() -> None:
    healthy = ConstraintNode(id="h", predicate="healthy", arguments={"resource": "a", "min_health": 0.5})
    capacity, graph = registry("a"), graph_of(A, healthy)

    def plan() -> Any:
        return plan_of(graph, state=observe([A], capacity.snapshot(), 0))

    assert plan().reasons == ("a: constraints: hard constraint 'healthy' is not known to hold",)
    capacity.record_success("a", 500)
    assert plan().feasible
    for _ in range(3):
        capacity.record_error("a", "no answer")
    assert not plan().feasible


def test_x17_what_is_seen_later_replaces_what_was_seen_first() -> None:
    capacity = registry("a")
    capacity.record_success("a", 500)
    first = observe([A], capacity.snapshot(), 0)
    capacity.record_error("a", "no answer")
    later = observe([A], capacity.snapshot(), 1)
    assert (first.live["a"].health, later.live["a"].health) == (1.0, 0.5)


def test_a_provider_that_nobody_knows_cannot_be_reached() -> None:
    plan = plan_of(graph_of(A), state=observe([A], registry("b").snapshot(), 0))
    assert plan.reasons == ("a: gates: ccf: the claim of 'a' is not verified: provider 'a' is not known here",)


def test_a_resource_whose_circuit_is_open_is_dead() -> None:
    capacity = registry("a")
    for _ in range(3):
        capacity.record_error("a", "no answer")
    assert "health" in rejections(plan_of(graph_of(A), state=observe([A], capacity.snapshot(), 0)))["a"]


def test_a_resource_whose_circuit_is_open_is_turned_away_by_the_gate_of_capacity() -> None:
    capacity = registry("a")
    for _ in range(3):
        capacity.record_error("a", "no answer")
    rulings = House().rule(graph_of(A), contract(), observe([A], capacity.snapshot(), 0))
    assert rulings.resources[0].passages[-1] == GatePassage(
        gate=Gate.CAPACITY, denial="provider 'a' cannot be asked now"
    )


def test_who_would_read_what_is_too_closed_is_turned_away_by_the_first_gate() -> None:
    graph = graph_of(A, MemoryNode(id="m"), edges=[("a", "m", EdgeKind.OBSERVES)])
    [ruling] = House().rule(graph, contract(memory_policy="public"), well("a")).resources
    assert [passage.gate for passage in ruling.passages] == [Gate.CLASSIFICATION]


def test_a_tool_is_reached_if_somebody_vouches_for_it() -> None:
    tool = resource("t", resource_kind=ResourceKind.TOOL)
    for attested, feasible in (((), False), (("t",), True)):
        state = observe([tool], registry().snapshot(), 0, attested)
        assert plan_of(graph_of(tool), state=state).feasible is feasible


# --- The rules ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("node", "fields", "rule"),
    [
        (A, {"forbidden": ["a"]}, "allowed"),
        (resource("a", provider="p"), {"forbidden": ["p"]}, "allowed"),
        (A, {"allowed": ["other"]}, "allowed"),
        (A, {"capabilities": ["vision"]}, "capabilities"),
        (A, {"determinism": True}, "determinism"),
        (A, {"external_io_policy": "block"}, "external_io"),
        (A, {"max_cost": 0.5}, "cost"),
        (A, {"max_latency_ms": 100}, "latency"),
    ],
)
def test_x13_every_limit_of_a_contract_is_honoured(node: ResourceNode, fields: dict[str, Any], rule: str) -> None:
    plan = plan_of(graph_of(node), contract(**fields))
    assert not plan.feasible
    assert rejections(plan) == {"a": [rule]}


@pytest.mark.parametrize(
    ("node", "fields"),
    [
        (A, {"allowed": ["a"]}),
        (resource("x", provider="p"), {"allowed": ["p"]}),
        (resource("a", capabilities=("vision", "chat")), {"capabilities": ["vision"]}),
        (resource("a", deterministic=True), {"determinism": True}),
        (resource("a", external=False), {"external_io_policy": "block"}),
    ],
)
def test_x13_who_keeps_the_contract_is_planned(node: ResourceNode, fields: dict[str, Any]) -> None:
    assert plan_of(graph_of(node), contract(**fields)).feasible


def test_there_is_no_limit_that_nobody_checks() -> None:
    checked = {"max_cost", "max_latency_ms", "determinism", "memory_policy", "external_io_policy"}
    assert set(ExecutionConstraints.model_fields) == checked


@pytest.mark.parametrize(("external", "audited"), [(True, True), (False, False)])
def test_x13_what_leaves_the_premises_is_audited_where_the_contract_has_it_so(external: bool, audited: bool) -> None:
    plan = plan_of(graph_of(resource("a", external=external)), contract(external_io_policy=ExternalIO.AUDIT))
    assert [step.audited for step in plan.steps] == [audited]


def test_x13_memory_that_is_too_closed_is_not_read() -> None:
    secret = MemoryNode(id="m", access=MemoryAccess.INTERNAL)
    graph = graph_of(A, B, secret, edges=[("a", "m", EdgeKind.OBSERVES)])
    found = rejections(plan_of(graph, contract(memory_policy="operator")))
    assert (found["a"][0], found["b"]) == ("memory", [])
    assert plan_of(graph, contract(memory_policy="internal")).order == ("a", "b")


def test_x13_what_is_required_is_executed_first_and_counts() -> None:
    graph = graph_of(A, resource("t", cost_per_token=0.002), edges=[("a", "t", REQUIRES)])
    plan = plan_of(graph, contract(forbidden=["nobody"]))
    by_id = {each.resource: each for each in plan.candidates}
    assert by_id["a"].steps == ("t", "a")
    assert by_id["a"].cost == pytest.approx(0.415 + 0.815)
    assert rejections(plan_of(graph, contract(max_cost=2.5)))["a"] == ["cost"]


def test_x13_who_requires_what_cannot_be_used_cannot_be_used() -> None:
    graph = graph_of(A, B, C, edges=[("a", "b", REQUIRES), ("b", "c", REQUIRES)])
    plan = plan_of(graph, state=sights({"a": WELL, "b": WELL, "c": Observed(0.0, 1)}))
    assert plan.order == ()
    assert rejections(plan)["a"] == ["requires"]


def test_x13_what_is_required_need_not_be_able_to_answer() -> None:
    able = resource("a", capabilities=("chat",))
    graph = graph_of(IntentNode(id="i"), able, B, edges=[("a", "b", REQUIRES), ("i", "a", EdgeKind.EXECUTES_ON)])
    assert [step.resource for step in plan_of(graph, contract(capabilities=["chat"])).steps] == ["b", "a"]


def test_x13_a_resource_that_is_blocked_is_not_used() -> None:
    plan = plan_of(graph_of(A, B, edges=[("b", "a", BLOCKS)]))
    assert rejections(plan) == {"b": [], "a": ["blocks"]}


def test_x13_a_constraint_blocks_until_it_holds() -> None:
    rule = ConstraintNode(id="r", predicate="no_pii", severity=Severity.SOFT)
    graph = graph_of(A, rule, edges=[("r", "a", BLOCKS)])
    assert rejections(plan_of(graph)) == {"a": ["blocks"]}
    assert plan_of(graph, contract(labels=["public.news"])).feasible


def test_x13_a_constraint_that_is_required_has_to_hold_whatever_its_severity() -> None:
    rule = ConstraintNode(id="r", predicate="no_pii", severity=Severity.SOFT)
    graph = graph_of(A, rule, edges=[("a", "r", REQUIRES)])
    assert rejections(plan_of(graph)) == {"a": ["constraints"]}
    assert plan_of(graph, contract(labels=["public.news"])).feasible


def test_x13_an_intent_that_executes_on_some_executes_on_them_only() -> None:
    graph = graph_of(IntentNode(id="i"), A, B, edges=[("i", "b", EdgeKind.EXECUTES_ON)])
    assert plan_of(graph).order == ("b",)


def test_x13_an_authority_that_is_not_given_is_in_the_way() -> None:
    graph = graph_of(
        A, B, AuthorityNode(id="boss", identity_scope=IdentityScope.OPERATOR), edges=[("a", "boss", REQUIRES)]
    )
    assert rejections(plan_of(graph)) == {"b": [], "a": ["authority"]}
    assert plan_of(graph, contract(authority=IdentityScope.OPERATOR)).order == ("a", "b")


def test_x13_a_policy_of_an_authority_denies_whatever_the_resource_can_do() -> None:
    near = resource("near", external=False)
    graph = graph_of(A, near, AuthorityNode(id="law", identity_scope=IdentityScope.PUBLIC, policies=("local-only",)))
    plan = plan_of(graph)
    assert plan.order == ("near",)
    assert plan.candidates[1].rejections[0].detail.startswith("nap: boundary 'cloud' denied")


def test_x13_a_policy_that_nobody_knows_denies() -> None:
    graph = graph_of(A, AuthorityNode(id="law", identity_scope=IdentityScope.PUBLIC, policies=("loacl-only",)))
    assert "names a policy that nobody knows: 'loacl-only'" in plan_of(graph).reasons[0]


def test_denials_of_the_house_hold_without_any_authority_in_the_graph() -> None:
    house = House(denials=AuthorityGate((NegativeAuthorityProfile("x", data_classes=frozenset({"pii.ssn"})),)))
    assert not plan_of(graph_of(A), contract(labels=["pii.ssn"]), house=house).feasible
    assert plan_of(graph_of(A), contract(labels=["pii.email"]), house=house).feasible


def test_a_graph_without_a_resource_has_no_plan() -> None:
    assert plan_of(CEGraph()).reasons == ("there is no resource",)


def test_all_that_is_against_a_candidate_is_told_and_not_only_the_first() -> None:
    plan = plan_of(graph_of(A), contract(forbidden=["a"], determinism=True, max_cost=0.1))
    assert rejections(plan) == {"a": ["allowed", "determinism", "cost"]}


# --- Constraints: severity alone decides ----------------------------------------------------------------------------


def says(held: bool | None) -> House:
    return House({"no_pii": lambda _: held, "max_cost < 0.01": lambda _: held, "whatever": lambda _: held})


@pytest.mark.parametrize("predicate", ["no_pii", "max_cost < 0.01", "whatever"])
@pytest.mark.parametrize("held", [True, False, None], ids=["holds", "violated", "unknown"])
@pytest.mark.parametrize("severity", Severity)
def test_x12_severity_alone_decides_whatever_the_predicate(
    predicate: str, held: bool | None, severity: Severity
) -> None:
    plan = plan_of(graph_of(A, ConstraintNode(predicate=predicate, severity=severity)), house=says(held))
    violated = held is not True
    assert plan.feasible is not (violated and severity.blocks)
    assert plan.aborted is (violated and severity is Severity.CRITICAL)
    assert bool(plan.warnings) is (violated and severity is Severity.SOFT)


def test_x12_a_predicate_that_nobody_knows_does_not_hold() -> None:
    plan = plan_of(graph_of(A, ConstraintNode(predicate="no_pi", severity=Severity.CRITICAL)))
    assert plan.reasons == ("critical constraint 'no_pi' is not known to hold: there is no such predicate",)


def _raises(question: Question) -> bool:
    raise RuntimeError("no idea")


@pytest.mark.parametrize(
    ("predicate", "detail"),
    [(_raises, "it raised RuntimeError"), (lambda _: "yes", "it said str, which is neither yes nor no")],
)
def test_x12_a_predicate_that_fails_or_says_anything_else_has_not_said_yes(predicate: Any, detail: str) -> None:
    verdict = judge(ConstraintNode(id="r", predicate="p"), {"p": predicate}, contract(), {})
    assert verdict == Verdict("r", "p", Severity.HARD, None, detail)


@pytest.mark.parametrize(
    ("predicate", "arguments", "fields", "held"),
    [
        ("no_pii", {}, {"labels": ["ops.load"]}, True),
        ("no_pii", {}, {"labels": ["ops.load", "pii.email"]}, False),
        ("no_pii", {}, {}, None),
        ("max_cost", {"usd": 1}, {"max_cost": 1}, True),
        ("max_cost", {"usd": 1}, {"max_cost": 1.01}, False),
        ("max_cost", {}, {}, None),
        ("max_latency", {"ms": 10}, {"max_latency_ms": 10}, True),
        ("max_latency", {"ms": 10}, {"max_latency_ms": 11}, False),
        ("deterministic", {}, {"determinism": True}, True),
        ("deterministic", {}, {}, False),
        ("on_the_premises", {}, {"external_io_policy": "block"}, True),
        ("on_the_premises", {}, {"external_io_policy": "audit"}, False),
        ("healthy", {"resource": "a", "min_health": 0.5}, {}, True),
        ("healthy", {"resource": "b", "min_health": 0.5}, {}, False),
        ("healthy", {"resource": "c", "min_health": 0.5}, {}, None),
    ],
)
def test_the_predicates_of_the_house(
    predicate: str, arguments: dict[str, Any], fields: dict[str, Any], held: bool | None
) -> None:
    live = {"a": WELL, "b": Observed(0.4, 1)}
    constraint = ConstraintNode(predicate=predicate, arguments=arguments)
    assert judge(constraint, PREDICATES, contract(**fields), live).held is held


def test_a_constraint_of_one_resource_leaves_the_others_alone() -> None:
    graph = graph_of(A, B, ConstraintNode(id="r", predicate="no_pii"), edges=[("a", "r", REQUIRES)])
    assert plan_of(graph).order == ("b",)


# --- The same plan --------------------------------------------------------------------------------------------------

HEALTH = st.one_of(st.none(), st.floats(0, 1))
SIGHTS = st.fixed_dictionaries(
    {name: st.builds(Observed, HEALTH, st.one_of(st.none(), st.floats(1, 20_000))) for name in "abcd"}
)
EDGES = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from("cd"), st.sampled_from([REQUIRES, BLOCKS])), max_size=4
)


@given(SIGHTS, EDGES, st.permutations("abcd"), st.floats(0, 1))
def test_the_same_graph_state_and_field_have_the_same_plan(
    seen: dict[str, Observed], edges: list[tuple[str, str, EdgeKind]], order: list[str], uncertainty: float
) -> None:
    field = DilationField().observe({"a": Signals(uncertainty)})
    one = plan_of(graph_of(*map(resource, "abcd"), edges=edges), state=sights(seen), field=field)
    two = plan_of(graph_of(*map(resource, order), edges=edges[::-1]), state=sights(seen), field=field)
    assert one == two
    assert one.id == two.id


@given(SIGHTS, EDGES)
def test_a_plan_executes_nobody_against_whom_there_is_anything(
    seen: dict[str, Observed], edges: list[tuple[str, str, EdgeKind]]
) -> None:
    plan = plan_of(graph_of(*map(resource, "abcd"), edges=edges), state=sights(seen))
    chosen = plan.candidates[0]
    assert plan.feasible is chosen.accepted
    assert tuple(step.resource for step in plan.steps) == (chosen.steps if chosen.accepted else ())
    assert all(chosen.cost <= each.cost for each in plan.candidates if each.accepted)


def test_the_plan_names_what_it_was_made_of() -> None:
    state = SystemState(well("a").sights, at_ms=1)
    one, later = plan_of(graph_of(A), state=well("a")), plan_of(graph_of(A), state=state)
    assert one.graph == graph_of(A).digest
    assert one.id == later.id
    assert one.id != plan_of(graph_of(A), contract(max_cost=5), well("a")).id
