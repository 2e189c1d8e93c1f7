"""Choosing a backend: every candidate is held to every rule, and the choice says why.

`select` asks every rule of every candidate, also when an earlier one has refused it already: a refused candidate shows
all the reasons against it. Those that none refuses are ordered: first the ones that the routing policy prefers, then by
fitness, then by provider, model and id, so that who is told the same chooses the same, in whatever order it was told.
`Selection.payload` is the fact to propose for the ledger.

What criteria do not say is not taken lightly: unless they state it, a task is of critical risk, on restricted data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass
from typing import ClassVar, Self

from converge_core.context.payloads import FactPayload, FrozenObject
from converge_core.errors import MisuseError
from converge_core.ledger.canonical import JsonValue
from converge_core.llm.capability import NOTHING_NEEDED, CapabilityKind, RequiredCapabilities
from converge_core.llm.errors import NoBackendFits
from converge_core.llm.profiles import (
    TRUSTED_REGIONS,
    ComplianceLevel,
    CostClass,
    CostTier,
    DataSovereignty,
    Jurisdiction,
    LatencyClass,
    Location,
    ProviderProfile,
    RefusalReason,
    SelectionRule,
    TaskComplexity,
)
from converge_core.llm.routing import ON_PREMISES_ONLY, DataClassification, RiskTier, RoutingPolicy

ORDER = "preference, fitness, provider, model, id"

_COST_WEIGHT, _LATENCY_WEIGHT, _QUALITY_WEIGHT = 0.4, 0.3, 0.3
_CHEAPNESS = {
    CostClass.FREE: 1.0,
    CostClass.VERY_LOW: 1.0,
    CostClass.LOW: 0.8,
    CostClass.MEDIUM: 0.6,
    CostClass.HIGH: 0.4,
    CostClass.VERY_HIGH: 0.2,
}
_FITNESS_DIGITS = 6


@dataclass(frozen=True, slots=True)
class SelectionCriteria:
    """What a task asks of the backend that is to do it; `for_task` takes words instead of numbers.

    ``provider`` names the one provider or backend that will do. ``user`` is where the user is, and is needed for a
    jurisdiction that is relative to it. Raises MisuseError where it is missing, and for limits that are none.
    """

    max_cost: CostClass = CostTier.STANDARD.max_cost
    max_latency_ms: int = LatencyClass.INTERACTIVE.max_latency_ms
    min_quality: float = TaskComplexity.CLASSIFICATION.min_quality
    capabilities: RequiredCapabilities = NOTHING_NEEDED
    sovereignty: DataSovereignty = DataSovereignty.ANY
    jurisdiction: Jurisdiction = Jurisdiction.UNRESTRICTED
    user: Location = Location()
    compliance: Set[ComplianceLevel] = frozenset()
    provider: str | None = None
    risk: RiskTier = RiskTier.CRITICAL
    data: DataClassification = DataClassification.RESTRICTED
    truth_ids: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.max_latency_ms <= 0 or not 0 <= self.min_quality <= 1:
            raise MisuseError("selection criteria: max_latency_ms is above 0, min_quality in 0 to 1")
        if self.jurisdiction is Jurisdiction.SAME_REGION and not self.user.region:
            raise MisuseError("selection criteria: same_region needs the user's region")
        if self.jurisdiction is Jurisdiction.SAME_COUNTRY and not self.user.country:
            raise MisuseError("selection criteria: same_country needs the user's country")
        object.__setattr__(self, "compliance", frozenset(self.compliance))

    @classmethod
    def for_task(
        cls,
        latency: LatencyClass = LatencyClass.INTERACTIVE,
        cost: CostTier = CostTier.STANDARD,
        complexity: TaskComplexity = TaskComplexity.CLASSIFICATION,
        capabilities: RequiredCapabilities = NOTHING_NEEDED,
    ) -> Self:
        """Return the criteria that the words stand for; `dataclasses.replace` adds what else there is."""
        if complexity is TaskComplexity.REASONING:
            needs = capabilities.all_of | {CapabilityKind.REASONING}
            capabilities = RequiredCapabilities(needs, capabilities.context_tokens)
        return cls(cost.max_cost, latency.max_latency_ms, complexity.min_quality, capabilities)

    def to_json(self) -> dict[str, JsonValue]:
        """Return the criteria as they stand in the ledger."""
        return {
            "capabilities": sorted(self.capabilities.all_of),
            "compliance": sorted(self.compliance),
            "context_tokens": self.capabilities.context_tokens,
            "data": self.data,
            "jurisdiction": self.jurisdiction,
            "max_cost": self.max_cost,
            "max_latency_ms": self.max_latency_ms,
            "min_quality": self.min_quality,
            "provider": self.provider,
            "risk": self.risk,
            "sovereignty": self.sovereignty,
            "truth_ids": self.truth_ids,
            "user": {"country": self.user.country, "region": self.user.region},
        }


PRESETS = {
    "high_volume": SelectionCriteria.for_task(LatencyClass.INTERACTIVE, CostTier.MINIMAL, TaskComplexity.EXTRACTION),
    "interactive": SelectionCriteria.for_task(
        LatencyClass.INTERACTIVE, CostTier.MINIMAL, TaskComplexity.CLASSIFICATION
    ),
    "analysis": SelectionCriteria.for_task(LatencyClass.BACKGROUND, CostTier.PREMIUM, TaskComplexity.REASONING),
    "batch": SelectionCriteria.for_task(LatencyClass.BATCH, CostTier.MINIMAL, TaskComplexity.EXTRACTION),
    "fast_cheap": SelectionCriteria(CostClass.VERY_LOW, 2_000, 0.6),
    "balanced": SelectionCriteria(CostClass.MEDIUM, 5_000, 0.7),
    "powerful": SelectionCriteria(CostClass.HIGH, 10_000, 0.9, RequiredCapabilities({CapabilityKind.REASONING})),
    "deep_research": SelectionCriteria(
        CostClass.HIGH, 30_000, 0.9, RequiredCapabilities({CapabilityKind.REASONING, CapabilityKind.WEB_SEARCH})
    ),
}
"""Criteria that have a name."""


def _provider(criteria: SelectionCriteria, profile: ProviderProfile) -> str | None:
    asked = criteria.provider
    return None if asked is None or asked.casefold() in profile.names else f"{asked} was asked for"


def _capabilities(criteria: SelectionCriteria, profile: ProviderProfile) -> str | None:
    missing = criteria.capabilities.missing(profile.capabilities)
    return f"lacks {', '.join(missing)}" if missing else None


def _context_tokens(criteria: SelectionCriteria, profile: ProviderProfile) -> str | None:
    needed, window = criteria.capabilities.context_tokens, profile.context_tokens
    if needed <= (window or 0):
        return None
    return f"{needed} are needed, {'an unknown number' if window is None else window} fit"


def _cost(criteria: SelectionCriteria, profile: ProviderProfile) -> str | None:
    return f"{profile.cost} is above {criteria.max_cost}" if profile.cost > criteria.max_cost else None


def _latency(criteria: SelectionCriteria, profile: ProviderProfile) -> str | None:
    latency, limit = profile.latency_ms, criteria.max_latency_ms
    return f"{latency} ms is above {limit} ms" if latency > limit else None


def _quality(criteria: SelectionCriteria, profile: ProviderProfile) -> str | None:
    quality, least = profile.quality, criteria.min_quality
    return f"{quality} is below {least}" if quality < least else None


def _sovereignty(criteria: SelectionCriteria, profile: ProviderProfile) -> str | None:
    asked, offered = criteria.sovereignty, profile.sovereignty
    return None if asked in (DataSovereignty.ANY, offered) else f"data resides in {offered}, not in {asked}"


def _jurisdiction(criteria: SelectionCriteria, profile: ProviderProfile) -> str | None:
    region, country = profile.location.region, profile.location.country
    match criteria.jurisdiction:
        case Jurisdiction.TRUSTED if region not in TRUSTED_REGIONS:
            return f"region {region or 'unknown'} is not a trusted one"
        case Jurisdiction.SAME_REGION if region != criteria.user.region:
            return f"region {region or 'unknown'} is not {criteria.user.region}"
        case Jurisdiction.SAME_COUNTRY if country != criteria.user.country:
            return f"country {country or 'unknown'} is not {criteria.user.country}"
    return None


def _compliance(criteria: SelectionCriteria, profile: ProviderProfile) -> str | None:
    missing = sorted(criteria.compliance - profile.compliance)
    return f"not certified for {', '.join(missing)}" if missing else None


_RULES: dict[SelectionRule, Callable[[SelectionCriteria, ProviderProfile], str | None]] = {
    SelectionRule.PROVIDER: _provider,
    SelectionRule.CAPABILITIES: _capabilities,
    SelectionRule.CONTEXT_TOKENS: _context_tokens,
    SelectionRule.COST: _cost,
    SelectionRule.LATENCY: _latency,
    SelectionRule.QUALITY: _quality,
    SelectionRule.SOVEREIGNTY: _sovereignty,
    SelectionRule.JURISDICTION: _jurisdiction,
    SelectionRule.COMPLIANCE: _compliance,
}


def fitness(criteria: SelectionCriteria, profile: ProviderProfile) -> float:
    """Return how well a backend suits a task: 0.4 for cheapness, 0.3 for speed within the limit, 0.3 for quality."""
    speed = 1 - min(profile.latency_ms / criteria.max_latency_ms, 1)
    score = _COST_WEIGHT * _CHEAPNESS[profile.cost] + _LATENCY_WEIGHT * speed + _QUALITY_WEIGHT * profile.quality
    return round(score, _FITNESS_DIGITS)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A backend as it was judged: its place among the preferred (or None), its fitness, and what is against it."""

    id: str
    preference: int | None
    fitness: float
    reasons: tuple[RefusalReason, ...] = ()

    @property
    def accepted(self) -> bool:
        """Whether nothing is against it."""
        return not self.reasons


