"""``converge fork``: another run, from the end of a cycle of this one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from converge_cli.commands.run import new_run_id
from converge_cli.compose import compose
from converge_cli.driving import Manner, check_manner, conclude, manner_options
from converge_cli.exit_codes import ExitCode
from converge_cli.output import counted, say
from converge_cli.overrides import set_value
from converge_cli.recorded import read_verified, source_of, started_of, with_ledger
from converge_cli.session import Session, json_option, key_option, ledger_option, pass_session
from converge_core import ContextState, Entry, Head, PayloadRegistry, read_event, until_cycle
from converge_core.context.wire import proposal_hash, read_fact, read_proposal
from converge_core.ledger import events
from converge_core.ledger.canonical import canonical
from converge_core.ledger.history import History
from converge_core.ports import RUN_ID


@click.command
@click.argument("run_id", metavar="RUN")
@click.option("--cycle", type=click.IntRange(0), required=True, help="The cycle after whose end the child begins.")
@click.option("--set", "settings", multiple=True, metavar="K=V", help="Override a value of the intent. Repeatable.")
@manner_options
@key_option
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

    The child's ledger names its parent, the cycle and the parent's head; the parent stays as it is, and the child is of
    the same tenant and correlation. The code is that of today: a fork is how a run goes on with code that would have
    made another past.
    """
    manner = Manner(as_json=as_json, **options)
    check_manner(manner)
    entries: list[Entry]
    head: Head
    entries, head = with_ledger(session.ledger(ledger_url, read_only=True), read_verified, run_id)
    document, folder = source_of(run_id, entries)
    for setting in settings:
        document = set_value(document, setting)
    labels = started_of(run_id, entries).labels or {}
    ports = session.ports(labels)
    made = compose(document, session.offers, folder, with_inputs=False, ports=ports)
    try:
        context = context_of(until_cycle(entries, cycle), made.engine.payloads)
    except LookupError as error:
        raise click.UsageError(str(error.args[0])) from error
    child_id = new_run_id(made.intent.id)
    ports.offer(RUN_ID, child_id)
    child = made.engine.begin(
        context,
        made.intent,
        child_id,
        made.source,
        parent={"cycle": cycle, "head": str(head), "run_id": run_id},
        labels=labels or None,
    )
    if not as_json:
        say(f"{child.run_id} goes on from {run_id} after cycle {cycle}, with {counted(context.version, 'fact')}")
    return conclude(session, ledger_url, made.engine, child, 0, manner)


def context_of(entries: Sequence[Entry], payloads: PayloadRegistry) -> ContextState:
    """Return what a run had come to at the end of its entries, read without executing or judging anything.

    That is its facts, and the inputs that wait to be judged: at a gate, or since the run stopped before. What
    suggestors had proposed they propose again. Raises PayloadError for a payload no loaded class reads.
    """
    facts = [
        read_fact({"proposal": fact.proposal, "promotion": {"kind": "fact_promoted", **fact.promotion}}, payloads)
        for fact in History.of(entries).facts.values()
    ]
    waiting = [read_proposal(proposal, payloads) for proposal in _unjudged(entries)]
    return ContextState(facts, waiting)


def _unjudged(entries: Sequence[Entry]) -> Iterable[Mapping[str, Any]]:
    """Return the inputs of which nothing has become yet."""
    waiting: dict[tuple[str, str | None], Mapping[str, Any]] = {}
    gates: dict[str, tuple[str, str]] = {}
    for entry in entries:
        match read_event(entry.body):
            case events.InputAdmitted(proposer=proposer, parsed=proposal) if "payload" in proposal:
                waiting[proposer, proposal_hash(canonical(proposal))] = proposal
            case events.ProposalGated(proposer=proposer, proposal=name, gate=gate):
                gates[gate] = proposer, name
            case events.GateDecided(gate=gate):
                waiting.pop(gates[gate], None)
            case (
                events.FactPromoted(proposer=proposer, proposal=name)
                | events.ProposalRejected(proposer=proposer, proposal=name)
                | events.ProposalDuplicate(proposer=proposer, proposal=name)
                | events.ProposalConflicted(proposer=proposer, proposal=name)
            ):
                waiting.pop((proposer, name), None)
            case _:
                pass
    return waiting.values()
