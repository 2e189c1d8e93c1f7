"""What an intent says of a model: which one, how it is reached, and what is known of it.

What is known counts when a model is chosen; what is not stated counts against it. So data is taken to leave the
premises unless somebody says that it does not, also with a server of one's own: some hand on what they are asked.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, WithJsonSchema, model_validator

from converge_adapters.backends.offline import Kind
from converge_adapters.backends.openai_compatible import ENDPOINTS
from converge_adapters.backends.prices import FREE_PROVIDERS
from converge_adapters.backends.scripted import FAILURES
from converge_core.context.allowance import Usage
from converge_core.llm.capability import BackendCapability, Capability, CapabilityKind, Modality
from converge_core.llm.errors import CallOutcome
from converge_core.llm.profiles import ComplianceLevel, CostClass, DataSovereignty, Location, ProviderProfile

_ANY_MODEL: tuple[Capability, ...] = (
    CapabilityKind.COMPLETION,
    CapabilityKind.CONTENT_GENERATION,
    CapabilityKind.STRUCTURED_OUTPUT,
    Modality.TEXT,
    BackendCapability.STEP_CONTRACTS,
    BackendCapability.STREAMING,
)
_LARGE_MODEL: tuple[Capability, ...] = (
    *_ANY_MODEL,
    CapabilityKind.CODE,
    CapabilityKind.MULTILINGUAL,
    CapabilityKind.REASONING,
    Modality.STRUCTURED,
)
_LOCAL: tuple[Capability, ...] = (*_ANY_MODEL, BackendCapability.OFFLINE, BackendCapability.REPLAY)


class PlaceSection(BaseModel):
    """Where a provider is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    region: str = Field(default="", description="A region, such as `EU`.")
    country: str = Field(default="", description="A country, such as `DE`.")


class ModelConfig(BaseModel):
    """What is known of a model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cost: CostClass = Field(default=CostClass.HIGH, description="How expensive it is.")
    latency_ms: int = Field(default=5_000, gt=0, description="How long an answer typically takes.")
    quality: float = Field(default=0.5, ge=0, le=1, description="How good its answers are.")
    capabilities: tuple[Capability, ...] = Field(default=_ANY_MODEL, description="All that it can do.")
    context_tokens: int | None = Field(default=None, gt=0, description="The size of its context window, if known.")
    sovereignty: DataSovereignty = Field(default=DataSovereignty.ANY, description="Where data legally resides.")
    location: PlaceSection = Field(default=PlaceSection(), description="Where the provider is, if known.")
    compliance: tuple[ComplianceLevel, ...] = Field(default=(), description="What the provider is certified for.")

    def profile_of(self, id: str, provider: str, model: str) -> ProviderProfile:
        """Return the profile of a model."""
        return ProviderProfile(
            id,
            provider,
            model,
            self.cost,
            self.latency_ms,
            self.quality,
            frozenset(self.capabilities),
            self.context_tokens,
            self.sovereignty,
            Location(self.location.region, self.location.country),
            frozenset(self.compliance),
        )


class RemoteConfig(ModelConfig):
    """A model at a provider, and how it is reached."""

    model: str = Field(min_length=1, description="The provider's name of the model.")
    base_url: str | None = Field(
        default=None, pattern="^https?://[^\\s@]+$", description="Another server than the provider's own."
    )
    api_key_env: str | None = Field(
        default=None, min_length=1, description="The variable that holds the key, in place of the provider's own."
    )
    timeout: float = Field(default=120, gt=0, le=3600, description="The longest that a call may take, in seconds.")
    structured: bool = Field(
        default=True, description="Whether the server can enforce a JSON Schema; if not, the model is told it in words."
    )


class AnthropicConfig(RemoteConfig):
    """A Claude model."""

    quality: float = Field(default=0.9, ge=0, le=1, description="How good its answers are.")
    capabilities: tuple[Capability, ...] = Field(default=_LARGE_MODEL, description="All that it can do.")


class OpenAIConfig(AnthropicConfig):
    """A model of OpenAI."""


class CompatibleConfig(RemoteConfig):
    """A model on a server that speaks OpenAI's protocol."""

    provider: str = Field(
        default="openai-compatible",
        pattern="^[a-z][a-z0-9_.-]{0,63}$",
        description=f"Whose server it is: {', '.join(f'`{name}`' for name in ENDPOINTS)}, or any other name.",
    )
    base_url: str | None = Field(
        default=None,
        pattern="^https?://[^\\s@]+$",
        description="Where the server is, with its `/v1`; needed unless the provider is one of those that are listed.",
    )

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if self.base_url is None and self.provider not in ENDPOINTS:
            raise ValueError(f"base_url is needed: it is not known where {self.provider!r} is")
        if self.provider in FREE_PROVIDERS:
            raise ValueError(f"provider {self.provider!r} is one that needs no server")
        return self


class LocalConfig(ModelConfig):
    """Answers that are made here."""

    cost: CostClass = Field(default=CostClass.FREE, description="How expensive it is.")
    latency_ms: int = Field(default=1, gt=0, description="How long an answer typically takes.")
    capabilities: tuple[Capability, ...] = Field(default=_LOCAL, description="All that it can do.")
    sovereignty: DataSovereignty = Field(default=DataSovereignty.ON_PREMISES, description="Where data resides.")


class OfflineConfig(LocalConfig):
    """Templates."""

    quality: float = Field(default=0.1, ge=0, le=1, description="How good its answers are.")
    kind: Kind = Field(default=Kind.DREAM, description="What an answer is about, where a request does not say it.")


class StepSection(BaseModel):
    """A step of a script: one of `text`, `value` and `error`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(default="", description="What the step is called; without one it has a number.")
    text: str | None = Field(default=None, description="An answer in words.")
    value: Annotated[JsonValue, WithJsonSchema({})] = Field(default=None, description="An answer in JSON.")
    error: CallOutcome | None = Field(default=None, description="How the call fails.")
    retry_after_ms: int | None = Field(default=None, ge=0, description="The wait that a failure asks for.")
    input_tokens: int | None = Field(default=None, ge=0, description="What the prompt takes, if not a token a word.")
    output_tokens: int | None = Field(default=None, ge=0, description="What the answer takes, if not a token a word.")

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        if len(self.model_fields_set & {"text", "value", "error"}) != 1:
            raise ValueError("a step has one of text, value and error")
        if self.error is not None and self.error not in FAILURES:
            raise ValueError(f"a step can fail with {', '.join(sorted(FAILURES))}, not with {self.error.value}")
        if (self.input_tokens is None) != (self.output_tokens is None):
            raise ValueError("a step has both input_tokens and output_tokens, or neither")
        return self

    @property
    def usage(self) -> Usage | None:
        """What the step takes, where it says so."""
        if self.input_tokens is None or self.output_tokens is None:
            return None
        return Usage(self.input_tokens, self.output_tokens)


class ScriptedConfig(LocalConfig):
    """A script."""

    quality: float = Field(default=1.0, ge=0, le=1, description="How good its answers are.")
    steps: tuple[StepSection, ...] = Field(description="The answers and failures, in their order.")
