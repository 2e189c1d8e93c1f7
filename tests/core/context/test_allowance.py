from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_core import Allowance, BudgetRefused, MisuseError, Usage
from converge_core.context.allowance import MAX_AMOUNT, NOTHING, microusd

amounts = st.integers(0, 1_000)


def test_usage_adds_up() -> None:
    assert Usage(1, 2, 3) + Usage(10, 20, 30) == Usage(11, 22, 33)
    assert (Usage(1, 2, 3).tokens, Usage(cost_microusd=1_500_000).cost_usd) == (3, 1.5)


def test_the_sum_of_usages_stays_an_amount() -> None:
    assert Usage(MAX_AMOUNT) + Usage(1) == Usage(MAX_AMOUNT)


def test_usage_is_written_without_its_zeros() -> None:
    assert Usage(output_tokens=2).to_json() == {"output_tokens": 2}


@pytest.mark.parametrize("amount", [-1, 1.5, True, MAX_AMOUNT + 1, "3", None])
def test_what_is_no_amount_is_refused(amount: object) -> None:
    with pytest.raises(MisuseError, match="input_tokens must be a whole number"):
        Usage(input_tokens=amount)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("usd", "micro"), [(0, 0), (1, 1_000_000), (0.0000001, 1), (0.1 + 0.2, 300_000), (2.5, 2_500_000)]
)
def test_money_is_counted_in_micro_dollars_rounded_up(usd: float, micro: int) -> None:
    assert microusd(usd) == micro


@pytest.mark.parametrize("usd", [-0.01, float("nan"), float("inf")])
def test_what_is_no_money_is_refused(usd: float) -> None:
    with pytest.raises(MisuseError, match="is not an amount of money"):
        microusd(usd)


def test_what_is_reserved_is_not_left_for_others() -> None:
    allowance = Allowance(tokens=100, cost_microusd=50)
    allowance.reserve(tokens=80, cost_microusd=50)
    assert (allowance.tokens, allowance.cost_microusd) == (20, 0)
    with pytest.raises(BudgetRefused) as refused:
        allowance.reserve(tokens=21)
    assert (refused.value.resource, refused.value.asked, refused.value.left) == ("tokens", 21, 20)
    assert str(refused.value) == "tokens: 21 asked, 20 left"


def test_a_refused_reservation_sets_nothing_aside() -> None:
    allowance = Allowance(tokens=100, cost_microusd=50)
    with pytest.raises(BudgetRefused, match=r"^cost: 51 asked, 50 left$"):
        allowance.reserve(tokens=10, cost_microusd=51)
    assert (allowance.tokens, allowance.cost_microusd, allowance.used) == (100, 50, NOTHING)


def test_a_settlement_gives_back_what_was_not_used() -> None:
    allowance = Allowance(tokens=100, cost_microusd=50)
    allowance.reserve(tokens=80, cost_microusd=40).settle(Usage(20, 10, 15))
    assert (allowance.tokens, allowance.cost_microusd) == (70, 35)


def test_a_release_gives_everything_back() -> None:
    allowance = Allowance(tokens=100)
    allowance.reserve(tokens=80).release()
    assert (allowance.tokens, allowance.used) == (100, NOTHING)


def test_a_reservation_is_settled_once() -> None:
    reservation = Allowance(tokens=100).reserve(tokens=80)
    reservation.settle(Usage(10))
    with pytest.raises(MisuseError, match="settled already"):
        reservation.settle(Usage(10))
    with pytest.raises(MisuseError, match="settled already"):
        reservation.release()


def test_nothing_is_left_after_more_was_used_than_reserved() -> None:
    allowance = Allowance(tokens=100)
    allowance.reserve(tokens=80).settle(Usage(120))
    assert allowance.tokens == -20
    with pytest.raises(BudgetRefused):
        allowance.reserve(tokens=0)


@pytest.mark.parametrize("tokens", [-1, 1.5])
def test_a_reservation_of_no_amount_is_refused(tokens: int) -> None:
    allowance = Allowance(tokens=100)
    with pytest.raises(MisuseError):
        allowance.reserve(tokens=tokens)
    assert allowance.tokens == 100


def test_without_a_limit_everything_may_be_reserved() -> None:
    allowance = Allowance()
    allowance.reserve(tokens=MAX_AMOUNT, cost_microusd=MAX_AMOUNT).settle(Usage(1))
    assert (allowance.tokens, allowance.cost_microusd, allowance.used) == (None, None, Usage(1))


def test_a_hand_knows_what_its_own_call_has_used_or_still_holds() -> None:
    allowance = Allowance(tokens=100)
    mine, other = allowance.share(), allowance.share()
    mine.reserve(tokens=30).settle(Usage(10, 5))
    mine.reserve(tokens=40)
    other.reserve(tokens=1)

    assert mine.used == Usage(50, 5)
    assert other.used == Usage(1)
    assert allowance.tokens == mine.tokens == other.tokens == 100 - 15 - 40 - 1


@given(st.lists(st.tuples(amounts, st.floats(0, 1), st.booleans()), max_size=20), amounts)
def test_what_is_left_and_what_is_used_is_always_the_whole(calls: list[tuple[int, float, bool]], limit: int) -> None:
    allowance = Allowance(tokens=limit)
    hands = []
    for tokens, part, settles in calls:
        hand = allowance.share()
        hands.append(hand)
        try:
            reservation = hand.reserve(tokens=tokens)
        except BudgetRefused:
            continue
        if settles:
            reservation.settle(Usage(int(tokens * part)))
    used = sum((hand.used for hand in hands), NOTHING)

    assert allowance.tokens is not None
    assert allowance.tokens + used.tokens == limit
    assert allowance.tokens >= 0
