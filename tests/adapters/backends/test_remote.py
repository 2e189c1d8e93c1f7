"""The real SDKs against a real server on this machine, on both event loops."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import anyio
import pytest

from converge_core.context.allowance import Usage
from converge_core.ledger.canonical import JsonValue
from converge_core.llm.backend import BackendBudgets, FinishReason
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
from tests.adapters.backends.server import Server, Told, serving
from tests.adapters.backends.wire import (
    ANTHROPIC,
    ASK,
    COMPATIBLE,
    FITTING,
    KEY,
    OPENAI,
    PROMPT,
    PROVIDERS,
    SCHEMA,
    SHAPED,
    Provider,
    error,
    within,
)

pytestmark = pytest.mark.anyio

SDK_LEAVES_GENERATORS = pytest.mark.filterwarnings(
    "ignore:Async generator '(openai|httpx2|httpcore2)[^']*' was garbage:ResourceWarning"
)
"""At the end of a chat stream OpenAI's SDK leaves generators of its own to the garbage collector; trio minds that."""

PIECES = ("In the vault", " lies", " grain.")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=PROVIDERS, ids=lambda provider: provider.name)
def provider(request: pytest.FixtureRequest) -> Provider:
    found = request.param
    assert isinstance(found, Provider)
    return found


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Told()) as running:
        yield running


async def failure(provider: Provider, server: Server, told: Told, *, streamed: bool = False) -> BackendError:
    """What becomes of a request that is answered like this."""
    server.say(told)
    backend = provider.backend(server)
    try:
        with pytest.raises(BackendError) as caught:
            await backend.complete(ASK, ignore if streamed else None)
    finally:
        await backend.aclose()
    assert KEY not in f"{caught.value!s}{caught.value!r}"
    assert PROMPT not in f"{caught.value!s}{caught.value!r}"
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)  # an SDK's error holds request and key
    assert len(server.asked) == 1
    return caught.value


async def ignore(piece: str) -> None:
    pass


async def test_an_answer_comes_with_its_model_and_usage(provider: Provider, server: Server) -> None:
    server.say(provider.answer("".join(PIECES), provider.stops["stop"]))
    backend = provider.backend(server)
    response = await backend.complete(ASK)
    await backend.aclose()
    assert (response.backend, response.model, response.text) == ("oracle", "m-1-real", "In the vault lies grain.")
    assert (response.usage, response.finish, response.iterations) == (Usage(23, 7), FinishReason.STOP, 1)
    assert ASK.faults(response) == ()


@SDK_LEAVES_GENERATORS
async def test_a_streamed_answer_is_heard_piece_by_piece_and_is_the_same(provider: Provider, server: Server) -> None:
    server.say(provider.answer("".join(PIECES), provider.stops["stop"]))
    backend = provider.backend(server)
    whole = await backend.complete(ASK)
    server.say(provider.stream(PIECES, provider.stops["stop"], "end"))
    heard: list[str] = []

    async def listen(piece: str) -> None:
        heard.append(piece)

    streamed = await backend.complete(ASK, listen)
    await backend.aclose()
    assert tuple(heard) == PIECES
    assert replace(streamed, latency_ms=0) == replace(whole, latency_ms=0)


async def test_a_shape_is_asked_for_and_checked(provider: Provider, server: Server) -> None:
    server.say(provider.answer(FITTING, provider.stops["stop"]))
    backend = provider.backend(server)
    response = await backend.complete(SHAPED)
    await backend.aclose()
    assert response.output == {"answer": "grain", "sure": True}
    assert response.contract_report.all_passed
    assert SHAPED.faults(response) == ()
    assert '"additionalProperties": false' in str(server.asked[0].body).replace("'", '"').replace("False", "false")
    assert "JSON Schema" not in str(server.asked[0].body)


async def test_a_wrong_shape_is_reported_with_its_place(provider: Provider, server: Server) -> None:
    server.say(provider.answer('{"answer": 1}', provider.stops["stop"]))
    backend = provider.backend(server)
    response = await backend.complete(SHAPED)
    await backend.aclose()
    [fault] = SHAPED.faults(response)
    assert fault.reason == ("contract 'vault.answer' failed: $.answer: must be of type \"string\"; $.sure: is missing")


async def test_an_answer_that_is_no_json_is_reported_with_its_place(provider: Provider, server: Server) -> None:
    server.say(provider.answer('{"answer": grain}', provider.stops["stop"]))
    backend = provider.backend(server)
    response = await backend.complete(SHAPED)
    await backend.aclose()
    assert response.output is None
    [fault] = SHAPED.faults(response)
    assert "$: not JSON: Expecting value: line 1 column 12" in fault.reason


