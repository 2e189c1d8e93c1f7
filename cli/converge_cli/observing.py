"""The observers that plugins offer: told of every run that `run`, `resume` and `fork` drive.

A run is not theirs to stop. One that raises is reported under its name, once, and told nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from converge_cli.output import say
from converge_core import Catalog, CatalogEntry, Entry, Observer, Site


class Observers:
    """Implements the port `Observer` with those of a catalog. They are made when the first entries are recorded."""

    def __init__(self, catalog: Catalog[Observer], site: Callable[[str], Site]) -> None:
        self._waiting = list(catalog)
        self._site = site
        self._listening: dict[str, tuple[CatalogEntry[Observer], Observer]] = {}

    def recorded(self, run_id: str, entries: Sequence[Entry]) -> None:
        """Tell each observer that has not failed."""
        while self._waiting:
            self._make(self._waiting.pop(0))
        for name, (offer, observer) in list(self._listening.items()):
            try:
                observer.recorded(run_id, entries)
            except Exception as error:  # whatever it is, it is the observer's own fault
                del self._listening[name]
                _report(offer, error)

    def _make(self, offer: CatalogEntry[Observer]) -> None:
        try:
            self._listening[offer.name] = offer, offer.factory(offer.config(), self._site(offer.name))
        except Exception as error:
            _report(offer, error)


def _report(offer: CatalogEntry[Observer], error: Exception) -> None:
    say(
        f"observer {offer.name!r} of the plugin {offer.plugin!r} failed, and is told nothing more:"
        f" {type(error).__name__}: {error}"
    )
