"""Decisions from anywhere: reload the run, decide, record. Nothing is executed here; `converge resume` goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from converge_cli.recorded import Loaded, reload
from converge_cli.session import Session
from converge_core import ConvergeError, Entry, GateDecision, Ledger, LedgerConflict

T = TypeVar("T")

ATTEMPTS = 20
"""How often something is tried again when others move the same run in the same moment."""

Choice = Callable[[Loaded], Sequence[GateDecision]]


async def decide(session: Session, ledger: Ledger, run_id: str, choose: Choice) -> list[dict[str, Any]]:
    """Record the decisions that ``choose`` makes on the run as it stands; return what became of each.

    Gates whose time is up are decided by their policy first, and returned first. A decision that does not count is
    recorded too, and returned with ``accepted`` false and the reason.
    """

    def act(loaded: Loaded) -> list[dict[str, Any]]:
        decisions = choose(loaded)
        refused = {refusal.gate: refusal.reason for refusal in loaded.run.decide(decisions)}
        rows = [_row(run_id, decision, None) for decision in loaded.expired]
        return rows + [_row(run_id, decision, refused.get(decision.gate_id)) for decision in decisions]

    return (await move(session, ledger, run_id, act))[0]


async def move(session: Session, ledger: Ledger, run_id: str, act: Callable[[Loaded], T]) -> tuple[T, list[Entry]]:
    """Reload a run, let it be acted on, and record what follows; return that, too.

    Where others move the run in the same moment, all of it is done again.
    """
    for _ in range(ATTEMPTS):
        loaded = await reload(session, ledger, run_id)
        done = act(loaded)
        loaded.run.next()
        entries = loaded.run.drain()
        try:
            await ledger.append(run_id, loaded.size, entries)
        except LedgerConflict:
            continue
        return done, entries
    raise ConvergeError(f"run {run_id!r} is being moved by other processes all the time; try again")


def _row(run_id: str, decision: GateDecision, refusal: str | None) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "gate_id": decision.gate_id,
        "verdict": decision.verdict.value,
        "actor": str(decision.by),
        "accepted": refusal is None,
        "reason": decision.reason if refusal is None else refusal,
    }


def gates_named(loaded: Loaded, names: Sequence[str], everything: bool) -> list[str]:
    """Return the gates that a command names: in full, by an unambiguous beginning, or all that are open.

    A name that fits no open gate is returned as it is: the machine refuses it, and records that.
    """
    waiting = [gate.request.gate_id for gate in loaded.run.open_gates]
    if everything:
        return waiting
    found = []
    for name in names:
        fitting = [gate for gate in waiting if gate.startswith(name)]
        if len(fitting) > 1:
            raise click.UsageError(f"{name!r} fits {len(fitting)} gates: {', '.join(fitting)}")
        found.append(fitting[0] if fitting else name)
    return found
