"""Servers that speak OpenAI's Chat Completions: Ollama, vLLM, Gemini, Groq, DeepSeek and others, by their base URL.

They keep to the protocol more or less. A model whose server cannot enforce a shape (``structured`` is off) is told it
in words. A server that does not say what it has used is taken to have used the most that it can have. Many need no key.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from converge_adapters.backends.openai_responses import connect, is_strict, schema_name
from converge_adapters.backends.outcomes import CHAT_ENDINGS, ending, openai_failure
from converge_adapters.backends.remote import Connection, RemoteBackend, Reply, Say
from converge_adapters.backends.structured import schema_of
from converge_core.context.allowance import Usage
from converge_core.llm.backend import BackendRequest, MessageRole
from converge_core.llm.errors import BackendError, ExecutionFailed

if TYPE_CHECKING:
    from openai import AsyncOpenAI, Omit
    from openai.types import CompletionUsage
    from openai.types.chat import ChatCompletionMessageParam
    from openai.types.chat.completion_create_params import ResponseFormat

ENDPOINTS: Mapping[str, str] = {
    "deepseek": "https://api.deepseek.com/v1",
    "google": "https://generativelanguage.googleapis.com/v1beta/openai/",
    "groq": "https://api.groq.com/openai/v1",
    "ollama": "http://localhost:11434/v1",
    "vllm": "http://localhost:8000/v1",
}
"""The base URLs of providers that have one of their own, or whose servers usually listen there."""

_NO_KEY = "none"
"""What is sent where no key is known: the SDK insists on one, and the server does not look at it."""


class _Prompt(NamedTuple):
    messages: list[ChatCompletionMessageParam]
    response_format: ResponseFormat | Omit


class CompatibleBackend(RemoteBackend["AsyncOpenAI"]):
    """A model on a server that speaks OpenAI's protocol. The profile's provider, or the connection, says where."""

    def _connect(self, connection: Connection, key: str) -> AsyncOpenAI:
        client = connect(connection, key, ENDPOINTS.get(self.profile.provider, ""))
        client.organization = client.project = None  # what the environment says of OpenAI is no other's business
        return client

    def _key(self) -> str:
        return _NO_KEY if self._connection.key is None else super()._key()

    def _failure(self, error: Exception, deadline_ms: int, elapsed_ms: int) -> BackendError:
        return openai_failure(self.profile.id, error, deadline_ms, elapsed_ms)

    def _prompt(self, request: BackendRequest) -> _Prompt:
        from openai import omit

        format: ResponseFormat | Omit = omit
        if request.shape is not None and self._enforces(request):
            format = {
                "type": "json_schema",
                "json_schema": {
                    "name": schema_name(request.shape),
                    "schema": schema_of(request.shape),
                    "strict": is_strict(request.shape.schema),
                },
            }
        return _Prompt([_turn(message.role, message.content) for message in self._messages(request)], format)

    async def _ask(self, request: BackendRequest, say: Say | None) -> Reply:
        if say is not None:
            return await self._stream(request, say)
        client, prompt = self._client(), self._prompt(request)
        completion = await client.chat.completions.create(
            model=self.profile.model,
            max_tokens=request.budgets.max_tokens,
            messages=prompt.messages,
            response_format=prompt.response_format,
        )
        if not completion.choices:
            raise ExecutionFailed(self.profile.id, "there is no answer in its answer")
        choice = completion.choices[0]
        text, refused = choice.message.content or "", bool(choice.message.refusal)
        if not isinstance(text, str):  # the SDK believes what it is sent
            raise ExecutionFailed(self.profile.id, "the text of its answer is none")
        usage = await self._usage(request, completion.usage, text)
        return self._reply(text, completion.model, choice.finish_reason, refused, usage)

    async def _stream(self, request: BackendRequest, say: Say) -> Reply:
        client, prompt = self._client(), self._prompt(request)
        chunks = await client.chat.completions.create(
            model=self.profile.model,
            max_tokens=request.budgets.max_tokens,
            messages=prompt.messages,
            response_format=prompt.response_format,
            stream=True,
            stream_options={"include_usage": True},
        )
        pieces: list[str] = []
        model, refused = "", False
        reason: str | None = None
        told: CompletionUsage | None = None
        async for chunk in chunks:
            model, told = chunk.model or model, chunk.usage or told
            for choice in chunk.choices:
                reason, refused = choice.finish_reason or reason, refused or bool(choice.delta.refusal)
                if choice.delta.content:
                    pieces.append(choice.delta.content)
                    say(choice.delta.content)
        text = "".join(pieces)
        return self._reply(text, model, reason, refused, await self._usage(request, told, text))

    def _reply(self, text: str, model: str, reason: str | None, refused: bool, usage: Usage) -> Reply:
        """Return an answer. Raises BackendError for what is none."""
        finish = ending(CHAT_ENDINGS, self.profile.id, "refusal" if refused else reason, usage)
        return Reply(text, model, usage, finish)

    async def _usage(self, request: BackendRequest, told: CompletionUsage | None, text: str) -> Usage:
        if told is not None:
            return Usage(told.prompt_tokens, told.completion_tokens)
        return Usage(await self._count(request), min(request.budgets.max_tokens, len(text.encode())))


def _turn(role: MessageRole, content: str) -> ChatCompletionMessageParam:
    match role:
        case MessageRole.SYSTEM:
            return {"role": "system", "content": content}
        case MessageRole.ASSISTANT:
            return {"role": "assistant", "content": content}
    return {"role": "user", "content": content}
