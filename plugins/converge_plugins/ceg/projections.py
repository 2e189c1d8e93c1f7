"""Projections: what people are shown of an execution, and whether it is on.

The health that a projection needs is that of the nodes that project to it, as the live registry has it; as long as
nobody knows, it is off.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum

from converge_core.governance.resources import Feature, Live
from converge_plugins.ceg.contract import ExecutionPlan
from converge_plugins.ceg.graph import CEGraph
from converge_plugins.ceg.nodes import EdgeKind, ProjectionNode, View


class FeatureState(StrEnum):
    """Whether a projection is shown: never yet, soon, now, or no longer."""

    INACTIVE = "inactive"
    SCHEDULED = "scheduled"
    ACTIVE = "active"
    SUSPENDED = "suspended"


@dataclass(frozen=True, slots=True)
class Projection:
    """A projection at a tick, and why it is as it is."""

    node: str
    view: View
    state: FeatureState
    reason: str


def project(
    graph: CEGraph, plan: ExecutionPlan, live: Live, done: Collection[str], before: Iterable[Projection] = ()
) -> tuple[Projection, ...]:
    """Return the projections after a tick: ``done`` are the resources that were executed well."""
    shown = {each.node for each in before if each.state in (FeatureState.ACTIVE, FeatureState.SUSPENDED)}
    return tuple(_project(graph, plan, live, done, node, node.id in shown) for node in graph.of(ProjectionNode))


def _project(
    graph: CEGraph, plan: ExecutionPlan, live: Live, done: Collection[str], node: ProjectionNode, was_shown: bool
) -> Projection:
    sources = [edge.src for edge in graph.edges_to(node.id, EdgeKind.PROJECTS_TO)]
    planned = [source for source in sources if source in {step.resource for step in plan.steps}]
    off = FeatureState.SUSPENDED if was_shown else FeatureState.INACTIVE
    if not planned:
        return Projection(node.id, node.view, off, "nothing that projects to it is in the plan")
    found = Feature(node.id, planned[0], node.min_health).evaluate(live)
    if not found.active:
        return Projection(node.id, node.view, off, found.reason)
    state = FeatureState.ACTIVE if planned[0] in done else FeatureState.SCHEDULED
    return Projection(node.id, node.view, state, found.reason)