class SelectionPayload(FactPayload):
    """A selection as a fact: the winner's id (None: nobody fits), the order, and every candidate, best first."""

    family: ClassVar[str] = "converge.llm.selection"
    winner: str | None
    order: str
    criteria: FrozenObject
    candidates: tuple[Candidate, ...]

    def summary(self) -> str:
        refused = sum(not candidate.accepted for candidate in self.candidates)
        return f"{self.winner or 'nobody'} of {len(self.candidates)} candidates, {refused} refused"


@dataclass(frozen=True, slots=True)
class Selection:
    """The outcome of `select`: the winner, and every candidate, the accepted ones first and best first."""

    criteria: SelectionCriteria
    winner: ProviderProfile | None
    candidates: tuple[Candidate, ...]

    @property
    def accepted(self) -> tuple[str, ...]:
        """The ids of the accepted candidates, best first: the winner, and whom to fall back on."""
        return tuple(candidate.id for candidate in self.candidates if candidate.accepted)

    def require(self) -> ProviderProfile:
        """Return the winner. Raises NoBackendFits, with the reasons against each candidate, when there is none."""
        if self.winner is None:
            refusals = tuple((each.id, tuple(map(str, each.reasons))) for each in self.candidates)
            raise NoBackendFits(self.criteria.provider, refusals)
        return self.winner

    def payload(self) -> SelectionPayload:
        """Return the selection as the payload of a fact."""
        return SelectionPayload(
            winner=None if self.winner is None else self.winner.id,
            order=ORDER,
            criteria=self.criteria.to_json(),
            candidates=self.candidates,
        )

    def to_json(self) -> JsonValue:
        """Return the selection as it stands in the ledger."""
        return self.payload().body()


