"""What is known of a suggestor before it is asked: what formations are chosen by.

Roles and capabilities are words that an intent and its suggestors agree on, such as the roles ``analysis``,
``planning`` and ``evaluation``, and the capabilities ``analytics``, ``optimization`` and ``human_in_the_loop``. The
words for what a suggestor needs of a backend are those of `converge_core.llm.capability`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from converge_core.ledger.canonical import JsonValue
from converge_core.llm.capability import CapabilityWord, RequiredCapabilities, capability_of
from converge_core.llm.profiles import CostClass, LatencyClass

Word = Annotated[str, Field(min_length=1, max_length=128)]
"""A role, a capability, or the name of a suggestor."""


class SuggestorProfile(BaseModel):
    """What is known of a suggestor before it is asked. The defaults speak neither for it nor against it."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    cost: CostClass = Field(default=CostClass.MEDIUM, description="How expensive a call is.")
    latency: LatencyClass = Field(default=LatencyClass.INTERACTIVE, description="How long a call takes.")
    confidence: float = Field(default=0.5, ge=0, le=1, description="How sure its proposals are as a rule.")
    roles: tuple[Word, ...] = Field(default=(), description="The roles that it can play.")
    capabilities: tuple[Word, ...] = Field(default=(), description="What it can do.")
    backend: tuple[CapabilityWord, ...] = Field(
        default=(), description="What a backend must be able to do for it, such as `reasoning`; all of these."
    )

    @property
    def cheapness(self) -> float:
        """1.0 for what is free, 0.0 for the most expensive class, in equal steps."""
        return 1 - self.cost.rank / (len(CostClass) - 1)

    @property
    def speed(self) -> float:
        """1.0 for the fastest class, 0.0 for the slowest, in equal steps."""
        return 1 - list(LatencyClass).index(self.latency) / (len(LatencyClass) - 1)

    @property
    def needs(self) -> RequiredCapabilities:
        """What it needs of a backend."""
        return RequiredCapabilities(frozenset(map(capability_of, self.backend)))

    def to_json(self) -> dict[str, JsonValue]:
        """Return what differs from the defaults, as it stands in the ledger; nothing for a neutral profile."""
        return self.model_dump(mode="json", exclude_defaults=True)


NEUTRAL = SuggestorProfile()
"""The profile of a suggestor that says nothing about itself."""
