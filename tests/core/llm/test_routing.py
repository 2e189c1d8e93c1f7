from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_core.llm.profiles import CostClass, DataSovereignty, ProviderProfile
from converge_core.llm.routing import (
    EVERY_BACKEND,
    ON_PREMISES_ONLY,
    DataClassification,
    RiskTier,
    RoutingPolicy,
)

LOW, PUBLIC = RiskTier.LOW, DataClassification.PUBLIC


def backend(id: str, provider: str = "acme", *, local: bool = False) -> ProviderProfile:
    home = DataSovereignty.ON_PREMISES if local else DataSovereignty.ANY
    return ProviderProfile(id, provider, "model", CostClass.LOW, 500, 0.7, sovereignty=home)


LOCAL, REMOTE, OTHER = backend("local", "ollama", local=True), backend("remote"), backend("other")

levels = st.tuples(st.sampled_from(RiskTier), st.sampled_from(DataClassification))
names = st.lists(st.sampled_from(("local", "remote", "other", "acme", "ollama", EVERY_BACKEND))).map(tuple)
policies = st.builds(
    RoutingPolicy,
    st.dictionaries(st.sampled_from(RiskTier), names),
    st.dictionaries(st.sampled_from(DataClassification), names),
    names,
    st.dictionaries(st.sampled_from(("t1", "t2")), names),
)
backends = st.sampled_from((LOCAL, REMOTE, OTHER))


def why_not(
    policy: RoutingPolicy, profile: ProviderProfile, risk: RiskTier = LOW, data: DataClassification = PUBLIC
) -> list[str]:
    return [str(reason) for reason in policy.refusals(profile, risk, data)]


@pytest.mark.parametrize("risk", RiskTier)
@pytest.mark.parametrize("data", DataClassification)
def test_default_deny_remote_leaves_no_tier_and_no_classification_open(
    risk: RiskTier, data: DataClassification
) -> None:
    assert why_not(ON_PREMISES_ONLY, REMOTE, risk, data) == [
        f"risk: {risk} risk is open to backends on the premises only",
        f"data: {data} data is open to backends on the premises only",
    ]


@pytest.mark.parametrize("risk", RiskTier)
@pytest.mark.parametrize("data", DataClassification)
def test_what_stays_on_the_premises_needs_no_list(risk: RiskTier, data: DataClassification) -> None:
    assert why_not(ON_PREMISES_ONLY, LOCAL, risk, data) == []


def test_a_remote_backend_must_be_on_the_tiers_list_and_on_the_classifications() -> None:
    tier_only = RoutingPolicy({LOW: ("remote",)})
    data_only = RoutingPolicy({}, {PUBLIC: ("remote",)})
    assert why_not(tier_only, REMOTE) == ["data: public data is open to backends on the premises only"]
    assert why_not(data_only, REMOTE) == ["risk: low risk is open to backends on the premises only"]
    assert why_not(RoutingPolicy({LOW: ("remote",)}, {PUBLIC: ("remote",)}), REMOTE) == []


def test_a_list_opens_its_own_level_and_no_other() -> None:
    policy = RoutingPolicy({LOW: ("remote",)}, {PUBLIC: ("remote",)})
    assert why_not(policy, REMOTE, RiskTier.MEDIUM) == ["risk: medium risk is open to backends on the premises only"]
    assert why_not(policy, REMOTE, LOW, DataClassification.INTERNAL) == [
        "data: internal data is open to backends on the premises only"
    ]


def test_who_is_not_on_a_list_is_refused_also_on_the_premises() -> None:
    policy = RoutingPolicy({LOW: ("remote", "third")}, {PUBLIC: (EVERY_BACKEND,)})
    assert why_not(policy, LOCAL) == ["risk: low risk is open to remote, third only"]


def test_an_empty_list_is_no_list() -> None:
    policy = RoutingPolicy({LOW: ()}, {PUBLIC: ()})
    assert why_not(policy, LOCAL) == []
    assert len(why_not(policy, REMOTE)) == 2


def test_the_deny_list_dominates_every_other() -> None:
    everywhere = {"t1": ("remote",)}
    policy = RoutingPolicy({LOW: ("remote",)}, {PUBLIC: ("remote",)}, ("remote",), everywhere)
    assert why_not(policy, REMOTE) == ["denied: is on the deny list"]


@pytest.mark.parametrize("name", ["remote", "Remote", "acme", "ACME", EVERY_BACKEND])
def test_a_list_names_a_backend_by_id_or_provider_in_any_case(name: str) -> None:
    assert why_not(RoutingPolicy({LOW: (name,)}, {PUBLIC: (name,)}), REMOTE) == []
    assert why_not(RoutingPolicy(denied=(name,)), REMOTE)[0] == "denied: is on the deny list"


def test_a_lone_text_is_one_name_and_not_its_letters() -> None:
    policy = RoutingPolicy(denied="acme")  # type: ignore[arg-type]  # a slip that must not open a door
    assert policy.denied == ("acme",)


def test_a_policy_that_is_open_to_all_is_said_to_be() -> None:
    for risk in RiskTier:
        for data in DataClassification:
            assert why_not(RoutingPolicy.open_to_all(), REMOTE, risk, data) == []


def test_a_list_does_not_change_after_it_was_given() -> None:
    lists: dict[RiskTier, tuple[str, ...]] = {}
    policy = RoutingPolicy(lists)
    lists[LOW] = (EVERY_BACKEND,)
    assert policy == ON_PREMISES_ONLY


# --- preferences ------------------------------------------------------------------------------------------------------


def test_a_truths_preference_comes_before_the_tiers_list_and_that_before_the_classifications() -> None:
    policy = RoutingPolicy({LOW: ("other",)}, {PUBLIC: ("local",)}, (), {"t": ("remote",)})
    places = [policy.preference(profile, ("t",), LOW, PUBLIC) for profile in (REMOTE, OTHER, LOCAL)]
    assert places == [0, 1, 2]


def test_truths_are_asked_in_their_order() -> None:
    policy = RoutingPolicy(truth_preferences={"t1": ("other",), "t2": ("remote",)})
    assert policy.preference(REMOTE, ("t2", "t1"), LOW, PUBLIC) == 0
    assert policy.preference(REMOTE, ("t1", "t2"), LOW, PUBLIC) == 1
    assert policy.preference(REMOTE, (), LOW, PUBLIC) is None


def test_everybody_is_nobodys_preference() -> None:
    assert RoutingPolicy.open_to_all().preference(REMOTE, (), LOW, PUBLIC) is None


@given(policies, backends, levels, st.lists(st.sampled_from(("t1", "t2"))))
def test_no_preference_opens_what_the_lists_close(
    policy: RoutingPolicy,
    profile: ProviderProfile,
    level: tuple[RiskTier, DataClassification],
    truths: list[str],
) -> None:
    bare = RoutingPolicy(policy.risk_tier_backends, policy.data_classification_backends, policy.denied)
    assert why_not(policy, profile, *level) == why_not(bare, profile, *level)


@given(policies, names, backends, levels)
def test_a_longer_deny_list_never_opens_anything(
    policy: RoutingPolicy,
    more: tuple[str, ...],
    profile: ProviderProfile,
    level: tuple[RiskTier, DataClassification],
) -> None:
    stricter = RoutingPolicy(policy.risk_tier_backends, policy.data_classification_backends, (*policy.denied, *more))
    assert set(why_not(policy, profile, *level)) <= set(why_not(stricter, profile, *level))
