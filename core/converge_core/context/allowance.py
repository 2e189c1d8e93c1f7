"""What a call may spend, and what it has spent.

Tokens and money are spent by suggestors, so they are *reserved before* a call and *settled after*: an `Allowance` is
what is left for the calls of one cycle, shared by all of them however they run. What cannot be priced cannot be
reserved, so an unknown price fails closed. Money is counted in whole micro-dollars, as a sum of floats is not.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from decimal import Decimal

from converge_core.errors import ConvergeError, MisuseError

MICRO = 1_000_000
MAX_AMOUNT = 10**15
"""The most of anything that can be spent: an amount the ledger writes exactly, as JSON has no larger integers."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a call has consumed. Adding two gives their sum. Raises MisuseError for a negative or non-finite amount."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_microusd: int = 0

    def __post_init__(self) -> None:
        for name in ("input_tokens", "output_tokens", "cost_microusd"):
            amount = getattr(self, name)
            if type(amount) is not int or not 0 <= amount <= MAX_AMOUNT:
                raise MisuseError(f"usage: {name} must be a whole number from 0 to {MAX_AMOUNT}, not {amount!r:.40}")

    @property
    def tokens(self) -> int:
        """Input and output tokens together."""
        return self.input_tokens + self.output_tokens

    @property
    def cost_usd(self) -> float:
        """The cost in US dollars."""
        return self.cost_microusd / MICRO

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            min(self.input_tokens + other.input_tokens, MAX_AMOUNT),
            min(self.output_tokens + other.output_tokens, MAX_AMOUNT),
            min(self.cost_microusd + other.cost_microusd, MAX_AMOUNT),
        )

    def at_least(self, other: Usage) -> Usage:
        """Return the greater of both amounts, of each resource."""
        return Usage(
            max(self.input_tokens, other.input_tokens),
            max(self.output_tokens, other.output_tokens),
            max(self.cost_microusd, other.cost_microusd),
        )

    def to_json(self) -> dict[str, int]:
        """Return the non-zero parts."""
        parts = {
            "cost_microusd": self.cost_microusd,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
        }
        return {name: amount for name, amount in parts.items() if amount}


NOTHING = Usage()


def microusd(usd: float) -> int:
    """Return dollars as whole micro-dollars, rounded up: a reservation never asks for too little.

    Raises MisuseError for a negative or non-finite amount.
    """
    return math.ceil(exact_microusd(usd))


def exact_microusd(usd: float) -> Decimal:
    """Return dollars as micro-dollars, exact for the number as it is written. Raises MisuseError as `microusd` does."""
    if not 0 <= usd <= MAX_AMOUNT / MICRO:  # nor is NaN
        raise MisuseError(f"{usd!r} is not an amount of money")
    return round(Decimal(str(usd)) * MICRO, 6)


class BudgetRefused(ConvergeError):
    """A reservation would exceed the budget: the call must not be made. ``resource`` is ``tokens`` or ``cost``."""

    def __init__(self, resource: str, asked: int, left: int) -> None:
        super().__init__(resource, asked, left)
        self.resource, self.asked, self.left = resource, asked, left

    def __str__(self) -> str:
        return f"{self.resource}: {self.asked} asked, {self.left} left"


_UNGUARDED = nullcontext()


class Allowance:
    """What the calls of one cycle may still spend, all together. None means without limit.

    Each call has its own hand on it (`share`), which knows what that call has used, whether it ends well or not.

    >>> allowance = Allowance(tokens=1_000, cost_microusd=None)
    >>> reservation = allowance.reserve(tokens=800)
    >>> reservation.settle(Usage(input_tokens=300, output_tokens=200))
    >>> allowance.tokens
    500
    """

    __slots__ = ("_guard", "_left", "_open", "_spent")

    def __init__(self, tokens: int | None = None, cost_microusd: int | None = None) -> None:
        self._left = [tokens, cost_microusd]
        self._guard: AbstractContextManager[object] = _UNGUARDED
        self._open: tuple[Reservation, ...] = ()
        self._spent = NOTHING

    def share(self) -> Allowance:
        """Return another hand on the same allowance."""
        hand = Allowance()
        hand._left, hand._guard = self._left, self._guard
        return hand

    def guard_with(self, lock: AbstractContextManager[object]) -> None:
        """Take a lock whenever this hand reserves or settles: an executor that uses threads gives all hands one."""
        self._guard = lock

    @property
    def tokens(self) -> int | None:
        """The tokens that are left."""
        return self._left[0]

    @property
    def cost_microusd(self) -> int | None:
        """The micro-dollars that are left."""
        return self._left[1]

    @property
    def used(self) -> Usage:
        """What was settled through this hand, and what it has set aside: a call that broke off may have spent it."""
        return sum([reservation.most for reservation in self._open], self._spent) if self._open else self._spent

    def reserve(self, tokens: int = 0, cost_microusd: int = 0) -> Reservation:
        """Set aside the most that a call can spend, before it is made. Raises BudgetRefused: then nothing is."""
        most = Usage(tokens, 0, cost_microusd)  # refuses negative and non-integer amounts
        with self._guard:
            if self.tokens is not None and tokens > self.tokens:
                raise BudgetRefused("tokens", tokens, self.tokens)
            if self.cost_microusd is not None and cost_microusd > self.cost_microusd:
                raise BudgetRefused("cost", cost_microusd, self.cost_microusd)
            self._take(most, 1)
            reservation = Reservation(self, most)
            self._open += (reservation,)
        return reservation

    def _take(self, usage: Usage, sign: int) -> None:
        for place, amount in enumerate((usage.tokens, usage.cost_microusd)):
            left = self._left[place]
            if left is not None:
                self._left[place] = left - sign * amount


UNLIMITED = Allowance()
"""Nothing is counted down here, so all who have no limit share it; each spends through a hand of its own."""


class Reservation:
    """A part of an allowance set aside for one call; settle it with what was really used, or release it."""

    __slots__ = ("_allowance", "most")

    def __init__(self, allowance: Allowance, most: Usage) -> None:
        self._allowance = allowance
        self.most = most

    def settle(self, usage: Usage) -> None:
        """Give back what was set aside and not used. Raises MisuseError on a second settlement."""
        allowance = self._allowance
        with allowance._guard:
            if self not in allowance._open:
                raise MisuseError("this reservation is settled already")
            allowance._open = tuple([other for other in allowance._open if other is not self])
            allowance._spent += usage
            allowance._take(self.most, -1)
            allowance._take(usage, 1)

    def release(self) -> None:
        """Give everything back: the call was not made."""
        self.settle(NOTHING)
