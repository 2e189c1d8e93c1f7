"""Asking the person at the terminal, gate by gate.

The run has paused when this begins: what led to the gates is in the ledger, no event loop is running, and each answer
is recorded before the next question. So Ctrl-C is heard at once and loses nothing, the wait costs the run no time, and
somebody else may decide the same gates from elsewhere meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from converge_adapters.timeouts import moment
from converge_cli.deciding import Answered
from converge_cli.editing import edit_payload
from converge_cli.gate_text import describe
from converge_cli.output import say
from converge_cli.recorded import Loaded
from converge_core import Actor, GateDecision, GateRequest, PayloadRegistry, Verdict

Record = Callable[[Loaded, GateDecision], tuple[list[Answered], Loaded]]
"""Records an answer on a run as it stands; returns what was decided, the answer last, and the run after it."""


def converse(loaded: Loaded, actor: Actor, record: Record) -> Loaded:
    """Ask about the gates that are open, until each was answered once, or the person quits; return the run then.

    Gates may be left open: unasked, deferred, or waiting for others to join.
    """
    answered: set[str] = set()
    while waiting := [gate for gate in loaded.run.open_gates if gate.request.gate_id not in answered]:
        request, ctx = waiting[0].request, loaded.run.result().context
        say(describe(request, ctx, more=len(waiting) - 1, approvals=waiting[0].approvals))
        decision = _ask(request, actor, loaded.engine.payloads)
        if decision is None:
            break
        decided, loaded = record(loaded, decision)
        for answer in decided:
            say(str(answer))
        if decided[-1].refusal is None:
            answered.add(request.gate_id)
    return loaded


def _ask(request: GateRequest, actor: Actor, payloads: PayloadRegistry) -> GateDecision | None:
    """Return the person's answer about a gate, or None to quit."""
    question = f"[a]pprove, [r]eject, [e]dit, [d]efer or [q]uit ({actor.id})"
    while True:
        answer = click.prompt(question, err=True).strip().lower()
        if answer in ("a", "approve"):
            return GateDecision.approve(request.gate_id, actor, at=moment())
        if answer in ("r", "reject"):
            reason = click.prompt("reason", err=True)
            return GateDecision.reject(request.gate_id, actor, reason, at=moment())
        if answer in ("e", "edit"):
            edited = _edited(request, payloads)
            if edited is not None:
                return GateDecision(request.gate_id, Verdict.EDIT, actor, None, edited, moment())
        elif answer in ("d", "defer"):
            return GateDecision.defer(request.gate_id, actor, at=moment())
        elif answer in ("q", "quit"):
            return None
        else:
            say("please answer approve, reject, edit, defer or quit, or its first letter")


def _edited(request: GateRequest, payloads: PayloadRegistry) -> dict[str, Any] | None:
    """Return another payload, or None where it was left as it was, or no editor could be opened."""
    payload: Any = request.proposal["payload"]
    try:
        return edit_payload(payload, payloads, request.ref)
    except click.ClickException as error:
        say(error.message)
        return None
