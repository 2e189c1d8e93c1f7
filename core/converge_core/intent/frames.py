"""Frames: a part of the intent, looked at by itself, with a scope of its own.

A frame is a fact. A proposal that cites it as evidence is made within it, and the gate holds it to the frame's scope
and to that of every frame around it, as it holds everything to the scope of the intent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from converge_core.context.facts import AnyProposal
from converge_core.context.payloads import FactPayload
from converge_core.intent.scope import Scope

if TYPE_CHECKING:
    from converge_core.context.state import Context


class Frame(FactPayload):
    """What is looked at, within which scope (``(dimension, value)`` pairs), and inside which other frame."""

    family: ClassVar[str] = "converge.frame"
    title: str = Field(min_length=1)
    scope: tuple[tuple[str, str], ...] = ()
    parent: str | None = None

    def summary(self) -> str:
        return self.title

    def objection(self, ctx: Context) -> str | None:
        """Refuse a frame inside one that does not exist."""
        if self.parent is None:
            return None
        parent = ctx.resolve(self.parent)
        return None if parent is not None and isinstance(parent.payload, Frame) else f"{self.parent!r} is no frame"


def outside_of_frame(proposal: AnyProposal, ctx: Context) -> str | None:
    """Return why a proposal leaves a frame that it cites, or None."""
    if not ctx.has(Frame):
        return None
    for cited in proposal.evidence:
        ref: str | None = str(cited)
        while ref is not None:
            fact = ctx.resolve(ref)
            if fact is None or not isinstance(fact.payload, Frame):
                break
            outside = Scope(fact.payload.scope).excludes(proposal)
            if outside is not None:
                return f"frame {ref}: {outside}"
            ref = fact.payload.parent
    return None
