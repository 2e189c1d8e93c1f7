"""``converge replay``: derive a run again, and compare."""

from __future__ import annotations

import click

from converge_cli.output import emit
from converge_cli.recorded import engine_of, read_verified, with_ledger
from converge_cli.session import Session, json_option, ledger_option, pass_session
from converge_core import Entry, Head, replay


@click.command
@click.argument("run_id", metavar="RUN")
@ledger_option
@json_option
@pass_session
def command(session: Session, run_id: str, ledger_url: str | None, as_json: bool) -> None:
    """Feed the recorded inputs of RUN to a new machine, and compare every event it derives, byte by byte.

    No suggestor is executed, and nothing is written.
    """
    entries: list[Entry]
    head: Head
    entries, head = with_ledger(session.ledger(ledger_url, read_only=True), read_verified, run_id)
    run = replay(engine_of(session, run_id, entries), entries)
    proof = run.result().integrity
    if as_json:
        emit(
            {
                "run_id": run_id,
                "equal": True,
                "entries": len(entries),
                "merkle_root": str(proof.merkle_root),
                "ledger_head": str(head),
            }
        )
    else:
        click.echo(
            f"{run_id}: {len(entries)} entries derived again, all equal\n"
            f"merkle root {proof.merkle_root} over {proof.fact_count} facts"
        )
