"""Runs that are in the ledger already: reading them, checking them, and setting their engine up again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converge_adapters.event_loop import run_async
from converge_cli.faults import nearest
from converge_cli.session import Session
from converge_core import (
    ConvergeError,
    Entry,
    Head,
    IntentError,
    LedgerCorrupt,
    LedgerError,
    Problem,
    UnknownRun,
    read_event,
    verify,
)
from converge_core.ledger.events import RunStarted

if TYPE_CHECKING:  # most commands read a run and set nothing up: the functions that do import what it takes
    from converge_adapters.documents import Document
    from converge_cli.compose import Composition
    from converge_core import Convergence, Engine, GateDecision, Ledger, StoredEntry


def with_ledger(ledger: Ledger, work: Callable[..., Any], *args: object) -> Any:
    """Run an async piece of work on a ledger, and close the ledger whatever happens.

    A run that is not there is reported with those that may be meant.
    """

    async def use() -> Any:
        try:
            return await work(ledger, *args)
        except UnknownRun as error:
            known = [info.run_id for info in await ledger.runs()]
            raise LedgerError(f"{error}{nearest(error.run_id, known)}") from error
        finally:
            await ledger.close()

    return run_async(use)


async def read_verified(ledger: Ledger, run_id: str, head: Head | None = None) -> tuple[list[Entry], Head]:
    """Return the entries of a run that is intact, and its head. Raises LedgerCorrupt or UnknownRun."""
    stored = await ledger.read(run_id)
    found = verify(run_id, stored, head)
    return entries_of(stored), found


def entries_of(stored: Sequence[StoredEntry]) -> list[Entry]:
    """Return stored entries as the core takes them."""
    return [Entry(entry.kind, entry.body, entry.leaf) for entry in stored]


def started_of(run_id: str, entries: Sequence[Entry]) -> RunStarted:
    """Return the first entry of a run. Raises ConvergeError where there is none."""
    started = read_event(entries[0].body) if entries else None
    if started is None:
        raise ConvergeError(f"run {run_id!r} was cut off before its first entry: start it anew")
    if not isinstance(started, RunStarted):
        raise LedgerCorrupt(run_id, 0, "run_started", started.kind)
    return started


def source_of(run_id: str, entries: Sequence[Entry]) -> tuple[Document, Path]:
    """Return the intent that a run's ledger keeps, and its folder. Raises ConvergeError where there is none."""
    from converge_adapters.documents import Document

    source: Any = started_of(run_id, entries).source
    if source is None:
        raise ConvergeError(f"run {run_id!r} was not started from an intent file, so its engine cannot be set up here")
    return Document.of(source["document"], f"the intent of {run_id}"), Path(source["folder"])


def composition_of(session: Session, run_id: str, entries: Sequence[Entry]) -> Composition:
    """Set up the engine of a recorded run again, from the intent that its ledger keeps; its inputs stay unread.

    Raises IntentError when what the intent names is no longer there: a plugin that was uninstalled, code that moved.
    """
    from converge_cli.compose import compose
    from converge_core.ports import RUN_ID

    document, folder = source_of(run_id, entries)
    ports = session.ports(started_of(run_id, entries).labels or {}).offer(RUN_ID, run_id)
    try:
        return compose(document, session.offers, folder, with_inputs=False, ports=ports)
    except IntentError as error:
        without = "show, verify, explain and export do without what is missing"
        told = Problem("", f"run {run_id!r} cannot be set up as it was; {without}")
        raise IntentError((*error.problems, told)) from error


@dataclass(frozen=True, slots=True)
class Loaded:
    """A recorded run, ready to go on: the machine stands where the ledger's ``size`` entries end.

    ``changes`` is what differs from the recorded setup, where that was accepted.
    """

    engine: Engine
    run: Convergence
    size: int
    changes: tuple[str, ...] = ()

    def expire(self, stored: Sequence[StoredEntry]) -> list[GateDecision]:
        """Let the time-out policy decide about the gates whose time is up; return what it has decided."""
        from converge_adapters.timeouts import overdue

        policy = self.engine.hitl_policy
        expired = overdue(self.run.open_gates, policy.approval.levels if policy is not None else 1, stored)
        self.run.decide(expired)
        return expired


def load(session: Session, run_id: str, stored: Sequence[StoredEntry], *, accept_changes: bool = False) -> Loaded:
    """Verify and replay a run. Raises LedgerCorrupt, ReplayDifference, or SetupChanged unless ``accept_changes``."""
    from converge_core import SetupChanged
    from converge_core.ledger.replay import changes, replay

    verify(run_id, stored)
    entries = entries_of(stored)
    engine = composition_of(session, run_id, entries).engine
    try:
        run = replay(engine, entries, accept_changes=accept_changes)
    except SetupChanged as error:
        raise ConvergeError(f"{error}; with `converge resume {run_id} --accept-changes` it may go on") from error
    return Loaded(engine, run, len(entries), changes(entries, run))
