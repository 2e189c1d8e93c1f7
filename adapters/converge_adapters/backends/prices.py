"""What the models of providers cost, by the price list that `genai-prices` carries with it. It asks nobody.

What the list does not know has no price, which is not the price 0: nobody may call what cannot be paid for. A server of
one's own costs what its intent declares (`converge_core.llm.prices.DeclaredPrice`).
"""

from __future__ import annotations

import math

from converge_core.context.allowance import MAX_AMOUNT, MICRO, Usage

FREE_PROVIDERS = frozenset({"offline", "scripted"})
"""Who answers here, in this process, from what it was given."""


class ListPrices:
    """The prices of the list as it was installed, for `converge_core.llm.prices.Prices`."""

    def cost_microusd(self, provider: str, model: str, usage: Usage) -> int | None:
        """Return what a usage costs today, in whole micro-dollars, rounded up; None where the list does not say."""
        if provider in FREE_PROVIDERS:
            return 0
        from genai_prices import Usage as Tokens
        from genai_prices import calc_price

        tokens = Tokens(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens)
        try:
            price = calc_price(tokens, model, provider_id=provider)
        except LookupError:
            return None
        listed = price.model_price
        if listed.input_mtok is None or listed.output_mtok is None:  # the sum leaves out what has no price
            return None
        return min(math.ceil(price.total_price * MICRO), MAX_AMOUNT)
