"""Profiles of suggestors: what is known of them before they are asked."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from converge_core import Suggestor, suggestor
from converge_core.formations.profiles import NEUTRAL, SuggestorProfile
from converge_core.llm.capability import BackendCapability, CapabilityKind
from converge_core.llm.profiles import CostClass, LatencyClass


def test_whoever_says_nothing_about_itself_has_a_neutral_profile() -> None:
    assert Suggestor.profile is NEUTRAL
    assert NEUTRAL.to_json() == {}


def test_a_decorated_function_may_have_a_profile() -> None:
    profile = SuggestorProfile(roles=("planning",))
    made = suggestor(name="plan", profile=profile)(lambda ctx: None)
    assert made.profile is profile


def test_cheapness_and_speed_go_from_one_to_nothing_in_equal_steps() -> None:
    assert [round(SuggestorProfile(cost=cost).cheapness, 6) for cost in CostClass] == [1.0, 0.8, 0.6, 0.4, 0.2, 0.0]
    speeds = [round(SuggestorProfile(latency=latency).speed, 6) for latency in LatencyClass]
    assert speeds == [1.0, 0.666667, 0.333333, 0.0]


def test_what_is_needed_of_a_backend_is_said_in_the_words_of_backends() -> None:
    needs = SuggestorProfile(backend=("reasoning", "offline")).needs
    assert needs.all_of == {CapabilityKind.REASONING, BackendCapability.OFFLINE}


def test_a_word_that_no_backend_knows_is_refused_with_one_that_may_be_meant() -> None:
    with pytest.raises(ValidationError, match="no backend has a capability 'reasonning'; did you mean 'reasoning'"):
        SuggestorProfile(backend=("reasonning",))


@pytest.mark.parametrize("confidence", [-0.1, 1.1, float("nan")])
def test_a_confidence_is_from_nothing_to_one(confidence: float) -> None:
    with pytest.raises(ValidationError):
        SuggestorProfile(confidence=confidence)
