"""The cost of using a resource, and the order that follows from it: the cheapest first, all things considered.

    cost = 0.3 * latency * D / 10 s + 0.4 * price + 0.2 * (1 - health) + 0.1 * instability

D is the resource's own in the live dilation field, so who is unsure of itself moves down before it fails. The result
holds D and the cost of each, so that an order can be explained.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from converge_core.governance.dilation import DilationField
from converge_core.governance.resources import NOT_OBSERVED, Live, Observed, Resource

LATENCY_SCALE_MS = 10_000


@dataclass(frozen=True, slots=True)
class CostWeights:
    """What each part of the cost weighs."""

    latency: float = 0.3
    compute: float = 0.4
    risk: float = 0.2
    instability: float = 0.1


DEFAULT_WEIGHTS = CostWeights()


class CostTerms(NamedTuple):
    """The parts of a cost, each with its weight."""

    latency: float
    compute: float
    risk: float
    instability: float


class Ranked(NamedTuple):
    """A resource at its place: its dilation, what its latency is with that, and its cost, part by part."""

    resource: Resource
    dilation: float
    latency_ms: float
    terms: CostTerms

    @property
    def cost(self) -> float:
        """The sum of the parts."""
        return sum(self.terms)


def cost_of(
    resource: Resource,
    seen: Observed = NOT_OBSERVED,
    dilation: float = 1.0,
    weights: CostWeights = DEFAULT_WEIGHTS,
    instability: float = 0.0,
) -> Ranked:
    """Return the cost of a resource by what was seen of it, with its target of latency where nothing was."""
    latency = (resource.latency_target_ms if seen.latency_ms is None else seen.latency_ms) * dilation
    terms = CostTerms(
        weights.latency * latency / LATENCY_SCALE_MS,
        weights.compute * resource.cost,
        weights.risk * (1 - seen.compared_health),
        weights.instability * instability,
    )
    return Ranked(resource, dilation, latency, terms)


def ranked(
    resources: Iterable[Resource], live: Live, field: DilationField, weights: CostWeights = DEFAULT_WEIGHTS
) -> tuple[Ranked, ...]:
    """Return resources in the order of their cost; among equals, in the order in which they were given."""
    costed = (cost_of(each, live.get(each.id, NOT_OBSERVED), field.get(each.id), weights) for each in resources)
    return tuple(sorted(costed, key=lambda each: each.cost))
