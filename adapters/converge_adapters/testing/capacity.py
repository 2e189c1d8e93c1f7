"""What every capacity, and every store of one, must do. A third party proves its own with a few lines:

    from converge_adapters.testing.capacity import CapacityConformance

    class TestMyCapacity(CapacityConformance):
        def make_capacity(self, tmp_path, clock):
            return MyCapacity(tmp_path, now=clock)

A capacity is tested on one provider, ``provider``, which has the policy `DEFAULT_POLICY`, and of which nothing is known
yet. For values in the messages, put ``pytest.register_assert_rewrite("converge_adapters.testing.capacity")`` into
``conftest.py``.
"""

# ruff: noqa: S101 (these are tests, if on their way to others)

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from converge_core.errors import MisuseError
from converge_core.ledger.canonical import canonical
from converge_core.llm.breaker import Permit
from converge_core.llm.capacity import (
    SIGNALS,
    Capacity,
    CapacityStore,
    DreamerTier,
    ProviderCapacityState,
    ProviderState,
    QuotaUse,
    Signal,
)
from converge_core.llm.errors import CallOutcome

E = TypeVar("E", bound=Exception)

THREADS, UPDATES = 4, 50
WINDOW_MS, MAX_WINDOW_MS, QUOTA_WAIT_MS = 30_000, 600_000, 60_000


class ManualClock:
    """A clock that shows the time that it is set to, in milliseconds."""

    def __init__(self, now_ms: int = 1_800_000_000_000) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms

    def pass_ms(self, ms: int) -> None:
        """Let time pass, or be set back."""
        self.now_ms += ms


def raised(expected: type[E], attempt: Callable[[], object]) -> E:
    """Return the error that an attempt raises. Fails when it raises none; another one passes through."""
    try:
        attempt()
    except expected as error:
        return error
    raise AssertionError(f"{expected.__name__} was not raised")


