"""What is known of a provider, call after call: pure transitions, and the time is an argument."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from converge_core.errors import MisuseError
from converge_core.ledger.canonical import JsonValue, canonical, parse
from converge_core.llm.breaker import Breaker, Permit
from converge_core.llm.capacity import (
    ALWAYS,
    DEFAULT_POLICY,
    SIGNALS,
    CapacityPolicy,
    DreamerTier,
    Leave,
    ProviderCapacityState,
    ProviderState,
    QuotaUse,
    Signal,
)
from converge_core.llm.errors import CallOutcome
from converge_core.llm.policies import CircuitBreakerConfig, CircuitState

SUCCESS, OVERLOADED, QUOTA = CallOutcome.SUCCESS, CallOutcome.OVERLOADED, CallOutcome.QUOTA
NEW = ProviderCapacityState("p")
NOW = 1_800_000_000_000
LEASE_MS = DEFAULT_POLICY.circuit.probe_lease_ms
HOUR_MS, DAY_MS = 3_600_000, 86_400_000


def asked(state: ProviderCapacityState, now_ms: int = NOW) -> tuple[ProviderCapacityState, Permit]:
    """Ask for leave, which is given."""
    state, leave = state.admitted(now_ms)
    assert leave.permit is not None, leave
    return state, leave.permit


def called(
    state: ProviderCapacityState,
    outcome: CallOutcome,
    now_ms: int = NOW,
    latency_ms: int = 100,
    retry_after_ms: int | None = None,
) -> ProviderCapacityState:
    """One call from asking to its end, in no time."""
    state, permit = asked(state, now_ms)
    return state.settled(permit, outcome, latency_ms, now_ms, retry_after_ms)


def failed(times: int, state: ProviderCapacityState = NEW, now_ms: int = NOW) -> ProviderCapacityState:
    for _ in range(times):
        state = called(state, OVERLOADED, now_ms)
    return state


TRIPPED = failed(3)
WAITING = called(NEW, QUOTA)


# --- latency ----------------------------------------------------------------------------------------------------------


def test_before_anybody_has_asked_nothing_is_known_of_the_latency() -> None:
    assert (NEW.latency_ema_ms, NEW.latency_max_ms, NEW.last_success_at_ms) == (None, None, None)


def test_the_first_latency_is_the_average() -> None:
    assert called(NEW, SUCCESS, latency_ms=700).latency_ema_ms == 700.0


def test_each_further_latency_weighs_a_fifth() -> None:
    state = called(called(NEW, SUCCESS, latency_ms=700), SUCCESS, latency_ms=200)
    assert state.latency_ema_ms == pytest.approx(0.2 * 200 + 0.8 * 700)
    assert called(state, SUCCESS, latency_ms=600).latency_ema_ms == pytest.approx(0.2 * 600 + 0.8 * 600)


def test_a_latency_of_nothing_is_an_observation_and_no_missing_one() -> None:
    state = called(called(NEW, SUCCESS, latency_ms=0), SUCCESS, latency_ms=100)
    assert state.latency_ema_ms == pytest.approx(20.0)


def test_the_longest_latency_stays() -> None:
    state = NEW
    for latency_ms in (100, 900, 300):
        state = called(state, SUCCESS, latency_ms=latency_ms)
    assert state.latency_max_ms == 900


@pytest.mark.parametrize("outcome", [outcome for outcome in CallOutcome if outcome is not SUCCESS])
def test_only_a_success_says_how_long_an_answer_takes(outcome: CallOutcome) -> None:
    before = called(NEW, SUCCESS)
    after = called(before, outcome, latency_ms=60_000)
    assert (after.latency_ema_ms, after.latency_max_ms) == (100.0, 100)


# --- what an outcome says ---------------------------------------------------------------------------------------------


def test_every_outcome_has_a_signal() -> None:
    assert set(SIGNALS) == set(CallOutcome)


@pytest.mark.parametrize("outcome", ["overloaded", "network", "timeout", "failed", "auth"])
def test_x09_what_fails_in_whatever_way_is_counted(outcome: str) -> None:
    state = called(NEW, CallOutcome(outcome))
    assert (state.state, state.error_count, state.last_error_at_ms) == (ProviderState.DEGRADED, 1, NOW)
    assert state.last_error_msg == outcome


@pytest.mark.parametrize("outcome", ["quota", "rate_limited"])
def test_x09_a_quota_that_is_used_up_is_known_as_one(outcome: str) -> None:
    state = called(NEW, CallOutcome(outcome))
    assert (state.state, state.error_count, state.last_error_at_ms) == (ProviderState.QUOTA_HIT, 0, NOW)
    assert state.last_error_msg == outcome


@pytest.mark.parametrize("outcome", ["refusal", "truncated", "invalid_request", "invalid_output", "aborted"])
@pytest.mark.parametrize("before", [NEW, failed(2)])
def test_what_says_nothing_of_the_provider_changes_nothing(before: ProviderCapacityState, outcome: str) -> None:
    assert called(before, CallOutcome(outcome)) == before


@pytest.mark.parametrize("outcome", ["refusal", "truncated", "invalid_request", "invalid_output", "aborted"])
def test_x22_a_probe_that_says_nothing_gives_its_place_back(outcome: str) -> None:
    state = called(TRIPPED, CallOutcome(outcome), NOW + 30_000)
    assert state.state is ProviderState.CIRCUIT_OPEN
    asked(state, NOW + 30_000)


def test_what_is_said_of_an_error_is_one_line_that_is_safe_to_show_and_bounded() -> None:
    state, permit = asked(NEW)
    state = state.settled(permit, OVERLOADED, 0, NOW, detail="\x1b[2Jgone\r\n" + "x" * 10_000)
    assert state.last_error_msg.startswith("overloaded: ?[2Jgone x")
    assert state.last_error_msg.isprintable()
    assert len(state.last_error_msg) < 1_000


# --- the circuit ------------------------------------------------------------------------------------------------------


def test_x01_a_provider_without_a_key_can_be_asked_at_once() -> None:
    assert NEW.state is ProviderState.AVAILABLE
    assert NEW.is_routable(NOW)


def test_two_failures_leave_the_circuit_closed() -> None:
    state = failed(2)
    assert (state.state, state.error_count) == (ProviderState.DEGRADED, 2)
    assert state.is_routable(NOW)


def test_the_third_failure_in_a_row_opens_the_circuit_for_30_seconds() -> None:
    assert (TRIPPED.state, TRIPPED.error_count) == (ProviderState.CIRCUIT_OPEN, 3)
    leave = TRIPPED.admitted(NOW)[1]
    assert leave == Leave(None, ProviderState.CIRCUIT_OPEN, "its circuit is open, try again in 30000 ms", 30_000)


def test_failures_that_are_not_in_a_row_open_nothing() -> None:
    state = failed(2, called(failed(2), SUCCESS))
    assert (state.state, state.error_count) == (ProviderState.DEGRADED, 2)


def test_x23_failures_of_calls_at_the_same_time_open_the_circuit_too() -> None:
    state, permits = NEW, []
    for _ in range(3):
        state, permit = asked(state)
        permits.append(permit)
    for permit in permits:
        state = state.settled(permit, OVERLOADED, 100, NOW)
    assert not state.is_routable(NOW)


def test_the_circuit_is_asked_again_when_its_window_is_over_and_no_earlier() -> None:
    assert not TRIPPED.is_routable(NOW + 29_999)
    assert TRIPPED.window_left_ms(NOW + 29_999) == 1
    assert TRIPPED.is_routable(NOW + 30_000)
    assert TRIPPED.window_left_ms(NOW + 30_000) == 0


def test_each_probe_that_fails_doubles_the_window_up_to_600_seconds() -> None:
    state, now_ms, windows = TRIPPED, NOW, []
    for _ in range(7):
        windows.append(state.window_left_ms(now_ms))
        now_ms += windows[-1]
        state = failed(1, state, now_ms)
    assert windows == [30_000, 60_000, 120_000, 240_000, 480_000, 600_000, 600_000]


def test_a_probe_that_succeeds_makes_everything_as_it_was() -> None:
    after_two_trips = failed(1, TRIPPED, NOW + 30_000)
    state = called(after_two_trips, SUCCESS, NOW + 90_000)
    assert (state.state, state.error_count) == (ProviderState.AVAILABLE, 0)
    assert failed(3, state, NOW + 90_000).window_left_ms(NOW + 90_000) == 30_000


def test_half_open_exactly_one_is_let_through() -> None:
    state, _ = asked(TRIPPED, NOW + 30_000)
    for _ in range(5):
        assert not state.is_routable(NOW + 30_000)
        state, leave = state.admitted(NOW + 30_000)
        assert leave == Leave(None, ProviderState.CIRCUIT_OPEN, "its circuit is open, a probe is under way")


def test_a_circuit_is_open_for_whoever_looks_until_a_probe_has_succeeded() -> None:
    probing, permit = asked(TRIPPED, NOW + 30_000)
    assert probing.state is ProviderState.CIRCUIT_OPEN
    assert probing.settled(permit, SUCCESS, 100, NOW + 30_100).state is ProviderState.AVAILABLE


def test_a_lost_probe_is_replaced_when_its_lease_is_over_and_no_earlier() -> None:
    probing, _ = asked(TRIPPED, NOW + 30_000)
    assert not probing.is_routable(NOW + 30_000 + LEASE_MS - 1)
    replaced, _ = asked(probing, NOW + 30_000 + LEASE_MS)
    assert not replaced.is_routable(NOW + 30_000 + LEASE_MS)


def test_a_lost_probe_that_returns_after_all_does_not_speak_for_the_one_that_replaced_it() -> None:
    probing, lost = asked(TRIPPED, NOW + 30_000)
    replaced, _ = asked(probing, NOW + 30_000 + LEASE_MS)
    after = replaced.settled(lost, SUCCESS, 100, NOW + 30_000 + LEASE_MS)
    assert (after.state, after.success_count) == (ProviderState.CIRCUIT_OPEN, 1)
    assert not after.is_routable(NOW + 30_000 + LEASE_MS)


def test_a_success_from_before_the_trip_counts_and_closes_nothing() -> None:
    state, early = asked(NEW)
    state = failed(3, state).settled(early, SUCCESS, 100, NOW)
    assert (state.state, state.success_count, state.error_count) == (ProviderState.CIRCUIT_OPEN, 1, 0)


def test_a_failure_from_before_the_trip_does_not_lengthen_it() -> None:
    state, early = asked(NEW)
    state = failed(3, state).settled(early, OVERLOADED, 100, NOW + 10_000)
    assert state.window_left_ms(NOW + 10_000) == 20_000


def test_what_can_always_be_asked_can_be_asked_whatever_happened() -> None:
    state = NEW
    for outcome in (*CallOutcome, *CallOutcome, *[OVERLOADED] * 50):
        state, leave = state.admitted(NOW, ALWAYS)
        assert leave.permit is not None
        state = state.settled(leave.permit, outcome, 1, NOW, retry_after_ms=HOUR_MS, policy=ALWAYS)
    assert state.is_routable(NOW, ALWAYS)


# --- quotas of providers ----------------------------------------------------------------------------------------------


def test_a_quota_is_waited_for_for_60_seconds() -> None:
    leave = WAITING.admitted(NOW)[1]
    assert leave == Leave(None, ProviderState.QUOTA_HIT, "its quota is used up, try again in 60000 ms", 60_000)
    assert not WAITING.is_routable(NOW + 59_999)
    assert WAITING.is_routable(NOW + 60_000)


@pytest.mark.parametrize("wait_ms", [0, 1, 5_000, HOUR_MS])
def test_a_quota_is_waited_for_as_long_as_the_server_asks(wait_ms: int) -> None:
    state = called(NEW, QUOTA, retry_after_ms=wait_ms)
    assert state.window_left_ms(NOW) == wait_ms
    assert state.is_routable(NOW + wait_ms)


def test_a_server_cannot_ask_for_more_than_a_day() -> None:
    assert called(NEW, QUOTA, retry_after_ms=10**15).window_left_ms(NOW) == DAY_MS


def test_after_the_wait_for_a_quota_exactly_one_finds_out() -> None:
    probing, permit = asked(WAITING, NOW + 60_000)
    assert not probing.is_routable(NOW + 60_000)
    after = probing.settled(permit, SUCCESS, 100, NOW + 60_100)
    assert (after.state, after.quota_since_ms, after.quota_wait_ms) == (ProviderState.AVAILABLE, None, 0)


def test_a_probe_that_finds_the_quota_used_up_still_waits_again_and_no_longer() -> None:
    state = called(WAITING, QUOTA, NOW + 60_000)
    assert state.window_left_ms(NOW + 60_000) == 60_000


def test_a_quota_is_no_failure_and_doubles_no_window() -> None:
    state = called(failed(2), QUOTA)
    state = failed(1, state, NOW + 60_000)
    assert state.window_left_ms(NOW + 60_000) == 30_000


def test_of_two_waits_that_servers_ask_for_the_longer_one_counts() -> None:
    state, late = asked(NEW)
    state = called(state, QUOTA, retry_after_ms=HOUR_MS)
    state = state.settled(late, QUOTA, 100, NOW + 1_000, retry_after_ms=5_000)
    assert state.window_left_ms(NOW + 1_000) == HOUR_MS - 1_000


def test_a_success_of_a_call_from_before_does_not_end_the_wait() -> None:
    state, early = asked(NEW)
    state = called(state, QUOTA).settled(early, SUCCESS, 100, NOW + 1_000)
    assert (state.state, state.window_left_ms(NOW + 1_000)) == (ProviderState.QUOTA_HIT, 59_000)


def test_after_the_wait_only_a_probe_says_that_there_is_quota_again() -> None:
    state, early = asked(NEW)
    state = called(state, QUOTA).settled(early, SUCCESS, 100, NOW + 60_000)
    assert state.state is ProviderState.QUOTA_HIT
    assert called(state, SUCCESS, NOW + 60_000).state is ProviderState.AVAILABLE


def test_a_quota_that_is_hit_while_the_circuit_is_open_leaves_it_open() -> None:
    state, early = asked(NEW)
    state = failed(3, state).settled(early, QUOTA, 100, NOW, retry_after_ms=5_000)
    assert state.state is ProviderState.QUOTA_HIT
    assert state.window_left_ms(NOW + 5_000) == 25_000


# --- calls without a permit -------------------------------------------------------------------------------------------


def test_a_report_moves_the_circuit_like_a_call() -> None:
    state = NEW
    for _ in range(3):
        state = state.reported(OVERLOADED, 0, NOW)
    assert state == TRIPPED


def test_a_report_while_the_circuit_is_open_is_counted_and_lengthens_nothing() -> None:
    state = TRIPPED.reported(OVERLOADED, 0, NOW + 10_000)
    assert (state.error_count, state.window_left_ms(NOW + 10_000)) == (4, 20_000)


def test_a_report_of_success_while_the_circuit_is_open_closes_nothing() -> None:
    assert not TRIPPED.reported(SUCCESS, 10, NOW).is_routable(NOW)


def test_a_report_after_the_window_is_a_probe() -> None:
    assert TRIPPED.reported(SUCCESS, 10, NOW + 30_000).state is ProviderState.AVAILABLE
    assert TRIPPED.reported(OVERLOADED, 0, NOW + 30_000).window_left_ms(NOW + 30_000) == 60_000


def test_a_report_while_a_probe_is_out_does_not_speak_for_it() -> None:
    probing, _ = asked(TRIPPED, NOW + 30_000)
    state = probing.reported(SUCCESS, 10, NOW + 30_000)
    assert not state.is_routable(NOW + 30_000)


# --- clocks, keys, forgetting -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("state", "wait_ms"), [(TRIPPED, 30_000), (WAITING, 60_000)])
def test_a_clock_that_is_set_back_makes_no_wait_longer(state: ProviderCapacityState, wait_ms: int) -> None:
    earlier = NOW - HOUR_MS
    seen, leave = state.admitted(earlier)
    assert leave.retry_after_ms == wait_ms
    assert seen.is_routable(earlier + wait_ms)


def test_a_clock_that_is_set_back_does_not_keep_a_lost_probe_alive() -> None:
    probing, _ = asked(TRIPPED, NOW + 30_000)
    seen, leave = probing.admitted(NOW - HOUR_MS)
    assert leave.permit is None
    assert seen.is_routable(NOW - HOUR_MS + LEASE_MS)


def test_a_state_is_its_own_as_of_a_later_time() -> None:
    assert TRIPPED.as_of(NOW + 1) == TRIPPED


def test_x01_a_key_that_nobody_has_looked_for_is_unknown_and_one_that_was_missing_is_named() -> None:
    unknown = replace(NEW, env_key="P_KEY")
    assert unknown.admitted(NOW)[1] == Leave(None, ProviderState.UNAVAILABLE, "nobody has looked for its key yet")
    missing = replace(unknown, key_present=False)
    assert missing.admitted(NOW)[1] == Leave(None, ProviderState.NO_KEY, "P_KEY is not set")
    assert replace(unknown, key_present=True).state is ProviderState.AVAILABLE


def test_who_is_forgotten_is_as_new() -> None:
    fresh = called(TRIPPED, QUOTA, NOW + 30_000).forgotten(NOW + 30_000)
    assert replace(fresh, breaker=Breaker()) == NEW
    assert fresh.breaker.state is CircuitState.CLOSED


@pytest.mark.parametrize("before", [NEW, TRIPPED])
def test_permits_from_before_a_provider_was_forgotten_count_no_more(before: ProviderCapacityState) -> None:
    state, permit = asked(before, NOW + 30_000)
    fresh = state.forgotten(NOW + 30_000)
    assert fresh.settled(permit, OVERLOADED, 0, NOW + 30_000).breaker == fresh.breaker


@pytest.mark.parametrize(
    "fields",
    [
        {"quota_wait_ms": -1},
        {"quota_wait_ms": 2, "max_quota_wait_ms": 1},
        {"ema_alpha": 0.0},
        {"ema_alpha": 1.1},
        {"ema_alpha": float("nan")},
    ],
)
def test_a_policy_out_of_bounds_is_refused(fields: dict[str, float]) -> None:
    with pytest.raises(MisuseError, match="capacity: "):
        CapacityPolicy(**fields)  # type: ignore[arg-type]  # some of them are numbers of milliseconds


def test_tiers_have_an_order() -> None:
    assert [tier.rank for tier in DreamerTier] == [0, 1, 2]


# --- JSON -------------------------------------------------------------------------------------------------------------

numbers = st.integers(0, 2**53 - 1)
maybe = st.none() | numbers
breakers = st.builds(Breaker, st.sampled_from(CircuitState), *[numbers] * 6)
states = st.builds(
    ProviderCapacityState,
    provider_id=st.text(),
    breaker=breakers,
    latency_ema_ms=st.none() | st.floats(0, allow_nan=False, allow_infinity=False),
    latency_max_ms=maybe,
    error_count=numbers,
    success_count=numbers,
    last_success_at_ms=maybe,
    last_error_at_ms=maybe,
    last_error_msg=st.text(),
    quota_since_ms=maybe,
    quota_wait_ms=numbers,
    env_key=st.none() | st.text(),
    key_present=st.none() | st.booleans(),
    checked_at_ms=maybe,
)


@given(states)
def test_a_state_is_what_it_was_after_a_way_through_json(state: ProviderCapacityState) -> None:
    assert ProviderCapacityState.from_json(parse(canonical(state.to_json()))) == state


@given(numbers, numbers)
def test_a_use_is_what_it_was_after_a_way_through_json(period: int, used: int) -> None:
    use = QuotaUse(period, used)
    assert QuotaUse.from_json(parse(canonical(use.to_json()))) == use


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"mood": 1}, "mood: Unexpected"),
        ({"breaker": {"mood": 1}}, "breaker.mood: Unexpected"),
        ({"breaker": {"state": "ajar"}}, "breaker.state: "),
        ({"error_count": "1"}, "error_count: "),
        ({"error_count": 1.5}, "error_count: "),
        ({"key_present": 1}, "key_present: "),
        ({"provider_id": None}, "provider_id: "),
    ],
)
def test_s003_what_is_no_state_is_refused_with_the_place(fields: dict[str, JsonValue], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        ProviderCapacityState.from_json({**NEW.to_json(), **fields})


@pytest.mark.parametrize("value", [{"used": "1"}, {"used": 1, "mood": 1}, [], None])
def test_what_is_no_use_is_refused(value: JsonValue) -> None:
    with pytest.raises(ValueError, match=": "):
        QuotaUse.from_json(value)


# --- whatever happens -------------------------------------------------------------------------------------------------

POLICY = CapacityPolicy(
    CircuitBreakerConfig(failure_threshold=2, success_threshold=1, half_open_probes=1, probe_lease_ms=50_000),
    max_quota_wait_ms=200_000,
)
LONGEST_MS = 600_000


class Provider(RuleBasedStateMachine):
    """Many who ask, end in any way, at any time, or never; and a clock that is set."""

    def __init__(self) -> None:
        super().__init__()
        self.state, self.now_ms = NEW, NOW
        self.out: list[Permit] = []

    @rule()
    def ask(self) -> None:
        routable = self.state.is_routable(self.now_ms, POLICY)
        left_ms = self.state.window_left_ms(self.now_ms, POLICY)
        self.state, leave = self.state.admitted(self.now_ms, POLICY)
        assert (leave.permit is not None) == routable
        assert left_ms == (leave.retry_after_ms or 0)
        if leave.permit is not None:
            self.out.append(leave.permit)
        else:
            assert leave.reason

    @rule(
        data=st.data(),
        outcome=st.sampled_from(CallOutcome) | st.just(OVERLOADED),
        wait_ms=st.none() | st.integers(0, 10**9),
    )
    def end(self, data: st.DataObject, outcome: CallOutcome, wait_ms: int | None) -> None:
        if self.out:
            permit = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
            before = self.state.breaker
            self.state = self.state.settled(permit, outcome, 100, self.now_ms, wait_ms, policy=POLICY)
            if permit.epoch != before.epoch and SIGNALS[outcome] is not Signal.QUOTA_HIT:
                assert replace(self.state.breaker, since_ms=0) == replace(before, since_ms=0)

    @rule(outcome=st.sampled_from(CallOutcome), wait_ms=st.none() | st.integers(0, 10**9))
    def report(self, outcome: CallOutcome, wait_ms: int | None) -> None:
        self.state = self.state.reported(outcome, 100, self.now_ms, wait_ms, policy=POLICY)

    @rule(ms=st.sampled_from([1, 29_999, 30_000, 50_000, 60_000, 200_000, 600_000, -1, -45_000, -HOUR_MS]))
    def pass_ms(self, ms: int) -> None:
        self.now_ms += ms
        self.state = self.state.as_of(self.now_ms)

    @rule()
    def forget(self) -> None:
        self.state = self.state.forgotten(self.now_ms)

    @invariant()
    def no_two_probes_are_out(self) -> None:
        breaker = self.state.breaker
        if breaker.state is not CircuitState.CLOSED:
            assert sum(permit.epoch == breaker.epoch for permit in self.out) <= 1

    @invariant()
    def no_window_is_longer_than_the_longest(self) -> None:
        assert self.state.window_left_ms(self.now_ms, POLICY) <= LONGEST_MS

    @invariant()
    def nobody_is_shut_out_for_ever(self) -> None:
        assert self.state.is_routable(self.now_ms + LONGEST_MS, POLICY)

    @invariant()
    def what_is_shut_is_not_called_well(self) -> None:
        if not self.state.is_routable(self.now_ms, POLICY):
            assert self.state.state in (ProviderState.CIRCUIT_OPEN, ProviderState.QUOTA_HIT)


TestWhateverHappens = Provider.TestCase
