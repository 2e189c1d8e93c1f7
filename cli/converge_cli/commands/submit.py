"""``converge submit``: an observation from outside, for a run that has begun."""

from __future__ import annotations

from collections.abc import Sequence

import click
from pydantic import ValidationError

from converge_adapters.documents import parse_document
from converge_cli.approvers import current_actor
from converge_cli.deciding import Moved, move
from converge_cli.editing import given_text
from converge_cli.exit_codes import ExitCode
from converge_cli.faults import nearest
from converge_cli.inputs import payload_class
from converge_cli.output import emit, safe, say
from converge_cli.recorded import Loaded, with_ledger
from converge_cli.session import Session, json_option, ledger_option, pass_session
from converge_core import (
    AdmissionActorKind,
    AdmissionReceipt,
    AdmissionRequest,
    ContextKey,
    Entry,
    IntentError,
    PayloadRegistry,
    Stopped,
    SubjectRef,
    canonical,
    read_event,
)
from converge_core.context.payloads import FactPayload, one_line
from converge_core.ledger import events


@click.command
@click.argument("run_id", metavar="RUN")
@click.option("--key", required=True, type=click.Choice([key.value for key in ContextKey]), help="Where it goes.")
@click.option("--id", "fact_id", metavar="ID", required=True, help="Its id under the key.")
@click.option("--text", help="What was observed, as a text; or @FILE, or - for stdin.")
@click.option("--payload", metavar="YAML", help="What was observed, as YAML; or @FILE, or - for stdin.")
@click.option("--family", metavar="NAME", default="data", show_default=True, help="The payload's family.")
@click.option("--source", metavar="NAME", required=True, help="Where it comes from.")
@click.option("--as", "actor", metavar="NAME", help="Who brings it in; default: CONVERGE_ACTOR, or the user.")
@click.option(
    "--actor-kind",
    type=click.Choice([kind.value for kind in AdmissionActorKind]),
    default=AdmissionActorKind.HUMAN.value,
    show_default=True,
    help="What that is.",
)
@click.option("--truth", metavar="ID", help="The truth of the intent that it is to serve.")
@click.option("--subject", metavar="REF", help="What it is about: scheme://kind/id.")
@ledger_option
@json_option
@pass_session
def command(
    session: Session,
    /,
    run_id: str,
    key: str,
    fact_id: str,
    text: str | None,
    payload: str | None,
    family: str,
    source: str,
    actor: str | None,
    actor_kind: str,
    truth: str | None,
    subject: str | None,
    ledger_url: str | None,
    as_json: bool,
) -> ExitCode:
    """Bring an observation into RUN, and print the receipt of its admission.

    It passes the gates like any proposal; its own id makes it safe to submit again. A run that had settled is reopened:
    `converge resume` asks those whom it concerns.
    """
    if (text is None) == (payload is None):
        raise click.UsageError("give either --text or --payload")
    given = given_text(text if payload is None else payload)  # type: ignore[arg-type]  # one of them is there
    kind, key_ = AdmissionActorKind(actor_kind), ContextKey(key)
    who, about = current_actor(actor).id, None if subject is None else _subject(subject)

    def submit(loaded: Loaded) -> AdmissionReceipt:
        content = given if payload is None else _payload(family, given, loaded.engine.payloads)
        run = loaded.run
        receipt = run.admit(AdmissionRequest(who, kind, source, key_, fact_id, content, about, truth))
        step = run.next()
        if receipt.staged and isinstance(step, Stopped) and step.result.converged:
            run.reopen()
        return receipt

    moved: Moved[AdmissionReceipt] = with_ledger(session.ledger(ledger_url), move, session, run_id, submit)
    return _report(run_id, moved.done, _outcome(moved.done, moved.entries), as_json)


def _payload(family: str, text: str, payloads: PayloadRegistry) -> FactPayload:
    """Return what was observed. Raises click.UsageError where it is no YAML, or does not fit its family."""
    model = payload_class(family, payloads)
    if model is None:
        raise click.UsageError(f"unknown payload {family!r}{nearest(family, payloads.families())}")
    try:
        return model.from_text(canonical(parse_document(text, "payload").value))
    except ValidationError as error:
        raise click.UsageError(one_line(error)) from error
    except (IntentError, ValueError) as error:
        raise click.UsageError(str(error)) from error


def _subject(text: str) -> SubjectRef:
    try:
        return SubjectRef(text)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _outcome(receipt: AdmissionReceipt, entries: Sequence[Entry]) -> tuple[str, str | None]:
    """Return what has become of an observation, as far as the run has come, and why it was refused if it was."""
    if not receipt.staged:
        return "known", None
    for entry in entries:
        event = read_event(entry.body)
        if (getattr(event, "key", None), getattr(event, "id", None)) != (receipt.key, receipt.proposal_id):
            continue
        if isinstance(event, events.ProposalRejected):
            return "rejected", event.reason
        if isinstance(event, events.ProposalConflicted):
            return "rejected", "it contradicts a fact"
        if isinstance(event, events.ProposalGated):
            return "gated", None
        if isinstance(event, events.FactPromoted):
            return "promoted", None
    return "pending", None


_WORDS = {
    "known": "the run has it already",
    "promoted": "a fact now; go on with: converge resume {run}",
    "gated": "a human has to decide: converge approvals",
    "pending": "judged when the run goes on: converge resume {run}",
}


def _report(run_id: str, receipt: AdmissionReceipt, outcome: tuple[str, str | None], as_json: bool) -> ExitCode:
    word, reason = outcome
    if as_json:
        emit(
            {
                "run_id": run_id,
                "key": receipt.key.value,
                "id": receipt.proposal_id,
                "content_hash": str(receipt.content_hash),
                "subject": receipt.subject,
                "truth": receipt.target_truth,
                "staged": receipt.staged,
                "outcome": word,
                "reason": reason,
            }
        )
    else:
        click.echo(safe(f"{receipt.key}/{receipt.proposal_id}  sha256:{receipt.content_hash}"))
        say(f"rejected: {reason}" if reason is not None else _WORDS[word].format(run=run_id))
    return ExitCode.ERROR if word == "rejected" else ExitCode.CONVERGED
