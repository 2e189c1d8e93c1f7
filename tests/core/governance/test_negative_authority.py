from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_core import MisuseError
from converge_core.governance.negative_authority import (
    DREAMER_SAFETY,
    LOCAL_ONLY,
    NOBODY_DENIES,
    PROFILES,
    AuthorityGate,
    AuthorityResult,
    DenialAxis,
    NegativeAuthorityProfile,
)
from converge_core.governance.screening import ListedParty, ScreeningList
from converge_core.governance.terms import Boundary
from converge_core.llm.capacity import DreamerTier
from converge_core.llm.profiles import CostClass, DataSovereignty, ProviderProfile

CLOUD = ProviderProfile("claude-large", "Anthropic", "large-1", CostClass.LOW, 500, 0.7)
PREMISES = replace(CLOUD, id="llama", provider="ollama", sovereignty=DataSovereignty.ON_PREMISES)
WANDERER, DEEP_DREAMER, GUILD = DreamerTier
LIST = ScreeningList("sanctions", (ListedParty("p-1", "Acme Trading", ("Acme",)),))


def denying(**axes: object) -> AuthorityGate:
    return AuthorityGate((replace(NegativeAuthorityProfile("p", reason="we said so"), **axes),))  # type: ignore[arg-type]


def ask(
    gate: AuthorityGate,
    action: str = "chat",
    provider: str | None = None,
    boundary: Boundary | None = None,
    data_classes: frozenset[str] = frozenset(),
    tier: DreamerTier | None = None,
    now_ms: int = 0,
    parties: tuple[str, ...] = (),
) -> AuthorityResult:
    return gate.check(action, provider, boundary, data_classes, tier, now_ms, parties)


# --- the axes ---------------------------------------------------------------------------------------------------------


def test_what_nobody_denies_is_not_denied() -> None:
    result = ask(AuthorityGate((DREAMER_SAFETY,)), provider="anthropic", boundary=Boundary.CLOUD)
    assert result is NOBODY_DENIES
    assert not result.denied
    assert result.objection is None


def test_an_action_is_denied() -> None:
    result = ask(denying(actions={"trade"}), "trade")
    assert result == AuthorityResult("p", DenialAxis.ACTION, "action 'trade' denied: we said so")
    assert result.objection == result.reason


def test_a_provider_is_denied() -> None:
    assert ask(denying(providers={"openai"}), provider="openai").reason == "provider 'openai' denied: we said so"


def test_a_boundary_is_denied() -> None:
    result = ask(denying(boundaries={Boundary.CLOUD}), boundary=Boundary.CLOUD)
    assert result.reason == "boundary 'cloud' denied: we said so"


def test_a_class_of_data_is_denied() -> None:
    result = ask(denying(data_classes={"pii.ssn"}), data_classes=frozenset({"dream", "pii.ssn"}))
    assert (result.axis, result.reason) == (DenialAxis.DATA_CLASS, "data class 'pii.ssn' denied: we said so")


def test_a_name_is_denied_in_whatever_case_it_is_written() -> None:
    gate = denying(actions={"Trade"}, providers={"OpenAI "})
    assert ask(gate, " TRADE ").denied
    assert ask(gate, provider="openai").denied


def test_a_name_that_only_begins_like_a_denied_one_is_another() -> None:
    assert not ask(denying(data_classes={"pii"}), data_classes=frozenset({"pii.ssn"})).denied


@pytest.mark.parametrize(
    ("asked", "denied"), [(Boundary.LOCAL, False), (Boundary.HYBRID, True), (Boundary.CLOUD, True)]
)
def test_a_denied_boundary_is_denied_to_whatever_reaches_it(asked: Boundary, denied: bool) -> None:
    assert ask(denying(boundaries={Boundary.CLOUD}), boundary=asked).denied is denied


def test_what_is_not_chosen_yet_is_not_asked_about() -> None:
    assert not ask(AuthorityGate((LOCAL_ONLY,)), provider=None, boundary=None).denied


def test_the_axes_are_asked_in_their_order() -> None:
    gate = denying(actions={"a"}, providers={"b"}, boundaries={Boundary.CLOUD}, data_classes={"d"})
    assert ask(gate, "a", "b", Boundary.CLOUD, frozenset({"d"})).axis is DenialAxis.ACTION
    assert ask(gate, "x", "b", Boundary.CLOUD, frozenset({"d"})).axis is DenialAxis.PROVIDER
    assert ask(gate, "x", "x", Boundary.CLOUD, frozenset({"d"})).axis is DenialAxis.BOUNDARY


def test_the_first_profile_that_objects_is_the_one_that_is_named() -> None:
    first, second = (NegativeAuthorityProfile(id, actions=frozenset({"a"}), reason=id) for id in ("one", "two"))
    assert ask(AuthorityGate((first, second)), "a").by == "one"
    assert ask(AuthorityGate((second, first)), "a").by == "two"


