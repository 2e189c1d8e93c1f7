from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_core import AuthorityError, MisuseError
from converge_core.governance.classification import (
    DAY_MS,
    DREAM_LABELS,
    SENSITIVE_LABELS,
    UNCLASSIFIED,
    Classification,
    ClassificationLabel,
    Taxonomy,
    data_classification,
    derive,
)
from converge_core.llm.profiles import CostClass, DataSovereignty, ProviderProfile
from converge_core.llm.routing import DataClassification

PUBLIC, INTERNAL, CONFIDENTIAL, RESTRICTED = DataClassification
HOUR_MS = 3_600_000
IN_THE_US = ProviderProfile("us", "acme", "m", CostClass.LOW, 500, 0.7, sovereignty=DataSovereignty.US)
EUROPEAN = Taxonomy((ClassificationLabel("customer", jurisdiction=DataSovereignty.EU), ClassificationLabel("note")))


def datum(*labels: str, at_ms: int = 0, tenant: str | None = None, id: str = "d") -> Classification:
    return Classification(id, frozenset(labels), at_ms, tenant=tenant)


# --- sensitivity ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "level"),
    [
        ("public", PUBLIC),
        ("standard", INTERNAL),
        ("sensitive", CONFIDENTIAL),
        ("restricted", RESTRICTED),
        ("internal", INTERNAL),
        ("confidential", CONFIDENTIAL),
    ],
)
def test_a_sensitivity_says_who_may_see_the_data(word: str, level: DataClassification) -> None:
    assert data_classification(word) is level
    assert ClassificationLabel("x", word).sensitivity is level  # type: ignore[arg-type]  # as in a file


def test_a_misspelt_sensitivity_is_refused() -> None:
    with pytest.raises(MisuseError, match="sensitivity: 'secret' is none of public, internal"):
        data_classification("secret")


def test_data_is_as_sensitive_as_its_strictest_label() -> None:
    assert datum("system_metadata").sensitivity(DREAM_LABELS) is PUBLIC
    assert datum("system_metadata", "dream_content").sensitivity(DREAM_LABELS) is INTERNAL
    assert datum("system_metadata", "dream_content", "user_identity").sensitivity(DREAM_LABELS) is CONFIDENTIAL


def test_a_label_that_nobody_has_defined_is_restricted() -> None:
    assert datum("dream_content", "pii.email").sensitivity(DREAM_LABELS) is RESTRICTED


def test_data_without_a_label_is_unclassified_and_restricted() -> None:
    assert datum().labels == {UNCLASSIFIED}
    assert datum().sensitivity(DREAM_LABELS) is RESTRICTED
    assert DREAM_LABELS.sensitivity(()) is RESTRICTED


@pytest.mark.parametrize("label", sorted(SENSITIVE_LABELS))
def test_sensitive_labels_are_noticed(label: str) -> None:
    assert datum("dream_content", label).has_any()
    assert not datum("dream_content").has_any()
    assert datum("dream_content").has_any({"dream_content"})


# --- derivation -------------------------------------------------------------------------------------------------------


def test_x07_a_label_without_a_definition_stays_by_derivation() -> None:
    child = derive("child", [datum("dream_content", "pii.email")], DREAM_LABELS, 0)
    assert child.labels == {"dream_content", "pii.email"}


def test_x07_what_is_derived_is_as_old_as_its_oldest_source() -> None:
    sources = [datum("user_identity", at_ms=20 * DAY_MS), datum("user_identity", at_ms=5 * DAY_MS)]
    grandchild = derive("g", [derive("c", sources, DREAM_LABELS, 300 * DAY_MS)], DREAM_LABELS, 360 * DAY_MS)
    assert grandchild.classified_at_ms == 360 * DAY_MS
    assert grandchild.oldest_ms == 5 * DAY_MS
    assert grandchild.is_retained(DREAM_LABELS, 371 * DAY_MS - 1)
    assert not grandchild.is_retained(DREAM_LABELS, 371 * DAY_MS)


