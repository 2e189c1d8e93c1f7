"""The chronicle of a run: its entries once more, by cycle, for a timeline and for what was used of the budgets.

`History` tells what a run has come to; this tells the way there. Decisions and stops name no cycle: they belong to the
one that was under way when they were recorded. Inputs are cycle 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from converge_core import StoredEntry, read_event
from converge_core.ledger import events

USAGE = ("input_tokens", "output_tokens", "cost_microusd")


@dataclass(slots=True)
class Cycle:
    """What happened in one cycle.

    ``promoted`` and ``turned_away`` count by proposer and by reason code; ``told`` are the events that are worth a
    sentence each, in order. ``elapsed_ms`` is the working time at its end, None where it is not recorded.
    """

    number: int
    recorded_at: str
    calls: list[events.EffectReceived] = field(default_factory=list)
    promoted: Counter[str] = field(default_factory=Counter)
    turned_away: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    told: list[events.Event] = field(default_factory=list)
    usage: Counter[str] = field(default_factory=Counter)
    elapsed_ms: int | None = None

    @property
    def facts(self) -> int:
        """How many facts were promoted."""
        return self.promoted.total()

    @property
    def tokens(self) -> int:
        """Input and output tokens together."""
        return self.usage["input_tokens"] + self.usage["output_tokens"]


@dataclass(slots=True)
class Chronicle:
    """The cycles of a run in order, its limits as they were last set, and when it was recorded (UTC, ISO 8601)."""

    cycles: list[Cycle]
    budget: Mapping[str, Any]
    began: str
    ended: str

    @classmethod
    def of(cls, stored: Sequence[StoredEntry]) -> Chronicle:
        """Read a run that `History` has read before, and found to have the form of one."""
        began, ended = (stored[0].recorded_at, stored[-1].recorded_at) if stored else ("", "")
        chronicle = cls([], {}, began, ended)
        for entry in stored:
            chronicle._take(read_event(entry.body), entry.recorded_at)
        return chronicle

    def _take(self, event: events.Event, recorded_at: str) -> None:
        cycle = self._cycle(event, recorded_at)
        match event:
            case events.RunStarted():
                self.budget = event.budget
            case events.RunReopened():
                self.budget = event.budget
                cycle.told.append(event)
            case events.EffectReceived():
                cycle.calls.append(event)
                cycle.usage.update({name: amount(event.usage, name) for name in USAGE})
            case events.FactPromoted():
                cycle.promoted[event.proposer] += 1
            case events.FactCarried():
                cycle.promoted["an earlier run"] += 1
            case events.ProposalRejected():
                cycle.turned_away[event.code] += 1
            case events.ProposalDuplicate():
                cycle.turned_away["duplicate"] += 1
            case events.ProposalConflicted():
                cycle.turned_away["conflict"] += 1
            case events.SuggestorSkipped():
                cycle.skipped[event.code] += 1
            case events.TimeObserved():
                cycle.elapsed_ms = event.elapsed_ms
            case events.InputAdmitted() | events.ProposalMade() | events.RunPaused() | events.CriterionEvaluated():
                pass
            case _:
                cycle.told.append(event)

    def _cycle(self, event: events.Event, recorded_at: str) -> Cycle:
        """Return the cycle that an event belongs to, which it may begin."""
        number = event.cycles if isinstance(event, events.RunStopped) else getattr(event, "cycle", None)
        last = self.cycles[-1] if self.cycles else None
        if last is None or (number is not None and number > last.number):
            last = Cycle(number or 0, recorded_at)
            self.cycles.append(last)
        return last


def amount(values: Mapping[str, Any] | None, name: str) -> int:
    """Return a whole number that a run names, or 0 where there is none."""
    value = (values or {}).get(name)
    return value if isinstance(value, int) else 0


def moment(recorded_at: str) -> str:
    """Return a time of recording (UTC) as it is read: ``2026-10-31 23:59:59``."""
    return recorded_at.replace("T", " ").partition(".")[0].removesuffix("Z")
