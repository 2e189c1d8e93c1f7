from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_core import ContextState, DataPayload, MisuseError, PayloadRegistry, ProposedFact, canonical
from converge_core.llm.capability import BackendCapability, Capability, CapabilityKind, Modality, RequiredCapabilities
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
    SelectionRule,
    TaskComplexity,
)
from converge_core.llm.routing import DataClassification, RiskTier, RoutingPolicy
from converge_core.llm.selection import PRESETS, Selection, SelectionCriteria, SelectionPayload, fitness, select
from tests.core.stage import SEEDS, engine_of, play

OPEN = RoutingPolicy.open_to_all()
ANYTHING = SelectionCriteria(CostClass.VERY_HIGH, 10**9, 0.0)
BASE = ProviderProfile("base", "acme", "model", CostClass.MEDIUM, 1_000, 0.7)

GENEROUS = replace(
    BASE,
    id="generous",
    capabilities={*CapabilityKind, *Modality, *BackendCapability},
    context_tokens=10**6,
    compliance=set(ComplianceLevel),
)

words: st.SearchStrategy[Capability] = st.sampled_from(
    [CapabilityKind.REASONING, Modality.IMAGE, BackendCapability.REPLAY]
)
places = st.builds(Location, st.sampled_from(("", "EU", "US", "CH")), st.sampled_from(("", "DE", "US", "CH")))
costs = st.sampled_from(CostClass)
latencies = st.sampled_from((50, 100, 2_000, 5_000, 30_000))
qualities = st.sampled_from((0.0, 0.5, 0.6, 0.9, 1.0))
sovereignties = st.sampled_from(DataSovereignty)
compliances = st.frozensets(st.sampled_from(ComplianceLevel), max_size=2)
needs = st.builds(RequiredCapabilities, st.frozensets(words), st.sampled_from((0, 1_000, 200_000)))
providers = st.sampled_from(("acme", "Initech", "hooli"))
windows = st.none() | st.sampled_from((1_000, 200_000))

profiles = st.lists(
    st.builds(
        ProviderProfile,
        st.sampled_from("abcdefgh"),
        providers,
        st.sampled_from(("small", "large")),
        costs,
        latencies,
        qualities,
        st.frozensets(words),
        windows,
        sovereignties,
        places,
        compliances,
    ),
    max_size=6,
    unique_by=lambda profile: profile.id,
)
known = places.filter(lambda place: bool(place.region and place.country))
criteria = st.builds(
    SelectionCriteria,
    costs,
    latencies,
    qualities,
    needs,
    sovereignties,
    st.sampled_from(Jurisdiction),
    known,
    compliances,
    st.none() | providers,
    st.sampled_from(RiskTier),
    st.sampled_from(DataClassification),
    st.lists(st.sampled_from(("t1", "t2"))).map(tuple),
)
names = st.lists(st.sampled_from((*"abcd", "acme", "initech", "*")), max_size=3).map(tuple)
policies = st.just(OPEN) | st.builds(
    RoutingPolicy,
    st.dictionaries(st.sampled_from(RiskTier), names),
    st.dictionaries(st.sampled_from(DataClassification), names),
    names,
    st.dictionaries(st.sampled_from(("t1", "t2")), names),
)


def reasons(criteria: SelectionCriteria, profile: ProviderProfile, policy: RoutingPolicy = OPEN) -> list[str]:
    return [str(reason) for reason in select(criteria, [profile], policy).candidates[0].reasons]


def winner(selection: Selection) -> str | None:
    return selection.winner.id if selection.winner else None


# --- words and presets ------------------------------------------------------------------------------------------------


def test_criteria_by_default_ask_for_the_usual_and_trust_nobody() -> None:
    asked = SelectionCriteria()
    assert asked == SelectionCriteria.for_task()
    assert (asked.max_cost, asked.max_latency_ms, asked.min_quality) == (CostClass.MEDIUM, 2_000, 0.6)
    assert (asked.risk, asked.data) == (RiskTier.CRITICAL, DataClassification.RESTRICTED)


