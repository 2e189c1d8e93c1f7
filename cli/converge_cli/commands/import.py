# ruff: noqa: N999  # a command's module has the name of the command
"""``converge import``: bring an exported run into the ledger."""

from __future__ import annotations

from typing import BinaryIO

import click

from converge_cli.interchange import Exported, load
from converge_cli.output import emit, safe
from converge_cli.recorded import entries_of, with_ledger
from converge_cli.session import Session, json_option, ledger_option, pass_session
from converge_core import ConvergeError, Ledger, LedgerConflict


@click.command
@click.argument("file", type=click.File("rb"))
@ledger_option
@json_option
@pass_session
def command(session: Session, file: BinaryIO, ledger_url: str | None, as_json: bool) -> None:
    """Bring the run in FILE (`-`: stdin), as `converge export` wrote it, into the ledger, under its own id.

    The file is verified from the first byte to the last before anything is written, and refused with exit 7 if it is
    not what was exported. Entries, hashes and head are the same afterwards; the times of recording are those of the
    import. A run that the ledger has already is not imported again.
    """
    run = load(file.read(), getattr(file, "name", "-"))
    with_ledger(session.ledger(ledger_url, create=True), _bring_in, run)
    if as_json:
        emit({"run_id": run.run_id, "imported": True, "entries": len(run.stored), "ledger_head": str(run.head)})
    else:
        click.echo(safe(f"{run.run_id}: {len(run.stored)} entries verified and imported\nledger head {run.head}"))


async def _bring_in(ledger: Ledger, run: Exported) -> None:
    """Append the entries in the groups in which they were appended once: so the roots beside them are the same."""
    try:
        await ledger.create_run(run.run_id)
    except LedgerConflict as conflict:
        raise ConvergeError(f"run {run.run_id!r} is in this ledger already; nothing was written") from conflict
    size = 0
    for group in run.appends():
        size = (await ledger.append(run.run_id, size, entries_of(group))).size