def test_of_several_names_that_are_denied_the_first_by_the_alphabet_is_named() -> None:
    names = [f"name {place}" for place in range(9)]
    assert "'name 0'" in ask(denying(data_classes=set(names)), data_classes=frozenset(names)).reason
    everybody = ScreeningList("all", tuple(ListedParty(name, name) for name in names))
    assert "'name 0'" in ask(AuthorityGate(lists=(everybody,)), parties=tuple(reversed(names))).reason


def test_a_profile_without_a_reason_gives_its_id() -> None:
    assert ask(denying(actions={"a"}, reason=""), "a").reason == "action 'a' denied: p"


# --- time and tiers ---------------------------------------------------------------------------------------------------


def test_a_profile_denies_until_its_time_is_over_and_no_longer() -> None:
    gate = denying(actions={"a"}, expires_at_ms=1_000)
    assert ask(gate, "a", now_ms=1_000).denied
    assert not ask(gate, "a", now_ms=1_001).denied


def test_a_profile_without_an_end_denies_for_good() -> None:
    assert ask(denying(actions={"a"}), "a", now_ms=10**15).denied


@pytest.mark.parametrize(("tier", "denied"), [(None, True), (WANDERER, True), (DEEP_DREAMER, False), (GUILD, False)])
def test_a_profile_that_can_be_overridden_is_so_by_its_tier_and_higher_ones(
    tier: DreamerTier | None, denied: bool
) -> None:
    assert ask(denying(actions={"a"}, tier_override=DEEP_DREAMER), "a", tier=tier).denied is denied


@pytest.mark.parametrize("tier", DreamerTier)
def test_a_profile_without_an_override_denies_every_tier(tier: DreamerTier) -> None:
    assert ask(denying(actions={"a"}), "a", tier=tier).denied


def test_x06_a_misspelt_tier_override_is_refused() -> None:
    with pytest.raises(MisuseError, match=r"profile 'p', tier_override: 'deep_dremer' is none of wanderer, "):
        NegativeAuthorityProfile("p", tier_override="deep_dremer")  # type: ignore[arg-type]  # the mistake


def test_x06_a_misspelt_boundary_or_source_is_refused() -> None:
    with pytest.raises(MisuseError, match="profile 'p', boundaries: 'clout' is none of local, hybrid, cloud"):
        NegativeAuthorityProfile("p", boundaries=frozenset({"clout"}))  # type: ignore[arg-type]  # the mistake
    with pytest.raises(MisuseError, match="profile 'p', source: 'hearsay' is none of"):
        NegativeAuthorityProfile("p", source="hearsay")  # type: ignore[arg-type]  # the mistake


def test_x06_a_misspelt_tier_opens_no_denial() -> None:
    gate = denying(actions={"a"}, tier_override=WANDERER)
    with pytest.raises(MisuseError, match="tier: 'gild' is none of"):
        gate.check("a", None, None, (), "gild", 0)  # type: ignore[arg-type]  # the mistake


def test_x06_the_words_of_the_enums_are_read() -> None:
    profile = NegativeAuthorityProfile("p", boundaries=frozenset({"cloud"}), tier_override="deep_dreamer")  # type: ignore[arg-type]  # as in a file
    assert profile.boundaries == {Boundary.CLOUD}
    assert profile.tier_override is DEEP_DREAMER


def test_a_lone_text_is_no_set_of_letters() -> None:
    with pytest.raises(MisuseError, match="actions: 'trade' is one text"):
        NegativeAuthorityProfile("p", actions="trade")  # type: ignore[arg-type]  # the mistake
    with pytest.raises(MisuseError, match="data classes: 'pii' is one text"):
        AuthorityGate().check("chat", None, None, "pii", None, 0)


@pytest.mark.parametrize("fields", [{"id": " "}, {"actions": frozenset({""})}, {"providers": frozenset({"x", " "})}])
def test_a_blank_name_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(MisuseError):
        replace(DREAMER_SAFETY, **fields)  # type: ignore[arg-type]  # any field


def test_an_id_that_two_profiles_have_is_refused() -> None:
    with pytest.raises(MisuseError, match="an id of its own"):
        AuthorityGate((DREAMER_SAFETY, DREAMER_SAFETY))


def test_a_profile_holds_still() -> None:
    actions = {"trade"}
    profile = NegativeAuthorityProfile("p", actions=actions)
    actions.clear()
    assert profile.actions == {"trade"}
    with pytest.raises(FrozenInstanceError):
        profile.actions = frozenset()  # type: ignore[misc]  # the mistake


# --- candidates -------------------------------------------------------------------------------------------------------


def test_x08_a_cloud_provider_is_denied_where_nothing_leaves_even_as_the_only_candidate() -> None:
    gate = AuthorityGate((LOCAL_ONLY,))
    called = [each for each in (CLOUD,) if not gate.check_candidate("chat", each, (), None, 0).denied]
    assert called == []


def test_x08_each_candidate_is_asked_about_itself() -> None:
    gate = AuthorityGate((LOCAL_ONLY,))
    called = [each.id for each in (CLOUD, PREMISES) if not gate.check_candidate("chat", each, (), None, 0).denied]
    assert called == ["llama"]


