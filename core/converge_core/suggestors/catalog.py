"""The catalog: what an intent may name, by whom it is offered, and how it is made.

An entry is a dotted name, a pydantic model for its configuration and a factory. One class serves suggestors,
invariants, criteria and checks alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar, cast

from pydantic import BaseModel, ConfigDict

from converge_core.errors import PluginError

T = TypeVar("T")
C = TypeVar("C", bound=BaseModel)


class NoConfig(BaseModel):
    """The configuration of what needs none."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class Port(Generic[T]):
    """The name under which something of the world is offered and asked for; T is what it is."""

    name: str


class Ports:
    """What the world offers here, by port.

    >>> ports = Ports().offer(CLOCK, lambda: 0)
    """

    def __init__(self) -> None:
        self._offered: dict[Port[Any], object] = {}

    def offer(self, port: Port[T], given: T) -> Self:
        """Offer something under a port, in place of what stood there."""
        self._offered[port] = given
        return self

    def offers(self, port: Port[Any]) -> bool:
        """Say whether anything is offered under a port."""
        return port in self._offered

    def find(self, port: Port[T]) -> T:
        """Return what is offered under a port. Raises LookupError where nothing is."""
        if port not in self._offered:
            offered = ", ".join(sorted(repr(known.name) for known in self._offered)) or "nothing"
            raise LookupError(f"the port {port.name!r} is not offered here; there is {offered}")
        return cast("T", self._offered[port])


NO_PORTS = Ports()


@dataclass(frozen=True, slots=True)
class Site:
    """Where an entry is used: the name it is given there, and what it may ask of the world.

    ``load`` turns ``module:callable`` into the callable if the intent's folder or an installed package holds it, and
    raises LookupError otherwise. ``ports`` are what else is offered; an entry asks for one with `port`.
    """

    name: str
    load: Callable[[str], Callable[..., Any]]
    ports: Ports = NO_PORTS

    def port(self, port: Port[T]) -> T:
        """Return what the world offers under a port. Raises LookupError where it offers nothing."""
        return self.ports.find(port)


@dataclass(frozen=True, slots=True)
class CatalogEntry(Generic[T]):
    """One thing on offer."""

    name: str
    config: type[BaseModel]
    factory: Callable[[Any, Site], T]
    summary: str
    plugin: str


class Catalog(Generic[T]):
    """Entries by name. ``plugin`` is set by the loader while a plugin registers, so that a culprit can be named."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.plugin = "converge"
        self._entries: dict[str, CatalogEntry[T]] = {}

    def add(
        self,
        name: str,
        factory: Callable[[C, Site], T] | Callable[[NoConfig, Site], T],
        config: type[C] | type[NoConfig] = NoConfig,
        summary: str = "",
    ) -> None:
        """Offer an entry; ``factory`` is called with the validated configuration and the site of its use.

        Raises PluginError when the name is taken.
        """
        if name in self._entries:
            raise PluginError(self.plugin, f"{self.what} {name!r} is offered already, by {self._entries[name].plugin}")
        self._entries[name] = CatalogEntry(name, config, factory, summary, self.plugin)

    def withdraw(self, plugin: str) -> None:
        """Remove whatever a plugin has offered."""
        self._entries = {name: entry for name, entry in self._entries.items() if entry.plugin != plugin}

    def find(self, name: str) -> CatalogEntry[T]:
        """Return an entry. Raises LookupError with a sentence that suggests the nearest names."""
        entry = self._entries.get(name)
        if entry is None:
            from difflib import get_close_matches  # only a mistake needs it

            near = get_close_matches(name, self._entries, n=2)
            hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"known: {', '.join(self._entries)}"
            raise LookupError(f"unknown {self.what} {name!r}; {hint}")
        return entry

    def __iter__(self) -> Iterator[CatalogEntry[T]]:
        return iter(self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)
