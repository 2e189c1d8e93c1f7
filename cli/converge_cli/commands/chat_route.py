"""``converge chat-route``: one message, through every gate, to a model, and into one record."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from converge_adapters.backends.offline import Kind
from converge_adapters.documents import Document
from converge_cli.chatting import Asked, Reader, models_of_options
from converge_cli.commands.run import new_run_id
from converge_cli.compose import compose
from converge_cli.driving import Driver, Stretch
from converge_cli.exit_codes import ExitCode
from converge_cli.output import emit, say
from converge_cli.recorded import Loaded
from converge_cli.session import Session, invocation, json_option, key_option, ledger_option, pass_session
from converge_cli.standing import exit_code_of
from converge_core import TextPayload
from converge_core.context.keys import ContextKey
from converge_core.governance.actions import ActionRecord, ActionStatus
from converge_core.governance.negative_authority import PROFILES
from converge_core.llm.capacity import DreamerTier
from converge_core.ports import LINE, RUN_ID, WATCHER

CODES = {
    ActionStatus.OK: ExitCode.CONVERGED,
    ActionStatus.DENIED: ExitCode.ERROR,
    ActionStatus.ERROR: ExitCode.FAILED,
    ActionStatus.TIMEOUT: ExitCode.FAILED,
}


@click.command(epilog="Exits with 0 for an answer, 1 for a denial, 9 for a failure, 130 after Ctrl-C.")
@click.argument("message")
@click.option("--agent", default="auto", show_default=True, metavar="NAME", help="Who is to answer.")
@click.option(
    "--kind",
    type=click.Choice([kind.value for kind in Kind]),
    default=Kind.DREAM.value,
    show_default=True,
    help="What the message is.",
)
@click.option(
    "--tier",
    type=click.Choice([tier.value for tier in DreamerTier]),
    default=DreamerTier.WANDERER.value,
    show_default=True,
    help="What the user is entitled to.",
)
@click.option("--user", default="dreamer", show_default=True, metavar="NAME", help="Whose quota it counts against.")
@click.option("--system", default="", metavar="TEXT", help="Who the model is to be.")
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="USE[:MODEL][@URL]",
    help="Whom to ask, best first; default: the chain of providers whose keys are there, then templates. Repeatable.",
)
@click.option(
    "--deny", "denials", multiple=True, type=click.Choice(list(PROFILES)), help="A profile of denials. Repeatable."
)
@click.option("--stream", is_flag=True, help="Print the answer as it comes.")
@key_option
@ledger_option
@json_option
@pass_session
def command(
    session: Session,
    /,
    message: str,
    models: tuple[str, ...],
    tier: str,
    stream: bool,
    ledger_url: str | None,
    as_json: bool,
    **options: Any,
) -> ExitCode:
    """Route MESSAGE (- for stdin) to a model, and record what became of it.

    It passes classification, negative authority, capability and capacity, in this order, and each model is held to them
    once more before it is asked. Whatever happens, the ledger has one record of it. Every message is a run: `converge
    show`, `verify` and `replay` work on it.
    """
    text = sys.stdin.read() if message == "-" else message
    if not text.strip():
        raise click.BadParameter("a message says something", param_hint="MESSAGE")
    for name in ("agent", "user"):
        if not options[name].strip():
            raise click.BadParameter("a name is not blank", param_hint=f"--{name}")
    order = "declared" if models else "chain"
    candidates = models_of_options(models, session.offers, session.keys)
    asked = Asked(text, tier=DreamerTier(tier), models=candidates, order=order, **options)
    reader = Reader(sys.stdout, streams=stream, as_json=as_json)
    end = _routed(session, asked, reader, ledger_url, lively=not (stream or as_json))
    record = _record(end)
    if record is None:
        say(f"{end.loaded.run.run_id}: {end.result.stop_reason}")
        return exit_code_of(end.result)
    if reader.gone:
        raise BrokenPipeError  # recorded is what became of it; there is nobody to be told
    _print(end, record, reader, ledger_url, as_json)
    return ExitCode.INTERRUPTED if reader.interrupted else CODES[record.status]


def _routed(session: Session, asked: Asked, reader: Reader, ledger_url: str | None, *, lively: bool) -> Stretch:
    """Run the message. A ledger that cannot be written ends this before anybody is asked."""
    ports = session.ports({}).offer(LINE, reader)
    if reader.streams:
        ports.offer(WATCHER, reader)
    made = compose(Document.of(asked.document(), "chat-route"), session.offers, Path(), ports=ports)
    run_id = new_run_id(made.intent.id)
    ports.offer(RUN_ID, run_id)
    run = made.engine.begin(made.context, made.intent, run_id, made.source)
    ledger = session.ledger(ledger_url, create=True)
    driver = Driver(session, ledger, session.executor(None, 1, None), None, lively=lively)
    try:
        return driver.drive(Loaded(made.engine, run, 0))
    finally:
        driver.close()


def _record(end: Stretch) -> ActionRecord | None:
    return next((fact.payload for fact in end.result.context.get(ActionRecord)), None)


def _print(end: Stretch, record: ActionRecord, reader: Reader, ledger_url: str | None, as_json: bool) -> None:
    run_id, denial = end.loaded.run.run_id, record.denial
    replies = end.result.context.get(ContextKey.PROPOSALS, TextPayload)
    text = replies[0].payload.text if replies else ""
    if as_json:
        emit(
            {
                "run_id": run_id,
                "text": text,
                "status": record.status.value,
                "agent": record.actor.agent_id,
                "provider": record.actor.provider_id,
                "model": record.actor.model,
                "source": record.metadata["source"],
                "provenance_id": record.dcf_ref,
                "latency_ms": record.latency_ms,
                "denied_by": None if denial is None else {"gate": denial.gate.value, "reason": denial.denial},
                "error": record.error,
                "quota_left": record.metadata["quota_left"],
                "usage": end.result.usage.to_json(),
                "ledger_head": str(end.head),
            }
        )
        return
    if replies:
        reader.end(text)
    say(_told(record))
    say(f"recorded: {invocation(f'show {run_id}', ledger_url)}")


def _told(record: ActionRecord) -> str:
    """Say how it went, in a sentence."""
    if record.denial is not None:
        return f"denied at {record.denial.gate}: {record.denial.denial}"
    who = f"{record.actor.provider_id} ({record.actor.model})" if record.actor.provider_id else "nobody"
    if record.status is ActionStatus.OK:
        before = f", after {record.error}" if record.error else ""
        return f"{record.actor.agent_id}, by {who} in {record.latency_ms:,} ms{before}"
    return f"{record.status}: {record.error or who}"
