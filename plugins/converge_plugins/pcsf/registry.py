"""The registry: the providers of a deployment, in the order in which they are asked, and what is known of each.

There is one for the whole process, and one circuit for each provider, however many ways lead to it. What is known is in
a store, so that it may outlive the process and be shared with others; which providers there are, in which order, and
which of their keys are present, is the affair of each process.

*The order for a tier.* A provider's rank is its place among all that are registered, whether they can be asked or not.
The tier's boost is added to it, and the lowest sum is asked first; of two with the same sum it is the one that the tier
boosts, or else the one that was registered first. So a boost of -n moves a provider past n others that have none, and
who of two comes first never depends on how a third one fares.

*Quotas of tiers* are counted by user and action, for a day (`converge_plugins.pcsf.tiers`), and enforced as they are
counted: `consume` is one step. What has no quota, an unknown tier or action, is refused; without limit is only what the
table says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches

from converge_core import MisuseError
from converge_core.ledger.canonical import JsonValue
from converge_core.llm.breaker import Permit
from converge_core.llm.capacity import (
    ALWAYS,
    DEFAULT_POLICY,
    CapacityPolicy,
    CapacityStore,
    Consumption,
    DreamerTier,
    Leave,
    ProviderCapacityState,
    QuotaUse,
)
from converge_core.llm.errors import CallOutcome
from converge_plugins.pcsf.tiers import BOOSTS, QUOTA_PERIOD_MS, QUOTAS

Now = Callable[[], int]
"""Returns the time of day: milliseconds since 1970, in UTC."""

Keys = Callable[[str], str | None]
"""Returns the value of an environment variable, as ``os.environ.get`` does."""


@dataclass(frozen=True, slots=True)
class _Registration:
    env_key: str | None
    policy: CapacityPolicy
    key_present: bool | None = None
    checked_at_ms: int | None = None

    def seen(self, state: ProviderCapacityState) -> ProviderCapacityState:
        """Return what the store knows of the provider, with what this process knows of its key."""
        return replace(state, env_key=self.env_key, key_present=self.key_present, checked_at_ms=self.checked_at_ms)


_KEYLESS = _Registration(None, DEFAULT_POLICY)
"""Sees a state as the store keeps it: with nothing that is true of one process alone."""


class ProviderRegistry:
    """Implements the port `Capacity` over a store. Every method raises MisuseError for a provider it does not know."""

    def __init__(self, store: CapacityStore, now: Now, policy: CapacityPolicy = DEFAULT_POLICY) -> None:
        self._store, self._now, self._policy = store, now, policy
        self._providers: dict[str, _Registration] = {}
        self._order: list[str] = []

    def register(
        self,
        provider: str,
        env_key: str | None = None,
        priority: int | None = None,
        policy: CapacityPolicy | None = None,
    ) -> None:
        """Add a provider: at the place ``priority`` among those that are there, from 0, or at the end.

        One with an ``env_key`` is not asked before `check_env` has found its key; one without has nothing to be found.
        To register a provider again changes its key and policy, not its place, nor what is known of it. Raises
        MisuseError for a place that is none.
        """
        if not provider.strip():
            raise MisuseError("a provider has a name")
        if priority is not None and not 0 <= priority <= len(self._order):
            raise MisuseError(f"provider {provider!r}: a place is 0 to {len(self._order)}, not {priority}")
        if provider not in self._providers:
            self._order.insert(len(self._order) if priority is None else priority, provider)
        self._providers[provider] = _Registration(env_key, policy or self._policy)

    def check_env(self, getter: Keys) -> None:
        """Look whose keys are there; a blank one is none. Nothing of a key is kept but that."""
        now_ms = self._now()
        for provider, known in self._providers.items():
            present = None if known.env_key is None else bool((getter(known.env_key) or "").strip())
            self._providers[provider] = replace(known, key_present=present, checked_at_ms=now_ms)

    def get(self, provider: str) -> ProviderCapacityState:
        """Return what is known of a provider now."""
        self._registration(provider)
        return self._states(self._now())[provider]

    def get_routable_chain(self, tier: DreamerTier = DreamerTier.WANDERER) -> tuple[str, ...]:
        """Return the providers that would be let through now, in the order for a tier."""
        return self._routable(self._states(now_ms := self._now()), tier, now_ms)

    def chain(self, tier: DreamerTier = DreamerTier.WANDERER) -> tuple[str, ...]:
        return self.get_routable_chain(tier)

    def admit(self, provider: str) -> Leave:
        known, now_ms = self._registration(provider), self._now()

        def change(state: ProviderCapacityState) -> tuple[ProviderCapacityState, Leave]:
            after, leave = known.seen(state).admitted(now_ms, known.policy)
            return _KEYLESS.seen(after), leave

        return self._store.update(provider, change)

    def settle(
        self,
        provider: str,
        permit: Permit,
        outcome: CallOutcome,
        latency_ms: int,
        retry_after_ms: int | None = None,
        detail: str = "",
    ) -> None:
        known, now_ms = self._registration(provider), self._now()
        self._store.update(
            provider,
            lambda state: (
                state.settled(permit, outcome, latency_ms, now_ms, retry_after_ms, detail, known.policy),
                None,
            ),
        )

    def record_success(self, provider: str, latency_ms: int) -> None:
        """Tell of a call that had no permit and succeeded."""
        self._record(provider, CallOutcome.SUCCESS, latency_ms)

    def record_error(self, provider: str, message: str) -> None:
        """Tell of a call that had no permit and failed."""
        self._record(provider, CallOutcome.FAILED, detail=message)

    def record_quota_hit(self, provider: str, retry_after_ms: int | None = None) -> None:
        """Tell that a provider's quota is used up, and how long it is to be waited for, if it has said so."""
        self._record(provider, CallOutcome.QUOTA, retry_after_ms=retry_after_ms)

    def forget(self, provider: str) -> None:
        """Forget what is known of a provider."""
        self._registration(provider)
        now_ms = self._now()
        self._store.update(provider, lambda state: (state.forgotten(now_ms), None))

    def check_tier_quota(self, tier: str, action: str, current_count: int) -> int | None:
        """Return how often somebody of a tier may do something who has done it so often; None is without limit.

        Raises MisuseError for a negative count.
        """
        if current_count < 0:
            raise MisuseError(f"a count is not negative, unlike {current_count}")
        limit = _quotas(tier).get(action, 0)
        return None if limit is None else max(0, limit - current_count)

    def consume(self, tier: str, action: str, user: str) -> Consumption:
        """Count that a user does something once more, if the quota of the tier still allows it."""
        if action not in _quotas(tier):
            known = f"action {action!r}" if tier in set(DreamerTier) else f"tier {tier!r}"
            return Consumption(False, 0, f"there is no {known}")
        now_ms = self._now()
        today = now_ms // QUOTA_PERIOD_MS

        def change(use: QuotaUse) -> tuple[QuotaUse, Consumption]:
            if use.period < today:  # and no less: a clock that was set back gives nobody a new quota
                use = QuotaUse(today)
            left = self.check_tier_quota(tier, action, use.used)
            if left == 0:
                until_ms = (use.period + 1) * QUOTA_PERIOD_MS - now_ms
                return use, Consumption(False, 0, f"the quota of {action} is used up", until_ms)
            return replace(use, used=use.used + 1), Consumption(True, None if left is None else left - 1)

        return self._store.update_use(user, action, change)

    def snapshot(self, tier: DreamerTier = DreamerTier.WANDERER) -> Mapping[str, JsonValue]:
        """Return everything that is known, as JSON. ``priority`` is the order of registration."""
        now_ms = self._now()
        states = self._states(now_ms)
        return {
            "priority": list(self._order),
            "providers": {provider: self._shown(state, now_ms) for provider, state in states.items()},
            "routable_chain": self._routable(states, tier, now_ms),
            "tier": tier,
            "tier_boosts": dict(BOOSTS[tier]),
            "tier_quota_limits": dict(QUOTAS[tier]),
        }

    def _shown(self, state: ProviderCapacityState, now_ms: int) -> Mapping[str, JsonValue]:
        policy = self._providers[state.provider_id].policy
        return {
            **state.to_json(),
            "state": state.state,
            "is_routable": state.is_routable(now_ms, policy),
            "window_left_ms": state.window_left_ms(now_ms, policy),
        }

    def _registration(self, provider: str) -> _Registration:
        known = self._providers.get(provider)
        if known is None:
            near = get_close_matches(provider, self._order, n=1) or self._order
            raise MisuseError(f"there is no provider {provider!r}; known: {', '.join(near)}")
        return known

    def _states(self, now_ms: int) -> dict[str, ProviderCapacityState]:
        """Return what is known of each provider, in the order of registration, as of now.

        What a clock has written that was set back since is put right for good, so that the wait ends after its time.
        """
        stored, states = self._store.read(), {}
        for provider in self._order:
            state = stored.get(provider) or ProviderCapacityState(provider)
            if state.as_of(now_ms) != state:
                state = self._store.update(provider, lambda state: (state.as_of(now_ms),) * 2)
            states[provider] = self._providers[provider].seen(state)
        return states

    def _routable(self, states: Mapping[str, ProviderCapacityState], tier: DreamerTier, now_ms: int) -> tuple[str, ...]:
        boosts = BOOSTS[tier]
        ranks = {
            provider: (rank + boosts.get(provider, 0), boosts.get(provider, 0)) for rank, provider in enumerate(states)
        }
        ordered = sorted(states, key=ranks.__getitem__)
        return tuple(
            provider for provider in ordered if states[provider].is_routable(now_ms, self._providers[provider].policy)
        )

    def _record(
        self,
        provider: str,
        outcome: CallOutcome,
        latency_ms: int = 0,
        retry_after_ms: int | None = None,
        detail: str = "",
    ) -> None:
        known, now_ms = self._registration(provider), self._now()
        self._store.update(
            provider,
            lambda state: (state.reported(outcome, latency_ms, now_ms, retry_after_ms, detail, known.policy), None),
        )


def default_registry(store: CapacityStore, now: Now, policy: CapacityPolicy = DEFAULT_POLICY) -> ProviderRegistry:
    """Return the registry of the default chain, whose keys nobody has looked for yet. `offline` can always be asked."""
    registry = ProviderRegistry(store, now, policy)
    for provider in ("anthropic", "openai", "google", "groq", "deepseek"):
        registry.register(provider, f"{provider.upper()}_API_KEY")
    registry.register("ollama")
    registry.register("offline", policy=ALWAYS)
    return registry


def _quotas(tier: str) -> Mapping[str, int | None]:
    return QUOTAS[DreamerTier(tier)] if tier in set(DreamerTier) else {}
