"""The state of an execution at a tick: what is seen of the resources, and what the gates say of each.

Everything seen comes from the live registry of providers, anew at each tick: what was seen before does not count, and
where nobody has looked nothing is known. A resource can be reached if its provider can be asked now, or, where it is no
model, if somebody vouches for it.

Each resource then comes to the gates of the house in their one order: the classification of what it would read, the
authority that denies, the claim of what it is able to do, and the capacity of its provider. The claim is that of its
node; it is true as far as its provider is known here, or somebody vouches for it, and the next gate says whether it can
be asked now.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from pydantic import ConfigDict, TypeAdapter

from converge_core.governance.actions import Gate, GatePassage, GateTrace, pass_gates
from converge_core.governance.claims import (
    CapabilityClaim,
    CapabilityGate,
    Registered,
    Verification,
    VerificationMethod,
)
from converge_core.governance.dilation import DilationField, Signals
from converge_core.governance.negative_authority import PROFILES, AuthorityGate, NegativeAuthorityProfile
from converge_core.governance.resources import NOT_OBSERVED, Live, Observed, observations
from converge_core.governance.terms import Boundary
from converge_core.ledger.canonical import JsonValue
from converge_plugins.ceg.contract import PREDICATES, ExecutionContract, Predicate, Verdict, digest_of, judge
from converge_plugins.ceg.graph import CEGraph
from converge_plugins.ceg.nodes import AuthorityNode, ConstraintNode, EdgeKind, MemoryNode, ResourceKind, ResourceNode

ACTION = "ceg"
"""What an execution is called where authority is asked about it."""


class Sight(NamedTuple):
    """What is seen of a resource: its health and latency, and whether it can be reached (None: nobody knows)."""

    resource: str
    seen: Observed = NOT_OBSERVED
    reachable: bool | None = None


@dataclass(frozen=True, slots=True)
class SystemState:
    """What is seen of every resource at a tick. ``at_ms`` is the working time of the look."""

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    sights: tuple[Sight, ...] = ()
    at_ms: int = 0

    @property
    def live(self) -> Live:
        """What is seen, by resource."""
        return {sight.resource: sight.seen for sight in self.sights}

    def reachable(self, resource: str) -> bool | None:
        """Say whether a resource can be reached, as far as that is known."""
        return next((sight.reachable for sight in self.sights if sight.resource == resource), None)

    @property
    def digest(self) -> str:
        """The SHA-256 (hex) of what is seen, whenever it was."""
        return digest_of(_SIGHTS.dump_python(self.sights, mode="json"))


_SIGHTS: TypeAdapter[tuple[Sight, ...]] = TypeAdapter(tuple[Sight, ...])


def observe(
    resources: Iterable[ResourceNode], snapshot: Mapping[str, JsonValue], at_ms: int, attested: Collection[str] = ()
) -> SystemState:
    """Return what a snapshot of the capacity (`Capacity.snapshot`) shows of resources, and of nothing else.

    ``attested`` are the ids of those that somebody vouches for, and that are no models.
    """
    nodes = sorted(resources, key=lambda node: node.id)
    seen = observations(snapshot, [node.resource for node in nodes])
    return SystemState(
        tuple(Sight(node.id, seen[node.id], _reachable(node, snapshot, attested)) for node in nodes), at_ms
    )


def _reachable(node: ResourceNode, snapshot: Mapping[str, JsonValue], attested: Collection[str]) -> bool | None:
    if node.resource_kind is not ResourceKind.LLM:
        return True if node.id in attested else None
    providers, chain = snapshot.get("providers"), snapshot.get("routable_chain")
    if not isinstance(providers, Mapping) or not isinstance(chain, list | tuple) or node.provider not in providers:
        return None
    return node.provider in chain


@dataclass(frozen=True, slots=True)
class Ruling:
    """The gates that a resource has come to; the one that has turned it away, if any has, is the last."""

    resource: str
    passages: tuple[GatePassage, ...]

    @property
    def denial(self) -> GatePassage | None:
        """Where it was turned away."""
        return GateTrace(self.passages).denial


@dataclass(frozen=True, slots=True)
class Rulings:
    """What holds at a tick: a verdict on every constraint, a ruling on every resource."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    verdicts: tuple[Verdict, ...] = ()
    resources: tuple[Ruling, ...] = ()

    def verdict(self, constraint: ConstraintNode) -> Verdict:
        """Return the verdict on a constraint; of one that nobody has judged, nothing is known."""
        unknown = Verdict(constraint.id, constraint.predicate, constraint.severity, None, "it was not judged")
        return next((each for each in self.verdicts if each.constraint == constraint.id), unknown)

    @property
    def held(self) -> dict[str, bool | None]:
        """Whether each constraint holds, by its id."""
        return {verdict.constraint: verdict.held for verdict in self.verdicts}

    def denial(self, resource: str) -> GatePassage | None:
        """Return where a resource was turned away."""
        return next((each.denial for each in self.resources if each.resource == resource), None)

    def authorised(self, live: Live) -> Live:
        """Return what is seen, with who is denied by an authority."""
        denied = {
            each.resource
            for each in self.resources
            if each.denial is not None and each.denial.gate is Gate.NEGATIVE_AUTHORITY
        }
        return {id: seen._replace(authorised=id not in denied) for id, seen in live.items()}

    @property
    def digest(self) -> str:
        """The SHA-256 (hex) of the rulings."""
        return digest_of(_RULINGS.dump_python(self, mode="json"))


