"""Hot swap: another resource takes over a role, with everything that was connected to it, and can be put back.

The registry is a value: the resources that may fill each role, who fills it now, and the edges between them. `decide`
looks at the live observations of a tick and says what is to be done and why; `apply` does it, and `rollback` undoes it.
Between the two there is room for a gate, or a person.

    trigger       the first of: authority revoked, health too low, latency too long, cost too high
    candidates    of the same role, never of the node that happens to fill it: so who took over can be replaced in turn
    eligible      has every capability of the one it replaces, may act, is not known to be dead, stands nowhere else
    hysteresis    is better by more than a hair, not so soon after the last swap, not known to be unsteady
    diversity     no provider fills more than its share of the roles, if that can be helped

A limit of latency is a tolerance times the target. It does not depend on dilation: how long somebody may think is no
measure of how long somebody may take. Where authority is revoked, there is no hysteresis to consult.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from converge_core.errors import MisuseError
from converge_core.governance.dilation import ConvergenceGuard
from converge_core.governance.resources import NOT_OBSERVED, Live, Observed, Resource


class SwapTrigger(StrEnum):
    """Why somebody else is to take over."""

    AUTHORITY_REVOKED = "authority_revoked"
    CAPABILITY_DEGRADED = "capability_degraded"
    LATENCY_VIOLATION = "latency_violation"
    COST_SPIKE = "cost_spike"
    MANUAL = "manual"


class Edge(NamedTuple):
    """That one node is connected with another."""

    src: str
    dst: str
    kind: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class SwapPolicy:
    """When a resource is to be replaced, and by whom.

    With ``allow_degraded_fallback`` somebody may take over who would be replaced too, or of whom nothing is known, if
    that is better still. ``diversity_cap`` is the largest share of the roles for one provider; 1 turns it off.
    """

    health_threshold: float = 0.4
    latency_tolerance: float = 2.0
    cost_tolerance: float = 1.5
    allow_degraded_fallback: bool = True
    diversity_cap: float = 0.6

    def trigger(self, resource: Resource, seen: Observed, max_cost: float) -> SwapTrigger | None:
        """Return the first reason to replace a resource, or None. What is not known is no reason."""
        if not seen.authorised:
            return SwapTrigger.AUTHORITY_REVOKED
        if seen.health is not None and seen.health < self.health_threshold:
            return SwapTrigger.CAPABILITY_DEGRADED
        if seen.latency_ms is not None and seen.latency_ms > resource.latency_target_ms * self.latency_tolerance:
            return SwapTrigger.LATENCY_VIOLATION
        if resource.cost > max_cost * self.cost_tolerance:
            return SwapTrigger.COST_SPIKE
        return None


@dataclass(frozen=True, slots=True)
class SwapHysteresis:
    """What keeps swaps from following each other like the swings of a door.

    ``steadiness`` is a moving average of the health of each resource (``alpha``: the weight of the newest), ``swapped``
    is when a role was last swapped.
    """

    epsilon: float = 0.05
    cooldown_ms: int = 30_000
    stability_threshold: float = 0.6
    alpha: float = 0.2
    steadiness: Mapping[str, float] = field(default_factory=dict)
    swapped: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "steadiness", MappingProxyType(dict(self.steadiness)))
        object.__setattr__(self, "swapped", MappingProxyType(dict(self.swapped)))

    def observe(self, live: Live) -> SwapHysteresis:
        """Return the hysteresis after the observations of a tick."""
        seen = {id: each.health for id, each in live.items() if each.health is not None}
        averages = {
            id: self.alpha * health + (1 - self.alpha) * self.steadiness.get(id, health) for id, health in seen.items()
        }
        return replace(self, steadiness={**self.steadiness, **averages})

    def record(self, role: str, now_ms: int) -> SwapHysteresis:
        """Return the hysteresis after a swap of a role."""
        return replace(self, swapped={**self.swapped, role: now_ms})

    def objection(self, role: str, new: str, improvement: float, now_ms: int) -> str | None:
        """Return why a resource may not take over a role now, or None.

        It is the one who comes that has to be steady, not the one who goes.
        """
        if improvement <= self.epsilon:
            return f"improvement {improvement:.3f} <= {self.epsilon}"
        since = now_ms - self.swapped[role] if role in self.swapped else self.cooldown_ms
        if since < self.cooldown_ms:
            return f"cooldown: {self.cooldown_ms - max(0, since)} ms left"
        steadiness = self.steadiness.get(new)
        if steadiness is not None and steadiness < self.stability_threshold:
            return f"stability of {new} {steadiness:.3f} < {self.stability_threshold}"
        return None


@dataclass(frozen=True, slots=True)
class Role:
    """Who fills a role, who could, and who did before (the last one last)."""

    incumbent: Resource
    candidates: tuple[Resource, ...] = ()
    former: tuple[Resource, ...] = ()


@dataclass(frozen=True, slots=True)
class SwapDecision:
    """What is to be done about a role: who goes, who comes (None: there is nobody), and why; or why not."""

    role: str
    trigger: SwapTrigger
    old: Resource
    new: Resource | None
    allowed: bool
    reason: str


@dataclass(frozen=True, slots=True)
class HotSwapRegistry:
    """The roles, who fills them, and the edges of the graph that they stand in."""

    policy: SwapPolicy = SwapPolicy()
    hysteresis: SwapHysteresis = SwapHysteresis()
    guard: ConvergenceGuard = ConvergenceGuard()
    roles: Mapping[str, Role] = field(default_factory=dict)
    edges: frozenset[Edge] = frozenset()

    def __post_init__(self) -> None:
        object.__setattr__(self, "roles", MappingProxyType(dict(self.roles)))
        object.__setattr__(self, "edges", frozenset(self.edges))

    def fill(self, role: str, resource: Resource) -> HotSwapRegistry:
        """Return the registry with a new role, and who fills it.

        Raises MisuseError for a role that there is already, and for a resource that fills another one.
        """
        if role in self.roles:
            raise MisuseError(f"role {role!r:.80} is filled already, by {self.roles[role].incumbent.id!r:.80}")
        if any(each.incumbent.id == resource.id for each in self.roles.values()):
            raise MisuseError(f"{resource.id!r:.80} fills another role already")
        return self._with(role, Role(resource))

    def register_candidate(self, role: str, resource: Resource) -> HotSwapRegistry:
        """Return the registry with another candidate for a role.

        Raises MisuseError for a role that nobody fills, and for an id that another resource of the role has.
        """
        known = self._role(role)
        for other in (known.incumbent, *known.candidates):
            if other.id == resource.id:
                if other == resource:
                    return self
                raise MisuseError(f"role {role!r:.80}: {resource.id!r:.80} is another resource already")
        return self._with(role, replace(known, candidates=(*known.candidates, resource)))

    def observe(self, live: Live) -> HotSwapRegistry:
        """Return the registry after the observations of a tick; ask it to `decide` by the same ones."""
        return replace(self, hysteresis=self.hysteresis.observe(live))

    def decide(self, live: Live, max_cost: float, tick: int, now_ms: int) -> tuple[SwapDecision, ...]:
        """Return what is to be done about each role that gives reason to, in the order of the roles.

        Each decision is one on its own: after one is applied, ask again. ``max_cost`` is in US dollars.
        """
        triggered = (
            (name, self.policy.trigger(role.incumbent, live.get(role.incumbent.id, NOT_OBSERVED), max_cost))
            for name, role in self.roles.items()
        )
        return tuple(
            self.choose(name, trigger, live, max_cost, tick, now_ms)
            for name, trigger in triggered
            if trigger is not None
        )

    def choose(
        self, role: str, trigger: SwapTrigger, live: Live, max_cost: float, tick: int, now_ms: int
    ) -> SwapDecision:
        """Return who is to take over a role for a reason, such as that somebody wants it (`SwapTrigger.MANUAL`)."""
        old = self._role(role).incumbent
        ranked = sorted(
            self._eligible(role, trigger, live, max_cost, tick),
            key=lambda each: (-live.get(each.id, NOT_OBSERVED).compared_health, each.cost),
        )
        if not ranked:
            return SwapDecision(role, trigger, old, None, False, f"{trigger}: nobody else can fill the role")
        objections = [self._objection(role, trigger, each, live, now_ms) for each in ranked]
        free = [each for each, objection in zip(ranked, objections, strict=True) if objection is None]
        if not free:
            return SwapDecision(role, trigger, old, ranked[0], False, f"{trigger}: {objections[0]}")
        reason = f"{trigger}: {_told(live.get(old.id, NOT_OBSERVED))}"
        return SwapDecision(role, trigger, old, self._diverse(old, free), True, reason)

    def apply(self, decision: SwapDecision, tick: int, now_ms: int) -> HotSwapRegistry:
        """Return the registry after a swap: who came has the edges of who went.

        Raises MisuseError for a decision that allows no swap, or was made before somebody else took over.
        """
        role, new = self._role(decision.role), decision.new
        if new is None or not decision.allowed:
            raise MisuseError(f"role {decision.role!r:.80}: the decision allows no swap: {decision.reason}")
        if role.incumbent != decision.old or new not in role.candidates:
            raise MisuseError(f"role {decision.role!r:.80} is not what it was when the swap was decided")
        swapped = self._exchanged(decision.role, new, (*role.former, role.incumbent))
        return replace(
            swapped,
            guard=self.guard.record(decision.old.id, new.id, tick),
            hysteresis=self.hysteresis.record(decision.role, now_ms),
        )

    def rollback(self, role: str) -> HotSwapRegistry:
        """Return the registry with the last swap of a role undone: the node is back, and has its edges.

        So has it those that were connected since. That there was a swap is remembered. Raises MisuseError where there
        was none.
        """
        former = self._role(role).former
        if not former:
            raise MisuseError(f"role {role!r:.80} has not been swapped")
        return self._exchanged(role, former[-1], former[:-1])

    def _role(self, name: str) -> Role:
        if name not in self.roles:
            raise MisuseError(f"there is no role {name!r:.80}")
        return self.roles[name]

    def _with(self, name: str, role: Role) -> HotSwapRegistry:
        return replace(self, roles={**self.roles, name: role})

    def _exchanged(self, name: str, new: Resource, former: tuple[Resource, ...]) -> HotSwapRegistry:
        """Put a candidate in the place of the incumbent, who becomes a candidate in its place."""
        if new.id in self._in_use():
            raise MisuseError(f"{new.id!r:.80} cannot fill role {name!r:.80}: it stands elsewhere in the graph")
        role = self.roles[name]
        old = role.incumbent
        candidates = tuple(old if each == new else each for each in role.candidates)
        ends = {old.id: new.id}
        edges = {
            edge._replace(src=ends.get(edge.src, edge.src), dst=ends.get(edge.dst, edge.dst)) for edge in self.edges
        }
        return replace(self._with(name, Role(new, candidates, former)), edges=frozenset(edges))

    def _eligible(self, role: str, trigger: SwapTrigger, live: Live, max_cost: float, tick: int) -> Iterator[Resource]:
        old, in_use = self.roles[role].incumbent, self._in_use()
        for each in self.roles[role].candidates:
            seen = live.get(each.id, NOT_OBSERVED)
            degraded = seen.health is None or self.policy.trigger(each, seen, max_cost) is not None
            if (
                old.capabilities <= each.capabilities
                and seen.authorised
                and seen.health != 0
                and each.id not in in_use
                and (self.policy.allow_degraded_fallback or not degraded)
                and (trigger in _UNCONDITIONAL or not self.guard.is_oscillating(old.id, each.id, tick))
            ):
                yield each

    def _objection(self, role: str, trigger: SwapTrigger, new: Resource, live: Live, now_ms: int) -> str | None:
        if trigger in _UNCONDITIONAL:
            return None
        improvement = _improvement(trigger, self.roles[role].incumbent, new, live)
        return self.hysteresis.objection(role, new.id, improvement, now_ms)

    def _in_use(self) -> set[str]:
        return {role.incumbent.id for role in self.roles.values()} | {end for edge in self.edges for end in edge[:2]}

    def _diverse(self, old: Resource, ranked: list[Resource]) -> Resource:
        """Return the first who leaves its provider within its share of the roles; the first of all if nobody does."""
        counts = Counter(role.incumbent.provider for role in self.roles.values())
        counts[old.provider] -= 1
        limit = self.policy.diversity_cap * len(self.roles)
        return next((each for each in ranked if counts[each.provider] + 1 <= limit), ranked[0])


_UNCONDITIONAL = (SwapTrigger.AUTHORITY_REVOKED, SwapTrigger.MANUAL)


def _improvement(trigger: SwapTrigger, old: Resource, new: Resource, live: Live) -> float:
    """Return by how much the one who comes is better in what the other was found wanting: a share of 1."""
    if trigger is SwapTrigger.LATENCY_VIOLATION:
        return 1 - _latency(new, live) / _latency(old, live)
    if trigger is SwapTrigger.COST_SPIKE:
        return 1 - new.cost / old.cost
    return live.get(new.id, NOT_OBSERVED).compared_health - live.get(old.id, NOT_OBSERVED).compared_health


def _latency(resource: Resource, live: Live) -> float:
    latency = live.get(resource.id, NOT_OBSERVED).latency_ms
    return resource.latency_target_ms if latency is None else latency


def _told(seen: Observed) -> str:
    health = "?" if seen.health is None else f"{seen.health:.2f}"
    latency = "?" if seen.latency_ms is None else f"{seen.latency_ms:.0f} ms"
    return f"health={health}, latency={latency}"
