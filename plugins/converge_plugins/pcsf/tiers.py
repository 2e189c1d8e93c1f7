"""What the tiers are entitled to, as data: whom they are sent to first, and how often they may do what."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from converge_core.llm.capacity import DreamerTier

QUOTA_PERIOD_MS = 86_400_000
"""A quota is for a day, which begins at midnight in UTC."""

ACTIONS = ("art_generation", "chat", "3door_plays")
"""What is counted. There is no other action, and nobody may do it however often."""

BOOSTS: Mapping[DreamerTier, Mapping[str, int]] = MappingProxyType(
    {
        DreamerTier.WANDERER: MappingProxyType({}),
        DreamerTier.DEEP_DREAMER: MappingProxyType({"anthropic": -1, "openai": -1}),
        DreamerTier.SYNTHESASIA_GUILD: MappingProxyType({"anthropic": -2, "openai": -2, "google": -1}),
    }
)
"""By how many places a provider moves for a tier; towards the front is negative."""

QUOTAS: Mapping[DreamerTier, Mapping[str, int | None]] = MappingProxyType(
    {
        DreamerTier.WANDERER: MappingProxyType(dict(zip(ACTIONS, (15, 100, 5), strict=True))),
        DreamerTier.DEEP_DREAMER: MappingProxyType(dict.fromkeys(ACTIONS)),
        DreamerTier.SYNTHESASIA_GUILD: MappingProxyType(dict.fromkeys(ACTIONS)),
    }
)
"""How often an action is allowed in a period; None is without limit."""