class CapacityConformance:
    """The promises of the port `Capacity`."""

    provider = "anthropic"

    def make_capacity(self, tmp_path: Path, clock: ManualClock) -> Capacity:
        """Make the capacity to be tested; ``tmp_path`` is a folder of its own for each test."""
        raise NotImplementedError

    def permit(self, capacity: Capacity) -> Permit:
        """Ask for leave, which is given."""
        leave = capacity.admit(self.provider)
        assert leave.permit is not None, leave
        return leave.permit

    def call(self, capacity: Capacity, outcome: CallOutcome, retry_after_ms: int | None = None) -> None:
        """Make a call that ends like this."""
        capacity.settle(self.provider, self.permit(capacity), outcome, 100, retry_after_ms, "why")

    def trip(self, capacity: Capacity) -> None:
        """Open the circuit."""
        for _ in range(3):
            self.call(capacity, CallOutcome.OVERLOADED)

    def test_a_provider_of_which_nothing_is_known_may_be_asked_by_many(self, tmp_path: Path) -> None:
        capacity = self.make_capacity(tmp_path, ManualClock())
        assert self.provider in capacity.chain()
        assert all(capacity.admit(self.provider).permit is not None for _ in range(10))

    def test_three_failures_in_a_row_open_the_circuit(self, tmp_path: Path) -> None:
        capacity = self.make_capacity(tmp_path, ManualClock())
        self.trip(capacity)
        leave = capacity.admit(self.provider)
        assert (leave.permit, leave.state, leave.retry_after_ms) == (None, ProviderState.CIRCUIT_OPEN, WINDOW_MS)
        assert leave.reason
        assert self.provider not in capacity.chain()

    def test_a_success_in_between_forgives(self, tmp_path: Path) -> None:
        capacity = self.make_capacity(tmp_path, ManualClock())
        for outcome in (CallOutcome.TIMEOUT, CallOutcome.NETWORK, CallOutcome.SUCCESS, CallOutcome.FAILED):
            self.call(capacity, outcome)
        self.call(capacity, CallOutcome.AUTH)
        assert self.provider in capacity.chain()

    def test_every_outcome_counts_as_the_table_says(self, tmp_path: Path) -> None:
        for outcome in CallOutcome:
            folder = tmp_path / outcome
            folder.mkdir()
            capacity = self.make_capacity(folder, ManualClock())
            calls = 0
            while calls < 3 and self.provider in capacity.chain():
                self.call(capacity, outcome)
                calls += 1
            refused = self.provider not in capacity.chain()
            expected = {Signal.FAILURE: (3, True), Signal.QUOTA_HIT: (1, True)}
            assert (calls, refused) == expected.get(SIGNALS[outcome], (3, False)), outcome

    def test_after_the_window_exactly_one_probe_is_let_through(self, tmp_path: Path) -> None:
        clock = ManualClock()
        capacity = self.make_capacity(tmp_path, clock)
        self.trip(capacity)
        clock.pass_ms(WINDOW_MS - 1)
        assert capacity.admit(self.provider).permit is None
        clock.pass_ms(1)
        assert self.provider in capacity.chain()
        assert [capacity.admit(self.provider).permit is not None for _ in range(5)] == [True] + [False] * 4
        assert self.provider not in capacity.chain()

    def test_a_probe_that_succeeds_closes_the_circuit(self, tmp_path: Path) -> None:
        clock = ManualClock()
        capacity = self.make_capacity(tmp_path, clock)
        self.trip(capacity)
        clock.pass_ms(WINDOW_MS)
        self.call(capacity, CallOutcome.SUCCESS)
        assert all(capacity.admit(self.provider).permit is not None for _ in range(3))
        self.trip(capacity)
        assert capacity.admit(self.provider).retry_after_ms == WINDOW_MS

    def test_a_probe_that_fails_doubles_the_window_up_to_the_maximum(self, tmp_path: Path) -> None:
        clock = ManualClock()
        capacity = self.make_capacity(tmp_path, clock)
        self.trip(capacity)
        windows = []
        for _ in range(7):
            windows.append(capacity.admit(self.provider).retry_after_ms or 0)
            clock.pass_ms(windows[-1])
            self.call(capacity, CallOutcome.OVERLOADED)
        assert windows == [min(WINDOW_MS << trip, MAX_WINDOW_MS) for trip in range(7)]

    def test_a_probe_that_says_nothing_makes_room_for_the_next(self, tmp_path: Path) -> None:
        clock = ManualClock()
        capacity = self.make_capacity(tmp_path, clock)
        self.trip(capacity)
        clock.pass_ms(WINDOW_MS)
        self.call(capacity, CallOutcome.ABORTED)
        assert [capacity.admit(self.provider).permit is not None for _ in range(2)] == [True, False]

    def test_a_probe_that_is_lost_does_not_shut_the_circuit_for_ever(self, tmp_path: Path) -> None:
        clock = ManualClock()
        capacity = self.make_capacity(tmp_path, clock)
        self.trip(capacity)
        clock.pass_ms(WINDOW_MS)
        self.permit(capacity)
        clock.pass_ms(24 * 3_600_000)
        assert capacity.admit(self.provider).permit is not None

    def test_a_permit_from_before_the_trip_does_not_close_the_circuit(self, tmp_path: Path) -> None:
        capacity = self.make_capacity(tmp_path, ManualClock())
        early = self.permit(capacity)
        self.trip(capacity)
        capacity.settle(self.provider, early, CallOutcome.SUCCESS, 100)
        assert capacity.admit(self.provider).permit is None

    def test_a_quota_is_waited_for_as_long_as_the_server_asks(self, tmp_path: Path) -> None:
        for asked, expected in ((None, QUOTA_WAIT_MS), (5_000, 5_000)):
            folder = tmp_path / str(asked)
            folder.mkdir()
            clock = ManualClock()
            capacity = self.make_capacity(folder, clock)
            self.call(capacity, CallOutcome.RATE_LIMITED, asked)
            leave = capacity.admit(self.provider)
            assert (leave.permit, leave.state, leave.retry_after_ms) == (None, ProviderState.QUOTA_HIT, expected)
            clock.pass_ms(expected)
            assert [capacity.admit(self.provider).permit is not None for _ in range(2)] == [True, False]

    def test_a_clock_that_is_set_back_makes_no_wait_longer_than_it_was(self, tmp_path: Path) -> None:
        clock = ManualClock()
        capacity = self.make_capacity(tmp_path, clock)
        self.trip(capacity)
        clock.pass_ms(-3_600_000)
        assert capacity.admit(self.provider).retry_after_ms == WINDOW_MS
        clock.pass_ms(WINDOW_MS)
        assert capacity.admit(self.provider).permit is not None

    def test_a_clock_that_is_set_back_while_nobody_asks_shuts_nobody_out(self, tmp_path: Path) -> None:
        clock = ManualClock()
        capacity = self.make_capacity(tmp_path, clock)
        self.trip(capacity)
        clock.pass_ms(-3_600_000)
        assert self.provider not in capacity.chain()
        clock.pass_ms(WINDOW_MS)
        assert self.provider in capacity.chain()

    def test_an_unknown_provider_is_misuse(self, tmp_path: Path) -> None:
        capacity = self.make_capacity(tmp_path, ManualClock())
        raised(MisuseError, lambda: capacity.admit("nobody"))
        raised(MisuseError, lambda: capacity.settle("nobody", Permit(0), CallOutcome.SUCCESS, 1))

    def test_the_snapshot_is_json_for_every_tier(self, tmp_path: Path) -> None:
        capacity = self.make_capacity(tmp_path, ManualClock())
        self.trip(capacity)
        for tier in DreamerTier:
            assert self.provider in canonical(capacity.snapshot(tier))


