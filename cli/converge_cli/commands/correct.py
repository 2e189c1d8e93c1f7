"""``converge correct``: a fact is wrong; another one supersedes it."""

from __future__ import annotations

from typing import Any

import click

from converge_adapters.timeouts import moment
from converge_cli.approvers import current_actor
from converge_cli.deciding import Moved, move
from converge_cli.editing import edit_payload, given_text, read_payload
from converge_cli.exit_codes import ExitCode
from converge_cli.faults import nearest
from converge_cli.output import emit, safe, say
from converge_cli.recorded import Loaded, load, with_ledger
from converge_cli.session import Session, invocation, json_option, ledger_option, pass_session
from converge_core import ContextKey, ConvergeError, CorrectionReason, Ledger, StopClass, Stopped, read_event
from converge_core.ledger.events import CorrectionEvent, CorrectionRefused, ProposalRejected


@click.command
@click.argument("run_id", metavar="RUN")
@click.argument("ref", metavar="FACT")
@click.option("--payload", metavar="YAML", help="What is right: YAML, @FILE, or - for stdin; default: $EDITOR.")
@click.option("--reason", required=True, help="Why; kept with the correction.")
@click.option(
    "--code",
    type=click.Choice([code.value for code in CorrectionReason]),
    default=CorrectionReason.DATA_ERROR.value,
    show_default=True,
    help="What sort of reason.",
)
@click.option("--as", "actor", metavar="NAME", help="Who corrects; default: CONVERGE_ACTOR, or the user.")
@ledger_option
@json_option
@pass_session
def command(
    session: Session,
    run_id: str,
    ref: str,
    payload: str | None,
    reason: str,
    code: str,
    actor: str | None,
    ledger_url: str | None,
    as_json: bool,
) -> ExitCode:
    """Correct FACT (key/id) of RUN: a new fact supersedes it, and both stay in the ledger.

    Readers see the new one; whoever depends on it is woken when the run goes on: `converge resume`.
    """
    by = current_actor(actor)
    wire = _payload(session, ledger_url, run_id, ref, None if payload is None else given_text(payload))
    if wire is None:
        say("nothing was changed")
        return ExitCode.CONVERGED

    def correct(loaded: Loaded) -> CorrectionRefused | None:
        step = loaded.run.next()
        request = CorrectionEvent(fact=ref, actor=str(by), reason_code=code, reason=reason, payload=wire, at=moment())
        refused = loaded.run.correct(request)
        if refused is None and isinstance(step, Stopped):
            if step.result.stop_reason.stop_class is StopClass.VALIDATION:
                raise ConvergeError(
                    f"run {run_id!r} has stopped for good ({step.result.stop_reason}): fork it at an earlier cycle"
                )
            loaded.run.reopen()
        return refused

    moved: Moved[CorrectionRefused | None]
    moved = with_ledger(session.ledger(ledger_url), move, session, run_id, correct)
    return _report(run_id, ref, _outcome(moved, ref), ledger_url, as_json)


def _payload(
    session: Session, ledger_url: str | None, run_id: str, ref: str, given: str | None
) -> dict[str, Any] | None:
    """Return the new payload, as given or from the editor; None when it was left as it was."""

    async def find(ledger: Ledger) -> Loaded:
        return load(session, run_id, await ledger.read(run_id))

    loaded: Loaded = with_ledger(session.ledger(ledger_url, read_only=True), find)
    context = loaded.run.result().context
    fact = context.resolve(ref)
    if fact is None:
        known = [known.ref for known in context.facts()]
        raise ConvergeError(f"run {run_id!r} has no fact {ref!r}{nearest(ref, known)}")
    old = {"body": fact.payload.body(), "family": fact.payload.family, "version": fact.payload.version}
    if given is not None:
        return read_payload(old, given, loaded.engine.payloads)
    return edit_payload(old, loaded.engine.payloads, ref)


def _outcome(moved: Moved[CorrectionRefused | None], ref: str) -> tuple[str | None, str | None]:
    """Return the fact that readers see now, if it is another, and why the correction does not count, if it does not."""
    if moved.done is not None:
        return None, moved.done.reason
    key, _, fact_id = ref.partition("/")
    current = moved.loaded.run.result().context.history(ContextKey(key), fact_id)[-1]
    if current.supersedes == ref:
        return current.ref, None
    for entry in moved.entries:
        event = read_event(entry.body) if entry.kind == ProposalRejected.kind else None
        if isinstance(event, ProposalRejected) and event.proposer.startswith("human:"):
            return None, event.reason
    return None, None


def _report(
    run_id: str, ref: str, outcome: tuple[str | None, str | None], ledger_url: str | None, as_json: bool
) -> ExitCode:
    by, refusal = outcome
    if as_json:
        emit({"run_id": run_id, "fact": ref, "accepted": refusal is None, "by": by, "reason": refusal})
    elif refusal is not None:
        click.echo(safe(f"refused: {refusal}"))
    else:
        click.echo(safe(f"{ref} is superseded by {by}" if by else f"{ref} will be superseded when the run goes on"))
        say(f"go on with: {invocation(f'resume {run_id}', ledger_url)}")
    return ExitCode.CONVERGED if refusal is None else ExitCode.ERROR
