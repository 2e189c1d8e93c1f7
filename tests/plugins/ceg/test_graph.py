"""The execution graph: what it holds, what it refuses, and that four invariants hold whatever is done to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from pydantic import TypeAdapter

from converge_core.governance.hot_swap import Edge
from converge_core.ledger.canonical import canonical, parse
from converge_plugins.ceg.graph import ENDS, CEGraph, GraphInvariant, InvariantBroken
from converge_plugins.ceg.nodes import (
    AuthorityNode,
    ConstraintNode,
    EdgeKind,
    GraphError,
    IntentNode,
    MemoryNode,
    Node,
    ProjectionNode,
    ResourceNode,
    Severity,
    TraceEvent,
    TraceNode,
    node_json,
    read_node,
)
from tests.plugins.ceg.stage import events, graph_of, resource

A, B, C = (resource(name) for name in "abc")
RULE = ConstraintNode(id="rule", predicate="no_pii")
REQUIRES, BLOCKS, DERIVES = EdgeKind.REQUIRES, EdgeKind.BLOCKS, EdgeKind.DERIVES_FROM
EVERY_KIND: tuple[Node, ...] = (
    IntentNode(text="why?"),
    A,
    ConstraintNode(predicate="max_cost", arguments={"usd": 1}, severity=Severity.SOFT),
    AuthorityNode(policies=("local-only",)),
    MemoryNode(content="what was said"),
    TraceNode(event=TraceEvent.SWAPPED),
    ProjectionNode(min_health=0.5),
)


def broken(error: pytest.ExceptionInfo[InvariantBroken]) -> GraphInvariant:
    return error.value.invariant


# --- Values ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("node", EVERY_KIND, ids=lambda node: node.kind)
def test_a_node_of_every_kind_is_read_back_from_its_json(node: Node) -> None:
    stored: Any = parse(canonical(node_json(node)))
    assert read_node(stored) == node


def test_an_id_that_is_not_given_is_derived_from_what_the_node_says() -> None:
    one, same, other = IntentNode(text="why?"), IntentNode(text="why?"), IntentNode(text="how?")
    assert one.id == same.id
    assert one.id != other.id
    assert one.id.startswith("intent:")


def test_a_resource_that_cannot_be_is_refused() -> None:
    with pytest.raises(GraphError, match="a cost is not negative"):
        resource("a", cost_per_token=-1)


def test_what_is_not_stated_of_a_resource_counts_against_it() -> None:
    assert (ResourceNode(id="a").external, ResourceNode(id="a").deterministic) == (True, False)


def test_a_graph_is_read_back_from_its_json() -> None:
    graph = graph_of(A, RULE, edges=[("a", "rule", REQUIRES)]).activate("a", {"rule": True})
    stored = parse(canonical(graph.to_json()))
    assert TypeAdapter(CEGraph).validate_python(stored) == graph


# --- Edges ----------------------------------------------------------------------------------------------------------


def test_an_edge_leads_from_a_node_to_a_node() -> None:
    with pytest.raises(GraphError, match="'nobody', and there is no such node"):
        graph_of(A, edges=[("a", "nobody", REQUIRES)])


def test_there_is_one_edge_of_a_kind_between_two_nodes() -> None:
    graph = graph_of(A, B).add_edge("a", "b", REQUIRES, 1.0).add_edge("a", "b", REQUIRES, 2.0)
    assert graph.add_edge("a", "b", EdgeKind.ENABLES).edges_from("a") == (
        Edge("a", "b", "enables", 1.0),
        Edge("a", "b", "requires", 2.0),
    )


@pytest.mark.parametrize("kind", [REQUIRES, DERIVES])
def test_what_is_required_or_derived_does_not_go_round_in_a_circle(kind: EdgeKind) -> None:
    line = graph_of(A, B, C, edges=[("a", "b", kind), ("b", "c", kind)])
    with pytest.raises(GraphError, match=f"{kind} goes round in a circle"):
        line.add_edge("c", "a", kind)


def test_other_edges_may_go_round_in_a_circle() -> None:
    assert len(graph_of(A, B, edges=[("a", "b", BLOCKS), ("b", "a", BLOCKS)]).edges) == 2


def test_an_edge_of_no_known_kind_is_refused() -> None:
    with pytest.raises(GraphError, match="is no kind of edge"):
        CEGraph((A, B), (Edge("a", "b", "likes"),))


def test_x13_the_questions_about_edges_are_answered_by_their_names() -> None:
    graph = graph_of(A, B, C, edges=[("a", "b", REQUIRES), ("b", "c", REQUIRES), ("c", "a", BLOCKS)])
    assert graph.requirements_of("a") == ("b",)
    assert graph.blocked_by("a") == ("c",)
    assert graph.in_order("a") == ("c", "b", "a")


def test_a_constraint_that_is_connected_with_no_resource_governs_them_all() -> None:
    alone = graph_of(A, B, RULE)
    tied = alone.add_edge("a", "rule", REQUIRES)
    assert alone.governing("b", ConstraintNode) == (RULE,)
    assert (tied.governing("a", ConstraintNode), tied.governing("b", ConstraintNode)) == ((RULE,), ())


# --- Operations -----------------------------------------------------------------------------------------------------


def test_a_graph_does_not_change() -> None:
    graph = graph_of(A)
    graph.add_node(B)
    assert [node.id for node in graph.nodes] == ["a"]


def test_another_node_of_the_same_id_is_refused_and_the_same_one_changes_nothing() -> None:
    graph = graph_of(A)
    assert graph.add_node(A) is graph
    with pytest.raises(GraphError, match="'a' is another node already"):
        graph.add_node(resource("a", latency_target_ms=1.0))


def test_a_node_goes_with_its_edges() -> None:
    assert graph_of(A, B, C, edges=[("a", "b", REQUIRES), ("b", "c", REQUIRES)]).remove_node("b") == graph_of(A, C)


def test_an_edge_that_is_not_there_cannot_be_removed() -> None:
    assert graph_of(A, B, edges=[("a", "b", BLOCKS)]).remove_edge("a", "b", BLOCKS).edges == ()
    with pytest.raises(GraphError, match="there is no edge"):
        graph_of(A, B).remove_edge("a", "b", BLOCKS)


def test_a_node_that_takes_the_place_of_another_has_its_edges() -> None:
    graph = CEGraph((A, B, RULE), (Edge("a", "rule", REQUIRES, 0.5), Edge("b", "a", BLOCKS)))
    swapped = graph.swap_node("a", C, tick=3)
    assert swapped.edges == (Edge("b", "c", BLOCKS), Edge("c", "rule", REQUIRES, 0.5))
    assert events(swapped) == ["swapped c"]
    assert not swapped.has("a")


def test_a_swap_for_what_is_there_or_is_something_else_is_refused() -> None:
    for other in (B, MemoryNode(id="m")):
        with pytest.raises(GraphError, match="cannot take the place of"):
            graph_of(A, B).swap_node("a", other)
    with pytest.raises(GraphError, match="there is no node 'x'"):
        graph_of(A).swap_node("x", B)


def test_a_snapshot_counts() -> None:
    counted = graph_of(A, B, RULE, edges=[("a", "rule", REQUIRES)]).snapshot()
    assert (counted["node_count"], counted["edge_count"]) == (3, 1)
    assert (counted["nodes_by_kind"]["resource"], counted["nodes_by_kind"]["trace"]) == (2, 0)


def test_a_difference_names_nodes_and_edges() -> None:
    one = graph_of(A, B, edges=[("a", "b", BLOCKS)])
    other = graph_of(resource("a", priority=7), C, edges=[("a", "c", BLOCKS)])
    assert one.diff(other) == (("c",), ("b",), ("a",), (Edge("a", "c", BLOCKS),), (Edge("a", "b", BLOCKS),))
    assert one.diff(one) == ((), (), (), (), ())


# --- Invariants, one by one -----------------------------------------------------------------------------------------


def test_continuity_what_is_being_executed_is_neither_removed_nor_replaced() -> None:
    graph = graph_of(A, B, edges=[("a", "b", REQUIRES)]).activate("a", {})
    operations: list[Callable[[], object]] = [
        lambda: graph.remove_node("a"),
        lambda: graph.swap_node("a", C),
        lambda: graph.remove_edge("a", "b", REQUIRES),
        lambda: graph.activate("a", {}),
    ]
    for operation in operations:
        with pytest.raises(InvariantBroken) as error:
            operation()
        assert broken(error) is GraphInvariant.CONTINUITY
    assert graph.end("a", TraceEvent.ROLLED_BACK).swap_node("a", C).has("c")


def test_trace_completeness_traces_are_neither_forged_nor_removed() -> None:
    graph = graph_of(A).activate("a", {})
    [trace] = graph.of(TraceNode)
    operations: list[Callable[[], object]] = [
        lambda: graph.add_node(TraceNode(event=TraceEvent.COMPLETED, actor="a")),
        lambda: graph.remove_node(trace.id),
        lambda: graph.note(TraceEvent.COMPLETED, "nobody"),
        lambda: CEGraph((A,), active=("a",)),
        lambda: CEGraph(graph.nodes),
        lambda: CEGraph((*graph.nodes, TraceNode(event=TraceEvent.AUDITED, cause="elsewhere"))),
    ]
    for operation in operations:
        with pytest.raises(InvariantBroken) as error:
            operation()
        assert broken(error) is GraphInvariant.TRACE_COMPLETENESS


@pytest.mark.parametrize("held", [{}, {"rule": None}, {"rule": False}], ids=["unsaid", "unknown", "violated"])
@pytest.mark.parametrize("severity", [Severity.HARD, Severity.CRITICAL])
def test_constraint_dominance_nothing_is_activated_past_a_constraint(
    held: dict[str, bool | None], severity: Severity
) -> None:
    graph = graph_of(A, ConstraintNode(id="rule", predicate="p", severity=severity))
    with pytest.raises(InvariantBroken) as error:
        graph.activate("a", held)
    assert broken(error) is GraphInvariant.CONSTRAINT_DOMINANCE
    assert graph.activate("a", {"rule": True}).active == ("a",)


def test_constraint_dominance_a_constraint_stays_while_something_is_executed_under_it() -> None:
    graph = graph_of(A, RULE).activate("a", {"rule": True})
    with pytest.raises(InvariantBroken) as error:
        graph.remove_node("rule")
    assert broken(error) is GraphInvariant.CONSTRAINT_DOMINANCE
    with pytest.raises(InvariantBroken) as error:
        graph.swap_node("rule", ConstraintNode(id="lenient", predicate="p", severity=Severity.SOFT))
    assert broken(error) is GraphInvariant.CONSTRAINT_DOMINANCE


def test_a_soft_constraint_does_not_keep_anybody_from_being_activated() -> None:
    assert graph_of(A, ConstraintNode(predicate="p", severity=Severity.SOFT)).activate("a", {}).active == ("a",)


def test_only_a_resource_can_be_executed_and_only_what_is_executed_can_end() -> None:
    with pytest.raises(GraphError, match="is no resource"):
        graph_of(RULE).activate("rule", {})
    with pytest.raises(GraphError, match="is not being executed"):
        graph_of(A).end("a", TraceEvent.COMPLETED)
    with pytest.raises(GraphError, match="audited is no end of it"):
        graph_of(A).activate("a", {}).end("a", TraceEvent.AUDITED)


def test_bounded_determinism_two_nodes_of_one_id_are_no_graph() -> None:
    with pytest.raises(InvariantBroken, match="bounded determinism: two nodes have the id 'a'"):
        CEGraph((A, resource("a", priority=1)))


@given(st.permutations([A, B, C, RULE]), st.permutations([Edge("a", "b", REQUIRES), Edge("b", "c", BLOCKS)]))
def test_bounded_determinism_graphs_that_say_the_same_have_one_digest(nodes: list[Node], edges: list[Edge]) -> None:
    graph = CEGraph(tuple(nodes), tuple(edges))
    assert graph == CEGraph((A, B, C, RULE), (Edge("b", "c", BLOCKS), Edge("a", "b", REQUIRES)))
    assert graph.digest == CEGraph((C, B, RULE, A), graph.edges[::-1]).digest


# --- Invariants, whatever is done -----------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "c", "d", "rule", "law"])
RESOURCES = st.sampled_from(["a", "b", "c", "d"])
HELD = st.dictionaries(st.sampled_from(["rule", "law"]), st.sampled_from([True, False, None]))


class AnythingGoes(RuleBasedStateMachine):
    """Does whatever comes to mind to a graph, and looks at what became of it."""

    def __init__(self) -> None:
        super().__init__()
        self.graph = CEGraph()
        self.begun = 0
        self.held: dict[str, bool | None] = {}

    def attempt(self, operation: Any) -> None:
        before = self.graph
        try:
            self.graph = operation(before)
        except GraphError:
            assert self.graph is before
            return
        lost = {trace.id for trace in before.traces()} - {trace.id for trace in self.graph.traces()}
        assert not lost, "a trace is gone"
        for each in before.active:
            assert self.graph.has(each), "what was being executed is gone"
            ended = [t for t in self.graph.traces()[len(before.traces()) :] if t.actor == each and t.event in ENDS]
            assert each in self.graph.active or ended, "it was interrupted without a trace"

    @rule(name=RESOURCES)
    def add_resource(self, name: str) -> None:
        self.attempt(lambda graph: graph.add_node(resource(name)))

    @rule(name=st.sampled_from(["rule", "law"]), severity=st.sampled_from(Severity))
    def add_constraint(self, name: str, severity: Severity) -> None:
        self.attempt(lambda graph: graph.add_node(ConstraintNode(id=name, predicate="p", severity=severity)))

    @rule(name=NAMES)
    def remove_node(self, name: str) -> None:
        self.attempt(lambda graph: graph.remove_node(name))

    @rule(data=st.data())
    def remove_trace(self, data: st.DataObject) -> None:
        if traces := self.graph.traces():
            trace = data.draw(st.sampled_from(traces))
            self.attempt(lambda graph: graph.remove_node(trace.id))

    @rule(src=NAMES, dst=NAMES, kind=st.sampled_from(EdgeKind))
    def add_edge(self, src: str, dst: str, kind: EdgeKind) -> None:
        self.attempt(lambda graph: graph.add_edge(src, dst, kind))

    @rule(src=NAMES, dst=NAMES, kind=st.sampled_from(EdgeKind))
    def remove_edge(self, src: str, dst: str, kind: EdgeKind) -> None:
        self.attempt(lambda graph: graph.remove_edge(src, dst, kind))

    @rule(old=NAMES, new=RESOURCES)
    def swap(self, old: str, new: str) -> None:
        self.attempt(lambda graph: graph.swap_node(old, resource(new)))

    @rule(name=NAMES, held=HELD)
    def activate(self, name: str, held: dict[str, bool | None]) -> None:
        before = self.graph
        self.attempt(lambda graph: graph.activate(name, held))
        if self.graph is not before:
            self.begun += 1
            for constraint in before.governing(name, ConstraintNode):
                assert not constraint.severity.blocks or held.get(constraint.id) is True

    @rule(name=NAMES, event=st.sampled_from(TraceEvent))
    def end(self, name: str, event: TraceEvent) -> None:
        self.attempt(lambda graph: graph.end(name, event))

    @rule(name=NAMES, event=st.sampled_from(TraceEvent))
    def note(self, name: str, event: TraceEvent) -> None:
        self.attempt(lambda graph: graph.note(event, name))

    @invariant()
    def every_activation_has_a_trace(self) -> None:
        traces = self.graph.traces()
        assert len(traces) == len(self.graph.of(TraceNode))
        assert sum(trace.event is TraceEvent.ACTIVATED for trace in traces) == self.begun

    @invariant()
    def every_edge_leads_somewhere_and_there_is_one_of_a_kind(self) -> None:
        ids = {node.id for node in self.graph.nodes}
        assert all(ids.issuperset(edge[:2]) for edge in self.graph.edges)
        assert len({edge[:3] for edge in self.graph.edges}) == len(self.graph.edges)

    @invariant()
    def what_is_made_again_of_its_parts_is_the_same(self) -> None:
        again = CEGraph(self.graph.nodes[::-1], self.graph.edges[::-1], self.graph.active)
        assert again.digest == self.graph.digest
        assert again == self.graph


TestAnythingGoes = AnythingGoes.TestCase
