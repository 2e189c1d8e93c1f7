"""What calls of a model cost."""

from __future__ import annotations

from typing import Protocol

from converge_core.context.allowance import Usage


class Prices(Protocol):
    """Knows what models cost."""

    def cost_microusd(self, provider: str, model: str, usage: Usage) -> int | None:
        """Return what a usage costs, in whole micro-dollars, rounded up; None where nobody knows."""
        ...
