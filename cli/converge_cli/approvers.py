"""Who answers at human gates: whoever the command line says, and ``--yes``."""

from __future__ import annotations

import getpass
import os
from collections.abc import Sequence

import click

from converge_adapters.timeouts import moment
from converge_core import Actor, Entry, GateDecision, GateRequest, read_event
from converge_core.ledger.events import DecisionRefused, GateDecided


def current_actor(name: str | None = None) -> Actor:
    """Return who decides: the name given, else ``CONVERGE_ACTOR``, else the operating system's user.

    Raises click.UsageError where none of them is a name.
    """
    try:
        return Actor((name or os.environ.get("CONVERGE_ACTOR") or getpass.getuser()).strip())
    except (ValueError, OSError, KeyError) as error:  # the last two: a user without an entry in the password database
        raise click.UsageError(f"say who decides, with --as NAME or CONVERGE_ACTOR ({error})") from error


class YesApprover:
    """Approves everything, in the name of whoever said ``--yes``. As an observer it learns what came of that."""

    def __init__(self, actor: Actor) -> None:
        self.actor = actor
        self.approved = 0
        self.refusals: set[str] = set()

    async def decide(self, requests: Sequence[GateRequest]) -> Sequence[GateDecision]:
        """Approve every request."""
        return [GateDecision.approve(request.gate_id, self.actor, "--yes", at=moment()) for request in requests]

    def recorded(self, run_id: str, entries: Sequence[Entry]) -> None:
        """Count the gates that were decided, and note why others were not."""
        for entry in entries:
            if entry.kind in (GateDecided.kind, DecisionRefused.kind):
                event = read_event(entry.body)
                if isinstance(event, DecisionRefused):
                    self.refusals.add(event.reason)
                self.approved += isinstance(event, GateDecided)
