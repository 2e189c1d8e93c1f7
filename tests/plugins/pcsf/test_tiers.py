"""The tables of the tiers fit together, and name nothing that nobody has."""

from __future__ import annotations

import pytest

from converge_adapters.testing.capacity import ManualClock
from converge_core.llm.capacity import DreamerTier
from converge_plugins.pcsf.memory import MemoryCapacityStore
from converge_plugins.pcsf.registry import default_registry
from converge_plugins.pcsf.tiers import ACTIONS, BOOSTS, QUOTAS


@pytest.mark.parametrize("tier", DreamerTier)
def test_every_tier_has_a_quota_for_every_action(tier: DreamerTier) -> None:
    assert tuple(QUOTAS[tier]) == ACTIONS


@pytest.mark.parametrize("tier", DreamerTier)
def test_x27_every_boost_is_for_a_provider_that_there_is(tier: DreamerTier) -> None:
    registry = default_registry(MemoryCapacityStore(), ManualClock())
    assert {registry.get(provider).provider_id for provider in BOOSTS[tier]} == set(BOOSTS[tier])


def test_nobody_can_change_the_tables() -> None:
    for table in (BOOSTS, QUOTAS, *BOOSTS.values(), *QUOTAS.values()):
        assert not hasattr(table, "__setitem__")
