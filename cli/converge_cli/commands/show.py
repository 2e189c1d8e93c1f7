"""``converge show``: one run, as its ledger tells it.

No plugin is needed for that. Where the one is loaded that a payload comes from, the fact is told in its words.
"""

from __future__ import annotations

import json
from typing import Any

import click

from converge_cli.output import counted, emit, safe, table
from converge_cli.recorded import read_verified, with_ledger
from converge_cli.report.asked import COLUMNS
from converge_cli.report.asked import rows as rows_of_calls
from converge_cli.session import Session, json_option, ledger_option, pass_session
from converge_cli.standing import standing_in
from converge_core import (
    ContextKey,
    Engine,
    Entry,
    FactPayload,
    Head,
    PayloadError,
    PayloadRegistry,
    canonical,
)
from converge_core.ledger.history import History, RecordedFact
from converge_core.llm.trace import model_calls
from converge_core.recall.payloads import RecallExecuted


@click.command
@click.argument("run_id", metavar="RUN")
@click.option("--key", type=click.Choice([key.value for key in ContextKey]), help="Only facts of this key.")
@click.option("--all", "everything", is_flag=True, help="Show all facts; the default shows the first 20 of a key.")
@click.option("--history", "whole", is_flag=True, help="Show the facts too in whose place readers see others.")
@ledger_option
@json_option
@pass_session
def command(
    session: Session, run_id: str, key: str | None, everything: bool, whole: bool, ledger_url: str | None, as_json: bool
) -> None:
    """Show RUN: how it stands, its facts as readers see them, its gates, who was asked, and what was turned away."""
    entries: list[Entry]
    head: Head
    entries, head = with_ledger(session.ledger(ledger_url, read_only=True), read_verified, run_id)
    history = History.of(entries, run_id)
    facts = [
        fact
        for fact in history.facts.values()
        if key in (None, fact.promotion["key"]) and (whole or fact.ref not in history.superseded)
    ]
    if as_json:
        emit(_as_json(history, facts, head))
    else:
        payloads = Engine(payloads=session.offers.payloads).payloads
        _print(history, facts, head, payloads, limit=None if everything or key else 20, with_calls=key is None)


def _as_json(history: History, facts: list[RecordedFact], head: Head) -> dict[str, Any]:
    status, reason = standing_in(history)
    return {
        "run_id": history.run_id,
        "status": status,
        "stop_reason": history.stop.stop if history.stop is not None else None,
        "reason": reason,
        "cycles": history.cycles,
        "ledger_head": str(head),
        "merkle_root": history.stop.merkle_root if history.stop is not None else None,
        "intent": history.started.intent if history.started is not None else None,
        "facts": [
            {"key": fact.promotion["key"], "id": fact.promotion["id"], "payload": fact.body}
            | {name: fact.promotion[name] for name in ("cycle", "lamport", "proposer", "approver", "authority")}
            | {"confidence": fact.proposal["confidence"], "evidence": fact.evidence}
            | {"provenance": fact.proposal["provenance"]}
            | {"supersedes": fact.promotion.get("supersedes"), "superseded_by": history.superseded.get(fact.ref)}
            | {"stale": _is_stale(fact, history)}
            for fact in facts
        ],
        "gates": [
            {
                "gate_id": gate.gate,
                "fact": f"{gate.proposal['key']}/{gate.proposal['id']}",
                "proposer": gate.proposer,
                "verdict": gate.decision.verdict if gate.decision is not None else None,
                "actor": gate.decision.actor if gate.decision is not None else None,
                "authority": gate.authority,
            }
            for gate in history.gates.values()
        ],
        "turned_away": [{"kind": event.kind} | event.to_json() for event in history.refused],
        "criteria": {event.criterion: event.result for event in history.criteria},
        "model_calls": [
            {"cycle": call.cycle, "suggestor": call.suggestor} | dict(call.record)
            for call in model_calls(history.notes)
        ],
    }


def _print(
    history: History,
    facts: list[RecordedFact],
    head: Head,
    payloads: PayloadRegistry,
    *,
    limit: int | None,
    with_calls: bool,
) -> None:
    status, reason = standing_in(history)
    counts = f"{counted(history.cycles, 'cycle')}, {counted(len(history.facts), 'fact')}"
    click.echo(safe(f"{history.run_id}: {status} ({reason}), {counts}"))
    click.echo(f"ledger head {head}\n")
    shown: dict[str, int] = {}
    rows = []
    for fact in facts:
        count = shown[fact.promotion["key"]] = shown.get(fact.promotion["key"], 0) + 1
        if limit is None or count <= limit:
            rows.append(
                (
                    fact.ref,
                    _says(fact, payloads),
                    fact.proposal["confidence"],
                    fact.promotion["proposer"],
                    fact.promotion["approver"],
                    _note(fact, history),
                )
            )
    table(("fact", "says", "confidence", "proposer", "approver", ""), rows)
    for name, count in shown.items():
        if limit is not None and count > limit:
            click.echo(f"{count - limit} more under {name}: --key {name}")
    if history.gates:
        gates = [
            (gate.gate, f"{gate.proposal['key']}/{gate.proposal['id']}", *_decided(gate.decision))
            for gate in history.gates.values()
        ]
        click.echo()
        table(("gate", "about", "verdict", "by"), gates)
    if with_calls and (calls := list(model_calls(history.notes))):
        click.echo()
        table(COLUMNS, rows_of_calls(calls[:limit]))
        if limit is not None and len(calls) > limit:
            click.echo(f"{len(calls) - limit} more calls: --all")
    if history.refused:
        turned_away = counted(len(history.refused), "proposal")
        click.echo(f"\n{turned_away} turned away as duplicate, conflicting or rejected: --json lists them")


def _note(fact: RecordedFact, history: History) -> str:
    """Say how a fact stands to corrections, or how little of a search can be replayed, if there is anything to say."""
    by, old = history.superseded.get(fact.ref), fact.promotion.get("supersedes")
    if by is not None:
        return f"superseded by {by}"
    if _is_stale(fact, history):
        return "rests on what was corrected since"
    if old:
        return f"in the place of {old}"
    if fact.proposal["payload"]["family"] == RecallExecuted.family and fact.body["downgrade_reasons"]:
        return f"{fact.body['replayability']}: {', '.join(fact.body['downgrade_reasons'])}"
    return ""


def _is_stale(fact: RecordedFact, history: History) -> bool:
    """Say whether a fact was concluded from one that has been superseded. A correction cites what it mends."""
    old = fact.promotion.get("supersedes")
    return any(ref in history.superseded and ref != old for ref in fact.evidence)


def _decided(decision: Any) -> tuple[str, str]:
    return ("open", "") if decision is None else (decision.verdict, decision.actor)


def _says(fact: RecordedFact, payloads: PayloadRegistry) -> str:
    """Return what a fact says on a line: in the words of its payload class, or else as JSON."""
    payload = fact.proposal["payload"]
    try:
        known = payloads.decode(payload["family"], payload["version"], canonical(fact.body))
    except PayloadError:
        known = None
    if known is None or type(known).summary is FactPayload.summary:
        text = json.dumps(fact.body, ensure_ascii=False)
    else:
        text = " ".join(known.summary().split())
    return text if len(text) <= 100 else text[:99] + "…"
