"""Compiling: the graph of a request, and that of each tick after the first.

Of several resources of one role the first fills it and the others stand by. Constraints that another request has stated
for the session are those of this one, too. A request that names no resource is
compiled with the models of the intent: what is known of each is in its profile, and what it costs in its price list.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from converge_core import Site, Usage
from converge_core.governance.resources import TOKENS
from converge_core.llm.models import Model
from converge_core.ports import MODELS
from converge_plugins.ceg.facts import CompiledGraph, Course, ExecutionRequest, ExecutionTrace, SwapProposal
from converge_plugins.ceg.graph import CEGraph
from converge_plugins.ceg.nodes import (
    ConstraintNode,
    EdgeKind,
    GraphError,
    IntentNode,
    Node,
    ResourceNode,
    Scope,
    TraceNode,
)
from converge_plugins.ceg.swapping import exchange

MICRO = 1_000_000


class Compiler:
    """Makes graphs of requests, of swaps and of ticks that are over."""

    def __init__(self, site: Site) -> None:
        self._site = site

    @staticmethod
    def is_due(course: Course) -> bool:
        """Say whether there is no graph yet, or this tick has ended in a swap, or is over and another one follows."""
        trace = course.at(ExecutionTrace)
        goes_on = trace is not None and trace.outcome is None
        return course.tick < 0 or goes_on or course.at(SwapProposal) is not None

    def compile(self, course: Course) -> Iterator[CompiledGraph]:
        """Yield the graph of the next tick. Raises GraphError for a request, or a swap, of which none can be made."""
        if course.tick < 0:
            yield self._first(course.request.id, course.request.payload, _shared(course))
            return
        now, swap, trace = course.need(CompiledGraph), course.at(SwapProposal), course.at(ExecutionTrace)
        if swap is not None:
            graph = exchange(now.graph, swap.swap, now.pool, now.tick)
            standby = tuple(node for node in now.pool if not graph.has(node.id))
            yield now.model_copy(update={"tick": now.tick + 1, "graph": graph, "standby": standby})
        elif trace is not None:
            yield now.model_copy(update={"tick": now.tick + 1, "graph": trace.graph})

    def _first(self, request_id: str, request: ExecutionRequest, shared: list[ConstraintNode]) -> CompiledGraph:
        if traces := [node for node in request.nodes if isinstance(node, TraceNode)]:
            raise GraphError(f"{traces[0].id!r} is a trace of what has not happened")
        resources = [node for node in request.nodes if isinstance(node, ResourceNode)] or list(self._models())
        resources = _in_order(resources)
        filled, standby = _places(resources)
        intents = [node for node in request.nodes if isinstance(node, IntentNode)] or [IntentNode(text=request.text)]
        others = [node for node in request.nodes if not isinstance(node, ResourceNode | IntentNode)]
        nodes: tuple[Node, ...] = (*intents, *filled, *others)
        graph = CEGraph(nodes, request.edges)
        for constraint in shared:
            graph = graph.add_node(constraint)
        if not any(edge.kind == EdgeKind.EXECUTES_ON for edge in request.edges):
            for node in filled:
                if node.id not in _required(graph):
                    graph = graph.add_edge(intents[0].id, node.id, EdgeKind.EXECUTES_ON)
        return CompiledGraph(request=request_id, tick=0, contract=request.contract, graph=graph, standby=tuple(standby))

    def _models(self) -> Iterator[ResourceNode]:
        """Yield the models of the intent as resources."""
        if self._site.ports.offers(MODELS):
            yield from map(resource_of, self._site.port(MODELS).models)


def _shared(course: Course) -> list[ConstraintNode]:
    """Return the constraints of other requests that are meant for every request."""
    others = (fact.payload for fact in course.ctx.get(ExecutionRequest) if fact.id != course.request.id)
    found = (node for payload in others for node in payload.nodes)
    return [node for node in found if isinstance(node, ConstraintNode) and node.scope is not Scope.REQUEST]


def resource_of(model: Model) -> ResourceNode:
    """Return a model as a resource. Raises GraphError for one whose price nobody knows."""
    profile = model.candidate.backend.profile
    half = TOKENS // 2
    price = model.candidate.prices.cost_microusd(profile.provider, profile.model, Usage(half, TOKENS - half))
    if price is None:
        raise GraphError(f"nobody knows what {profile.model!r} costs: state it under `price`, or name the resources")
    return ResourceNode(
        id=profile.id,
        provider=profile.provider,
        capabilities=tuple(profile.capabilities),
        cost_per_token=price / MICRO / TOKENS,
        latency_target_ms=float(profile.latency_ms),
        external=profile.remote,
    )


def _in_order(resources: list[ResourceNode]) -> list[ResourceNode]:
    """Return resources with their place as their priority, unless somebody has stated priorities."""
    if any(node.priority for node in resources):
        return resources
    return [replace(node, priority=place) for place, node in enumerate(resources)]


def _places(resources: list[ResourceNode]) -> tuple[list[ResourceNode], list[ResourceNode]]:
    """Return who fills the roles, and who stands by."""
    filled: dict[str, ResourceNode] = {}
    standby = [node for node in resources if filled.setdefault(node.place, node) is not node]
    return list(filled.values()), standby


def _required(graph: CEGraph) -> set[str]:
    """Return the nodes that another one requires: these are executed with it, and are no answer by themselves."""
    return {edge.dst for edge in graph.edges if edge.kind == EdgeKind.REQUIRES}
