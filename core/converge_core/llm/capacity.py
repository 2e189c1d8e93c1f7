"""The capacity of providers: who can be asked right now, and what is learned from asking (PCSF).

Everything that asks a provider goes through one `Capacity`: it is asked for leave before each call and told of each
outcome after it, so there is one circuit for a provider, and whoever finds it open was spared by somebody else's
failure.

`ProviderCapacityState` is what is known of a provider, as a frozen value; its transitions are pure, and the time is an
argument. What an outcome says of the provider is one table, `SIGNALS`. A success closes its circuit, failures in a row
open it; a quota that is used up is waited for, as long as the server asks, and then one probe finds out. What says
nothing of the provider gives its permit back, and leaves everything else as it was.

A `CapacityStore` keeps the values. It changes one by a function from the old to the new, in one atomic step, so that it
may be a file which processes share. The times are those of the day (milliseconds since 1970), for the same reason; what
a clock wrote that has been set back since then counts as written just now (`ProviderCapacityState.as_of`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import ClassVar, NamedTuple, Protocol, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from converge_core.context.payloads import one_line
from converge_core.errors import MisuseError
from converge_core.ledger.canonical import JsonValue, canonical
from converge_core.ledger.events import printable
from converge_core.llm.breaker import Breaker, CallResult, Permit, admit, settle
from converge_core.llm.errors import CallOutcome
from converge_core.llm.policies import CircuitBreakerConfig, CircuitState

A = TypeVar("A")

_NO_PERMIT = Permit(-1)


class ProviderState(StrEnum):
    """What is known of a provider now."""

    AVAILABLE = "available"
    DEGRADED = "degraded"
    QUOTA_HIT = "quota_hit"
    CIRCUIT_OPEN = "circuit_open"
    UNAVAILABLE = "unavailable"
    NO_KEY = "no_key"


class DreamerTier(StrEnum):
    """Whose request it is, by what they are entitled to; lowest first."""

    WANDERER = "wanderer"
    DEEP_DREAMER = "deep_dreamer"
    SYNTHESASIA_GUILD = "synthesasia_guild"

    @property
    def rank(self) -> int:
        """The place in the order, from 0 for the lowest."""
        return list(DreamerTier).index(self)


class Leave(NamedTuple):
    """The answer to who wants to ask a provider: a permit for one call, or none and the reason.

    ``retry_after_ms`` is when asking again makes sense, where that is known.
    """

    permit: Permit | None
    state: ProviderState
    reason: str = ""
    retry_after_ms: int | None = None


class Signal(StrEnum):
    """What the end of a call says of the provider that was asked."""

    SUCCESS = "success"
    FAILURE = "failure"
    QUOTA_HIT = "quota_hit"
    NOTHING = "nothing"


SIGNALS: Mapping[CallOutcome, Signal] = {
    CallOutcome.SUCCESS: Signal.SUCCESS,
    CallOutcome.OVERLOADED: Signal.FAILURE,
    CallOutcome.NETWORK: Signal.FAILURE,
    CallOutcome.TIMEOUT: Signal.FAILURE,
    CallOutcome.FAILED: Signal.FAILURE,  # an empty answer among them
    CallOutcome.AUTH: Signal.FAILURE,
    CallOutcome.QUOTA: Signal.QUOTA_HIT,
    CallOutcome.RATE_LIMITED: Signal.QUOTA_HIT,
    CallOutcome.REFUSAL: Signal.NOTHING,
    CallOutcome.TRUNCATED: Signal.NOTHING,
    CallOutcome.INVALID_REQUEST: Signal.NOTHING,
    CallOutcome.INVALID_OUTPUT: Signal.NOTHING,
    CallOutcome.ABORTED: Signal.NOTHING,
}
"""Which outcome counts how. None is missing: every attempt ends in one of these."""

_RESULTS = {
    Signal.SUCCESS: CallResult.SUCCEEDED,
    Signal.FAILURE: CallResult.FAILED,
    Signal.NOTHING: CallResult.ABANDONED,
}


@dataclass(frozen=True, slots=True)
class CapacityPolicy:
    """How a provider is given up and asked again. Times are in milliseconds.

    ``quota_wait_ms`` is the wait for a quota where the server names none, ``max_quota_wait_ms`` the longest one that it
    can ask for. ``ema_alpha`` is the weight of the newest latency in the moving average, above 0 and up to 1. Raises
    MisuseError for what is outside these bounds.
    """

    circuit: CircuitBreakerConfig = CircuitBreakerConfig(failure_threshold=3, success_threshold=1, half_open_probes=1)
    quota_wait_ms: int = 60_000
    max_quota_wait_ms: int = 86_400_000
    ema_alpha: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.quota_wait_ms <= self.max_quota_wait_ms:
            raise MisuseError("capacity: quota_wait_ms is a time, and max_quota_wait_ms no shorter one")
        if not 0 < self.ema_alpha <= 1:
            raise MisuseError(f"capacity: ema_alpha is above 0 and up to 1, not {self.ema_alpha}")


DEFAULT_POLICY = CapacityPolicy()
"""Three failures open the circuit, for 30 s, doubling to 600 s; one probe; a quota is waited for for 60 s."""

ALWAYS = CapacityPolicy(CircuitBreakerConfig.disabled(), quota_wait_ms=0, max_quota_wait_ms=0)
"""The policy of what can always be asked, whatever has become of the calls before."""


@dataclass(frozen=True, slots=True)
class ProviderCapacityState:
    """What is known of a provider. What nobody has observed is None.

    ``error_count`` are the failures since the last success, ``success_count`` all successes. ``latency_ema_ms`` is the
    moving average of the latency of successes, ``latency_max_ms`` the longest one. ``quota_since_ms`` and
    ``quota_wait_ms`` say when a quota was found used up, and how long it is to be waited for.

    ``env_key`` is the variable that holds the provider's key (None: it needs none), ``key_present`` whether it does, as
    found at ``checked_at_ms``. That is true of one process: the registry of the process fills it in, and a store keeps
    none of it.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    provider_id: str
    breaker: Breaker = Breaker()
    latency_ema_ms: float | None = None
    latency_max_ms: int | None = None
    error_count: int = 0
    success_count: int = 0
    last_success_at_ms: int | None = None
    last_error_at_ms: int | None = None
    last_error_msg: str = ""
    quota_since_ms: int | None = None
    quota_wait_ms: int = 0
    env_key: str | None = None
    key_present: bool | None = None
    checked_at_ms: int | None = None

    @property
    def state(self) -> ProviderState:
        """What it comes to. A circuit that has been open, or a quota used up, is one until a call has succeeded."""
        if self.env_key is not None and not self.key_present:
            return ProviderState.UNAVAILABLE if self.key_present is None else ProviderState.NO_KEY
        if self.quota_since_ms is not None:
            return ProviderState.QUOTA_HIT
        if self.breaker.state is not CircuitState.CLOSED:
            return ProviderState.CIRCUIT_OPEN
        return ProviderState.DEGRADED if self.error_count else ProviderState.AVAILABLE

    def is_routable(self, now_ms: int, policy: CapacityPolicy = DEFAULT_POLICY) -> bool:
        """Say whether a call that asked now would be let through."""
        return self.admitted(now_ms, policy)[1].permit is not None

    def window_left_ms(self, now_ms: int, policy: CapacityPolicy = DEFAULT_POLICY) -> int:
        """Return how long the provider is not to be asked for, as far as that is known."""
        return self.admitted(now_ms, policy)[1].retry_after_ms or 0

    def as_of(self, now_ms: int) -> ProviderCapacityState:
        """Return the state with no window that begins after now; they were written by a clock that was set back."""
        breaker = replace(self.breaker, since_ms=min(self.breaker.since_ms, now_ms))
        since_ms = None if self.quota_since_ms is None else min(self.quota_since_ms, now_ms)
        return replace(self, breaker=breaker, quota_since_ms=since_ms)

    def admitted(self, now_ms: int, policy: CapacityPolicy = DEFAULT_POLICY) -> tuple[ProviderCapacityState, Leave]:
        """Return the state after a call has asked, and the answer to it."""
        seen, state = self.as_of(now_ms), self.state
        if state is ProviderState.NO_KEY:
            return seen, Leave(None, state, f"{self.env_key} is not set")
        if state is ProviderState.UNAVAILABLE:
            return seen, Leave(None, state, "nobody has looked for its key yet")
        if (left_ms := seen._quota_left_ms(now_ms)) > 0:
            return seen, Leave(None, state, f"its quota is used up, try again in {left_ms} ms", left_ms)
        breaker, permit, left_ms_open = admit(seen.breaker, policy.circuit, now_ms)
        if permit is not None:
            return replace(seen, breaker=breaker), Leave(permit, state)
        waits = "a probe is under way" if left_ms_open is None else f"try again in {left_ms_open} ms"
        return seen, Leave(None, state, f"its circuit is open, {waits}", left_ms_open)

    def settled(
        self,
        permit: Permit,
        outcome: CallOutcome,
        latency_ms: int,
        now_ms: int,
        retry_after_ms: int | None = None,
        detail: str = "",
        policy: CapacityPolicy = DEFAULT_POLICY,
    ) -> ProviderCapacityState:
        """Return the state after a call has ended.

        A permit from before the circuit changed its state moves it no more, but the call is counted all the same.
        """
        seen, signal = self.as_of(now_ms), SIGNALS[outcome]
        if signal is Signal.QUOTA_HIT:
            seen = seen._waiting(permit, retry_after_ms, now_ms, policy)
        else:
            seen = replace(seen, breaker=settle(seen.breaker, policy.circuit, permit, _RESULTS[signal], now_ms))
        if signal is Signal.SUCCESS:
            return seen._succeeded(latency_ms, now_ms, policy)
        if signal is Signal.NOTHING:
            return seen
        said = printable(f"{outcome}: {detail}" if detail else outcome.value)
        errors = seen.error_count + (signal is Signal.FAILURE)
        return replace(seen, error_count=errors, last_error_at_ms=now_ms, last_error_msg=said)

    def reported(
        self,
        outcome: CallOutcome,
        latency_ms: int,
        now_ms: int,
        retry_after_ms: int | None = None,
        detail: str = "",
        policy: CapacityPolicy = DEFAULT_POLICY,
    ) -> ProviderCapacityState:
        """Return the state after the report of a call that had no permit, as if it had asked and ended in this moment.

        Where it would not have been let through, it moves the circuit as little as one with an old permit.
        """
        seen, leave = self.admitted(now_ms, policy)
        return seen.settled(leave.permit or _NO_PERMIT, outcome, latency_ms, now_ms, retry_after_ms, detail, policy)

    def forgotten(self, now_ms: int) -> ProviderCapacityState:
        """Return the state of a provider of which nothing is known. Permits that are out count no more."""
        return ProviderCapacityState(self.provider_id, self.breaker.enter(CircuitState.CLOSED, now_ms))

    def to_json(self) -> dict[str, JsonValue]:
        """Return all fields, as JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: JsonValue) -> ProviderCapacityState:
        """Read what `to_json` has written. Raises ValueError, which names what is wrong."""
        return _read(_STATE, value)

    def _quota_left_ms(self, now_ms: int) -> int:
        return 0 if self.quota_since_ms is None else max(0, self.quota_since_ms + self.quota_wait_ms - now_ms)

    def _waiting(
        self, permit: Permit, asked_ms: int | None, now_ms: int, policy: CapacityPolicy
    ) -> ProviderCapacityState:
        """Return the state of waiting for a quota, after which the circuit is half-open.

        No wait that was asked for before is cut short. An open circuit stays so, and a probe that is out stays the one.
        """
        wait_ms = max(policy.quota_wait_ms if asked_ms is None else asked_ms, self._quota_left_ms(now_ms))
        breaker = self.breaker
        if breaker.state is CircuitState.CLOSED or permit.epoch == breaker.epoch:
            breaker = breaker.enter(CircuitState.HALF_OPEN, now_ms)
        wait_ms = min(wait_ms, policy.max_quota_wait_ms)
        return replace(self, breaker=breaker, quota_since_ms=now_ms, quota_wait_ms=wait_ms)

    def _succeeded(self, latency_ms: int, now_ms: int, policy: CapacityPolicy) -> ProviderCapacityState:
        average, alpha = self.latency_ema_ms, policy.ema_alpha
        over = self.breaker.state is CircuitState.CLOSED and not self._quota_left_ms(now_ms)
        return replace(
            self,
            success_count=self.success_count + 1,
            error_count=0,
            last_success_at_ms=now_ms,
            latency_ema_ms=float(latency_ms) if average is None else alpha * latency_ms + (1 - alpha) * average,
            latency_max_ms=max(latency_ms, self.latency_max_ms or 0),
            quota_since_ms=None if over else self.quota_since_ms,
            quota_wait_ms=0 if over else self.quota_wait_ms,
        )


@dataclass(frozen=True, slots=True)
class QuotaUse:
    """How much of a quota somebody has used in a period; periods are numbered."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    period: int = 0
    used: int = 0

    def to_json(self) -> dict[str, JsonValue]:
        """Return both, as JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: JsonValue) -> QuotaUse:
        """Read what `to_json` has written. Raises ValueError, which names what is wrong."""
        return _read(_USE, value)


_STATE = TypeAdapter(ProviderCapacityState)
_USE = TypeAdapter(QuotaUse)


def _read(adapter: TypeAdapter[A], value: JsonValue) -> A:
    try:
        return adapter.validate_json(canonical(value))
    except ValidationError as error:
        raise ValueError(one_line(error)) from None


class Consumption(NamedTuple):
    """The answer to who wants to do something that has a quota.

    ``remaining`` is how often it may be done after this, None without a limit. One that is not granted has a
    ``reason``, and ``retry_after_ms`` is how long it is until the next period, where that would help.
    """

    granted: bool
    remaining: int | None
    reason: str = ""
    retry_after_ms: int | None = None


class Quotas(Protocol):
    """Counts what users do that has a quota, and enforces it as it counts."""

    def consume(self, tier: str, action: str, user: str) -> Consumption:
        """Count that a user does something once more, if the quota of the tier allows it. Raises CapacityError."""
        ...


class CapacityStore(Protocol):
    """Keeps what is known of providers, and what has been used of quotas. All methods raise CapacityError."""

    def read(self) -> Mapping[str, ProviderCapacityState]:
        """Return the states that are known, by provider."""
        ...

    def update(self, provider: str, change: Callable[[ProviderCapacityState], tuple[ProviderCapacityState, A]]) -> A:
        """Put the state that ``change`` returns in the place of the one that it is given, and return its answer.

        That is one step: no other update of the provider, by whomever, falls in between. A provider of which nothing is
        known has a fresh state. ``change`` is pure, and may be called again; if it raises, nothing is changed.
        """
        ...

    def update_use(self, user: str, action: str, change: Callable[[QuotaUse], tuple[QuotaUse, A]]) -> A:
        """Do the same with what a user has used of the quota of an action."""
        ...

    def close(self) -> None:
        """Release what the store holds. Closing again does nothing; using a closed store is misuse."""
        ...


class Capacity(Protocol):
    """The providers of a process, or of all processes that share one file."""

    def chain(self, tier: DreamerTier = DreamerTier.WANDERER) -> tuple[str, ...]:
        """Return the providers that may be asked now, in the order in which they are to be."""
        ...

    def admit(self, provider: str) -> Leave:
        """Ask for leave to make one call. A permit is handed back to `settle`, whatever becomes of the call."""
        ...

    def settle(
        self,
        provider: str,
        permit: Permit,
        outcome: CallOutcome,
        latency_ms: int,
        retry_after_ms: int | None = None,
        detail: str = "",
    ) -> None:
        """Tell how a call ended. ``retry_after_ms`` is the wait that was asked for, ``detail`` is for people."""
        ...

    def snapshot(self, tier: DreamerTier = DreamerTier.WANDERER) -> Mapping[str, JsonValue]:
        """Return everything that is known, as JSON: what a status panel shows."""
        ...
