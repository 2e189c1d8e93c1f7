"""HTTP exchanges on tape: recorded once from the real server, and played to the SDKs ever after.

    backend = AnthropicBackend(profile, Connection(key, transport=Cassette.record(path, secrets=[key])))
    backend = AnthropicBackend(profile, Connection(key, transport=Cassette.replay(path)))

A request is known by its method, its URL and its body, as canonical JSON; its headers, where the keys are, are neither
compared nor written. Secrets that are given are struck out of everything else. An exchange is played once, in the order
of the recording where a request was made several times.

A request that was not recorded is an error that names the first difference to the nearest one that was. Replay has no
network to go to.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

import httpx2
from pydantic import SecretStr

from converge_adapters.backends.blobs import write_durably
from converge_core.errors import CanonicalError, ConvergeError
from converge_core.ledger.canonical import JsonValue, canonical, parse
from converge_core.ledger.hashes import ContentHash

STRUCK = "[secret]"

_KEPT_HEADERS = ("content-type", "date", "retry-after", "retry-after-ms")
_SECRET_PARAMETERS = frozenset({"access_token", "api-key", "api_key", "apikey", "key", "token"})
_RESPONSE = frozenset({"body", "headers", "status"})
_SHOWN = 40


class CassetteMiss(ConvergeError):
    """A request that is not on the cassette. ``difference`` is the first one to the nearest that is."""

    def __init__(self, path: str, request: str, difference: str) -> None:
        super().__init__(path, request, difference)
        self.path, self.request, self.difference = path, request, difference

    def __str__(self) -> str:
        return f"cassette {self.path}: {self.request} was not recorded; {self.difference}"


class _Exchange(NamedTuple):
    request: Mapping[str, JsonValue]
    response: Mapping[str, JsonValue]

    @property
    def key(self) -> ContentHash:
        return ContentHash.of(canonical(self.request))


@dataclass
class Cassette(httpx2.AsyncBaseTransport):
    """A transport for `httpx2.AsyncClient`. With ``network`` it records, without it plays."""

    path: Path
    network: httpx2.AsyncBaseTransport | None = None
    secrets: Sequence[SecretStr] = ()
    _exchanges: list[_Exchange] = field(default_factory=list)
    _played: set[int] = field(default_factory=set)

    @classmethod
    def record(
        cls, path: Path, network: httpx2.AsyncBaseTransport | None = None, secrets: Sequence[SecretStr] = ()
    ) -> Self:
        """Return a new cassette that asks the network and writes down what it says, after each exchange."""
        return cls(path, network or httpx2.AsyncHTTPTransport(), secrets)

    @classmethod
    def replay(cls, path: Path, secrets: Sequence[SecretStr] = ()) -> Self:
        """Return a recorded cassette. Raises OSError where there is none, CanonicalError for what is no cassette."""
        stored = parse(path.read_text(encoding="utf-8"))
        if not isinstance(stored, list):
            raise CanonicalError(f"{path.name} is no cassette: it is not a list of exchanges")
        return cls(path, None, secrets, [_exchange(path, item) for item in stored])

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer a request. Raises CassetteMiss where nothing was recorded for it."""
        asked = self._asked(request, await request.aread())
        if self.network is None:
            return self._play(asked, request)
        response = await self.network.handle_async_request(request)
        response.request = request
        content = await response.aread()
        await response.aclose()
        exchange = _Exchange(asked, self._answered(response, content))
        self._exchanges.append(exchange)
        write_durably(self.path, self._text().encode())
        return _response(exchange, request)

    async def aclose(self) -> None:
        """Close the network, if there is one."""
        if self.network is not None:
            await self.network.aclose()

    def _text(self) -> str:
        written = [{"request": exchange.request, "response": exchange.response} for exchange in self._exchanges]
        return json.dumps(written, ensure_ascii=False, indent=2, sort_keys=True) + "\n"

    def _asked(self, request: httpx2.Request, content: bytes) -> Mapping[str, JsonValue]:
        parameters = [
            (name, STRUCK if name.lower() in _SECRET_PARAMETERS else value)
            for name, value in request.url.params.multi_items()
        ]
        url = request.url.copy_with(username=None, password=None, fragment=None, params=parameters or None)
        return {"body": self._body(content), "method": request.method, "url": self._struck(str(url))}

    def _answered(self, response: httpx2.Response, content: bytes) -> Mapping[str, JsonValue]:
        headers = {name: self._struck(response.headers[name]) for name in _KEPT_HEADERS if name in response.headers}
        return {"body": self._body(content), "headers": headers, "status": response.status_code}

    def _body(self, content: bytes) -> JsonValue:
        """Return a body so that it can be read: as JSON, as lines of text, or in Base64."""
        try:
            text = self._struck(content.decode())
        except UnicodeDecodeError:
            return {"base64": base64.b64encode(content).decode()}
        try:
            return {"json": parse(text)}
        except CanonicalError:
            return {"text": text.splitlines(keepends=True)}

    def _struck(self, text: str) -> str:
        for secret in self.secrets:
            if value := secret.get_secret_value():
                text = text.replace(value, STRUCK)
        return text

    def _play(self, asked: Mapping[str, JsonValue], request: httpx2.Request) -> httpx2.Response:
        key = ContentHash.of(canonical(asked))
        same = [index for index, exchange in enumerate(self._exchanges) if exchange.key == key]
        for index in same:
            if index not in self._played:
                self._played.add(index)
                return _response(self._exchanges[index], request)
        what = f"{asked['method']} {asked['url']}"
        if same:
            raise CassetteMiss(self.path.name, what, f"it was recorded {len(same)} times, and is asked for once more")
        raise CassetteMiss(self.path.name, what, self._difference(asked))

    def _difference(self, asked: Mapping[str, JsonValue]) -> str:
        """Return the first difference to the nearest request on the cassette: the one that has the fewest."""
        found = [_differences(exchange.request, asked) for exchange in self._exchanges]
        return "the cassette is empty" if not found else min(found, key=len)[0]


