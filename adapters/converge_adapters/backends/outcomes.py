"""What a provider's failure means: every SDK error, status, code and stop reason becomes exactly one typed error.

The table of types is in `converge_core.llm.errors`; here is what leads to each. Three things are looked at, the most
telling first:

1. a code that says more than the status does (``insufficient_quota`` comes as a 429, and waiting does not help);
2. the status;
3. the class of the error. It decides where the status says nothing: a stream that fails half-way began with 200.

A provider's own message is not repeated. It may quote the prompt, or the key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from converge_adapters.ledgers.wall_clock import utc_now
from converge_core.context.allowance import MAX_AMOUNT, Usage
from converge_core.errors import ConvergeError, MisuseError
from converge_core.llm.backend import FinishReason
from converge_core.llm.errors import (
    AuthenticationFailed,
    BackendError,
    BackendTimeout,
    ExecutionFailed,
    InvalidRequest,
    NetworkFailed,
    QuotaExhausted,
    RateLimited,
    Refused,
    Truncated,
    Unavailable,
)

Failure = type[BackendError]
Ending = FinishReason | Failure

_MEANINGS: Mapping[Failure, tuple[str, ...]] = {
    QuotaExhausted: (
        "billing_error",
        "billing_hard_limit_reached",
        "billing_not_active",
        "contract_spend_limit_reached",
        "enforced_spend_limit_reached",
        "insufficient_balance",
        "insufficient_quota",
        "linked_organization_billing_unavailable",
        "linked_organization_spend_limit_reached",
    ),
    RateLimited: ("ramp_limit_exceeded", "rate_limit_exceeded"),
    Refused: (
        "bio_policy",
        "content_filter",
        "content_policy_violation",
        "image_content_policy_violation",
        "misalignment_policy_violation",
    ),
    AuthenticationFailed: ("invalid_api_key", "organization_on_hold", "unsupported_country_region_territory"),
    InvalidRequest: ("context_length_exceeded", "data_residency_mismatch", "invalid_prompt", "model_not_found"),
    NetworkFailed: ("vector_store_timeout",),
    Unavailable: ("server_error",),
}
_BY_CODE = {code: failure for failure, codes in _MEANINGS.items() for code in codes}

_BY_STATUS: Mapping[int, Failure] = {
    401: AuthenticationFailed,
    402: QuotaExhausted,
    403: AuthenticationFailed,
    408: NetworkFailed,
    429: RateLimited,
    499: NetworkFailed,
    501: InvalidRequest,
    502: NetworkFailed,
    504: NetworkFailed,
}

_BY_CLASS: Mapping[str, Failure] = {
    "api_error": Unavailable,
    "authentication_error": AuthenticationFailed,
    "conflict_error": InvalidRequest,
    "invalid_request_error": InvalidRequest,
    "memory_path_conflict_error": InvalidRequest,
    "memory_precondition_failed_error": InvalidRequest,
    "not_found_error": InvalidRequest,
    "overloaded_error": Unavailable,
    "permission_error": AuthenticationFailed,
    "rate_limit_error": RateLimited,
    "timeout_error": NetworkFailed,
}

ANTHROPIC_ENDINGS: Mapping[str, Ending] = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP_SEQUENCE,
    "max_tokens": Truncated,
    "model_context_window_exceeded": Truncated,
    "refusal": Refused,
    "pause_turn": ExecutionFailed,
    "tool_use": ExecutionFailed,
}
"""The stop reasons of Anthropic's Messages API. Tools are not offered to it, so it has none to use."""

RESPONSES_ENDINGS: Mapping[str, Ending] = {
    "completed": FinishReason.STOP,
    "max_output_tokens": Truncated,
    "content_filter": Refused,
    "refusal": Refused,
    "cancelled": ExecutionFailed,
    "in_progress": ExecutionFailed,
    "max_messages": ExecutionFailed,
    "queued": ExecutionFailed,
    "steered": ExecutionFailed,
}
"""The states of OpenAI's Responses API, and why an answer is incomplete; a failed one has an error code instead."""

CHAT_ENDINGS: Mapping[str, Ending] = {
    "stop": FinishReason.STOP,
    "length": Truncated,
    "content_filter": Refused,
    "refusal": Refused,
    "function_call": ExecutionFailed,
    "tool_calls": ExecutionFailed,
}
"""The finish reasons of Chat Completions."""

_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_HTTP_ERRORS = range(400, 600)
_WAIT_HEADERS = (("retry-after-ms", 1), ("retry-after", 1000))


def ending(endings: Mapping[str, Ending], backend: str, reason: str | None, usage: Usage) -> FinishReason:
    """Return how an answer ended, if it is one. Raises the BackendError that its end stands for, with its usage."""
    found = endings.get(reason or "")
    if isinstance(found, FinishReason):
        return found
    failure: BackendError
    if reason is None:
        failure = NetworkFailed(backend, "the answer breaks off")
    elif found is Refused:
        failure = Refused(backend, "the model declines to answer")
    elif found is Truncated:
        failure = Truncated(backend, "the answer ends at the limit of its tokens")
    else:
        failure = ExecutionFailed(backend, f"the answer ends for an unknown reason{_told((reason,))}")
    failure.usage = usage
    raise failure


