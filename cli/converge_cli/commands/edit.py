"""``converge edit``: put another payload in the place of a gated one."""

from __future__ import annotations

from typing import Any

import click

from converge_cli.answering import Answer, answer_options
from converge_cli.editing import edit_payload, given_text, read_payload
from converge_cli.exit_codes import ExitCode
from converge_cli.output import say
from converge_cli.recorded import Loaded, load, with_ledger
from converge_cli.session import Session, pass_session
from converge_core import GateDecision, Ledger, Verdict


@click.command
@click.option("--payload", metavar="YAML", help="The new payload: YAML, @FILE, or - for stdin; default: $EDITOR.")
@click.option("--reason", help="Why; kept with the decision.")
@answer_options
@pass_session
def command(session: Session, /, payload: str | None, reason: str | None, **options: Any) -> ExitCode:
    """Decide GATEs of RUN with a payload of your own. The original stays in the ledger; yours passes the same gates."""
    answer = Answer.of(**options)
    payloads = _payloads(session, answer, None if payload is None else given_text(payload))
    if not payloads:
        say("nothing was changed")
        return ExitCode.CONVERGED
    return answer.only(payloads).give(
        session, lambda gate, at: GateDecision(gate, Verdict.EDIT, answer.by, reason, payloads[gate], at)
    )


def _payloads(session: Session, answer: Answer, given: str | None) -> dict[str, dict[str, Any]]:
    """Return the new payload of each gate, from the option or the editor; none for those that were left as they were.

    A gate that is not open has an empty one: that is refused, and recorded.
    """

    async def find(ledger: Ledger) -> Loaded:
        return load(session, answer.run_id, await ledger.read(answer.run_id))

    loaded: Loaded = with_ledger(session.ledger(answer.ledger_url, read_only=True), find)
    requests = {gate.request.gate_id: gate.request for gate in loaded.run.open_gates}
    payloads: dict[str, dict[str, Any]] = {}
    for gate in answer.chosen(loaded):
        request = requests.get(gate)
        if request is None:
            payloads[gate] = {}
            continue
        old: Any = request.proposal["payload"]
        if given is not None:
            payloads[gate] = read_payload(old, given, loaded.engine.payloads)
        elif (new := edit_payload(old, loaded.engine.payloads, request.ref)) is not None:
            payloads[gate] = new
    return payloads
