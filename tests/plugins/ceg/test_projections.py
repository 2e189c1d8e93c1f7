"""What people are shown of an execution: soon, now, no longer, or not at all."""

from __future__ import annotations

import pytest

from converge_core.governance.resources import Live, Observed
from converge_plugins.ceg.graph import CEGraph
from converge_plugins.ceg.nodes import EdgeKind, ProjectionNode, View
from converge_plugins.ceg.projections import FeatureState, Projection, project
from tests.plugins.ceg.stage import WELL, graph_of, plan_of, resource, sights

A, B = resource("a"), resource("b", priority=1)
PANEL = ProjectionNode(id="panel", view=View.COCKPIT, min_health=0.5)
GRAPH = graph_of(A, B, PANEL, edges=[("a", "panel", EdgeKind.PROJECTS_TO)])
SHOWN = Projection("panel", View.COCKPIT, FeatureState.ACTIVE, "")


def state(
    live: Live, done: tuple[str, ...] = (), before: tuple[Projection, ...] = (), graph: CEGraph = GRAPH
) -> FeatureState:
    [found] = project(graph, plan_of(graph, state=sights(live)), live, done, before)
    return found.state


def test_what_was_executed_is_shown_and_what_is_only_planned_is_scheduled() -> None:
    live = {"a": WELL, "b": WELL}
    assert state(live, done=("a",)) is FeatureState.ACTIVE
    assert state(live) is FeatureState.SCHEDULED


@pytest.mark.parametrize("health", [None, 0.4], ids=["unknown", "ill"])
def test_td009_a_projection_fails_closed(health: float | None) -> None:
    only = graph_of(A, PANEL, edges=[("a", "panel", EdgeKind.PROJECTS_TO)])
    live = {"a": Observed(health, 500)}
    assert state(live, ("a",), graph=only) is FeatureState.INACTIVE
    assert state(live, ("a",), (SHOWN,), only) is FeatureState.SUSPENDED


def test_what_was_shown_and_is_no_longer_in_the_plan_is_suspended() -> None:
    live = {"a": Observed(0.1, 500), "b": WELL}
    assert state(live, ("b",), (SHOWN,)) is FeatureState.SUSPENDED
    assert state(live, ("b",)) is FeatureState.INACTIVE
    gone = Projection("panel", View.COCKPIT, FeatureState.SUSPENDED, "")
    assert state(live, ("b",), (gone,)) is FeatureState.SUSPENDED
