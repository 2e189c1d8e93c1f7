"""The roster: who is woken by what has changed, who had to wait, and how far each has read.

Part of the machine's state, kept apart because it answers one question: whom does this cycle ask?
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from converge_core.context.allowance import Allowance
from converge_core.context.facts import AnyFact
from converge_core.context.state import Context, FactLog, Selector
from converge_core.engine.calls import Call, Failure
from converge_core.engine.lineup import Lineup
from converge_core.engine.setup import Setup
from converge_core.ledger.events import printable


@dataclass(slots=True)
class Summons:
    """Whom a cycle asks: the calls in registration order, whose ``accepts`` failed, and who was skipped."""

    calls: list[Call] = field(default_factory=list)
    failures: list[tuple[str, Failure]] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)


class Roster:
    """The suggestors of a run, as far as they are awake."""

    __slots__ = ("_benched", "_dirty", "_lineup", "_read", "_setup", "_waiting")

    def __init__(self, setup: Setup, lineup: Lineup) -> None:
        self._setup = setup
        self._lineup = lineup
        self._benched: set[int] = set()
        self._dirty: set[Selector] = set()
        self._waiting: set[int] = set()
        self._read: dict[int, int] = {}

    @property
    def has_waiting(self) -> bool:
        """Whether somebody was woken and not yet asked, or is to be asked again."""
        return bool(self._waiting)

    def wake(self, fact: AnyFact) -> None:
        """Note what a new fact touches."""
        payload = type(fact.payload)
        self._dirty.update((fact.key, payload, (fact.key, payload)))

    def ask_again(self, name: str) -> None:
        """Make a suggestor that failed a candidate of the next cycle."""
        self._waiting.add(self._setup.positions[name])

    def has_read(self, names: Iterable[str], version: int) -> None:
        """Note up to which Lamport time suggestors have read: that is where their ``fresh`` begins the next time."""
        for name in names:
            self._read[self._setup.positions[name]] = version

    def summon(self, cycle: int, log: FactLog, allowance: Allowance, limit: int | None) -> Summons:
        """Return whom this cycle asks; ``limit`` is the most suggestors it may ask."""
        setup, version = self._setup, len(log.all)
        bench = self._lineup.bench(log)
        back = {position for position in self._benched if setup.suggestors[position].name not in bench}
        self._benched -= back
        candidates = setup.index.candidates(self._dirty, self._waiting | back)
        if limit is not None:  # whoever had to wait is asked first, or the first registered would starve the others
            candidates.sort(key=lambda position: position not in self._waiting)
        self._dirty, self._waiting = set(), set()
        summons = Summons()
        calls: dict[int, Call] = {}
        for position in candidates:
            registration = setup.suggestors[position]
            if not setup.is_active(registration):
                summons.skipped.append((registration.name, "pack_inactive"))
                continue
            if registration.name in bench:  # what woke it is still new to it when a later decision selects it
                self._benched.add(position)
                summons.skipped.append((registration.name, "not_in_formation"))
                continue
            read = self._read.get(position, 0)
            ctx = Context(log, version, read, allowance.share())
            try:
                accepts = registration.suggestor.accepts(ctx)
            except Exception as error:  # one that cannot even say whether it wants to run has failed
                reason = printable(f"{type(error).__name__}: {error}")
                summons.failures.append((registration.name, Failure("accepts_raised", reason)))
                continue
            if not accepts:
                continue
            if limit is not None and len(calls) >= limit:
                if position not in self._read or read < version:  # one that has read all has nothing to wait for
                    self._waiting.add(position)
                summons.skipped.append((registration.name, "suggestors_per_cycle"))
                continue
            calls[position] = Call(cycle, registration.suggestor, ctx, setup.payloads, setup.max_payload_bytes)
        summons.calls = [calls[position] for position in sorted(calls)]
        return summons
