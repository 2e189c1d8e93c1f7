"""What the tests of execution graphs share: resources that are quickly cast, a registry of providers, and a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from converge_core import ContextState, FactPayload, HitlPolicy, ProposedFact, Site
from converge_core.context.keys import ContextKey
from converge_core.governance.dilation import DilationField
from converge_core.governance.resources import Observed
from converge_core.llm.errors import NetworkFailed
from converge_core.llm.models import Models
from converge_core.ports import CAPACITY, CLOCK, MODELS, Clock
from converge_core.suggestors.catalog import Ports
from converge_plugins.ceg.contract import ExecutionContract, ExecutionPlan
from converge_plugins.ceg.executor import ExecutionOutcome, Run
from converge_plugins.ceg.facts import CompiledGraph, ExecutionRequest, ExecutionTrace
from converge_plugins.ceg.graph import CEGraph
from converge_plugins.ceg.nodes import Node, ResourceNode
from converge_plugins.ceg.optimizer import PCSFOptimizer
from converge_plugins.ceg.phases import PHASES, Phase
from converge_plugins.ceg.state import House, Sight, SystemState
from converge_plugins.pcsf.memory import MemoryCapacityStore
from converge_plugins.pcsf.registry import ProviderRegistry
from tests.core.stage import Played, engine_of, play
from tests.fakes.approver import Answer, FakeApprover
from tests.fakes.backend import FakeBackend, profile_of

WELL = Observed(1.0, 500)
FAR = NetworkFailed("a", "no route")
ROOMY: dict[str, Any] = {"max_cost": 10.0}


def resource(id: str, **more: Any) -> ResourceNode:
    """A resource of a provider of its own name, which costs a dollar for a thousand tokens, in half a second."""
    given: dict[str, Any] = {"provider": id, "cost_per_token": 0.001, "latency_target_ms": 500.0}
    return ResourceNode(id=id, **given | more)


def contract(**fields: Any) -> ExecutionContract:
    """A contract with room for a resource; limits are given by their names."""
    limits = {name: fields.pop(name) for name in [*fields] if name not in ExecutionContract.model_fields}
    return ExecutionContract.model_validate({"constraints": ROOMY | limits, **fields})


def sights(seen: Mapping[str, Observed]) -> SystemState:
    """A state in which these are seen, and can be reached."""
    return SystemState(tuple(Sight(id, each, True) for id, each in sorted(seen.items())))


def well(*resources: str) -> SystemState:
    """A state in which all of these are well."""
    return sights(dict.fromkeys(resources, WELL))


def graph_of(*nodes: Node, edges: Sequence[tuple[str, str, Any]] = ()) -> CEGraph:
    graph = CEGraph(nodes)
    for src, dst, kind in edges:
        graph = graph.add_edge(src, dst, kind)
    return graph


def plan_of(
    graph: CEGraph,
    held_to: ExecutionContract | None = None,
    state: SystemState | None = None,
    field: DilationField | None = None,
    house: House | None = None,
) -> ExecutionPlan:
    """The plan for a graph, of which every resource is well unless it is said otherwise."""
    held_to = held_to or contract()
    state = state or well(*(node.id for node in graph.of(ResourceNode)))
    rulings = (house or House()).rule(graph, held_to, state)
    return PCSFOptimizer().optimize(graph, held_to, state, field or DilationField(), rulings)


def rejections(plan: ExecutionPlan) -> dict[str, list[str]]:
    """The rules that each candidate has broken."""
    return {each.resource: [rule.value for rule, _ in each.rejections] for each in plan.candidates}


def events(run: Run | CEGraph) -> list[str]:
    """The traces of a graph, in their order: what has happened to whom."""
    graph = run.graph if isinstance(run, Run) else run
    return [f"{trace.event} {trace.actor}".strip() for trace in graph.traces()]


class Time:
    """A clock that stands until it is moved, in milliseconds."""

    def __init__(self) -> None:
        self.now_ms = 1_000_000

    def __call__(self) -> int:
        return self.now_ms


def registry(*providers: str, time: Time | None = None) -> ProviderRegistry:
    """The registry of providers, all of which can be asked."""
    made = ProviderRegistry(MemoryCapacityStore(), time or Time())
    for provider in providers:
        made.register(provider)
    return made


def no_code(reference: str) -> Any:
    raise LookupError(f"there is no {reference}")


def phases(
    capacity: ProviderRegistry,
    models: Models | None = None,
    code: Mapping[str, Any] | None = None,
    time: Time | None = None,
    **configs: dict[str, Any],
) -> list[Phase]:
    """All phases; ``configs`` are by the name of a phase, ``code`` is what can be loaded."""
    clock: Clock = time or Time()
    ports = Ports().offer(CAPACITY, capacity).offer(CLOCK, clock)
    if models is not None:
        ports.offer(MODELS, models)

    def load(reference: str) -> Any:
        return code[reference] if code and reference in code else no_code(reference)

    return [
        Phase(spec, spec.config.model_validate(configs.get(spec.name, {})), Site(f"ceg.{spec.name}", load, ports))
        for spec in PHASES
    ]


def request(*nodes: Node, edges: Sequence[tuple[str, str, Any]] = (), **fields: Any) -> ContextState:
    """A request for these nodes, under a contract of these fields."""
    context = ContextState()
    payload = ExecutionRequest.model_validate(
        {"text": "why?", "nodes": nodes, "edges": edges, "contract": contract(**fields)}
    )
    context.add_proposal(ProposedFact(ContextKey.SEEDS, "q", payload))
    return context


def converged(made: Sequence[Phase], context: ContextState, answer: Answer | None = None) -> Played:
    """Play a run of phases to where it converges, or waits for somebody; the first swap has the answer, if any."""
    played = ended(made, context, answer)
    assert played.result.converged or played.result.pause is not None, played.result.stop_reason
    return played


def ended(made: Sequence[Phase], context: ContextState, answer: Answer | None = None) -> Played:
    """Play a run of phases to its end, whatever that is."""
    if answer is None:
        return play(engine_of(*made), context)
    engine = engine_of(*made, hitl_policy=HitlPolicy(gated_keys=(ContextKey.PROPOSALS,)))
    return play(engine, context, approver=FakeApprover({"proposals/swap:q:0": answer}))


def said(played: Played, kind: type[FactPayload]) -> list[Any]:
    """What the facts of a kind say, in their order."""
    return [fact.payload for fact in played.result.context.get(kind)]


def backend(name: str, *answers: Any) -> FakeBackend:
    return FakeBackend(profile_of(name), list(answers))


def outcome(played: Played) -> ExecutionOutcome | None:
    last: ExecutionTrace = said(played, ExecutionTrace)[-1]
    return last.outcome


def history(played: Played) -> list[str]:
    """What has happened, by the last graph there is."""
    traces, graphs = said(played, ExecutionTrace), said(played, CompiledGraph)
    return events(traces[-1].graph if traces else graphs[-1].graph)
