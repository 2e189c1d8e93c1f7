"""Capability claims (CCF): what an agent says it can do, whether that has been verified, and whether it keeps its word.

A claim is worth nothing until a `Verifier` has looked: at a provider, at the environment, at an attestation. What it
has seen is good for a while, and then it looks again, when the claim is next used (`CapabilityGate.refreshed`): a claim
does not die of its age. `CapabilityGate.check` itself asks nobody; it holds what is known to eight rules, in the order
of `ClaimRule`, and the first that is broken decides.

Honesty is a record of promises: a promise is kept when all that was required is among what was really there, not when
a part of it is. The record fades, with a half-life, so an agent that broke its word is on probation and not condemned.
What an agent was merely asked for, and never claimed, is no promise of its own.

What somebody is entitled to is no property of an agent: a claim has no tier, it is an argument of the question.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple, Protocol

from converge_core.errors import MisuseError
from converge_core.governance.terms import Boundary, member, texts
from converge_core.llm.capacity import Capacity, DreamerTier

REQUIRED_TIERS: Mapping[str, DreamerTier] = MappingProxyType(
    {
        "art_generation": DreamerTier.DEEP_DREAMER,
        "3door_full": DreamerTier.DEEP_DREAMER,
        "advanced_symbolic_tools": DreamerTier.DEEP_DREAMER,
        "art_generation_unlimited": DreamerTier.SYNTHESASIA_GUILD,
        "guild_override": DreamerTier.SYNTHESASIA_GUILD,
    }
)
"""The lowest tier that is entitled to a capability; what is not here is everybody's."""


class VerificationMethod(StrEnum):
    """How a claim is verified."""

    ENV_CHECK = "env_check"
    HEALTH_PROBE = "health_probe"
    ATTESTATION = "attestation"


@dataclass(frozen=True, slots=True)
class CapabilityClaim:
    """What an agent claims to be able to do, with which provider and where.

    A verification is good for ``validity_ms`` (None: for good). Raises MisuseError for a blank agent, a validity that
    is over at once, and words that no enum has.
    """

    agent: str
    provider: str
    capabilities: Set[str]
    boundary: Boundary = Boundary.LOCAL
    method: VerificationMethod = VerificationMethod.ENV_CHECK
    validity_ms: int | None = 60_000
    model: str = ""
    max_tokens: int | None = None
    tools: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        place = f"claim of {self.agent!r:.80}"
        if not self.agent.strip():
            raise MisuseError("a claim is somebody's: it needs the id of an agent")
        if self.validity_ms is not None and self.validity_ms < 1:
            raise MisuseError(f"{place}: validity is at least 1 ms, not {self.validity_ms}")
        object.__setattr__(self, "capabilities", texts(self.capabilities, f"{place}, capabilities"))
        object.__setattr__(self, "boundary", member(Boundary, self.boundary, f"{place}, boundary"))
        object.__setattr__(self, "method", member(VerificationMethod, self.method, f"{place}, method"))


class Verification(NamedTuple):
    """What a verifier has found. ``capabilities`` are those really there, None where the method cannot tell."""

    verified: bool
    detail: str = ""
    capabilities: frozenset[str] | None = None


class Verifier(Protocol):
    """Looks whether a claim is true: asks the provider, the environment, or whoever attests to it."""

    async def verify(self, claim: CapabilityClaim) -> Verification:
        """Return what was found. One that raises has verified nothing."""
        ...


@dataclass(frozen=True, slots=True)
class EnvironmentVerifier:
    """Looks whether the setting that a provider needs is there; it never sees what is in it.

    ``settings`` are the names of settings by provider; a provider that is not there needs none.
    """

    settings: Mapping[str, str]
    present: Callable[[str], bool]

    async def verify(self, claim: CapabilityClaim) -> Verification:
        """Find the setting of the claim's provider."""
        name = self.settings.get(claim.provider)
        if name is None or self.present(name):
            return Verification(True)
        return Verification(False, f"{name} is not set")