def _succeeded(state: ProviderCapacityState) -> tuple[ProviderCapacityState, int]:
    """Count a success; the answer is the number before."""
    return state.reported(CallOutcome.SUCCESS, 10, 1_000), state.success_count


def _used(use: QuotaUse) -> tuple[QuotaUse, int]:
    return QuotaUse(use.period, use.used + 1), use.used


class CapacityStoreConformance:
    """The promises of the port `CapacityStore`."""

    def make_store(self, tmp_path: Path) -> CapacityStore:
        """Open the store to be tested; ``tmp_path`` is a folder of its own for each test."""
        raise NotImplementedError

    def test_a_store_is_empty_at_first(self, tmp_path: Path) -> None:
        with closing(self.make_store(tmp_path)) as store:
            assert dict(store.read()) == {}

    def test_an_update_is_given_what_the_last_one_left_and_returns_its_answer(self, tmp_path: Path) -> None:
        with closing(self.make_store(tmp_path)) as store:
            assert [store.update("a", _succeeded) for _ in range(3)] == [0, 1, 2]
            assert store.update("b", _succeeded) == 0
            assert {name: state.success_count for name, state in store.read().items()} == {"a": 3, "b": 1}

    def test_a_provider_of_which_nothing_is_known_has_a_fresh_state(self, tmp_path: Path) -> None:
        with closing(self.make_store(tmp_path)) as store:
            assert store.update("a", lambda state: (state, state)) == ProviderCapacityState("a")

    def test_a_state_comes_back_as_it_was_left(self, tmp_path: Path) -> None:
        state = ProviderCapacityState("a")
        for outcome in CallOutcome:
            state = state.reported(outcome, 7, 1_000, 50, "läuft nicht\n'quoted'")
        with closing(self.make_store(tmp_path)) as store:
            store.update("a", lambda _: (state, None))
            assert dict(store.read()) == {"a": state}

    def test_a_change_that_raises_changes_nothing(self, tmp_path: Path) -> None:
        def fails(_: ProviderCapacityState) -> tuple[ProviderCapacityState, None]:
            raise LookupError

        with closing(self.make_store(tmp_path)) as store:
            store.update("a", _succeeded)
            raised(LookupError, lambda: store.update("a", fails))
            assert store.update("a", _succeeded) == 1

    def test_uses_are_counted_by_user_and_action(self, tmp_path: Path) -> None:
        with closing(self.make_store(tmp_path)) as store:
            assert [store.update_use("ann", "chat", _used) for _ in range(3)] == [0, 1, 2]
            assert store.update_use("bob", "chat", _used) == 0
            assert store.update_use("ann", "play", _used) == 0

    def test_no_update_of_another_thread_falls_in_between(self, tmp_path: Path) -> None:
        with closing(self.make_store(tmp_path)) as store, ThreadPoolExecutor(THREADS) as threads:
            answers = list(threads.map(lambda _: store.update("a", _succeeded), range(THREADS * UPDATES)))
            assert sorted(answers) == list(range(THREADS * UPDATES))

    def test_closing_twice_is_fine_and_using_a_closed_store_is_misuse(self, tmp_path: Path) -> None:
        store = self.make_store(tmp_path)
        store.update("a", _succeeded)
        store.close()
        store.close()
        raised(MisuseError, store.read)
        raised(MisuseError, lambda: store.update("a", _succeeded))
        raised(MisuseError, lambda: store.update_use("ann", "chat", _used))


class DurableCapacityStoreConformance(CapacityStoreConformance):
    """The promises of a store that outlives its process; `make_store` opens the same one again."""

    def test_what_is_known_outlives_the_store(self, tmp_path: Path) -> None:
        with closing(self.make_store(tmp_path)) as store:
            store.update("a", _succeeded)
            store.update_use("ann", "chat", _used)
        with closing(self.make_store(tmp_path)) as store:
            assert (store.update("a", _succeeded), store.update_use("ann", "chat", _used)) == (1, 1)

    def test_two_that_are_open_at_once_see_the_updates_of_each_other(self, tmp_path: Path) -> None:
        with closing(self.make_store(tmp_path)) as one, closing(self.make_store(tmp_path)) as other:
            assert [store.update("a", _succeeded) for store in (one, other, one, other)] == [0, 1, 2, 3]
            assert one.read() == other.read()
