from __future__ import annotations

import json
from itertools import permutations
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_core import AdmissionError, MisuseError
from converge_core.governance.beliefs import NOTHING_SEEN, Belief, Beliefs, Evidence
from converge_core.ledger.canonical import JsonValue, canonical


def seen(outcomes: str) -> Belief:
    """A belief after these outcomes: T went well, F did not."""
    return NOTHING_SEEN.observe(Evidence(f"e{place}", each == "T") for place, each in enumerate(outcomes))


@pytest.mark.parametrize(
    ("outcomes", "mean"), [("", 0.5), ("T", 0.6667), ("TT", 0.75), ("TTT", 0.8), ("TTTF", 0.6667), ("F", 0.3333)]
)
def test_cr005_a_belief_learns_from_every_observation(outcomes: str, mean: float) -> None:
    assert round(seen(outcomes).mean, 4) == mean


def test_cr005_a_belief_goes_on_after_it_was_stored() -> None:
    beliefs = Beliefs().observe("health", seen("TTT").evidence.values())
    restarted = Beliefs.from_json(json.loads(canonical(beliefs.to_json())))
    assert restarted == beliefs
    assert restarted["health"].mean == 0.8
    assert round(restarted.observe("health", [Evidence("e9", False)])["health"].mean, 4) == 0.6667


def test_cr005_the_same_evidence_twice_changes_nothing() -> None:
    belief = seen("TTF")
    assert belief.observe(belief.evidence.values()) is belief
    assert NOTHING_SEEN.observe([Evidence("e", True), Evidence("e", True)]).alpha == 2


def test_cr005_evidence_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(AdmissionError, match="'e0' is known, and says something else"):
        seen("T").observe([Evidence("e0", False)])


def test_x28_all_successes_move_a_belief_further_each_time() -> None:
    means = [seen("T" * count).mean for count in range(7)]
    assert means == sorted(set(means))
    assert means[6] == 0.875


def test_x28_without_evidence_there_is_no_confidence_and_with_each_piece_there_is_more() -> None:
    confidence = [seen("TFTFT"[:count]).confidence for count in range(6)]
    assert confidence[0] == 0
    assert confidence == sorted(set(confidence))


def test_dimensions_stand_in_the_order_of_the_alphabet() -> None:
    beliefs = Beliefs().observe("health", [Evidence("e", True)]).observe("animal", [Evidence("e", True)])
    assert list(beliefs.to_json()) == ["animal", "health"]


def test_evidence_counts_by_its_weight() -> None:
    belief = NOTHING_SEEN.observe([Evidence("a", True, 2.5), Evidence("b", False, 0.5)])
    assert (belief.alpha, belief.beta) == (3.5, 1.5)
    assert belief.mean == 0.7
    assert belief.confidence == 0.6


def test_a_prior_counts_like_evidence() -> None:
    assert Belief(3, 1).mean == 0.75
    assert Belief(3, 1).confidence == 0


def test_of_what_nobody_has_observed_the_prior_is_believed() -> None:
    assert Beliefs()["economy"] is NOTHING_SEEN
    assert Beliefs().observe("health", [Evidence("e", True)])["economy"].mean == 0.5


def test_x24_branches_that_return_what_they_saw_come_to_the_same_beliefs_in_any_order() -> None:
    branches = [
        [Evidence("a", True, 0.1)],
        [Evidence("b", True, 0.2)],
        [Evidence("c", True, 0.3), Evidence("d", False)],
    ]
    found = []
    for order in permutations(branches):
        beliefs = Beliefs()
        for deltas in order:
            beliefs = beliefs.observe("health", deltas)
        found.append(canonical(beliefs.to_json()))
    assert len(set(found)) == 1


@pytest.mark.parametrize(
    "piece",
    [
        Evidence(" ", True),
        Evidence("e", True, 0),
        Evidence("e", True, -1),
        Evidence("e", True, float("nan")),
        Evidence("e", True, 1e7),
    ],
)
def test_evidence_that_weighs_nothing_or_has_no_name_is_refused(piece: Evidence) -> None:
    with pytest.raises(AdmissionError, match="an id and a weight above 0"):
        NOTHING_SEEN.observe([piece])


@pytest.mark.parametrize(("alpha", "beta"), [(0, 1), (1, -1), (float("inf"), 1)])
def test_a_prior_that_is_none_is_refused(alpha: float, beta: float) -> None:
    with pytest.raises(MisuseError, match="a prior is above 0"):
        Belief(alpha, beta)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {"prior": [1, 1]},
        {"prior": [1], "evidence": {}},
        {"prior": [0, 1], "evidence": {}},
        {"prior": [True, 1], "evidence": {}},
        {"prior": ["1", 1], "evidence": {}},
        {"prior": [10**400, 1], "evidence": {}},
        {"prior": [1, 1], "evidence": {"e": {"success": True, "weight": 10**400}}},
        {"prior": [1, 1], "evidence": {"e": {"success": True, "weight": 1, "more": 1}}},
        {"prior": [1, 1], "evidence": []},
        {"prior": [1, 1], "evidence": {}, "more": 1},
        {"prior": [1, 1], "evidence": {"e": {"success": 1, "weight": 1}}},
        {"prior": [1, 1], "evidence": {"e": {"success": True, "weight": True}}},
        {"prior": [1, 1], "evidence": {"e": {"success": True, "weight": 0}}},
        {"prior": [1, 1], "evidence": {"e": {"success": True}}},
    ],
)
def test_what_is_no_belief_is_not_read_as_one(value: JsonValue) -> None:
    with pytest.raises(ValueError, match=r"belief|evidence"):
        Beliefs.from_json({"health": value})


def test_beliefs_that_are_no_object_are_not_read() -> None:
    with pytest.raises(ValueError, match="by dimension"):
        Beliefs.from_json([])


pieces = st.lists(
    st.builds(Evidence, st.text(min_size=1).filter(str.strip), st.booleans(), st.floats(1e-6, 1e6)),
    unique_by=lambda piece: piece.id,
    max_size=12,
)


@given(pieces, st.randoms(use_true_random=False))
def test_the_order_of_evidence_makes_no_difference(evidence: list[Evidence], chance: Random) -> None:
    shuffled = evidence.copy()
    chance.shuffle(shuffled)
    one, other = NOTHING_SEEN.observe(evidence), NOTHING_SEEN.observe(shuffled)
    assert one == other
    assert list(one.evidence) == list(other.evidence) == sorted(one.evidence)
    assert (one.mean, canonical(one.to_json())) == (other.mean, canonical(other.to_json()))
    assert 0 < one.mean < 1
    assert 0 <= one.confidence < 1
    assert one.observe(shuffled) is one
    assert Belief.from_json(one.to_json()) == one


@given(pieces, st.booleans())
def test_more_evidence_moves_a_belief_its_way_and_makes_it_more_confident(evidence: list[Evidence], went: bool) -> None:
    before = NOTHING_SEEN.observe(evidence)
    after = before.observe([Evidence(" another", went)]) if " another" not in before.evidence else before
    assert (after.mean >= before.mean) if went else (after.mean <= before.mean)
    assert after.confidence >= before.confidence
