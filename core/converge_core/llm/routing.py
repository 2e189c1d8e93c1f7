"""Where data of a kind, and tasks of a risk, may go: lists decide, and preferences only order what the lists allow.

A risk tier or a data classification with a list is open to the backends on it, and to nobody else. One without a list
is open to backends on the premises alone: nothing leaves them unless a list says so, for the tier *and* for the
classification. Who is on the deny list is out whatever the other lists say. A list names a backend by its id or by its
provider; ``*`` stands for all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self, TypeVar

from converge_core.context.payloads import freeze
from converge_core.llm.profiles import ProviderProfile, RefusalReason, SelectionRule

K = TypeVar("K", bound=str)

EVERY_BACKEND = "*"


class RiskTier(StrEnum):
    """What is at stake when the answer is wrong."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class DataClassification(StrEnum):
    """Who may see the data that a prompt holds: from everybody to next to nobody."""

    PUBLIC = "public"
    INTERNAL = "internal"
    CONFIDENTIAL = "confidential"
    RESTRICTED = "restricted"

    @property
    def rank(self) -> int:
        """The place in the order, from 0 for public."""
        return list(DataClassification).index(self)


@dataclass(frozen=True, slots=True)
class RoutingPolicy:
    """The lists of a deployment. Without any, everything stays on the premises.

    ``truth_preferences`` says by truth which backends are to be preferred, best first; a tier's and a classification's
    list are preferences of second and third rank.
    """

    risk_tier_backends: Mapping[RiskTier, tuple[str, ...]] = field(default_factory=dict)
    data_classification_backends: Mapping[DataClassification, tuple[str, ...]] = field(default_factory=dict)
    denied: tuple[str, ...] = ()
    truth_preferences: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("risk_tier_backends", "data_classification_backends", "truth_preferences"):
            object.__setattr__(self, name, _lists(getattr(self, name)))
        object.__setattr__(self, "denied", _names(self.denied))

    @classmethod
    def open_to_all(cls) -> Self:
        """Return the policy that lets every backend see everything."""
        everybody = (EVERY_BACKEND,)
        return cls(dict.fromkeys(RiskTier, everybody), dict.fromkeys(DataClassification, everybody))

    def refusals(self, profile: ProviderProfile, risk: RiskTier, data: DataClassification) -> Iterator[RefusalReason]:
        """Yield the reasons against a backend for a task of this risk on data of this classification."""
        if _lists_it(self.denied, profile):
            yield RefusalReason(SelectionRule.DENIED, "is on the deny list")
        if closed := _closed(self.risk_tier_backends.get(risk, ()), profile):
            yield RefusalReason(SelectionRule.RISK, f"{risk} risk is open to {closed}")
        if closed := _closed(self.data_classification_backends.get(data, ()), profile):
            yield RefusalReason(SelectionRule.DATA, f"{data} data is open to {closed}")

    def preference(
        self, profile: ProviderProfile, truth_ids: Iterable[str], risk: RiskTier, data: DataClassification
    ) -> int | None:
        """Return a backend's place among those that are preferred, from 0, or None."""
        preferred = [name for truth in truth_ids for name in self.truth_preferences.get(truth, ())]
        preferred += self.risk_tier_backends.get(risk, ())
        preferred += self.data_classification_backends.get(data, ())
        return next((place for place, name in enumerate(preferred) if name in profile.names), None)


def _names(names: Iterable[str]) -> tuple[str, ...]:
    """Return names as they are compared. A lone text is one name, not its letters."""
    return tuple(name.casefold() for name in ((names,) if isinstance(names, str) else names))


def _lists(lists: Mapping[K, Iterable[str]]) -> object:
    return freeze({key: _names(names) for key, names in lists.items()})


def _lists_it(names: tuple[str, ...], profile: ProviderProfile) -> bool:
    return any(name == EVERY_BACKEND or name in profile.names for name in names)


def _closed(names: tuple[str, ...], profile: ProviderProfile) -> str:
    """Return to whom a list is open instead of this backend, or nothing when it is open to it."""
    if not names:
        return "backends on the premises only" if profile.remote else ""
    return "" if _lists_it(names, profile) else f"{', '.join(names)} only"


ON_PREMISES_ONLY = RoutingPolicy()
