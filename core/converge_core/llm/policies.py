"""How often a failing backend is asked again, and when it is left alone: policies as data, applied by pure functions.

`RetryPolicy` says whether and when the next attempt is due; the driver, which has the clock, waits. Jitter keeps
clients that failed together from returning together. No dice are rolled for it: it comes from the digest of a seed that
the caller chooses (a run and a call, say), so that a call waits the same on a replay, and different calls differently.
The breaker's transitions are in `converge_core.llm.breaker`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from converge_core.errors import MisuseError
from converge_core.llm.errors import BackendError, RateLimited

_MOST_DOUBLINGS = 10
_MOST_TRIPS = 32  # that count: however short the window, it is as long as it gets by then
_NEVER = 2**32 - 1


class BackoffStrategy(StrEnum):
    """How the wait grows from one attempt to the next."""

    FIXED = "fixed"
    LINEAR = "linear"
    EXPONENTIAL = "exponential"


class CircuitState(StrEnum):
    """Whether calls go through: all of them, none, or a few to see."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a call is attempted, and the wait between attempts, in milliseconds.

    Raises MisuseError for less than one attempt, a negative wait, or a jitter outside 0 to 100 percent.
    """

    max_attempts: int = 3
    initial_delay_ms: int = 100
    max_delay_ms: int = 10_000
    backoff: BackoffStrategy = BackoffStrategy.EXPONENTIAL
    jitter_percent: int = 20

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise MisuseError(f"retry: at least one attempt is needed, not {self.max_attempts}")
        if self.initial_delay_ms < 0 or self.max_delay_ms < 0:
            raise MisuseError("retry: a wait is not negative")
        if not 0 <= self.jitter_percent <= 100:
            raise MisuseError(f"retry: jitter is 0 to 100 percent, not {self.jitter_percent}")

    @classmethod
    def no_retry(cls) -> RetryPolicy:
        """Return the policy of a single attempt."""
        return cls(max_attempts=1)

    @classmethod
    def aggressive(cls) -> RetryPolicy:
        """Return the policy of five attempts that start soon and back off far."""
        return cls(max_attempts=5, initial_delay_ms=50, max_delay_ms=30_000, jitter_percent=25)

    def should_retry(self, attempts: int) -> bool:
        """Say whether another attempt is left after so many."""
        return attempts < self.max_attempts

    def base_delay_ms(self, attempt: int) -> int:
        """Return the wait after an attempt (they count from 1) before jitter; there is none before the first."""
        if attempt < 1:
            return 0
        growth = {
            BackoffStrategy.FIXED: 1,
            BackoffStrategy.LINEAR: attempt,
            BackoffStrategy.EXPONENTIAL: 1 << min(attempt - 1, _MOST_DOUBLINGS),
        }
        return min(self.initial_delay_ms * growth[self.backoff], self.max_delay_ms)

    def delay_for_attempt(self, attempt: int, seed: str) -> int:
        """Return the wait after an attempt: the base, less up to ``jitter_percent`` of it as the seed has it."""
        base = self.base_delay_ms(attempt)
        digest = hashlib.sha256(f"{seed}\n{attempt}".encode()).digest()
        return base - int.from_bytes(digest[:8]) % (base * self.jitter_percent // 100 + 1)

    def delay_after(self, error: BackendError, attempts: int, seed: str) -> int | None:
        """Return the wait before the next attempt, or None when there is to be none.

        A wait that the backend asks for is kept; where it is longer than ``max_delay_ms``, the call is given up.
        """
        if not error.retryable or not self.should_retry(attempts):
            return None
        asked = (error.retry_after_ms or 0) if isinstance(error, RateLimited) else 0
        return None if asked > self.max_delay_ms else max(asked, self.delay_for_attempt(attempts, seed))


@dataclass(frozen=True, slots=True)
class CircuitBreakerConfig:
    """When a circuit opens, for how long, and what closes it again. Times are in milliseconds.

    ``failure_threshold`` failures in a row open it. After ``open_ms`` it is half-open: ``half_open_probes`` calls at a
    time may try, ``success_threshold`` successes close it, one failure opens it again, for twice as long as before and
    ``max_open_ms`` at most. Probes that say nothing for ``probe_lease_ms`` are lost. Raises MisuseError for a negative
    ``open_ms``, for a ``max_open_ms`` below it, and for anything else below 1.
    """

    failure_threshold: int = 5
    success_threshold: int = 2
    open_ms: int = 30_000
    half_open_probes: int = 3
    probe_lease_ms: int = 300_000
    max_open_ms: int = 600_000

    def __post_init__(self) -> None:
        if min(self.failure_threshold, self.success_threshold, self.half_open_probes, self.probe_lease_ms) < 1:
            raise MisuseError("circuit breaker: thresholds, probes and their lease are at least 1")
        if self.open_ms < 0:
            raise MisuseError(f"circuit breaker: open_ms is a time, not {self.open_ms}")
        if self.max_open_ms < self.open_ms:
            raise MisuseError(f"circuit breaker: max_open_ms is {self.open_ms} or more, not {self.max_open_ms}")

    def window_ms(self, trips: int) -> int:
        """Return for how long the circuit is open after so many trips in a row."""
        return min(self.open_ms << min(max(trips - 1, 0), _MOST_TRIPS), self.max_open_ms)

    @classmethod
    def sensitive(cls) -> CircuitBreakerConfig:
        """Return the configuration that opens early and probes with one call."""
        return cls(failure_threshold=3, success_threshold=1, open_ms=15_000, half_open_probes=1)

    @classmethod
    def tolerant(cls) -> CircuitBreakerConfig:
        """Return the configuration that bears much before it opens, and then rests longer."""
        return cls(failure_threshold=10, success_threshold=3, open_ms=60_000, half_open_probes=5)

    @classmethod
    def disabled(cls) -> CircuitBreakerConfig:
        """Return the configuration whose thresholds nobody reaches."""
        return cls(failure_threshold=_NEVER, success_threshold=1, open_ms=0, half_open_probes=_NEVER)
