"""What a backend is asked and what it answers, and the pure check that the answer is within what was asked.

A request states its limits and contracts; `BackendRequest.faults` holds a response to all of them at once. What a call
has used is the same `Usage` that a suggestor reports and an allowance settles. What is answered are words, or JSON that
keeps a contract; whoever asked makes proposals of them, which go through the gates like anyone's.

`Backend` is the port: a model at a provider that can be asked. It retries nothing and hides nothing. A call ends in a
`BackendResponse`, or in one of the errors of `converge_core.llm.errors`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, Self

from pydantic import SecretStr

from converge_core.context.allowance import NOTHING, Usage
from converge_core.context.payloads import freeze
from converge_core.errors import MisuseError
from converge_core.ledger.canonical import JsonValue, canonical
from converge_core.ledger.hashes import ContentHash
from converge_core.llm.errors import BudgetExceeded, ContractFailed
from converge_core.llm.policies import RetryPolicy
from converge_core.llm.profiles import ProviderProfile
from converge_core.suggestors.catalog import Port
from converge_core.suggestors.contract import Replayability

MESSAGE_TOKENS = 16
"""The most tokens that a provider adds for a message: its role and what separates it from the next."""

Listener = Callable[[str], Awaitable[None]]
"""Hears an answer as it comes, piece by piece."""


class MessageRole(StrEnum):
    """Who speaks in a conversation."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: MessageRole
    content: str

    @classmethod
    def user(cls, content: str) -> Self:
        """Return what the user says; a prompt that is one text is one such message."""
        return cls(MessageRole.USER, content)


@dataclass(frozen=True, slots=True)
class ContractSpec:
    """A contract that an answer is checked against. One that is not ``required`` is reported on, and stops nothing.

    ``schema`` is a JSON Schema, frozen when it is given. Raises CanonicalError where it is not JSON.
    """

    name: str
    schema: Mapping[str, JsonValue] | None = None
    required: bool = True

    def __post_init__(self) -> None:
        canonical(self.schema)
        object.__setattr__(self, "schema", freeze(self.schema))


@dataclass(frozen=True, slots=True)
class ContractResult:
    """Whether an answer keeps one contract, and what was found."""

    name: str
    passed: bool
    diagnostics: str = ""


@dataclass(frozen=True, slots=True)
class ContractReport:
    """The results of all contracts that were checked."""

    results: tuple[ContractResult, ...] = ()

    @property
    def all_passed(self) -> bool:
        """Whether every result is a pass. Where nothing was checked, nothing failed."""
        return all(result.passed for result in self.results)


@dataclass(frozen=True, slots=True)
class BackendBudgets:
    """The limits of one request: output tokens, rounds of model and tools, milliseconds, micro-dollars.

    None is no limit, and 0 is nothing at all. Raises MisuseError for a negative limit.
    """

    max_tokens: int = 1024
    max_iterations: int = 1
    latency_ceiling_ms: int | None = None
    cost_ceiling_microusd: int | None = None

    def __post_init__(self) -> None:
        if any(limit < 0 for limit in self.limits().values()):
            raise MisuseError("backend budgets: a limit is not negative")

    def limits(self) -> dict[str, int]:
        """Return the limits that there are, by resource."""
        limits = {
            "tokens": self.max_tokens,
            "iterations": self.max_iterations,
            "latency_ms": self.latency_ceiling_ms,
            "cost_microusd": self.cost_ceiling_microusd,
        }
        return {resource: limit for resource, limit in limits.items() if limit is not None}


class FinishReason(StrEnum):
    """Why an answer ends where it does. A refusal and a cut answer are no answers, but errors."""

    STOP = "stop"
    STOP_SEQUENCE = "stop_sequence"


@dataclass(frozen=True, slots=True)
class BackendResponse:
    """What the backend ``backend`` answered with ``model``, and what it took.

    ``text`` is the answer as it came; ``output`` what it says where a contract with a schema was asked for, as JSON.
    ``usage`` counts all rounds together, ``iterations`` how many there were. ``replayability`` says whether the same
    request would be answered the same again.
    """

    backend: str
    model: str
    text: str = ""
    output: JsonValue = None
    finish: FinishReason = FinishReason.STOP
    contract_report: ContractReport = ContractReport()
    usage: Usage = NOTHING
    latency_ms: int = 0
    iterations: int = 1
    replayability: Replayability = Replayability.NONE


