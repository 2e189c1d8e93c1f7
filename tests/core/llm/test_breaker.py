from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_core.llm.breaker import Admission, Breaker, CallResult, Permit, admit, settle
from converge_core.llm.policies import CircuitBreakerConfig, CircuitState

CONFIG = CircuitBreakerConfig(failure_threshold=3, success_threshold=2, open_ms=1_000, half_open_probes=3)
SUCCEEDED, FAILED, ABANDONED = CallResult


def call(breaker: Breaker, result: CallResult, now_ms: int = 0, config: CircuitBreakerConfig = CONFIG) -> Breaker:
    """One call from asking to reporting, in no time."""
    admission = admit(breaker, config, now_ms)
    assert admission.permit is not None
    return settle(admission.breaker, config, admission.permit, result, now_ms)


def opened(now_ms: int = 0, config: CircuitBreakerConfig = CONFIG) -> Breaker:
    breaker = Breaker()
    for _ in range(config.failure_threshold):
        breaker = call(breaker, FAILED, now_ms, config)
    return breaker


def probing(probes: int, now_ms: int = 1_000) -> tuple[Breaker, list[Permit]]:
    """A circuit that opened at 0 and has let some probes in."""
    breaker, permits = opened(), []
    for _ in range(probes):
        admission = admit(breaker, CONFIG, now_ms)
        assert admission.permit is not None
        breaker = admission.breaker
        permits.append(admission.permit)
    return breaker, permits


# --- closed -----------------------------------------------------------------------------------------------------------


def test_a_circuit_is_closed_at_first_and_admits_everybody() -> None:
    assert admit(Breaker(), CONFIG, 0) == Admission(Breaker(), Permit(0))
    assert Breaker().state is CircuitState.CLOSED


def test_the_circuit_breaker_that_had_no_executor_breaks() -> None:
    breaker = call(call(Breaker(), FAILED), FAILED)
    assert breaker.state is CircuitState.CLOSED
    assert call(breaker, FAILED).state is CircuitState.OPEN


def test_a_success_forgets_the_failures_before_it() -> None:
    breaker = call(call(call(Breaker(), FAILED), FAILED), SUCCEEDED)
    assert call(call(breaker, FAILED), FAILED).state is CircuitState.CLOSED


def test_an_abandoned_call_neither_counts_nor_forgives() -> None:
    breaker = call(call(call(Breaker(), FAILED), FAILED), ABANDONED)
    assert breaker.failures == 2


# --- open -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("now_ms", "left"), [(500, 1_000), (501, 999), (1_499, 1)])
def test_an_open_circuit_admits_nobody_and_says_for_how_long(now_ms: int, left: int) -> None:
    breaker = opened(now_ms=500)
    assert admit(breaker, CONFIG, now_ms) == Admission(breaker, None, left)


def test_a_clock_that_steps_back_opens_nothing_early_and_shuts_nothing_longer() -> None:
    breaker = opened(now_ms=500)
    assert admit(breaker, CONFIG, 0) == Admission(breaker, None, 1_000)


def test_an_open_circuit_is_half_open_when_its_time_is_over() -> None:
    admission = admit(opened(), CONFIG, 1_000)
    assert admission.permit is not None
    assert (admission.breaker.state, admission.breaker.probes) == (CircuitState.HALF_OPEN, 1)


# --- half-open --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("probes", [1, 2, 5])
def test_half_open_admits_exactly_the_configured_probes(probes: int) -> None:
    config = CircuitBreakerConfig(failure_threshold=1, half_open_probes=probes)
    breaker, admitted = opened(config=config), 0
    for _ in range(20):
        breaker, permit, _ = admit(breaker, config, 30_000)
        admitted += permit is not None
    assert admitted == probes


def test_who_is_not_admitted_half_open_is_told_no_time() -> None:
    breaker, _ = probing(3)
    assert admit(breaker, CONFIG, 1_500) == Admission(breaker, None, None)


def test_enough_successes_close_a_half_open_circuit() -> None:
    breaker, permits = probing(2)
    breaker = settle(breaker, CONFIG, permits[0], SUCCEEDED, 1_100)
    assert breaker.state is CircuitState.HALF_OPEN
    breaker = settle(breaker, CONFIG, permits[1], SUCCEEDED, 1_200)
    assert (breaker.state, breaker.failures) == (CircuitState.CLOSED, 0)


def test_one_failure_opens_a_half_open_circuit_again_for_twice_as_long() -> None:
    breaker, permits = probing(2)
    breaker = settle(breaker, CONFIG, permits[0], SUCCEEDED, 1_100)
    breaker = settle(breaker, CONFIG, permits[1], FAILED, 1_200)
    assert admit(breaker, CONFIG, 1_200) == Admission(breaker, None, 2_000)


def windows(breaker: Breaker, config: CircuitBreakerConfig, trips: int) -> list[int]:
    """How long the circuit stays open, trip after trip, when each probe fails as soon as it is let in."""
    found, now_ms = [], 0
    for _ in range(trips):
        left = admit(breaker, config, now_ms).retry_after_ms
        assert left is not None
        found.append(left)
        now_ms += left
        breaker = call(breaker, FAILED, now_ms, config)
    return found


def test_the_window_doubles_with_each_trip_in_a_row_up_to_the_maximum() -> None:
    config = CircuitBreakerConfig(failure_threshold=3, half_open_probes=1)
    assert windows(opened(config=config), config, 7) == [30_000, 60_000, 120_000, 240_000, 480_000, 600_000, 600_000]


