"""The executor: a contract carried out tick by tick, as a function from one value to the next.

`CEGExecutor.step` takes what is seen at a tick and says what is to be done; whoever drives it does that, and tells how
it went. It performs nothing, and knows no clock and no thread:

    step      what is seen -> rulings, dilation, a swap if there is reason for one, a plan
    activate  a step of the plan begins: past every constraint that governs it, or not at all
    finish    it has ended, well or not
    conclude  the tick is over: the execution is too, or there is another tick

An execution is completed when every step was; infeasible, when it cannot be planned and a further look shows the same;
exhausted, when it fails and a further look shows the same, or there were as many ticks as there may be; and aborted by
a critical constraint. Each activation and its end, each swap and each refusal of one, each tick without a plan and
each abort leaves a trace in the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NamedTuple

from pydantic import ConfigDict

from converge_core import FrozenObject, MisuseError
from converge_core.context.payloads import FrozenDict
from converge_core.governance.dilation import DilationField
from converge_core.governance.hot_swap import HotSwapRegistry
from converge_plugins.ceg.contract import ExecutionContract, ExecutionPlan, ExecutionStep
from converge_plugins.ceg.graph import CEGraph
from converge_plugins.ceg.nodes import ResourceNode, TraceEvent
from converge_plugins.ceg.optimizer import PCSFOptimizer, is_audited
from converge_plugins.ceg.state import House, Rulings, SystemState, dilate
from converge_plugins.ceg.swapping import Swap, SwapSettings, apply, decisions, exchange, instability, seen


class ExecutionOutcome(StrEnum):
    """How an execution has ended."""

    COMPLETED = "completed"
    INFEASIBLE = "infeasible"
    ABORTED = "aborted"
    EXHAUSTED = "exhausted"


@dataclass(frozen=True, slots=True)
class Activation:
    """How the execution of a resource has ended, and what it has said: a JSON object."""

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    resource: str
    succeeded: bool
    detail: str = ""
    output: FrozenObject = field(default_factory=FrozenDict)


class Fingerprint(NamedTuple):
    """What a tick is recognised by: digests of its state, and of what its plan has decided."""

    state: str
    decision: str

    @classmethod
    def of(cls, plan: ExecutionPlan) -> Fingerprint:
        """Return that of the tick in which a plan was made."""
        return cls(plan.state, plan.decision)


class Conclusion(NamedTuple):
    """Whether an execution is over, and why; without an outcome it goes on."""

    outcome: ExecutionOutcome | None
    reason: str = ""


def conclusion(
    contract: ExecutionContract, plan: ExecutionPlan, succeeded: bool, tick: int, before: Fingerprint | None
) -> Conclusion:
    """Say whether an execution is over after a tick; ``before`` is the fingerprint of the one before it."""
    if plan.aborted:
        return Conclusion(ExecutionOutcome.ABORTED, "; ".join(plan.reasons))
    if plan.feasible and succeeded:
        return Conclusion(ExecutionOutcome.COMPLETED)
    if before == Fingerprint.of(plan):
        why = "it fails" if plan.feasible else "; ".join(plan.reasons)
        ended = ExecutionOutcome.EXHAUSTED if plan.feasible else ExecutionOutcome.INFEASIBLE
        return Conclusion(ended, f"nothing has changed since tick {tick - 1}: {why}")
    if tick + 1 >= contract.max_ticks:
        return Conclusion(ExecutionOutcome.EXHAUSTED, f"there are no more than {contract.max_ticks} ticks")
    return Conclusion(None)


def begun(
    graph: CEGraph, contract: ExecutionContract, resource: str, held: Mapping[str, bool | None], tick: int
) -> CEGraph:
    """Return the graph with a resource being executed, and a trace of data that leaves where the contract has it so."""
    node = graph.get(resource)
    graph = graph.activate(resource, held, tick)
    if isinstance(node, ResourceNode) and is_audited(contract, node):
        return graph.note(TraceEvent.AUDITED, resource, tick, "data leaves the premises")
    return graph


def ended(graph: CEGraph, activation: Activation, tick: int) -> CEGraph:
    """Return the graph with an execution ended as it was."""
    event = TraceEvent.COMPLETED if activation.succeeded else TraceEvent.FAILED
    return graph.end(activation.resource, event, tick, activation.detail)


def unplanned(graph: CEGraph, plan: ExecutionPlan, tick: int) -> CEGraph:
    """Return the graph with a trace of why nothing is executed, where nothing is."""
    if plan.feasible:
        return graph
    event = TraceEvent.ABORTED if plan.aborted else TraceEvent.INFEASIBLE
    return graph.note(event, "", tick, "; ".join(plan.reasons))


def refused(graph: CEGraph, swaps: Iterable[Swap], tick: int) -> CEGraph:
    """Return the graph with a trace of each swap that is not to be."""
    for swap in swaps:
        if not swap.allowed:
            graph = graph.note(TraceEvent.SWAP_REFUSED, swap.old, tick, swap.reason)
    return graph


@dataclass(frozen=True, slots=True)
class Run:
    """An execution as it stands. ``pool`` are all resources there are, ``failed`` is who failed in the tick before.

    ``plan`` is that of the current tick, None before it is looked at. With an ``outcome`` it is over.
    """

    contract: ExecutionContract
    graph: CEGraph
    pool: tuple[ResourceNode, ...]
    registry: HotSwapRegistry
    field: DilationField = DilationField()
    tick: int = 0
    state: SystemState = SystemState()
    rulings: Rulings = Rulings()
    plan: ExecutionPlan | None = None
    activations: tuple[Activation, ...] = ()
    failed: str = ""
    before: Fingerprint | None = None
    outcome: ExecutionOutcome | None = None
    reason: str = ""

    @property
    def standby(self) -> tuple[ResourceNode, ...]:
        """The resources that stand nowhere in the graph."""
        return tuple(node for node in self.pool if not self.graph.has(node.id))


@dataclass(frozen=True, slots=True)
class CEGExecutor:
    """Carries contracts out. Every method returns another `Run`, and raises MisuseError where it is not its turn."""

    optimizer: PCSFOptimizer = field(default_factory=PCSFOptimizer)
    house: House = field(default_factory=House)
    settings: SwapSettings = field(default_factory=SwapSettings)

    def begin(
        self,
        contract: ExecutionContract,
        graph: CEGraph,
        standby: Iterable[ResourceNode] = (),
        field: DilationField | None = None,
    ) -> Run:
        """Return an execution that has not been looked at. Raises MisuseError for an id that two resources have."""
        others = tuple(standby)
        registry = self.settings.registry(graph, others)
        return Run(contract, graph, (*graph.of(ResourceNode), *others), registry, field or DilationField())

    def step(self, run: Run, state: SystemState) -> Run:
        """Return the execution after a look: with a plan, or with a swap made, which takes a tick of its own."""
        if run.outcome is not None or run.plan is not None:
            raise MisuseError("this tick was looked at already, or there is none any more")
        registry = seen(run.registry, state)
        rulings = self.house.rule(run.graph, run.contract, state, run.standby)
        dilated = dilate(run.field, run.pool, state)
        run = replace(run, registry=registry, field=dilated, state=state, rulings=rulings)
        swaps = decisions(registry, run.contract, state, rulings, run.tick, run.failed)
        run = replace(run, graph=refused(run.graph, swaps, run.tick))
        for swap in swaps:
            if swap.allowed:
                return self._swapped(run, swap)
        plan = self.optimizer.optimize(run.graph, run.contract, state, dilated, rulings, instability(registry))
        return replace(run, plan=plan, graph=unplanned(run.graph, plan, run.tick), activations=())

    def activate(self, run: Run, step: ExecutionStep) -> Run:
        """Return the execution with a step begun. Raises InvariantBroken where a constraint is in the way."""
        if run.plan is None or step not in run.plan.steps:
            raise MisuseError(f"{step.resource!r:.80} is no step of the plan")
        return replace(run, graph=begun(run.graph, run.contract, step.resource, run.rulings.held, run.tick))

    def finish(self, run: Run, activation: Activation) -> Run:
        """Return the execution with a step ended. Raises GraphError for one that was not begun."""
        return replace(run, graph=ended(run.graph, activation, run.tick), activations=(*run.activations, activation))

    def conclude(self, run: Run) -> Run:
        """Return the execution after the tick: over, or at the next one."""
        if run.plan is None or run.graph.active:
            raise MisuseError("a tick is over when there was a plan, and nothing is being executed any more")
        done = [each.resource for each in run.activations if each.succeeded]
        succeeded = done == [step.resource for step in run.plan.steps]
        outcome, reason = conclusion(run.contract, run.plan, succeeded, run.tick, run.before)
        failed = next((each.resource for each in run.activations if not each.succeeded), "")
        run = replace(run, before=Fingerprint.of(run.plan), failed=failed)
        if outcome is not None:
            return replace(run, outcome=outcome, reason=reason)
        return replace(run, tick=run.tick + 1, plan=None)

    def rollback(self, run: Run, role: str) -> Run:
        """Return the execution with the last swap of a role undone; what was being executed there is rolled back first.

        Raises MisuseError where the role was not swapped.
        """
        registry = run.registry.rollback(role)
        old, new = (each.roles[role].incumbent.id for each in (run.registry, registry))
        graph = run.graph
        if old in graph.active:
            graph = graph.end(old, TraceEvent.ROLLED_BACK, run.tick)
        node = next(node for node in run.pool if node.id == new)
        return replace(run, registry=registry, graph=graph.swap_node(old, node, run.tick, f"rolled back from {old}"))

    def _swapped(self, run: Run, swap: Swap) -> Run:
        return replace(
            run,
            registry=apply(run.registry, swap, run.tick, run.state.at_ms),
            graph=exchange(run.graph, swap, run.pool, run.tick),
            tick=run.tick + 1,
            failed="",
        )


Look = Callable[[Run], SystemState]
"""Looks at the resources of an execution."""

Perform = Callable[[ExecutionStep, tuple[Activation, ...]], Activation]
"""Executes a step, after those that were executed in this tick."""


def drive(executor: CEGExecutor, run: Run, look: Look, perform: Perform) -> Run:
    """Carry an execution out to its end. A ``perform`` that raises has failed."""
    while run.outcome is None:
        run = executor.step(run, look(run))
        if run.plan is None:
            continue
        for step in run.plan.steps:
            run = executor.activate(run, step)
            run = executor.finish(run, _performed(perform, step, run.activations))
            if not run.activations[-1].succeeded:
                break
        run = executor.conclude(run)
    return run


def _performed(perform: Perform, step: ExecutionStep, before: tuple[Activation, ...]) -> Activation:
    try:
        return perform(step, before)
    except Exception as error:  # whatever it raises, it has not succeeded
        return Activation(step.resource, False, type(error).__name__)
