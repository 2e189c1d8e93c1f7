"""``converge approvals``: what waits for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from converge_adapters.timeouts import seconds_left, waiting_since
from converge_cli.deciding import decide
from converge_cli.output import emit, safe, say, table
from converge_cli.recorded import entries_of, with_ledger
from converge_cli.session import Session, json_option, ledger_option, pass_session
from converge_cli.standing import standing_of_info
from converge_core import Ledger, StoredEntry
from converge_core.ledger.history import History, RecordedGate


@click.group(invoke_without_command=True)
@ledger_option
@json_option
@click.pass_context
def command(ctx: click.Context, ledger_url: str | None, as_json: bool) -> None:
    """List the gates that wait for people, oldest first, with the time that is left."""
    if ctx.invoked_subcommand is not None:
        return
    session = ctx.ensure_object(Session)
    rows: list[dict[str, Any]] = with_ledger(session.ledger(ledger_url, read_only=True), waiting_gates)
    if as_json:
        for row in rows:
            emit(row)
    elif rows:
        columns = ("run_id", "gate_id", "fact", "proposer", "confidence", "seconds_left", "action")
        table(columns, [[row[column] for column in columns] for row in rows])
    else:
        say("nothing waits for a human")


@command.command("expire")
@ledger_option
@json_option
@pass_session
def expire(session: Session, ledger_url: str | None, as_json: bool) -> None:
    """Apply the time-out policy to every gate whose time is up: reject, approve, or escalate."""
    rows: list[dict[str, Any]] = with_ledger(session.ledger(ledger_url), _expire, session)
    for row in rows:
        if as_json:
            emit(row)
        else:
            click.echo(safe(f"{row['run_id']} {row['gate_id']}: {row['verdict']} ({row['reason']})"))
    if not rows and not as_json:
        say("no gate's time is up")


async def _expire(ledger: Ledger, session: Session) -> list[dict[str, Any]]:
    """Let the policy decide wherever a gate's time is up."""
    late = [row["run_id"] for row in await waiting_gates(ledger) if row["seconds_left"] <= 0]
    decided = []
    for run_id in dict.fromkeys(late):
        decided += await decide(session, ledger, run_id, lambda _: [])
    return decided


async def waiting_gates(ledger: Ledger) -> list[dict[str, Any]]:
    """Return the open gates of all runs, oldest first, as `converge approvals --json` prints them."""
    rows = []
    for info in await ledger.runs():
        if standing_of_info(info)[0] in ("waiting", "open"):
            stored = await ledger.read(info.run_id)
            history = History.of(entries_of(stored), info.run_id)
            rows += [_row(gate, history, stored) for gate in history.open_gates()]
    return sorted(rows, key=lambda row: str(row["since"]))


def _row(gate: RecordedGate, history: History, stored: Sequence[StoredEntry]) -> dict[str, Any]:
    started: Any = history.started
    timeout = started.gates["hitl"]["timeout"]
    since = waiting_since(gate.gate, stored)
    return {
        "run_id": history.run_id,
        "gate_id": gate.gate,
        "fact": f"{gate.proposal['key']}/{gate.proposal['id']}",
        "proposer": gate.proposer,
        "confidence": gate.proposal["confidence"],
        "code": gate.code,
        "payload": gate.proposal["payload"]["body"],
        "since": since,
        "seconds_left": seconds_left(since, timeout["seconds"]),
        "action": timeout["action"],
    }
