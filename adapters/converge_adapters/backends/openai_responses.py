"""GPT, through OpenAI's Responses API. Nothing is kept by the provider (``store`` is off).

A shape is enforced by the provider (`text.format`): strictly where the schema is one that it takes so, whose objects
have all of their fields, and as a wish otherwise. Either way it is checked here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from converge_adapters.backends.outcomes import RESPONSES_ENDINGS, ending, openai_failure, provider_failure
from converge_adapters.backends.remote import Connection, RemoteBackend, Reply, Say
from converge_adapters.backends.structured import is_closed, listed, schema_of, subschemas
from converge_core.context.allowance import NOTHING, Usage
from converge_core.ledger.canonical import JsonValue
from converge_core.llm.backend import MESSAGE_TOKENS, BackendRequest, ContractSpec, MessageRole
from converge_core.llm.errors import BackendError, NetworkFailed

if TYPE_CHECKING:
    from openai import AsyncOpenAI, Omit
    from openai.types.responses import EasyInputMessageParam, Response, ResponseInputParam, ResponseTextConfigParam

BASE_URL = "https://api.openai.com/v1"

_MARGIN = 8
_ODD = re.compile(r"[^A-Za-z0-9_-]")
_STRICT_KEYWORDS = frozenset(
    {
        *("$defs", "$ref", "additionalProperties", "anyOf", "const", "description", "enum", "items", "properties"),
        *("exclusiveMaximum", "exclusiveMinimum", "maxItems", "maximum", "minItems", "minimum", "multipleOf"),
        *("pattern", "required", "title", "type"),
    }
)


class _Prompt(NamedTuple):
    instructions: str | Omit
    input: ResponseInputParam
    text: ResponseTextConfigParam | Omit


class OpenAIBackend(RemoteBackend["AsyncOpenAI"]):
    """A model of OpenAI."""

    def _connect(self, connection: Connection, key: str) -> AsyncOpenAI:
        return connect(connection, key, BASE_URL)

    def _failure(self, error: Exception, deadline_ms: int, elapsed_ms: int) -> BackendError:
        return openai_failure(self.profile.id, error, deadline_ms, elapsed_ms)

    def _prompt(self, request: BackendRequest) -> _Prompt:
        from openai import omit

        said = self._messages(request)
        system = "\n\n".join(message.content for message in said if message.role is MessageRole.SYSTEM)
        turns: list[EasyInputMessageParam] = [
            {"role": "assistant" if message.role is MessageRole.ASSISTANT else "user", "content": message.content}
            for message in said
            if message.role is not MessageRole.SYSTEM
        ]
        text: ResponseTextConfigParam | Omit = omit
        if request.shape is not None and self._enforces(request):
            text = {
                "format": {
                    "type": "json_schema",
                    "name": schema_name(request.shape),
                    "schema": schema_of(request.shape),
                    "strict": is_strict(request.shape.schema),
                }
            }
        return _Prompt(system or omit, [*turns], text)

    async def _count(self, request: BackendRequest) -> int:
        client, prompt = self._client(), self._prompt(request)
        count = await client.responses.input_tokens.count(
            model=self.profile.model, instructions=prompt.instructions, input=prompt.input, text=prompt.text
        )
        return count.input_tokens + count.input_tokens // _MARGIN + MESSAGE_TOKENS

    async def _ask(self, request: BackendRequest, say: Say | None) -> Reply:
        if say is not None:
            return await self._stream(request, say)
        client, prompt = self._client(), self._prompt(request)
        response = await client.responses.create(
            model=self.profile.model,
            max_output_tokens=request.budgets.max_tokens,
            instructions=prompt.instructions,
            input=prompt.input,
            text=prompt.text,
            store=False,
        )
        return self._read(response)

    async def _stream(self, request: BackendRequest, say: Say) -> Reply:
        client, prompt = self._client(), self._prompt(request)
        events = await client.responses.create(
            model=self.profile.model,
            max_output_tokens=request.budgets.max_tokens,
            instructions=prompt.instructions,
            input=prompt.input,
            text=prompt.text,
            store=False,
            stream=True,
        )
        last: Response | None = None
        failure: BackendError | None = None
        async for event in events:
            match event.type:
                case "response.output_text.delta":
                    say(event.delta)
                case "response.completed" | "response.incomplete" | "response.failed":
                    last = event.response
                case "error":  # the last event; the stream is read to its end all the same, which closes it
                    failure = provider_failure(self.profile.id, None, (event.code,))
        if failure is not None:
            raise failure
        if last is None:
            raise NetworkFailed(self.profile.id, "the answer breaks off")
        return self._read(last)

    def _read(self, response: Response) -> Reply:
        """Return an answer. Raises BackendError for what is none, with its usage."""
        told = response.usage
        usage = NOTHING if told is None else Usage(told.input_tokens, told.output_tokens)
        reason: str | None = response.status
        if response.error is not None:
            failure = provider_failure(self.profile.id, None, (response.error.code,))
            failure.usage = usage
            raise failure
        if response.incomplete_details is not None:
            reason = response.incomplete_details.reason
        parts = [part for item in response.output if item.type == "message" for part in item.content]
        if any(part.type == "refusal" for part in parts):
            reason = "refusal"
        finish = ending(RESPONSES_ENDINGS, self.profile.id, reason, usage)
        return Reply(response.output_text, response.model, usage, finish)


def connect(connection: Connection, key: str, base_url: str) -> AsyncOpenAI:
    """Return a client of the SDK for a server that speaks OpenAI's protocol."""
    import openai

    client = None if connection.transport is None else openai.DefaultAsyncHttpxClient(transport=connection.transport)
    url = connection.base_url or base_url
    return openai.AsyncOpenAI(api_key=key, base_url=url, max_retries=0, timeout=None, http_client=client)


def schema_name(contract: ContractSpec) -> str:
    """Return the name of a contract as OpenAI allows names of schemas."""
    return _ODD.sub("_", contract.name)[:64] or "answer"


def is_strict(schema: JsonValue) -> bool:
    """Return whether a schema can be enforced strictly: every field is named and required, every keyword is known.

    https://platform.openai.com/docs/guides/structured-outputs
    """
    return is_closed(schema) and all(map(_is_strict, subschemas(schema)))


def _is_strict(part: JsonValue) -> bool:
    if not isinstance(part, Mapping) or not part.keys() <= _STRICT_KEYWORDS:
        return False
    fields = part.get("properties", {})
    complete = isinstance(fields, Mapping) and set(fields) == set(listed(part.get("required")))
    return part.get("type") != "object" or (complete and part.get("additionalProperties") is False)
