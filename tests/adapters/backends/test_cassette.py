"""Recorded once from a real server, and played to the real SDKs without one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import anyio
import httpx2
import pytest
from pydantic import SecretStr

from converge_adapters.backends.cassette import STRUCK, Cassette, CassetteMiss
from converge_adapters.backends.remote import Connection
from converge_core.errors import CanonicalError
from converge_core.llm.backend import BackendRequest, BackendResponse, Message
from converge_core.llm.errors import RateLimited
from tests.adapters.backends.server import Told, serving
from tests.adapters.backends.test_remote import SDK_LEAVES_GENERATORS
from tests.adapters.backends.wire import ANTHROPIC, ASK, FITTING, KEY, PROMPT, PROVIDERS, SHAPED, Provider, error


def ask(provider: Provider, url: str, tape: Cassette, *requests: BackendRequest, streamed: bool = False) -> list[str]:
    """What a backend answers that goes through a cassette."""
    heard: list[str] = []

    async def listen(piece: str) -> None:
        heard.append(piece)

    async def run() -> list[BackendResponse]:
        with serving(Told()) as nobody:
            profile = provider.backend(nobody).profile
        backend = provider.make(profile, Connection(SecretStr(KEY), url + provider.base, transport=tape))
        try:
            return [await backend.complete(request, listen if streamed else None) for request in requests]
        finally:
            await backend.aclose()

    return [response.text for response in anyio.run(run)] + heard


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.name)
def test_what_was_recorded_is_played_without_the_server(provider: Provider, tmp_path: Path) -> None:
    path = tmp_path / "tape.json"
    with serving(provider.answer(FITTING, provider.stops["stop"])) as server:
        recorded = ask(provider, server.url, Cassette.record(path), ASK, SHAPED)
    assert ask(provider, server.url, Cassette.replay(path), SHAPED, ASK) == recorded == [FITTING] * 2


@SDK_LEAVES_GENERATORS
@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.name)
def test_a_stream_is_played_as_a_stream(provider: Provider, tmp_path: Path) -> None:
    path = tmp_path / "tape.json"
    with serving(provider.stream(["one ", "two"], provider.stops["stop"], "end")) as server:
        recorded = ask(provider, server.url, Cassette.record(path), ASK, streamed=True)
    played = ask(provider, server.url, Cassette.replay(path), ASK, streamed=True)
    assert played == recorded == ["one two", "one ", "two"]


def test_a_failure_is_played_with_its_wait(tmp_path: Path) -> None:
    path = tmp_path / "tape.json"
    with serving(Told(error("rate_limit_error"), 429, {"retry-after": "7"})) as server:
        for tape in (Cassette.record(path), Cassette.replay):
            with pytest.raises(RateLimited) as caught:
                ask(ANTHROPIC, server.url, tape if isinstance(tape, Cassette) else tape(path), ASK)
            assert caught.value.retry_after_ms == 7_000


def test_the_same_request_is_played_as_often_as_it_was_recorded(tmp_path: Path) -> None:
    path = tmp_path / "tape.json"
    with serving(ANTHROPIC.answer("one", "end_turn"), ANTHROPIC.answer("two", "end_turn")) as server:
        ask(ANTHROPIC, server.url, Cassette.record(path), ASK, ASK)
    assert ask(ANTHROPIC, server.url, Cassette.replay(path), ASK, ASK) == ["one", "two"]
    with pytest.raises(CassetteMiss, match="it was recorded 2 times, and is asked for once more"):
        ask(ANTHROPIC, server.url, Cassette.replay(path), ASK, ASK, ASK)


def test_a_miss_comes_out_of_the_sdk_and_names_the_first_difference(tmp_path: Path) -> None:
    path = tmp_path / "tape.json"
    with serving(ANTHROPIC.answer("one", "end_turn")) as server:
        ask(ANTHROPIC, server.url, Cassette.record(path), SHAPED, ASK)
    asked = replace(ASK, messages=(ASK.messages[0], Message.user(PROMPT.replace("third", "fourth"))))
    with pytest.raises(CassetteMiss) as caught:
        ask(ANTHROPIC, server.url, Cassette.replay(path), asked)
    assert caught.value.request == f"POST {server.url}/v1/messages"
    assert caught.value.difference == (
        "$.body.json.messages[0].content: "
        'recorded …in the vault of the third mill?"…, asked …in the vault of the fourth mill?"… (character 29)'
    )


def test_a_miss_tells_of_what_is_there_on_one_side_only(tmp_path: Path) -> None:
    path = tmp_path / "tape.json"
    with serving(ANTHROPIC.answer("one", "end_turn")) as server:
        ask(ANTHROPIC, server.url, Cassette.record(path), ASK)
    with pytest.raises(CassetteMiss, match=r"\$\.body\.json\.system: was recorded, and is not asked"):
        ask(ANTHROPIC, server.url, Cassette.replay(path), replace(ASK, messages=ASK.messages[1:]))


def test_replay_has_no_network(tmp_path: Path) -> None:
    path = tmp_path / "tape.json"
    path.write_text("[]")
    tape = Cassette.replay(path)
    assert tape.network is None
    with pytest.raises(CassetteMiss, match="the cassette is empty"):
        ask(ANTHROPIC, "http://localhost:1", tape, ASK)


def test_no_secret_is_written(tmp_path: Path) -> None:
    path = tmp_path / "tape.json"
    leaky = Told(error("api_error"), 400, {"set-cookie": "session=1", "request-id": KEY, "retry-after": KEY})
    request = replace(ASK, messages=(Message.user(f"my key is {KEY}"),))
    with serving(leaky) as server, pytest.raises(Exception, match="HTTP 400"):
        ask(ANTHROPIC, server.url, Cassette.record(path, secrets=[SecretStr(KEY)]), request)
    written = path.read_text()
    assert KEY not in written
    assert "session" not in written
    assert "authorization" not in written.lower()
    assert f"my key is {STRUCK}" in written


def test_a_secret_in_a_url_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "tape.json"

    async def run() -> None:
        with serving(Told({"ok": True})) as server:
            url = server.url.replace("://", "://user:password@") + f"/v1/x?key={KEY}&alt=sse"
            async with httpx2.AsyncClient(transport=Cassette.record(path)) as client:
                await client.post(url, json={})

    anyio.run(run)
    written = path.read_text()
    assert KEY not in written
    assert "password" not in written
    assert "alt=sse" in written


def test_a_cassette_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "tape.json"
    with serving(ANTHROPIC.answer("one", "end_turn")) as server:
        ask(ANTHROPIC, server.url, Cassette.record(path), ASK)
    [exchange] = json.loads(path.read_text())
    assert exchange["request"]["body"]["json"]["messages"] == [{"role": "user", "content": PROMPT}]
    assert exchange["response"]["body"]["json"]["content"] == [{"type": "text", "text": "one"}]
    assert exchange["response"]["status"] == 200


def test_bytes_that_are_no_text_are_played_as_they_were(tmp_path: Path) -> None:
    path, content = tmp_path / "tape.json", b"\xff\x00\xfe"

    class Binary(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            return httpx2.Response(200, content=content)

    async def run() -> list[bytes]:
        found = []
        for tape in (Cassette.record(path, Binary()), Cassette.replay):
            transport = tape if isinstance(tape, Cassette) else tape(path)
            async with httpx2.AsyncClient(transport=transport) as client:
                found.append((await client.post("http://localhost/", content=content)).content)
        return found

    assert anyio.run(run) == [content, content]


@pytest.mark.parametrize("text", ["{}", "[1]", '[{"request": {}, "response": {}}]', "nothing"])
def test_a_file_that_is_no_cassette_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "tape.json"
    path.write_text(text)
    with pytest.raises(CanonicalError):
        Cassette.replay(path)