def _exchange(path: Path, stored: JsonValue) -> _Exchange:
    if isinstance(stored, Mapping):
        request, response = stored.get("request"), stored.get("response")
        if isinstance(request, Mapping) and isinstance(response, Mapping) and response.keys() >= _RESPONSE:
            return _Exchange(request, response)
    raise CanonicalError(f"{path.name} is no cassette: an exchange has a request and a response")


def _response(exchange: _Exchange, request: httpx2.Request) -> httpx2.Response:
    """Return a response as it was recorded: also while it is recorded, so that both are the same."""
    told: Any = exchange.response
    match told["body"]:
        case {"json": value}:
            content = json.dumps(value).encode()
        case {"text": lines}:
            content = "".join(lines).encode()
        case body:
            content = base64.b64decode(body["base64"])
    return httpx2.Response(told["status"], headers=told["headers"], content=content, request=request)


def _differences(recorded: JsonValue, asked: JsonValue) -> list[str]:
    """Return all differences of two values, in the order of their places."""
    before, after = dict(_leaves(recorded, "$")), dict(_leaves(asked, "$"))
    return [
        f"{place}: {_shown(before, after, place)}"
        for place in sorted(before.keys() | after.keys())
        if before.get(place) != after.get(place)
    ]


def _leaves(value: JsonValue, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(item, f"{place}.{key}")
    elif isinstance(value, list | tuple) and value:
        for index, item in enumerate(value):
            yield from _leaves(item, f"{place}[{index}]")
    else:
        yield place, canonical(value)


def _shown(before: Mapping[str, str], after: Mapping[str, str], place: str) -> str:
    """Return both values at a place, from shortly before they part."""
    if place not in after:
        return "was recorded, and is not asked"
    if place not in before:
        return "is asked, and was not recorded"
    old, new = before[place], after[place]
    parted = next((at for at, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    start = max(0, parted - _SHOWN // 2)
    return f"recorded …{old[start : start + _SHOWN]}…, asked …{new[start : start + _SHOWN]}… (character {parted})"