def test_a_task_of_reasoning_asks_for_the_capability_beside_its_own() -> None:
    own = RequiredCapabilities({Modality.IMAGE}, 5_000)
    asked = SelectionCriteria.for_task(complexity=TaskComplexity.REASONING, capabilities=own)
    assert asked.capabilities == RequiredCapabilities({Modality.IMAGE, CapabilityKind.REASONING}, 5_000)


@pytest.mark.parametrize(
    ("name", "cost", "latency_ms", "quality", "needed"),
    [
        ("high_volume", CostClass.LOW, 2_000, 0.5, set()),
        ("interactive", CostClass.LOW, 2_000, 0.6, set()),
        ("analysis", CostClass.VERY_HIGH, 30_000, 0.8, {CapabilityKind.REASONING}),
        ("batch", CostClass.LOW, 300_000, 0.5, set()),
        ("fast_cheap", CostClass.VERY_LOW, 2_000, 0.6, set()),
        ("balanced", CostClass.MEDIUM, 5_000, 0.7, set()),
        ("powerful", CostClass.HIGH, 10_000, 0.9, {CapabilityKind.REASONING}),
        ("deep_research", CostClass.HIGH, 30_000, 0.9, {CapabilityKind.REASONING, CapabilityKind.WEB_SEARCH}),
    ],
)
def test_what_the_presets_stand_for(
    name: str, cost: CostClass, latency_ms: int, quality: float, needed: set[Capability]
) -> None:
    asked = PRESETS[name]
    assert asked == SelectionCriteria(cost, latency_ms, quality, RequiredCapabilities(needed))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_latency_ms": 0}, "max_latency_ms is above 0"),
        ({"min_quality": 1.5}, "min_quality in 0 to 1"),
        ({"min_quality": float("nan")}, "min_quality in 0 to 1"),
        ({"jurisdiction": Jurisdiction.SAME_REGION, "user": Location("", "DE")}, "same_region needs the user's region"),
        ({"jurisdiction": Jurisdiction.SAME_COUNTRY, "user": Location("EU")}, "same_country needs the user's country"),
    ],
)
def test_criteria_that_make_no_sense_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(MisuseError, match=message):
        replace(ANYTHING, **fields)  # type: ignore[arg-type]  # any field


def test_the_certificates_that_are_asked_for_hold_still() -> None:
    certificates = {ComplianceLevel.GDPR}
    asked = replace(ANYTHING, compliance=certificates)
    certificates.clear()
    assert asked.compliance == {ComplianceLevel.GDPR}


# --- the rules, one by one --------------------------------------------------------------------------------------------


def test_who_asks_for_nothing_accepts_everybody() -> None:
    assert reasons(ANYTHING, BASE) == []


@pytest.mark.parametrize("cost", CostClass)
def test_provider_selection_does_not_ignore_cost(cost: CostClass) -> None:
    asked = replace(ANYTHING, max_cost=CostTier.STANDARD.max_cost)
    expected = [] if cost <= CostClass.MEDIUM else [f"cost: {cost} is above medium"]
    assert reasons(asked, replace(BASE, cost=cost)) == expected


def test_provider_selection_does_not_ignore_latency() -> None:
    asked = replace(ANYTHING, max_latency_ms=LatencyClass.REALTIME.max_latency_ms)
    assert reasons(asked, replace(BASE, latency_ms=100)) == []
    assert reasons(asked, replace(BASE, latency_ms=101)) == ["latency: 101 ms is above 100 ms"]


def test_provider_selection_does_not_ignore_quality() -> None:
    asked = replace(ANYTHING, min_quality=TaskComplexity.GENERATION.min_quality)
    assert reasons(asked, replace(BASE, quality=0.7)) == []
    assert reasons(asked, replace(BASE, quality=0.69)) == ["quality: 0.69 is below 0.7"]


@pytest.mark.parametrize("offered", DataSovereignty)
@pytest.mark.parametrize("asked", DataSovereignty)
def test_provider_selection_does_not_ignore_sovereignty(asked: DataSovereignty, offered: DataSovereignty) -> None:
    fits = asked is DataSovereignty.ANY or asked is offered
    expected = [] if fits else [f"sovereignty: data resides in {offered}, not in {asked}"]
    assert reasons(replace(ANYTHING, sovereignty=asked), replace(BASE, sovereignty=offered)) == expected