async def test_a_model_that_cannot_be_held_to_a_shape_is_told_it(provider: Provider, server: Server) -> None:
    server.say(provider.answer(f"```json\n{FITTING}\n```", provider.stops["stop"]))
    backend = provider.backend(server, structured=False)
    response = await backend.complete(SHAPED)
    await backend.aclose()
    assert response.output == {"answer": "grain", "sure": True}
    assert "It keeps this JSON Schema" in str(server.asked[0].body)
    assert {"text", "output_config", "response_format"}.isdisjoint(server.asked[0].body)


@SDK_LEAVES_GENERATORS
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("end", "expected"), [("refused", Refused), ("cut", Truncated), ("odd", ExecutionFailed)])
async def test_what_is_no_whole_answer_is_an_error_with_its_usage(
    provider: Provider, server: Server, end: str, expected: type[BackendError], streamed: bool
) -> None:
    stop = provider.stops[end]
    told = provider.stream(PIECES, stop, "end") if streamed else provider.answer("In the", stop)
    found = await failure(provider, server, told, streamed=streamed)
    assert type(found) is expected
    assert found.usage == Usage(23, 7)


@pytest.mark.parametrize(
    ("status", "kind", "code", "expected"),
    [
        (400, "invalid_request_error", None, InvalidRequest),
        (401, "authentication_error", None, AuthenticationFailed),
        (401, "invalid_request_error", "invalid_api_key", AuthenticationFailed),
        (402, "billing_error", None, QuotaExhausted),
        (403, "permission_error", None, AuthenticationFailed),
        (404, "not_found_error", "model_not_found", InvalidRequest),
        (413, "invalid_request_error", None, InvalidRequest),
        (429, "insufficient_quota", "insufficient_quota", QuotaExhausted),
        (429, "rate_limit_error", "contract_spend_limit_reached", QuotaExhausted),
        (429, "rate_limit_error", None, RateLimited),
        (500, "api_error", None, Unavailable),
        (502, "api_error", None, NetworkFailed),
        (503, "api_error", None, Unavailable),
        (504, "timeout_error", None, NetworkFailed),
        (529, "overloaded_error", None, Unavailable),
    ],
)
async def test_each_status_is_one_typed_error(
    provider: Provider, server: Server, status: int, kind: str, code: str | None, expected: type[BackendError]
) -> None:
    found = await failure(provider, server, Told(error(kind, code), status))
    assert type(found) is expected


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_rate_limit_says_how_long_to_wait(provider: Provider, server: Server, streamed: bool) -> None:
    told = Told(error("rate_limit_error"), 429, {"retry-after": "7"})
    found = await failure(provider, server, told, streamed=streamed)
    assert isinstance(found, RateLimited)
    assert found.retry_after_ms == 7_000


async def test_a_server_that_hangs_is_given_up(provider: Provider, server: Server) -> None:
    server.say(Told(then="hang"))
    backend = provider.backend(server)
    with pytest.raises(BackendTimeout) as caught:
        await backend.complete(within(50))
    await backend.aclose()
    assert caught.value.deadline_ms == 50


async def test_the_limit_of_the_connection_holds_where_a_request_has_none(provider: Provider, server: Server) -> None:
    server.say(provider.stream(PIECES[:1], "", "hang"))
    backend = provider.backend(server, timeout_ms=50)
    with pytest.raises(BackendTimeout) as caught:
        await backend.complete(ASK, ignore)
    await backend.aclose()
    assert caught.value.deadline_ms == 50


async def test_a_lost_connection_is_the_networks_fault(provider: Provider, server: Server) -> None:
    assert type(await failure(provider, server, Told(then="reset"))) is NetworkFailed


async def test_a_stream_that_is_cut_off_is_the_networks_fault(provider: Provider, server: Server) -> None:
    told = provider.stream(PIECES[:1], "", "reset")
    assert type(await failure(provider, server, told, streamed=True)) is NetworkFailed


async def test_a_stream_that_ends_too_early_is_no_answer(provider: Provider, server: Server) -> None:
    told = provider.stream(PIECES, "", "end")
    assert type(await failure(provider, server, told, streamed=True)) is NetworkFailed


async def test_a_stream_that_fails_half_way_is_known_by_its_error(provider: Provider, server: Server) -> None:
    begun = provider.stream(PIECES[:1], "", "end")
    told = replace(begun, events=[*(begun.events or ()), provider.broken])
    assert type(await failure(provider, server, told, streamed=True)) is Unavailable


