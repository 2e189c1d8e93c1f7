from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_core import MisuseError
from converge_core.governance.dilation import (
    D_MAX,
    D_MIN,
    ConvergenceGuard,
    DilationField,
    Grounding,
    Signals,
    dilation,
    grounding_policy,
)

UNSURE = Signals(1, 0, 0)
shares = st.floats(0, 1)


# --- D ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uncertainty", "cost_pressure", "confidence", "d"),
    [
        (0.5, 0, 0.5, 1.0),
        (0.8, 0.2, 0.5, 1.0),
        (0, 1, 1, 0.25),
        (1, 0, 0, 2.0),
        (0.8, 0, 0.2, 1.5),
        (0.9, 0, 0.5, 1.2667),
        (0.1, 0, 0.5, 0.7333),
    ],
)
def test_d_of_uncertainty_cost_pressure_and_confidence(
    uncertainty: float, cost_pressure: float, confidence: float, d: float
) -> None:
    assert round(dilation(uncertainty, cost_pressure, confidence), 4) == d


@pytest.mark.parametrize(("proximity", "d"), [(0, 1.7273), (0.25, 1.3205), (0.5, 0.9136), (0.75, 0.5068), (1, 0.1)])
def test_d_is_drawn_down_by_the_proximity_of_collapse(proximity: float, d: float) -> None:
    assert round(dilation(0.9, 0, 0.1, proximity), 4) == d


def test_what_is_out_of_bounds_is_taken_as_at_the_bound() -> None:
    assert dilation(7, -3, -0.1) == dilation(1, 0, 0)
    assert dilation(-1, 9, 2, 5) == D_MIN


def test_what_is_not_a_number_is_refused() -> None:
    with pytest.raises(MisuseError, match="not a number"):
        dilation(float("nan"), 0, 0)


@given(shares, shares, shares, shares, shares)
def test_d_is_monotone(u: float, p: float, c: float, near: float, other: float) -> None:
    low, high = sorted((u, other))
    assert dilation(low, p, c, near) <= dilation(high, p, c, near)
    low, high = sorted((p, other))
    assert dilation(u, low, c, near) >= dilation(u, high, c, near)
    low, high = sorted((c, other))
    assert dilation(u, p, low, near) >= dilation(u, p, high, near)
    low, high = sorted((near, other))
    assert dilation(u, p, c, low) >= dilation(u, p, c, high) - 1e-12


@given(st.floats(allow_nan=False), st.floats(allow_nan=False), st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_d_stays_within_its_bounds(u: float, p: float, c: float, near: float) -> None:
    assert D_MIN <= dilation(u, p, c, near) <= D_MAX


# --- signals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("health", "latency_ratio", "d"), [(1, 1, 0.5), (0.2, 3, 1.08), (0.9, 2, 0.7333), (0.5, 0.5, 1.2)]
)
def test_signals_of_health_and_latency(health: float, latency_ratio: float, d: float) -> None:
    assert round(Signals.of_health(health, latency_ratio).dilation, 4) == d


@pytest.mark.parametrize(("health", "latency_ratio"), [(None, None), (1.0, None), (None, 1.0)])
def test_td009_what_was_not_observed_is_unknown_and_not_well(health: float | None, latency_ratio: float | None) -> None:
    assert Signals.of_health(health, latency_ratio).dilation == 1.0


def test_a_latency_of_nothing_is_no_division_by_zero() -> None:
    assert Signals.of_health(1, 0) == Signals(0, 0, 0)


# --- the field --------------------------------------------------------------------------------------------------------


def test_a_node_that_was_never_observed_runs_at_its_own_pace() -> None:
    assert DilationField().get("a") == 1.0
    assert DilationField().snapshot() == {}


def test_x17_what_is_observed_later_replaces_what_was_observed_first() -> None:
    field = DilationField().observe({"a": Signals.of_health(1, 1)})
    assert field.get("a") == 0.5
    field = field.observe({"a": Signals.of_health(0.2, 3)})
    assert round(field.get("a"), 2) == 1.08


def test_a_tick_leaves_the_nodes_alone_that_it_did_not_observe() -> None:
    before = DilationField().observe({"a": UNSURE, "b": Signals()})
    after = before.observe({"b": UNSURE})
    assert after.snapshot() == {"a": 2.0, "b": 2.0}
    assert before.snapshot() == {"a": 2.0, "b": 1.0}


