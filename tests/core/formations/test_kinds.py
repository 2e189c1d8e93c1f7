"""The kinds of formation as an intent states them: what is refused, and the form in the ledger."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from converge_core.formations.kinds import (
    DeliberatedFormation,
    Formation,
    OpenClawFormation,
    ScoredFormation,
    ScoringWeights,
    StaticFormation,
    formation_to_json,
    read_formation,
)
from converge_core.ledger.canonical import canonical, parse

FORMATION: TypeAdapter[Formation] = TypeAdapter(Formation)
NAMES = st.lists(st.sampled_from("abcdef"), unique=True, min_size=1).map(tuple)
COMMON = {"roles": st.lists(st.sampled_from(["plan", "judge"])).map(tuple), "capabilities": NAMES}
FORMATIONS = st.one_of(
    st.builds(StaticFormation, names=NAMES, **COMMON),
    st.builds(ScoredFormation, candidates=NAMES, top_n=st.integers(1, 9), **COMMON),
    st.builds(DeliberatedFormation, min_confidence_threshold=st.floats(0, 1), **COMMON),
    st.builds(OpenClawFormation, variants=st.lists(NAMES, min_size=1).map(tuple), **COMMON),
)


@given(FORMATIONS)
def test_a_formation_survives_the_ledger(formation: Formation) -> None:
    value = parse(canonical(formation_to_json(formation)))
    assert isinstance(value, dict)
    assert read_formation(value) == formation


def test_the_defaults_are_those_of_the_specification() -> None:
    weights = ScoringWeights()
    assert (weights.cost, weights.latency, weights.confidence, weights.role_coverage) == (0.25, 0.25, 0.25, 0.25)
    assert DeliberatedFormation().min_confidence_threshold == 0.6


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"kind": "closed"}, "does not match any of the expected tags"),
        ({"kind": "static"}, "Field required"),
        ({"kind": "static", "names": []}, "at least 1 item"),
        ({"kind": "static", "names": ["a", "a"]}, "'a' stands there twice"),
        ({"kind": "static", "names": ["a"], "candidates": ["b"]}, "'a' is not among the candidates"),
        ({"kind": "static", "names": ["a"], "top_n": 1}, "Extra inputs are not permitted"),
        ({"kind": "scored", "top_n": 0}, "greater than or equal to 1"),
        ({"kind": "scored", "top_n": 1, "weights": {"cost": -1}}, "greater than or equal to 0"),
        (
            {"kind": "scored", "top_n": 1, "weights": dict.fromkeys(ScoringWeights.model_fields, 0)},
            "at least one weight is above 0",
        ),
        ({"kind": "deliberated", "huddle_max_cycles": 0}, "greater than or equal to 1"),
        ({"kind": "deliberated", "min_confidence_threshold": 1.5}, "less than or equal to 1"),
        ({"kind": "open", "variants": []}, "at least 1 item"),
        ({"kind": "open", "variants": [["a"], []]}, "at least 1 item"),
        ({"kind": "open", "variants": [["a"], ["c"]], "candidates": ["a", "b"]}, "'c' is not among the candidates"),
        ({"kind": "open", "variants": [["a"]], "max_extra_loops": -1}, "greater than or equal to 0"),
    ],
)
def test_a_formation_without_sense_is_refused(value: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        FORMATION.validate_python(value)


def test_whoever_a_formation_names_is_found_with_the_place() -> None:
    formation = OpenClawFormation(candidates=("a", "b"), variants=(("a",), ("b", "a")))
    assert list(formation.named()) == [
        (("candidates", 0), "a"),
        (("candidates", 1), "b"),
        (("variants", 0, 0), "a"),
        (("variants", 1, 0), "b"),
        (("variants", 1, 1), "a"),
    ]
    assert list(StaticFormation(names=("c",)).named()) == [(("names", 0), "c")]