@pytest.mark.parametrize("text", ["{", "<html>busy</html>", '"words"', "[]", '{"unexpected": 1}'])
async def test_an_answer_that_nobody_can_read_is_an_error(provider: Provider, server: Server, text: str) -> None:
    found = await failure(provider, server, Told(text=text))
    assert isinstance(found, ExecutionFailed | NetworkFailed)


async def test_a_stream_that_nobody_can_read_is_an_error(provider: Provider, server: Server) -> None:
    found = await failure(provider, server, Told(events=[("message_start", "{")]), streamed=True)
    assert type(found) is ExecutionFailed


async def test_an_empty_answer_is_an_error_that_is_paid_for(provider: Provider, server: Server) -> None:
    found = await failure(provider, server, provider.answer("", provider.stops["stop"]))
    assert type(found) is ExecutionFailed
    assert found.usage == Usage(23, 7)


async def test_a_cancelled_stream_hangs_up(provider: Provider, server: Server) -> None:
    server.say(provider.stream(PIECES[:1], "", "hang"))
    backend = provider.backend(server)
    heard = anyio.Event()

    async def listen(piece: str) -> None:
        heard.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(backend.complete, ASK, listen)
        await heard.wait()
        tasks.cancel_scope.cancel()
    await backend.aclose()
    assert server.hung_up.wait(10)


@SDK_LEAVES_GENERATORS
async def test_what_a_listener_raises_is_its_own(provider: Provider, server: Server) -> None:
    server.say(provider.stream(PIECES, provider.stops["stop"], "end"))
    backend = provider.backend(server)

    async def listen(piece: str) -> None:
        raise TimeoutError("the listener is tired")

    with pytest.raises(TimeoutError, match="tired"):
        await backend.complete(ASK, listen)
    await backend.aclose()


async def test_nobody_waits_for_an_answer_that_nobody_listens_to(provider: Provider, server: Server) -> None:
    server.say(provider.stream(PIECES[:1], "", "hang"))
    backend = provider.backend(server)

    async def listen(piece: str) -> None:
        raise LookupError("the listener is gone")

    with pytest.raises(LookupError, match="gone"):
        await backend.complete(ASK, listen)
    await backend.aclose()
    assert server.hung_up.wait(10)


async def test_calls_run_side_by_side(provider: Provider, server: Server) -> None:
    server.say(provider.answer("grain", provider.stops["stop"]))
    backend = provider.backend(server)
    texts: list[str] = []

    async def ask() -> None:
        texts.append((await backend.complete(ASK)).text)

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(ask)
    await backend.aclose()
    assert texts == ["grain"] * 5


async def test_a_schema_that_is_none_is_not_sent(provider: Provider, server: Server) -> None:
    wrong = replace(SHAPED, contracts=(replace(SHAPED.contracts[0], schema={"type": "text"}),))
    with pytest.raises(InvalidRequest, match=r"'vault.answer' is not a JSON Schema: \$.type breaks"):
        await provider.backend(server).complete(wrong)
    assert server.asked == []


async def test_the_key_is_sent_and_shown_nowhere(provider: Provider, server: Server) -> None:
    server.say(provider.answer("grain", provider.stops["stop"]))
    backend = provider.backend(server)
    response = await backend.complete(ASK)
    await backend.aclose()
    assert KEY in str(server.asked[0].headers)
    assert KEY not in repr(backend) + repr(backend._connection) + repr(response) + repr(vars(backend)["_connection"])


@pytest.mark.parametrize("provider", [ANTHROPIC, OPENAI], ids=lambda provider: provider.name)
async def test_without_a_key_nobody_is_asked(
    provider: Provider, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "another")
    monkeypatch.setenv("OPENAI_API_KEY", "another")
    with pytest.raises(AuthenticationFailed, match="there is no key"):
        await provider.backend(server, key=None).complete(ASK)
    assert server.asked == []


