"""``converge edit``: put another payload in the place of a gated one."""

from __future__ import annotations

from typing import Any

import click

from converge_adapters.timeouts import moment
from converge_cli.answering import report_answers
from converge_cli.approvers import current_actor
from converge_cli.deciding import decide, gates_named
from converge_cli.editing import edit_payload, given_text, read_payload
from converge_cli.exit_codes import ExitCode
from converge_cli.output import say
from converge_cli.recorded import Loaded, reload, with_ledger
from converge_cli.session import Session, json_option, ledger_option, pass_session
from converge_core import Actor, GateDecision, Ledger, Verdict


@click.command
@click.argument("run_id", metavar="RUN")
@click.argument("gate")
@click.option("--payload", metavar="YAML", help="The new payload: YAML, @FILE, or - for stdin; default: $EDITOR.")
@click.option("--reason", help="Why; kept with the decision.")
@click.option("--as", "actor", metavar="NAME", help="Who decides; default: CONVERGE_ACTOR, or the user.")
@ledger_option
@json_option
@pass_session
def command(
    session: Session,
    run_id: str,
    gate: str,
    payload: str | None,
    reason: str | None,
    actor: str | None,
    ledger_url: str | None,
    as_json: bool,
) -> ExitCode:
    """Decide GATE of RUN with a payload of your own. The original stays in the ledger; yours passes the same gates."""
    by = current_actor(actor)
    new = _payload(session, ledger_url, run_id, gate, payload)
    if new is None:
        say("nothing was changed")
        return ExitCode.CONVERGED

    def choose(loaded: Loaded) -> list[GateDecision]:
        return [_edit(name, by, reason, new) for name in gates_named(loaded, [gate], False)]

    rows = with_ledger(session.ledger(ledger_url), lambda ledger: decide(session, ledger, run_id, choose))
    return report_answers(run_id, rows, as_json)


def _edit(gate: str, by: Actor, reason: str | None, payload: dict[str, Any]) -> GateDecision:
    return GateDecision(gate, Verdict.EDIT, by, reason, payload, moment())


def _payload(
    session: Session, ledger_url: str | None, run_id: str, name: str, given: str | None
) -> dict[str, Any] | None:
    """Return the new payload of an open gate, from the option or the editor."""

    async def find(ledger: Ledger) -> tuple[Loaded, str]:
        loaded = await reload(session, ledger, run_id)
        return loaded, gates_named(loaded, [name], False)[0]

    loaded, gate = with_ledger(session.ledger(ledger_url, read_only=True), find)
    for waiting in loaded.run.open_gates:
        request = waiting.request
        if request.gate_id == gate:
            old: Any = request.proposal["payload"]
            if given is not None:
                return read_payload(old, given_text(given), loaded.engine.payloads)
            return edit_payload(old, loaded.engine.payloads, request.ref)
    raise click.UsageError(f"no gate {name!r} is open in {run_id}")
