"""The observers that plugins offer: told of every run that `run`, `resume` and `fork` drive.

A run is not theirs to stop. One that raises is reported under its name, once, and told nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from converge_cli.output import say
from converge_core import Catalog, Entry, Observer, Site


class Observers:
    """Implements the port `Observer` with those of a catalog."""

    def __init__(self, catalog: Catalog[Observer], site: Callable[[str], Site]) -> None:
        self._offers = {offer.name: offer for offer in catalog}
        self._listening: dict[str, Observer] = {}
        for name, offer in self._offers.items():
            with self._guarded(name):
                self._listening[name] = offer.factory(offer.config(), site(name))

    def recorded(self, run_id: str, entries: Sequence[Entry]) -> None:
        """Tell each observer that has not failed."""
        for name, observer in list(self._listening.items()):
            with self._guarded(name):
                observer.recorded(run_id, entries)

    @contextmanager
    def _guarded(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # whatever it is, it is the observer's own fault
            self._listening.pop(name, None)
            who = f"observer {name!r} of the plugin {self._offers[name].plugin!r}"
            say(f"{who} failed, and is told nothing more: {type(error).__name__}: {error}")
