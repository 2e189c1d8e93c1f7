"""The phases of an execution as suggestors: each waits for facts, and says one thing about them.

    compile     request, swap or trace     the graph of the next tick
    observe     graph                      what is seen of every resource now
    constrain   what is seen               which constraints hold, and who is turned away
    dilate      what is seen               the D of every resource
    swap        rulings                    who is to be replaced, and a proposal that it be done
    plan        D, rulings, no swap due    who is to be executed, and all candidates
    execute     plan                       what came of it
    trace       what came of it            the graph with its traces: over, or another tick

Nobody calls anybody. A phase runs once for each tick, when what it needs is there, whoever has said it; a proposal of a
swap passes the gates of the run, so a person may have to agree to it, and until then nothing is planned. What a phase
makes of its facts is a function, given in the table `PHASES`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from pydantic import BaseModel

from converge_core import (
    AgentEffect,
    Context,
    DiagnosticPayload,
    FactPayload,
    MisuseError,
    NoConfig,
    ProposedFact,
    Replayability,
    Site,
    Suggestor,
    SuggestorError,
)
from converge_core.context.facts import AnyProposal
from converge_core.governance.actions import ActionRecord, action_proposal
from converge_core.governance.hot_swap import HotSwapRegistry
from converge_core.intent.models import authority_gate
from converge_core.ports import CAPACITY, CLOCK, SOURCE_DIGEST
from converge_plugins.ceg.activating import Activator
from converge_plugins.ceg.compiling import Compiler
from converge_plugins.ceg.config import (
    ConstrainConfig,
    DilateConfig,
    ExecuteConfig,
    ObserveConfig,
    PlanConfig,
    SwapConfig,
)
from converge_plugins.ceg.contract import PREDICATES, Predicate
from converge_plugins.ceg.executor import Fingerprint, begun, conclusion, ended, refused, unplanned
from converge_plugins.ceg.facts import (
    KEYS,
    CompiledGraph,
    Course,
    Dilated,
    ExecutedPlan,
    ExecutionRequest,
    ExecutionTrace,
    ObservedState,
    PlannedExecution,
    Route,
    RuledConstraints,
    SwapProposal,
    SwapReview,
    TickFact,
    fact_id,
)
from converge_plugins.ceg.nodes import GraphError
from converge_plugins.ceg.optimizer import PCSFOptimizer
from converge_plugins.ceg.projections import project
from converge_plugins.ceg.recording import records
from converge_plugins.ceg.state import House, dilate, observe
from converge_plugins.ceg.swapping import SwapSettings, apply, decisions, instability, seen

Said = Iterable[TickFact | ActionRecord]
Play = Callable[[Course], Said | Awaitable[Said]]
"""Makes of a course what a phase has to say about its tick."""


def _is_open(spec: PhaseSpec, course: Course) -> bool:
    """Say whether what a phase needs of a tick is there, and what it says is not."""
    return all(course.at(kind) is not None for kind in spec.needs) and not course.has(spec.says[0])


def _no_swap_is_due(spec: PhaseSpec, course: Course) -> bool:
    """Say the same of who waits for the swap of the tick: none was due, or somebody has turned it down."""
    review = course.at(SwapReview)
    waits = review is not None and review.due is not None and not course.is_refused(course.tick)
    return _is_open(spec, course) and not waits


def _next_tick_is_due(spec: PhaseSpec, course: Course) -> bool:
    return Compiler.is_due(course)


@dataclass(frozen=True, slots=True)
class PhaseSpec:
    """A row of the table: what a phase needs of a tick, what it says, what makes its function, and its turn."""

    name: str
    needs: tuple[type[TickFact], ...]
    says: tuple[type[FactPayload], ...]
    config: type[BaseModel]
    make: Callable[..., Play]
    summary: str
    replayability: Replayability = Replayability.DETERMINISTIC
    also_reads: tuple[type[FactPayload], ...] = ()
    has_turn: Callable[[PhaseSpec, Course], bool] = _is_open


class Phase(Suggestor):
    """A phase of executions. Raises LookupError, when it is made, for a port or for code that is not there."""

    def __init__(self, spec: PhaseSpec, config: BaseModel, site: Site) -> None:
        self.name = site.name
        self.dependencies = (*spec.needs, *spec.also_reads)
        self.writes = tuple(dict.fromkeys(KEYS[kind] for kind in spec.says))
        self.payloads = (ExecutionRequest, *spec.says)
        self.replayability = spec.replayability
        self.config = config.model_dump(mode="json")
        self.version = _version(config, site)
        self._spec = spec
        self._play = spec.make(config, site)

    def accepts(self, ctx: Context) -> bool:
        """Say whether it is this phase's turn for any request."""
        return any(map(self._has_turn, Course.all(ctx)))

    async def execute(self, ctx: Context) -> AgentEffect:
        """Return what the phase says of each request. Raises SuggestorError for a request that cannot be executed."""
        proposals: list[AnyProposal] = []
        for course in filter(self._has_turn, Course.all(ctx)):
            try:
                said = self._play(course)
                payloads = await said if isinstance(said, Awaitable) else said
                proposals += [self._proposal(course, number, payload) for number, payload in enumerate(payloads)]
            except (GraphError, MisuseError, LookupError) as error:
                raise SuggestorError(self.name, "invalid_input", f"{course.request.ref}: {error}") from error
        return AgentEffect.with_proposals(proposals)

    def _has_turn(self, course: Course) -> bool:
        return self._spec.has_turn(self._spec, course)

    def _proposal(self, course: Course, number: int, payload: TickFact | ActionRecord) -> AnyProposal:
        """Return a proposal that cites what the phase needed of this tick, or the request at the beginning."""
        kinds = [*self._spec.needs, *([SwapProposal] if SwapProposal in self._spec.also_reads else [])]
        found = [course.fact(kind) for kind in kinds]
        evidence = [fact.ref for fact in found if fact is not None] or [course.request.ref]
        if isinstance(payload, ActionRecord):
            return action_proposal(f"action:{course.request.id}:{course.tick}:{number}", payload, evidence)
        return ProposedFact(KEYS[type(payload)], fact_id(payload), payload, evidence=evidence)


