"""Who looks at the providers in a run: what is proposed, and when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from converge_adapters.testing.capacity import ManualClock
from converge_core import (
    AgentEffect,
    Catalog,
    Context,
    ContextKey,
    PayloadRegistry,
    Replayability,
    Site,
    Suggestor,
)
from converge_core.ports import CAPACITY
from converge_core.suggestors.catalog import Ports
from converge_plugins import pcsf
from converge_plugins.pcsf.memory import MemoryCapacityStore
from converge_plugins.pcsf.registry import ProviderRegistry, default_registry
from converge_plugins.pcsf.suggestor import CapacityConfig, CapacitySignal, CapacitySuggestor
from tests.core.stage import HYPOTHESES, SEEDS, SIGNALS, Played, engine_of, play, seeded, text

STEPS = 4


def registry() -> ProviderRegistry:
    """The default registry, on a machine with one key."""
    made = default_registry(MemoryCapacityStore(), ManualClock())
    made.check_env({"OPENAI_API_KEY": "key"}.get)
    return made


def nowhere(reference: str) -> Any:
    """Find no code."""
    raise LookupError(f"there is no {reference}")


def looking(capacity: ProviderRegistry, name: str = "looks", **config: Any) -> CapacitySuggestor:
    ports = Ports().offer(CAPACITY, capacity)
    return CapacitySuggestor(
        CapacityConfig.model_validate({"for_each": "hypotheses", **config}), Site(name, nowhere, ports)
    )


class Goes(Suggestor):
    """Proposes one hypothesis a cycle, `STEPS` of them; before each, something may happen in the world."""

    name = "goes"
    dependencies = (SEEDS, HYPOTHESES)

    def __init__(self, *events: Callable[[], object]) -> None:
        self.events = dict(enumerate(events))

    def execute(self, ctx: Context) -> AgentEffect:
        done = len(ctx.get(HYPOTHESES))
        if done == STEPS:
            return AgentEffect.empty()
        self.events.get(done, bool)()
        return AgentEffect.with_proposal(text(f"h-{done}", key=HYPOTHESES))


def played(capacity: ProviderRegistry, *events: Callable[[], object], **config: Any) -> Played:
    return play(engine_of(Goes(*events), looking(capacity, **config)), seeded("a"))


def signals(run: Played) -> dict[str, CapacitySignal]:
    assert run.result.converged
    return {fact.id: fact.payload for fact in run.result.context.get(ContextKey.SIGNALS, CapacitySignal)}


def test_what_is_seen_is_the_state_of_each_provider_and_the_chain() -> None:
    [signal] = signals(played(registry())).values()
    assert signal.chain == ("openai", "ollama", "offline")
    assert (signal.states["openai"], signal.states["anthropic"]) == ("available", "no_key")
    assert len(signal.states) == 7


def test_x17_what_has_changed_is_proposed_again_and_what_has_not_is_not() -> None:
    capacity = registry()

    def fails() -> None:
        capacity.record_quota_hit("openai")

    run = played(capacity, bool, bool, fails, bool)
    assert {id: signal.chain for id, signal in signals(run).items()} == {
        "looks:1": ("openai", "ollama", "offline"),
        "looks:2": ("ollama", "offline"),
    }


def test_what_is_as_it_was_before_the_last_change_is_news() -> None:
    capacity = registry()

    def fails() -> None:
        capacity.record_quota_hit("openai")

    def recovers() -> None:
        capacity.forget("openai")

    run = played(capacity, bool, bool, fails, recovers)
    assert ["openai" in signal.chain for signal in signals(run).values()] == [True, False, True]


def test_what_changes_with_every_call_is_no_news() -> None:
    capacity = registry()
    run = played(capacity, *[lambda: capacity.record_success("openai", 40)] * STEPS)
    assert list(signals(run)) == ["looks:1"]


def test_nobody_looks_before_there_is_an_occasion() -> None:
    run = play(engine_of(looking(registry())), seeded("a"))
    assert signals(run) == {}


def test_two_who_look_each_say_what_they_see_for_their_tier() -> None:
    capacity = ProviderRegistry(MemoryCapacityStore(), ManualClock())
    for provider in ("ollama", "anthropic"):
        capacity.register(provider)
    suggestors = [looking(capacity, name, tier=tier) for name, tier in (("low", "wanderer"), ("high", "deep_dreamer"))]
    run = play(engine_of(Goes(), *suggestors), seeded("a"))
    assert {id: (str(signal.tier), signal.chain) for id, signal in signals(run).items()} == {
        "low:1": ("wanderer", ("ollama", "anthropic")),
        "high:1": ("deep_dreamer", ("anthropic", "ollama")),
    }


def test_who_proposes_signals_of_the_same_kind_is_not_taken_for_oneself() -> None:
    capacity = registry()
    early, late = looking(capacity, "early", for_each="seeds"), looking(capacity, "late")
    assert set(signals(play(engine_of(Goes(), early, late), seeded("a")))) == {"early:1", "late:1"}


def test_a_signal_says_in_a_line_who_can_be_asked() -> None:
    [signal] = signals(played(registry())).values()
    assert signal.summary() == "can be asked: openai, ollama, offline"
    assert signal.model_copy(update={"chain": ()}).summary() == "can be asked: nobody"


def test_what_is_seen_is_of_the_moment_so_a_replay_does_not_look_again() -> None:
    assert looking(registry()).replayability is Replayability.NONE


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"for_each": "signals"}, "name another key"),
        ({"for_each": "moods"}, "for_each"),
        ({"tier": "dreamer"}, "tier"),
        ({"mood": 1}, "mood"),
        ({"for_each": None}, "for_each"),
    ],
)
def test_a_wrong_configuration_is_refused(config: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        looking(registry(), **config)


def test_without_a_capacity_there_is_nothing_to_look_at() -> None:
    with pytest.raises(LookupError, match="capacity"):
        CapacitySuggestor(CapacityConfig(for_each=SEEDS), Site("looks", nowhere, Ports()))


def test_the_plugin_offers_who_looks_and_what_is_seen() -> None:
    catalog, payloads = Catalog[Suggestor]("suggestor"), PayloadRegistry()
    pcsf.converge_register_suggestors(catalog)
    pcsf.converge_register_payloads(payloads)
    assert [(entry.name, entry.config) for entry in catalog] == [("pcsf.capacity", CapacityConfig)]
    assert payloads.families()["converge.capacity"] is CapacitySignal


def test_it_writes_signals_and_nothing_else() -> None:
    suggestor = looking(registry())
    assert (suggestor.writes, suggestor.dependencies) == ((SIGNALS,), (HYPOTHESES,))
