"""The execution graph: a value, and the operations that make another one of it.

Whatever is done to a graph, four invariants hold of the result, or it is not done:

    continuity            what is being executed is neither removed nor replaced: first it ends, or is rolled back
    trace completeness    whatever is activated has left a trace; traces are neither forged, changed nor removed
    constraint dominance  nothing is activated past a hard or critical constraint that is not known to hold
    bounded determinism   graphs that say the same are equal and have one digest, in whichever order they were made

An edge connects nodes that are there, there is one of a kind between two of them, and neither what is required nor what
is derived goes round in a circle. A constraint or an authority governs the resources that it is connected with (they
require it, or it blocks them); one that is connected with none of them governs them all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from graphlib import CycleError, TopologicalSorter
from typing import Any, NamedTuple, TypeVar

from pydantic import ConfigDict

from converge_core.governance.hot_swap import Edge
from converge_core.ledger.canonical import canonical
from converge_core.ledger.hashes import ContentHash
from converge_plugins.ceg.nodes import (
    AuthorityNode,
    ConstraintNode,
    EdgeKind,
    GraphError,
    IntentNode,
    MemoryNode,
    Node,
    NodeKind,
    ProjectionNode,
    ResourceNode,
    TraceEvent,
    TraceNode,
    node_json,
)

N = TypeVar("N", IntentNode, ResourceNode, ConstraintNode, AuthorityNode, MemoryNode, TraceNode, ProjectionNode)
ACYCLIC = (EdgeKind.REQUIRES, EdgeKind.DERIVES_FROM)
ENDS = (TraceEvent.COMPLETED, TraceEvent.FAILED, TraceEvent.ROLLED_BACK)


class GraphInvariant(StrEnum):
    """What holds of every graph."""

    CONTINUITY = "continuity"
    TRACE_COMPLETENESS = "trace completeness"
    CONSTRAINT_DOMINANCE = "constraint dominance"
    BOUNDED_DETERMINISM = "bounded determinism"


class InvariantBroken(GraphError):
    """An operation that would break an invariant was refused."""

    def __init__(self, invariant: GraphInvariant, reason: str) -> None:
        super().__init__(invariant, reason)
        self.invariant, self.reason = invariant, reason

    def __str__(self) -> str:
        return f"{self.invariant}: {self.reason}"


class GraphDiff(NamedTuple):
    """What one graph has and another has not, by ids of nodes and by edges; ``changed`` are nodes of both."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    added_edges: tuple[Edge, ...]
    removed_edges: tuple[Edge, ...]


