"""A backend for tests, which says what its script says and nothing else.

The steps are taken one after the other, each an answer or a failure. A request beyond the last step is an error, and
so is a step that nobody came to when the script is ended, by its name: a test that passes has run as it was written.
That error is no `BackendError`, so no fallback hides it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from converge_adapters.backends.offline import tell, words
from converge_adapters.backends.structured import check, require_schema
from converge_core.context.allowance import Usage
from converge_core.errors import MisuseError
from converge_core.ledger.canonical import JsonValue, canonical
from converge_core.llm.backend import BackendRequest, BackendResponse, Listener
from converge_core.llm.errors import (
    AuthenticationFailed,
    BackendError,
    BackendTimeout,
    CallOutcome,
    ExecutionFailed,
    InvalidRequest,
    NetworkFailed,
    QuotaExhausted,
    RateLimited,
    Refused,
    Truncated,
    Unavailable,
)
from converge_core.llm.profiles import ProviderProfile

_FAILURES: Mapping[CallOutcome, type[BackendError]] = {
    CallOutcome.REFUSAL: Refused,
    CallOutcome.TRUNCATED: Truncated,
    CallOutcome.OVERLOADED: Unavailable,
    CallOutcome.AUTH: AuthenticationFailed,
    CallOutcome.INVALID_REQUEST: InvalidRequest,
    CallOutcome.NETWORK: NetworkFailed,
    CallOutcome.FAILED: ExecutionFailed,
}
FAILURES = frozenset({*_FAILURES, CallOutcome.RATE_LIMITED, CallOutcome.QUOTA, CallOutcome.TIMEOUT})
"""The outcomes that a step can have, beside an answer."""


@dataclass(frozen=True, slots=True)
class Step:
    """One answer, or one failure. ``usage`` is what it takes; None: a token a word."""

    name: str
    answer: str | BackendError
    usage: Usage | None = None


def said(value: JsonValue) -> str:
    """Return a value as a model would answer it: as JSON."""
    return canonical(value)


def failure(backend: str, outcome: CallOutcome, retry_after_ms: int | None = None) -> BackendError:
    """Return the failure that has an outcome. Raises MisuseError for an outcome that none has."""
    match outcome:
        case CallOutcome.RATE_LIMITED:
            return RateLimited(backend, retry_after_ms)
        case CallOutcome.QUOTA:
            return QuotaExhausted(backend, retry_after_ms)
        case CallOutcome.TIMEOUT:
            return BackendTimeout(backend, 0, 0)
        case _ if outcome in _FAILURES:
            return _FAILURES[outcome](backend, "as the script has it")
    raise MisuseError(f"a step of a script cannot end with {outcome.value!r}")


class ScriptedBackend:
    """Takes its steps one after the other, whoever asks."""

    def __init__(self, profile: ProviderProfile, steps: Sequence[Step]) -> None:
        self._profile = profile
        self._steps = tuple(steps)
        self._next = 0

    @property
    def profile(self) -> ProviderProfile:
        """What is known of it."""
        return self._profile

    async def count_tokens(self, request: BackendRequest) -> int:
        """Return the words of the prompt."""
        return sum(words(message.content) for message in request.messages)

    async def complete(self, request: BackendRequest, listen: Listener | None = None) -> BackendResponse:
        """Take the next step. Raises MisuseError where there is none, and BackendError where the step is one."""
        require_schema(self._profile.id, request)
        if self._next == len(self._steps):
            last = f", the last of which is {self._steps[-1].name!r}" if self._steps else ""
            raise MisuseError(
                f"the script of {self._profile.id!r} has {len(self._steps)} steps{last}, and is asked for another"
            )
        step = self._steps[self._next]
        self._next += 1
        if isinstance(step.answer, BackendError):
            raise step.answer
        if listen is not None:
            await tell(step.answer, listen)
        output, report = check(request, step.answer)
        usage = step.usage or Usage(await self.count_tokens(request), words(step.answer))
        return BackendResponse(
            self._profile.id, self._profile.model, step.answer, output, contract_report=report, usage=usage
        )

    async def aclose(self) -> None:
        """Do nothing: there is nothing to give back, and the script goes on where it is."""

    def end(self) -> None:
        """End the script. Raises MisuseError that names the steps nobody came to."""
        left = [repr(step.name) for step in self._steps[self._next :]]
        if left:
            raise MisuseError(f"the script of {self._profile.id!r} has steps that nobody came to: {', '.join(left)}")