def test_provider_selection_does_not_ignore_compliance() -> None:
    asked = replace(ANYTHING, compliance={ComplianceLevel.SOC2, ComplianceLevel.GDPR})
    both = {ComplianceLevel.GDPR, ComplianceLevel.SOC2, ComplianceLevel.HIPAA}
    assert reasons(asked, replace(BASE, compliance=both)) == []
    assert reasons(asked, replace(BASE, compliance={ComplianceLevel.SOC2})) == ["compliance: not certified for gdpr"]
    assert reasons(asked, BASE) == ["compliance: not certified for gdpr, soc2"]


def test_capabilities_are_required_all_together() -> None:
    asked = replace(
        ANYTHING,
        capabilities=RequiredCapabilities({CapabilityKind.TOOL_USE, Modality.IMAGE, BackendCapability.OFFLINE}),
    )
    assert reasons(asked, GENEROUS) == []
    assert reasons(asked, replace(BASE, capabilities={Modality.IMAGE})) == ["capabilities: lacks offline, tool_use"]


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        (8_000, []),
        (7_999, ["context_tokens: 8000 are needed, 7999 fit"]),
        (None, ["context_tokens: 8000 are needed, an unknown number fit"]),
    ],
)
def test_a_context_window_must_be_known_to_be_wide_enough(window: int | None, expected: list[str]) -> None:
    asked = replace(ANYTHING, capabilities=RequiredCapabilities(context_tokens=8_000))
    assert reasons(asked, replace(BASE, context_tokens=window)) == expected


@pytest.mark.parametrize("region", [*sorted(TRUSTED_REGIONS), "eu", "uk"])
def test_a_trusted_region_is_one_of_the_list_in_any_case(region: str) -> None:
    asked = replace(ANYTHING, jurisdiction=Jurisdiction.TRUSTED)
    assert reasons(asked, replace(BASE, location=Location(region))) == []


@pytest.mark.parametrize(("region", "shown"), [("US", "US"), ("CN", "CN"), ("", "unknown")])
def test_trusted_jurisdiction_does_not_become_any(region: str, shown: str) -> None:
    asked = replace(ANYTHING, jurisdiction=Jurisdiction.TRUSTED)
    for sovereignty in DataSovereignty:
        profile = replace(BASE, location=Location(region), sovereignty=sovereignty)
        assert reasons(asked, profile) == [f"jurisdiction: region {shown} is not a trusted one"]


def test_the_same_region_is_the_users() -> None:
    asked = replace(ANYTHING, jurisdiction=Jurisdiction.SAME_REGION, user=Location("EU", "DE"))
    assert reasons(asked, replace(BASE, location=Location("EU", "FR"))) == []
    assert reasons(asked, replace(BASE, location=Location("EEA"))) == ["jurisdiction: region EEA is not EU"]
    assert reasons(asked, BASE) == ["jurisdiction: region unknown is not EU"]


def test_the_same_country_is_the_users() -> None:
    asked = replace(ANYTHING, jurisdiction=Jurisdiction.SAME_COUNTRY, user=Location("EU", "DE"))
    assert reasons(asked, replace(BASE, location=Location("", "DE"))) == []
    assert reasons(asked, replace(BASE, location=Location("EU", "FR"))) == ["jurisdiction: country FR is not DE"]
    assert reasons(asked, BASE) == ["jurisdiction: country unknown is not DE"]


@pytest.mark.parametrize(("asked", "fits"), [("ACME", True), ("base", True), ("hooli", False)])
def test_a_provider_that_is_asked_for_by_name_is_the_only_one(asked: str, fits: bool) -> None:
    expected = [] if fits else ["provider: hooli was asked for"]
    assert reasons(replace(ANYTHING, provider=asked), BASE) == expected


