"""Who is woken by what: from the kinds of new facts to the suggestors that depend on them.

A fact is of one *kind*: the pair of its key and its payload class. A suggestor is woken by a key, by a payload class,
or by the pair of both, so a change wakes those who can use it and nobody else; what a cycle costs does not depend on
how many suggestors are registered. Whom a kind wakes is worked out when it first comes up, and then known to every run
of the engine.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from converge_core.context.keys import ContextKey
from converge_core.context.payloads import FactPayload
from converge_core.context.state import Selector

Kind = tuple[ContextKey, type[FactPayload]]


class DependencyIndex:
    """Suggestors by what they depend on, each by its position in registration order."""

    __slots__ = ("_always", "_by_kind", "_by_selector")

    def __init__(self) -> None:
        self._by_selector: dict[Selector, list[int]] = {}
        self._by_kind: dict[Kind, list[int]] = {}
        self._always: list[int] = []

    def add(self, position: int, dependencies: Iterable[Selector]) -> None:
        """Add a suggestor; without dependencies it is a candidate in every cycle."""
        selectors = set(dependencies)
        for selector in selectors:
            self._by_selector.setdefault(selector, []).append(position)
        if not selectors:
            self._always.append(position)
        self._by_kind.clear()

    def copy(self) -> DependencyIndex:
        """Return an index that can be added to on its own."""
        index = DependencyIndex()
        index._by_selector = {selector: list(positions) for selector, positions in self._by_selector.items()}
        index._always = list(self._always)
        return index

    def candidates(self, kinds: Collection[Kind], also: Iterable[int] = ()) -> list[int]:
        """Return whom new facts of these kinds wake, with those of ``also``, once each, in registration order."""
        if len(kinds) == 1 and not also and not self._always:
            (kind,) = kinds
            return list(self._woken_by(kind))
        found = set(self._always)
        found.update(also)
        for kind in kinds:
            found.update(self._woken_by(kind))
        return sorted(found)

    def _woken_by(self, kind: Kind) -> list[int]:
        woken = self._by_kind.get(kind)
        if woken is None:
            lists = [self._by_selector.get(selector, ()) for selector in (*kind, kind)]
            self._by_kind[kind] = woken = sorted({position for positions in lists for position in positions})
        return woken
