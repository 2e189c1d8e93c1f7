"""``converge runs``: what is in the ledger."""

from __future__ import annotations

from typing import Any

import click

from converge_adapters.ledgers import NoLedger
from converge_cli.output import emit, say, table
from converge_cli.recorded import with_ledger
from converge_cli.session import Session, json_option, ledger_option, pass_session
from converge_cli.standing import STATUSES, standing_of
from converge_core import Ledger, RunInfo


@click.command
@ledger_option
@click.option("--status", type=click.Choice(STATUSES), help="Only runs of this status.")
@json_option
@pass_session
def command(session: Session, ledger_url: str | None, status: str | None, as_json: bool) -> None:
    """List the runs of the ledger, oldest first."""
    try:
        rows: list[dict[str, Any]] = with_ledger(session.ledger(ledger_url, read_only=True), _rows)
    except NoLedger as error:
        say(f"no runs: {error}")
        return
    rows = [row for row in rows if status in (None, row["status"])]
    if as_json:
        for row in rows:
            emit(row)
    elif rows:
        columns = ("run_id", "status", "entries", "created_at", "stop_reason")
        table(columns, [[row[column] for column in columns] for row in rows])
    else:
        say("no runs")


async def _rows(ledger: Ledger) -> list[dict[str, Any]]:
    return [await _row(ledger, info) for info in await ledger.runs()]


async def _row(ledger: Ledger, info: RunInfo) -> dict[str, Any]:
    status, reason = await standing_of(ledger, info)
    return {
        "run_id": info.run_id,
        "status": status,
        "stop_reason": reason,
        "entries": info.size,
        "created_at": info.created_at,
        "updated_at": info.updated_at,
    }
