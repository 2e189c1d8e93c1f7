"""What `approve` and `reject` have in common: which gates are meant, who decides, and what is printed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from converge_adapters.timeouts import moment
from converge_cli.approvers import current_actor
from converge_cli.deciding import decide, gates_named
from converge_cli.exit_codes import ExitCode
from converge_cli.output import emit, say
from converge_cli.recorded import Loaded, with_ledger
from converge_cli.session import Session, json_option, ledger_option
from converge_core import Actor, GateDecision


def answer_options(command: Any) -> Any:
    """Add what names gates and the person who decides: ``RUN GATE…``, ``RUN --all``, ``--as``."""
    for decorate in reversed(
        (
            click.argument("run_id", metavar="RUN"),
            click.argument("gates", metavar="[GATE]...", nargs=-1),
            click.option("--all", "everything", is_flag=True, help="All gates of RUN that are open."),
            click.option("--as", "actor", metavar="NAME", help="Who decides; default: CONVERGE_ACTOR, or the user."),
            ledger_option,
            json_option,
        )
    ):
        command = decorate(command)
    return command


def answer_gates(
    session: Session,
    make: Callable[[str, Actor, str], GateDecision],
    *,
    run_id: str,
    gates: Sequence[str],
    everything: bool,
    actor: str | None,
    ledger_url: str | None,
    as_json: bool,
) -> ExitCode:
    """Decide gates with what ``make`` returns for a gate, a person and a moment; print what became of each."""
    if everything == bool(gates):
        raise click.UsageError("name the gates, or give --all")
    by = current_actor(actor)

    def choose(loaded: Loaded) -> list[GateDecision]:
        return [make(gate, by, moment()) for gate in gates_named(loaded, gates, everything)]

    rows: list[dict[str, Any]] = with_ledger(
        session.ledger(ledger_url), lambda ledger: decide(session, ledger, run_id, choose)
    )
    return report_answers(run_id, rows, as_json)


def report_answers(run_id: str, rows: Sequence[dict[str, Any]], as_json: bool) -> ExitCode:
    """Print what became of decisions; one that did not count makes the exit code 1."""
    for row in rows:
        if as_json:
            emit(row)
        else:
            how = "" if row["accepted"] else f" refused: {row['reason']}"
            click.echo(f"{row['gate_id']}: {row['verdict']} by {row['actor']}{how}")
    if rows and not as_json:
        say(f"go on with: converge resume {run_id}")
    return ExitCode.CONVERGED if all(row["accepted"] for row in rows) else ExitCode.ERROR
