"""An observer that keeps what it is told."""

from __future__ import annotations

from collections.abc import Sequence

from converge_core import Entry


class FakeObserver:
    """Keeps the appends of a run, one list of entries each."""

    def __init__(self) -> None:
        self.appends: list[list[Entry]] = []

    def recorded(self, run_id: str, entries: Sequence[Entry]) -> None:
        self.appends.append(list(entries))

    @property
    def entries(self) -> list[Entry]:
        """Everything that was recorded, in order."""
        return [entry for append in self.appends for entry in append]
