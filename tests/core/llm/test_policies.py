from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_core import MisuseError
from converge_core.llm.errors import BackendError, BackendTimeout, InvalidRequest, NetworkFailed, RateLimited
from converge_core.llm.policies import BackoffStrategy, CircuitBreakerConfig, RetryPolicy

policies = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 20),
    initial_delay_ms=st.integers(0, 5_000),
    max_delay_ms=st.integers(0, 60_000),
    backoff=st.sampled_from(BackoffStrategy),
    jitter_percent=st.integers(0, 100),
)


def test_a_retry_policy_by_default() -> None:
    assert RetryPolicy() == RetryPolicy(3, 100, 10_000, BackoffStrategy.EXPONENTIAL, 20)


def test_no_retry_is_one_attempt() -> None:
    assert RetryPolicy.no_retry().max_attempts == 1
    assert not RetryPolicy.no_retry().should_retry(1)


def test_the_aggressive_policy() -> None:
    assert RetryPolicy.aggressive() == RetryPolicy(5, 50, 30_000, BackoffStrategy.EXPONENTIAL, 25)


def test_there_is_no_wait_before_the_first_attempt() -> None:
    assert RetryPolicy().delay_for_attempt(0, "seed") == 0


@pytest.mark.parametrize(
    ("backoff", "delays"),
    [
        (BackoffStrategy.FIXED, [100, 100, 100, 100]),
        (BackoffStrategy.LINEAR, [100, 200, 300, 400]),
        (BackoffStrategy.EXPONENTIAL, [100, 200, 400, 800]),
    ],
)
def test_waits_grow_by_the_strategy(backoff: BackoffStrategy, delays: list[int]) -> None:
    policy = RetryPolicy(backoff=backoff, jitter_percent=0)
    assert [policy.delay_for_attempt(attempt, "seed") for attempt in (1, 2, 3, 4)] == delays


def test_doubling_ends_after_ten_times() -> None:
    policy = RetryPolicy(initial_delay_ms=1, max_delay_ms=10**9, jitter_percent=0)
    assert [policy.delay_for_attempt(attempt, "seed") for attempt in (10, 11, 12, 99)] == [512, 1024, 1024, 1024]


def test_a_wait_is_capped() -> None:
    assert RetryPolicy(max_delay_ms=250, jitter_percent=0).delay_for_attempt(3, "seed") == 250


@pytest.mark.parametrize(("attempts", "left"), [(0, True), (2, True), (3, False), (4, False)])
def test_attempts_are_counted(attempts: int, left: bool) -> None:
    assert RetryPolicy().should_retry(attempts) is left


def test_jitter_that_was_declared_and_never_applied_is_applied() -> None:
    policy = RetryPolicy(initial_delay_ms=1_000, jitter_percent=20)
    delays = {policy.delay_for_attempt(1, f"call {number}") for number in range(500)}
    assert len(delays) > 150
    assert 800 <= min(delays) < 810
    assert 990 < max(delays) <= 1_000


def test_attempts_of_one_call_are_jittered_apart() -> None:
    policy = RetryPolicy(initial_delay_ms=10_000, backoff=BackoffStrategy.FIXED)
    assert len({policy.delay_for_attempt(attempt, "seed") for attempt in range(1, 6)}) == 5


@given(policies, st.integers(1, 30), st.text(max_size=20))
def test_a_wait_is_the_base_less_the_jitter_and_the_same_each_time(
    policy: RetryPolicy, attempt: int, seed: str
) -> None:
    base, delay = policy.base_delay_ms(attempt), policy.delay_for_attempt(attempt, seed)
    assert base * (100 - policy.jitter_percent) / 100 <= delay <= base <= policy.max_delay_ms
    assert delay == policy.delay_for_attempt(attempt, seed)


@given(policies, st.integers(1, 29))
def test_waits_do_not_shrink_from_attempt_to_attempt(policy: RetryPolicy, attempt: int) -> None:
    assert policy.base_delay_ms(attempt) <= policy.base_delay_ms(attempt + 1)


def test_a_failure_that_may_pass_is_tried_again_as_long_as_attempts_are_left() -> None:
    policy = RetryPolicy(jitter_percent=0)
    waits = [policy.delay_after(BackendTimeout("b", 1, 2), attempts, "seed") for attempts in (1, 2, 3)]
    assert waits == [100, 200, None]


def test_a_failure_that_stays_is_not_tried_again() -> None:
    assert RetryPolicy().delay_after(InvalidRequest("b", "connection timeout 503"), 1, "seed") is None


@pytest.mark.parametrize(
    ("error", "wait"),
    [
        (RateLimited("b", 5_000), 5_000),
        (RateLimited("b", 7), 100),
        (RateLimited("b", None), 100),
        (RateLimited("b", 10_000), 10_000),
        (RateLimited("b", 10_001), None),
        (NetworkFailed("b", "reset"), 100),
    ],
)
def test_the_wait_that_a_backend_asks_for_is_kept_up_to_the_cap(error: BackendError, wait: int | None) -> None:
    assert RetryPolicy(jitter_percent=0).delay_after(error, 1, "seed") == wait


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_attempts": 0}, "at least one attempt"),
        ({"initial_delay_ms": -1}, "not negative"),
        ({"max_delay_ms": -1}, "not negative"),
        ({"jitter_percent": -1}, "0 to 100 percent"),
        ({"jitter_percent": 101}, "0 to 100 percent"),
    ],
)
def test_a_retry_policy_that_makes_no_sense_is_refused(fields: dict[str, int], message: str) -> None:
    with pytest.raises(MisuseError, match=message):
        RetryPolicy(**fields)  # type: ignore[arg-type]  # the fields that are given are whole numbers


@pytest.mark.parametrize(
    ("config", "numbers"),
    [
        (CircuitBreakerConfig(), (5, 2, 30_000, 3)),
        (CircuitBreakerConfig.sensitive(), (3, 1, 15_000, 1)),
        (CircuitBreakerConfig.tolerant(), (10, 3, 60_000, 5)),
        (CircuitBreakerConfig.disabled(), (2**32 - 1, 1, 0, 2**32 - 1)),
    ],
)
def test_the_configurations_of_a_circuit_breaker(
    config: CircuitBreakerConfig, numbers: tuple[int, int, int, int]
) -> None:
    found = (config.failure_threshold, config.success_threshold, config.open_ms, config.half_open_probes)
    assert found == numbers


@pytest.mark.parametrize(
    "fields",
    [
        {"failure_threshold": 0},
        {"success_threshold": 0},
        {"half_open_probes": 0},
        {"probe_lease_ms": 0},
        {"open_ms": -1},
        {"open_ms": 2, "max_open_ms": 1},
    ],
)
def test_a_circuit_that_could_never_open_or_close_is_refused(fields: dict[str, int]) -> None:
    with pytest.raises(MisuseError, match="circuit breaker"):
        CircuitBreakerConfig(**fields)


@pytest.mark.parametrize(("trips", "window"), [(0, 30_000), (1, 30_000), (2, 60_000), (5, 480_000), (6, 600_000)])
def test_the_window_of_a_circuit_doubles_up_to_ten_minutes(trips: int, window: int) -> None:
    assert CircuitBreakerConfig().window_ms(trips) == window


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**12))
def test_a_window_is_within_its_bounds_after_any_number_of_trips(open_ms: int, more_ms: int, trips: int) -> None:
    config = CircuitBreakerConfig(open_ms=open_ms, max_open_ms=open_ms + more_ms)
    assert open_ms <= config.window_ms(trips) <= config.window_ms(trips + 1) <= open_ms + more_ms
