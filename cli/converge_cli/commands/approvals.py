"""``converge approvals``: what waits for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import click

from converge_adapters.ledgers import NoLedger
from converge_adapters.timeouts import seconds_left, waiting_since
from converge_cli.deciding import Answered, decide
from converge_cli.exit_codes import ExitCode
from converge_cli.gate_text import duration
from converge_cli.output import emit, safe, say, table
from converge_cli.recorded import entries_of, with_ledger
from converge_cli.session import Session, json_option, ledger_option, pass_session
from converge_cli.standing import standing_of
from converge_core import ConvergeError, Ledger, TimeoutPolicy
from converge_core.ledger.events import RunStarted
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
    try:
        rows: list[dict[str, Any]] = with_ledger(session.ledger(ledger_url, read_only=True), waiting_gates)
    except NoLedger as error:
        say(f"nothing waits for a human: {error}")
        return
    if as_json:
        for row in rows:
            emit(row)
    elif rows:
        columns = ("run_id", "gate_id", "fact", "proposer", "confidence")
        shown = [[*(row[column] for column in columns), _deadline(row)] for row in rows]
        table((*columns, "unanswered"), shown)
    else:
        say("nothing waits for a human")


@command.command("expire")
@ledger_option
@json_option
@pass_session
def expire(session: Session, ledger_url: str | None, as_json: bool) -> ExitCode:
    """Apply the time-out policy to every gate whose time is up: reject, approve, or escalate.

    A run that cannot be moved is reported, and the others are done all the same.
    """
    answers: list[Answered]
    failures: list[str]
    answers, failures = with_ledger(session.ledger(ledger_url), _expire, session)
    for answer in answers:
        if as_json:
            emit(answer.to_json())
        else:
            click.echo(safe(f"{answer.run_id} {answer} ({answer.decision.reason})"))
    for failure in failures:
        say(f"converge: {failure}")
    if not answers and not failures and not as_json:
        say("no gate's time is up")
    return ExitCode.ERROR if failures else ExitCode.CONVERGED


async def _expire(ledger: Ledger, session: Session) -> tuple[list[Answered], list[str]]:
    """Let the policy decide wherever a gate's time is up; return what it has decided, and what went wrong."""
    late = [row["run_id"] for row in await waiting_gates(ledger) if row["seconds_left"] <= 0]
    decided: list[Answered] = []
    failures = []
    for run_id in dict.fromkeys(late):
        try:
            answers, _ = await decide(ledger, session, run_id, lambda _: [])
        except ConvergeError as error:
            failures.append(f"{run_id}: {error}")
        else:
            decided += answers
    return decided, failures


async def waiting_gates(ledger: Ledger) -> list[dict[str, Any]]:
    """Return the open gates of all runs, oldest first, as `converge approvals --json` prints them."""
    rows = []
    for info in await ledger.runs():
        status, _ = await standing_of(ledger, info)
        if status == "waiting":
            stored = await ledger.read(info.run_id)
            history, since = History.of(entries_of(stored), info.run_id), waiting_since(stored)
            rows += [_row(gate, history, since[gate.gate]) for gate in history.open_gates()]
    return sorted(rows, key=lambda row: str(row["since"]))


def _row(gate: RecordedGate, history: History, since: str) -> dict[str, Any]:
    seconds, action = _timeout(history.started)
    return {
        "run_id": history.run_id,
        "gate_id": gate.gate,
        "fact": gate.ref,
        "proposer": gate.proposer,
        "confidence": gate.proposal["confidence"],
        "code": gate.code,
        "payload": gate.proposal["payload"]["body"],
        "evidence": gate.proposal.get("evidence", []),
        "approved_by": [approval.actor for approval in gate.approvals],
        "since": since,
        "seconds_left": seconds_left(since, seconds),
        "action": action,
    }


def _timeout(started: RunStarted | None) -> tuple[int, str]:
    """Return the time-out policy of a run's gates; one without a policy of its own has the default."""
    hitl = None if started is None else cast("Mapping[str, Any] | None", started.gates.get("hitl"))
    timeout: Mapping[str, Any] = TimeoutPolicy().to_json() if hitl is None else hitl["timeout"]
    return timeout["seconds"], timeout["action"]


def _deadline(row: Mapping[str, Any]) -> str:
    """Say what happens to a gate that nobody answers, and when."""
    left = row["seconds_left"]
    return f"{row['action']} in {duration(left)}" if left > 0 else f"{row['action']}: its time is up"
