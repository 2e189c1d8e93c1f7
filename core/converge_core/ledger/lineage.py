"""Lineage: why a fact holds, from its promotion back to the inputs.

A fact cites evidence, each piece of which may be a fact that cites evidence, so what is behind a fact is a graph; a
person reads it as a tree. `lineage` walks it once, depth first, and yields the tree in the order in which it is read
from top to bottom. A fact is followed where it is met first and referred to where it is met again, which keeps the tree
as short as the graph, and makes a circle end: evidence is text, and nobody is kept from citing what cites him. The walk
keeps its own stack, since a ledger from elsewhere may be deeper than Python's.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from converge_core.context.facts import ENGINE
from converge_core.errors import MisuseError
from converge_core.ledger import events
from converge_core.ledger.history import History, RecordedFact


class Origin(StrEnum):
    """Where the proposal of a fact came from."""

    INPUT = "input"
    SUGGESTOR = "suggestor"
    EDIT = "edit"
    CORRECTION = "correction"
    ENGINE = "engine"
    CARRIED = "carried"


_ORIGINS = {
    events.InputAdmitted.kind: Origin.INPUT,
    events.FactCarried.kind: Origin.CARRIED,
}


def origin_of(fact: RecordedFact) -> Origin:
    """Return where the proposal of a fact came from: an input, a suggestor, a person, the engine, an earlier run."""
    if fact.correction is not None:
        return Origin.CORRECTION
    if fact.brought_by in _ORIGINS:
        return _ORIGINS[fact.brought_by]
    if fact.gate is not None and fact.gate.edited == fact.promotion["proposal"]:
        return Origin.EDIT
    return Origin.ENGINE if fact.promotion["proposer"] == ENGINE.id else Origin.SUGGESTOR


class Sight(StrEnum):
    """What stands at a place of a lineage."""

    FACT = "fact"
    """A fact; what it cites follows."""
    AGAIN = "again"
    """A fact that stands, with what it cites, further up."""
    CUT = "cut"
    """A fact at the greatest depth asked for; what it cites is left out."""
    SOURCE = "source"
    """Something that is no fact of this run: a URL, a document, a fact of another run."""


class Step(NamedTuple):
    """A place of a lineage. ``depth`` counts from 0, ``last`` tells the last piece of its parent's evidence.

    ``parent`` is the ``ref`` of the fact that cites this, None at the root. ``fact`` is None for a source.
    """

    depth: int
    ref: str
    sight: Sight
    fact: RecordedFact | None
    parent: str | None
    last: bool


def lineage(history: History, ref: str, depth: int | None = None) -> Iterator[Step]:
    """Yield the tree behind a fact (``key/id``), itself first, down to ``depth`` (None: to the inputs).

    Raises MisuseError when the run has no such fact.
    """
    if ref not in history.facts:
        raise MisuseError(f"run {history.run_id!r} has no fact {ref!r}")
    return _walk(history, ref, depth)


def _walk(history: History, ref: str, depth: int | None) -> Iterator[Step]:
    followed: set[str] = set()
    stack: list[tuple[int, str, str | None, bool]] = [(0, ref, None, True)]
    while stack:
        level, name, parent, last = stack.pop()
        fact = history.facts.get(name)
        sight = Sight.FACT
        if fact is None:
            sight = Sight.SOURCE
        elif name in followed:
            sight = Sight.AGAIN
        elif level == depth and fact.evidence:
            sight = Sight.CUT
        yield Step(level, name, sight, fact, parent, last)
        if fact is not None and sight is Sight.FACT:
            followed.add(name)
            cited = tuple(dict.fromkeys(fact.evidence))
            stack += [
                (level + 1, piece, name, place == len(cited) - 1) for place, piece in reversed(list(enumerate(cited)))
            ]