def test_all_reasons_against_a_candidate_are_given_in_the_order_of_the_rules() -> None:
    asked = SelectionCriteria(
        CostClass.FREE,
        1,
        1.0,
        RequiredCapabilities({Modality.IMAGE}, 1),
        DataSovereignty.EU,
        Jurisdiction.TRUSTED,
        compliance={ComplianceLevel.GDPR},
        provider="hooli",
    )
    found = select(asked, [BASE], RoutingPolicy(denied=("acme",))).candidates[0]
    assert [reason.rule for reason in found.reasons] == list(SelectionRule)
    assert not found.accepted


# --- the policy -------------------------------------------------------------------------------------------------------


def test_without_a_policy_nothing_leaves_the_premises() -> None:
    local = replace(BASE, id="local", sovereignty=DataSovereignty.ON_PREMISES)
    better = replace(BASE, id="better", cost=CostClass.FREE, quality=1.0)
    open_task = replace(ANYTHING, risk=RiskTier.LOW, data=DataClassification.PUBLIC)
    assert select(open_task, [better, local]).accepted == ("local",)


def test_truth_preference_does_not_bypass_allow_lists() -> None:
    preferred, listed = replace(BASE, id="preferred"), replace(BASE, id="listed", provider="hooli")
    policy = RoutingPolicy(
        {RiskTier.LOW: ("listed",)}, {DataClassification.PUBLIC: ("listed",)}, (), {"t": ("preferred",)}
    )
    asked = replace(ANYTHING, risk=RiskTier.LOW, data=DataClassification.PUBLIC, truth_ids=("t",))
    found = select(asked, [preferred, listed], policy)
    assert winner(found) == "listed"
    assert [str(reason) for reason in found.candidates[1].reasons] == [
        "risk: low risk is open to listed only",
        "data: public data is open to listed only",
    ]


def test_among_the_accepted_a_truths_preference_wins_over_fitness() -> None:
    fitter = replace(BASE, id="fitter", quality=1.0, cost=CostClass.FREE)
    policy = replace(OPEN, truth_preferences={"t": ("nobody", "base")})
    assert winner(select(ANYTHING, [BASE, fitter], policy)) == "fitter"
    assert winner(select(replace(ANYTHING, truth_ids=("t",)), [BASE, fitter], policy)) == "base"


def test_the_order_of_a_tiers_list_is_a_preference() -> None:
    fitter = replace(BASE, id="fitter", quality=1.0, cost=CostClass.FREE)
    policy = replace(OPEN, risk_tier_backends={RiskTier.LOW: ("base", "fitter")})
    assert select(replace(ANYTHING, risk=RiskTier.LOW), [fitter, BASE], policy).accepted == ("base", "fitter")


# --- the order --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cost", "score"),
    [
        (CostClass.FREE, 0.4),
        (CostClass.VERY_LOW, 0.4),
        (CostClass.LOW, 0.32),
        (CostClass.MEDIUM, 0.24),
        (CostClass.HIGH, 0.16),
        (CostClass.VERY_HIGH, 0.08),
    ],
)
def test_cheapness_is_four_tenths_of_fitness(cost: CostClass, score: float) -> None:
    slow_and_bad = replace(BASE, cost=cost, latency_ms=2_000, quality=0.0)
    assert fitness(SelectionCriteria(), slow_and_bad) == score


@pytest.mark.parametrize(("latency_ms", "score"), [(500, 0.305), (1_000, 0.23), (2_000, 0.08), (9_000, 0.08)])
def test_speed_within_the_limit_is_three_tenths_of_fitness(latency_ms: int, score: float) -> None:
    dear_and_bad = replace(BASE, cost=CostClass.VERY_HIGH, latency_ms=latency_ms, quality=0.0)
    assert fitness(SelectionCriteria(), dear_and_bad) == score


@pytest.mark.parametrize(("quality", "score"), [(0.0, 0.08), (0.5, 0.23), (1.0, 0.38)])
def test_quality_is_three_tenths_of_fitness(quality: float, score: float) -> None:
    dear_and_slow = replace(BASE, cost=CostClass.VERY_HIGH, latency_ms=2_000, quality=quality)
    assert fitness(SelectionCriteria(), dear_and_slow) == score


