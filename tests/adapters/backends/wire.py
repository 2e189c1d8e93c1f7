"""What the providers say, as it comes over the wire, and a backend of each to say it to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

from converge_adapters.backends.anthropic_messages import AnthropicBackend
from converge_adapters.backends.openai_compatible import CompatibleBackend
from converge_adapters.backends.openai_responses import OpenAIBackend
from converge_adapters.backends.remote import Connection, RemoteBackend
from converge_core.ledger.canonical import JsonValue
from converge_core.llm.backend import BackendBudgets, BackendRequest, ContractSpec, Message, MessageRole
from converge_core.llm.profiles import CostClass, ProviderProfile
from tests.adapters.backends.server import Server, Told

KEY = "sk-the-key-that-nobody-may-see"
PROMPT = "What is in the vault of the third mill?"
SCHEMA: dict[str, JsonValue] = {
    "type": "object",
    "properties": {"answer": {"type": "string"}, "sure": {"type": "boolean"}},
    "required": ["answer", "sure"],
    "additionalProperties": False,
}
FITTING = '{"answer": "grain", "sure": true}'

ASK = BackendRequest("intent", (Message(MessageRole.SYSTEM, "Be brief."), Message.user(PROMPT)))
SHAPED = BackendRequest("intent", (Message.user(PROMPT),), contracts=(ContractSpec("vault.answer", SCHEMA),))


def within(latency_ms: int) -> BackendRequest:
    """A request that allows so much time."""
    return BackendRequest("intent", ASK.messages, budgets=BackendBudgets(latency_ceiling_ms=latency_ms))


def error(kind: str, code: str | None = None) -> dict[str, Any]:
    """The body of an error, with a message that repeats what must not be repeated."""
    details = {} if code is None else {"code": code, "details": {"error_code": code}}
    return {"type": "error", "error": {"type": kind, "message": f"no {KEY}: {PROMPT}", **details}}


@dataclass(frozen=True)
class Provider:
    """How one provider answers, and how it is asked. ``stops`` are its words for how an answer ended."""

    name: str
    make: Callable[[ProviderProfile, Connection], RemoteBackend[Any]]
    base: str
    answer: Callable[[str, str], Told]
    stream: Callable[[Sequence[str], str, str], Told]
    stops: Mapping[str, str]
    broken: tuple[str, object]

    def backend(self, server: Server, *, key: str | None = KEY, **more: Any) -> RemoteBackend[Any]:
        """A backend of this provider, which asks the server of a test."""
        profile = ProviderProfile("oracle", self.name, "m-1", CostClass.HIGH, 100, 0.9)
        secret = None if key is None else SecretStr(key)
        return self.make(profile, Connection(secret, server.url + self.base, **more))


def _message(text: str, stop: str) -> Told:
    content = [{"type": "text", "text": text}] if text else []
    usage = {"input_tokens": 20, "cache_read_input_tokens": 3, "output_tokens": 7}
    message = {"id": "msg", "type": "message", "role": "assistant", "model": "m-1-real", "content": content}
    return Told({**message, "stop_reason": stop, "stop_sequence": None, "usage": usage})


def _messages(pieces: Sequence[str], stop: str, then: str = "end") -> Told:
    start = {"id": "msg", "type": "message", "role": "assistant", "model": "m-1-real", "content": []}
    usage = {"input_tokens": 20, "cache_read_input_tokens": 3, "output_tokens": 1}
    begun = {**start, "stop_reason": None, "stop_sequence": None, "usage": usage}
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    events: list[tuple[str, object]] = [
        ("message_start", {"type": "message_start", "message": begun}),
        ("ping", {"type": "ping"}),
        ("content_block_start", block),
    ]
    for piece in pieces:
        delta = {"type": "text_delta", "text": piece}
        events.append(("content_block_delta", {"type": "content_block_delta", "index": 0, "delta": delta}))
    if stop:
        ended = {"stop_reason": stop, "stop_sequence": None}
        events.append(("content_block_stop", {"type": "content_block_stop", "index": 0}))
        events.append(("message_delta", {"type": "message_delta", "delta": ended, "usage": {"output_tokens": 7}}))
        events.append(("message_stop", {"type": "message_stop"}))
    return Told(events=events, then=then)


def _response(text: str, stop: str) -> dict[str, Any]:
    refused = stop == "refusal"
    part = {"type": "refusal", "refusal": "no"} if refused else {"type": "output_text", "text": text, "annotations": []}
    item = {"id": "item", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    whole = stop in ("completed", "refusal")
    return {
        "id": "resp",
        "object": "response",
        "created_at": 0,
        "model": "m-1-real",
        "output": [item] if text or refused else [],
        "status": "completed" if whole else "incomplete",
        "incomplete_details": None if whole else {"reason": stop},
        "error": None,
        "parallel_tool_calls": False,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": 23,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": 7,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 30,
        },
    }


def _responses(pieces: Sequence[str], stop: str, then: str = "end") -> Told:
    events: list[tuple[str, object]] = []
    for number, piece in enumerate(pieces):
        place = {"item_id": "item", "output_index": 0, "content_index": 0, "logprobs": [], "sequence_number": number}
        kind = "response.output_text.delta"
        events.append((kind, {"type": kind, "delta": piece, **place}))
    if stop:
        response = _response("".join(pieces), stop)
        kind = f"response.{response['status']}"
        events.append((kind, {"type": kind, "response": response, "sequence_number": len(pieces)}))
    return Told(events=events, then=then)


def _completion(text: str, stop: str) -> Told:
    refused = stop == "refusal"
    message = {"role": "assistant", "content": None if refused else text, "refusal": "no" if refused else None}
    choice = {"index": 0, "message": message, "finish_reason": "stop" if refused else stop}
    usage = {"prompt_tokens": 23, "completion_tokens": 7, "total_tokens": 30}
    head = {"id": "chat", "object": "chat.completion", "created": 0, "model": "m-1-real"}
    return Told({**head, "choices": [choice], "usage": usage})


def _chunks(pieces: Sequence[str], stop: str, then: str = "end") -> Told:
    head = {"id": "chat", "object": "chat.completion.chunk", "created": 0, "model": "m-1-real"}
    deltas: list[tuple[dict[str, object], str | None]] = [({"content": piece}, None) for piece in pieces]
    if stop:
        refused = stop == "refusal"
        deltas.append(({"refusal": "no"} if refused else {}, "stop" if refused else stop))
    events: list[tuple[str, object]] = [
        ("", {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}) for delta, reason in deltas
    ]
    if stop:
        usage = {"prompt_tokens": 23, "completion_tokens": 7, "total_tokens": 30}
        events += [("", {**head, "choices": [], "usage": usage}), ("", "[DONE]")]
    return Told(events=events, then=then)


ANTHROPIC = Provider(
    "anthropic",
    AnthropicBackend,
    "",
    _message,
    _messages,
    {"stop": "end_turn", "cut": "max_tokens", "refused": "refusal", "odd": "pause_turn"},
    ("error", error("overloaded_error")),
)
OPENAI = Provider(
    "openai",
    OpenAIBackend,
    "/v1",
    lambda text, stop: Told(_response(text, stop)),
    _responses,
    {"stop": "completed", "cut": "max_output_tokens", "refused": "refusal", "odd": "max_messages"},
    ("error", {"type": "error", "code": "server_error", "message": PROMPT, "param": None, "sequence_number": 9}),
)
COMPATIBLE = Provider(
    "vllm",
    CompatibleBackend,
    "/v1",
    _completion,
    _chunks,
    {"stop": "stop", "cut": "length", "refused": "refusal", "odd": "tool_calls"},
    ("", {"error": {"message": PROMPT, "type": "Overloaded", "code": 503}}),
)
PROVIDERS = (ANTHROPIC, OPENAI, COMPATIBLE)
