from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_adapters.backends.prices import ListPrices
from converge_core.context.allowance import MAX_AMOUNT, Usage
from converge_core.errors import MisuseError
from converge_core.llm.prices import DeclaredPrice, Prices

LIST: Prices = ListPrices()
AMOUNTS = st.integers(min_value=0, max_value=MAX_AMOUNT)
PRICES = st.decimals(min_value=0, max_value=10_000, allow_nan=False, allow_infinity=False)


def test_a_model_of_the_list_costs_what_the_list_says() -> None:
    assert LIST.cost_microusd("anthropic", "claude-sonnet-4-5", Usage(1_000, 10)) == 3_150
    assert LIST.cost_microusd("openai", "gpt-5", Usage(1_000, 10)) == 1_350


def test_a_part_of_a_micro_dollar_is_a_whole_one() -> None:
    assert LIST.cost_microusd("openai", "gpt-5", Usage(1, 0)) == 2


def test_what_is_used_up_to_nothing_costs_nothing() -> None:
    assert LIST.cost_microusd("openai", "gpt-5", Usage()) == 0


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-of-tomorrow"),
        ("ollama", "llama3"),
        ("nobody", "gpt-5"),
        ("", ""),
        ("openai", "whisper-1"),  # priced by the hour, not by tokens
    ],
)
def test_what_the_list_does_not_know_has_no_price_rather_than_none_to_pay(provider: str, model: str) -> None:
    assert LIST.cost_microusd(provider, model, Usage(10, 10)) is None


@pytest.mark.parametrize("provider", ["offline", "scripted"])
def test_what_is_answered_here_is_free(provider: str) -> None:
    assert LIST.cost_microusd(provider, "any", Usage(10, 10)) == 0


def test_a_declared_price_is_for_a_million_tokens() -> None:
    price: Prices = DeclaredPrice(Decimal("0.5"), Decimal("1.5"))
    assert price.cost_microusd("any", "any", Usage(1_000_000, 1_000_000)) == 2_000_000
    assert price.cost_microusd("any", "any", Usage(1, 0)) == 1
    assert price.cost_microusd("any", "any", Usage(1, 1)) == 2


def test_a_declared_price_of_nothing_is_nothing() -> None:
    assert DeclaredPrice(Decimal(0), Decimal(0)).cost_microusd("ollama", "m", Usage(MAX_AMOUNT, MAX_AMOUNT)) == 0


@given(AMOUNTS, AMOUNTS, PRICES, PRICES)
def test_a_declared_price_is_exact_and_rounded_up(sent: int, got: int, first: Decimal, second: Decimal) -> None:
    cost = DeclaredPrice(first, second).cost_microusd("p", "m", Usage(sent, got))
    places = max(0, *(-int(price.as_tuple().exponent) for price in (first, second)))
    scaled = [int(Fraction(price) * 10**places) for price in (first, second)]
    assert cost == min(-(-(sent * scaled[0] + got * scaled[1]) // 10**places), MAX_AMOUNT)


@pytest.mark.parametrize("amount", ["-1", "NaN", "sNaN", "Infinity", "1e16"])
def test_what_is_no_amount_of_money_is_no_price(amount: str) -> None:
    with pytest.raises(MisuseError, match="a price is an amount of money"):
        DeclaredPrice(Decimal(amount), Decimal(1))
