"""The registry of providers: which there are, in which order they are asked, and one circuit for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_adapters.testing.capacity import CapacityConformance, ManualClock
from converge_core import MisuseError
from converge_core.ledger.canonical import canonical
from converge_core.llm.breaker import Permit
from converge_core.llm.capacity import (
    ALWAYS,
    Capacity,
    CapacityPolicy,
    Consumption,
    DreamerTier,
    ProviderState,
    Quotas,
)
from converge_core.llm.errors import CallOutcome
from converge_core.llm.policies import CircuitBreakerConfig
from converge_plugins.pcsf.memory import MemoryCapacityStore
from converge_plugins.pcsf.registry import ProviderRegistry, default_registry
from converge_plugins.pcsf.tiers import QUOTA_PERIOD_MS

WANDERER, DEEP_DREAMER, GUILD = DreamerTier
DEFAULT_CHAIN = ("anthropic", "openai", "google", "groq", "deepseek", "ollama", "offline")
MIDNIGHT = 20_000 * QUOTA_PERIOD_MS


def all_present(name: str) -> str:
    return "key"


def full_registry(clock: ManualClock | None = None) -> ProviderRegistry:
    """The default registry, on a machine that has every key."""
    registry = default_registry(MemoryCapacityStore(), clock or ManualClock())
    registry.check_env(all_present)
    return registry


def registry_of(*providers: str) -> ProviderRegistry:
    """A registry of providers that need no key, in this order."""
    registry = ProviderRegistry(MemoryCapacityStore(), ManualClock())
    for provider in providers:
        registry.register(provider)
    return registry


def trip(registry: ProviderRegistry, provider: str) -> None:
    for _ in range(3):
        registry.record_error(provider, "no answer")


class TestRegistryInMemory(CapacityConformance):
    def make_capacity(self, tmp_path: Path, clock: ManualClock) -> Capacity:
        return full_registry(clock)


# --- who can be asked -------------------------------------------------------------------------------------------------


def test_the_default_chain_has_its_order() -> None:
    assert full_registry().get_routable_chain() == DEFAULT_CHAIN


def test_x01_a_provider_whose_key_is_there_at_the_first_look_can_be_asked() -> None:
    registry = default_registry(MemoryCapacityStore(), ManualClock())
    registry.check_env({"OPENAI_API_KEY": "key"}.get)
    assert registry.get("openai").state is ProviderState.AVAILABLE
    assert registry.admit("openai").permit is not None


def test_x01_who_needs_no_key_can_be_asked_before_anybody_has_looked_for_keys() -> None:
    registry = default_registry(MemoryCapacityStore(), ManualClock())
    assert registry.get_routable_chain() == ("ollama", "offline")
    assert registry.get("anthropic").state is ProviderState.UNAVAILABLE


def test_x01_offline_can_be_asked_whatever_happened() -> None:
    registry = default_registry(MemoryCapacityStore(), ManualClock())
    registry.check_env(lambda name: None)
    trip(registry, "ollama")
    trip(registry, "offline")
    registry.record_quota_hit("offline", 3_600_000)
    assert registry.get_routable_chain() == ("offline",)


@pytest.mark.parametrize("blank", [None, "", " \n"])
def test_a_key_that_is_blank_is_none(blank: str | None) -> None:
    registry = default_registry(MemoryCapacityStore(), ManualClock())
    registry.check_env({"OPENAI_API_KEY": blank}.get)
    assert registry.get("openai").state is ProviderState.NO_KEY
    assert registry.admit("openai").reason == "OPENAI_API_KEY is not set"


def test_a_key_that_appears_and_disappears_is_followed_at_the_next_look() -> None:
    clock = ManualClock()
    registry = default_registry(MemoryCapacityStore(), clock)
    seen = []
    for keys in ({}, {"OPENAI_API_KEY": "key"}, {}):
        clock.pass_ms(1)
        registry.check_env(keys.get)
        state = registry.get("openai")
        assert state.checked_at_ms == clock()
        seen.append((state.state, "openai" in registry.chain()))
    assert seen == [(ProviderState.NO_KEY, False), (ProviderState.AVAILABLE, True), (ProviderState.NO_KEY, False)]


def test_what_was_learned_before_a_key_disappeared_is_known_when_it_is_back() -> None:
    registry = full_registry()
    trip(registry, "openai")
    registry.check_env(lambda name: None)
    registry.check_env(all_present)
    assert registry.get("openai").state is ProviderState.CIRCUIT_OPEN


def test_no_key_is_kept() -> None:
    registry = default_registry(MemoryCapacityStore(), ManualClock())
    registry.check_env(lambda name: "sk-secret")
    assert "sk-secret" not in f"{canonical(registry.snapshot())} {registry.get('openai')} {vars(registry)}"


# --- registering ------------------------------------------------------------------------------------------------------


def test_a_place_is_one_among_those_that_are_there_and_without_one_it_is_the_last() -> None:
    registry = registry_of("b", "d")
    registry.register("a", priority=0)
    registry.register("c", priority=2)
    registry.register("e", priority=4)
    registry.register("f")
    assert registry.chain() == ("a", "b", "c", "d", "e", "f")


def test_to_register_again_moves_nobody_and_forgets_nothing() -> None:
    registry = registry_of("a", "b")
    registry.record_success("b", 70)
    registry.register("b", priority=0)
    assert registry.chain() == ("a", "b")
    assert registry.get("b").latency_ema_ms == 70.0


def test_to_register_again_with_a_key_waits_for_a_look_at_it() -> None:
    registry = registry_of("a", "b")
    registry.register("b", "B_KEY")
    assert registry.chain() == ("a",)
    registry.check_env(all_present)
    assert registry.chain() == ("a", "b")


@pytest.mark.parametrize("priority", [-1, 3])
def test_a_place_that_is_none_is_refused_and_nobody_is_added(priority: int) -> None:
    registry = registry_of("a", "b")
    with pytest.raises(MisuseError, match="provider 'c': a place is 0 to 2"):
        registry.register("c", priority=priority)
    assert registry.chain() == ("a", "b")


def test_a_provider_without_a_name_is_refused() -> None:
    with pytest.raises(MisuseError, match="has a name"):
        registry_of(" ")


def test_a_provider_may_have_a_policy_of_its_own() -> None:
    registry = registry_of("a", "b")
    registry.register("a", policy=CapacityPolicy(CircuitBreakerConfig(failure_threshold=1)))
    registry.record_error("a", "no answer")
    registry.record_error("b", "no answer")
    assert registry.chain() == ("b",)
    registry.register("b", policy=ALWAYS)
    trip(registry, "b")
    assert registry.chain() == ("b",)


@pytest.mark.parametrize("method", ["get", "admit", "settle", "success", "error", "quota", "forget"])
def test_x27_a_provider_that_nobody_registered_is_refused_and_the_nearest_is_named(method: str) -> None:
    registry = full_registry()
    calls: Mapping[str, Callable[[], object]] = {
        "get": lambda: registry.get("gooogle"),
        "admit": lambda: registry.admit("gooogle"),
        "settle": lambda: registry.settle("gooogle", Permit(0), CallOutcome.SUCCESS, 1),
        "success": lambda: registry.record_success("gooogle", 1),
        "error": lambda: registry.record_error("gooogle", "no answer"),
        "quota": lambda: registry.record_quota_hit("gooogle"),
        "forget": lambda: registry.forget("gooogle"),
    }
    with pytest.raises(MisuseError, match=r"there is no provider 'gooogle'; known: google$"):
        calls[method]()
    assert registry.chain() == DEFAULT_CHAIN


def test_x27_a_name_that_is_near_no_other_is_refused_with_all_that_are_known() -> None:
    with pytest.raises(MisuseError, match="known: anthropic, openai, google, groq, deepseek, ollama, offline"):
        full_registry().admit("gemini")


# --- the order for a tier ---------------------------------------------------------------------------------------------

AUDITED = ("ollama", "google", "anthropic", "openai", "groq")


@pytest.mark.parametrize(
    ("tier", "chain"),
    [
        (WANDERER, ("ollama", "google", "anthropic", "openai", "groq")),
        (DEEP_DREAMER, ("ollama", "anthropic", "google", "openai", "groq")),
        (GUILD, ("anthropic", "google", "ollama", "openai", "groq")),
    ],
)
def test_x02_a_boost_moves_a_provider_by_so_many_places(tier: DreamerTier, chain: tuple[str, ...]) -> None:
    assert registry_of(*AUDITED).get_routable_chain(tier) == chain


def test_x02_the_place_counts_and_not_the_boost_alone() -> None:
    assert registry_of("a", "b", "c", "openai").chain(GUILD) == ("a", "openai", "b", "c")


def test_x02_two_with_the_same_boost_keep_their_order() -> None:
    assert registry_of("a", "openai", "anthropic").chain(GUILD) == ("openai", "anthropic", "a")


def test_x02_of_the_same_sum_the_one_that_is_boosted_comes_first() -> None:
    assert registry_of("a", "anthropic").chain(DEEP_DREAMER) == ("anthropic", "a")


@given(st.permutations(DEFAULT_CHAIN), st.sets(st.sampled_from(DEFAULT_CHAIN)), st.sampled_from(DreamerTier))
def test_x02_who_of_two_comes_first_does_not_depend_on_how_a_third_one_fares(
    order: list[str], ill: set[str], tier: DreamerTier
) -> None:
    registry = registry_of(*order)
    healthy = registry.chain(tier)
    for provider in ill:
        trip(registry, provider)
    assert registry.chain(tier) == tuple(provider for provider in healthy if provider not in ill)


@pytest.mark.parametrize("tier", DreamerTier)
def test_x02_every_provider_is_in_the_chain_once_in_whatever_order_they_are(tier: DreamerTier) -> None:
    for order in permutations(("anthropic", "openai", "google", "groq")):
        assert sorted(registry_of(*order).chain(tier)) == ["anthropic", "google", "groq", "openai"]


# --- one circuit, whoever reports -------------------------------------------------------------------------------------


def test_cr004_failures_on_different_ways_open_one_circuit() -> None:
    registry = full_registry()
    registry.record_error("anthropic", "an empty answer")
    leave = registry.admit("anthropic")
    assert leave.permit is not None
    registry.settle("anthropic", leave.permit, CallOutcome.TIMEOUT, 100)
    registry.record_error("anthropic", "no answer")
    assert registry.admit("anthropic").permit is None
    assert registry.chain() == DEFAULT_CHAIN[1:]


def test_cr004_two_registries_over_one_store_share_the_circuit_and_its_probe() -> None:
    store, clock = MemoryCapacityStore(), ManualClock()
    one, other = default_registry(store, clock), default_registry(store, clock)
    trip(one, "ollama")
    assert other.admit("ollama").permit is None
    clock.pass_ms(30_000)
    assert [registry.admit("ollama").permit is not None for registry in (one, other, one, other)] == [
        True,
        False,
        False,
        False,
    ]


def test_the_circuits_of_two_providers_have_nothing_to_do_with_each_other() -> None:
    registry = full_registry()
    trip(registry, "anthropic")
    assert registry.get("openai").state is ProviderState.AVAILABLE


def test_a_report_without_a_permit_says_what_happened() -> None:
    clock = ManualClock()
    registry = full_registry(clock)
    registry.record_success("openai", 80)
    registry.record_error("openai", "no\nanswer")
    state = registry.get("openai")
    assert (state.latency_ema_ms, state.success_count, state.error_count) == (80.0, 1, 1)
    assert (state.last_error_msg, state.last_error_at_ms) == ("failed: no answer", clock())


@pytest.mark.parametrize(("asked", "wait_ms"), [(None, 60_000), (5_000, 5_000)])
def test_a_quota_that_is_reported_is_waited_for(asked: int | None, wait_ms: int) -> None:
    clock = ManualClock()
    registry = full_registry(clock)
    registry.record_quota_hit("openai", asked)
    assert registry.admit("openai").retry_after_ms == wait_ms
    clock.pass_ms(wait_ms)
    assert "openai" in registry.chain()


def test_who_is_forgotten_can_be_asked_again_and_the_others_are_as_they_were() -> None:
    registry = full_registry()
    trip(registry, "anthropic")
    trip(registry, "openai")
    registry.forget("anthropic")
    assert registry.get("anthropic").state is ProviderState.AVAILABLE
    assert registry.get("openai").state is ProviderState.CIRCUIT_OPEN
    assert registry.get("anthropic").last_error_msg == ""


# --- quotas of tiers --------------------------------------------------------------------------------------------------


def consumed(registry: Quotas, times: int, action: str = "3door_plays", user: str = "ann") -> list[Consumption]:
    return [registry.consume("wanderer", action, user) for _ in range(times)]


@pytest.mark.parametrize(("action", "limit"), [("art_generation", 15), ("chat", 100), ("3door_plays", 5)])
def test_a_quota_is_enforced_as_it_is_counted(action: str, limit: int) -> None:
    answers = consumed(full_registry(), limit + 2, action)
    assert [answer.remaining for answer in answers[:limit]] == list(reversed(range(limit)))
    assert [answer.granted for answer in answers] == [True] * limit + [False] * 2


def test_who_has_used_a_quota_up_is_told_when_there_is_more() -> None:
    clock = ManualClock(MIDNIGHT + 1_000)
    registry = full_registry(clock)
    refused = consumed(registry, 6)[-1]
    assert refused == Consumption(False, 0, "the quota of 3door_plays is used up", QUOTA_PERIOD_MS - 1_000)
    clock.pass_ms(QUOTA_PERIOD_MS - 1_001)
    assert not consumed(registry, 1)[0].granted
    clock.pass_ms(1)
    assert consumed(registry, 1) == [Consumption(True, 4)]


def test_a_quota_is_counted_for_each_user_and_each_action() -> None:
    registry = full_registry()
    assert not consumed(registry, 6)[-1].granted
    assert consumed(registry, 1, user="bob")[0].granted
    assert consumed(registry, 1, action="chat")[0].granted


@pytest.mark.parametrize("tier", [DEEP_DREAMER, GUILD])
def test_who_has_no_limit_is_counted_all_the_same(tier: DreamerTier) -> None:
    registry = full_registry()
    assert [registry.consume(tier, "3door_plays", "ann") for _ in range(9)] == [Consumption(True, None)] * 9
    assert not registry.consume("wanderer", "3door_plays", "ann").granted


@pytest.mark.parametrize(
    ("tier", "action", "reason"),
    [
        ("dreamer", "chat", "there is no tier 'dreamer'"),
        ("", "chat", "there is no tier ''"),
        ("wanderer", "levitate", "there is no action 'levitate'"),
        ("synthesasia_guild", "levitate", "there is no action 'levitate'"),
    ],
)
def test_an_unknown_tier_or_action_is_refused_and_not_without_limit(tier: str, action: str, reason: str) -> None:
    registry = full_registry()
    assert registry.consume(tier, action, "ann") == Consumption(False, 0, reason)
    assert registry.check_tier_quota(tier, action, 0) == 0


def test_a_clock_that_is_set_back_gives_nobody_a_new_quota() -> None:
    clock = ManualClock(MIDNIGHT)
    registry = full_registry(clock)
    consumed(registry, 5)
    clock.pass_ms(-3_600_000)
    assert not consumed(registry, 1)[0].granted


@pytest.mark.parametrize(("count", "left"), [(0, 15), (14, 1), (15, 0), (99, 0)])
def test_what_is_left_of_a_quota_is_no_less_than_nothing(count: int, left: int) -> None:
    assert full_registry().check_tier_quota("wanderer", "art_generation", count) == left


def test_nothing_is_asked_about_a_negative_count() -> None:
    with pytest.raises(MisuseError, match="a count is not negative, unlike -1"):
        full_registry().check_tier_quota("wanderer", "chat", -1)


# --- the snapshot -----------------------------------------------------------------------------------------------------


def snapshot(registry: ProviderRegistry, tier: DreamerTier = WANDERER) -> Mapping[str, Any]:
    return registry.snapshot(tier)


def test_s003_the_snapshot_shows_all_providers_with_all_that_is_known() -> None:
    clock = ManualClock()
    registry = full_registry(clock)
    trip(registry, "openai")
    clock.pass_ms(10_000)
    shown = snapshot(registry, DEEP_DREAMER)
    assert list(shown) == ["priority", "providers", "routable_chain", "tier", "tier_boosts", "tier_quota_limits"]
    assert shown["priority"] == list(shown["providers"]) == list(DEFAULT_CHAIN)
    assert shown["routable_chain"] == registry.chain(DEEP_DREAMER)
    assert (shown["tier"], shown["tier_boosts"]) == ("deep_dreamer", {"anthropic": -1, "openai": -1})
    assert shown["tier_quota_limits"] == {"art_generation": None, "chat": None, "3door_plays": None}
    state = registry.get("openai")
    assert shown["providers"]["openai"] == {
        **state.to_json(),
        "state": "circuit_open",
        "is_routable": False,
        "window_left_ms": 20_000,
    }
    assert shown["providers"]["offline"]["is_routable"] is True


def test_s003_an_error_that_is_recorded_is_in_the_next_snapshot() -> None:
    registry = full_registry()
    assert snapshot(registry)["providers"]["openai"]["error_count"] == 0
    registry.record_error("openai", "no answer")
    assert snapshot(registry)["providers"]["openai"]["error_count"] == 1


def test_td009_what_nobody_has_observed_is_null_and_no_number() -> None:
    seen = snapshot(full_registry())["providers"]["openai"]
    assert (seen["latency_ema_ms"], seen["latency_max_ms"], seen["last_success_at_ms"]) == (None, None, None)


def test_a_snapshot_changes_nothing() -> None:
    store = MemoryCapacityStore()
    registry = default_registry(store, ManualClock())
    trip(registry, "ollama")
    before = dict(store.read())
    registry.snapshot()
    assert store.read() == before