def test_the_fittest_wins_and_the_others_follow() -> None:
    good, better, best = (replace(BASE, id=f"q{quality}", quality=quality) for quality in (0.7, 0.8, 0.9))
    assert select(ANYTHING, [better, best, good], OPEN).accepted == ("q0.9", "q0.8", "q0.7")


def test_a_tie_is_broken_by_provider_then_model_then_id() -> None:
    by_id = replace(BASE, id="z")
    by_model = replace(BASE, id="y", model="nodel")
    by_provider = replace(BASE, id="a", provider="bcme")
    assert select(ANYTHING, [by_provider, by_model, by_id, BASE], OPEN).accepted == ("base", "z", "y", "a")


def test_two_backends_of_one_id_are_refused() -> None:
    with pytest.raises(MisuseError, match="an id of its own, unlike BASE, base"):
        select(ANYTHING, [BASE, replace(BASE, id="BASE")], OPEN)


def test_when_nobody_fits_the_error_tells_of_everybody() -> None:
    found = select(replace(ANYTHING, provider="hooli"), [BASE, replace(BASE, id="other")], OPEN)
    assert found.winner is None
    with pytest.raises(NoBackendFits, match="for provider hooli\n  base: provider: hooli was asked for\n  other: "):
        found.require()
    with pytest.raises(NoBackendFits, match=r"^no backend satisfies the selection criteria$"):
        select(ANYTHING, [], OPEN).require()


def test_who_fits_is_returned() -> None:
    assert select(ANYTHING, [BASE], OPEN).require() is BASE


# --- the record -------------------------------------------------------------------------------------------------------


def test_a_selection_is_recorded_with_every_reason() -> None:
    dear = replace(BASE, id="dear", cost=CostClass.HIGH)
    found = select(replace(ANYTHING, max_cost=CostClass.MEDIUM, truth_ids=("t",)), [dear, BASE], OPEN)
    assert json.loads(canonical(found.to_json())) == {
        "winner": "base",
        "order": "preference, fitness, provider, model, id",
        "criteria": {
            "capabilities": [],
            "compliance": [],
            "context_tokens": 0,
            "data": "restricted",
            "jurisdiction": "unrestricted",
            "max_cost": "medium",
            "max_latency_ms": 10**9,
            "min_quality": 0,
            "provider": None,
            "risk": "critical",
            "sovereignty": "any",
            "truth_ids": ["t"],
            "user": {"country": "", "region": ""},
        },
        "candidates": [
            {"id": "base", "preference": None, "fitness": 0.75, "reasons": []},
            {
                "id": "dear",
                "preference": None,
                "fitness": 0.67,
                "reasons": [{"rule": "cost", "detail": "high is above medium"}],
            },
        ],
    }


def test_a_selection_is_a_fact_that_a_registry_reads_back() -> None:
    registry = PayloadRegistry()
    registry.register(SelectionPayload)
    payload = select(PRESETS["analysis"], [BASE, GENEROUS], OPEN).payload()
    assert registry.decode("converge.llm.selection", 1, canonical(payload.body())) == payload


def test_a_selection_goes_through_the_gates_like_any_proposal() -> None:
    payload = select(ANYTHING, [BASE], OPEN).payload()
    engine = engine_of()
    result = play(engine, ContextState().add_proposal(ProposedFact(SEEDS, "choice", payload))).result
    assert [fact.payload for fact in result.context.get(SelectionPayload)] == [payload]
    assert result.context.count(DataPayload) == 0


def test_a_selection_is_summed_up_in_a_line() -> None:
    dear = replace(BASE, id="dear", cost=CostClass.HIGH)
    asked = replace(ANYTHING, max_cost=CostClass.MEDIUM)
    assert select(asked, [dear, BASE], OPEN).payload().summary() == "base of 2 candidates, 1 refused"
    assert select(asked, [dear], OPEN).payload().summary() == "nobody of 1 candidates, 1 refused"


