from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from converge_core import MisuseError
from converge_core.governance.resources import (
    NOT_OBSERVED,
    Feature,
    Observed,
    Resource,
    observations,
    observed,
)
from converge_core.ledger.canonical import JsonValue
from converge_core.llm.capacity import ProviderState

MODEL = Resource("model", "acme", frozenset({"chat"}), 0.001, 500)
CHAT = Feature("chat", "model", 0.5)


def shown(
    state: ProviderState = ProviderState.AVAILABLE, errors: int = 0, successes: int = 0, latency: float | None = None
) -> dict[str, JsonValue]:
    """What a snapshot shows of a provider."""
    return {"state": state, "error_count": errors, "success_count": successes, "latency_ema_ms": latency}


def live(provider: dict[str, JsonValue]) -> dict[str, Observed]:
    return observations({"priority": ["acme"], "providers": {"acme": provider}}, [MODEL])


@pytest.mark.parametrize(
    ("provider", "health"),
    [
        (shown(), None),
        (shown(ProviderState.UNAVAILABLE), None),
        (shown(successes=3), 1.0),
        (shown(ProviderState.DEGRADED, 1, 3), 0.5),
        (shown(ProviderState.DEGRADED, 3), 0.25),
        (shown(ProviderState.CIRCUIT_OPEN, 3, 9), 0.0),
        (shown(ProviderState.QUOTA_HIT, 0, 9), 0.0),
        (shown(ProviderState.NO_KEY), 0.0),
        ({}, None),
    ],
)
def test_health_is_what_calls_have_come_to(provider: dict[str, JsonValue], health: float | None) -> None:
    assert observed(provider).health == health


@pytest.mark.parametrize(("shown_ms", "latency_ms"), [(None, None), (0, 0.0), (120.5, 120.5)])
def test_latency_is_what_was_measured(shown_ms: float | None, latency_ms: float | None) -> None:
    assert observed(shown(latency=shown_ms)).latency_ms == latency_ms


def test_a_resource_is_as_well_as_its_provider() -> None:
    found = live(shown(successes=1, latency=80.0))
    assert found == {"model": Observed(1.0, 80.0)}


@pytest.mark.parametrize("snapshot", [{}, {"providers": {}}, {"providers": {"other": {}}}, {"providers": []}])
def test_a_resource_whose_provider_nobody_knows_was_not_observed(snapshot: dict[str, JsonValue]) -> None:
    assert observations(snapshot, [MODEL]) == {"model": NOT_OBSERVED}


def test_what_nobody_has_observed_is_compared_as_neither_well_nor_ill() -> None:
    assert NOT_OBSERVED.compared_health == 0.5
    assert Observed(0.0).compared_health == 0.0


# --- features ---------------------------------------------------------------------------------------------------------


def evaluated(*providers: dict[str, JsonValue]) -> Sequence[tuple[bool, str]]:
    return [CHAT.evaluate(live(provider)) for provider in providers]


def test_td009_a_feature_hangs_on_what_was_observed_and_fails_closed() -> None:
    assert evaluated(
        shown(),
        shown(successes=1),
        shown(ProviderState.CIRCUIT_OPEN, 3, 1),
    ) == [
        (False, "the health of model is unknown"),
        (True, "health 1.00 >= 0.5"),
        (False, "health 0.00 < 0.5"),
    ]


def test_td009_a_feature_of_an_unknown_resource_is_off() -> None:
    assert CHAT.evaluate({}).active is False


def test_td009_the_environment_says_nothing_about_health(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVIDER_HEALTH", "1")
    monkeypatch.setenv("PROVIDER_LATENCY_MS", "1")
    assert live(shown()) == {"model": NOT_OBSERVED}


def test_a_feature_is_on_at_exactly_its_minimum() -> None:
    assert CHAT.evaluate({"model": Observed(0.5)}) == (True, "health 0.50 >= 0.5")


def test_a_cost_is_that_of_a_thousand_tokens() -> None:
    assert MODEL.cost == 1
    assert Resource("free", "acme").cost == 0


def test_a_feature_without_a_minimum_is_on() -> None:
    assert replace(CHAT, min_health=None).evaluate({}).active


@pytest.mark.parametrize(
    "fields",
    [{"id": " "}, {"cost_per_token": -1.0}, {"cost_per_token": float("nan")}, {"latency_target_ms": 0.0}],
)
def test_a_resource_that_cannot_be_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(MisuseError, match=r"resource"):
        replace(MODEL, **fields)  # type: ignore[arg-type]  # any field


def test_the_capabilities_of_a_resource_are_several_texts() -> None:
    with pytest.raises(MisuseError, match="'chat' is one text"):
        replace(MODEL, capabilities="chat")  # type: ignore[arg-type]  # the mistake