def provider_failure(
    backend: str, status: int | None, codes: Iterable[str | None], retry_after_ms: int | None = None
) -> BackendError:
    """Return what a provider's failure means. ``codes`` are its own words for it, the most telling first."""
    known = [code for code in codes if code]
    number = next((int(code) for code in known if code.isdecimal() and int(code) in _HTTP_ERRORS), None)
    if status not in _HTTP_ERRORS:
        status = number
    found = next((_BY_CODE[code] for code in known if code in _BY_CODE), None) or _of_status(status)
    found = found or next((_BY_CLASS[code] for code in known if code in _BY_CLASS), ExecutionFailed)
    if issubclass(found, QuotaExhausted | RateLimited):
        return found(backend, retry_after_ms)
    return found(backend, f"{'the provider failed' if status is None else f'HTTP {status}'}{_told(known)}")


def _of_status(status: int | None) -> Failure | None:
    if status is None:
        return None
    return _BY_STATUS.get(status, Unavailable if status >= 500 else InvalidRequest)


def _told(codes: Iterable[str | None]) -> str:
    """Return the codes as they may be repeated: one that is no single word may be anything."""
    told = list(dict.fromkeys(code for code in codes if code and _WORD.fullmatch(code)))
    return f" ({', '.join(told)})" if told else ""


def retry_after_ms(headers: Mapping[str, str], now: datetime | None = None) -> int | None:
    """Return the wait that a response asks for, in milliseconds: given as such, in seconds, or as an HTTP date.

    A date is compared with the response's own, where it has one. RFC 9110, section 10.2.3.
    """
    for name, factor in _WAIT_HEADERS:
        if (value := headers.get(name, "").strip()) and (wait := _number(value)) is not None:
            return min(max(0, round(wait * factor)), MAX_AMOUNT)
    until = _date(headers.get("retry-after", ""))
    if until is None:
        return None
    since = _date(headers.get("date", "")) or now or utc_now()
    return max(0, round((until - since).total_seconds() * 1000))


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if abs(number) < MAX_AMOUNT else None  # nor is NaN


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def own_error(error: BaseException) -> ConvergeError | None:
    """Return the error of ours that is at the bottom of another, such as that of a cassette, if one is.

    A MisuseError is none: it says that an answer has numbers which cannot be.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ConvergeError) and not isinstance(seen, MisuseError):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None


def anthropic_failure(backend: str, error: Exception, deadline_ms: int, elapsed_ms: int) -> BackendError:
    """Return what an exception means that Anthropic's SDK let out."""
    import anthropic

    match error:
        case anthropic.APITimeoutError():
            return BackendTimeout(backend, deadline_ms, elapsed_ms)
        case anthropic.APIConnectionError():
            return NetworkFailed(backend, "the connection failed")
        case anthropic.APIStatusError():
            codes = (error.error_code, error.type)
            return provider_failure(backend, error.status_code, codes, retry_after_ms(error.response.headers))
        case anthropic.CredentialsError():
            return AuthenticationFailed(backend, "there is no key to be used")
    return _transport_failure(backend, error, deadline_ms, elapsed_ms)


def openai_failure(backend: str, error: Exception, deadline_ms: int, elapsed_ms: int) -> BackendError:
    """Return what an exception means that OpenAI's SDK let out."""
    import openai

    match error:
        case openai.APITimeoutError():
            return BackendTimeout(backend, deadline_ms, elapsed_ms)
        case openai.APIConnectionError():
            return NetworkFailed(backend, "the connection failed")
        case openai.APIStatusError():
            codes = (error.code, error.type)
            return provider_failure(backend, error.status_code, codes, retry_after_ms(error.response.headers))
        case openai.APIResponseValidationError():
            return _unreadable(backend, error)
        case openai.APIError():
            return provider_failure(backend, None, (error.code, error.type))
        case openai.LengthFinishReasonError():
            return Truncated(backend, "the answer ends at the limit of its tokens")
        case openai.ContentFilterFinishReasonError():
            return Refused(backend, "the model declines to answer")
    return _transport_failure(backend, error, deadline_ms, elapsed_ms)


def _transport_failure(backend: str, error: Exception, deadline_ms: int, elapsed_ms: int) -> BackendError:
    """Return what an exception means that comes from below the SDK, or from its reading of an answer."""
    import httpx2

    match error:
        case httpx2.TimeoutException():
            return BackendTimeout(backend, deadline_ms, elapsed_ms)
        case httpx2.TransportError() | httpx2.StreamError():
            return NetworkFailed(backend, "the connection failed")
    return _unreadable(backend, error)


def _unreadable(backend: str, error: Exception) -> BackendError:
    return ExecutionFailed(backend, f"its answer cannot be read ({type(error).__name__})")
