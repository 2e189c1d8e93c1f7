"""Formations: which of the candidates are asked in a run, and on what grounds.

The choice is a fact, a `FormationDecision`, and passes the gates like any other; the roster asks a candidate only if the
latest decision selects it. Suggestors that are no candidates of it are asked as ever. A run without a decision asks
everybody.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar, cast

from pydantic import Field, model_validator

from converge_core.context.payloads import FactPayload

if TYPE_CHECKING:
    from converge_core.context.state import FactLog


class FormationKind(StrEnum):
    """How a formation is chosen: by name, by score, by what its members have shown, or again until success."""

    STATIC = "static"
    SCORED = "scored"
    DELIBERATED = "deliberated"
    OPEN = "open"


class FormationDecision(FactPayload):
    """Who was considered, who is asked from now on, and why. ``confidence`` is in 0.0 to 1.0."""

    family: ClassVar[str] = "converge.formation.decision"
    kind: FormationKind
    candidates: tuple[str, ...] = Field(min_length=1)
    selected: tuple[str, ...]
    rationale: str = Field(min_length=1)
    confidence: float = Field(default=1.0, ge=0.0, le=1.0)
    unmatched_roles: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _selected_are_candidates(self) -> FormationDecision:
        strangers = [name for name in self.selected if name not in self.candidates]
        if strangers:
            raise ValueError(f"{strangers[0]!r} is selected and no candidate")
        return self

    def summary(self) -> str:
        return f"{self.kind}: {', '.join(self.selected) or 'nobody'} of {len(self.candidates)}; {self.rationale}"


def bench_of(log: FactLog) -> frozenset[str]:
    """Return who is not asked: the candidates of the latest decision that it does not select."""
    decisions = log.by_selector.get(FormationDecision)
    if not decisions:
        return frozenset()
    decision = cast("FormationDecision", decisions[-1].payload)
    return frozenset(decision.candidates).difference(decision.selected)
