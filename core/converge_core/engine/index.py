"""Who is woken by what: from the selectors of new facts to the suggestors that depend on them.

A suggestor is woken by a key, by a payload class, or by the pair of both, so a change wakes those who can use it and
nobody else; what a cycle costs does not depend on how many suggestors are registered.
"""

from __future__ import annotations

from collections.abc import Iterable

from converge_core.context.state import Selector


class DependencyIndex:
    """Suggestors by what they depend on, each by its position in registration order."""

    __slots__ = ("_always", "_by_selector")

    def __init__(self) -> None:
        self._by_selector: dict[Selector, list[int]] = {}
        self._always: list[int] = []

    def add(self, position: int, dependencies: Iterable[Selector]) -> None:
        """Add a suggestor; without dependencies it is a candidate in every cycle."""
        selectors = set(dependencies)
        for selector in selectors:
            self._by_selector.setdefault(selector, []).append(position)
        if not selectors:
            self._always.append(position)

    def copy(self) -> DependencyIndex:
        """Return an index that can be added to on its own."""
        index = DependencyIndex()
        index._by_selector = {selector: list(positions) for selector, positions in self._by_selector.items()}
        index._always = list(self._always)
        return index

    def candidates(self, dirty: Iterable[Selector], also: Iterable[int] = ()) -> list[int]:
        """Return whom these selectors wake, with those of ``also``, once each, in registration order."""
        found = set(self._always)
        found.update(also)
        by_selector = self._by_selector
        for selector in dirty:
            if woken := by_selector.get(selector):
                found.update(woken)
        return sorted(found)
