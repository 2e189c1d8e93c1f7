"""The optimizer: from a graph, a contract and what is known at a tick to a plan, and nothing else goes into it.

Every resource is a candidate and is held to every rule, so a plan tells of each what is against it, not only of the one
that was chosen. Those with nothing against them are ordered by their cost (`converge_core.governance.ranking`), scaled
by the D of each, with that of everything they require; of equals the lowest priority is first, and then the first id.
The plan executes the best of them, after what it requires.

A limit of latency is held against what was seen, or what that comes to with D where that is longer: a resource that is
in a hurry is not faster for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from converge_core.governance.dilation import DilationField
from converge_core.governance.ranking import DEFAULT_WEIGHTS, CostWeights, Ranked, cost_of
from converge_core.governance.resources import NOT_OBSERVED, Live
from converge_plugins.ceg.contract import (
    Candidate,
    ExecutionContract,
    ExecutionPlan,
    ExecutionStep,
    ExternalIO,
    Rejection,
    Rule,
)
from converge_plugins.ceg.graph import CEGraph
from converge_plugins.ceg.nodes import AuthorityNode, ConstraintNode, EdgeKind, IntentNode, ResourceNode, Severity
from converge_plugins.ceg.state import Rulings, SystemState, field_digest, unreadable

_FOR_THE_CHOSEN = (Rule.INTENT, Rule.CAPABILITIES)
"""What only the one that answers has to satisfy, not what it requires."""


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything that a plan is made of, and how resources are compared."""

    graph: CEGraph
    contract: ExecutionContract
    state: SystemState
    field: DilationField
    rulings: Rulings
    weights: CostWeights
    instability: Mapping[str, float]

    @property
    def live(self) -> Live:
        """What is seen, by resource."""
        return self.state.live

    def ranked(self, node: ResourceNode) -> Ranked:
        """Return the cost of a resource, by itself."""
        seen, d = self.live.get(node.id, NOT_OBSERVED), self.field.get(node.id)
        return cost_of(node.resource, seen, d, self.weights, self.instability.get(node.id, 0.0))

    def latency_ms(self, node: ResourceNode) -> float:
        """Return what was seen of the latency of a resource, or its target."""
        seen = self.live.get(node.id, NOT_OBSERVED).latency_ms
        return node.latency_target_ms if seen is None else seen

    def required(self, node_id: str) -> tuple[ResourceNode, ...]:
        """Return the resources that a node requires, in the order in which they are to be executed."""
        before = (self.graph.get(each) for each in self.graph.in_order(node_id) if each != node_id)
        return tuple(each for each in before if isinstance(each, ResourceNode))


class PCSFOptimizer:
    """Plans. The same graph, contract, state, field and rulings give the same plan; an earlier plan plays no part."""

    def __init__(self, weights: CostWeights = DEFAULT_WEIGHTS) -> None:
        self._weights = weights

    def optimize(
        self,
        graph: CEGraph,
        contract: ExecutionContract,
        state: SystemState,
        field: DilationField,
        rulings: Rulings,
        instability: Mapping[str, float] | None = None,
    ) -> ExecutionPlan:
        """Return the plan. ``instability`` is by resource, a share of 1; who is not there is steady."""
        design = graph.untraced()
        situation = Situation(design, contract, state, field, rulings, self._weights, instability or {})
        candidates = _candidates(situation)
        plan = ExecutionPlan(
            contract.id,
            design.digest,
            digest_of_state(state, rulings),
            field_digest(field),
            candidates,
            warnings=_violated(situation, Severity.SOFT),
        )
        if critical := _violated(situation, Severity.CRITICAL):
            return replace(plan, reasons=critical, aborted=True)
        accepted = [candidate for candidate in candidates if candidate.accepted]
        if not accepted:
            return replace(plan, reasons=_reasons(candidates))
        chosen = accepted[0].resource
        nodes = (*situation.required(chosen), *(node for node in graph.of(ResourceNode) if node.id == chosen))
        return replace(plan, steps=tuple(_step(situation, node) for node in nodes))


def digest_of_state(state: SystemState, rulings: Rulings) -> str:
    """Return what a state is recognised by: what was seen, and what was ruled on it."""
    return f"{state.digest[:32]}{rulings.digest[:32]}"


def _candidates(situation: Situation) -> tuple[Candidate, ...]:
    nodes = situation.graph.of(ResourceNode)
    priority = {node.id: node.priority for node in nodes}
    judged = (_candidate(situation, node) for node in nodes)
    return tuple(
        sorted(judged, key=lambda each: (not each.accepted, each.cost, priority[each.resource], each.resource))
    )


def _candidate(situation: Situation, node: ResourceNode) -> Candidate:
    own, required = situation.ranked(node), situation.required(node.id)
    return Candidate(
        resource=node.id,
        provider=node.provider,
        dilation=own.dilation,
        health=situation.live.get(node.id, NOT_OBSERVED).health,
        latency_ms=situation.latency_ms(node),
        dilated_latency_ms=own.latency_ms,
        price=node.resource.cost,
        terms=own.terms,
        cost=own.cost + sum(situation.ranked(each).cost for each in required),
        steps=(*(each.id for each in required), node.id),
        rejections=tuple(_rejections(situation, node, required)),
    )