def test_x24_branches_that_observe_different_nodes_make_the_same_field_in_any_order() -> None:
    branches = [{"a": UNSURE}, {"b": Signals(0.8, 0, 0.2)}, {"c": Signals()}]
    fields = []
    for order in permutations(branches):
        field = DilationField()
        for deltas in order:
            field = field.observe(deltas)
        fields.append(field)
    assert all(field == fields[0] for field in fields)


def test_a_node_that_dwells_too_long_collapses_for_one_tick() -> None:
    field, series = DilationField(), []
    for _ in range(18):
        field = field.observe({"a": UNSURE})
        series.append(field.get("a"))
    assert series == [*[2.0] * 8, 0.1, *[2.0] * 8, 0.1]


def test_a_node_that_is_sure_for_a_tick_dwells_anew() -> None:
    field = DilationField(max_dwell_ticks=2)
    for signals in (UNSURE, UNSURE, Signals(), UNSURE, UNSURE):
        field = field.observe({"a": signals})
    assert field.get("a") == 2.0
    assert field.observe({"a": UNSURE}).get("a") == 0.1


def test_the_threshold_itself_is_high() -> None:
    field = DilationField(max_dwell_ticks=0)
    assert field.observe({"a": Signals(0.5, 0, 0)}).get("a") == 0.1


def test_a_negative_dwell_is_refused() -> None:
    with pytest.raises(MisuseError, match="number of ticks, not -1"):
        DilationField(max_dwell_ticks=-1)


# --- grounding --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("d", "grounding"),
    [
        (0.4, Grounding(False, 5, 2, False)),
        (0.5, Grounding(False, 5, 2, False)),
        (0.6, Grounding(True, 5, 2, False)),
        (1.0, Grounding(True, 5, 2, False)),
        (1.5, Grounding(True, 8, 2, False)),
        (2.0, Grounding(True, 10, 2, False)),
        (3.0, Grounding(True, 15, 3, True)),
        (5.0, Grounding(True, 25, 3, True)),
        (9.0, Grounding(True, 25, 3, True)),
    ],
)
def test_the_less_sure_the_more_is_looked_up(d: float, grounding: Grounding) -> None:
    assert grounding_policy(d) == grounding


# --- the guard --------------------------------------------------------------------------------------------------------


def swapped(*ticks: int) -> ConvergenceGuard:
    guard = ConvergenceGuard()
    for tick in ticks:
        guard = guard.record("a", "b", tick)
    return guard


def test_a_swap_that_is_made_too_often_oscillates() -> None:
    assert not swapped(1, 2).is_oscillating("a", "b", 3)
    assert swapped(1, 2, 3).is_oscillating("a", "b", 3)


def test_swaps_out_of_the_window_do_not_count() -> None:
    assert swapped(1, 2, 3).is_oscillating("a", "b", 11)
    assert not swapped(1, 2, 3).is_oscillating("a", "b", 12)


def test_what_is_out_of_the_window_is_forgotten() -> None:
    assert [swap.tick for swap in swapped(1, 2, 12).swaps] == [2, 12]


def test_the_way_back_is_another_swap() -> None:
    assert not swapped(1, 2, 3).is_oscillating("b", "a", 3)


def test_a_swap_can_be_forgiven() -> None:
    guard = swapped(1, 2, 3).record("b", "a", 3)
    assert guard.reset("a", "b").swaps == (("b", "a", 3),)


def test_a_guard_of_one_swap_in_one_tick() -> None:
    guard = ConvergenceGuard(max_swaps=1, window_ticks=0).record("a", "b", 1)
    assert guard.is_oscillating("a", "b", 1)
    assert not guard.is_oscillating("a", "b", 2)


@pytest.mark.parametrize("fields", [{"max_swaps": 0}, {"window_ticks": -1}])
def test_a_guard_that_guards_nothing_is_refused(fields: dict[str, int]) -> None:
    with pytest.raises(MisuseError, match="at least one swap"):
        ConvergenceGuard(**fields)  # type: ignore[arg-type]  # any field
