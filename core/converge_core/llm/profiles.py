"""What is known of a provider before it is called: what it can do, what it costs, how fast it is, where data goes.

The words that people choose by (a cost tier, a latency class, the complexity of a task) stand for numbers; the tables
here say for which. What a profile does not state counts against it: a provider whose region is not known is in none.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from enum import StrEnum

from converge_core.errors import MisuseError
from converge_core.llm.capability import Capability


class CostClass(StrEnum):
    """How expensive a backend is, cheapest first. Compared by that order, not by the alphabet."""

    FREE = "free"
    VERY_LOW = "very_low"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    VERY_HIGH = "very_high"

    @property
    def rank(self) -> int:
        """The place in the order, from 0 for free."""
        return list(CostClass).index(self)

    def __lt__(self, other: str) -> bool:
        return self.rank < CostClass(other).rank

    def __le__(self, other: str) -> bool:
        return self.rank <= CostClass(other).rank

    def __gt__(self, other: str) -> bool:
        return self.rank > CostClass(other).rank

    def __ge__(self, other: str) -> bool:
        return self.rank >= CostClass(other).rank


class CostTier(StrEnum):
    """How much a task may cost."""

    MINIMAL = "minimal"
    STANDARD = "standard"
    PREMIUM = "premium"

    @property
    def max_cost(self) -> CostClass:
        """The most expensive class within the tier."""
        return _MAX_COST[self]


class LatencyClass(StrEnum):
    """How long somebody is ready to wait."""

    REALTIME = "realtime"
    INTERACTIVE = "interactive"
    BACKGROUND = "background"
    BATCH = "batch"

    @property
    def max_latency_ms(self) -> int:
        """The longest wait, in milliseconds."""
        return _MAX_LATENCY_MS[self]


class TaskComplexity(StrEnum):
    """How hard a task is. Reasoning asks for a model with that capability."""

    EXTRACTION = "extraction"
    CLASSIFICATION = "classification"
    REASONING = "reasoning"
    GENERATION = "generation"

    @property
    def min_quality(self) -> float:
        """The least quality that will do, from 0 to 1."""
        return _MIN_QUALITY[self]


_MAX_COST = {
    CostTier.MINIMAL: CostClass.LOW,
    CostTier.STANDARD: CostClass.MEDIUM,
    CostTier.PREMIUM: CostClass.VERY_HIGH,
}
_MAX_LATENCY_MS = {
    LatencyClass.REALTIME: 100,
    LatencyClass.INTERACTIVE: 2_000,
    LatencyClass.BACKGROUND: 30_000,
    LatencyClass.BATCH: 300_000,
}
_MIN_QUALITY = {
    TaskComplexity.EXTRACTION: 0.5,
    TaskComplexity.CLASSIFICATION: 0.6,
    TaskComplexity.REASONING: 0.8,
    TaskComplexity.GENERATION: 0.7,
}


class DataSovereignty(StrEnum):
    """Where data legally resides. ``any`` asks for nothing, and promises nothing."""

    ANY = "any"
    EU = "eu"
    US = "us"
    SWITZERLAND = "switzerland"
    CHINA = "china"
    ON_PREMISES = "on_premises"


class Jurisdiction(StrEnum):
    """Where the provider must be: anywhere, in a region of trusted law, or where the user is."""

    UNRESTRICTED = "unrestricted"
    TRUSTED = "trusted"
    SAME_REGION = "same_region"
    SAME_COUNTRY = "same_country"


class ComplianceLevel(StrEnum):
    """A regime that a provider is certified for."""

    GDPR = "gdpr"
    HIPAA = "hipaa"
    SOC2 = "soc2"
    HIGH_EXPLAINABILITY = "high_explainability"


TRUSTED_REGIONS = frozenset({"EU", "EEA", "CH", "UK", "JP", "CA", "NZ", "IL", "KR", "AR", "UY"})


@dataclass(frozen=True, slots=True)
class Location:
    """A region (``EU``) and a country (``DE``), in upper case; empty where not known."""

    region: str = ""
    country: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "region", self.region.upper())
        object.__setattr__(self, "country", self.country.upper())


@dataclass(frozen=True, slots=True)
class ProviderProfile:
    """A model that can be called through a backend.

    ``id`` names it in lists and in the ledger. ``latency_ms`` is typical, above 0; ``quality`` is in 0 to 1. Without
    ``context_tokens`` the size of its context window is not known. Raises MisuseError for what is outside these bounds.
    """

    id: str
    provider: str
    model: str
    cost: CostClass
    latency_ms: int
    quality: float
    capabilities: Set[Capability] = frozenset()
    context_tokens: int | None = None
    sovereignty: DataSovereignty = DataSovereignty.ANY
    location: Location = Location()
    compliance: Set[ComplianceLevel] = frozenset()

    def __post_init__(self) -> None:
        if not self.id.strip() or not self.provider.strip():
            raise MisuseError("a provider profile needs an id and the name of the provider")
        if self.latency_ms <= 0:
            raise MisuseError(f"profile {self.id!r}: latency_ms is above 0, not {self.latency_ms}")
        if not 0 <= self.quality <= 1:
            raise MisuseError(f"profile {self.id!r}: quality is in 0 to 1, not {self.quality}")
        object.__setattr__(self, "capabilities", frozenset(self.capabilities))
        object.__setattr__(self, "compliance", frozenset(self.compliance))

    @property
    def remote(self) -> bool:
        """Whether data leaves the premises."""
        return self.sovereignty is not DataSovereignty.ON_PREMISES

    @property
    def names(self) -> frozenset[str]:
        """The names by which lists mean this profile: its id and its provider's, whatever their case."""
        return frozenset({self.id.casefold(), self.provider.casefold()})


class SelectionRule(StrEnum):
    """A rule that every candidate is held to: those of the routing policy first, then those of the criteria."""

    DENIED = "denied"
    RISK = "risk"
    DATA = "data"
    PROVIDER = "provider"
    CAPABILITIES = "capabilities"
    CONTEXT_TOKENS = "context_tokens"
    COST = "cost"
    LATENCY = "latency"
    QUALITY = "quality"
    SOVEREIGNTY = "sovereignty"
    JURISDICTION = "jurisdiction"
    COMPLIANCE = "compliance"


@dataclass(frozen=True, slots=True)
class RefusalReason:
    """Why a candidate was refused: the rule, and a clause that says how it was broken."""

    rule: SelectionRule
    detail: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.detail}"