def test_a_label_that_does_not_propagate_names_the_source_alone_and_is_not_forgotten() -> None:
    child = derive("child", [datum("agent_response", "dream_content")], DREAM_LABELS, 0)
    assert child.labels == {"dream_content"}
    assert child.ancestral == {"agent_response"}
    assert child.all_labels == {"agent_response", "dream_content"}


def test_what_only_has_ancestral_labels_is_as_sensitive_as_they_are() -> None:
    child = derive("child", [datum("agent_response")], DREAM_LABELS, 0)
    assert child.labels == frozenset()
    assert child.sensitivity(DREAM_LABELS) is INTERNAL


def test_a_label_that_does_not_propagate_still_limits_how_long_what_came_of_it_is_kept() -> None:
    taxonomy = Taxonomy((ClassificationLabel("draft", propagates=False, retention_days=1),))
    child = derive("child", [datum("draft")], taxonomy, 0)
    assert not child.is_retained(taxonomy, 2 * DAY_MS)


def test_a_derived_datum_says_what_it_was_made_of_and_by_whom() -> None:
    child = derive("child", [datum("a", id="one"), datum("b", id="two")], DREAM_LABELS, 7)
    assert (child.datum, child.sources, child.classified_by) == ("child", ("one", "two"), "derivation")
    assert child.classified_at_ms == 7


def test_labels_can_be_added_by_derivation() -> None:
    child = derive("child", [datum("agent_response")], DREAM_LABELS, 0, ["agent_response", "emotion_tag"])
    assert child.labels == {"agent_response", "emotion_tag"}
    assert child.ancestral == frozenset()


def test_a_datum_that_is_derived_from_nothing_is_refused() -> None:
    with pytest.raises(MisuseError, match="'child' is derived from nothing"):
        derive("child", [], DREAM_LABELS, 0)


# --- retention --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("days", "hours", "kept"), [(0, 0, True), (365, 5, True), (365, 24, False), (366, 5, False), (-1, 0, True)]
)
def test_data_is_kept_for_whole_days(days: int, hours: int, kept: bool) -> None:
    assert datum("user_identity").is_retained(DREAM_LABELS, days * DAY_MS + hours * HOUR_MS) is kept


def test_the_shortest_retention_counts() -> None:
    taxonomy = Taxonomy((ClassificationLabel("a", retention_days=9), ClassificationLabel("b", retention_days=2)))
    assert datum("a", "b").expires_at_ms(taxonomy) == 3 * DAY_MS
    assert datum("c").expires_at_ms(taxonomy) is None
    assert datum("c").is_retained(taxonomy, 10**15)


def test_what_is_kept_no_longer_is_objected_to() -> None:
    said = datum("user_identity").objection(DREAM_LABELS, 400 * DAY_MS)
    assert said == "datum 'd' is kept no longer"


# --- tenancy and jurisdiction -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("owner", "tenant", "allowed"),
    [("a", "a", True), ("a", "b", False), ("a", None, False), (None, "a", True), (None, None, True)],
)
def test_the_data_of_a_tenant_is_for_that_tenant_alone(owner: str | None, tenant: str | None, allowed: bool) -> None:
    said = datum("dream_content", tenant=owner).objection(DREAM_LABELS, 0, tenant)
    assert said == (None if allowed else "datum 'd' belongs to another tenant")


def test_what_is_derived_belongs_to_the_tenant_of_its_sources() -> None:
    child = derive("child", [datum("a"), datum("b", tenant="t"), datum("c", tenant="t")], DREAM_LABELS, 0)
    assert child.tenant == "t"


def test_the_data_of_two_tenants_is_not_mixed() -> None:
    with pytest.raises(AuthorityError, match="would mix the data of 2 tenants"):
        derive("child", [datum("a", tenant="s"), datum("b", tenant="t")], DREAM_LABELS, 0)


