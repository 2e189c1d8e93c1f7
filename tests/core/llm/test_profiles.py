from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from converge_core import MisuseError
from converge_core.llm.capability import Modality
from converge_core.llm.profiles import (
    ComplianceLevel,
    CostClass,
    CostTier,
    DataSovereignty,
    LatencyClass,
    Location,
    ProviderProfile,
    TaskComplexity,
)

PROFILE = ProviderProfile("Acme-Large", "ACME", "large-1", CostClass.LOW, 500, 0.7)


def test_cost_classes_are_ordered_by_cost_and_not_by_the_alphabet() -> None:
    assert [cost.value for cost in CostClass] == ["free", "very_low", "low", "medium", "high", "very_high"]
    for cheaper, dearer in pairwise(CostClass):
        assert cheaper < dearer
        assert cheaper <= dearer
        assert dearer > cheaper
        assert dearer >= cheaper
        assert not dearer < cheaper
        assert not dearer <= cheaper
        assert not cheaper > dearer
        assert not cheaper >= dearer
    assert CostClass.LOW <= CostClass.LOW
    assert sorted([CostClass.VERY_LOW, CostClass.HIGH, CostClass.FREE])[0] is CostClass.FREE


@pytest.mark.parametrize(
    ("tier", "most"),
    [
        (CostTier.MINIMAL, CostClass.LOW),
        (CostTier.STANDARD, CostClass.MEDIUM),
        (CostTier.PREMIUM, CostClass.VERY_HIGH),
    ],
)
def test_a_cost_tier_is_a_cost_class(tier: CostTier, most: CostClass) -> None:
    assert tier.max_cost is most


@pytest.mark.parametrize(
    ("latency", "ms"),
    [
        (LatencyClass.REALTIME, 100),
        (LatencyClass.INTERACTIVE, 2_000),
        (LatencyClass.BACKGROUND, 30_000),
        (LatencyClass.BATCH, 300_000),
    ],
)
def test_a_latency_class_is_a_time(latency: LatencyClass, ms: int) -> None:
    assert latency.max_latency_ms == ms


@pytest.mark.parametrize(
    ("complexity", "quality"),
    [
        (TaskComplexity.EXTRACTION, 0.5),
        (TaskComplexity.CLASSIFICATION, 0.6),
        (TaskComplexity.REASONING, 0.8),
        (TaskComplexity.GENERATION, 0.7),
    ],
)
def test_the_complexity_of_a_task_is_a_quality(complexity: TaskComplexity, quality: float) -> None:
    assert complexity.min_quality == quality


@pytest.mark.parametrize("sovereignty", DataSovereignty)
def test_data_stays_only_with_a_backend_on_the_premises(sovereignty: DataSovereignty) -> None:
    profile = replace(PROFILE, sovereignty=sovereignty)
    assert profile.remote == (sovereignty is not DataSovereignty.ON_PREMISES)


def test_a_profile_answers_to_its_id_and_its_provider_in_any_case() -> None:
    assert PROFILE.names == {"acme-large", "acme"}


def test_places_are_compared_whatever_their_case() -> None:
    assert Location("eu", "de") == Location("EU", "DE")


def test_the_sets_of_a_profile_hold_still() -> None:
    capabilities, compliance = {Modality.TEXT}, {ComplianceLevel.GDPR}
    profile = replace(PROFILE, capabilities=capabilities, compliance=compliance)
    capabilities.clear()
    compliance.clear()
    assert (profile.capabilities, profile.compliance) == ({Modality.TEXT}, {ComplianceLevel.GDPR})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"id": " "}, "needs an id"),
        ({"provider": ""}, "needs an id and the name of the provider"),
        ({"latency_ms": 0}, "latency_ms is above 0, not 0"),
        ({"quality": 1.01}, "quality is in 0 to 1, not 1.01"),
        ({"quality": -0.01}, "quality is in 0 to 1"),
        ({"quality": float("nan")}, "quality is in 0 to 1"),
    ],
)
def test_a_profile_out_of_bounds_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(MisuseError, match=message):
        replace(PROFILE, **fields)  # type: ignore[arg-type]  # any field
