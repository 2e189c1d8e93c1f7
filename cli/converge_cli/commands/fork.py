"""``converge fork``: another run, from the end of a cycle of this one."""

from __future__ import annotations

from typing import Any

import click

from converge_cli.commands.run import new_run_id
from converge_cli.compose import compose
from converge_cli.driving import Manner, check_manner, conclude, manner_options
from converge_cli.exit_codes import ExitCode
from converge_cli.output import say
from converge_cli.overrides import set_value
from converge_cli.recorded import composition_of, read_verified, source_of, with_ledger
from converge_cli.session import Session, json_option, ledger_option, pass_session
from converge_core import ContextState, Entry, Head, replay, until_cycle


@click.command
@click.argument("run_id", metavar="RUN")
@click.option("--cycle", type=click.IntRange(0), required=True, help="The cycle after whose end the child begins.")
@click.option("--set", "settings", multiple=True, metavar="K=V", help="Override a value of the intent. Repeatable.")
@manner_options
@ledger_option
@json_option
@pass_session
def command(
    session: Session,
    /,
    run_id: str,
    cycle: int,
    settings: tuple[str, ...],
    ledger_url: str | None,
    as_json: bool,
    **options: Any,
) -> ExitCode:
    """Start a child of RUN with the facts it had at the end of a cycle, under its intent or a changed one.

    The child's ledger names its parent, the cycle and the parent's head; the parent stays as it is.
    """
    manner = Manner(as_json=as_json, **options)
    check_manner(manner)
    entries: list[Entry]
    head: Head
    entries, head = with_ledger(session.ledger(ledger_url, read_only=True), read_verified, run_id)
    try:
        parent = replay(composition_of(session, run_id, entries).engine, until_cycle(entries, cycle))
    except LookupError as error:
        raise click.UsageError(str(error.args[0])) from error
    document, folder = source_of(run_id, entries)
    for setting in settings:
        document = set_value(document, setting)
    made = compose(document, session.offers, folder, with_inputs=False)
    context = ContextState(parent.result().context.facts())
    child = made.engine.begin(
        context,
        made.intent,
        new_run_id(made.intent.id),
        made.source,
        parent={"cycle": cycle, "head": str(head), "run_id": run_id},
    )
    if not as_json:
        say(f"{child.run_id} goes on from {run_id} after cycle {cycle}, with {context.version} facts")
    return conclude(session, ledger_url, made.engine, child, 0, manner)
