"""The hard limits of a run: cycles, facts, tokens, money and time. None of them is overshot.

Cycles and facts are counted by the machine: the fact or the cycle that would exceed is not made. What suggestors spend
is limited by the `Allowance` of each cycle. Time comes in from the driver's clock.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from converge_core.context.allowance import MICRO, exact_microusd
from converge_core.errors import MisuseError


@dataclass(frozen=True, slots=True)
class Budget:
    """The limits of a run; None means no limit. ``time_limit_ms`` counts working time, not the wait for people."""

    max_cycles: int = 100
    max_facts: int = 10_000
    max_tokens: int | None = None
    max_cost_usd: float | None = None
    time_limit_ms: int | None = None
    max_suggestors_per_cycle: int | None = None

    def __post_init__(self) -> None:
        for name in ("max_cycles", "max_facts", "max_tokens", "time_limit_ms", "max_suggestors_per_cycle"):
            limit = getattr(self, name)
            if limit is not None and (type(limit) is not int or limit < 0):
                raise MisuseError(f"budget: {name} must be a whole number of at least 0, not {limit!r}")
        if self.max_cycles is None or self.max_facts is None:
            raise MisuseError("budget: max_cycles and max_facts always have a limit")
        if self.max_suggestors_per_cycle is not None and self.max_suggestors_per_cycle < 1:
            raise MisuseError("budget: max_suggestors_per_cycle must be at least 1")
        if self.max_cost_usd is not None:
            exact_microusd(self.max_cost_usd)

    @property
    def max_cost_microusd(self) -> int | None:
        """The money limit in micro-dollars, rounded down so that it is never exceeded."""
        return None if self.max_cost_usd is None else math.floor(exact_microusd(self.max_cost_usd))

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read the limits back."""
        cost = value["max_cost_microusd"]
        limits = {name: limit for name, limit in value.items() if name != "max_cost_microusd"}
        return cls(**limits, max_cost_usd=None if cost is None else cost / MICRO)

    def to_json(self) -> dict[str, int | None]:
        """Return the limits as they stand in the ledger."""
        return {
            "max_cost_microusd": self.max_cost_microusd,
            "max_cycles": self.max_cycles,
            "max_facts": self.max_facts,
            "max_suggestors_per_cycle": self.max_suggestors_per_cycle,
            "max_tokens": self.max_tokens,
            "time_limit_ms": self.time_limit_ms,
        }
