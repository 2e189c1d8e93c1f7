"""The backends that come with Converge.

The key of a provider is never in an intent. It comes from the user's keyring (service ``converge``, the provider's name
as the user) or the environment: ANTHROPIC_API_KEY, OPENAI_API_KEY, GOOGLE_API_KEY, GROQ_API_KEY, DEEPSEEK_API_KEY, or
the variable that ``api_key_env`` names. Such a key goes to its provider: another server, at a ``base_url``, is sent
only the one that ``api_key_env`` names.

What is said of a model decides whether it is chosen, and what is not said counts against it. Data is taken to leave the
premises unless ``sovereignty: on_premises`` says otherwise, also with a server of one's own: some hand on what they are
asked.

An SDK is an extra, which has to be there when a backend is made, and is imported when it is asked something.
"""

from __future__ import annotations

from importlib.util import find_spec

from pydantic import SecretStr

from converge_adapters.backends.anthropic_messages import AnthropicBackend
from converge_adapters.backends.config import (
    AnthropicConfig,
    CompatibleConfig,
    OfflineConfig,
    OpenAIConfig,
    RemoteConfig,
    ScriptedConfig,
    StepSection,
)
from converge_adapters.backends.keys import find_key
from converge_adapters.backends.offline import OfflineBackend
from converge_adapters.backends.openai_compatible import CompatibleBackend
from converge_adapters.backends.openai_responses import OpenAIBackend
from converge_adapters.backends.remote import Connection
from converge_adapters.backends.scripted import ScriptedBackend, Step, failure, said
from converge_core.errors import PluginError
from converge_core.hookspec import hookimpl
from converge_core.llm.backend import KEYS, Backend
from converge_core.suggestors.catalog import Catalog, Site


def _anthropic(config: AnthropicConfig, site: Site) -> Backend:
    _require("anthropic")
    profile = config.profile_of(site.name, "anthropic", config.model)
    return AnthropicBackend(profile, _connection(config, "anthropic", site))


def _openai(config: OpenAIConfig, site: Site) -> Backend:
    _require("openai")
    return OpenAIBackend(config.profile_of(site.name, "openai", config.model), _connection(config, "openai", site))


def _compatible(config: CompatibleConfig, site: Site) -> Backend:
    _require("openai")
    profile = config.profile_of(site.name, config.provider, config.model)
    return CompatibleBackend(profile, _connection(config, config.provider, site))


def _offline(config: OfflineConfig, site: Site) -> Backend:
    return OfflineBackend(config.profile_of(site.name, "offline", "templates"), config.kind)


def _scripted(config: ScriptedConfig, site: Site) -> Backend:
    steps = [_step(site.name, number, step) for number, step in enumerate(config.steps, 1)]
    return ScriptedBackend(config.profile_of(site.name, "scripted", "script"), steps)


def _step(backend: str, number: int, config: StepSection) -> Step:
    name = config.name or f"step {number}"
    if config.error is not None:
        return Step(name, failure(backend, config.error, config.retry_after_ms))
    return Step(name, said(config.value) if config.text is None else config.text, config.usage)


def _require(sdk: str) -> None:
    """Raise PluginError, with the way to install it, where an SDK is not there."""
    if find_spec(sdk) is None:
        raise PluginError("backends", f"there is no {sdk} here: pip install 'converge-runtime[{sdk}]'")


def _connection(config: RemoteConfig, provider: str, site: Site) -> Connection:
    given = site.port(KEYS).get(provider) if site.ports.offers(KEYS) else None
    own = config.base_url is None or config.api_key_env is not None or given is not None
    key: SecretStr | None = find_key(provider, given, config.api_key_env) if own else None
    return Connection(key, config.base_url, round(config.timeout * 1000), config.structured)


@hookimpl
def converge_register_backends(registry: Catalog[Backend]) -> None:
    """Offer the backends."""
    registry.add("anthropic", _anthropic, AnthropicConfig, "Claude, through Anthropic's Messages API.")
    registry.add("openai", _openai, OpenAIConfig, "GPT, through OpenAI's Responses API.")
    registry.add(
        "openai-compatible",
        _compatible,
        CompatibleConfig,
        "A server that speaks OpenAI's Chat Completions, such as Ollama, vLLM, Gemini, Groq or DeepSeek.",
    )
    registry.add("offline", _offline, OfflineConfig, "Templates, filled in here: always available, free, no model.")
    registry.add("scripted", _scripted, ScriptedConfig, "For tests: answers and failures, one after the other.")
