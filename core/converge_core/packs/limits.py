"""How long a solver may search, and what its chance depends on.

Limits of iterations and candidates give the same answer on every machine; a limit of time does not, so a pack that
keeps one is not deterministic, and its effects are journaled. Randomness comes from a seed alone: `DeterminismSpec`
derives from it one stream of numbers for each phase and each iteration, so that adding a draw to one phase changes
nothing in another.
"""

from __future__ import annotations

import hashlib

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core.core_schema import ValidationInfo

MAX_SEED = 2**53 - 1
"""The largest seed: what JSON says exactly."""


class SolveBudgets(BaseModel):
    """Hard limits of one solve. What a limit cuts off, the solver's report says."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    time_limit: float = Field(default=30.0, description="Seconds.")
    iteration_limit: int = Field(default=100_000, description="Steps of the search: for an integer program its nodes.")
    candidate_cap: int = Field(
        default=1_000, description="The most candidates that are looked at: pairs, items, start times."
    )

    @field_validator("time_limit", "iteration_limit", "candidate_cap")
    @classmethod
    def _is_positive(cls, limit: float, info: ValidationInfo) -> float:
        if limit <= 0:
            raise ValueError(f"{info.field_name} must be positive")
        return limit


class DeterminismSpec(BaseModel):
    """Where a solver's random choices come from (seed 002)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(default=0, ge=0, le=MAX_SEED, description="The same seed, the same choices.")

    def sub_seed(self, phase: str) -> int:
        """Return the seed of a phase, an unsigned 64-bit number."""
        return _derived(b"phase", _big_endian(self.seed), phase.encode())

    def iter_seed(self, iteration: int) -> int:
        """Return the seed of an iteration, counted from 0, an unsigned 64-bit number."""
        return _derived(b"iteration", _big_endian(self.seed), _big_endian(iteration))


def _derived(*parts: bytes) -> int:
    """Return the first eight bytes of a SHA-256 over the parts, each after its length."""
    text = b"".join(_big_endian(len(part)) + part for part in parts)
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big")


def _big_endian(number: int) -> bytes:
    return number.to_bytes(8, "big")