@dataclass(frozen=True, slots=True)
class BackendRequest:
    """A call to a language model.

    ``truth_ids`` are the truths of the intent that it serves, ``prompt_version`` names the template and
    ``state_injection_hash`` the state that was put into it. The answer is to be JSON where a contract has a schema, and
    one has at most. Raises MisuseError for a request without messages, for two contracts of one name or with a schema.
    """

    intent_id: str
    messages: tuple[Message, ...]
    truth_ids: tuple[str, ...] = ()
    prompt_version: str = ""
    state_injection_hash: ContentHash | None = None
    contracts: tuple[ContractSpec, ...] = ()
    budgets: BackendBudgets = BackendBudgets()
    retry: RetryPolicy = RetryPolicy()

    def __post_init__(self) -> None:
        if not self.messages:
            raise MisuseError("a request needs at least one message")
        names = [contract.name for contract in self.contracts]
        if len(set(names)) < len(names):
            raise MisuseError(f"each contract has a name of its own, unlike {', '.join(names)}")
        if sum(contract.schema is not None for contract in self.contracts) > 1:
            raise MisuseError("an answer has one shape: at most one contract has a schema")

    @property
    def shape(self) -> ContractSpec | None:
        """The contract that says which shape the answer has, if there is one."""
        return next((contract for contract in self.contracts if contract.schema is not None), None)

    @property
    def max_prompt_tokens(self) -> int:
        """The most tokens that the prompt can come to, with its shape: no tokenizer makes more tokens than bytes."""
        texts = [message.content for message in self.messages]
        if self.shape is not None:
            texts.append(canonical(self.shape.schema))
        return sum(len(text.encode()) + MESSAGE_TOKENS for text in texts)

    def to_json(self) -> dict[str, JsonValue]:
        """Return what a model is asked, without what the asker does about it (retries, ceilings)."""
        return {
            "contracts": [
                {"name": contract.name, "required": contract.required, "schema": contract.schema}
                for contract in self.contracts
            ],
            "max_tokens": self.budgets.max_tokens,
            "messages": [{"content": message.content, "role": message.role} for message in self.messages],
            "prompt_version": self.prompt_version,
        }

    @property
    def digest(self) -> ContentHash:
        """The hash that names what is asked: the same question, the same digest, whoever is asked it."""
        return ContentHash.of(canonical(self.to_json()))

    def faults(self, response: BackendResponse) -> tuple[BudgetExceeded | ContractFailed, ...]:
        """Return the limits that a response exceeds and the required contracts that it does not keep.

        A required contract that the response does not report on is not kept.
        """
        return (*self._overruns(response), *self._broken(response))

    def _overruns(self, response: BackendResponse) -> Iterator[BudgetExceeded]:
        used = {
            "tokens": response.usage.output_tokens,
            "iterations": response.iterations,
            "latency_ms": response.latency_ms,
            "cost_microusd": response.usage.cost_microusd,
        }
        for resource, limit in self.budgets.limits().items():
            if used[resource] > limit:
                yield BudgetExceeded(response.backend, resource, limit, used[resource])

    def _broken(self, response: BackendResponse) -> Iterator[ContractFailed]:
        for contract in self.contracts:
            results = [result for result in response.contract_report.results if result.name == contract.name]
            failed = [result for result in results if not result.passed]
            if contract.required and (failed or not results):
                diagnostics = failed[0].diagnostics if failed else "not checked"
                yield ContractFailed(response.backend, contract.name, diagnostics)


KEYS: Port[Mapping[str, SecretStr]] = Port("keys")
"""The keys that were given outright, by provider: they come before any keyring or environment."""


class Backend(Protocol):
    """A model at a provider that can be asked. One object serves any number of calls at a time."""

    @property
    def profile(self) -> ProviderProfile:
        """What is known of it: its id (unique within a deployment), its provider and model, what it can do."""
        ...

    async def count_tokens(self, request: BackendRequest) -> int:
        """Return how many tokens the prompt comes to, or more: never less than will be billed. Raises BackendError."""
        ...

    async def complete(self, request: BackendRequest, listen: Listener | None = None) -> BackendResponse:
        """Ask once. With ``listen`` the answer is streamed to it as well, and is the same in the end.

        Every contract that the backend can check is reported on. Within ``budgets.latency_ceiling_ms``, or else
        BackendTimeout. Raises BackendError, and nothing else but a cancellation and what ``listen`` raises.
        """
        ...

    async def aclose(self) -> None:
        """Give back connections, on the event loop where they were made. Doing so twice is fine.

        A call after that makes new ones, on whichever event loop it is made: so a run may stop for people and go on.
        """
        ...
