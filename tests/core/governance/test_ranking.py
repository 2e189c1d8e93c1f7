from __future__ import annotations

import pytest

from converge_core.governance.dilation import DilationField, Signals
from converge_core.governance.ranking import CostWeights, cost_of, ranked
from converge_core.governance.resources import Observed, Resource

A, B = (Resource(name, name, frozenset({"chat"}), 0.001, 500) for name in "ab")


@pytest.mark.parametrize(
    ("seen", "dilation", "cost"),
    [
        (Observed(1.0, 500), 1, 0.415),
        (Observed(0.9, 600), 1, 0.438),
        (Observed(0.8, 200), 1, 0.446),
        (Observed(1.0, 500), 2, 0.43),
        (Observed(0.9, 600), 2, 0.456),
        (Observed(0.8, 200), 2, 0.452),
        (Observed(), 1, 0.515),
    ],
)
def test_the_cost_of_a_resource(seen: Observed, dilation: float, cost: float) -> None:
    assert cost_of(A, seen, dilation).cost == pytest.approx(cost)


def test_what_a_thousand_tokens_cost_counts() -> None:
    dear = Resource("c", "c", cost_per_token=0.002, latency_target_ms=500)
    assert cost_of(dear, Observed(1.0)).cost == pytest.approx(0.3 * 0.05 + 0.4 * 2)


def test_instability_has_its_cost_and_its_weight() -> None:
    weights = CostWeights(latency=0, compute=0, risk=0)
    assert cost_of(A, Observed(1.0), 1, weights, instability=0.5).cost == pytest.approx(0.05)


def test_among_equals_who_was_named_first_is_first() -> None:
    assert [each.resource.id for each in ranked([B, A], {}, DilationField())] == ["b", "a"]


def test_cr003_who_is_unsure_of_itself_moves_down_and_the_order_says_by_how_much() -> None:
    well = {"a": Observed(1.0, 500), "b": Observed(1.0, 500)}
    sure = {name: Signals.of_health(1.0, 1.0) for name in "ab"}
    field = DilationField().observe(sure)
    assert [each.resource for each in ranked([A, B], well, field)] == [A, B]
    slowed = field.observe({"a": Signals.of_health(0.2, 1.0)})
    first, second = ranked([A, B], well, slowed)
    assert (first.resource, first.dilation) == (B, 0.5)
    assert second.resource == A
    assert second.dilation == pytest.approx(1.5)
    assert first.cost < second.cost
    assert [each.resource for each in ranked([A, B], well, slowed.observe(sure))] == [A, B]
