"""The roster: who is woken by what has changed, who had to wait, and how far each has read.

Part of the machine's state, kept apart because it answers one question: whom does this cycle ask?
"""

from __future__ import annotations

from typing import NamedTuple

from converge_core.context.allowance import Allowance
from converge_core.context.state import Context, FactLog
from converge_core.engine.calls import Call, Failure
from converge_core.engine.lineup import Lineup
from converge_core.engine.setup import Setup
from converge_core.ledger.events import printable


class Summons(NamedTuple):
    """Whom a cycle asks: the calls by name, in registration order, whose ``accepts`` failed, and who was skipped."""

    calls: dict[str, Call]
    failures: list[tuple[str, Failure]]
    skipped: list[tuple[str, str]]


class Roster:
    """The suggestors of a run, as far as they are awake."""

    __slots__ = ("_benched", "_lineup", "_read", "_seen", "_setup", "_waiting")

    def __init__(self, setup: Setup, lineup: Lineup) -> None:
        self._setup = setup
        self._lineup = lineup
        self._benched: set[int] = set()
        self._waiting: set[int] = set()
        self._read: dict[str, int] = {}
        self._seen = 0
        """The Lamport time up to which facts have woken whom they wake."""

    @property
    def has_waiting(self) -> bool:
        """Whether somebody was woken and not yet asked, or is to be asked again."""
        return bool(self._waiting)

    def ask_again(self, name: str) -> None:
        """Make a suggestor that failed a candidate of the next cycle."""
        self._waiting.add(self._setup.positions[name])

    def has_read(self, name: str, version: int) -> None:
        """Note up to which Lamport time a suggestor has read: that is where its ``fresh`` begins the next time."""
        self._read[name] = version

    def summon(self, cycle: int, log: FactLog, allowance: Allowance, limit: int | None) -> Summons:
        """Return whom this cycle asks; ``limit`` is the most suggestors it may ask."""
        setup, version = self._setup, len(log.all)
        bench, read = self._lineup.bench(log), self._read
        calls: dict[str, Call] = {}
        failures, skipped = [], []
        for position in self._candidates(log, bench, limit):
            registration = setup.suggestors[position]
            name, suggestor = registration.name, registration.suggestor
            if registration.pack is not None and not setup.is_active(registration):
                skipped.append((name, "pack_inactive"))
                continue
            if name in bench:  # what woke it is still new to it when a later decision selects it
                self._benched.add(position)
                skipped.append((name, "not_in_formation"))
                continue
            ctx = Context(log, version, read.get(name, 0), allowance)
            try:
                accepts = suggestor.accepts(ctx)
            except Exception as error:  # one that cannot even say whether it wants to run has failed
                reason = printable(f"{type(error).__name__}: {error}")
                failures.append((name, Failure("accepts_raised", reason)))
                continue
            if not accepts:
                continue
            if limit is not None and len(calls) >= limit:
                if name not in read or read[name] < version:  # else it has nothing to wait for
                    self._waiting.add(position)
                skipped.append((name, "suggestors_per_cycle"))
                continue
            calls[name] = Call(cycle, suggestor, ctx, setup.payloads, setup.max_payload_bytes)
        if limit is not None:  # those who had to wait were asked before their turn
            calls = {name: calls[name] for name in sorted(calls, key=setup.positions.__getitem__)}
        return Summons(calls, failures, skipped)

    def _candidates(self, log: FactLog, bench: frozenset[str], limit: int | None) -> list[int]:
        """Return whom the facts since the last cycle wake, who had to wait, and who is no longer on the bench."""
        kinds = {(fact.key, type(fact.payload)) for fact in log.all[self._seen :]}
        waiting, also = self._waiting, self._waiting
        if self._benched:
            back = {position for position in self._benched if self._setup.suggestors[position].name not in bench}
            self._benched -= back
            also = waiting | back
        candidates = self._setup.index.candidates(kinds, also)
        if limit is not None:  # whoever had to wait is asked first, or the first registered would starve the others
            candidates.sort(key=lambda position: position not in waiting)
        self._seen, self._waiting = len(log.all), set()
        return candidates
