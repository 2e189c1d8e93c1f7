"""Recording: every activation as an action of the house, with the gates that it has passed.

Where nothing could be planned, those whom a gate has turned away are on record as well, as denied.
"""

from __future__ import annotations

from collections.abc import Iterator

from converge_core.governance.actions import (
    ActionRecord,
    ActionStatus,
    ActionType,
    AgentActor,
    Gate,
    GatePassage,
    GateTrace,
)
from converge_core.governance.terms import Boundary
from converge_core.ledger.canonical import canonical
from converge_plugins.ceg.contract import ExecutionPlan
from converge_plugins.ceg.facts import CompiledGraph, ExecutedPlan
from converge_plugins.ceg.nodes import ResourceNode
from converge_plugins.ceg.state import ACTION, Rulings


def records(
    compiled: CompiledGraph, plan: ExecutionPlan, rulings: Rulings, executed: ExecutedPlan
) -> Iterator[ActionRecord]:
    """Yield the records of a tick: its activations in their order, or else who was denied."""
    nodes = {node.id: node for node in compiled.graph.of(ResourceNode)}
    gates = {ruling.resource: ruling.passages for ruling in rulings.resources}
    for each in executed.activations:
        node = nodes[each.resource]
        status = ActionStatus.OK if each.succeeded else ActionStatus.ERROR
        output = each.output.get("text") or canonical(each.output)
        actor = AgentActor(agent_id=ACTION, provider_id=node.provider, model=node.id)
        yield _record(compiled, plan, node, gates[node.id], actor, status, output, each.detail)
    if not plan.feasible:
        for ruling in rulings.resources:
            if ruling.denial is not None and ruling.resource in nodes:
                actor = AgentActor(agent_id=ACTION, model=ruling.resource)
                yield _record(compiled, plan, nodes[ruling.resource], ruling.passages, actor, ActionStatus.DENIED)


def _record(
    compiled: CompiledGraph,
    plan: ExecutionPlan,
    node: ResourceNode,
    passages: tuple[GatePassage, ...],
    actor: AgentActor,
    status: ActionStatus,
    output: str = "",
    error: str = "",
) -> ActionRecord:
    return ActionRecord(
        action_type=ActionType.DISPATCH,
        actor=actor,
        status=status,
        gates=GateTrace(passages).after(Gate.RECORD).passages,
        input_summary=compiled.request,
        output_summary=output,
        capability_claim=node.id,
        plan=plan.id,
        tier=compiled.contract.tier,
        data_classes=compiled.contract.labels,
        boundary=Boundary.CLOUD if node.external else Boundary.LOCAL,
        error=error,
    )