def _version(config: BaseModel, site: Site) -> str:
    """Return a version that changes with the code that a configuration names."""
    named = [
        reference
        for field in ("predicates", "runs")
        for reference in getattr(config, field, {}).values()
        if site.ports.offers(SOURCE_DIGEST)
    ]
    return "+".join(("1", *(site.port(SOURCE_DIGEST)(reference)[:12] for reference in sorted(set(named)))))


def _compile(config: NoConfig, site: Site) -> Play:
    return Compiler(site).compile


def _observe(config: ObserveConfig, site: Site) -> Play:
    capacity, clock = site.port(CAPACITY), site.port(CLOCK)

    def play(course: Course) -> Said:
        graph = course.need(CompiledGraph)
        state = observe(graph.pool, capacity.snapshot(graph.contract.tier), clock(), config.attested)
        yield ObservedState(request=graph.request, tick=graph.tick, state=state)

    return play


def _constrain(config: ConstrainConfig, site: Site) -> Play:
    own: dict[str, Predicate] = {name: site.load(reference) for name, reference in config.predicates.items()}
    house = House({**PREDICATES, **own}, authority_gate(config.denials), config.profiles())

    def play(course: Course) -> Said:
        graph, seen_now = course.need(CompiledGraph), course.need(ObservedState)
        rulings = house.rule(graph.graph, graph.contract, seen_now.state, graph.standby)
        yield RuledConstraints(request=graph.request, tick=graph.tick, rulings=rulings)

    return play


def _dilate(config: DilateConfig, site: Site) -> Play:
    def play(course: Course) -> Said:
        graph, before = course.need(CompiledGraph), course.at(Dilated, course.tick - 1)
        field = dilate(config.field() if before is None else before.field, graph.pool, course.need(ObservedState).state)
        yield Dilated.of(graph.request, graph.tick, field)

    return play


def _swap(config: SwapConfig, site: Site) -> Play:
    settings = config.settings()

    def play(course: Course) -> Said:
        graph, rulings = course.need(CompiledGraph), course.need(RuledConstraints).rulings
        registry, last = _registry(settings, course), course.last_trace()
        failed = "" if last is None or last.tick != course.tick - 1 else last.failed
        reviews = ((tick, course.at(SwapReview, tick)) for tick in range(course.tick) if course.is_refused(tick))
        left_alone = {review.due.role for _, review in reviews if review is not None and review.due is not None}
        state = course.need(ObservedState).state
        found = decisions(registry, graph.contract, state, rulings, graph.tick, failed, left_alone)
        unsteady = tuple(sorted(instability(registry).items()))
        review = SwapReview(request=graph.request, tick=graph.tick, swaps=found, instability=unsteady)
        yield review
        if review.due is not None:
            yield SwapProposal(request=graph.request, tick=graph.tick, swap=review.due)

    return play


def _registry(settings: SwapSettings, course: Course) -> HotSwapRegistry:
    """Return the registry after everything that was seen and swapped so far."""
    first = course.need(CompiledGraph, 0)
    registry = settings.registry(first.graph, first.standby)
    for tick in range(course.tick + 1):
        state, swap = course.need(ObservedState, tick).state, course.at(SwapProposal, tick)
        registry = seen(registry, state)
        if swap is not None:
            registry = apply(registry, swap.swap, tick, state.at_ms)
    return registry


