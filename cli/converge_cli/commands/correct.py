"""``converge correct``: a fact is wrong; another one supersedes it."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

import click

from converge_adapters.timeouts import moment
from converge_cli.approvers import current_actor
from converge_cli.editing import edit_payload, given_text, read_payload
from converge_cli.exit_codes import ExitCode
from converge_cli.output import emit, safe, say
from converge_cli.recorded import Loaded, reload, with_ledger
from converge_cli.session import Session, json_option, ledger_option, pass_session
from converge_core import ContextKey, CorrectionReason, Ledger, MisuseError, Stopped
from converge_core.ledger.events import CorrectionEvent, CorrectionRefused


@click.command
@click.argument("run_id", metavar="RUN")
@click.argument("fact")
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
    fact: str,
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

    async def act(ledger: Ledger) -> CorrectionRefused | str | None:
        loaded = await reload(session, ledger, run_id)
        wire = _payload(loaded, fact, payload)
        if wire is None:
            return None
        event = CorrectionEvent(fact=fact, actor=str(by), reason_code=code, reason=reason, payload=wire, at=moment())
        refused = loaded.run.correct(event)
        if refused is None and isinstance(loaded.run.next(), Stopped):
            loaded.run.reopen()
        loaded.run.next()
        await ledger.append(run_id, loaded.size, loaded.run.drain())
        key, _, fact_id = fact.partition("/")
        return refused or f"{key}/{loaded.run.result().context.history(ContextKey(key), fact_id)[-1].id}"

    try:
        done: CorrectionRefused | str | None = with_ledger(session.ledger(ledger_url), act)
    except MisuseError as error:
        raise click.UsageError(str(error)) from error
    return _report(run_id, fact, done, as_json)


def _report(run_id: str, fact: str, done: CorrectionRefused | str | None, as_json: bool) -> ExitCode:
    if done is None:
        say("nothing was changed")
        return ExitCode.CONVERGED
    accepted = isinstance(done, str)
    reason = None if isinstance(done, str) else done.reason
    if as_json:
        emit({"run_id": run_id, "fact": fact, "accepted": accepted, "by": done if accepted else None, "reason": reason})
    elif accepted:
        click.echo(safe(f"{fact} is superseded by {done}"))
        say(f"go on with: converge resume {run_id}")
    else:
        click.echo(safe(f"refused: {reason}"))
    return ExitCode.CONVERGED if accepted else ExitCode.ERROR


def _payload(loaded: Loaded, ref: str, given: str | None) -> dict[str, Any] | None:
    """Return the new payload, from the option or the editor; None when it was left as it was."""
    context = loaded.run.result().context
    fact = context.resolve(ref)
    if fact is None:
        near = get_close_matches(ref, [known.ref for known in context.facts()], n=1)
        raise click.UsageError(f"there is no fact {ref!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    old = {"body": fact.payload.body(), "family": fact.payload.family, "version": fact.payload.version}
    if given is not None:
        return read_payload(old, given_text(given), loaded.engine.payloads)
    return edit_payload(old, loaded.engine.payloads, ref)