def _rejections(situation: Situation, node: ResourceNode, required: tuple[ResourceNode, ...]) -> Iterator[Rejection]:
    yield from _against(situation, node)
    for each in required:
        for rule, detail in _against(situation, each):
            if rule not in _FOR_THE_CHOSEN:
                yield Rejection(Rule.REQUIRES, f"{each.id!r}: {rule}: {detail}")
    limits, nodes = situation.contract.constraints, (*required, node)
    price = sum(each.resource.cost for each in nodes)
    if price > limits.max_cost:
        yield Rejection(Rule.COST, f"{price:.6g} USD > {limits.max_cost:.6g} USD")
    latency = sum(situation.latency_ms(each) * max(1.0, situation.field.get(each.id)) for each in nodes)
    if latency > limits.max_latency_ms:
        yield Rejection(Rule.LATENCY, f"{latency:.6g} ms > {limits.max_latency_ms:.6g} ms")


def _against(situation: Situation, node: ResourceNode) -> Iterator[Rejection]:
    """Yield what a resource is rejected for by itself, in the order of the rules."""
    for rule, check in _CHECKS.items():
        if (detail := check(situation, node)) is not None:
            yield Rejection(rule, detail)


def _disallowed(situation: Situation, node: ResourceNode) -> str | None:
    names, contract = {node.id, node.provider}, situation.contract
    if names & set(contract.forbidden):
        return "the contract forbids it"
    return None if not contract.allowed or names & set(contract.allowed) else "the contract allows others only"


def _not_for_the_intent(situation: Situation, node: ResourceNode) -> str | None:
    intents = situation.graph.of(IntentNode)
    ends = {edge.dst for each in intents for edge in situation.graph.edges_from(each.id, EdgeKind.EXECUTES_ON)}
    return f"the intent executes on {', '.join(sorted(ends))}" if ends and node.id not in ends else None


def _incapable(situation: Situation, node: ResourceNode) -> str | None:
    missing = sorted(set(situation.contract.capabilities) - set(node.capabilities))
    return f"it lacks {', '.join(missing)}" if missing else None


def _indeterminate(situation: Situation, node: ResourceNode) -> str | None:
    needed = situation.contract.constraints.determinism
    return "its answers are not always the same" if needed and not node.deterministic else None


def _external(situation: Situation, node: ResourceNode) -> str | None:
    policy = situation.contract.constraints.external_io_policy
    return "data would leave the premises" if policy is ExternalIO.BLOCK and node.external else None


def _memory(situation: Situation, node: ResourceNode) -> str | None:
    return unreadable(situation.graph, situation.contract, node.id)


def _unauthorised(situation: Situation, node: ResourceNode) -> str | None:
    given = situation.contract.authority
    for authority in situation.graph.governing(node.id, AuthorityNode):
        if not given.covers(authority.identity_scope):
            return f"{authority.id!r} needs the authority of {authority.identity_scope}, and it is that of {given}"
    return None


def _turned_away(situation: Situation, node: ResourceNode) -> str | None:
    denial = situation.rulings.denial(node.id)
    return None if denial is None else f"{denial.gate}: {denial.denial}"


def _constrained(situation: Situation, node: ResourceNode) -> str | None:
    """Return which constraint is in the way: one that governs it and blocks, or one of any severity it requires."""
    required = set(situation.graph.requirements_of(node.id))
    for constraint in situation.graph.of(ConstraintNode):
        verdict = situation.rulings.verdict(constraint)
        governs = constraint.severity.blocks and constraint in situation.graph.governing(node.id, ConstraintNode)
        if verdict.violated and (governs or constraint.id in required):
            return str(verdict)
    return None


def _blocked(situation: Situation, node: ResourceNode) -> str | None:
    """Return what blocks it: a constraint until it holds, an authority until it is given, and all else always."""
    for source in situation.graph.blocked_by(node.id):
        by = situation.graph.get(source)
        lifted = isinstance(by, ConstraintNode) and not situation.rulings.verdict(by).violated
        if not lifted and not isinstance(by, AuthorityNode):  # which is a rule of its own
            return f"{source!r} blocks it"
    return None


def _dead(situation: Situation, node: ResourceNode) -> str | None:
    return "its health is 0" if situation.live.get(node.id, NOT_OBSERVED).health == 0 else None


_CHECKS: Mapping[Rule, Callable[[Situation, ResourceNode], str | None]] = {
    Rule.ALLOWED: _disallowed,
    Rule.INTENT: _not_for_the_intent,
    Rule.CAPABILITIES: _incapable,
    Rule.DETERMINISM: _indeterminate,
    Rule.EXTERNAL_IO: _external,
    Rule.MEMORY: _memory,
    Rule.AUTHORITY: _unauthorised,
    Rule.GATES: _turned_away,
    Rule.CONSTRAINTS: _constrained,
    Rule.BLOCKS: _blocked,
    Rule.HEALTH: _dead,
}


def _violated(situation: Situation, severity: Severity) -> tuple[str, ...]:
    verdicts = map(situation.rulings.verdict, situation.graph.of(ConstraintNode))
    return tuple(str(verdict) for verdict in verdicts if verdict.violated and verdict.severity is severity)


def _reasons(candidates: tuple[Candidate, ...]) -> tuple[str, ...]:
    first = (f"{each.resource}: {each.rejections[0]}" for each in candidates)
    return tuple(first) or ("there is no resource",)


def _step(situation: Situation, node: ResourceNode) -> ExecutionStep:
    own, audited = situation.ranked(node), is_audited(situation.contract, node)
    return ExecutionStep(node.id, node.resource.cost, situation.latency_ms(node), own.latency_ms, audited)


def is_audited(contract: ExecutionContract, node: ResourceNode) -> bool:
    """Say whether a trace is to tell that data leaves the premises where a resource is executed."""
    return node.external and contract.constraints.external_io_policy is ExternalIO.AUDIT