def _plan(config: PlanConfig, site: Site) -> Play:
    optimizer = PCSFOptimizer(config.weights())

    def play(course: Course) -> Said:
        graph, review = course.need(CompiledGraph), course.need(SwapReview)
        plan = optimizer.optimize(
            graph.graph,
            graph.contract,
            course.need(ObservedState).state,
            course.need(Dilated).field,
            course.need(RuledConstraints).rulings,
            dict(review.instability),
        )
        yield PlannedExecution(request=graph.request, tick=graph.tick, plan=plan)

    return play


def _execute(config: ExecuteConfig, site: Site) -> Play:
    activator = Activator(config, site)

    async def play(course: Course) -> Said:
        graph, plan = course.need(CompiledGraph), course.need(PlannedExecution).plan
        activations = await activator.activations(course, graph, plan)
        last = activations[-1:]
        executed = ExecutedPlan(
            request=graph.request,
            tick=graph.tick,
            plan=plan.id,
            succeeded=bool(last) and last[0].succeeded,
            activations=activations,
            candidates=tuple(Route(each.resource, each.dilation, each.cost, each.accepted) for each in plan.candidates),
        )
        return (executed,)

    return play


def _trace(config: NoConfig, site: Site) -> Play:
    def play(course: Course) -> Said:
        compiled, plan = course.need(CompiledGraph), course.need(PlannedExecution).plan
        executed, rulings = course.need(ExecutedPlan), course.need(RuledConstraints).rulings
        graph = unplanned(refused(compiled.graph, course.need(SwapReview).swaps, course.tick), plan, course.tick)
        for activation in executed.activations:
            graph = begun(graph, compiled.contract, activation.resource, rulings.held, course.tick)
            graph = ended(graph, activation, course.tick)
        last = course.last_trace()
        before = None if last is None else last.fingerprint
        outcome, reason = conclusion(compiled.contract, plan, executed.succeeded, course.tick, before)
        ends = executed.activations[-1:]
        done = [each.resource for each in executed.activations if each.succeeded]
        live = course.need(ObservedState).state.live
        yield ExecutionTrace(
            request=compiled.request,
            tick=compiled.tick,
            graph=graph,
            fingerprint=Fingerprint.of(plan),
            failed="" if executed.succeeded or not ends else ends[0].resource,
            outcome=outcome,
            reason=reason,
            projections=project(graph, plan, live, done, () if last is None else last.projections),
        )
        yield from records(compiled, plan, rulings, executed)

    return play


PHASES: tuple[PhaseSpec, ...] = (
    PhaseSpec(
        "compile",
        (ExecutionTrace,),
        (CompiledGraph,),
        NoConfig,
        _compile,
        "Makes a graph of a request, and the graph of the next tick.",
        has_turn=_next_tick_is_due,
        also_reads=(ExecutionRequest, SwapProposal),
    ),
    PhaseSpec(
        "observe",
        (CompiledGraph,),
        (ObservedState,),
        ObserveConfig,
        _observe,
        "Looks at the resources of a graph, by the capacity that everybody shares.",
        Replayability.NONE,
    ),
    PhaseSpec(
        "constrain",
        (ObservedState,),
        (RuledConstraints,),
        ConstrainConfig,
        _constrain,
        "Judges the constraints of a graph, and leads its resources past the gates.",
    ),
    PhaseSpec(
        "dilate", (ObservedState,), (Dilated,), DilateConfig, _dilate, "Says how much each resource is slowed down."
    ),
    PhaseSpec(
        "swap",
        (RuledConstraints,),
        (SwapReview, SwapProposal),
        SwapConfig,
        _swap,
        "Proposes that a resource take the place of another.",
    ),
    PhaseSpec(
        "plan",
        (Dilated, RuledConstraints, SwapReview),
        (PlannedExecution,),
        PlanConfig,
        _plan,
        "Plans who is to be executed, with the cost of every candidate.",
        has_turn=_no_swap_is_due,
        also_reads=(DiagnosticPayload,),
    ),
    PhaseSpec(
        "execute",
        (PlannedExecution,),
        (ExecutedPlan,),
        ExecuteConfig,
        _execute,
        "Executes a plan: asks the models of the intent, or runs what it names.",
        Replayability.NONE,
    ),
    PhaseSpec(
        "trace",
        (ExecutedPlan,),
        (ExecutionTrace, ActionRecord),
        NoConfig,
        _trace,
        "Leaves the traces of a tick, and says whether the execution is over.",
    ),
)
"""The phases, in the order in which they have their turn."""
