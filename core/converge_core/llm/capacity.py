"""The capacity of providers: who can be asked right now, and what is learned from asking.

Everything that asks a provider goes through one `Capacity`: it is asked for leave before each call and told of each
outcome after it, so there is one circuit for a provider, and whoever finds it open was spared by somebody else's
failure.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple, Protocol

from converge_core.ledger.canonical import JsonValue
from converge_core.llm.breaker import Permit
from converge_core.llm.errors import CallOutcome


class ProviderState(StrEnum):
    """What is known of a provider now."""

    AVAILABLE = "available"
    DEGRADED = "degraded"
    QUOTA_HIT = "quota_hit"
    CIRCUIT_OPEN = "circuit_open"
    UNAVAILABLE = "unavailable"
    NO_KEY = "no_key"


class DreamerTier(StrEnum):
    """Whose request it is, by what they are entitled to; lowest first."""

    WANDERER = "wanderer"
    DEEP_DREAMER = "deep_dreamer"
    SYNTHESASIA_GUILD = "synthesasia_guild"


class Leave(NamedTuple):
    """The answer to who wants to ask a provider: a permit for one call, or none and the reason.

    ``retry_after_ms`` is when asking again makes sense, where that is known.
    """

    permit: Permit | None
    state: ProviderState
    reason: str = ""
    retry_after_ms: int | None = None


class Capacity(Protocol):
    """The providers of a process, or of all processes that share one file."""

    def chain(self, tier: DreamerTier = DreamerTier.WANDERER) -> tuple[str, ...]:
        """Return the providers that may be asked now, in the order in which they are to be."""
        ...

    def admit(self, provider: str) -> Leave:
        """Ask for leave to make one call. A permit is handed back to `settle`, whatever becomes of the call."""
        ...

    def settle(
        self,
        provider: str,
        permit: Permit,
        outcome: CallOutcome,
        latency_ms: int,
        retry_after_ms: int | None = None,
        detail: str = "",
    ) -> None:
        """Tell how a call ended. ``retry_after_ms`` is the wait that was asked for, ``detail`` is for people."""
        ...

    def snapshot(self, tier: DreamerTier = DreamerTier.WANDERER) -> Mapping[str, JsonValue]:
        """Return everything that is known, as JSON: what a status panel shows."""
        ...