def select(
    criteria: SelectionCriteria, profiles: Iterable[ProviderProfile], policy: RoutingPolicy = ON_PREMISES_ONLY
) -> Selection:
    """Hold every profile to every rule and choose the best of those that pass.

    Without a policy nothing leaves the premises. Raises MisuseError for an id that two profiles have.
    """
    judged = sorted(
        ((_judge(criteria, profile, policy), profile) for profile in profiles),
        key=lambda pair: _place(*pair),
    )
    ids = [candidate.id for candidate, _ in judged]
    if len({id.casefold() for id in ids}) < len(ids):
        raise MisuseError(f"each backend has an id of its own, unlike {', '.join(ids)}")
    winner = next((profile for candidate, profile in judged if candidate.accepted), None)
    return Selection(criteria, winner, tuple(candidate for candidate, _ in judged))


def _judge(criteria: SelectionCriteria, profile: ProviderProfile, policy: RoutingPolicy) -> Candidate:
    found = ((rule, check(criteria, profile)) for rule, check in _RULES.items())
    reasons = (
        *policy.refusals(profile, criteria.risk, criteria.data),
        *(RefusalReason(rule, detail) for rule, detail in found if detail is not None),
    )
    preference = policy.preference(profile, criteria.truth_ids, criteria.risk, criteria.data)
    return Candidate(profile.id, preference, fitness(criteria, profile), reasons)


def _place(candidate: Candidate, profile: ProviderProfile) -> tuple[bool, bool, int, float, str, str, str]:
    preferred = candidate.preference
    return (
        not candidate.accepted,
        preferred is None,
        preferred or 0,
        -candidate.fitness,
        profile.provider,
        profile.model,
        profile.id,
    )
