"""What the phases of an execution write down, each as a fact, and how one of them is found again.

All facts but the request name their request, by its id, and the tick that they are of; so several requests converge
beside each other in one run. `Course` is what there is of one request.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, NamedTuple, Self, TypeVar

from pydantic import Field

from converge_core import Context, ContextKey, DiagnosticPayload, Fact, FactPayload
from converge_core.context.facts import fact_ref
from converge_core.governance.actions import ActionRecord
from converge_core.governance.dilation import DilationField, NodeState
from converge_core.governance.hot_swap import Edge
from converge_plugins.ceg.contract import ExecutionContract, ExecutionPlan
from converge_plugins.ceg.executor import Activation, ExecutionOutcome, Fingerprint
from converge_plugins.ceg.graph import CEGraph
from converge_plugins.ceg.nodes import Node, ResourceNode
from converge_plugins.ceg.projections import Projection
from converge_plugins.ceg.state import Rulings, SystemState
from converge_plugins.ceg.swapping import Swap


# `defer_build`: most who load this execute no graph, and a class is built when the first of it is made or read.
class ExecutionRequest(FactPayload, defer_build=True):
    """What somebody wants: in words, with the nodes and edges that are to be considered, under a contract.

    Without a resource among the nodes, all models of the intent are considered. Of several resources of one role the
    first one fills it, and the others are on standby.
    """

    family: ClassVar[str] = "ceg.request"
    text: str = Field(min_length=1)
    nodes: tuple[Node, ...] = ()
    edges: tuple[Edge, ...] = ()
    contract: ExecutionContract = ExecutionContract()

    def summary(self) -> str:
        return self.text


class CompiledGraph(FactPayload, defer_build=True):
    """The graph of a request at a tick, the resources on standby, and the contract that they are held to."""

    family: ClassVar[str] = "ceg.graph"
    request: str
    tick: int
    contract: ExecutionContract
    graph: CEGraph
    standby: tuple[ResourceNode, ...] = ()

    @property
    def pool(self) -> tuple[ResourceNode, ...]:
        """All resources there are."""
        return (*self.graph.of(ResourceNode), *self.standby)

    def summary(self) -> str:
        return f"{len(self.graph.nodes)} nodes, {len(self.graph.edges)} edges, {self.graph.digest[:12]}"


class ObservedState(FactPayload):
    """What was seen of the resources at a tick."""

    family: ClassVar[str] = "ceg.state"
    request: str
    tick: int
    state: SystemState

    def summary(self) -> str:
        return f"{len(self.state.sights)} resources were looked at"


class RuledConstraints(FactPayload):
    """What holds at a tick, and who was turned away by which gate."""

    family: ClassVar[str] = "ceg.rulings"
    request: str
    tick: int
    rulings: Rulings

    def summary(self) -> str:
        broken = [name for name, held in self.rulings.held.items() if held is False]
        denied = [ruling.resource for ruling in self.rulings.resources if ruling.denial is not None]
        return f"broken: {', '.join(broken) or 'nothing'}; turned away: {', '.join(denied) or 'nobody'}"


class Dilated(FactPayload):
    """The dilation field after a tick: the state of each node, by its id."""

    family: ClassVar[str] = "ceg.field"
    request: str
    tick: int
    max_dwell_ticks: int
    dwell_threshold: float
    nodes: tuple[tuple[str, NodeState], ...]

    @classmethod
    def of(cls, request: str, tick: int, field: DilationField) -> Self:
        """Return a field as a fact."""
        nodes = tuple(sorted(field.nodes.items()))
        return cls(
            request=request,
            tick=tick,
            max_dwell_ticks=field.max_dwell_ticks,
            dwell_threshold=field.dwell_threshold,
            nodes=nodes,
        )

    @property
    def field(self) -> DilationField:
        """The field itself."""
        return DilationField(self.max_dwell_ticks, self.dwell_threshold, dict(self.nodes))

    def summary(self) -> str:
        return ", ".join(f"D({name}) = {state.value:.4g}" for name, state in self.nodes)


class SwapReview(FactPayload):
    """What the registry says of the swaps of a tick, those that are not to be among them; and how unsteady each is."""

    family: ClassVar[str] = "ceg.swap_review"
    request: str
    tick: int
    swaps: tuple[Swap, ...] = ()
    instability: tuple[tuple[str, float], ...] = ()

    @property
    def due(self) -> Swap | None:
        """The swap that is to be, if there is one."""
        return next((swap for swap in self.swaps if swap.allowed), None)

    def summary(self) -> str:
        return "; ".join(swap.reason for swap in self.swaps) or "nobody is to be replaced"


class SwapProposal(FactPayload):
    """That a resource is to take the place of another. Once it is a fact, it does."""

    family: ClassVar[str] = "ceg.swap"
    request: str
    tick: int
    swap: Swap

    def summary(self) -> str:
        how = "put back" if self.swap.rollback else "put"
        return f"{how} {self.swap.new} in the place of {self.swap.old}: {self.swap.reason}"


class PlannedExecution(FactPayload, defer_build=True):
    """The plan of a tick, with every candidate."""

    family: ClassVar[str] = "ceg.plan"
    request: str
    tick: int
    plan: ExecutionPlan

    def summary(self) -> str:
        steps = " then ".join(step.resource for step in self.plan.steps)
        return steps or f"{'aborted' if self.plan.aborted else 'infeasible'}: {'; '.join(self.plan.reasons)}"


class Route(NamedTuple):
    """A candidate of an executed plan: its dilation, its cost, and whether it was among those that could be used."""

    resource: str
    dilation: float
    cost: float
    accepted: bool


class ExecutedPlan(FactPayload):
    """What came of a plan: who was executed and what was said; and the route, D and cost of each candidate."""

    family: ClassVar[str] = "ceg.execution"
    request: str
    tick: int
    plan: str
    succeeded: bool
    activations: tuple[Activation, ...] = ()
    candidates: tuple[Route, ...] = ()

    def summary(self) -> str:
        ends = (f"{each.resource} {'answered' if each.succeeded else 'failed'}" for each in self.activations)
        return ", ".join(ends) or "nobody was executed"


class ExecutionTrace(FactPayload, defer_build=True):
    """A tick that is over: the graph with its traces, the outcome where there is one, and what people are shown."""

    family: ClassVar[str] = "ceg.trace"
    request: str
    tick: int
    graph: CEGraph
    fingerprint: Fingerprint
    failed: str = ""
    outcome: ExecutionOutcome | None = None
    reason: str = ""
    projections: tuple[Projection, ...] = ()

    def summary(self) -> str:
        return f"{self.outcome or 'goes on'}{f': {self.reason}' if self.reason else ''}"


TickFact = (
    CompiledGraph
    | ObservedState
    | RuledConstraints
    | Dilated
    | SwapReview
    | SwapProposal
    | PlannedExecution
    | ExecutedPlan
    | ExecutionTrace
)
T = TypeVar("T", bound=TickFact)

KEYS: Mapping[type[FactPayload], ContextKey] = MappingProxyType(
    {
        CompiledGraph: ContextKey.STRATEGIES,
        ObservedState: ContextKey.SIGNALS,
        RuledConstraints: ContextKey.CONSTRAINTS,
        Dilated: ContextKey.SIGNALS,
        SwapReview: ContextKey.EVALUATIONS,
        SwapProposal: ContextKey.PROPOSALS,
        PlannedExecution: ContextKey.STRATEGIES,
        ExecutedPlan: ContextKey.HYPOTHESES,
        ExecutionTrace: ContextKey.EVALUATIONS,
        ActionRecord: ContextKey.EVALUATIONS,
    }
)
"""Where each kind of fact is proposed."""


def fact_id(payload: TickFact) -> str:
    """Return the id of a fact: what it is, of which request, at which tick."""
    return _id(type(payload), payload.request, payload.tick)


def _id(kind: type[FactPayload], request: str, tick: int) -> str:
    return f"{kind.family.removeprefix('ceg.')}:{request}:{tick}"


@dataclass(frozen=True, slots=True)
class Course:
    """What there is of one request. ``tick`` is that of its last graph, -1 before there is one."""

    ctx: Context
    request: Fact[ExecutionRequest]
    tick: int

    @classmethod
    def all(cls, ctx: Context) -> Iterator[Course]:
        """Yield the course of every request, oldest first."""
        ticks = {fact.payload.request: fact.payload.tick for fact in ctx.get(CompiledGraph)}
        for request in ctx.get(ExecutionRequest):
            yield cls(ctx, request, ticks.get(request.id, -1))

    def fact(self, kind: type[T], tick: int | None = None) -> Fact[T] | None:
        """Return the fact of a kind and tick, the current one without a tick, or None."""
        return self.ctx.find(KEYS[kind], _id(kind, self.request.id, self.tick if tick is None else tick), kind)

    def at(self, kind: type[T], tick: int | None = None) -> T | None:
        """Return what the fact of a kind and tick says, or None."""
        found = self.fact(kind, tick)
        return None if found is None else found.payload

    def has(self, kind: type[FactPayload]) -> bool:
        """Say whether there is a fact of a kind for this tick."""
        return self.ctx.find(KEYS[kind], _id(kind, self.request.id, self.tick)) is not None

    def need(self, kind: type[T], tick: int | None = None) -> T:
        """Return what the fact of a kind and tick says. Raises LookupError where there is none."""
        found = self.at(kind, tick)
        if found is None:
            raise LookupError(f"there is no {_id(kind, self.request.id, self.tick if tick is None else tick)}")
        return found

    def last_trace(self) -> ExecutionTrace | None:
        """Return the trace of the last tick before this one that was planned, or None."""
        traces = (self.at(ExecutionTrace, tick) for tick in range(self.tick - 1, -1, -1))
        return next((trace for trace in traces if trace is not None), None)

    def is_refused(self, tick: int) -> bool:
        """Say whether somebody has turned down the swap of a tick."""
        ref = fact_ref(KEYS[SwapProposal], _id(SwapProposal, self.request.id, tick))
        return any(fact.payload.about == ref for fact in self.ctx.get(DiagnosticPayload))
