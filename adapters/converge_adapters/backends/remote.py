"""What all backends share that ask a provider through an SDK.

A subclass says how its provider is asked (`RemoteBackend._ask`) and what its SDK's exceptions mean; the rest is here,
once: the deadline, the stream, the check of an answer, and that nothing but a `BackendError` comes out.

An answer is read in a task of its own while what it says is told in another. So whoever listens is slow at nobody's
cost, and what they raise is never taken for a failure of the provider. It also sees to it that a stream is only ever
left where it waits for the network, from where an SDK tidies up after itself on every event loop.

The SDKs retry nothing and have no time limit of their own: retries and deadlines are decided where they are recorded.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

import anyio
from pydantic import SecretStr

from converge_adapters.backends.outcomes import own_error
from converge_adapters.backends.structured import check, instruction, require_schema, unfenced
from converge_adapters.clocks import monotonic_ms
from converge_core.context.allowance import Usage
from converge_core.errors import ConvergeError
from converge_core.llm.backend import (
    MESSAGE_TOKENS,
    BackendRequest,
    BackendResponse,
    FinishReason,
    Listener,
    Message,
    MessageRole,
)
from converge_core.llm.errors import (
    AuthenticationFailed,
    BackendError,
    BackendTimeout,
    ExecutionFailed,
    InvalidRequest,
)
from converge_core.llm.profiles import ProviderProfile

if TYPE_CHECKING:
    import httpx2

T = TypeVar("T")
Say = Callable[[str], None]
"""Takes a piece of an answer as it comes in."""


class Client(Protocol):
    """What is common to the clients of the SDKs."""

    async def close(self) -> None:
        """Give back connections."""
        ...


C = TypeVar("C", bound=Client)


@dataclass(frozen=True, slots=True)
class Connection:
    """How a provider is reached, and what it can be asked for.

    ``base_url`` None is the provider's own. No call takes longer than ``timeout_ms``; a request may allow less. A model
    that is not ``structured`` is told the shape of an answer in words. ``transport`` is another way to the network, or
    none, such as a cassette.
    """

    key: SecretStr | None = None
    base_url: str | None = None
    timeout_ms: int = 120_000
    structured: bool = True
    transport: httpx2.AsyncBaseTransport | None = None


class Reply(NamedTuple):
    """A finished answer, before it is held to its contracts."""

    text: str
    model: str
    usage: Usage
    finish: FinishReason


class RemoteBackend(ABC, Generic[C]):
    """A model at a provider. ``clock`` is in milliseconds and never decreases."""

    def __init__(
        self, profile: ProviderProfile, connection: Connection, clock: Callable[[], int] = monotonic_ms
    ) -> None:
        self._profile = profile
        self._connection = connection
        self._clock = clock
        self._made: C | None = None

    @property
    def profile(self) -> ProviderProfile:
        """What is known of the model."""
        return self._profile

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._profile.id!r}>"

    async def count_tokens(self, request: BackendRequest) -> int:
        """Return how many tokens the prompt comes to, or more. Raises BackendError."""
        self._client()
        return await self._guarded(request, partial(self._count, request))

    async def complete(self, request: BackendRequest, listen: Listener | None = None) -> BackendResponse:
        """Ask once; see `converge_core.llm.backend.Backend`."""
        require_schema(self._profile.id, request)
        self._client()
        began = self._clock()
        call = partial(self._ask, request, None) if listen is None else partial(self._heard, request, listen)
        reply = await self._guarded(request, call)
        if isinstance(reply, Exception):  # the listener's own
            raise reply
        latency_ms = self._clock() - began
        if not reply.text.strip():
            empty = ExecutionFailed(self._profile.id, "the answer is empty")
            empty.usage = reply.usage
            raise empty
        output, report = check(request, reply.text if self._enforces(request) else unfenced(reply.text))
        return BackendResponse(
            self._profile.id,
            str(reply.model or self._profile.model),
            reply.text,
            output,
            reply.finish,
            report,
            reply.usage,
            latency_ms,
        )

    async def aclose(self) -> None:
        """Give back connections; a call after that makes new ones. Doing so twice is fine."""
        made, self._made = self._made, None
        if made is not None:
            await made.close()

    @abstractmethod
    def _connect(self, connection: Connection, key: str) -> C:
        """Return a client of the SDK, without retries or time limits. Here is where the SDK is imported."""

    @abstractmethod
    async def _ask(self, request: BackendRequest, say: Say | None) -> Reply:
        """Ask, and tell ``say`` each piece of the answer where it is given. Raises what it likes."""

    @abstractmethod
    def _failure(self, error: Exception, deadline_ms: int, elapsed_ms: int) -> BackendError:
        """Return what an exception means that `_ask` or `_count` has let out."""

    async def _count(self, request: BackendRequest) -> int:
        """Return the tokens of the prompt, or more: without a tokenizer, so many as it has bytes."""
        return sum(len(message.content.encode()) + MESSAGE_TOKENS for message in self._messages(request))

    def _key(self) -> str:
        """Return the key. Raises AuthenticationFailed where there is none."""
        if self._connection.key is None:
            raise AuthenticationFailed(self._profile.id, "there is no key for it")
        return self._connection.key.get_secret_value()

    def _client(self) -> C:
        """Return the client. Whoever calls it before the clock starts has the SDK imported on nobody's time."""
        if self._made is None:
            key = self._key()
            try:
                self._made = self._connect(self._connection, key)
            except ValueError as error:
                raise InvalidRequest(self._profile.id, f"no client can be made ({type(error).__name__})") from None
        return self._made

    def _enforces(self, request: BackendRequest) -> bool:
        """Return whether the provider itself holds the model to the shape that a request wants."""
        return request.shape is not None and self._connection.structured

    def _messages(self, request: BackendRequest) -> tuple[Message, ...]:
        """Return what is said to the model: where nobody else holds it to a shape, that shape as well, in words."""
        if request.shape is None or self._enforces(request):
            return request.messages
        return (Message(MessageRole.SYSTEM, instruction(request.shape)), *request.messages)

    async def _guarded(self, request: BackendRequest, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call within its time. Raises BackendError, and our own errors as they are."""
        began = self._clock()
        ceiling_ms = request.budgets.latency_ceiling_ms
        deadline_ms = (
            self._connection.timeout_ms if ceiling_ms is None else min(self._connection.timeout_ms, ceiling_ms)
        )
        failure: ConvergeError | None = None
        with anyio.move_on_after(deadline_ms / 1000):
            try:
                return await call()
            except Exception as error:
                failure = own_error(error) or self._failure(error, deadline_ms, self._clock() - began)
        if failure is None:
            failure = BackendTimeout(self._profile.id, deadline_ms, self._clock() - began)
        raise failure

    async def _heard(self, request: BackendRequest, listen: Listener) -> Reply | Exception:
        """Return the answer, told piece by piece as it comes in, or what the listener has raised."""
        says, hears = anyio.create_memory_object_stream[str](math.inf)
        result: list[Reply | Exception] = []
        deaf: list[Exception] = []

        async def read() -> None:
            with says:
                try:
                    result.append(await self._ask(request, says.send_nowait))
                except Exception as error:
                    result.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            with hears:
                try:
                    async for piece in hears:
                        await listen(piece)
                except Exception as error:
                    deaf.append(error)
                    tasks.cancel_scope.cancel()
        if deaf:
            return deaf[0]
        [found] = result
        if isinstance(found, Exception):
            raise found
        return found
