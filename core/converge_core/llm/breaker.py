"""The circuit breaker: a frozen state, and two functions that return the next one. The time is an argument.

    closed ──(failure_threshold failures in a row)──▶ open
    open ──(a call asks, a window later)──▶ half-open
    half-open ──(success_threshold successes)──▶ closed
    half-open ──(a failure)──▶ open, for twice as long

A call asks with `admit` and hands its permit back with `settle`, once. Each change of state begins a new *epoch*, and a
permit is good for the epoch that gave it: what a slow call from before the change has to say is no news of the backend
as it is now. Half-open, no more than ``half_open_probes`` calls are under way at a time. A probe may die without a
word, so when all are out and the last one left ``probe_lease_ms`` ago, they count as lost and a new epoch begins: the
circuit does not stay shut for ever.

The window of an open circuit is ``open_ms``, and doubles with each trip in a row, up to ``max_open_ms``. Trips are in a
row until the circuit closes.

Times are milliseconds of one clock that need not start anywhere in particular; a step back of it is no time at all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

from converge_core.llm.policies import CircuitBreakerConfig, CircuitState


class CallResult(StrEnum):
    """How an admitted call ended, as far as it speaks of the backend; an abandoned one says nothing."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True)
class Breaker:
    """The circuit of one backend.

    ``since_ms`` is when the state began or, half-open, when a probe was last let in. ``failures`` are the
    ones in a row while closed; ``successes`` and ``probes`` (under way) count while half-open. ``trips`` are the times
    that it has opened since it was last closed.
    """

    state: CircuitState = CircuitState.CLOSED
    epoch: int = 0
    since_ms: int = 0
    failures: int = 0
    successes: int = 0
    probes: int = 0
    trips: int = 0

    def enter(self, state: CircuitState, now_ms: int) -> Breaker:
        """Return the breaker at the beginning of a new epoch: one trip further if it opens, with none if it closes."""
        trips = 0 if state is CircuitState.CLOSED else self.trips + (state is CircuitState.OPEN)
        return Breaker(state, self.epoch + 1, now_ms, trips=trips)


class Permit(NamedTuple):
    """Leave to make one call; it is handed back to `settle`."""

    epoch: int


class Admission(NamedTuple):
    """The answer to a call that asks: a permit, or none.

    ``retry_after_ms`` is how long an open circuit stays open; None where a probe that is under way will tell.
    """

    breaker: Breaker
    permit: Permit | None
    retry_after_ms: int | None = None


def admit(breaker: Breaker, config: CircuitBreakerConfig, now_ms: int) -> Admission:
    """Decide whether a call may be made now."""
    if breaker.state is CircuitState.CLOSED:
        return Admission(breaker, Permit(breaker.epoch))
    elapsed = max(0, now_ms - breaker.since_ms)
    if breaker.state is CircuitState.OPEN:
        window_ms = config.window_ms(breaker.trips)
        if elapsed < window_ms:
            return Admission(breaker, None, window_ms - elapsed)
        breaker = breaker.enter(CircuitState.HALF_OPEN, now_ms)
    elif breaker.probes >= config.half_open_probes:
        if elapsed < config.probe_lease_ms:
            return Admission(breaker, None)
        breaker = breaker.enter(CircuitState.HALF_OPEN, now_ms)
    return Admission(replace(breaker, probes=breaker.probes + 1, since_ms=now_ms), Permit(breaker.epoch))


def settle(breaker: Breaker, config: CircuitBreakerConfig, permit: Permit, result: CallResult, now_ms: int) -> Breaker:
    """Take the result of an admitted call into account."""
    if permit.epoch != breaker.epoch:
        return breaker
    if breaker.state is CircuitState.CLOSED:
        return _settle_closed(breaker, config, result, now_ms)
    if result is CallResult.FAILED:
        return breaker.enter(CircuitState.OPEN, now_ms)
    successes = breaker.successes + (result is CallResult.SUCCEEDED)
    if successes >= config.success_threshold:
        return breaker.enter(CircuitState.CLOSED, now_ms)
    return replace(breaker, successes=successes, probes=max(0, breaker.probes - 1))


def _settle_closed(breaker: Breaker, config: CircuitBreakerConfig, result: CallResult, now_ms: int) -> Breaker:
    if result is CallResult.ABANDONED:
        return breaker
    if result is CallResult.SUCCEEDED:
        return replace(breaker, failures=0)
    if breaker.failures + 1 >= config.failure_threshold:
        return breaker.enter(CircuitState.OPEN, now_ms)
    return replace(breaker, failures=breaker.failures + 1)
