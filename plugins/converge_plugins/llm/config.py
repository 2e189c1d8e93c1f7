"""The configuration of an ``llm`` suggestor."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from converge_core import ContextKey
from converge_core.context.allowance import microusd
from converge_core.llm.backend import BackendBudgets
from converge_core.llm.capability import CapabilityWord, RequiredCapabilities, capability_of
from converge_core.llm.capacity import DreamerTier
from converge_core.llm.policies import RetryPolicy
from converge_core.llm.profiles import (
    ComplianceLevel,
    CostClass,
    DataSovereignty,
    Jurisdiction,
    Location,
)
from converge_core.llm.routing import DataClassification
from converge_core.llm.selection import SelectionCriteria


class LlmSection(BaseModel):
    """A part of a configuration: what is no field of it is a slip."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Needs(LlmSection):
    """What a model must satisfy to be asked; those that do are asked in the order of their fitness."""

    capabilities: tuple[CapabilityWord, ...] = Field(
        default=(), description="What it must be able to do, such as `reasoning`, `image` or `offline`."
    )
    context_tokens: int = Field(default=0, ge=0, description="How many tokens must fit into its context window.")
    max_cost: CostClass = Field(default=CostClass.VERY_HIGH, description="How expensive it may be at most.")
    max_latency_ms: int = Field(default=300_000, ge=1, description="How slow it may be, typically, in milliseconds.")
    min_quality: float = Field(default=0.0, ge=0, le=1, description="How good it must be at least.")
    sovereignty: DataSovereignty = Field(default=DataSovereignty.ANY, description="Where data must reside.")
    jurisdiction: Jurisdiction = Field(default=Jurisdiction.UNRESTRICTED, description="Where the provider must be.")
    region: str = Field(default="", description="The user's region, for a jurisdiction that is relative to it.")
    country: str = Field(default="", description="The user's country, for a jurisdiction that is relative to it.")
    compliance: tuple[ComplianceLevel, ...] = Field(default=(), description="What it must be certified for.")

    def criteria(self) -> SelectionCriteria:
        """Return the criteria. Raises MisuseError where a jurisdiction needs the user's place."""
        return SelectionCriteria(
            max_cost=self.max_cost,
            max_latency_ms=self.max_latency_ms,
            min_quality=self.min_quality,
            capabilities=RequiredCapabilities(frozenset(map(capability_of, self.capabilities)), self.context_tokens),
            sovereignty=self.sovereignty,
            jurisdiction=self.jurisdiction,
            user=Location(self.region, self.country),
            compliance=frozenset(self.compliance),
        )


class ConfidenceSection(LlmSection):
    """A confidence that the answer states, within bounds that it does not."""

    field: str = Field(min_length=1, description="The field of `output` that states it, a number; 0 to 1.")
    at_least: float = Field(default=0.0, ge=0, le=1, description="What is less becomes this.")
    at_most: float = Field(default=1.0, ge=0, le=1, description="What is more becomes this.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.at_least > self.at_most:
            raise ValueError(f"`at_least` ({self.at_least}) is above `at_most` ({self.at_most})")
        return self


class Recorded(StrEnum):
    """What of a call is kept."""

    DIGEST = "digest"
    FULL = "full"


class RetrySection(LlmSection):
    """How often a model is asked before the next one is."""

    attempts: int = Field(default=2, ge=1, le=10, description="Attempts of one model, the first one included.")
    wait_ms: int = Field(default=500, ge=0, description="The wait after the first failure; it doubles from there.")
    max_wait_ms: int = Field(default=10_000, ge=0, description="No wait is longer; a model that asks for more is left.")

    def policy(self) -> RetryPolicy:
        """Return the policy."""
        return RetryPolicy(self.attempts, self.wait_ms, self.max_wait_ms)


class LlmConfig(LlmSection):
    """The configuration of a suggestor that asks a language model."""

    models: tuple[str, ...] = Field(default=(), description="Names under `models`, in the order they are asked; all.")
    needs: Needs | None = Field(default=None, description="What a model must satisfy, in place of an order.")
    for_each: ContextKey | None = Field(default=None, description="Ask once for each new fact under this key.")
    reads: tuple[ContextKey, ...] = Field(
        default=(), description="Keys whose facts the prompt may use as `facts.<key>`. They wake it without `for_each`."
    )
    prompt: str = Field(min_length=1, description="What is asked: a Jinja2 template. Its expressions become data.")
    system: str = Field(default="", description="Who the model is to be, and what holds for all answers: a template.")
    output: dict[str, Any] | str | None = Field(
        default=None,
        description="The fields of an answer, each with its type or JSON Schema; or `module:Class`, a pydantic model."
        " Without it the answer is a text.",
    )
    many: int | None = Field(
        default=None, ge=1, le=1000, description="The answer is a list of at most so many outputs."
    )
    key: ContextKey = Field(default=ContextKey.PROPOSALS, description="Where the answers are proposed.")
    confidence: float | ConfidenceSection = Field(default=0.5, description="How sure a proposal is; 0 to 1.")
    data: DataClassification = Field(
        default=DataClassification.INTERNAL, description="How confidential is what the prompt may hold."
    )
    labels: tuple[str, ...] = Field(
        default=(), description="Classes of the data in the prompt, such as `pii.email`, which `denials` may deny."
    )
    tier: DreamerTier = Field(default=DreamerTier.WANDERER, description="Whose request it is, by entitlement.")
    max_tokens: int = Field(default=1024, ge=1, description="The longest answer, in tokens.")
    timeout_ms: int = Field(default=60_000, ge=1, description="How long one attempt may take.")
    max_cost_usd: float | None = Field(default=None, ge=0, description="The most that one attempt may cost.")
    retry: RetrySection = Field(default=RetrySection(), description="How often a failing model is asked again.")
    repair: bool = Field(default=True, description="Ask once more, with the fault, where the shape is wrong.")
    record: Recorded = Field(default=Recorded.DIGEST, description="`full` keeps the words beside the ledger.")

    @model_validator(mode="after")
    def _woken(self) -> Self:
        if self.for_each is None and not self.reads:
            raise ValueError("name what wakes it: `for_each`, or `reads`")
        if self.key == self.for_each or (self.for_each is None and self.key in self.reads):
            raise ValueError(f"`key` is not what wakes it: else an answer under {self.key} is asked about in its turn")
        if not isinstance(self.confidence, ConfidenceSection) and not 0 <= self.confidence <= 1:
            raise ValueError(f"`confidence` is 0 to 1, not {self.confidence}")
        if isinstance(self.confidence, ConfidenceSection) and self.output is None:
            raise ValueError("`confidence` names a field of `output`, and there is none")
        return self

    def budgets(self) -> BackendBudgets:
        """Return the limits of one attempt."""
        cost = None if self.max_cost_usd is None else microusd(self.max_cost_usd)
        return BackendBudgets(self.max_tokens, latency_ceiling_ms=self.timeout_ms, cost_ceiling_microusd=cost)
