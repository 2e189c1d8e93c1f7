"""Tensions: two facts that cannot both guide a decision, and the recorded decision that resolves it.

A detector finds them (see `TensionDetector`), the engine states them, and somebody resolves them with a proposal of a
`TensionResolution`, which passes the gates like any other. Nothing is taken back: facts in tension stay facts.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar, Protocol

from pydantic import Field

from converge_core.context.facts import ENGINE, AnyFact, AnyProposal, ProposedFact
from converge_core.context.keys import ContextKey
from converge_core.context.payloads import FactPayload
from converge_core.ledger.canonical import canonical
from converge_core.ledger.hashes import ContentHash

if TYPE_CHECKING:
    from converge_core.context.state import Context


class ConflictType(StrEnum):
    """What sort of tension."""

    CONTRADICTION = "contradiction"
    RESOURCE_CONTENTION = "resource_contention"
    TEMPORAL_OVERLAP = "temporal_overlap"
    PRIORITY_MISMATCH = "priority_mismatch"
    SCOPE_OVERLAP = "scope_overlap"
    CUSTOM = "custom"


class Tension(FactPayload):
    """Two facts (``key/id``) in conflict, and why."""

    family: ClassVar[str] = "converge.tension"
    left: str = Field(min_length=1)
    right: str = Field(min_length=1)
    conflict_type: ConflictType = ConflictType.CONTRADICTION
    reason: str = ""

    def summary(self) -> str:
        return f"{self.left} against {self.right}: {self.reason or self.conflict_type}"

    def objection(self, ctx: Context) -> str | None:
        """Refuse a tension between facts that do not exist."""
        missing = [ref for ref in (self.left, self.right) if ctx.resolve(ref) is None]
        return f"there is no fact {missing[0]!r}" if missing else None


class TensionSide(StrEnum):
    """Which side of a tension is chosen."""

    LEFT = "left"
    RIGHT = "right"
    NEITHER = "neither"
    MERGED = "merged"


class TensionResolution(FactPayload):
    """The decision about a tension, named by the fact that states it."""

    family: ClassVar[str] = "converge.tension.resolution"
    tension: str = Field(min_length=1)
    chosen: TensionSide
    rationale: str = Field(min_length=1)

    def summary(self) -> str:
        return f"{self.tension}: {self.chosen} ({self.rationale})"

    def objection(self, ctx: Context) -> str | None:
        """Refuse a resolution of what is no tension, or is resolved already."""
        fact = ctx.resolve(self.tension)
        if fact is None or not isinstance(fact.payload, Tension):
            return f"{self.tension!r} is no tension"
        if any(known.payload.tension == self.tension for known in ctx.get(TensionResolution)):
            return f"{self.tension} is resolved already"
        return None

    def winner(self, tension: Tension) -> str | None:
        """Return the fact that was chosen, or None when neither was."""
        return {TensionSide.LEFT: tension.left, TensionSide.RIGHT: tension.right}.get(self.chosen)


class TensionDetector(Protocol):
    """Finds what a new fact is in conflict with. Pure; it is asked about every fact that was proposed, once."""

    @property
    def name(self) -> str:
        """Its name, unique within an engine."""
        ...

    def detect(self, fact: AnyFact, ctx: Context) -> Iterable[Tension]:
        """Return the tensions that a new fact causes."""
        ...


def tension_proposal(tension: Tension) -> AnyProposal:
    """Return the engine's statement of a tension; the same two facts give the same statement, whichever came first."""
    sides = sorted((tension.left, tension.right))
    digest = str(ContentHash.of(canonical([*sides, tension.conflict_type.value])))[:16]
    return ProposedFact(ContextKey.DISAGREEMENTS, f"tension:{digest}", tension, provenance=str(ENGINE), evidence=sides)


def open_tensions(ctx: Context) -> list[AnyFact]:
    """Return the facts that state a tension which nobody has resolved."""
    resolved = {fact.payload.tension for fact in ctx.get(TensionResolution)}
    return [fact for fact in ctx.get(Tension) if fact.ref not in resolved]
