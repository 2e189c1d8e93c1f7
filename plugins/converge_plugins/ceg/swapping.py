"""Hot swaps of an execution graph: who fills each place, who should, and how it is undone.

The registry of `converge_core.governance.hot_swap` decides, with its hysteresis, its guard against oscillation and its
cap on the share of one provider. It is made of the graph and of those on standby, sees what is seen at each tick, and
remembers what was swapped; so whoever goes through the same ticks and swaps has the same registry.

A swap that was made and did not work, as the newcomer failed when it was executed, is rolled back: who stood there
before stands there again, with every edge.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from pydantic import ConfigDict

from converge_core.governance.hot_swap import HotSwapRegistry, SwapDecision, SwapHysteresis, SwapPolicy, SwapTrigger
from converge_plugins.ceg.contract import ExecutionContract
from converge_plugins.ceg.graph import CEGraph
from converge_plugins.ceg.nodes import GraphError, ResourceNode
from converge_plugins.ceg.state import Rulings, SystemState


@dataclass(frozen=True, slots=True)
class Swap:
    """Who is to go and who is to come, where and why. ``allowed`` is False where it is not to be done, for ``reason``.

    A ``rollback`` puts back who was there before.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    role: str
    old: str
    new: str
    trigger: SwapTrigger
    reason: str
    allowed: bool = True
    rollback: bool = False


@dataclass(frozen=True, slots=True)
class SwapSettings:
    """When somebody is replaced, and what keeps that from going to and fro."""

    policy: SwapPolicy = SwapPolicy()
    hysteresis: SwapHysteresis = SwapHysteresis()

    def registry(self, graph: CEGraph, standby: Iterable[ResourceNode] = ()) -> HotSwapRegistry:
        """Return the registry of a graph, in which nothing was swapped yet. Raises MisuseError for an id used twice."""
        registry = HotSwapRegistry(self.policy, self.hysteresis, edges=frozenset(graph.edges))
        for node in graph.of(ResourceNode):
            registry = registry.fill(node.place, node.resource)
        for node in standby:
            registry = registry.register_candidate(node.place, node.resource)
        return registry


def seen(registry: HotSwapRegistry, state: SystemState) -> HotSwapRegistry:
    """Return the registry after the look of a tick."""
    return registry.observe(state.live)


def decisions(
    registry: HotSwapRegistry,
    contract: ExecutionContract,
    state: SystemState,
    rulings: Rulings,
    tick: int,
    failed: str = "",
    left_alone: Collection[str] = (),
) -> tuple[Swap, ...]:
    """Return what is to be done about each role that gives reason to, or why nothing is.

    ``failed`` is the resource that was executed last and failed, ``left_alone`` are roles that nobody is to touch. In
    the last tick nothing is to be done: there is none for who would come.
    """
    found = _decisions(registry, contract, state, rulings, tick, failed, left_alone)
    if tick + 1 < contract.max_ticks:
        return found
    return tuple(replace(each, allowed=False, reason=f"{each.reason}; there is no tick left") for each in found)


def _decisions(
    registry: HotSwapRegistry,
    contract: ExecutionContract,
    state: SystemState,
    rulings: Rulings,
    tick: int,
    failed: str,
    left_alone: Collection[str],
) -> tuple[Swap, ...]:
    for name, role in registry.roles.items():
        if role.former and role.incumbent.id == failed and name not in left_alone:
            reason = f"{failed!r} took over and has failed"
            return (Swap(name, failed, role.former[-1].id, SwapTrigger.MANUAL, reason, rollback=True),)
    live = rulings.authorised(state.live)
    found = registry.decide(live, contract.constraints.max_cost, tick, state.at_ms)
    return tuple(_swap(each) for each in found if each.role not in left_alone)


def apply(registry: HotSwapRegistry, swap: Swap, tick: int, at_ms: int) -> HotSwapRegistry:
    """Return the registry after a swap, or after the rollback of one. Raises MisuseError where it is not as it was."""
    if swap.rollback:
        return registry.rollback(swap.role)
    role = registry.roles.get(swap.role)
    found = [] if role is None else [each for each in role.candidates if each.id == swap.new]
    if role is None or not found or role.incumbent.id != swap.old:
        raise GraphError(f"nobody can put {swap.new!r:.80} in the place of {swap.old!r:.80} in {swap.role!r:.80}")
    decision = SwapDecision(swap.role, swap.trigger, role.incumbent, found[0], True, swap.reason)
    return registry.apply(decision, tick, at_ms)


def exchange(graph: CEGraph, swap: Swap, pool: Iterable[ResourceNode], tick: int) -> CEGraph:
    """Return the graph after a swap, of which a trace tells. ``pool`` are all resources there are."""
    for node in pool:
        if node.id == swap.new:
            return graph.swap_node(swap.old, node, tick, swap.reason)
    raise GraphError(f"there is no resource {swap.new!r:.80} to put in the place of {swap.old!r:.80}")


def instability(registry: HotSwapRegistry) -> dict[str, float]:
    """Return how unsteady each resource has been, as a share of 1."""
    return {id: 1 - steadiness for id, steadiness in registry.hysteresis.steadiness.items()}


def _swap(decision: SwapDecision) -> Swap:
    new = "" if decision.new is None else decision.new.id
    return Swap(decision.role, decision.old.id, new, decision.trigger, decision.reason, decision.allowed)
