"""The lineup: which of a formation's candidates are asked, and when that is decided anew.

Part of the machine's state, kept apart because it answers one question: who sits out? Every formation begins with a
decision that is brought in as an input, so what it depended on (which backends there were, say) need not be there for a
replay. The end of a huddle is for the machine alone to see, so the decision that follows it is the machine's own, made
of what the ledger holds. An open formation goes on after a stop: the driver takes `Lineup.next_variant` and reopens the
run.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import fsum
from typing import cast

from converge_core.context.state import FactLog
from converge_core.engine.result import ConvergeResult
from converge_core.engine.setup import Setup
from converge_core.formations.choosing import DIGITS, Candidate, choose, deliberate, obstacle
from converge_core.formations.decision import FORMATION, FormationDecision, bench, decision_proposal
from converge_core.formations.kinds import DeliberatedFormation, Formation, OpenClawFormation
from converge_core.formations.profiles import NEUTRAL
from converge_core.gates.drafts import Draft, Malformed, draft
from converge_core.gates.stop import Converged


class Lineup:
    """The formation of a run, as far as it has come."""

    __slots__ = ("_bench", "_decisions", "_huddles", "_setup", "_tried")

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._huddles = isinstance(setup.formation, DeliberatedFormation)
        self._tried = 0
        self._decisions = -1
        self._bench: frozenset[str] = frozenset()

    def opening(self, version: int) -> Draft | Malformed | None:
        """Return the decision with which the run begins, on a context of so many facts."""
        formation = self._setup.formation
        return None if formation is None else self._draft(choose(formation, candidates(self._setup)), version)

    def note(self, item: Draft | Malformed) -> None:
        """Note an input, if it is a decision of the formation."""
        self._tried += item.proposer == FORMATION

    def bench(self, log: FactLog) -> frozenset[str]:
        """Return who is not asked."""
        decisions = len(log.by_selector.get(FormationDecision, ()))
        if decisions != self._decisions:
            self._decisions = decisions
            everybody = _names(self._setup) if self._setup.formation is not None else ()
            self._bench = bench(_latest(log), everybody)
        return self._bench

    def adjourn(self, cycle: int, at_rest: bool, log: FactLog) -> Draft | Malformed | None:
        """Return the decision that follows a huddle, if it ends with this cycle."""
        formation = self._setup.formation
        if not self._huddles or not isinstance(formation, DeliberatedFormation):
            return None
        if cycle < formation.huddle_max_cycles and not at_rest:
            return None
        self._huddles = False
        return self._draft(deliberate(formation, list(self._huddle(log)), _shown(log)), len(log.all))

    def next_variant(self, result: ConvergeResult) -> Draft | Malformed | None:
        """Return the decision with which an open formation goes on after a stop.

        None where there is nothing to try: the criteria are met or wait for a human, something else has stopped the
        run, or all variants or loops are used up.
        """
        formation = self._setup.formation
        if not isinstance(formation, OpenClawFormation) or type(result.stop_reason) is not Converged:
            return None
        if self._tried > formation.max_extra_loops or self._tried >= len(formation.variants):
            return None
        return self._draft(choose(formation, candidates(self._setup), self._tried), result.context.version)

    def _huddle(self, log: FactLog) -> Iterator[Candidate]:
        """Yield the candidates; those that no decision let into the huddle with what it said of them."""
        decision = _latest(log)
        selected = decision.selected if decision is not None else ()
        refused = {each.suggestor: each.reason for each in decision.refused} if decision is not None else {}
        for candidate in candidates(self._setup):
            absent = None if candidate.name in selected else refused.get(candidate.name, "was not in the huddle")
            yield candidate._replace(obstacle=absent)

    def _draft(self, decision: FormationDecision, version: int) -> Draft | Malformed:
        setup = self._setup
        return draft(decision_proposal(decision, version), FORMATION, setup.payloads, setup.max_payload_bytes)


def candidates(setup: Setup) -> list[Candidate]:
    """Return the candidates of a run's formation, each with what stands in its way."""
    formation = setup.formation
    return [] if formation is None else [_candidate(setup, formation, name) for name in _names(setup)]


def _names(setup: Setup) -> tuple[str, ...]:
    named = setup.formation.candidates if setup.formation is not None else ()
    return named or tuple(registration.name for registration in setup.suggestors)


def _candidate(setup: Setup, formation: Formation, name: str) -> Candidate:
    position = setup.positions.get(name)
    if position is None:
        return Candidate(name, NEUTRAL, "is not registered")
    registration = setup.suggestors[position]
    profile = registration.suggestor.profile
    if not setup.is_active(registration):
        return Candidate(name, profile, f"its pack {registration.pack!r} is not active")
    return Candidate(name, profile, obstacle(profile, formation.capabilities, setup.backends))


def _latest(log: FactLog) -> FormationDecision | None:
    decisions = log.by_selector.get(FormationDecision)
    return cast("FormationDecision", decisions[-1].payload) if decisions else None


def _shown(log: FactLog) -> dict[str, float]:
    """Return the mean confidence of the facts of each proposer."""
    confidences: dict[str, list[float]] = {}
    for fact in log.all:
        confidences.setdefault(fact.proposer, []).append(fact.confidence)
    return {name: round(fsum(given) / len(given), DIGITS) for name, given in confidences.items()}