@given(criteria, profiles, policies)
def test_every_candidate_is_judged_and_every_judgement_recorded(
    asked: SelectionCriteria, candidates: list[ProviderProfile], policy: RoutingPolicy
) -> None:
    found = select(asked, candidates, policy)
    assert sorted(candidate.id for candidate in found.candidates) == sorted(profile.id for profile in candidates)
    assert found.accepted == tuple(c.id for c in found.candidates[: len(found.accepted)])
    assert winner(found) == (found.accepted[0] if found.accepted else None)
    assert SelectionPayload.from_text(canonical(found.to_json())) == found.payload()


# --- what holds of any selection --------------------------------------------------------------------------------------


@given(criteria, profiles, policies, st.randoms(use_true_random=False))
def test_the_choice_does_not_depend_on_the_order_of_the_profiles(
    asked: SelectionCriteria, candidates: list[ProviderProfile], policy: RoutingPolicy, random: object
) -> None:
    shuffled = list(candidates)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # a random.Random
    assert canonical(select(asked, shuffled, policy).to_json()) == canonical(
        select(asked, candidates, policy).to_json()
    )


Tighten = Callable[[SelectionCriteria, SelectionCriteria], SelectionCriteria]
TIGHTER: dict[str, Tighten] = {
    "cost": lambda asked, more: replace(asked, max_cost=min(asked.max_cost, more.max_cost)),
    "latency": lambda asked, more: replace(asked, max_latency_ms=min(asked.max_latency_ms, more.max_latency_ms)),
    "quality": lambda asked, more: replace(asked, min_quality=max(asked.min_quality, more.min_quality)),
    "compliance": lambda asked, more: replace(asked, compliance=asked.compliance | more.compliance),
    "capabilities": lambda asked, more: replace(
        asked,
        capabilities=RequiredCapabilities(
            asked.capabilities.all_of | more.capabilities.all_of,
            max(asked.capabilities.context_tokens, more.capabilities.context_tokens),
        ),
    ),
    "sovereignty": lambda asked, more: (
        replace(asked, sovereignty=more.sovereignty) if asked.sovereignty is DataSovereignty.ANY else asked
    ),
    "jurisdiction": lambda asked, more: (
        replace(asked, jurisdiction=more.jurisdiction) if asked.jurisdiction is Jurisdiction.UNRESTRICTED else asked
    ),
    "provider": lambda asked, more: replace(asked, provider=asked.provider or more.provider),
}


@pytest.mark.parametrize("requirement", TIGHTER)
@given(criteria, criteria, profiles)
def test_adding_a_requirement_never_adds_candidates(
    requirement: str, asked: SelectionCriteria, more: SelectionCriteria, candidates: list[ProviderProfile]
) -> None:
    tighter = TIGHTER[requirement](asked, more)
    assert set(select(tighter, candidates, OPEN).accepted) <= set(select(asked, candidates, OPEN).accepted)


@given(criteria, profiles, policies)
def test_a_denied_provider_never_wins(
    asked: SelectionCriteria, candidates: list[ProviderProfile], policy: RoutingPolicy
) -> None:
    for denied in ("acme", "INITECH", "a"):
        found = select(asked, candidates, replace(policy, denied=(*policy.denied, denied)))
        assert found.winner is None or denied.casefold() not in found.winner.names


@given(criteria, profiles, policies, profiles)
def test_one_more_candidate_changes_no_verdict_on_the_others(
    asked: SelectionCriteria,
    candidates: list[ProviderProfile],
    policy: RoutingPolicy,
    others: list[ProviderProfile],
) -> None:
    known_ids = {profile.id for profile in candidates}
    more = [*candidates, *(profile for profile in others if profile.id not in known_ids)]
    alone = [each for each in select(asked, more, policy).candidates if each.id in known_ids]
    assert tuple(alone) == select(asked, candidates, policy).candidates


@given(criteria, profiles)
def test_a_better_offer_is_never_refused_for_it(asked: SelectionCriteria, candidates: list[ProviderProfile]) -> None:
    before = select(asked, candidates, OPEN)
    improved = [replace(profile, cost=CostClass.FREE, latency_ms=1, quality=1.0) for profile in candidates]
    assert set(before.accepted) <= set(select(asked, improved, OPEN).accepted)