@pytest.mark.parametrize(
    ("sovereignty", "allowed"),
    [(DataSovereignty.EU, True), (DataSovereignty.ON_PREMISES, True), (DataSovereignty.ANY, False)],
)
def test_data_goes_where_its_labels_want_it_or_stays(sovereignty: DataSovereignty, allowed: bool) -> None:
    candidate = replace(IN_THE_US, sovereignty=sovereignty)
    assert (datum("customer").objection(EUROPEAN, 0, candidate=candidate) is None) is allowed


def test_an_objection_to_a_candidate_says_what_is_where() -> None:
    said = datum("customer", "note").objection(EUROPEAN, 0, candidate=IN_THE_US)
    assert said == "'customer' data is for eu, and that of us resides in us"
    assert datum("note").objection(EUROPEAN, 0, candidate=IN_THE_US) is None


def test_of_several_labels_the_first_by_the_alphabet_is_named() -> None:
    labels = [f"label {place}" for place in range(9)]
    taxonomy = Taxonomy(tuple(ClassificationLabel(label, jurisdiction=DataSovereignty.EU) for label in labels))
    assert "'label 0'" in (datum(*labels).objection(taxonomy, 0, candidate=IN_THE_US) or "")


# --- definitions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"label": " "}, "is not blank"),
        ({"retention_days": -1}, "number of days, not -1"),
        ({"jurisdiction": "mars"}, "jurisdiction: 'mars' is none of"),
    ],
)
def test_a_definition_that_means_nothing_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(MisuseError, match=message):
        replace(ClassificationLabel("x"), **fields)  # type: ignore[arg-type]  # any field


def test_a_label_is_defined_once() -> None:
    with pytest.raises(MisuseError, match="defined once"):
        Taxonomy((ClassificationLabel("x"), ClassificationLabel("x", PUBLIC)))


def test_a_datum_has_an_id() -> None:
    with pytest.raises(MisuseError, match="id of its datum"):
        datum("x", id=" ")


def test_the_labels_of_dreams() -> None:
    assert {each.label: (each.sensitivity, each.propagates) for each in DREAM_LABELS.definitions} == {
        "dream_content": (INTERNAL, True),
        "user_identity": (CONFIDENTIAL, True),
        "symbolic_data": (INTERNAL, True),
        "system_metadata": (PUBLIC, False),
        "agent_response": (INTERNAL, False),
        "emotion_tag": (INTERNAL, True),
        "csf_archive": (INTERNAL, True),
    }
    assert DREAM_LABELS["user_identity"].retention_days == 365


# --- any derivation ---------------------------------------------------------------------------------------------------

names = st.sampled_from(["a", "b", "c", "d"])
definitions = st.builds(
    ClassificationLabel, names, st.sampled_from(DataClassification), st.booleans(), st.none() | st.integers(0, 9)
)
taxonomies = st.builds(Taxonomy, st.lists(definitions, unique_by=lambda each: each.label).map(tuple))
data = st.builds(
    Classification,
    datum=names,
    labels=st.frozensets(names),
    classified_at_ms=st.integers(0, 20).map(lambda days: days * DAY_MS),
    ancestral=st.frozensets(names),
)


@given(taxonomies, st.lists(data, min_size=1, max_size=3), st.integers(0, 20).map(lambda days: days * DAY_MS))
def test_labels_never_disappear_by_derivation(taxonomy: Taxonomy, sources: list[Classification], now_ms: int) -> None:
    child = derive("child", sources, taxonomy, now_ms)
    for source in sources:
        assert child.all_labels >= source.all_labels
        assert child.labels >= {label for label in source.labels if taxonomy[label].propagates}
        levels = list(DataClassification)
        assert levels.index(child.sensitivity(taxonomy)) >= levels.index(source.sensitivity(taxonomy))
        end = source.expires_at_ms(taxonomy)
        child_end = child.expires_at_ms(taxonomy)
        assert end is None or (child_end is not None and child_end <= end)
