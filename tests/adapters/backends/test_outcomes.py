"""Each thing that can go wrong has exactly one type, also those that the SDKs know and no test server says."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import get_args

import anthropic
import httpx2
import openai
import pytest
from anthropic.types import StopReason
from anthropic.types.shared.error_type import ErrorType
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import ResponseError
from openai.types.responses.response import IncompleteDetails
from openai.types.responses.response_status import ResponseStatus

from converge_adapters.backends.cassette import CassetteMiss
from converge_adapters.backends.outcomes import (
    ANTHROPIC_ENDINGS,
    CHAT_ENDINGS,
    RESPONSES_ENDINGS,
    Ending,
    anthropic_failure,
    ending,
    openai_failure,
    own_error,
    provider_failure,
    retry_after_ms,
)
from converge_core.context.allowance import Usage
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

REQUEST = httpx2.Request("POST", "http://localhost/")
STATUSES = {
    400: InvalidRequest,
    401: AuthenticationFailed,
    402: QuotaExhausted,
    403: AuthenticationFailed,
    404: InvalidRequest,
    408: NetworkFailed,
    409: InvalidRequest,
    412: InvalidRequest,
    413: InvalidRequest,
    418: InvalidRequest,
    422: InvalidRequest,
    429: RateLimited,
    431: InvalidRequest,
    499: NetworkFailed,
    500: Unavailable,
    501: InvalidRequest,
    502: NetworkFailed,
    503: Unavailable,
    504: NetworkFailed,
    529: Unavailable,
}


def classes(root: type[Exception]) -> Iterator[type[Exception]]:
    """A class of errors and all below it."""
    yield root
    for below in root.__subclasses__():
        yield from classes(below)


def response(status: int, headers: dict[str, str] | None = None) -> httpx2.Response:
    return httpx2.Response(status, headers=headers, request=REQUEST)


@pytest.mark.parametrize(("status", "expected"), STATUSES.items())
def test_a_status_has_one_meaning_in_both_sdks(status: int, expected: type[BackendError]) -> None:
    claude = anthropic.AsyncAnthropic(api_key="k")._make_status_error("m", body=None, response=response(status))
    gpt = openai.AsyncOpenAI(api_key="k")._make_status_error("m", body=None, response=response(status))
    assert type(anthropic_failure("b", claude, 1, 1)) is expected
    assert type(openai_failure("b", gpt, 1, 1)) is expected


@pytest.mark.parametrize("kind", sorted(classes(anthropic.APIStatusError), key=str), ids=str)
def test_every_status_error_of_anthropic_means_what_its_status_says_or_its_code(kind: type[Exception]) -> None:
    status = getattr(kind, "status_code", 500)
    assert issubclass(kind, anthropic.APIStatusError)
    found = anthropic_failure("b", kind("m", response=response(status), body=None), 1, 1)
    assert type(found) is STATUSES[status]


def test_errors_that_are_no_answer_of_a_server_have_their_types() -> None:
    others: list[tuple[Exception, type[BackendError]]] = [
        (anthropic.APITimeoutError(REQUEST), BackendTimeout),
        (anthropic.APIConnectionError(request=REQUEST), NetworkFailed),
        (anthropic.APIResponseValidationError(response(200), None), ExecutionFailed),
        (anthropic.CredentialsError("m"), AuthenticationFailed),
        (httpx2.ReadTimeout("m"), BackendTimeout),
        (httpx2.ReadError("m"), NetworkFailed),
        (httpx2.RemoteProtocolError("m"), NetworkFailed),
        (httpx2.DecodingError("m"), ExecutionFailed),
        (ValueError("m"), ExecutionFailed),
    ]
    assert [type(anthropic_failure("b", error, 1, 1)) for error, _ in others] == [kind for _, kind in others]


def test_errors_of_openai_that_are_no_answer_of_a_server_have_their_types() -> None:
    completion = openai.types.chat.ChatCompletion.model_construct(usage=None)
    others: list[tuple[Exception, type[BackendError]]] = [
        (openai.APITimeoutError(REQUEST), BackendTimeout),
        (openai.APIConnectionError(request=REQUEST), NetworkFailed),
        (openai.APIResponseValidationError(response(200), None), ExecutionFailed),
        (openai.LengthFinishReasonError(completion=completion), Truncated),
        (openai.ContentFilterFinishReasonError(), Refused),
        (openai.APIError("m", REQUEST, body={"type": "server_error", "code": None}), Unavailable),
        (openai.APIError("m", REQUEST, body={"code": 429}), RateLimited),
        (openai.APIError("m", REQUEST, body={"code": "insufficient_quota"}), QuotaExhausted),
        (openai.APIError("m", REQUEST, body=None), ExecutionFailed),
        (openai.OpenAIError("m"), ExecutionFailed),
    ]
    assert [type(openai_failure("b", error, 1, 1)) for error, _ in others] == [kind for _, kind in others]


@pytest.mark.parametrize("kind", get_args(ErrorType))
def test_every_class_of_error_means_something_where_the_status_says_nothing(kind: str) -> None:
    assert type(provider_failure("b", 200, (kind,))) is not ExecutionFailed


def test_every_error_of_a_failed_response_means_something() -> None:
    codes = get_args(ResponseError.model_fields["code"].annotation)
    found = {code: type(provider_failure("b", None, (code,))) for code in codes if "image" not in code}
    assert found == {
        "bio_policy": Refused,
        "data_residency_mismatch": InvalidRequest,
        "invalid_prompt": InvalidRequest,
        "misalignment_policy_violation": Refused,
        "rate_limit_exceeded": RateLimited,
        "server_error": Unavailable,
        "vector_store_timeout": NetworkFailed,
    }


@pytest.mark.parametrize(
    ("endings", "words"),
    [
        (ANTHROPIC_ENDINGS, set(get_args(StopReason))),
        (
            RESPONSES_ENDINGS,
            {*get_args(ResponseStatus), "refusal", "max_output_tokens", "max_messages", "content_filter", "steered"}
            - {"failed", "incomplete"},
        ),
        (CHAT_ENDINGS, {"stop", "length", "tool_calls", "content_filter", "function_call", "refusal"}),
    ],
)
def test_every_way_to_end_is_listed(endings: dict[str, Ending], words: set[str]) -> None:
    assert set(endings) == words


def test_every_reason_for_an_incomplete_response_is_listed() -> None:
    annotation = IncompleteDetails.model_fields["reason"].annotation
    [reasons] = [get_args(part) for part in get_args(annotation) if get_args(part)]
    assert set(reasons) <= set(RESPONSES_ENDINGS)


def test_an_end_that_is_an_answer_is_told() -> None:
    assert ending(ANTHROPIC_ENDINGS, "b", "stop_sequence", Usage()) is FinishReason.STOP_SEQUENCE


@pytest.mark.parametrize(("reason", "expected"), [(None, NetworkFailed), ("on a whim", ExecutionFailed)])
def test_an_end_that_nobody_knows_is_no_answer(reason: str | None, expected: type[BackendError]) -> None:
    with pytest.raises(expected) as caught:
        ending(ANTHROPIC_ENDINGS, "b", reason, Usage(1, 2))
    assert type(caught.value) is expected
    assert caught.value.usage == Usage(1, 2)
    assert "whim" not in str(caught.value)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"retry-after": "3"}, 3_000),
        ({"retry-after": "1.5"}, 1_500),
        ({"retry-after-ms": "250", "retry-after": "3"}, 250),
        ({"retry-after-ms": "soon", "retry-after": "3"}, 3_000),
        ({"retry-after": "-5"}, 0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1e300"}, None),
        ({"retry-after": "later"}, None),
        ({}, None),
        ({"retry-after": "Sat, 21 Nov 2026 03:00:09 GMT", "date": "Sat, 21 Nov 2026 03:00:00 GMT"}, 9_000),
        ({"retry-after": "Sat, 21 Nov 2026 03:00:00 GMT", "date": "Sat, 21 Nov 2026 03:00:09 GMT"}, 0),
    ],
)
def test_a_wait_is_read_in_every_notation(headers: dict[str, str], expected: int | None) -> None:
    assert retry_after_ms(httpx2.Headers(headers)) == expected


def test_a_date_without_another_is_compared_with_the_clock() -> None:
    now = datetime(2026, 11, 21, 3, tzinfo=UTC)
    until = format_datetime(datetime(2026, 11, 21, 3, 1, tzinfo=UTC), usegmt=True)
    assert retry_after_ms({"retry-after": until}, now) == 60_000


@given(st.text(), st.text())
def test_no_header_is_too_odd(wait: str, wait_ms: str) -> None:
    found = retry_after_ms({"retry-after": wait, "retry-after-ms": wait_ms})
    assert found is None or found >= 0


def test_a_quota_keeps_the_wait() -> None:
    found = provider_failure("b", 429, ("insufficient_quota",), 5_000)
    assert isinstance(found, QuotaExhausted)
    assert found.retry_after_ms == 5_000


def test_words_of_a_provider_are_repeated_only_where_they_are_codes() -> None:
    found = provider_failure("b", 400, ("the prompt was: hello", "invalid_request_error", "sk-1 2"))
    assert str(found) == "backend 'b': HTTP 400 (invalid_request_error)"


def test_an_error_of_ours_that_an_sdk_has_wrapped_is_found() -> None:
    miss = CassetteMiss("tape.json", "POST /", "$.body: was recorded, and is not asked")
    wrapped = openai.APIConnectionError(request=REQUEST)
    wrapped.__cause__ = miss
    assert own_error(wrapped) is miss
    assert own_error(openai.APIConnectionError(request=REQUEST)) is None
