"""Choosing a formation: who is eligible, who scores best, and who plays which role."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_core.formations.choosing import Candidate, choose, deliberate, obstacle, score
from converge_core.formations.decision import CandidateRefusal, FormationDecision, RoleAssignment
from converge_core.formations.kinds import (
    DeliberatedFormation,
    OpenClawFormation,
    ScoredFormation,
    ScoringWeights,
    StaticFormation,
)
from converge_core.formations.profiles import NEUTRAL, SuggestorProfile
from converge_core.llm.capability import Capability, CapabilityKind, Modality
from converge_core.llm.profiles import CostClass, LatencyClass, ProviderProfile

ROLES = ("analysis", "planning", "evaluation")
SURE = ScoringWeights(cost=0, latency=0, confidence=1, role_coverage=0)
REASONING, IMAGE = CapabilityKind.REASONING, Modality.IMAGE

PROFILES = st.builds(
    SuggestorProfile,
    cost=st.sampled_from(CostClass),
    latency=st.sampled_from(LatencyClass),
    confidence=st.floats(0, 1),
    roles=st.lists(st.sampled_from(ROLES), unique=True).map(tuple),
)
PARTS = st.integers(0, 100)
WEIGHTS = st.tuples(PARTS, PARTS, PARTS, PARTS).filter(any)
REQUIRED = st.lists(st.sampled_from(ROLES), max_size=4).map(tuple)
FIELDS = ("cost", "latency", "confidence", "role_coverage")


def weights(parts: tuple[float, ...]) -> ScoringWeights:
    return ScoringWeights(**dict(zip(FIELDS, parts, strict=True)))


def one(name: str, *roles: str, confidence: float = 0.5, obstacle: str | None = None, **more: Any) -> Candidate:
    return Candidate(name, SuggestorProfile(roles=roles, confidence=confidence, **more), obstacle)


def backend(*capabilities: Capability) -> ProviderProfile:
    return ProviderProfile("b", "p", "m", CostClass.LOW, 10, 0.5, frozenset(capabilities))


def scored(*candidates: Candidate, top_n: int = 1, roles: tuple[str, ...] = (), **more: Any) -> FormationDecision:
    return choose(ScoredFormation(top_n=top_n, roles=roles, weights=more.pop("weights", SURE)), candidates)


def played(decision: FormationDecision) -> dict[str, str]:
    return {assignment.role: assignment.suggestor for assignment in decision.assignments}


# Who is eligible.


def test_a_member_has_every_capability_that_is_required() -> None:
    able = SuggestorProfile(capabilities=("analytics", "optimization"))
    assert obstacle(able, ["analytics"], []) is None
    assert obstacle(able, ["analytics", "policy", "experience"], []) == "lacks experience, policy"


@pytest.mark.parametrize(
    ("backends", "said"),
    [
        ([], "no backend offers image, reasoning"),
        ([backend(REASONING), backend(IMAGE)], "no backend offers image, reasoning"),
        ([backend(REASONING), backend(IMAGE, REASONING)], None),
    ],
)
def test_one_backend_must_offer_all_that_a_member_needs(backends: list[ProviderProfile], said: str | None) -> None:
    assert obstacle(SuggestorProfile(backend=("reasoning", "image")), [], backends) == said


def test_whoever_needs_no_backend_needs_none_to_be_there() -> None:
    assert obstacle(NEUTRAL, [], []) is None


def test_whoever_is_not_eligible_is_refused_with_the_reason() -> None:
    decision = scored(one("a", obstacle="lacks wit"), one("b"), top_n=2)
    assert decision.selected == ("b",)
    assert decision.refused == (CandidateRefusal("a", "lacks wit"),)
    assert decision.candidates == ("a", "b")


# Scores.


@given(WEIGHTS, PROFILES, REQUIRED)
def test_a_score_is_from_nothing_to_one(
    parts: tuple[int, ...], profile: SuggestorProfile, roles: tuple[str, ...]
) -> None:
    assert 0 <= score(weights(parts), profile, roles, profile.confidence) <= 1


@given(WEIGHTS, PROFILES, REQUIRED, st.integers(1, 1_000))
def test_only_the_proportions_of_the_weights_matter(
    parts: tuple[int, ...], profile: SuggestorProfile, roles: tuple[str, ...], factor: int
) -> None:
    scaled = weights(tuple(part * factor for part in parts))
    expected = score(weights(parts), profile, roles, profile.confidence)
    assert score(scaled, profile, roles, profile.confidence) == pytest.approx(expected, abs=2e-6)


@given(WEIGHTS, PROFILES, REQUIRED, st.sampled_from(CostClass), st.sampled_from(LatencyClass), st.floats(0, 1))
def test_to_be_cheaper_faster_or_surer_never_hurts(
    parts: tuple[int, ...],
    profile: SuggestorProfile,
    roles: tuple[str, ...],
    cost: CostClass,
    latency: LatencyClass,
    confidence: float,
) -> None:
    before = score(weights(parts), profile, roles, profile.confidence)
    better = profile.model_copy(
        update={
            "cost": min(cost, profile.cost, key=list(CostClass).index),
            "latency": min(latency, profile.latency, key=list(LatencyClass).index),
        }
    )
    assert score(weights(parts), better, roles, max(confidence, profile.confidence)) >= before


@pytest.mark.parametrize(
    ("part", "good", "bad"),
    [
        ("cost", {"cost": CostClass.FREE}, {"cost": CostClass.VERY_HIGH}),
        ("latency", {"latency": LatencyClass.REALTIME}, {"latency": LatencyClass.BATCH}),
        ("confidence", {"confidence": 1.0}, {"confidence": 0.0}),
        ("role_coverage", {"roles": ("planning",)}, {"roles": ("analysis",)}),
    ],
)
def test_a_weight_of_its_own_lets_one_part_decide(part: str, good: dict[str, Any], bad: dict[str, Any]) -> None:
    alone = weights(tuple(float(field == part) for field in FIELDS))
    scores = [score(alone, p, ["planning"], p.confidence) for p in (SuggestorProfile(**good), SuggestorProfile(**bad))]
    assert scores == [1.0, 0.0]


def test_a_score_is_the_weighted_mean_of_its_parts() -> None:
    profile = SuggestorProfile(
        cost=CostClass.LOW, latency=LatencyClass.BATCH, confidence=0.5, roles=("planning", "other")
    )
    by_hand = (1 * (1 - 2 / 5) + 2 * 0.0 + 3 * 0.5 + 4 * 0.5) / 10
    assert score(weights((1, 2, 3, 4)), profile, ["planning", "analysis"], 0.5) == pytest.approx(by_hand)


# Scored.


def test_the_best_are_selected_best_first() -> None:
    decision = scored(one("a", confidence=0.2), one("b", confidence=0.9), one("c", confidence=0.5), top_n=2)
    assert decision.selected == ("b", "c")
    assert [(each.suggestor, each.score) for each in decision.scores] == [("b", 0.9), ("c", 0.5), ("a", 0.2)]


def test_of_equals_whoever_was_named_first_is_selected() -> None:
    assert scored(one("b"), one("a")).selected == ("b",)


@given(st.lists(PROFILES, min_size=1, max_size=5), REQUIRED, st.integers(1, 5), st.randoms(use_true_random=False))
def test_what_is_selected_does_not_depend_on_who_is_named_first(
    profiles: list[SuggestorProfile], roles: tuple[str, ...], top_n: int, random: Any
) -> None:
    candidates = [Candidate(str(number), profile) for number, profile in enumerate(profiles)]
    shuffled = random.sample(candidates, len(candidates))
    formation = ScoredFormation(top_n=top_n, roles=roles)
    one_way, other_way = choose(formation, candidates), choose(formation, shuffled)
    if len({each.score for each in one_way.scores}) == len(candidates):  # of equals, the order decides
        assert one_way.selected == other_way.selected
    assert one_way.coverage == other_way.coverage
    assert sorted(each.score for each in one_way.scores) == sorted(each.score for each in other_way.scores)


def test_fewer_than_wanted_are_all_selected() -> None:
    assert scored(one("a"), one("b"), top_n=9).selected == ("a", "b")


# Roles.


def test_a_role_that_only_a_weak_candidate_plays_is_not_left_to_a_strong_one_without_it() -> None:
    strong, weak = one("strong", confidence=0.9), one("weak", "planning", confidence=0.1)
    decision = scored(strong, weak, roles=("planning",))
    assert decision.selected == ("weak",)
    assert played(decision) == {"planning": "weak"}


def test_places_that_no_role_needs_go_to_the_best_of_the_others() -> None:
    rest = [one("low", confidence=0.1), one("high", confidence=0.9)]
    decision = scored(one("planner", "planning", confidence=0.5), *rest, top_n=2, roles=("planning",))
    assert decision.selected == ("high", "planner")


def test_where_there_are_more_roles_than_places_the_best_players_come_first() -> None:
    decision = scored(one("a", "analysis", confidence=0.1), one("b", "planning", confidence=0.9), roles=ROLES)
    assert decision.selected == ("b",)
    assert decision.unmatched_roles == ("analysis", "evaluation")


def test_roles_are_given_so_that_as_many_as_possible_are_played() -> None:
    able, narrow = one("able", "analysis", "planning", confidence=0.9), one("narrow", "analysis", confidence=0.1)
    decision = scored(able, narrow, top_n=2, roles=("analysis", "planning"))
    assert played(decision) == {"analysis": "narrow", "planning": "able"}
    assert decision.coverage == 1.0


def test_a_member_plays_one_role() -> None:
    decision = scored(one("a", *ROLES), top_n=3, roles=ROLES)
    assert len(decision.assignments) == 1
    assert decision.coverage == 0.333333
    assert len(decision.unmatched_roles) == 2


def test_a_role_that_is_asked_for_twice_needs_two() -> None:
    decision = scored(one("a", "planning"), one("b", "planning"), top_n=2, roles=("planning", "planning"))
    assert decision.assignments == (RoleAssignment("planning", "a"), RoleAssignment("planning", "b"))


def test_without_roles_everything_is_covered() -> None:
    assert scored(one("a")).coverage == 1.0


def test_a_decision_is_as_sure_as_its_roles_are_covered() -> None:
    assert scored(one("a", "planning"), roles=("planning", "analysis")).confidence == 0.5


def test_nobody_is_no_formation_to_be_sure_of() -> None:
    decision = scored(one("a", obstacle="ill"))
    assert (decision.selected, decision.confidence) == ((), 0.0)


@given(st.lists(PROFILES, min_size=1, max_size=5), REQUIRED, st.integers(1, 5))
def test_who_plays_is_selected_and_every_role_is_played_or_unmatched(
    profiles: list[SuggestorProfile], roles: tuple[str, ...], top_n: int
) -> None:
    candidates = [Candidate(str(number), profile) for number, profile in enumerate(profiles)]
    decision = choose(ScoredFormation(top_n=top_n, roles=roles), candidates)
    assert len(decision.selected) == min(top_n, len(candidates))
    assert sorted([*(each.role for each in decision.assignments), *decision.unmatched_roles]) == sorted(roles)
    by_name = {each.name: each.profile for each in candidates}
    assert all(each.role in by_name[each.suggestor].roles for each in decision.assignments)
    assert len({each.suggestor for each in decision.assignments}) == len(decision.assignments)


# Static and open.


def test_those_who_are_named_are_selected_in_that_order() -> None:
    decision = choose(StaticFormation(names=("c", "a")), [one("a"), one("b"), one("c")])
    assert (decision.selected, decision.candidates) == (("c", "a"), ("a", "b", "c"))
    assert decision.rationale == "named by the intent"


def test_one_who_is_named_and_not_eligible_is_not_selected() -> None:
    decision = choose(StaticFormation(names=("a", "b")), [one("a"), one("b", obstacle="lacks wit")])
    assert decision.selected == ("a",)
    assert decision.refused == (CandidateRefusal("b", "lacks wit"),)


def test_the_roles_of_named_members_are_matched_too() -> None:
    formation = StaticFormation(names=("a", "b"), roles=("planning", "analysis"))
    decision = choose(formation, [one("a", "planning"), one("b")])
    assert played(decision) == {"planning": "a"}
    assert (decision.unmatched_roles, decision.coverage) == (("analysis",), 0.5)


def test_an_open_formation_has_a_variant_for_each_attempt() -> None:
    formation = OpenClawFormation(variants=(("a",), ("b", "c")))
    decisions = [choose(formation, [one("a"), one("b"), one("c")], attempt) for attempt in range(2)]
    assert [decision.selected for decision in decisions] == [("a",), ("b", "c")]
    assert [decision.variant for decision in decisions] == [1, 2]
    assert decisions[1].rationale == "variant 2 of 2"


# Deliberated.


def test_a_huddle_begins_with_everybody_who_is_eligible() -> None:
    decision = choose(DeliberatedFormation(), [one("a"), one("b", obstacle="ill"), one("c")])
    assert decision.selected == ("a", "c")
    assert decision.rationale == "a huddle of at most 3 cycles"


def test_those_stay_whose_mean_confidence_reaches_the_threshold() -> None:
    shown = {"a": 0.59, "b": 0.6, "c": 0.9}
    decision = deliberate(DeliberatedFormation(weights=SURE), [one("a"), one("b"), one("c"), one("d")], shown)
    assert decision.selected == ("c", "b")
    assert decision.refused == (
        CandidateRefusal("a", "a mean confidence of 0.59 is below 0.6"),
        CandidateRefusal("d", "no fact of its own came out of the huddle"),
    )
    assert decision.confidence == 0.6


def test_what_was_shown_counts_and_not_what_was_declared() -> None:
    boaster, doubter = one("boaster", confidence=1.0), one("doubter", confidence=0.0)
    decision = deliberate(DeliberatedFormation(weights=SURE), [boaster, doubter], {"boaster": 0.7, "doubter": 0.8})
    assert decision.selected == ("doubter", "boaster")
    assert [each.confidence for each in decision.scores] == [0.8, 0.7]


def test_whoever_stood_outside_of_the_huddle_stays_outside() -> None:
    decision = deliberate(DeliberatedFormation(), [one("a", obstacle="was not in the huddle")], {"a": 1.0})
    assert decision.refused == (CandidateRefusal("a", "was not in the huddle"),)


def test_where_nobody_was_sure_enough_nobody_is_selected() -> None:
    decision = deliberate(DeliberatedFormation(), [one("a")], {"a": 0.1})
    assert (decision.selected, decision.confidence) == ((), 0.0)
