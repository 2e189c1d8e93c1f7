"""The record: the run's entries that wait to be made durable, and the cycle they belong to."""

from __future__ import annotations

from collections import deque

from converge_core.ledger.events import Entry, Event


class Record:
    """What a run has to say for the ledger, until it is drained."""

    __slots__ = ("_entries", "cycle")

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self.cycle = 0

    def __len__(self) -> int:
        return len(self._entries)

    def emit(self, event: Event) -> None:
        """Add an event."""
        self._entries.append(event.entry())

    def write(self, kind: str, body: str) -> None:
        """Add an event whose body is written already."""
        self._entries.append(Entry.written(kind, body))

    def append(self, entry: Entry) -> None:
        """Add an entry that is written already."""
        self._entries.append(entry)

    def drain(self, at_most: int | None = None) -> list[Entry]:
        """Take the entries out, in order; all of them, or the first few."""
        entries = self._entries
        if at_most is None or at_most >= len(entries):
            drained = list(entries)
            entries.clear()
            return drained
        return [entries.popleft() for _ in range(min(at_most, len(entries)))]
