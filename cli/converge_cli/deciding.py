"""Moving a run from anywhere: reload it, let somebody decide, correct or bring something in, and record that.

Nothing is executed here; `converge resume` goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Generic, NamedTuple, TypeVar

import click

from converge_cli.recorded import Loaded, load
from converge_cli.session import Session
from converge_core import ConvergeError, Entry, GateDecision, Ledger, LedgerConflict

ATTEMPTS = 100
"""How often something is tried again when others do something to the same run in the same moment."""

T = TypeVar("T")


class Moved(NamedTuple, Generic[T]):
    """What came of doing something to a run: what was returned, what the time-out policy decided, what was recorded."""

    done: T
    expired: list[GateDecision]
    entries: list[Entry]
    loaded: Loaded


class Answered(NamedTuple):
    """A decision that was recorded, and why it does not count, if it does not."""

    run_id: str
    decision: GateDecision
    refusal: str | None = None

    def __str__(self) -> str:
        decision = self.decision
        how = "" if self.refusal is None else f", refused: {self.refusal}"
        return f"{decision.gate_id}: {decision.verdict} by {decision.by}{how}"

    def to_json(self) -> dict[str, Any]:
        """Return it as the commands print it with ``--json``."""
        decision = self.decision
        return {
            "run_id": self.run_id,
            "gate_id": decision.gate_id,
            "verdict": decision.verdict.value,
            "actor": str(decision.by),
            "accepted": self.refusal is None,
            "reason": decision.reason if self.refusal is None else self.refusal,
        }


async def move(
    ledger: Ledger, session: Session, run_id: str, do: Callable[[Loaded], T], loaded: Loaded | None = None
) -> Moved[T]:
    """Do something to a recorded run, and record it; where another process was quicker, look again and do it anew.

    Gates whose time is up are decided by their policy first. ``loaded`` saves the replay, if the run still stands
    there. Raises what ``do`` raises; then nothing is recorded.
    """
    for _ in range(ATTEMPTS):
        stored = await ledger.read(run_id)
        if loaded is None or loaded.size != len(stored):
            loaded = load(session, run_id, stored)
        run = loaded.run
        expired = loaded.expire(stored)
        done = do(loaded)
        run.next()
        entries = run.drain()
        try:
            head = await ledger.append(run_id, loaded.size, entries)
        except LedgerConflict:
            loaded = None
        else:
            return Moved(done, expired, entries, replace(loaded, size=head.size))
    raise ConvergeError(f"run {run_id!r} is being moved by other processes all the time; try again")


async def decide(
    ledger: Ledger,
    session: Session,
    run_id: str,
    choose: Callable[[Loaded], Sequence[GateDecision]],
    loaded: Loaded | None = None,
) -> tuple[list[Answered], Loaded]:
    """Record the decisions that ``choose`` makes on the run as it stands; return what became of each, and the run.

    What the time-out policy has decided comes first. A decision that does not count is recorded too.
    """

    def answer(loaded: Loaded) -> list[Answered]:
        answers = []
        for decision in choose(loaded):
            refused = loaded.run.decide([decision])
            answers.append(Answered(run_id, decision, refused[0].reason if refused else None))
        return answers

    moved = await move(ledger, session, run_id, answer, loaded)
    return [*(Answered(run_id, decision) for decision in moved.expired), *moved.done], moved.loaded


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
    return list(dict.fromkeys(found))