@dataclass(frozen=True, slots=True)
class CapacityVerifier:
    """Looks whether the provider can be asked right now, by the capacity that everybody shares."""

    capacity: Capacity

    async def verify(self, claim: CapabilityClaim) -> Verification:
        """Find the claim's provider among those that may be asked."""
        if claim.provider in self.capacity.chain():
            return Verification(True)
        return Verification(False, f"provider {claim.provider!r} cannot be asked now")


class Promise(NamedTuple):
    """Whether a promise was kept, and when that was seen."""

    kept: bool
    at_ms: int


@dataclass(frozen=True, slots=True)
class Honesty:
    """How far agents keep their word, by their last ``window`` promises, each of which fades with ``half_life_ms``."""

    window: int = 20
    half_life_ms: int = 3_600_000
    promises: Mapping[str, tuple[Promise, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.window < 1 or self.half_life_ms < 1:
            raise MisuseError("honesty: the window is at least one promise, and the half-life at least 1 ms")
        object.__setattr__(self, "promises", MappingProxyType(dict(self.promises)))

    def record(self, agent: str, required: Set[str], actual: Set[str], now_ms: int) -> Honesty:
        """Record a promise: it was kept when all that was required was really there."""
        known = (*self.promises.get(agent, ()), Promise(required <= actual, now_ms))
        return replace(self, promises={**self.promises, agent: known[-self.window :]})

    def score(self, agent: str, now_ms: int) -> float:
        """Return the honesty of an agent, above 0 and up to 1: 1 for one that is not known to have broken its word.

        It is the share of kept promises with three kept ones to begin with: (kept + 3) / (all + 3).
        """
        kept = broken = 0.0
        for promise in self.promises.get(agent, ()):
            weight = 0.5 ** (max(0, now_ms - promise.at_ms) / self.half_life_ms)
            kept, broken = (kept + weight, broken) if promise.kept else (kept, broken + weight)
        return round((kept + 3) / (kept + broken + 3), 3)


class ClaimRule(StrEnum):
    """What a claim is held to, in this order."""

    CLAIM = "claim"
    EXPIRY = "expiry"
    VERIFICATION = "verification"
    CAPACITY = "capacity"
    HONESTY = "honesty"
    TIER = "tier"
    CAPABILITIES = "capabilities"
    BOUNDARY = "boundary"


@dataclass(frozen=True, slots=True)
class GateResult:
    """The answer of the gate: the claim that allows it, or the rule that is broken and how."""

    claim: CapabilityClaim | None
    honesty: float
    broken: ClaimRule | None = None
    reason: str = ""

    @property
    def allowed(self) -> bool:
        """Whether no rule is broken."""
        return self.broken is None

    @property
    def objection(self) -> str | None:
        """How a rule is broken, or None."""
        return None if self.allowed else self.reason


class Registered(NamedTuple):
    """A claim with what the last look at it has found, and when that was; None: nobody has looked."""

    claim: CapabilityClaim
    found: Verification | None = None
    at_ms: int = 0

    @property
    def expires_at_ms(self) -> int | None:
        """When the verification is no longer good; None for never, or where there is none."""
        validity = self.claim.validity_ms
        return (
            self.at_ms + validity if validity is not None and self.found is not None and self.found.verified else None
        )

    @property
    def capabilities(self) -> Set[str]:
        """What is claimed and was found."""
        found = None if self.found is None else self.found.capabilities
        return self.claim.capabilities if found is None else self.claim.capabilities & found


@dataclass(frozen=True, slots=True)
class CapabilityGate:
    """The claims of agents, one for each, and their honesty. Raises MisuseError for a floor outside 0 to 1."""

    honesty_floor: float = 0.5
    honesty: Honesty = Honesty()
    claims: Mapping[str, Registered] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= self.honesty_floor <= 1:
            raise MisuseError(f"the floor of honesty is in 0 to 1, not {self.honesty_floor}")
        object.__setattr__(self, "claims", MappingProxyType(dict(self.claims)))

    def register(self, claim: CapabilityClaim) -> CapabilityGate:
        """Return the gate with a claim, unverified, in the place of the agent's former one."""
        return replace(self, claims={**self.claims, claim.agent: Registered(claim)})

    def is_due(self, agent: str, now_ms: int) -> bool:
        """Say whether an agent has a claim that has to be looked at before it can be used."""
        known = self.claims.get(agent)
        return known is not None and (bool(_unverified(known)) or _is_over(known, now_ms))

    async def refreshed(
        self, agent: str, verifiers: Mapping[VerificationMethod, Verifier], now_ms: int
    ) -> CapabilityGate:
        """Return the gate with the agent's claim looked at, if it is due; the same gate otherwise.

        Where the verifier could tell what is really there, that is recorded as a promise, kept or broken.
        """
        if not self.is_due(agent, now_ms):
            return self
        claim = self.claims[agent].claim
        found = await _look(claim, verifiers.get(claim.method))
        honesty = self.honesty
        if found.capabilities is not None:
            honesty = honesty.record(agent, claim.capabilities, found.capabilities, now_ms)
        return replace(self, honesty=honesty, claims={**self.claims, agent: Registered(claim, found, now_ms)})

    def check(
        self,
        agent: str,
        required: Set[str],
        tier: DreamerTier,
        now_ms: int,
        boundary: Boundary | None = None,
        routable: bool | None = None,
    ) -> GateResult:
        """Hold the claim of an agent to every rule.

        ``tier`` is what whoever asks is entitled to. ``routable`` says whether the claim's provider can be asked now;
        None where that is not known. Raises MisuseError for words that no enum has.
        """
        needed, entitled = texts(required, "required capabilities"), member(DreamerTier, tier, "tier")
        where = None if boundary is None else member(Boundary, boundary, "boundary")
        honesty, known = self.honesty.score(agent, now_ms), self.claims.get(agent)
        if known is None:
            reason = f"no capability claim registered for {agent!r}"
            return GateResult(None, honesty, ClaimRule.CLAIM, reason)
        breaches = {
            ClaimRule.EXPIRY: f"the verification of the claim of {agent!r} is over" if _is_over(known, now_ms) else "",
            ClaimRule.VERIFICATION: _unverified(known),
            ClaimRule.CAPACITY: f"provider {known.claim.provider!r} is not routable" if routable is False else "",
            ClaimRule.HONESTY: f"honesty {honesty} < floor {self.honesty_floor}"
            if honesty < self.honesty_floor
            else "",
            ClaimRule.TIER: _above(needed, entitled),
            ClaimRule.CAPABILITIES: _missing(needed - known.capabilities),
            ClaimRule.BOUNDARY: _outside(known.claim.boundary, where),
        }
        for rule, reason in breaches.items():
            if reason:
                return GateResult(known.claim, honesty, rule, reason)
        return GateResult(known.claim, honesty)


async def _look(claim: CapabilityClaim, verifier: Verifier | None) -> Verification:
    if verifier is None:
        return Verification(False, f"nobody here verifies by {claim.method}")
    try:
        return await verifier.verify(claim)
    except Exception as error:  # a verifier that cannot look has not seen anything
        return Verification(False, f"the verifier raised {type(error).__name__}")


def _is_over(known: Registered, now_ms: int) -> bool:
    return known.expires_at_ms is not None and now_ms > known.expires_at_ms


def _unverified(known: Registered) -> str:
    if known.found is not None and known.found.verified:
        return ""
    why = "nobody has looked" if known.found is None else known.found.detail or "it was not found true"
    return f"the claim of {known.claim.agent!r} is not verified: {why}"


def _above(needed: Set[str], entitled: DreamerTier) -> str:
    for capability in sorted(needed):
        least = REQUIRED_TIERS.get(capability, DreamerTier.WANDERER)
        if entitled.rank < least.rank:
            return f"{capability!r} is for tier {least} and above, not for {entitled}"
    return ""


def _missing(capabilities: Set[str]) -> str:
    return f"missing capabilities: {', '.join(sorted(capabilities))}" if capabilities else ""


def _outside(claimed: Boundary, needed: Boundary | None) -> str:
    return "" if needed is None or claimed.reaches(needed) else f"boundary mismatch: need {needed}, have {claimed}"
