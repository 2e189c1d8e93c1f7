"""Negative authority (NAP): what is denied, whoever is able to do it.

A denial is load-bearing: it beats any claim of a capability, and no order of questions gets around it. `AuthorityGate`
is asked for each candidate right before it would be called, because an action may be innocent and still not be for this
provider, on this side of the boundary, with this data, for this party.

A profile denies by five axes: actions, providers, boundaries and classes of data, which are compared by name whatever
their case, and parties, which are looked up on screening lists. Profiles are asked in their order and the first that
objects is the one that is named. Only a profile that says so can be overridden, by those who have its tier or a higher
one; a screening list never is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from converge_core.errors import MisuseError
from converge_core.governance.screening import ScreeningList
from converge_core.governance.terms import Boundary, member, texts
from converge_core.llm.capacity import DreamerTier
from converge_core.llm.profiles import ProviderProfile


class DenialAxis(StrEnum):
    """What a denial is about, in the order in which profiles and lists are asked."""

    ACTION = "action"
    PROVIDER = "provider"
    BOUNDARY = "boundary"
    DATA_CLASS = "data class"
    PARTY = "party"


class DenialSource(StrEnum):
    """Where a profile comes from."""

    STATIC = "static"
    EXTERNAL_LIST = "external_list"
    OPERATOR = "operator"
    TEMPORAL = "temporal"


@dataclass(frozen=True, slots=True)
class AuthorityResult:
    """The answer of the gate: who denies (a profile's id, a list's dataset), on which axis and why; or nobody."""

    by: str = ""
    axis: DenialAxis | None = None
    reason: str = ""

    @property
    def denied(self) -> bool:
        """Whether anybody denies it."""
        return self.axis is not None

    @property
    def objection(self) -> str | None:
        """The reason of the denial, or None."""
        return self.reason if self.denied else None

    def permits(self, capable: bool) -> bool:
        """Say whether what somebody is able to do may be done: a denial overrides any capability."""
        return capable and not self.denied


NOBODY_DENIES = AuthorityResult()


@dataclass(frozen=True, slots=True)
class NegativeAuthorityProfile:
    """What is denied, and until when; without ``expires_at_ms``, for good.

    ``tier_override`` is the lowest tier to which the profile does not apply; without one it applies to everybody. A
    denied boundary is denied to whatever reaches it. Raises MisuseError for a word that no enum has, and a blank id.
    """

    id: str
    actions: Set[str] = frozenset()
    providers: Set[str] = frozenset()
    boundaries: Set[Boundary] = frozenset()
    data_classes: Set[str] = frozenset()
    reason: str = ""
    source: DenialSource = DenialSource.STATIC
    expires_at_ms: int | None = None
    refreshed_at_ms: int | None = None
    tier_override: DreamerTier | None = None

    def __post_init__(self) -> None:
        if not self.id.strip():
            raise MisuseError("a profile of denials needs an id")
        put, place = object.__setattr__, f"profile {self.id!r:.80}"
        for axis in ("actions", "providers", "data_classes"):
            put(self, axis, _folded(getattr(self, axis), f"{place}, {axis}"))
        boundaries = texts(self.boundaries, f"{place}, boundaries")
        put(self, "boundaries", frozenset(member(Boundary, word, f"{place}, boundaries") for word in boundaries))
        put(self, "source", member(DenialSource, self.source, f"{place}, source"))
        if self.tier_override is not None:
            put(self, "tier_override", member(DreamerTier, self.tier_override, f"{place}, tier_override"))

    def is_expired(self, now_ms: int) -> bool:
        """Say whether the profile's time is over."""
        return self.expires_at_ms is not None and now_ms > self.expires_at_ms

    def can_override(self, tier: DreamerTier | None) -> bool:
        """Say whether a tier is above this profile; nobody's is, unless the profile says so."""
        return self.tier_override is not None and tier is not None and tier.rank >= self.tier_override.rank

    def applies(self, tier: DreamerTier | None, now_ms: int) -> bool:
        """Say whether the profile is to be asked."""
        return not self.is_expired(now_ms) and not self.can_override(tier)


