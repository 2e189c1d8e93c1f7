"""Resources, and what the live registry of providers says of them: health and latency as of now.

Health is read from what calls have come to, and from nowhere else. Where no call has been made there is none, and that
is not the same as being well: a feature that needs a minimum of health is off as long as nobody knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import NamedTuple

from converge_core.errors import MisuseError
from converge_core.governance.terms import texts
from converge_core.ledger.canonical import JsonValue
from converge_core.llm.capacity import ProviderState

UNKNOWN_HEALTH = 0.5
"""What a resource that nobody has observed counts as where it is compared: neither well nor ill."""
TOKENS = 1_000
"""How many tokens a cost is compared for."""

_CLOSED = (ProviderState.QUOTA_HIT, ProviderState.CIRCUIT_OPEN, ProviderState.NO_KEY)


@dataclass(frozen=True, slots=True)
class Resource:
    """What can fill a role: a model, a machine, a tool. ``cost_per_token`` is in US dollars.

    Raises MisuseError for a blank id or capability, a negative cost, and a target of latency that is not above 0.
    """

    id: str
    provider: str
    capabilities: Set[str] = frozenset()
    cost_per_token: float = 0.0
    latency_target_ms: float = 2_000.0

    def __post_init__(self) -> None:
        if not self.id.strip():
            raise MisuseError("a resource needs an id")
        place = f"resource {self.id!r:.80}"
        if not (self.cost_per_token >= 0 and self.latency_target_ms > 0):
            raise MisuseError(f"{place}: a cost is not negative, and a target of latency is above 0")
        object.__setattr__(self, "capabilities", texts(self.capabilities, f"{place}, capabilities"))

    @property
    def cost(self) -> float:
        """The cost of `TOKENS` tokens, in US dollars."""
        return self.cost_per_token * TOKENS


class Observed(NamedTuple):
    """What is known of a resource now: its health from 0 to 1 and its latency, None where nobody has seen any."""

    health: float | None = None
    latency_ms: float | None = None
    authorised: bool = True

    @property
    def compared_health(self) -> float:
        """The health as it is compared: `UNKNOWN_HEALTH` where nothing is known."""
        return UNKNOWN_HEALTH if self.health is None else self.health


NOT_OBSERVED = Observed()
Live = Mapping[str, Observed]
"""The observations of a tick by the id of the resource."""


def observed(provider: Mapping[str, JsonValue]) -> Observed:
    """Return what a snapshot of the capacity of providers says of one of them.

    Who cannot be asked has a health of 0, who has failed so many times since the last success 1 / (1 + failures), and
    who has succeeded 1.
    """
    latency = provider.get("latency_ema_ms")
    return Observed(_health(provider), float(latency) if isinstance(latency, int | float) else None)


def _health(provider: Mapping[str, JsonValue]) -> float | None:
    failures, successes = provider.get("error_count"), provider.get("success_count")
    if provider.get("state") in _CLOSED:
        return 0.0
    if isinstance(failures, int) and failures > 0:
        return 1 / (1 + failures)
    return 1.0 if isinstance(successes, int) and successes > 0 else None


def observations(snapshot: Mapping[str, JsonValue], resources: Iterable[Resource]) -> dict[str, Observed]:
    """Return what a snapshot of the capacity (`Capacity.snapshot`) says of each resource, by its provider."""
    providers = snapshot.get("providers")
    known = providers if isinstance(providers, Mapping) else {}
    seen = {name: observed(each) for name, each in known.items() if isinstance(each, Mapping)}
    return {resource.id: seen.get(resource.provider, NOT_OBSERVED) for resource in resources}


class FeatureDecision(NamedTuple):
    """Whether a feature is on, and why."""

    active: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Feature:
    """What a system offers as long as a resource has at least ``min_health``; None: whatever its health."""

    id: str
    resource: str
    min_health: float | None = None

    def evaluate(self, live: Live) -> FeatureDecision:
        """Say whether the feature is on by these observations."""
        if self.min_health is None:
            return FeatureDecision(True, "needs no minimum of health")
        health = live.get(self.resource, NOT_OBSERVED).health
        if health is None:
            return FeatureDecision(False, f"the health of {self.resource} is unknown")
        relation = ">=" if health >= self.min_health else "<"
        return FeatureDecision(health >= self.min_health, f"health {health:.2f} {relation} {self.min_health}")
