from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from converge_core.packs import DeterminismSpec, SolveBudgets

# Computed with the original.
SEED = 12345
SUB_SEED = 829881128586179110
ITER_SEED = 12266662905484794858


def test_the_limits_are_those_of_the_original() -> None:
    assert SolveBudgets() == SolveBudgets(time_limit=30.0, iteration_limit=100_000, candidate_cap=1_000)


@pytest.mark.parametrize("limit", ["time_limit", "iteration_limit", "candidate_cap"])
@pytest.mark.parametrize("value", [0, -1])
def test_a_limit_that_is_not_positive_is_refused_by_name(limit: str, value: int) -> None:
    with pytest.raises(ValidationError, match=f"{limit} must be positive"):
        SolveBudgets.model_validate({limit: value})


def test_all_limits_that_are_wrong_are_told_at_once() -> None:
    with pytest.raises(ValidationError) as caught:
        SolveBudgets(time_limit=0, iteration_limit=0, candidate_cap=0)
    assert [fault["loc"] for fault in caught.value.errors()] == [
        ("time_limit",),
        ("iteration_limit",),
        ("candidate_cap",),
    ]


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_time_limit_is_a_number_of_seconds(value: float) -> None:
    with pytest.raises(ValidationError):
        SolveBudgets(time_limit=value)


def test_the_seed_of_a_phase_is_that_of_the_original() -> None:
    assert DeterminismSpec(seed=SEED).sub_seed("phase1") == SUB_SEED


def test_the_seed_of_an_iteration_is_that_of_the_original() -> None:
    assert DeterminismSpec(seed=SEED).iter_seed(0) == ITER_SEED


@given(st.integers(0, 2**53 - 1), st.text(), st.text())
def test_phases_have_different_seeds(seed: int, one: str, other: str) -> None:
    spec = DeterminismSpec(seed=seed)
    assert (spec.sub_seed(one) == spec.sub_seed(other)) == (one == other)


def test_a_phase_is_no_iteration() -> None:
    spec = DeterminismSpec()
    assert spec.sub_seed("\0" * 8) != spec.iter_seed(0)


@pytest.mark.parametrize("seed", [-1, 2**53])
def test_a_seed_is_a_number_that_json_says_exactly(seed: int) -> None:
    with pytest.raises(ValidationError):
        DeterminismSpec(seed=seed)
