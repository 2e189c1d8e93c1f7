"""Claude, through Anthropic's Messages API.

The API has no temperature and no seed: what is to be the same again is recorded. A shape is enforced by the provider as
far as it can be (`output_config`); what it does not enforce, such as a range, is in the descriptions of the fields,
and checked here like everything else. A schema whose objects do not name their fields is given in words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from converge_adapters.backends.outcomes import ANTHROPIC_ENDINGS, anthropic_failure, ending
from converge_adapters.backends.remote import Connection, RemoteBackend, Reply, Say
from converge_adapters.backends.structured import is_closed, schema_of
from converge_core.context.allowance import Usage
from converge_core.llm.backend import MESSAGE_TOKENS, BackendRequest, Message, MessageRole
from converge_core.llm.errors import BackendError

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic, Omit
    from anthropic.types import MessageDeltaUsage, MessageParam, OutputConfigParam
    from anthropic.types import Usage as MessageUsage

BASE_URL = "https://api.anthropic.com"

_MARGIN = 8
"""A count is an estimate by its documentation: an eighth more is never too little."""


class _Prompt(NamedTuple):
    system: str | Omit
    messages: list[MessageParam]
    output_config: OutputConfigParam | Omit


class AnthropicBackend(RemoteBackend["AsyncAnthropic"]):
    """A Claude model."""

    def _connect(self, connection: Connection, key: str) -> AsyncAnthropic:
        import anthropic

        client = None
        if connection.transport is not None:
            client = anthropic.DefaultAsyncHttpxClient(transport=connection.transport)
        url = connection.base_url or BASE_URL
        return anthropic.AsyncAnthropic(api_key=key, base_url=url, max_retries=0, timeout=None, http_client=client)

    def _failure(self, error: Exception, deadline_ms: int, elapsed_ms: int) -> BackendError:
        return anthropic_failure(self.profile.id, error, deadline_ms, elapsed_ms)

    def _enforces(self, request: BackendRequest) -> bool:
        return super()._enforces(request) and request.shape is not None and is_closed(request.shape.schema)

    def _prompt(self, request: BackendRequest) -> _Prompt:
        from anthropic import omit, transform_schema

        said = self._messages(request)
        system = "\n\n".join(message.content for message in said if message.role is MessageRole.SYSTEM)
        messages = [_turn(message) for message in said if message.role is not MessageRole.SYSTEM]
        config: OutputConfigParam | Omit = omit
        if request.shape is not None and self._enforces(request):
            config = {"format": {"type": "json_schema", "schema": transform_schema(schema_of(request.shape))}}
        return _Prompt(system or omit, messages, config)

    async def _count(self, request: BackendRequest) -> int:
        client, prompt = self._client(), self._prompt(request)
        count = await client.messages.count_tokens(
            model=self.profile.model,
            messages=prompt.messages,
            system=prompt.system,
            output_config=prompt.output_config,
        )
        return count.input_tokens + count.input_tokens // _MARGIN + MESSAGE_TOKENS

    async def _ask(self, request: BackendRequest, say: Say | None) -> Reply:
        if say is not None:
            return await self._stream(request, say)
        client, prompt = self._client(), self._prompt(request)
        message = await client.messages.create(
            model=self.profile.model,
            max_tokens=request.budgets.max_tokens,
            messages=prompt.messages,
            system=prompt.system,
            output_config=prompt.output_config,
        )
        usage = Usage(_input_tokens(message.usage), message.usage.output_tokens)
        finish = ending(ANTHROPIC_ENDINGS, self.profile.id, message.stop_reason, usage)
        text = "".join(block.text for block in message.content if block.type == "text")
        return Reply(text, str(message.model), usage, finish)

    async def _stream(self, request: BackendRequest, say: Say) -> Reply:
        client, prompt = self._client(), self._prompt(request)
        events = await client.messages.create(
            model=self.profile.model,
            max_tokens=request.budgets.max_tokens,
            messages=prompt.messages,
            system=prompt.system,
            output_config=prompt.output_config,
            stream=True,
        )
        pieces: list[str] = []
        model, reason, usage = "", None, Usage()
        async for event in events:
            match event.type:
                case "message_start":
                    model = str(event.message.model)
                    usage = Usage(_input_tokens(event.message.usage), event.message.usage.output_tokens)
                case "content_block_delta" if event.delta.type == "text_delta":
                    pieces.append(event.delta.text)
                    say(event.delta.text)
                case "message_delta":
                    reason = event.delta.stop_reason
                    usage = usage.at_least(Usage(_input_tokens(event.usage), event.usage.output_tokens))
        finish = ending(ANTHROPIC_ENDINGS, self.profile.id, reason, usage)
        return Reply("".join(pieces), model, usage, finish)


def _turn(message: Message) -> MessageParam:
    if message.role is MessageRole.ASSISTANT:
        return {"role": "assistant", "content": message.content}
    return {"role": "user", "content": message.content}


def _input_tokens(usage: MessageUsage | MessageDeltaUsage) -> int:
    """Return all tokens of the prompt: those that a cache has held or took in are counted apart."""
    parts = (usage.input_tokens, usage.cache_creation_input_tokens, usage.cache_read_input_tokens)
    return sum(part or 0 for part in parts)
