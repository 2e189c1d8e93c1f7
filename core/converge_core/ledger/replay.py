"""Replay: feed the recorded inputs to a new machine, and compare every event that it derives.

This is also how a run is resumed: a replay leaves a machine that stands exactly where the ledger ends.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from converge_core.engine.changes import SetupChanged, differences
from converge_core.engine.setup import constitution_of
from converge_core.engine.steps import AwaitDecision, Execute, Step, Stopped
from converge_core.errors import LedgerCorrupt, MisuseError, PayloadError, ReplayDifference
from converge_core.ledger.canonical import JsonValue, parse, parse_to_rewrite
from converge_core.ledger.events import (
    EVENTS,
    CancelRequested,
    ChangesAccepted,
    CorrectionEvent,
    EffectReceived,
    Entry,
    Event,
    InputAdmitted,
    TimeObserved,
    read_event,
)

if TYPE_CHECKING:
    from converge_core.engine.convergence import Convergence
    from converge_core.engine.engine import Engine

_TIMED = (EffectReceived, TimeObserved, CancelRequested, CorrectionEvent, InputAdmitted)


def replay(engine: Engine, entries: Sequence[Entry], *, accept_changes: bool = False) -> Convergence:
    """Return the machine after all entries of a run, every derived one recomputed and found equal, byte by byte.

    The engine has to be set up as it was for the run; with ``accept_changes`` it may be set up differently, if only
    what it derives is the same. Raises SetupChanged, ReplayDifference for the first entry that differs, LedgerCorrupt
    or PayloadError when the entries cannot be read.
    """
    replaying = steps(engine, entries, accept_changes=accept_changes)
    while True:
        try:
            next(replaying)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # what `steps` returns


async def replay_live(engine: Engine, entries: Sequence[Entry], *, accept_changes: bool = False) -> Convergence:
    """Replay, and execute every deterministic suggestor again: its effect must be the recorded one, byte by byte.

    A call that was cut off is not repeated: that was the clock's doing. Raises as `replay` does.
    """
    effects: dict[tuple[int, str], int] = {}
    for place, entry in enumerate(entries):
        event = read_event(entry.body) if entry.kind == EffectReceived.kind else None
        if isinstance(event, EffectReceived) and (event.failure or {}).get("code") != "timed_out":
            effects[event.cycle, event.suggestor] = place
    replaying = steps(engine, entries, accept_changes=accept_changes)
    while True:
        try:
            step = next(replaying)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # what `steps` returns
        for call in step.batch:
            recorded = effects.get((call.cycle, call.name))
            if recorded is not None and call.suggestor.replayability == "deterministic":
                body = (await call.perform()).body()
                if body != entries[recorded].body:
                    run_id = str(cast("Mapping[str, JsonValue]", parse(entries[0].body))["run_id"])
                    raise ReplayDifference(run_id, recorded, entries[recorded].body, body)


def steps(
    engine: Engine, entries: Sequence[Entry], *, accept_changes: bool = False
) -> Generator[Execute, None, Convergence]:
    """Replay, and yield every `Execute` step that the machine comes to; see `replay`."""
    run = engine.rebuild(entries)
    try:
        changed = changes(entries, run)
    except (TypeError, KeyError, AttributeError) as error:
        raise LedgerCorrupt(run.run_id, 0, "the setup of a run", f"{type(error).__name__}: {error}") from error
    if changed and not accept_changes:
        raise SetupChanged(run.run_id, changed)
    place = fed = 0
    while place < len(entries):
        if emitted := run.drain(len(entries) - place):
            for entry in emitted:
                if entry.body != entries[place].body:
                    raise ReplayDifference(run.run_id, place, entries[place].body, entry.body)
                place += 1
            fed = max(fed, place)
            continue
        event = _input_at(run.run_id, entries, fed)
        if event is None or _comes_later(run, event):
            step = run.next()
            if not run.pending and (event is None or _comes_later(run, event)):
                raise ReplayDifference(run.run_id, place, entries[place].body, _standing(step))
            if isinstance(step, Execute):
                yield step
        elif changed and isinstance(event, EffectReceived) and not run.awaits(event.cycle, event.suggestor):
            raise ReplayDifference(run.run_id, fed, entries[fed].body, f"nothing: nobody asked {event.suggestor!r}")
        else:
            _feed(run, event, entries, fed)
            fed += 1
    return run


def _standing(step: Step) -> str:
    """Say why a machine derives nothing more without another input."""
    match step:
        case Execute():
            return f"nothing: {', '.join(call.name for call in step.batch)} would have to answer in cycle {step.cycle}"
        case AwaitDecision():
            return f"nothing: {len(step.requests)} gate(s) would have to be decided"
        case Stopped():
            return f"nothing: it has stopped ({step.result.stop_reason})"


def until_cycle(entries: Sequence[Entry], cycle: int) -> Sequence[Entry]:
    """Return the entries up to the end of a cycle. Raises LookupError when the run has not come so far."""
    last = 0
    for place, entry in enumerate(entries):
        body = cast("Mapping[str, int]", parse(entry.body))
        at = body.get("cycle", body.get("cycles", 0))  # a last cycle that found nothing to do shows in the stop alone
        if at > cycle:
            return entries[:place]
        last = max(last, at)
    if last < cycle:
        raise LookupError(f"the run has come to cycle {last}, not to {cycle}")
    return entries


def changes(entries: Sequence[Entry], run: Convergence) -> tuple[str, ...]:
    """Return how a machine's setup differs from the one that the run was last driven with, a sentence each.

    Raises LedgerCorrupt when the entries hold no setup that can be compared.
    """
    accepted = next((entry for entry in reversed(entries) if entry.kind == ChangesAccepted.kind), None)
    if accepted is None and entries[0].body == run.setup.started(run.run_id).body:
        return ()
    try:
        return differences(_constitution(accepted or entries[0]), run.setup.constitution(run.run_id))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise LedgerCorrupt(run.run_id, 0, "the setup of a run", f"{type(error).__name__}: {error}") from error


def _constitution(entry: Entry) -> Mapping[str, JsonValue]:
    """Return the constitution in an entry under which a run began, or was driven on."""
    value = cast("Mapping[str, Any]", parse(entry.body))
    return constitution_of(value if entry.kind != ChangesAccepted.kind else value["setup"])


def _input_at(run_id: str, entries: Sequence[Entry], place: int) -> Event | None:
    """Return the recorded event at a place if it is an input, to be fed to the machine."""
    if place >= len(entries):
        return None
    kind = EVENTS.get(entries[place].kind)
    if kind is None:
        raise LedgerCorrupt(run_id, place, "a known kind of event", repr(entries[place].kind))
    # The machine writes again what it is fed, and that is compared with what was recorded.
    return _read(run_id, entries, place, parse_to_rewrite) if kind.is_input else None


def _read(run_id: str, entries: Sequence[Entry], place: int, parse: Callable[[str], JsonValue]) -> Event:
    """Read the event at a place. Raises LedgerCorrupt."""
    try:
        return read_event(entries[place].body, parse)
    except ValueError as error:
        raise LedgerCorrupt(run_id, place, f"a {entries[place].kind}", str(error)) from error


def _feed(run: Convergence, event: Event, entries: Sequence[Entry], place: int) -> None:
    """Feed an input to the machine; one that makes no sense to it is not what a machine has recorded."""
    try:
        run.feed(event)
    except PayloadError:
        _read(run.run_id, entries, place, parse)  # it is the payload's fault only if nothing else is wrong
        raise
    except (MisuseError, ValueError, TypeError, KeyError, AttributeError) as error:
        found = f"{type(error).__name__}: {error}"
        raise LedgerCorrupt(run.run_id, place, f"a {event.kind} that fits", found) from error


def _comes_later(run: Convergence, event: Event) -> bool:
    """Say whether the machine has to move on before it can take this input, which came in a later cycle."""
    return isinstance(event, _TIMED) and (event.cycle or 0) > run.cycles
