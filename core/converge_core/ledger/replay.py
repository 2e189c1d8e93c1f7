"""Replay: feed the recorded inputs to a new machine, and compare every event that it derives.

This is also how a run is resumed: a replay leaves a machine that stands exactly where the ledger ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from converge_core.errors import LedgerCorrupt, ReplayDifference
from converge_core.ledger.events import EVENTS, CancelRequested, EffectReceived, Entry, Event, TimeObserved, read_event

if TYPE_CHECKING:
    from converge_core.engine.convergence import Convergence
    from converge_core.engine.engine import Engine


def replay(engine: Engine, entries: Sequence[Entry]) -> Convergence:
    """Return the machine after all entries of a run, every derived one recomputed and found equal, byte by byte.

    The engine has to be set up as it was for the run. Raises ReplayDifference for the first entry that differs,
    LedgerCorrupt or PayloadError when the entries cannot be read.
    """
    run = engine.rebuild(entries)
    place = fed = 0
    while place < len(entries):
        if emitted := run.drain(1):
            if emitted[0].body != entries[place].body:
                raise ReplayDifference(run.run_id, place, entries[place].body, emitted[0].body)
            place += 1
            fed = max(fed, place)
            continue
        event = _input_at(run.run_id, entries, fed)
        if event is None or _comes_later(run, event):
            run.next()
            if not run.pending and (event is None or _comes_later(run, event)):
                raise ReplayDifference(run.run_id, place, entries[place].body, "nothing")
        else:
            run.feed(event)
            fed += 1
    return run


def _input_at(run_id: str, entries: Sequence[Entry], place: int) -> Event | None:
    """Return the recorded event at a place if it is an input, to be fed to the machine."""
    if place >= len(entries):
        return None
    kind = EVENTS.get(entries[place].kind)
    if kind is None:
        raise LedgerCorrupt(run_id, place, "a known kind of event", repr(entries[place].kind))
    if not kind.is_input:
        return None
    try:
        return read_event(entries[place].body)
    except ValueError as error:
        raise LedgerCorrupt(run_id, place, f"a {entries[place].kind}", str(error)) from error


def _comes_later(run: Convergence, event: Event) -> bool:
    """Say whether the machine has to move on before it can take this input, which came in a later cycle."""
    return isinstance(event, EffectReceived | TimeObserved | CancelRequested) and event.cycle > run.cycles
