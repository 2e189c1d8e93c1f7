"""What calls of a model cost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Protocol

from converge_core.context.allowance import MAX_AMOUNT, Usage
from converge_core.errors import MisuseError


class Prices(Protocol):
    """Knows what models cost."""

    def cost_microusd(self, provider: str, model: str, usage: Usage) -> int | None:
        """Return what a usage costs, in whole micro-dollars, rounded up; None where nobody knows."""
        ...


@dataclass(frozen=True, slots=True)
class DeclaredPrice:
    """A price that somebody answers for, of whatever model it is asked about: US dollars for a million tokens.

    That is micro-dollars for a token. Raises MisuseError for what is no amount of money.
    """

    input_usd: Decimal
    output_usd: Decimal

    def __post_init__(self) -> None:
        if not all(price.is_finite() and 0 <= price <= MAX_AMOUNT for price in (self.input_usd, self.output_usd)):
            raise MisuseError(f"a price is an amount of money, unlike {self.input_usd} or {self.output_usd}")

    def cost_microusd(self, provider: str, model: str, usage: Usage) -> int:
        """Return what a usage costs, in whole micro-dollars, rounded up once, at the end."""
        exact = usage.input_tokens * Fraction(self.input_usd) + usage.output_tokens * Fraction(self.output_usd)
        return min(math.ceil(exact), MAX_AMOUNT)
