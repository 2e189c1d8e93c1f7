from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_core import Budget, MisuseError


def test_cycles_and_facts_always_have_a_limit() -> None:
    budget = Budget()
    assert (budget.max_cycles, budget.max_facts) == (100, 10_000)
    assert (budget.max_tokens, budget.max_cost_usd, budget.time_limit_ms, budget.max_suggestors_per_cycle) == (
        None,
    ) * 4


@pytest.mark.parametrize(
    "limits",
    [
        {"max_cycles": -1},
        {"max_cycles": 1.5},
        {"max_cycles": True},
        {"max_cycles": None},
        {"max_facts": None},
        {"max_facts": "9"},
        {"max_tokens": -1},
        {"time_limit_ms": 0.5},
        {"max_suggestors_per_cycle": 0},
        {"max_suggestors_per_cycle": 1.5},
        {"max_cost_usd": 10**10},
        {"max_cost_usd": -0.01},
        {"max_cost_usd": float("nan")},
        {"max_cost_usd": float("inf")},
    ],
    ids=str,
)
def test_a_limit_that_is_none_is_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(MisuseError):
        Budget(**limits)


@pytest.mark.parametrize(
    ("usd", "micro"), [(0, 0), (1, 1_000_000), (0.1 + 0.2, 300_000), (0.0000019, 1), (1.1, 1_100_000), (None, None)]
)
def test_a_money_limit_is_counted_in_micro_dollars_rounded_down(usd: float | None, micro: int | None) -> None:
    assert Budget(max_cost_usd=usd).max_cost_microusd == micro


budgets = st.builds(
    Budget,
    max_cycles=st.integers(0, 10**9),
    max_facts=st.integers(0, 10**9),
    max_tokens=st.none() | st.integers(0, 10**12),
    max_cost_usd=st.none() | st.floats(0, 10**9),
    time_limit_ms=st.none() | st.integers(0, 10**12),
    max_suggestors_per_cycle=st.none() | st.integers(1, 10**6),
)


@given(budgets)
def test_a_budget_means_the_same_after_the_ledger(budget: Budget) -> None:
    again = Budget.from_json(budget.to_json())
    assert again.to_json() == budget.to_json()
