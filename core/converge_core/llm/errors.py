"""What can go wrong with a backend. The type decides what is to be done about it, never the words of a message.

An adapter maps what it meets (an SDK's exception, an HTTP status) to one of these types, once. ``retryable`` says that
the same request may succeed a little later; ``overload`` that the backend itself is in trouble.

``billed`` says that the call may have to be paid for all the same. Every type has one `CallOutcome`, the word by which
the ledger and the capacity of providers know it.

| met by the adapter                     | type                 | outcome         | retryable | overload | billed |
|----------------------------------------|----------------------|-----------------|-----------|----------|--------|
| rate limit, 429                        | RateLimited          | rate_limited    | yes       | yes      | no     |
| quota or credit used up                | QuotaExhausted       | quota           | no        | no       | no     |
| 500, 503, 529, overloaded              | Unavailable          | overloaded      | yes       | yes      | no     |
| no answer in time                      | BackendTimeout       | timeout         | yes       | yes      | yes    |
| connection lost, 502, 504              | NetworkFailed        | network         | yes       | no       | yes    |
| 400 and its kin                        | InvalidRequest       | invalid_request | no        | no       | no     |
| 401, 403                               | AuthenticationFailed | auth            | no        | no       | no     |
| the model declines to answer           | Refused              | refusal         | no        | no       | yes    |
| the answer ends at the token limit     | Truncated            | truncated       | no        | no       | yes    |
| an empty answer, anything else         | ExecutionFailed      | failed          | no        | no       | yes    |
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from converge_core.context.allowance import Usage
from converge_core.errors import ConvergeError


class CallOutcome(StrEnum):
    """How a call of a backend ended, in a word."""

    SUCCESS = "success"
    REFUSAL = "refusal"
    TRUNCATED = "truncated"
    RATE_LIMITED = "rate_limited"
    QUOTA = "quota"
    OVERLOADED = "overloaded"
    AUTH = "auth"
    INVALID_REQUEST = "invalid_request"
    NETWORK = "network"
    TIMEOUT = "timeout"
    INVALID_OUTPUT = "invalid_output"
    FAILED = "failed"
    ABORTED = "aborted"


class BackendError(ConvergeError):
    """The root of what a backend may fail with. ``backend`` is its id, ``reason`` a sentence.

    ``usage`` is what the call has used, where the backend said so: a refusal is paid for like an answer.
    """

    outcome: ClassVar[CallOutcome] = CallOutcome.FAILED
    retryable: ClassVar[bool] = False
    overload: ClassVar[bool] = False
    billed: ClassVar[bool] = True
    usage: Usage | None = None

    def __init__(self, backend: str, reason: str) -> None:
        super().__init__(backend, reason)
        self.backend, self.reason = backend, reason

    def __str__(self) -> str:
        return f"backend {self.backend!r}: {self.reason}"


class InvalidRequest(BackendError):
    """The backend does not accept the request; the same request will not fare better."""

    outcome = CallOutcome.INVALID_REQUEST
    billed = False


class AuthenticationFailed(BackendError):
    """The backend does not know the key, or the key may not do this."""

    outcome = CallOutcome.AUTH
    billed = False


class ExecutionFailed(BackendError):
    """The backend took the request and failed, for a reason that time does not mend."""


class NetworkFailed(BackendError):
    """The way to the backend broke: of the backend itself this says nothing."""

    outcome = CallOutcome.NETWORK
    retryable = True


class Unavailable(BackendError):
    """The backend says that it cannot serve now."""

    outcome = CallOutcome.OVERLOADED
    retryable = True
    overload = True
    billed = False


class Refused(BackendError):
    """The model declines to answer. Asking another one instead would be shopping for consent."""

    outcome = CallOutcome.REFUSAL


class Truncated(BackendError):
    """The answer ended at the limit of its tokens, and is no answer."""

    outcome = CallOutcome.TRUNCATED


class QuotaExhausted(BackendError):
    """What was paid for is used up; ``retry_after_ms`` is when there is more, where the backend says so."""

    outcome = CallOutcome.QUOTA
    billed = False

    def __init__(self, backend: str, retry_after_ms: int | None = None) -> None:
        super().__init__(backend, f"its quota is used up{_wait(retry_after_ms)}")
        self.args = (backend, retry_after_ms)
        self.retry_after_ms = retry_after_ms


class RateLimited(BackendError):
    """The backend takes no more requests for now; ``retry_after_ms`` is the wait that it asks for, if it does."""

    outcome = CallOutcome.RATE_LIMITED
    retryable = True
    overload = True
    billed = False

    def __init__(self, backend: str, retry_after_ms: int | None = None) -> None:
        super().__init__(backend, f"rate limited{_wait(retry_after_ms)}")
        self.args = (backend, retry_after_ms)
        self.retry_after_ms = retry_after_ms


class BackendTimeout(BackendError):
    """No answer came within ``deadline_ms``; the call was given up after ``elapsed_ms``."""

    outcome = CallOutcome.TIMEOUT
    retryable = True
    overload = True

    def __init__(self, backend: str, deadline_ms: int, elapsed_ms: int) -> None:
        super().__init__(backend, f"no answer within {deadline_ms} ms, given up after {elapsed_ms} ms")
        self.args = (backend, deadline_ms, elapsed_ms)
        self.deadline_ms, self.elapsed_ms = deadline_ms, elapsed_ms


class UnsupportedCapability(BackendError):
    """The request needs what the backend cannot do."""

    outcome = CallOutcome.INVALID_REQUEST
    billed = False

    def __init__(self, backend: str, capability: str) -> None:
        super().__init__(backend, f"does not offer {capability}")
        self.args = (backend, capability)
        self.capability = capability


class BudgetExceeded(BackendError):
    """The answer used more of a resource than the request allowed."""

    def __init__(self, backend: str, resource: str, limit: int, used: int) -> None:
        super().__init__(backend, f"{resource}: {used} used, {limit} allowed")
        self.args = (backend, resource, limit, used)
        self.resource, self.limit, self.used = resource, limit, used


class ContractFailed(BackendError):
    """The answer breaks a contract that the request requires."""

    outcome = CallOutcome.INVALID_OUTPUT

    def __init__(self, backend: str, contract: str, diagnostics: str) -> None:
        super().__init__(backend, f"contract {contract!r} failed: {diagnostics}")
        self.args = (backend, contract, diagnostics)
        self.contract, self.diagnostics = contract, diagnostics


class CircuitOpen(BackendError):
    """The backend was not called: its circuit is open, for ``retry_after_ms`` where that is known."""

    outcome = CallOutcome.OVERLOADED
    billed = False

    def __init__(self, backend: str, retry_after_ms: int | None = None) -> None:
        super().__init__(backend, f"its circuit is open{_wait(retry_after_ms)}")
        self.args = (backend, retry_after_ms)
        self.retry_after_ms = retry_after_ms


class Retried(BackendError):
    """All ``attempts`` were made, and the ``last`` of them failed like this."""

    def __init__(self, backend: str, attempts: int, last: BackendError) -> None:
        super().__init__(backend, f"{attempts} attempts; the last one: {last.reason}")
        self.args = (backend, attempts, last)
        self.attempts, self.last = attempts, last


class StreamAborted(ConvergeError):
    """Whoever was told an answer as it came does not hear any more: no fault of the backend, and nobody else's turn.

    A `converge_core.llm.backend.Listener` raises it.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the answer was cut off: {self.reason}"


class NoBackendFits(ConvergeError):
    """No candidate satisfies the criteria. ``refusals`` are the candidates' ids, each with the reasons against it."""

    def __init__(self, provider: str | None, refusals: tuple[tuple[str, tuple[str, ...]], ...]) -> None:
        super().__init__(provider, refusals)
        self.provider, self.refusals = provider, refusals

    def __str__(self) -> str:
        asked = "" if self.provider is None else f" for provider {self.provider}"
        lines = (f"\n  {backend}: {'; '.join(reasons)}" for backend, reasons in self.refusals)
        return f"no backend satisfies the selection criteria{asked}{''.join(lines)}"


class CapacityError(ConvergeError):
    """What is known of the providers cannot be read or kept. ``place`` is where it is, ``reason`` a sentence."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(place, reason)
        self.place, self.reason = place, reason

    def __str__(self) -> str:
        return f"capacity of the providers, {self.place}: {self.reason}"


def _wait(retry_after_ms: int | None) -> str:
    return "" if retry_after_ms is None else f", try again in {retry_after_ms} ms"
