"""``converge run``: an intent, to its fixed point."""

from __future__ import annotations

import re
import secrets
import sys
import time
from pathlib import Path

import click

from converge_adapters.documents import Document, load_document
from converge_adapters.event_loop import run_async
from converge_adapters.executors import AnyioExecutor
from converge_adapters.journal import JournalingExecutor
from converge_cli.approvers import PromptApprover, YesApprover, current_actor, describe
from converge_cli.compose import Composition, compose
from converge_cli.exit_codes import ExitCode
from converge_cli.output import emit, say, table
from converge_cli.overrides import add_input, set_value
from converge_cli.progress import Progress
from converge_cli.session import Session, json_option, ledger_option, pass_session
from converge_cli.standing import exit_code_of, result_json
from converge_core import Approver, ConvergeResult, Head, Ledger


@click.command(epilog="Exits with 0 when converged; see `converge --help` for the other codes.")
@click.argument("intent", type=click.Path(path_type=Path))
@click.option("--set", "settings", multiple=True, metavar="K=V", help="Override a value: budget.cycles=5. Repeatable.")
@click.option("--input", "inputs", multiple=True, metavar="KEY=FILE", help="Add an input file under a key. Repeatable.")
@ledger_option
@click.option("--yes", is_flag=True, help="Approve at every human gate.")
@click.option("--no-input", is_flag=True, help="Never ask: pause at human gates.")
@click.option("--as", "actor", metavar="NAME", help="Who decides; default: CONVERGE_ACTOR, or the user.")
@click.option("--dry-run", is_flag=True, help="Check everything, print the plan, write nothing.")
@click.option("--concurrency", default=8, show_default=True, type=click.IntRange(1), help="Suggestors at a time.")
@click.option("--time-limit", type=click.FloatRange(0, min_open=True), metavar="SECONDS", help="The most for one call.")
@json_option
@pass_session
def command(
    session: Session,
    intent: Path,
    settings: tuple[str, ...],
    inputs: tuple[str, ...],
    ledger_url: str | None,
    yes: bool,
    no_input: bool,
    actor: str | None,
    dry_run: bool,
    concurrency: int,
    time_limit: float | None,
    as_json: bool,
) -> ExitCode:
    """Run INTENT, a YAML file, to its fixed point, and keep every step in the ledger."""
    if yes and no_input:
        raise click.UsageError("--yes and --no-input exclude each other")
    document = load_document(intent)
    for setting in settings:
        document = set_value(document, setting)
    for item in inputs:
        document = add_input(document, item)
    composition = compose(document, session.offers, intent.parent)
    if dry_run:
        _print_plan(composition, document, as_json)
        return ExitCode.CONVERGED
    approver = _approver(yes, no_input or as_json, actor)
    executor = AnyioExecutor(concurrency, None if time_limit is None else round(time_limit * 1000))
    ledger = session.ledger(ledger_url)
    result, head = run_async(_drive, composition, executor, ledger, approver, not as_json)
    if as_json:
        emit(result_json(result, head))
    else:
        _report(result, head, approver, ledger_url)
    return exit_code_of(result)


def _approver(yes: bool, silent: bool, actor: str | None) -> YesApprover | PromptApprover | None:
    if yes:
        return YesApprover(current_actor(actor))
    if silent or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    return PromptApprover(current_actor(actor))


async def _drive(
    composition: Composition, executor: AnyioExecutor, ledger: Ledger, approver: Approver | None, lively: bool
) -> tuple[ConvergeResult, Head]:
    """Drive a new run, and return its result and the head of its ledger."""
    engine, run_id = composition.engine, _new_run_id(composition.intent.id)
    began = time.monotonic()
    budget = composition.intent.budget or engine.budget
    progress = Progress(JournalingExecutor(executor, ledger, run_id, engine.payloads), budget)
    try:
        with progress.shown(lively and not isinstance(approver, PromptApprover)):
            result = await engine.run(
                composition.context,
                composition.intent,
                run_id=run_id,
                source=composition.source,
                executor=progress,
                ledger=ledger,
                approver=approver,
                observers=[progress],
                clock=lambda: round((time.monotonic() - began) * 1000),
            )
        return result, await ledger.head(run_id)
    except KeyboardInterrupt:
        say(f"run {run_id} is kept as far as it came: converge show {run_id}")
        raise
    finally:
        await ledger.close()


def _new_run_id(intent_id: str) -> str:
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", intent_id).strip("-.")[:48] or "run"
    return f"{slug}-{secrets.token_hex(4)}"


def _print_plan(composition: Composition, document: Document, as_json: bool) -> None:
    """Print what would run."""
    engine, intent = composition.engine, composition.intent
    started = engine.begin(composition.context, intent, "dry-run").setup.run_started("dry-run")
    staged = len(composition.context.staged)
    if as_json:
        emit(
            {
                "intent": intent.to_json(),
                "inputs": staged,
                "gates": started.gates,
                "suggestors": len(started.suggestors),
            }
        )
        return
    say(f"{document.file} is valid: {staged} inputs, {len(started.suggestors)} suggestors. Nothing was written.")


def _report(result: ConvergeResult, head: Head, approver: Approver | None, ledger_url: str | None) -> None:
    """Print a result for people."""
    context = result.context
    counts: dict[str, int] = {}
    for fact in context.facts():
        counts[fact.key.value] = counts.get(fact.key.value, 0) + 1
    table(("key", "facts"), counts.items())
    click.echo(f"\n{result.stop_reason}: {result.integrity.fact_count} facts in {result.cycles} cycles")
    for outcome in result.criteria_outcomes:
        weight = "required" if outcome.criterion.required else "optional"
        click.echo(f"  {weight} {outcome.criterion.id}: {outcome.result.result}")
    if isinstance(approver, YesApprover) and approver.approved:
        click.echo(f"--yes approved {approver.approved} gate(s) in the name of {approver.actor.id}")
    click.echo(f"run          {result.run_id}\nmerkle root  {result.integrity.merkle_root}\nledger head  {head}")
    if result.pause is not None:
        where = f" --ledger {ledger_url}" if ledger_url else ""
        for request in result.pause.requests:
            say(describe(request))
        waiting = len(result.pause.requests)
        say(f"\n{waiting} gate(s) wait for a human. The run is kept: converge show {result.run_id}{where}")