async def test_a_compatible_server_needs_no_key_and_is_told_nothing_of_openai(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-mine")
    server.say(COMPATIBLE.answer("grain", "stop"))
    backend = COMPATIBLE.backend(server, key=None)
    await backend.complete(ASK)
    await backend.aclose()
    headers = str(server.asked[0].headers)
    assert KEY not in headers
    assert "org-of-mine" not in headers


@pytest.mark.parametrize("provider", [ANTHROPIC, OPENAI], ids=lambda provider: provider.name)
async def test_the_tokens_of_a_prompt_are_counted_by_the_provider(provider: Provider, server: Server) -> None:
    server.say(Told({"input_tokens": 80, "object": "response.input_tokens"}))
    backend = provider.backend(server)
    assert await backend.count_tokens(SHAPED) == 80 + 10 + 16
    await backend.aclose()
    assert server.asked[0].path.endswith("tokens")


async def test_a_count_that_fails_is_a_typed_error(server: Server) -> None:
    server.say(Told(error("overloaded_error"), 529))
    backend = ANTHROPIC.backend(server)
    with pytest.raises(Unavailable):
        await backend.count_tokens(ASK)
    await backend.aclose()


async def test_tokens_that_nobody_counts_are_bounded_by_bytes(server: Server) -> None:
    assert await COMPATIBLE.backend(server).count_tokens(ASK) == ASK.max_prompt_tokens
    told = await COMPATIBLE.backend(server, structured=False).count_tokens(SHAPED)
    assert told > SHAPED.max_prompt_tokens


@SDK_LEAVES_GENERATORS
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_server_that_counts_nothing_is_taken_to_have_used_the_most(server: Server, streamed: bool) -> None:
    told = (
        COMPATIBLE.stream(PIECES, "stop", "end") if streamed else COMPATIBLE.answer("In the vault lies grain.", "stop")
    )
    if isinstance(told.value, dict):
        told.value["usage"] = None
    if told.events is not None:
        told = replace(told, events=[event for event in told.events if "usage" not in str(event)])
    server.say(told)
    backend = COMPATIBLE.backend(server)
    request = replace(ASK, budgets=BackendBudgets(max_tokens=100))
    response = await backend.complete(request, ignore if streamed else None)
    await backend.aclose()
    assert response.usage == Usage(ASK.max_prompt_tokens, len("In the vault lies grain."))


@pytest.mark.parametrize(
    ("part", "value"), [("usage", {"prompt_tokens": None, "completion_tokens": -1}), ("choices", []), ("model", 7)]
)
async def test_a_server_that_keeps_to_no_protocol_breaks_nothing(server: Server, part: str, value: object) -> None:
    body = COMPATIBLE.answer("grain", "stop").value
    assert isinstance(body, dict)
    server.say(Told({**body, part: value}))
    backend = COMPATIBLE.backend(server)
    try:
        response = await backend.complete(ASK)
        assert response.model == "7"
    except ExecutionFailed:
        assert part != "model"
    await backend.aclose()


async def test_a_text_that_is_none_is_an_error(server: Server) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": [{"text": "grain"}]}, "finish_reason": "stop"}
    assert type(await failure(COMPATIBLE, server, Told({"choices": [choice]}))) is ExecutionFailed


async def test_claude_is_asked_with_messages_and_a_system_prompt(server: Server) -> None:
    server.say(ANTHROPIC.answer(FITTING, "end_turn"))
    backend = ANTHROPIC.backend(server)
    await backend.complete(ASK)
    await backend.complete(SHAPED)
    await backend.aclose()
    plain, shaped = (asked.body for asked in server.asked)
    assert plain == {
        "model": "m-1",
        "max_tokens": 1024,
        "system": "Be brief.",
        "messages": [{"role": "user", "content": PROMPT}],
    }
    assert shaped["output_config"]["format"] == {"type": "json_schema", "schema": SCHEMA}


async def test_gpt_is_asked_for_a_response_that_is_not_stored(server: Server) -> None:
    server.say(OPENAI.answer(FITTING, "completed"))
    backend = OPENAI.backend(server)
    await backend.complete(ASK)
    await backend.complete(SHAPED)
    await backend.aclose()
    plain, shaped = (asked.body for asked in server.asked)
    assert plain == {
        "model": "m-1",
        "max_output_tokens": 1024,
        "instructions": "Be brief.",
        "input": [{"role": "user", "content": PROMPT}],
        "store": False,
    }
    format = {"type": "json_schema", "name": "vault_answer", "schema": SCHEMA, "strict": True}
    assert shaped["text"] == {"format": format}


async def test_a_schema_that_claude_cannot_be_held_to_is_given_in_words(server: Server) -> None:
    open_schema: dict[str, JsonValue] = {"type": "object", "additionalProperties": {"type": "integer"}}
    server.say(ANTHROPIC.answer('{"a": 1}', "end_turn"))
    backend = ANTHROPIC.backend(server)
    response = await backend.complete(replace(SHAPED, contracts=(replace(SHAPED.contracts[0], schema=open_schema),)))
    await backend.aclose()
    assert response.output == {"a": 1}
    assert "output_config" not in server.asked[0].body
    assert "JSON Schema" in server.asked[0].body["system"]
