"""Runs that are in the ledger already: reading them, checking them, and setting their engine up again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from converge_adapters.documents import Document
from converge_adapters.event_loop import run_async
from converge_cli.compose import compose
from converge_cli.session import Session
from converge_core import ConvergeError, Engine, Entry, Head, Ledger, LedgerCorrupt, StoredEntry, read_event, verify
from converge_core.ledger.events import RunStarted

T = TypeVar("T")


def with_ledger(ledger: Ledger, work: Callable[..., Any], *args: object) -> Any:
    """Run an async piece of work on a ledger, and close the ledger whatever happens."""

    async def use() -> Any:
        try:
            return await work(ledger, *args)
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


def engine_of(session: Session, run_id: str, entries: Sequence[Entry]) -> Engine:
    """Set up the engine of a recorded run again, from the intent that its ledger keeps.

    Raises ConvergeError when the run was not started from an intent file, IntentError when what the intent names is
    no longer there: a plugin that has been uninstalled, code that has moved.
    """
    started = read_event(entries[0].body) if entries else None
    if not isinstance(started, RunStarted):
        raise LedgerCorrupt(run_id, 0, "run_started", "nothing" if started is None else started.kind)
    source: Any = started.source
    if source is None:
        raise ConvergeError(f"run {run_id!r} was not started from an intent file, so its engine cannot be set up here")
    document = Document.of(source["document"], f"the intent of {run_id}")
    return compose(document, session.offers, Path(source["folder"]), with_inputs=False).engine