_RULINGS: TypeAdapter[Rulings] = TypeAdapter(Rulings)


@dataclass(frozen=True, slots=True)
class House:
    """What constraints and resources are held to here: predicates by id, denials for all, and profiles by name."""

    predicates: Mapping[str, Predicate] = field(default_factory=lambda: PREDICATES)
    denials: AuthorityGate = AuthorityGate()
    profiles: Mapping[str, NegativeAuthorityProfile] = field(default_factory=lambda: PROFILES)

    def rule(
        self,
        graph: CEGraph,
        contract: ExecutionContract,
        state: SystemState,
        standby: Iterable[ResourceNode] = (),
    ) -> Rulings:
        """Judge every constraint, and lead every resource past the gates, those on standby in the place of others."""
        live = state.live
        places = {node.place: node.id for node in graph.of(ResourceNode)}
        nodes = sorted((*graph.of(ResourceNode), *standby), key=lambda node: node.id)
        return Rulings(
            tuple(judge(each, self.predicates, contract, live) for each in graph.of(ConstraintNode)),
            tuple(
                Ruling(node.id, self._pass(graph, contract, state, node, places.get(node.place, node.id)).passages)
                for node in nodes
            ),
        )

    def _pass(
        self, graph: CEGraph, contract: ExecutionContract, state: SystemState, node: ResourceNode, place: str
    ) -> GateTrace:
        return pass_gates(
            {
                Gate.CLASSIFICATION: lambda: unreadable(graph, contract, place),
                Gate.NEGATIVE_AUTHORITY: lambda: self._denied(graph, contract, state, node, place),
                Gate.CAPABILITY: lambda: _incapable(contract, state, node),
                Gate.CAPACITY: lambda: _unreachable(state, node),
            }
        )

    def _denied(
        self, graph: CEGraph, contract: ExecutionContract, state: SystemState, node: ResourceNode, place: str
    ) -> str | None:
        for authority in graph.governing(place, AuthorityNode):
            if unknown := [name for name in authority.policies if name not in self.profiles]:
                return f"authority {authority.id!r} names a policy that nobody knows: {unknown[0]!r}"
        named = [name for each in graph.governing(place, AuthorityNode) for name in each.policies]
        profiles = [self.profiles[name] for name in dict.fromkeys(named)]
        for gate in (self.denials, AuthorityGate(tuple(profiles))):
            found = gate.check(ACTION, node.provider, _boundary(node), contract.labels, contract.tier, state.at_ms)
            if found.denied:
                return found.objection
        return None


def unreadable(graph: CEGraph, contract: ExecutionContract, resource: str) -> str | None:
    """Return why a resource may not read one of the memories that it requires or observes, or None."""
    policy = contract.constraints.memory_policy
    for edge in graph.edges_from(resource, EdgeKind.REQUIRES, EdgeKind.OBSERVES):
        memory = graph.get(edge.dst)
        if isinstance(memory, MemoryNode) and not policy.covers(memory.access):
            return f"memory {memory.id!r} is {memory.access}, and the contract reads {policy} memory at most"
    return None


def _boundary(node: ResourceNode) -> Boundary:
    return Boundary.CLOUD if node.external else Boundary.LOCAL


def _incapable(contract: ExecutionContract, state: SystemState, node: ResourceNode) -> str | None:
    is_model = node.resource_kind is ResourceKind.LLM
    method = VerificationMethod.ENV_CHECK if is_model else VerificationMethod.ATTESTATION
    claim = CapabilityClaim(node.id, node.provider, frozenset(node.capabilities), _boundary(node), method)
    why = f"provider {node.provider!r} is not known here" if is_model else "nobody vouches for it"
    found = Verification(state.reachable(node.id) is not None, why)
    gate = CapabilityGate(claims={node.id: Registered(claim, found, state.at_ms)})
    return gate.check(node.id, _entitlements(contract, node), contract.tier, state.at_ms).objection


def _entitlements(contract: ExecutionContract, node: ResourceNode) -> frozenset[str]:
    """Return what the claim is asked for: of what the contract needs, that which the node says it can do.

    What it does not say is the planner's to see, as a resource that is required by another needs less.
    """
    return frozenset(contract.capabilities) & frozenset(node.capabilities)


def _unreachable(state: SystemState, node: ResourceNode) -> str | None:
    return None if state.reachable(node.id) else f"provider {node.provider!r} cannot be asked now"


def dilate(field: DilationField, resources: Iterable[ResourceNode], state: SystemState) -> DilationField:
    """Return the field after a tick: the D of every resource by what was seen of it."""
    live = state.live
    return field.observe({node.id: _signals(node, live.get(node.id, NOT_OBSERVED)) for node in resources})


def _signals(node: ResourceNode, seen: Observed) -> Signals:
    ratio = None if seen.latency_ms is None else seen.latency_ms / node.latency_target_ms
    return Signals.of_health(seen.health, ratio)


def field_digest(field: DilationField) -> str:
    """Return the SHA-256 (hex) of the D of every node."""
    return digest_of(field.snapshot())