def test_a_circuit_that_has_closed_begins_with_the_first_window_again() -> None:
    config = CircuitBreakerConfig(failure_threshold=1, success_threshold=1, half_open_probes=1)
    breaker = call(call(opened(config=config), FAILED, 30_000, config), SUCCEEDED, 90_000, config)
    assert (breaker.state, breaker.trips) == (CircuitState.CLOSED, 0)
    breaker = call(breaker, FAILED, 90_000, config)
    assert admit(breaker, config, 90_000).retry_after_ms == 30_000


def test_probes_that_are_lost_are_no_trip() -> None:
    breaker, _ = probing(3)
    breaker = admit(breaker, CONFIG, 1_000 + CONFIG.probe_lease_ms).breaker
    assert (breaker.state, breaker.trips) == (CircuitState.HALF_OPEN, 1)


@pytest.mark.parametrize("result", [SUCCEEDED, ABANDONED])
def test_a_probe_that_is_over_makes_room_for_the_next(result: CallResult) -> None:
    breaker, permits = probing(3)
    breaker = settle(breaker, CONFIG, permits[0], result, 1_100)
    assert breaker.state is CircuitState.HALF_OPEN
    breaker, permit, _ = admit(breaker, CONFIG, 1_100)
    assert permit is not None
    assert admit(breaker, CONFIG, 1_100).permit is None


def test_a_call_from_before_the_circuit_opened_says_nothing_of_the_backend_now() -> None:
    late = admit(Breaker(), CONFIG, 0).permit
    breaker, _ = probing(1)
    assert late is not None
    for result in CallResult:
        assert settle(breaker, CONFIG, late, result, 1_100) is breaker


def test_probes_that_die_without_a_word_do_not_shut_the_circuit_for_ever() -> None:
    breaker, permits = probing(3)
    lost_at = 1_000 + CONFIG.probe_lease_ms
    assert admit(breaker, CONFIG, lost_at - 1).permit is None
    breaker, permit, _ = admit(breaker, CONFIG, lost_at)
    assert permit is not None
    assert breaker.probes == 1
    assert settle(breaker, CONFIG, permits[0], FAILED, lost_at) is breaker


def test_a_permit_that_is_handed_back_twice_makes_room_for_no_more_than_one() -> None:
    config = CircuitBreakerConfig(failure_threshold=1, half_open_probes=1)
    breaker, permit, _ = admit(opened(config=config), config, 30_000)
    assert permit is not None
    for _ in range(2):
        breaker = settle(breaker, config, permit, ABANDONED, 30_000)
    breaker = admit(breaker, config, 30_000).breaker
    assert admit(breaker, config, 30_000).permit is None


def test_an_abandoned_probe_is_no_success() -> None:
    breaker, permits = probing(3)
    for permit in permits:
        breaker = settle(breaker, CONFIG, permit, ABANDONED, 1_100)
    assert (breaker.state, breaker.successes, breaker.probes) == (CircuitState.HALF_OPEN, 0, 0)


def test_a_probe_that_came_late_has_its_whole_lease() -> None:
    breaker, _ = probing(2)
    breaker = admit(breaker, CONFIG, 2_000).breaker
    lost_at = 2_000 + CONFIG.probe_lease_ms
    assert admit(breaker, CONFIG, lost_at - 1).permit is None
    assert admit(breaker, CONFIG, lost_at).permit is not None


def test_a_disabled_breaker_lets_everybody_through() -> None:
    breaker, config = Breaker(), CircuitBreakerConfig.disabled()
    for now_ms in range(1_000):
        breaker = call(breaker, FAILED, now_ms, config)
    assert breaker.state is CircuitState.CLOSED


# --- any sequence of calls --------------------------------------------------------------------------------------------


class Tick(NamedTuple):
    """Time passes; then a call asks, or the nth call that is under way reports."""

    passes_ms: int
    reports: int
    result: CallResult | None


ticks = st.lists(
    st.builds(
        Tick,
        st.sampled_from((0, 1, 50, 99, 100, 101)),
        st.integers(0, 20),
        st.none() | st.sampled_from(CallResult),
    ),
    max_size=80,
)
configs = st.builds(
    CircuitBreakerConfig,
    failure_threshold=st.integers(1, 4),
    success_threshold=st.integers(1, 4),
    open_ms=st.sampled_from((0, 100)),
    half_open_probes=st.integers(1, 4),
    probe_lease_ms=st.just(10_000),
    max_open_ms=st.sampled_from((100, 250)),
)


@given(configs, ticks)
def test_whatever_happens_the_circuit_keeps_its_configuration(
    config: CircuitBreakerConfig, sequence: list[Tick]
) -> None:
    breaker, now, under_way = Breaker(), 0, list[Permit]()
    for tick in sequence:
        now += tick.passes_ms
        before = breaker
        if tick.result is None:
            breaker, permit, _ = admit(breaker, config, now)
            if permit is not None:
                under_way.append(permit)
            waiting = before.state is CircuitState.OPEN and now - before.since_ms < config.window_ms(before.trips)
            full = before.state is CircuitState.HALF_OPEN and before.probes == config.half_open_probes
            assert (permit is None) == (waiting or full)
        elif under_way:
            breaker = settle(breaker, config, under_way.pop(tick.reports % len(under_way)), tick.result, now)
        current = sum(permit.epoch == breaker.epoch for permit in under_way)
        assert breaker.probes == (current if breaker.state is CircuitState.HALF_OPEN else 0)
        assert breaker.probes <= config.half_open_probes
        assert breaker.failures < config.failure_threshold
        assert breaker.successes < config.success_threshold
        assert (breaker.epoch == before.epoch) == (breaker.state is before.state)
        assert (breaker.trips == 0) == (breaker.state is CircuitState.CLOSED)
        assert breaker.trips - before.trips in (
            {1} if breaker.state is CircuitState.OPEN is not before.state else {0, -before.trips}
        )
        assert config.window_ms(breaker.trips) <= config.max_open_ms
