"""What can go wrong with a backend. The type decides what is to be done about it, never the words of a message.

An adapter maps what it meets (an SDK's exception, an HTTP status) to one of these types, once. ``retryable`` says that
the same request may succeed a little later; ``overload`` that the backend itself is in trouble.

| met by the adapter                     | type                 | retryable | overload |
|----------------------------------------|----------------------|-----------|----------|
| rate limit, 429                        | RateLimited          | yes       | yes      |
| 503, 529, overloaded                   | Unavailable          | yes       | yes      |
| no answer in time                      | BackendTimeout       | yes       | yes      |
| connection lost, 502, 504              | NetworkFailed        | yes       | no       |
| 400 and its kin                        | InvalidRequest       | no        | no       |
| 401, 403                               | AuthenticationFailed | no        | no       |
| anything else                          | ExecutionFailed      | no        | no       |
"""

from __future__ import annotations

from typing import ClassVar

from converge_core.errors import ConvergeError


class BackendError(ConvergeError):
    """The root of what a backend may fail with. ``backend`` is its id, ``reason`` a sentence."""

    retryable: ClassVar[bool] = False
    overload: ClassVar[bool] = False

    def __init__(self, backend: str, reason: str) -> None:
        super().__init__(backend, reason)
        self.backend, self.reason = backend, reason

    def __str__(self) -> str:
        return f"backend {self.backend!r}: {self.reason}"


class InvalidRequest(BackendError):
    """The backend does not accept the request; the same request will not fare better."""


class AuthenticationFailed(BackendError):
    """The backend does not know the key, or the key may not do this."""


class ExecutionFailed(BackendError):
    """The backend took the request and failed, for a reason that time does not mend."""


class NetworkFailed(BackendError):
    """The way to the backend broke: of the backend itself this says nothing."""

    retryable = True


class Unavailable(BackendError):
    """The backend says that it cannot serve now."""

    retryable = True
    overload = True


class RateLimited(BackendError):
    """The backend takes no more requests for now; ``retry_after_ms`` is the wait that it asks for, if it does."""

    retryable = True
    overload = True

    def __init__(self, backend: str, retry_after_ms: int | None = None) -> None:
        super().__init__(backend, f"rate limited{_wait(retry_after_ms)}")
        self.args = (backend, retry_after_ms)
        self.retry_after_ms = retry_after_ms


class BackendTimeout(BackendError):
    """No answer came within ``deadline_ms``; the call was given up after ``elapsed_ms``."""

    retryable = True
    overload = True

    def __init__(self, backend: str, deadline_ms: int, elapsed_ms: int) -> None:
        super().__init__(backend, f"no answer within {deadline_ms} ms, given up after {elapsed_ms} ms")
        self.args = (backend, deadline_ms, elapsed_ms)
        self.deadline_ms, self.elapsed_ms = deadline_ms, elapsed_ms


class UnsupportedCapability(BackendError):
    """The request needs what the backend cannot do."""

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

    def __init__(self, backend: str, contract: str, diagnostics: str) -> None:
        super().__init__(backend, f"contract {contract!r} failed: {diagnostics}")
        self.args = (backend, contract, diagnostics)
        self.contract, self.diagnostics = contract, diagnostics


class CircuitOpen(BackendError):
    """The backend was not called: its circuit is open, for ``retry_after_ms`` where that is known."""

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


class NoBackendFits(ConvergeError):
    """No candidate satisfies the criteria. ``refusals`` are the candidates' ids, each with the reasons against it."""

    def __init__(self, provider: str | None, refusals: tuple[tuple[str, tuple[str, ...]], ...]) -> None:
        super().__init__(provider, refusals)
        self.provider, self.refusals = provider, refusals

    def __str__(self) -> str:
        asked = "" if self.provider is None else f" for provider {self.provider}"
        lines = (f"\n  {backend}: {'; '.join(reasons)}" for backend, reasons in self.refusals)
        return f"no backend satisfies the selection criteria{asked}{''.join(lines)}"


def _wait(retry_after_ms: int | None) -> str:
    return "" if retry_after_ms is None else f", try again in {retry_after_ms} ms"
