"""Execution graphs as Mermaid flowcharts: a shape for each kind of node, and an arrow for each kind of edge.

What is being executed, or was, is told apart by colour; what has happened hangs at the node that it happened to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from converge_cli.report.mermaid import escape
from converge_cli.report.wording import cut
from converge_plugins.ceg.graph import CEGraph
from converge_plugins.ceg.nodes import (
    ConstraintNode,
    EdgeKind,
    IntentNode,
    Node,
    NodeKind,
    ResourceNode,
    TraceEvent,
    TraceNode,
)

LONGEST = 60

_SHAPES: Mapping[NodeKind, tuple[str, str]] = {
    NodeKind.INTENT: ("([", "])"),
    NodeKind.RESOURCE: ("[", "]"),
    NodeKind.CONSTRAINT: ("{{", "}}"),
    NodeKind.AUTHORITY: ("[/", "\\]"),
    NodeKind.MEMORY: ("[(", ")]"),
    NodeKind.TRACE: (">", "]"),
    NodeKind.PROJECTION: ("[[", "]]"),
}
_SOLID = (EdgeKind.REQUIRES, EdgeKind.BLOCKS, EdgeKind.EXECUTES_ON)
_STYLES = (
    "  classDef completed fill:#e8f1ec,stroke:#3d7a5d,color:#16281f,stroke-width:2px",
    "  classDef failed fill:#f8e4e4,stroke:#a33b3b,color:#3b1010",
    "  classDef trace fill:#f2f2f2,stroke:#8a8a8a,color:#333333,stroke-dasharray:4 3",
)


def execution_chart(graph: CEGraph) -> Iterator[str]:
    """Yield the lines of the chart of a graph."""
    names = {node.id: f"n{place}" for place, node in enumerate(graph.nodes)}
    ends = {trace.actor: trace.event for trace in graph.traces()}
    yield "flowchart LR"
    for node in graph.nodes:
        opening, closing = _SHAPES[node.kind]
        yield f'  {names[node.id]}{opening}"{_label(node)}"{closing}{_class(node, ends)}'
    for edge in graph.edges:
        arrow = "-->" if edge.kind in _SOLID else "-.->"
        yield f"  {names[edge.src]} {arrow}|{escape(edge.kind)}| {names[edge.dst]}"
    for trace in graph.traces():
        if trace.actor in names:
            yield f"  {names[trace.actor]} -.- {names[trace.id]}"
    yield from _STYLES


def _label(node: Node) -> str:
    match node:
        case IntentNode():
            lines = [node.label or node.text]
        case TraceNode():
            lines = [f"{node.event} at tick {node.tick}", node.detail]
        case ConstraintNode():
            lines = [node.label or node.id, f"{node.severity}: {node.predicate}"]
        case ResourceNode():
            lines = [node.label or node.id, f"{node.resource_kind} of {node.provider}" if node.provider else ""]
        case _:
            lines = [node.label or node.id]
    return "<br/>".join(escape(cut(line, LONGEST)) for line in lines if line)


def _class(node: Node, ends: Mapping[str, TraceEvent]) -> str:
    if isinstance(node, TraceNode):
        return ":::trace"
    if isinstance(node, ResourceNode) and ends.get(node.id) in (TraceEvent.COMPLETED, TraceEvent.FAILED):
        return f":::{ends[node.id]}"
    return ""
