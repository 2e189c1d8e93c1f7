"""Who answers at human gates: a person at the terminal, or ``--yes``."""

from __future__ import annotations

import getpass
import os
from collections.abc import Sequence
from typing import Any

import click

from converge_adapters.timeouts import moment
from converge_cli.editing import edit_payload
from converge_cli.output import safe, say
from converge_core import Actor, GateDecision, GateRequest, PayloadRegistry, Verdict


def current_actor(name: str | None = None) -> Actor:
    """Return who decides: the name given, else ``CONVERGE_ACTOR``, else the operating system's user."""
    return Actor(name or os.environ.get("CONVERGE_ACTOR") or getpass.getuser())


class YesApprover:
    """Approves everything, in the name of whoever said ``--yes``."""

    def __init__(self, actor: Actor) -> None:
        self.actor = actor
        self.approved = 0

    async def decide(self, requests: Sequence[GateRequest]) -> Sequence[GateDecision]:
        """Approve every request."""
        self.approved += len(requests)
        return [GateDecision.approve(request.gate_id, self.actor, "--yes", at=moment()) for request in requests]


class PromptApprover:
    """Asks the person at the terminal, gate by gate; ``quit`` leaves the rest open."""

    def __init__(self, actor: Actor, payloads: PayloadRegistry) -> None:
        self.actor = actor
        self._payloads = payloads
        self._deferred: set[str] = set()

    async def decide(self, requests: Sequence[GateRequest]) -> Sequence[GateDecision]:
        """Ask for each request that has not been deferred here."""
        decisions: list[GateDecision] = []
        waiting = [request for request in requests if request.gate_id not in self._deferred]
        for place, request in enumerate(waiting):
            say(describe(request, len(waiting) - place - 1))
            decision = self._ask(request)
            if decision is None:
                break
            decisions.append(decision)
        return decisions

    def _ask(self, request: GateRequest) -> GateDecision | None:
        question = f"[a]pprove, [r]eject, [e]dit, [d]efer or [q]uit ({self.actor.id})"
        while True:
            answer = click.prompt(question, err=True).strip().lower()
            if answer in ("a", "approve"):
                return GateDecision.approve(request.gate_id, self.actor, at=moment())
            if answer in ("r", "reject"):
                reason = click.prompt("reason", err=True)
                return GateDecision.reject(request.gate_id, self.actor, reason, at=moment())
            if answer in ("e", "edit"):
                payload: Any = request.proposal["payload"]
                edited = edit_payload(payload, self._payloads, request.ref)
                if edited is not None:
                    return GateDecision(request.gate_id, Verdict.EDIT, self.actor, None, edited, moment())
            elif answer in ("d", "defer"):
                self._deferred.add(request.gate_id)
                return GateDecision.defer(request.gate_id, self.actor, at=moment())
            elif answer in ("q", "quit"):
                return None
            else:
                say("please answer approve, reject, edit, defer or quit, or its first letter")


WHY_ASKED = {
    "gated_key": "everything under this key needs a human",
    "gated_kind": "this kind of proposal needs a human",
    "gated_suggestor": "whatever this suggestor proposes needs a human",
    "low_confidence": "its confidence is low",
}


def describe(request: GateRequest, more: int = 0) -> str:
    """Return a gate request as a person reads it."""
    body = request.proposal["payload"]["body"]  # type: ignore[index,call-overload]  # a proposal has a payload
    lines = [
        "",
        f"{request.ref}   (gate {request.gate_id}, cycle {request.cycle})",
        f"  proposed by  {request.proposer}, confidence {request.confidence:g}",
        f"  asks because {WHY_ASKED.get(request.code, request.code)}",
        *_readable(body, "  "),
    ]
    if request.evidence:
        shown = ", ".join(request.evidence[:8]) + (
            f" and {len(request.evidence) - 8} more" if len(request.evidence) > 8 else ""
        )
        lines.append(f"  evidence     {shown}")
    if more:
        lines.append(f"  {more} more after this one")
    return safe("\n".join(lines))


def _readable(value: object, indent: str) -> list[str]:
    """Return JSON as indented lines, without brackets and quotes."""
    if isinstance(value, dict):
        lines = []
        for name, item in value.items():
            if isinstance(item, dict | list) and item:
                lines += [f"{indent}{name}:", *_readable(item, indent + "  ")]
            else:
                lines.append(f"{indent}{name:<12} {'-' if item is None else item}")
        return lines
    if isinstance(value, list | tuple):
        return [line for item in value for line in (_readable(item, indent + "  ") or [f"{indent}-"])]
    return [f"{indent}{value}"]