@dataclass(frozen=True, slots=True)
class AuthorityGate:
    """The profiles of denials and the screening lists of a deployment, in the order in which they are asked.

    Raises MisuseError for an id that two profiles have.
    """

    profiles: tuple[NegativeAuthorityProfile, ...] = ()
    lists: tuple[ScreeningList, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "profiles", tuple(self.profiles))
        object.__setattr__(self, "lists", tuple(self.lists))
        ids = [profile.id for profile in self.profiles]
        if len(set(ids)) < len(ids):
            raise MisuseError(f"each profile of denials has an id of its own, unlike {', '.join(ids)}")

    def check(
        self,
        action: str,
        provider: str | None,
        boundary: Boundary | None,
        data_classes: Iterable[str],
        tier: DreamerTier | None,
        now_ms: int,
        parties: Iterable[str] = (),
    ) -> AuthorityResult:
        """Say who denies an action, if anybody does.

        None stands for what there is not yet: no provider chosen, and so no boundary; nobody whose tier counts.
        ``parties`` are names of people and organisations that it involves. Raises MisuseError for a word that no enum
        has.
        """
        providers = () if provider is None else (provider,)
        return self._check(action, providers, boundary, data_classes, tier, now_ms, parties)

    def check_candidate(
        self,
        action: str,
        candidate: ProviderProfile,
        data_classes: Iterable[str],
        tier: DreamerTier | None,
        now_ms: int,
        parties: Iterable[str] = (),
    ) -> AuthorityResult:
        """Say who denies an action to a candidate, which a list may name by its id or by its provider."""
        names, boundary = sorted(candidate.names), Boundary.of(candidate)
        return self._check(action, names, boundary, data_classes, tier, now_ms, parties)

    def _check(
        self,
        action: str,
        providers: Iterable[str],
        boundary: Boundary | None,
        data_classes: Iterable[str],
        tier: DreamerTier | None,
        now_ms: int,
        parties: Iterable[str],
    ) -> AuthorityResult:
        where = None if boundary is None else member(Boundary, boundary, "boundary")
        whose = None if tier is None else member(DreamerTier, tier, "tier")
        asked: dict[DenialAxis, list[str]] = {
            DenialAxis.ACTION: [action],
            DenialAxis.PROVIDER: list(providers),
            DenialAxis.BOUNDARY: [] if where is None else [each.value for each in Boundary if where.reaches(each)],
            DenialAxis.DATA_CLASS: sorted(texts(data_classes, "data classes")),
        }
        for profile in self.profiles:
            if profile.applies(whose, now_ms) and (found := _first_denied(profile, asked)) is not None:
                axis, name = found
                return AuthorityResult(profile.id, axis, f"{axis} {name!r} denied: {profile.reason or profile.id}")
        return self._screen(texts(parties, "parties"))

    def _screen(self, parties: frozenset[str]) -> AuthorityResult:
        for known in self.lists:
            for party in sorted(parties):
                if known.screen(party).denied:
                    reason = f"{DenialAxis.PARTY} {party!r} denied: is on the list {known.dataset}"
                    return AuthorityResult(known.dataset, DenialAxis.PARTY, reason)
        return NOBODY_DENIES


def _folded(names: Iterable[str], place: str) -> frozenset[str]:
    return frozenset(name.strip().casefold() for name in texts(names, place))


def _first_denied(
    profile: NegativeAuthorityProfile, asked: Mapping[DenialAxis, list[str]]
) -> tuple[DenialAxis, str] | None:
    denied: Mapping[DenialAxis, Set[str]] = {
        DenialAxis.ACTION: profile.actions,
        DenialAxis.PROVIDER: profile.providers,
        DenialAxis.BOUNDARY: profile.boundaries,
        DenialAxis.DATA_CLASS: profile.data_classes,
    }
    for axis, names in asked.items():
        for name in names:
            if name.strip().casefold() in denied[axis]:
                return axis, name
    return None


DREAMER_SAFETY = NegativeAuthorityProfile(
    "dreamer-safety",
    actions=frozenset({"account_creation", "credential_entry", "data_deletion", "financial_trade"}),
    data_classes=frozenset({"pii.ssn", "pii.financial", "phi.diagnosis", "coppa.under_13"}),
    reason="not for a machine to do, nor data for it to see",
)
LOCAL_ONLY = NegativeAuthorityProfile(
    "local-only",
    providers=frozenset({"anthropic", "openai", "google", "groq", "deepseek", "azure"}),
    boundaries=frozenset({Boundary.CLOUD}),
    reason="nothing leaves the premises",
    source=DenialSource.OPERATOR,
)
PROFILES: Mapping[str, NegativeAuthorityProfile] = MappingProxyType(
    {profile.id: profile for profile in (DREAMER_SAFETY, LOCAL_ONLY)}
)
"""The profiles that come with the house, by id."""
