"""A recorded fact in words: what it says, in one line, and how it came to be, in a few.

The text of `explain`, the flowchart and the page all say it in these words. What comes from a run is untrusted; it
leaves here without control characters, and every medium escapes it in its own way.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from converge_cli.output import safe
from converge_core.ledger.events import DecisionReceived
from converge_core.ledger.history import RecordedFact, RecordedGate
from converge_core.ledger.lineage import Origin, origin_of

LINE = 100
"""Characters of a payload's summary."""

WHY_ASKED = {
    "gated_key": "everything under this key needs a human",
    "gated_kind": "this kind of proposal needs a human",
    "gated_suggestor": "whatever this suggestor proposes needs a human",
    "low_confidence": "its confidence is low",
    "escalated": "a flow gate leaves it to a human",
    "overrules_human": "it would take the place of what a human has let in",
}
"""Why a human is asked, by the code of a gate."""

DONE = {
    "approve": "approved",
    "reject": "rejected",
    "edit": "edited",
    "defer": "deferred",
    "escalate": "escalated",
}
"""What a verdict does, in the past."""


def one_line(body: object, limit: int = LINE) -> str:
    """Return what a payload says on one line: ``action approve · amount 12000``."""
    if isinstance(body, Mapping):
        values = list(body.values())
        alone = len(values) == 1 and isinstance(values[0], str)
        text = values[0] if alone else " · ".join(f"{name} {_value(item)}" for name, item in body.items())
    else:
        text = _value(body)
    return cut(plain(text), limit)


def plain(text: str) -> str:
    """Return a text of a run on one line, without control characters."""
    return safe(" ".join(text.split()))


def cut(text: str, limit: int) -> str:
    """Return a text of at most ``limit`` characters; the last one tells that there was more."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _value(item: object) -> str:
    return item if isinstance(item, str) else json.dumps(item, ensure_ascii=False)


def account(fact: RecordedFact) -> tuple[str, ...]:
    """Return how a fact came to be: who brought it, who decided about it, who let it in."""
    promotion = fact.promotion
    lines = [_brought(fact)]
    if fact.gate is not None:
        lines += [asked(fact.gate), decided(fact.gate, promotion["authority"])]
    elif promotion["authority"] == "policy":
        lines = [f"{lines[0]}; promoted by policy"]
    else:
        lines.append(f"let in by {promotion['approver']}, on the authority of {promotion['authority']}")
    return tuple(map(plain, lines))


def _brought(fact: RecordedFact) -> str:
    promotion, proposal = fact.promotion, fact.proposal
    who, sure = promotion["proposer"], f"confidence {proposal['confidence']:g}"
    match origin_of(fact):
        case Origin.INPUT:
            source = "" if proposal["provenance"] == "context-input" else f" from {proposal['provenance']}"
            return f"an input{source}" + (f" in cycle {promotion['cycle']}" if promotion["cycle"] else "")
        case Origin.CARRIED:
            return f"carried over from an earlier run, where {who} proposed it, {sure}"
        case Origin.ENGINE:
            return f"stated by the engine in cycle {promotion['cycle']}"
        case Origin.CORRECTION if fact.correction is not None:
            asked_for = fact.correction
            return f"corrects {asked_for.fact}, says {asked_for.actor} ({asked_for.reason_code}): {asked_for.reason}"
        case Origin.EDIT if fact.gate is not None:
            gate = fact.gate
            said = one_line(gate.proposal["payload"]["body"])
            return (
                f"edited by {who} in cycle {promotion['cycle']}; {gate.proposer} had proposed, "
                f"confidence {gate.proposal['confidence']:g}: {said}"
            )
    stamped = "" if proposal["provenance"] == who else f" (from {proposal['provenance']})"
    return f"proposed by {who}{stamped} in cycle {promotion['cycle']}, {sure}"


def why_asked(code: str) -> str:
    """Return a reason code of a gate in words."""
    return WHY_ASKED.get(code, code.replace("_", " "))


def asked(gate: RecordedGate) -> str:
    """Return why a human was asked."""
    return f"a human was asked, as {why_asked(gate.code)} ({gate.gate})"


def decided(gate: RecordedGate, authority: str | None = None) -> str:
    """Return what came of a gate."""
    decision = gate.decision
    if decision is None:
        return "nobody has decided yet"
    by = f"{DONE.get(decision.verdict, decision.verdict)} by {decision.actor}"
    parts = [by, f"on the authority of {authority}" if authority else "", f"at {decision.at}" if decision.at else ""]
    return f"{', '.join(filter(None, parts))}{because(decision)}"


def because(decision: DecisionReceived) -> str:
    """Return the reason of a decision, to follow it."""
    return f": {decision.reason}" if decision.reason else ""


def fact_json(fact: RecordedFact) -> dict[str, Any]:
    """Return a fact and how it came to be, as JSON. Entries are numbered from 0."""
    gate, decision = fact.gate, fact.gate.decision if fact.gate is not None else None
    value: dict[str, Any] = {
        "fact": fact.ref,
        "payload": fact.body,
        "origin": origin_of(fact).value,
        "proposer": fact.promotion["proposer"],
        "provenance": fact.proposal["provenance"],
        "confidence": fact.proposal["confidence"],
        "evidence": list(fact.evidence),
        "promotion": {name: fact.promotion[name] for name in ("gate", "approver", "authority", "policy", "cycle")},
        "lamport": fact.promotion["lamport"],
        "entries": {"proposed": fact.proposed_at, "promoted": fact.promoted_at},
    }
    if gate is not None:
        value["human_gate"] = {
            "gate_id": gate.gate,
            "asked_because": gate.code,
            "proposer": gate.proposer,
            "proposal": gate.proposal,
            "decision": None if decision is None else decision.to_json(),
        }
    if fact.correction is not None:
        value["correction"] = fact.correction.to_json()
    return value
