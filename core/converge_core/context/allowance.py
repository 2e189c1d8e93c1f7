"""What a call may spend, and what it has spent.

Tokens and money are spent by suggestors, so they are *reserved before* a call and *settled after*: an `Allowance` is
what is left for the calls of one cycle, shared by all of them however they run. What cannot be priced cannot be
reserved, so an unknown price fails closed. Money is counted in whole micro-dollars, as a sum of floats is not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from converge_core.errors import ConvergeError, MisuseError

MICRO = 1_000_000


@dataclass(frozen=True, slots=True)
class Usage:
    """What a call has consumed. Adding two gives their sum. Raises MisuseError for a negative or non-finite amount."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_microusd: int = 0

    def __post_init__(self) -> None:
        for name in ("input_tokens", "output_tokens", "cost_microusd"):
            amount = getattr(self, name)
            if type(amount) is not int or amount < 0:
                raise MisuseError(f"usage: {name} must be a whole number of at least 0, not {amount!r}")

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
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cost_microusd + other.cost_microusd,
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
    if not math.isfinite(usd) or usd < 0:
        raise MisuseError(f"{usd!r} is not an amount of money")
    return math.ceil(round(usd * MICRO, 6))


class BudgetRefused(ConvergeError):
    """A reservation would exceed the budget: the call must not be made. ``resource`` is ``tokens`` or ``cost``."""

    def __init__(self, resource: str, asked: int, left: int) -> None:
        super().__init__(resource, asked, left)
        self.resource, self.asked, self.left = resource, asked, left

    def __str__(self) -> str:
        return f"{self.resource}: {self.asked} asked, {self.left} left"


class Allowance:
    """What the calls of one cycle may still spend, all together. None means without limit.

    >>> allowance = Allowance(tokens=1_000, cost_microusd=None)
    >>> reservation = allowance.reserve(tokens=800)
    >>> reservation.settle(Usage(input_tokens=300, output_tokens=200))
    >>> allowance.tokens
    500
    """

    __slots__ = ("cost_microusd", "tokens")

    def __init__(self, tokens: int | None = None, cost_microusd: int | None = None) -> None:
        self.tokens = tokens
        self.cost_microusd = cost_microusd

    def reserve(self, tokens: int = 0, cost_microusd: int = 0) -> Reservation:
        """Set aside the most that a call can spend, before it is made. Raises BudgetRefused: then nothing is."""
        Usage(tokens, 0, cost_microusd)  # refuses negative and non-integer amounts
        if self.tokens is not None and tokens > self.tokens:
            raise BudgetRefused("tokens", tokens, self.tokens)
        if self.cost_microusd is not None and cost_microusd > self.cost_microusd:
            raise BudgetRefused("cost", cost_microusd, self.cost_microusd)
        self._add(-tokens, -cost_microusd)
        return Reservation(self, tokens, cost_microusd)

    def _add(self, tokens: int, cost_microusd: int) -> None:
        if self.tokens is not None:
            self.tokens += tokens
        if self.cost_microusd is not None:
            self.cost_microusd += cost_microusd


class Reservation:
    """A part of an allowance set aside for one call; settle it with what was really used, or release it."""

    __slots__ = ("_allowance", "_cost_microusd", "_tokens")

    def __init__(self, allowance: Allowance, tokens: int, cost_microusd: int) -> None:
        self._allowance: Allowance | None = allowance
        self._tokens, self._cost_microusd = tokens, cost_microusd

    def settle(self, usage: Usage) -> None:
        """Give back what was set aside and not used. Raises MisuseError on a second settlement."""
        if self._allowance is None:
            raise MisuseError("this reservation is settled already")
        self._allowance._add(self._tokens - usage.tokens, self._cost_microusd - usage.cost_microusd)
        self._allowance = None

    def release(self) -> None:
        """Give everything back: the call was not made."""
        self.settle(NOTHING)
