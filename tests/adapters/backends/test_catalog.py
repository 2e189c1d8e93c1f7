"""The backends as an intent names them."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from pydantic import ValidationError

from converge_adapters.backends import catalog
from converge_adapters.backends.anthropic_messages import AnthropicBackend
from converge_adapters.backends.openai_compatible import CompatibleBackend
from converge_adapters.backends.openai_responses import OpenAIBackend
from converge_adapters.plugin_loader import Offers, load_plugins
from converge_core.errors import PluginError
from converge_core.llm.backend import Backend, BackendRequest, Message
from converge_core.llm.capability import CapabilityKind
from converge_core.llm.errors import AuthenticationFailed, RateLimited
from converge_core.llm.profiles import ComplianceLevel, CostClass, DataSovereignty, Location
from converge_core.suggestors.catalog import Site
from tests.adapters.backends.server import serving
from tests.adapters.backends.wire import COMPATIBLE, KEY

ROOT = Path(__file__).parents[3]
ASK = BackendRequest("intent", (Message.user("hello"),))


def no_code(reference: str) -> Callable[..., Any]:
    raise LookupError(reference)


@pytest.fixture
def offers() -> Offers:
    return load_plugins({"backends": lambda: catalog}, installed=(), strict=True)


def make(offers: Offers, use: str, **config: Any) -> Backend:
    """A backend as an intent would have it, called ``mine``."""
    entry = offers.backends.find(use)
    return entry.factory(entry.config.model_validate(config), Site("mine", no_code))


def test_five_backends_come_with_converge(offers: Offers) -> None:
    assert [entry.name for entry in offers.backends] == [
        "anthropic",
        "openai",
        "openai-compatible",
        "offline",
        "scripted",
    ]
    assert {entry.plugin for entry in offers.backends} == {"backends"}


def test_the_catalog_imports_no_sdk() -> None:
    heavy = ("anthropic", "openai", "jsonschema", "httpx2", "genai_prices", "keyring")
    code = f"import sys, converge_adapters.backends.catalog; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("use", "config", "kind", "provider"),
    [
        ("anthropic", {"model": "m"}, AnthropicBackend, "anthropic"),
        ("openai", {"model": "m"}, OpenAIBackend, "openai"),
        ("openai-compatible", {"model": "m", "provider": "ollama"}, CompatibleBackend, "ollama"),
        ("openai-compatible", {"model": "m", "base_url": "http://x/v1"}, CompatibleBackend, "openai-compatible"),
    ],
)
def test_a_model_is_named_after_its_site_and_provider(
    offers: Offers, use: str, config: dict[str, Any], kind: type[Backend], provider: str
) -> None:
    backend = make(offers, use, **config)
    assert isinstance(backend, kind)
    assert (backend.profile.id, backend.profile.provider, backend.profile.model) == ("mine", provider, "m")
    assert CapabilityKind.STRUCTURED_OUTPUT in backend.profile.capabilities


def test_data_leaves_the_premises_unless_somebody_says_that_it_does_not(offers: Offers) -> None:
    local = {"model": "m", "provider": "ollama"}
    assert make(offers, "openai-compatible", **local).profile.remote
    assert not make(offers, "openai-compatible", **local, sovereignty="on_premises").profile.remote


def test_what_is_stated_of_a_model_is_in_its_profile(offers: Offers) -> None:
    profile = make(
        offers,
        "anthropic",
        model="m",
        cost="low",
        latency_ms=9,
        quality=0.25,
        capabilities=["reasoning"],
        context_tokens=8_000,
        sovereignty="eu",
        location={"region": "eu", "country": "de"},
        compliance=["gdpr"],
    ).profile
    assert (profile.cost, profile.latency_ms, profile.quality) == (CostClass.LOW, 9, 0.25)
    assert (profile.capabilities, profile.context_tokens) == ({CapabilityKind.REASONING}, 8_000)
    assert (profile.sovereignty, profile.location) == (DataSovereignty.EU, Location("EU", "DE"))
    assert profile.compliance == {ComplianceLevel.GDPR}


@pytest.mark.parametrize(
    ("use", "config", "complaint"),
    [
        ("anthropic", {}, "model"),
        ("anthropic", {"model": "m", "api_key": "sk-1"}, "api_key"),
        ("anthropic", {"model": "m", "timeout": 0}, "timeout"),
        ("openai", {"model": "m", "base_url": "ftp://x"}, "base_url"),
        ("openai", {"model": "m", "base_url": "http://me:secret@x"}, "base_url"),
        ("openai-compatible", {"model": "m"}, "base_url is needed: it is not known where 'openai-compatible' is"),
        ("openai-compatible", {"model": "m", "provider": "offline", "base_url": "http://x"}, "needs no server"),
        ("offline", {"kind": "poem"}, "kind"),
        ("scripted", {}, "steps"),
        ("scripted", {"steps": [{}]}, "a step has one of text, value and error"),
        ("scripted", {"steps": [{"text": "a", "value": 1}]}, "a step has one of text, value and error"),
        ("scripted", {"steps": [{"error": "success"}]}, "not with success"),
        ("scripted", {"steps": [{"text": "a", "input_tokens": 1}]}, "both input_tokens and output_tokens"),
    ],
)
def test_a_wrong_configuration_is_refused(offers: Offers, use: str, config: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        make(offers, use, **config)


def test_the_key_comes_from_the_variable_that_is_named(offers: Offers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    with serving(COMPATIBLE.answer("hello", "stop")) as server:
        config = {"model": "m", "base_url": f"{server.url}/v1", "api_key_env": "MY_KEY", "structured": False}
        backend = make(offers, "openai-compatible", **config)

        async def run() -> None:
            await backend.complete(ASK)
            await backend.aclose()

        anyio.run(run)
    assert server.asked[0].headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in repr(backend)


@pytest.mark.parametrize("provider", ["openai", "google", "mine"])
def test_the_key_of_a_provider_is_sent_to_nobody_else(
    offers: Offers, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("GOOGLE_API_KEY", KEY)
    with serving(COMPATIBLE.answer("hello", "stop")) as server:
        backend = make(offers, "openai-compatible", model="m", provider=provider, base_url=f"{server.url}/v1")

        async def run() -> None:
            await backend.complete(ASK)
            await backend.aclose()

        anyio.run(run)
        with pytest.raises(AuthenticationFailed):
            anyio.run(make(offers, "openai", model="m", base_url=f"{server.url}/v1").complete, ASK)
    assert KEY not in str(server.asked)


def test_a_model_without_a_key_is_offered_and_fails_when_it_is_asked(
    offers: Offers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    backend = make(offers, "openai", model="m", api_key_env="NO_SUCH_KEY")
    with pytest.raises(AuthenticationFailed):
        anyio.run(backend.complete, ASK)


def test_an_sdk_that_is_not_there_is_named_with_the_way_to_install_it(
    offers: Offers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(name: str) -> None:
        return None

    monkeypatch.setattr(catalog, "find_spec", nothing)
    with pytest.raises(PluginError, match=r"there is no openai here: pip install 'converge-runtime\[openai\]'"):
        make(offers, "openai-compatible", model="m", provider="groq")


def test_a_script_in_yaml_answers_and_fails_as_it_says(offers: Offers) -> None:
    steps = [
        {"value": {"sure": True}, "input_tokens": 3, "output_tokens": 4},
        {"error": "rate_limited", "retry_after_ms": 5},
        {"text": "null"},
    ]
    backend = make(offers, "scripted", steps=steps)
    assert anyio.run(backend.complete, ASK).text == '{"sure":true}'
    with pytest.raises(RateLimited):
        anyio.run(backend.complete, ASK)
    assert anyio.run(backend.complete, ASK).text == "null"
    anyio.run(backend.aclose)


def test_the_sdks_are_extras_and_what_is_always_needed_is_not() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    for name in ("anthropic", "openai"):
        assert extras[name][0].startswith(name)
        assert extras[name][0] in extras["dev"]
    always = {text.partition(">=")[0] for text in project["dependencies"]}
    assert {"jsonschema", "genai-prices"} <= always
    assert always.isdisjoint({"anthropic", "openai"})
