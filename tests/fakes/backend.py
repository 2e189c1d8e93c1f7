"""A backend that says what it was told to say, and a capacity that admits whom it was told to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from converge_core import Usage
from converge_core.ledger.canonical import JsonValue
from converge_core.llm.backend import (
    BackendRequest,
    BackendResponse,
    ContractReport,
    ContractResult,
    Listener,
)
from converge_core.llm.breaker import Permit
from converge_core.llm.capacity import DreamerTier, Leave, ProviderState
from converge_core.llm.errors import CallOutcome
from converge_core.llm.profiles import CostClass, ProviderProfile

Said = str | BaseException | BackendResponse


def profile_of(name: str, provider: str | None = None, **more: object) -> ProviderProfile:
    """A profile of a model called ``name``."""
    return ProviderProfile(name, provider or name, f"{name}-1", CostClass.LOW, 100, 0.8, **more)  # type: ignore[arg-type]


@dataclass
class FakeBackend:
    """Answers with one thing after the other, and remembers what it was asked.

    A text uses ten tokens of prompt and five of answer; a request with a shape is told ``kept`` of it.
    """

    profile: ProviderProfile
    said: list[Said]
    prompt_tokens: int = 10
    kept: Sequence[bool] = ()
    asked: list[BackendRequest] = field(default_factory=list)
    closed: bool = False

    async def count_tokens(self, request: BackendRequest) -> int:
        return self.prompt_tokens

    async def complete(self, request: BackendRequest, listen: Listener | None = None) -> BackendResponse:
        self.asked.append(request)
        said = self.said.pop(0)
        if isinstance(said, BaseException):
            raise said
        if isinstance(said, BackendResponse):
            return said
        if listen is not None:
            for word in said.split():
                await listen(word)
        kept = list(self.kept)[len(self.asked) - 1 : len(self.asked)] or [True]
        report = ContractReport(
            tuple(ContractResult(contract.name, kept[0], "$.x: is missing") for contract in request.contracts)
        )
        return BackendResponse(
            self.profile.id, self.profile.model, said, usage=Usage(10, 5), latency_ms=1, contract_report=report
        )

    async def aclose(self) -> None:
        self.closed = True


@dataclass
class FakeCapacity:
    """Admits everybody but ``closed``, and remembers what it was told."""

    closed: Mapping[str, str] = field(default_factory=dict)
    order: Sequence[str] = ()
    told: list[tuple[str, CallOutcome, int | None]] = field(default_factory=list)
    out: int = 0

    def chain(self, tier: DreamerTier = DreamerTier.WANDERER) -> tuple[str, ...]:
        return tuple(provider for provider in self.order if provider not in self.closed)

    def admit(self, provider: str) -> Leave:
        if provider in self.closed:
            return Leave(None, ProviderState.CIRCUIT_OPEN, self.closed[provider], 1000)
        self.out += 1
        return Leave(Permit(0), ProviderState.AVAILABLE)

    def settle(
        self,
        provider: str,
        permit: Permit,
        outcome: CallOutcome,
        latency_ms: int,
        retry_after_ms: int | None = None,
        detail: str = "",
    ) -> None:
        self.out -= 1
        self.told.append((provider, outcome, retry_after_ms))

    def snapshot(self, tier: DreamerTier = DreamerTier.WANDERER) -> Mapping[str, JsonValue]:
        return {}


@dataclass(frozen=True)
class FakePrices:
    """One micro-dollar a token, of every model but those that nobody knows."""

    unknown: frozenset[str] = frozenset()

    def cost_microusd(self, provider: str, model: str, usage: Usage) -> int | None:
        return None if model in self.unknown else usage.tokens