def test_x08_an_unknown_cloud_provider_is_denied_by_its_boundary() -> None:
    unknown = replace(CLOUD, provider="newcomer")
    result = AuthorityGate((LOCAL_ONLY,)).check_candidate("chat", unknown, (), GUILD, 0)
    assert (result.by, result.axis) == ("local-only", DenialAxis.BOUNDARY)


@pytest.mark.parametrize("name", ["ANTHROPIC", "Claude-Large"])
def test_a_candidate_is_denied_by_its_provider_or_by_its_id(name: str) -> None:
    assert denying(providers={name}).check_candidate("chat", CLOUD, (), None, 0).axis is DenialAxis.PROVIDER


@pytest.mark.parametrize("sovereignty", DataSovereignty)
def test_a_provider_that_is_not_on_the_premises_is_in_the_cloud(sovereignty: DataSovereignty) -> None:
    local = sovereignty is DataSovereignty.ON_PREMISES
    assert Boundary.of(replace(CLOUD, sovereignty=sovereignty)) is (Boundary.LOCAL if local else Boundary.CLOUD)


# --- screening --------------------------------------------------------------------------------------------------------


def test_a_party_on_a_list_is_denied() -> None:
    result = ask(AuthorityGate(lists=(LIST,)), parties=("Ann Lee", "ACME"))
    assert result == AuthorityResult("sanctions", DenialAxis.PARTY, "party 'ACME' denied: is on the list sanctions")


def test_a_party_on_no_list_is_not_denied() -> None:
    assert not ask(AuthorityGate(lists=(LIST,)), parties=("Ann Lee",)).denied


def test_a_candidate_is_denied_what_involves_a_listed_party() -> None:
    gate = AuthorityGate(lists=(LIST,))
    assert gate.check_candidate("chat", PREMISES, (), None, 0, ("Acme Trading",)).denied


@pytest.mark.parametrize("tier", DreamerTier)
def test_no_tier_is_above_a_screening_list(tier: DreamerTier) -> None:
    assert ask(AuthorityGate((), (LIST,)), tier=tier, parties=("acme",)).denied


# --- the profiles of the house ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["account_creation", "credential_entry", "data_deletion", "financial_trade"])
@pytest.mark.parametrize("tier", DreamerTier)
def test_dreamer_safety_denies_these_actions_to_everybody(action: str, tier: DreamerTier) -> None:
    assert ask(AuthorityGate((DREAMER_SAFETY,)), action, tier=tier).by == "dreamer-safety"


@pytest.mark.parametrize("label", ["pii.ssn", "pii.financial", "phi.diagnosis", "coppa.under_13"])
def test_dreamer_safety_denies_these_classes_of_data(label: str) -> None:
    assert ask(AuthorityGate((DREAMER_SAFETY,)), data_classes=frozenset({label})).denied


@pytest.mark.parametrize("provider", ["anthropic", "openai", "google", "groq", "deepseek", "azure"])
def test_local_only_denies_these_providers(provider: str) -> None:
    assert ask(AuthorityGate((LOCAL_ONLY,)), provider=provider).axis is DenialAxis.PROVIDER


def test_the_profiles_of_the_house_are_found_by_id() -> None:
    assert dict(PROFILES) == {"dreamer-safety": DREAMER_SAFETY, "local-only": LOCAL_ONLY}


# --- any denial -------------------------------------------------------------------------------------------------------

names = st.sampled_from(["a", "b", "c"])
sets = st.frozensets(names)
profiles = st.lists(
    st.builds(
        NegativeAuthorityProfile,
        id=st.uuids().map(str),
        actions=sets,
        providers=sets,
        boundaries=st.frozensets(st.sampled_from(Boundary)),
        data_classes=sets,
    ),
    max_size=3,
    unique_by=lambda profile: profile.id,
)


@given(profiles, names, names, st.sampled_from(Boundary), sets, st.sampled_from(DreamerTier), st.booleans())
def test_a_denial_beats_any_capability(
    denials: list[NegativeAuthorityProfile],
    action: str,
    provider: str,
    boundary: Boundary,
    data: frozenset[str],
    tier: DreamerTier,
    capable: bool,
) -> None:
    result = AuthorityGate(tuple(denials)).check(action, provider, boundary, data, tier, 0)
    hit = any(
        action in each.actions
        or provider in each.providers
        or data & each.data_classes
        or any(boundary.reaches(denied) for denied in each.boundaries)
        for each in denials
    )
    assert result.denied is hit
    assert result.permits(capable) is (capable and not hit)


@given(profiles, profiles, names, sets)
def test_another_profile_never_opens_what_was_denied(
    before: list[NegativeAuthorityProfile], more: list[NegativeAuthorityProfile], action: str, data: frozenset[str]
) -> None:
    def denied(gate: AuthorityGate) -> bool:
        return gate.check(action, None, None, data, None, 0).denied

    assert denied(AuthorityGate((*before, *more))) >= denied(AuthorityGate(tuple(before)))
