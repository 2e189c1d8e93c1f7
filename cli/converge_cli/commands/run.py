"""``converge run``: an intent, to its fixed point."""

from __future__ import annotations

import re
import secrets
from pathlib import Path
from typing import Any

import click

from converge_adapters.documents import Document, load_document
from converge_cli.compose import Composition, compose
from converge_cli.driving import Manner, check_manner, conclude, manner_options
from converge_cli.exit_codes import ExitCode
from converge_cli.output import counted, emit, safe
from converge_cli.overrides import add_input, set_value
from converge_cli.session import Session, json_option, key_option, label, ledger_option, pass_session
from converge_core.experience.query import CORRELATION, TENANT
from converge_core.ports import RUN_ID


@click.command(epilog="Exits with 0 when converged; `converge --help` lists the other codes.")
@click.argument("intent", type=click.Path(path_type=Path))
@click.option("--set", "settings", multiple=True, metavar="K=V", help="Override a value: budget.cycles=5. Repeatable.")
@click.option("--input", "inputs", multiple=True, metavar="KEY=FILE", help="Add an input file under a key. Repeatable.")
@click.option("--tenant", callback=label, metavar="NAME", help="Whose run it is; nobody else's recall sees it.")
@click.option("--correlation", callback=label, metavar="NAME", help="What it belongs to, to find it by.")
@click.option("--dry-run", is_flag=True, help="Check everything, print the plan, write nothing.")
@manner_options
@key_option
@ledger_option
@json_option
@pass_session
def command(
    session: Session,
    /,
    intent: Path,
    settings: tuple[str, ...],
    inputs: tuple[str, ...],
    tenant: str | None,
    correlation: str | None,
    dry_run: bool,
    ledger_url: str | None,
    as_json: bool,
    **options: Any,
) -> ExitCode:
    """Run INTENT, a YAML file, to its fixed point, and keep every step in the ledger.

    On a terminal it asks at human gates; without one, or with --no-input, it pauses there.
    """
    manner = Manner(as_json=as_json, **options)
    check_manner(manner)
    document = load_document(intent)
    for item in inputs:
        document = add_input(document, item)
    for setting in settings:  # last, so that it reaches what --input has added
        document = set_value(document, setting)
    named = {TENANT: tenant, CORRELATION: correlation}
    labels = {name: value for name, value in named.items() if value is not None}
    ports = session.ports(labels)
    made = compose(document, session.offers, intent.parent, ports=ports)
    if dry_run:
        _print_plan(made, document, as_json)
        return ExitCode.CONVERGED
    run_id = new_run_id(made.intent.id)
    ports.offer(RUN_ID, run_id)
    run = made.engine.begin(made.context, made.intent, run_id, made.source, labels=labels or None)
    return conclude(session, ledger_url, made.engine, run, 0, manner)


def new_run_id(intent_id: str) -> str:
    """Return a run's id: the intent's, as far as it can be typed, and eight random hex digits."""
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", intent_id).strip("-.")[:48] or "run"
    return f"{slug}-{secrets.token_hex(4)}"


def _print_plan(made: Composition, document: Document, as_json: bool) -> None:
    """Print what would run."""
    setup = made.engine.begin(made.context, made.intent).setup
    names = [registration.name for registration in setup.suggestors]
    inputs = len(made.context.staged)
    if as_json:
        emit({"valid": True, "intent": made.intent.to_json(), "inputs": inputs, "suggestors": names})
        return
    plan = f"{counted(inputs, 'input')}, {counted(len(names), 'suggestor')} ({', '.join(names)})"
    click.echo(safe(f"{document.file} is valid: {plan}. Nothing was written."))
