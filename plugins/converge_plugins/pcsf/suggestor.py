"""``pcsf.capacity``: which providers can be asked, as facts of the run.

    use: pcsf.capacity
    with: {for_each: seeds}

Whenever there is something new under ``for_each``, the providers are looked at, and where that shows something else
than it did last, one `CapacitySignal` is proposed under ``signals``: the state of each provider, and the chain of those
that can be asked, best first. So rules can wait for a provider, or stop asking in vain, and the ledger shows what they
knew. What latency, errors and windows come to in numbers is not in it: it changes with every call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from converge_core import AgentEffect, Context, ContextKey, FactPayload, ProposedFact, Replayability, Site, Suggestor
from converge_core.context.payloads import FrozenObject
from converge_core.llm.capacity import DreamerTier
from converge_core.ports import CAPACITY


class CapacitySignal(FactPayload):
    """The providers as they were found: the state of each, and the chain for the tier."""

    family: ClassVar[str] = "converge.capacity"
    tier: DreamerTier
    chain: tuple[str, ...]
    states: FrozenObject

    def summary(self) -> str:
        return f"can be asked: {', '.join(self.chain) or 'nobody'}"


class CapacityConfig(BaseModel):
    """The configuration of who looks at the providers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    for_each: ContextKey = Field(description="New facts under this key are the occasion to look.")
    tier: DreamerTier = Field(default=DreamerTier.WANDERER, description="Whose order the chain has.")

    @field_validator("for_each")
    @classmethod
    def _wakes_not_itself(cls, key: ContextKey) -> ContextKey:
        if key is ContextKey.SIGNALS:
            raise ValueError("what is seen is proposed under signals: name another key")
        return key


class CapacitySuggestor(Suggestor):
    """Proposes what the capacity shows, when that has changed. Raises LookupError where no capacity is offered."""

    writes = (ContextKey.SIGNALS,)
    payloads = (CapacitySignal,)
    replayability = Replayability.NONE

    def __init__(self, config: CapacityConfig, site: Site) -> None:
        self.name = site.name
        self.dependencies = (config.for_each,)
        self.config = config.model_dump(mode="json")
        self._tier, self._capacity = config.tier, site.port(CAPACITY)

    def execute(self, ctx: Context) -> AgentEffect:
        """Return the signal, or nothing where it is the one before. Raises CapacityError."""
        seen = self._signal()
        before = [fact for fact in ctx.get(ContextKey.SIGNALS, CapacitySignal) if fact.proposer == self.name]
        if before and before[-1].payload == seen:
            return AgentEffect.empty()
        return AgentEffect.with_proposal(ProposedFact(ContextKey.SIGNALS, f"{self.name}:{len(before) + 1}", seen))

    def _signal(self) -> CapacitySignal:
        shown: Mapping[str, Any] = self._capacity.snapshot(self._tier)
        return CapacitySignal.model_validate(
            {
                "tier": self._tier,
                "chain": shown["routable_chain"],
                "states": {name: provider["state"] for name, provider in shown["providers"].items()},
            }
        )
