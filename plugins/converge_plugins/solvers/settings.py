"""What the configurations of all solvers say, and what the plans of integer programs have in common."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field

from converge_core import ContextKey, FactPayload, Site
from converge_core.packs import GAP_DIGITS, Pack, PackPlan, PackSuggestor, SolveBudgets, SolverReport, SolverStop

P = TypeVar("P", bound=FactPayload)
S = TypeVar("S", bound=PackPlan)


class SolverConfig(BaseModel):
    """The part that every solver has."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    for_each: ContextKey = Field(default=ContextKey.SEEDS, description="Each new problem under this key is solved.")
    key: ContextKey = Field(default=ContextKey.STRATEGIES, description="Where plans go.")
    outcomes: ContextKey = Field(
        default=ContextKey.EVALUATIONS, description="Where it is stated that a problem has no plan, and why."
    )
    budgets: SolveBudgets = Field(default=SolveBudgets(), description="The limits of each solve.")

    def suggestor(self, pack: Pack[P, S], site: Site) -> PackSuggestor[P, S]:
        """Return the suggestor of a pack that this configures."""
        return PackSuggestor(
            pack,
            name=site.name,
            reads=self.for_each,
            writes=self.key,
            outcomes=self.outcomes,
            budgets=self.budgets,
            config=self.model_dump(mode="json"),
        )


class SearchConfig(SolverConfig):
    """The part of those that a limit can stop before they have proved anything."""

    max_gap: float = Field(
        default=0.0, ge=0, description="A human decides about a plan that may be further from the best, relatively."
    )


def confidence_in(report: SolverReport) -> float:
    """Return 1.0 for a proven optimum; else what is certain of the value, or one half where nothing is proved."""
    if report.stop is SolverStop.OPTIMAL:
        return 1.0
    return 0.5 if report.gap is None else max(0.0, round(1.0 - report.gap, GAP_DIGITS))


def excess_gap(report: SolverReport, most: float) -> str | None:
    """Return what is to be said against a plan that may be too far from the best, if it may."""
    if report.gap is not None and report.gap <= most:
        return None
    return f"{report}; a gap of {most:.2%} is allowed"
