"""Classification of data (DCF): labels that say what a datum is, and stay with whatever is made of it.

A `Taxonomy` says what each label means: who may see the data, how long it may be kept, where it may go. A label that it
does not know is the strictest there is, since nobody has said that it is harmless, and so is the lack of any.

By derivation a label never disappears. One whose definition says that it does not propagate no longer names what the
new datum *is*, and moves from its `labels` to its `ancestral` ones; but what it demanded of the source it demands of
what came of it. In the same way a datum is as old as the oldest thing in it: copied data is not kept any longer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from types import MappingProxyType

from converge_core.errors import AuthorityError, MisuseError
from converge_core.governance.terms import member, texts
from converge_core.llm.profiles import DataSovereignty, ProviderProfile
from converge_core.llm.routing import DataClassification

DAY_MS = 86_400_000
UNCLASSIFIED = "unclassified"
"""The label of a datum that nobody has given one."""

SENSITIVE_LABELS = frozenset({"pii.email", "pii.ssn", "pii.financial", "phi.diagnosis", "coppa.under_13"})

_STRICTNESS = {level: place for place, level in enumerate(DataClassification)}
_WORDS = MappingProxyType(
    {
        "public": DataClassification.PUBLIC,
        "standard": DataClassification.INTERNAL,
        "sensitive": DataClassification.CONFIDENTIAL,
        "restricted": DataClassification.RESTRICTED,
    }
)


def data_classification(sensitivity: str) -> DataClassification:
    """Return who may see data of a sensitivity: public, standard, sensitive or restricted, or the enum's own words.

    Raises MisuseError for any other word.
    """
    return _WORDS.get(sensitivity) or member(DataClassification, sensitivity, "sensitivity")


@dataclass(frozen=True, slots=True)
class ClassificationLabel:
    """What a label means.

    ``retention_days`` is the number of whole days for which the data may be kept (None: for ever), ``jurisdiction``
    where it may go. ``sensitivity`` is given as any word that `data_classification` reads. Raises MisuseError for a
    blank label, a negative retention, and words that no enum has.
    """

    label: str
    sensitivity: DataClassification = DataClassification.INTERNAL
    propagates: bool = True
    retention_days: int | None = None
    jurisdiction: DataSovereignty = DataSovereignty.ANY

    def __post_init__(self) -> None:
        if not self.label.strip():
            raise MisuseError("a label of data is not blank")
        if self.retention_days is not None and self.retention_days < 0:
            raise MisuseError(f"label {self.label!r:.80}: retention is a number of days, not {self.retention_days}")
        place = f"label {self.label!r:.80}, jurisdiction"
        object.__setattr__(self, "sensitivity", data_classification(self.sensitivity))
        object.__setattr__(self, "jurisdiction", member(DataSovereignty, self.jurisdiction, place))


@dataclass(frozen=True, slots=True)
class Taxonomy:
    """What the labels mean. Raises MisuseError for a label that is defined twice."""

    definitions: tuple[ClassificationLabel, ...] = ()
    _by_label: Mapping[str, ClassificationLabel] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "definitions", tuple(self.definitions))
        known = {each.label: each for each in self.definitions}
        if len(known) < len(self.definitions):
            raise MisuseError("a label of data is defined once")
        object.__setattr__(self, "_by_label", MappingProxyType(known))

    def __getitem__(self, label: str) -> ClassificationLabel:
        """Return what a label means; an unknown one is restricted, and propagates."""
        return self._by_label.get(label) or ClassificationLabel(label, DataClassification.RESTRICTED)

    def sensitivity(self, labels: Iterable[str]) -> DataClassification:
        """Return the strictest sensitivity among labels; restricted where there are none."""
        found = (self[label].sensitivity for label in labels)
        return max(found, key=_STRICTNESS.__getitem__, default=DataClassification.RESTRICTED)


@dataclass(frozen=True, slots=True)
class Classification:
    """What a datum is: its labels, whose it is, and what it was made of.

    ``ancestral`` are labels of its sources that do not name it. ``classified_at_ms`` is when it was classified,
    ``origin_ms`` when the oldest thing in it was (None: the same moment). ``tenant`` is whose data it is; None is
    nobody's in particular. ``sources`` are the ids of what it was derived from.
    """

    datum: str
    labels: Set[str]
    classified_at_ms: int
    classified_by: str = "system"
    tenant: str | None = None
    sources: tuple[str, ...] = ()
    ancestral: Set[str] = frozenset()
    origin_ms: int | None = None

    def __post_init__(self) -> None:
        if not self.datum.strip():
            raise MisuseError("a classification needs the id of its datum")
        place = f"datum {self.datum!r:.80}"
        labels, ancestral = texts(self.labels, f"{place}, labels"), texts(self.ancestral, f"{place}, ancestral")
        object.__setattr__(self, "labels", labels if labels | ancestral else frozenset({UNCLASSIFIED}))
        object.__setattr__(self, "ancestral", ancestral - labels)

    @property
    def all_labels(self) -> frozenset[str]:
        """Every label there ever was on the way to this datum: what a gate asks about."""
        return frozenset(self.labels) | frozenset(self.ancestral)

    @property
    def oldest_ms(self) -> int:
        """When the oldest thing in the datum was classified."""
        return self.classified_at_ms if self.origin_ms is None else min(self.origin_ms, self.classified_at_ms)

    def has_any(self, labels: Set[str] = SENSITIVE_LABELS) -> bool:
        """Say whether the datum, or anything that it was made of, has one of these labels."""
        return not self.all_labels.isdisjoint(labels)

    def sensitivity(self, taxonomy: Taxonomy) -> DataClassification:
        """Return who may see the datum: the strictest of what its labels demand."""
        return taxonomy.sensitivity(self.all_labels)

    def expires_at_ms(self, taxonomy: Taxonomy) -> int | None:
        """Return the moment from which the datum may no longer be kept, or None.

        A day counts when it is over: with a retention of 365 days, a datum is kept for the whole of its day 365.
        """
        days = [kept for label in self.all_labels if (kept := taxonomy[label].retention_days) is not None]
        return self.oldest_ms + (min(days) + 1) * DAY_MS if days else None

    def is_retained(self, taxonomy: Taxonomy, now_ms: int) -> bool:
        """Say whether the datum may still be kept, and so used."""
        end = self.expires_at_ms(taxonomy)
        return end is None or now_ms < end

    def objection(
        self, taxonomy: Taxonomy, now_ms: int, tenant: str | None = None, candidate: ProviderProfile | None = None
    ) -> str | None:
        """Return why the datum may not be used now, by a tenant, with a candidate; or None.

        The datum of a tenant is for that tenant alone. What stays on the premises is in nobody's jurisdiction; it goes
        to a provider elsewhere only if data resides there where each of the labels wants it.
        """
        if not self.is_retained(taxonomy, now_ms):
            return f"datum {self.datum!r} is kept no longer"
        if self.tenant not in (None, tenant):
            return f"datum {self.datum!r} belongs to another tenant"
        if candidate is None or not candidate.remote:
            return None
        for label in sorted(self.all_labels):
            wanted = taxonomy[label].jurisdiction
            if wanted not in (DataSovereignty.ANY, candidate.sovereignty):
                return f"{label!r} data is for {wanted}, and that of {candidate.id} resides in {candidate.sovereignty}"
        return None


def derive(
    datum: str,
    sources: Sequence[Classification],
    taxonomy: Taxonomy,
    now_ms: int,
    labels: Iterable[str] = (),
    by: str = "derivation",
) -> Classification:
    """Classify what was made of other data: it has their labels, and any more that are given.

    Raises MisuseError without a source, and AuthorityError where the sources belong to different tenants.
    """
    if not sources:
        raise MisuseError(f"datum {datum!r:.80} is derived from nothing")
    tenants = {source.tenant for source in sources} - {None}
    if len(tenants) > 1:
        raise AuthorityError(f"datum {datum!r:.80} would mix the data of {len(tenants)} tenants")
    inherited = frozenset[str]().union(*(source.labels for source in sources))
    passed_on = {label for label in inherited if taxonomy[label].propagates}
    return Classification(
        datum,
        passed_on | texts(labels, f"datum {datum!r:.80}, labels"),
        now_ms,
        by,
        next(iter(tenants), None),
        tuple(source.datum for source in sources),
        inherited.union(*(source.ancestral for source in sources)) - passed_on,
        min(now_ms, *(source.oldest_ms for source in sources)),
    )


DREAM_LABELS = Taxonomy(
    (
        ClassificationLabel("dream_content"),
        ClassificationLabel("user_identity", DataClassification.CONFIDENTIAL, retention_days=365),
        ClassificationLabel("symbolic_data"),
        ClassificationLabel("system_metadata", DataClassification.PUBLIC, propagates=False),
        ClassificationLabel("agent_response", propagates=False),
        ClassificationLabel("emotion_tag"),
        ClassificationLabel("csf_archive"),
    )
)
