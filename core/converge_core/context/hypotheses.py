"""Hypotheses: claims that are meant to be tested, and how the test came out.

A hypothesis is a fact like any other and is never changed; its resolution is another fact. A hypothesis is resolved
once, and one that is superseded names the hypothesis that takes its place.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from converge_core.context.payloads import FactPayload

if TYPE_CHECKING:
    from converge_core.context.facts import Fact
    from converge_core.context.state import Context

HIGH_CONFIDENCE = 0.7
LOW_CONFIDENCE = 0.3


class Hypothesis(FactPayload):
    """A claim, in a domain; ``testable`` says whether anything could show it to be wrong."""

    family: ClassVar[str] = "converge.hypothesis"
    claim: str = Field(min_length=1)
    domain: str = ""
    testable: bool = True

    def summary(self) -> str:
        return self.claim


class HypothesisOutcome(StrEnum):
    """How a hypothesis came out."""

    CONFIRMED = "confirmed"
    FALSIFIED = "falsified"
    SUPERSEDED = "superseded"


class HypothesisResolution(FactPayload):
    """The outcome of a hypothesis (``key/id``). ``contradiction`` names what falsifies or supersedes it."""

    family: ClassVar[str] = "converge.hypothesis.resolution"
    hypothesis: str = Field(min_length=1)
    outcome: HypothesisOutcome
    reason: str = Field(min_length=1)
    contradiction: str | None = None

    def summary(self) -> str:
        return f"{self.hypothesis} {self.outcome}: {self.reason}"

    def objection(self, ctx: Context) -> str | None:
        """Refuse to resolve what is no hypothesis, is resolved, or cannot be tested; and to supersede it by nothing."""
        fact = ctx.resolve(self.hypothesis)
        if fact is None or not isinstance(fact.payload, Hypothesis):
            return f"{self.hypothesis!r} is no hypothesis"
        if any(known.payload.hypothesis == self.hypothesis for known in ctx.get(HypothesisResolution)):
            return f"{self.hypothesis} is resolved already"
        if self.outcome is HypothesisOutcome.SUPERSEDED:
            return self._objection_to_successor(ctx)
        if not fact.payload.testable:
            return f"{self.hypothesis} cannot be tested, so it is neither confirmed nor falsified"
        if self.contradiction is not None and ctx.resolve(self.contradiction) is None:
            return f"there is no fact {self.contradiction!r}"
        return None

    def _objection_to_successor(self, ctx: Context) -> str | None:
        successor = ctx.resolve(self.contradiction or "")
        if successor is None or not isinstance(successor.payload, Hypothesis) or successor.ref == self.hypothesis:
            return "a superseded hypothesis names another hypothesis that takes its place"
        return None


def open_hypotheses(ctx: Context) -> list[Fact[Hypothesis]]:
    """Return the hypotheses that nobody has resolved, in the order in which they were formed."""
    resolved = {fact.payload.hypothesis for fact in ctx.get(HypothesisResolution)}
    return [fact for fact in ctx.get(Hypothesis) if fact.ref not in resolved]