@dataclass(frozen=True, slots=True)
class CEGraph:
    """Nodes in the order of their ids, edges in the order of their ends, and the ids of what is being executed.

    Raises GraphError, or InvariantBroken, for what is no graph.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    nodes: tuple[Node, ...] = ()
    edges: tuple[Edge, ...] = ()
    active: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "nodes", tuple(sorted(self.nodes, key=lambda node: node.id)))
        single = {(edge.src, edge.dst, edge.kind): edge for edge in self.edges}
        put(self, "edges", tuple(single[triple] for triple in sorted(single)))
        put(self, "active", tuple(sorted(set(self.active))))
        self._check_nodes()
        self._check_edges()
        self._check_active()

    # Reading.

    def get(self, node_id: str) -> Node:
        """Return a node. Raises GraphError where there is none."""
        for node in self.nodes:
            if node.id == node_id:
                return node
        raise GraphError(f"there is no node {node_id!r:.80}")

    def has(self, node_id: str) -> bool:
        """Say whether there is a node of an id."""
        return any(node.id == node_id for node in self.nodes)

    def of(self, kind: type[N]) -> tuple[N, ...]:
        """Return the nodes of a class."""
        return tuple(node for node in self.nodes if isinstance(node, kind))

    def edges_from(self, node_id: str, *kinds: EdgeKind) -> tuple[Edge, ...]:
        """Return the edges out of a node, of these kinds where any are named."""
        return tuple(edge for edge in self.edges if edge.src == node_id and (not kinds or edge.kind in kinds))

    def edges_to(self, node_id: str, *kinds: EdgeKind) -> tuple[Edge, ...]:
        """Return the edges into a node, of these kinds where any are named."""
        return tuple(edge for edge in self.edges if edge.dst == node_id and (not kinds or edge.kind in kinds))

    def blocked_by(self, node_id: str) -> tuple[str, ...]:
        """Return the ids of what blocks a node."""
        return tuple(edge.src for edge in self.edges_to(node_id, EdgeKind.BLOCKS))

    def requirements_of(self, node_id: str) -> tuple[str, ...]:
        """Return the ids of what a node requires."""
        return tuple(edge.dst for edge in self.edges_from(node_id, EdgeKind.REQUIRES))

    def in_order(self, node_id: str) -> tuple[str, ...]:
        """Return the ids of whatever a node requires, and its own: what is required comes before who requires it."""
        reached = {node_id: self.requirements_of(node_id)}
        frontier = list(reached[node_id])
        while frontier:
            each = frontier.pop()
            if each not in reached:
                reached[each] = self.requirements_of(each)
                frontier += reached[each]
        return tuple(TopologicalSorter({each: sorted(reached[each]) for each in sorted(reached)}).static_order())

    def governing(self, node_id: str, kind: type[N]) -> tuple[N, ...]:
        """Return the constraints, or the authorities, that govern a resource."""
        return tuple(node for node in self.of(kind) if not (ends := self._governed(node.id)) or node_id in ends)

    def last_trace(self) -> str:
        """Return the id of the trace that no other has come after, or nothing."""
        causes = {trace.cause for trace in self.of(TraceNode)}
        return next((trace.id for trace in self.of(TraceNode) if trace.id not in causes), "")

    def traces(self) -> tuple[TraceNode, ...]:
        """Return the traces in the order in which they were left."""
        after = {trace.cause: trace for trace in self.of(TraceNode)}
        found: list[TraceNode] = []
        cause = ""
        while cause in after:
            found.append(after[cause])
            cause = found[-1].id
        return tuple(found)

    def snapshot(self) -> dict[str, Any]:
        """Return how many nodes and edges there are, and how many nodes of each kind."""
        kinds = {kind.value: sum(node.kind is kind for node in self.nodes) for kind in NodeKind}
        return {"node_count": len(self.nodes), "edge_count": len(self.edges), "nodes_by_kind": kinds}

    def to_json(self) -> dict[str, Any]:
        """Return the graph as JSON."""
        return {
            "nodes": [node_json(node) for node in self.nodes],
            "edges": [list(edge) for edge in self.edges],
            "active": list(self.active),
        }

    @property
    def digest(self) -> str:
        """The SHA-256 (hex) of its canonical JSON."""
        return str(ContentHash.of(canonical(self.to_json())))

    def untraced(self) -> CEGraph:
        """Return what a plan is made of: the graph without what has happened."""
        return CEGraph(tuple(node for node in self.nodes if not isinstance(node, TraceNode)), self.edges)

    def diff(self, other: CEGraph) -> GraphDiff:
        """Return what another graph has in addition to this one, and what it lacks."""
        mine, theirs = ({node.id: node for node in graph.nodes} for graph in (self, other))
        return GraphDiff(
            tuple(sorted(theirs.keys() - mine.keys())),
            tuple(sorted(mine.keys() - theirs.keys())),
            tuple(sorted(id for id in mine.keys() & theirs.keys() if mine[id] != theirs[id])),
            tuple(edge for edge in other.edges if edge not in self.edges),
            tuple(edge for edge in self.edges if edge not in other.edges),
        )

    # Changing. Each operation returns another graph, or raises GraphError.

    def add_node(self, node: Node) -> CEGraph:
        """Return the graph with a node; the same graph where it is there. Another node of the same id is refused."""
        if isinstance(node, TraceNode):
            raise InvariantBroken(GraphInvariant.TRACE_COMPLETENESS, "a trace is left by what happens, not added")
        if self.has(node.id):
            if self.get(node.id) != node:
                raise GraphError(f"{node.id!r:.80} is another node already")
            return self
        return replace(self, nodes=(*self.nodes, node))

    def remove_node(self, node_id: str) -> CEGraph:
        """Return the graph without a node and its edges."""
        node = self.get(node_id)
        self._refuse_loss(node)
        rest = tuple(each for each in self.nodes if each.id != node_id)
        return replace(self, nodes=rest, edges=tuple(edge for edge in self.edges if node_id not in edge[:2]))

    def add_edge(self, src: str, dst: str, kind: EdgeKind, weight: float = 1.0) -> CEGraph:
        """Return the graph with an edge, in the place of the one of this kind between these nodes, if there is one."""
        return replace(self, edges=(*self.edges, Edge(src, dst, kind, weight)))

    def remove_edge(self, src: str, dst: str, kind: EdgeKind) -> CEGraph:
        """Return the graph without an edge. One of a node that is being executed stays."""
        for end in (src, dst):
            if end in self.active:
                raise InvariantBroken(GraphInvariant.CONTINUITY, f"{end!r} is being executed, and its edges hold")
        rest = tuple(edge for edge in self.edges if edge[:3] != (src, dst, kind))
        if len(rest) == len(self.edges):
            raise GraphError(f"there is no edge {src!r:.80} {kind} {dst!r:.80}")
        return replace(self, edges=rest)

    def swap_node(self, old_id: str, node: Node, tick: int = 0, detail: str = "") -> CEGraph:
        """Return the graph with a node in the place of another one of its kind: it has the other's edges."""
        old = self.get(old_id)
        self._refuse_loss(old)
        if node.kind is not old.kind or self.has(node.id):
            raise GraphError(f"{node.id!r:.80} cannot take the place of {old_id!r:.80}")
        ends = {old_id: node.id}
        swapped = replace(
            self,
            nodes=tuple(node if each.id == old_id else each for each in self.nodes),
            edges=tuple(
                edge._replace(src=ends.get(edge.src, edge.src), dst=ends.get(edge.dst, edge.dst)) for edge in self.edges
            ),
        )
        return swapped._left(TraceEvent.SWAPPED, node.id, tick, detail or f"in the place of {old_id}")

    def activate(self, node_id: str, held: Mapping[str, bool | None], tick: int = 0, detail: str = "") -> CEGraph:
        """Return the graph with a resource being executed. ``held`` says of each constraint whether it holds.

        What is not said, or said to be unknown, does not.
        """
        if not isinstance(self.get(node_id), ResourceNode):
            raise GraphError(f"{node_id!r:.80} is no resource, and cannot be executed")
        if node_id in self.active:
            raise InvariantBroken(GraphInvariant.CONTINUITY, f"{node_id!r} is being executed already")
        for constraint in self.governing(node_id, ConstraintNode):
            if constraint.severity.blocks and held.get(constraint.id) is not True:
                reason = f"{constraint.severity} constraint {constraint.id!r} is not known to hold"
                raise InvariantBroken(GraphInvariant.CONSTRAINT_DOMINANCE, reason)
        return self._left(TraceEvent.ACTIVATED, node_id, tick, detail, active=(*self.active, node_id))

    def end(self, node_id: str, event: TraceEvent, tick: int = 0, detail: str = "") -> CEGraph:
        """Return the graph with an execution ended: completed, failed or rolled back."""
        if node_id not in self.active or event not in ENDS:
            raise GraphError(f"{node_id!r:.80} is not being executed, or {event} is no end of it")
        return self._left(event, node_id, tick, detail, active=tuple(each for each in self.active if each != node_id))

    def note(self, event: TraceEvent, actor: str, tick: int = 0, detail: str = "") -> CEGraph:
        """Return the graph with a trace of what is neither the beginning nor the end of an execution."""
        if event in (TraceEvent.ACTIVATED, *ENDS):
            reason = f"{event} is left by the operation of that name"
            raise InvariantBroken(GraphInvariant.TRACE_COMPLETENESS, reason)
        return self._left(event, actor, tick, detail)

    def _left(
        self, event: TraceEvent, actor: str, tick: int, detail: str, active: tuple[str, ...] | None = None
    ) -> CEGraph:
        trace = TraceNode(event=event, actor=actor, tick=tick, cause=self.last_trace(), detail=detail)
        return replace(self, nodes=(*self.nodes, trace), active=self.active if active is None else active)

    def _governed(self, node_id: str) -> set[str]:
        """Return the resources that a constraint or an authority is connected with."""
        ends = {edge.src for edge in self.edges_to(node_id, EdgeKind.REQUIRES)}
        ends |= {edge.dst for edge in self.edges_from(node_id, EdgeKind.BLOCKS)}
        return {end for end in ends if isinstance(self.get(end), ResourceNode)}

    def _refuse_loss(self, node: Node) -> None:
        """Raise InvariantBroken where a node may not go."""
        if node.id in self.active:
            reason = f"{node.id!r} is being executed: it has to end, or be rolled back, before it goes"
            raise InvariantBroken(GraphInvariant.CONTINUITY, reason)
        if isinstance(node, TraceNode):
            raise InvariantBroken(GraphInvariant.TRACE_COMPLETENESS, f"{node.id!r} has happened, and stays")
        if self.active and isinstance(node, ConstraintNode | AuthorityNode):
            reason = f"{node.id!r} cannot go while something is being executed under it"
            raise InvariantBroken(GraphInvariant.CONSTRAINT_DOMINANCE, reason)

    def _check_nodes(self) -> None:
        for one, next_one in zip(self.nodes, self.nodes[1:], strict=False):
            if one.id == next_one.id:
                raise InvariantBroken(GraphInvariant.BOUNDED_DETERMINISM, f"two nodes have the id {one.id!r:.80}")

    def _check_edges(self) -> None:
        ids = {node.id for node in self.nodes}
        for edge in self.edges:
            if edge.kind not in set(EdgeKind):
                raise GraphError(f"{edge.kind!r:.80} is no kind of edge: {', '.join(EdgeKind)}")
            for end in edge[:2]:
                if end not in ids:
                    raise GraphError(f"an edge {edge.kind} leads to {end!r:.80}, and there is no such node")
        for kind in ACYCLIC:
            if cycle := _cycle(edge for edge in self.edges if edge.kind == kind):
                raise GraphError(f"{kind} goes round in a circle: {' - '.join(cycle)}")

    def _check_active(self) -> None:
        traces = self.traces()
        if len(traces) != len(self.of(TraceNode)):
            raise InvariantBroken(GraphInvariant.TRACE_COMPLETENESS, "the traces are no chain")
        standing = {trace.actor: trace.event for trace in traces if trace.event in (TraceEvent.ACTIVATED, *ENDS)}
        begun = {actor for actor, event in standing.items() if event is TraceEvent.ACTIVATED}
        if begun != set(self.active):
            odd = sorted(begun ^ set(self.active))[0]
            raise InvariantBroken(GraphInvariant.TRACE_COMPLETENESS, f"{odd!r} is not as its traces say it is")
        if lost := [each for each in self.active if not self.has(each)]:
            raise InvariantBroken(GraphInvariant.CONTINUITY, f"{lost[0]!r} is being executed, and is not there")


def _cycle(edges: Iterable[Edge]) -> list[str]:
    """Return the ids of nodes that form a circle, if any do."""
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for edge in edges:
        sorter.add(edge.src, edge.dst)
    try:
        sorter.prepare()
    except CycleError as error:
        circle: list[str] = error.args[1]
        return circle
    return []
