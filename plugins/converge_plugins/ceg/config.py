"""The configurations of the phases."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from converge_core.governance.dilation import DilationField
from converge_core.governance.hot_swap import SwapHysteresis, SwapPolicy
from converge_core.governance.negative_authority import PROFILES, NegativeAuthorityProfile
from converge_core.governance.ranking import CostWeights
from converge_core.intent.models import Denial
from converge_core.llm.backend import BackendBudgets
from converge_core.llm.routing import DataClassification
from converge_plugins.ceg.swapping import SwapSettings

Reference = Annotated[str, Field(pattern=r"^[^:]+:[^:]+$")]
"""``module:callable``."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ObserveConfig(_Section):
    """Who looks at the resources."""

    attested: tuple[str, ...] = Field(
        default=(), description="Resources that are no models, and that this vouches for: they can be reached."
    )


class ConstrainConfig(_Section):
    """What constraints and resources are held to."""

    denials: tuple[Denial, ...] = Field(
        default=(), description="What no resource may do or see: profiles by name, or denials as under `denials`."
    )
    predicates: dict[str, Reference] = Field(
        default_factory=dict, description="Predicates of one's own by their ids, each `module:callable`."
    )

    def profiles(self) -> dict[str, NegativeAuthorityProfile]:
        """Return the profiles that an authority can name."""
        own = [denial.profile() for denial in self.denials if not isinstance(denial, str)]
        return {**PROFILES, **{profile.id: profile for profile in own}}


class DilateConfig(_Section):
    """When a resource has been unsure of itself for too long."""

    max_dwell_ticks: int = Field(default=8, ge=0, description="So many ticks of high D; then it collapses for one.")
    dwell_threshold: float = Field(default=1.5, gt=0, description="The D that counts as high.")

    def field(self) -> DilationField:
        """Return the field before the first tick."""
        return DilationField(self.max_dwell_ticks, self.dwell_threshold)


class PlanConfig(_Section):
    """What each part of the cost of a resource weighs."""

    latency: float = Field(default=0.3, ge=0, description="Its latency with D, in tens of seconds.")
    compute: float = Field(default=0.4, ge=0, description="The price of a thousand tokens, in US dollars.")
    risk: float = Field(default=0.2, ge=0, description="What is missing from its health.")
    instability: float = Field(default=0.1, ge=0, description="What is missing from the steadiness of its health.")

    def weights(self) -> CostWeights:
        """Return the weights."""
        return CostWeights(self.latency, self.compute, self.risk, self.instability)


class SwapConfig(_Section):
    """When a resource is to be replaced, and what keeps that from going to and fro."""

    health_threshold: float = Field(default=0.4, ge=0, le=1, description="The health below which it is replaced.")
    latency_tolerance: float = Field(default=2.0, gt=0, description="How many times its target it may take.")
    cost_tolerance: float = Field(default=1.5, gt=0, description="How many times the most of the contract it may cost.")
    allow_degraded_fallback: bool = Field(
        default=True, description="Whether one that would be replaced too, or that nobody knows, may take over."
    )
    diversity_cap: float = Field(default=0.6, gt=0, le=1, description="The largest share of roles for one provider.")
    epsilon: float = Field(default=0.05, ge=0, description="What is no more than this is no improvement.")
    cooldown_ms: int = Field(default=30_000, ge=0, description="How long a role is left alone after a swap.")
    stability_threshold: float = Field(default=0.6, ge=0, le=1, description="The steadiness of who may take over.")

    def settings(self) -> SwapSettings:
        """Return the settings of the registry."""
        policy = SwapPolicy(
            self.health_threshold,
            self.latency_tolerance,
            self.cost_tolerance,
            self.allow_degraded_fallback,
            self.diversity_cap,
        )
        hysteresis = SwapHysteresis(self.epsilon, self.cooldown_ms, self.stability_threshold)
        return SwapSettings(policy, hysteresis)


class ExecuteConfig(_Section):
    """How models are asked, and what runs the resources that are none."""

    runs: dict[str, Reference] = Field(
        default_factory=dict,
        description="`module:callable` by resource: it is given the request and what was said before, as JSON.",
    )
    data: DataClassification = Field(
        default=DataClassification.INTERNAL, description="How confidential the request is."
    )
    max_tokens: int = Field(default=1024, ge=1, description="The longest answer of a model, in tokens.")
    timeout_ms: int = Field(default=60_000, ge=1, description="How long one attempt of a model may take.")

    def budgets(self, max_latency_ms: float) -> BackendBudgets:
        """Return the limits of one attempt under a contract of this latency."""
        return BackendBudgets(self.max_tokens, latency_ceiling_ms=min(self.timeout_ms, int(max_latency_ms)))
