"""History: what the ledger of a run tells, read without any plugin.

Replaying a run needs the code that ran; reading what happened does not. `History.of` goes through the entries once and
gives facts, gates and stops as plain JSON values, for everything that shows, explains or exports a run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from converge_core.errors import LedgerCorrupt
from converge_core.ledger import events
from converge_core.ledger.canonical import canonical
from converge_core.ledger.events import Entry, read_event
from converge_core.ledger.hashes import ContentHash


@dataclass(frozen=True, slots=True)
class RecordedFact:
    """A fact as the ledger has it: the proposal, its promotion, and where both stand (sequence numbers from 0)."""

    proposal: Mapping[str, Any]
    promotion: Mapping[str, Any]
    proposed_at: int
    promoted_at: int

    @property
    def ref(self) -> str:
        """``key/id``."""
        return f"{self.promotion['key']}/{self.promotion['id']}"

    @property
    def body(self) -> Any:
        """What the fact says, as JSON."""
        return self.proposal["payload"]["body"]


@dataclass(slots=True)
class RecordedGate:
    """A human gate, and the decision once it is made."""

    gate: str
    cycle: int
    proposer: str
    code: str
    proposal: Mapping[str, Any]
    decision: events.DecisionReceived | None = None


@dataclass(slots=True)
class History:
    """A run as its entries tell it."""

    run_id: str = ""
    started: events.RunStarted | None = None
    facts: dict[str, RecordedFact] = field(default_factory=dict)
    gates: dict[str, RecordedGate] = field(default_factory=dict)
    refused: list[events.Event] = field(default_factory=list)
    failures: list[events.SuggestorFailedEvent] = field(default_factory=list)
    criteria: list[events.CriterionEvaluated] = field(default_factory=list)
    stop: events.RunStopped | None = None
    cycles: int = 0
    _proposals: dict[str, tuple[Mapping[str, Any], int]] = field(default_factory=dict)

    @classmethod
    def of(cls, entries: Iterable[Entry], run_id: str = "?") -> History:
        """Read the entries of a run. Raises LedgerCorrupt for one that is no event, or names an unknown proposal."""
        history = cls(run_id)
        for sequence, entry in enumerate(entries):
            try:
                history._take(sequence, read_event(entry.body))
            except (ValueError, KeyError) as error:
                raise LedgerCorrupt(history.run_id, sequence, "an event that fits", str(error)) from error
        return history

    def open_gates(self) -> list[RecordedGate]:
        """Return the gates that nobody has decided."""
        return [gate for gate in self.gates.values() if gate.decision is None]

    def _take(self, sequence: int, event: events.Event) -> None:
        match event:
            case events.RunStarted():
                self.started, self.run_id = event, event.run_id
            case events.InputAdmitted() | events.ProposalMade():
                self._propose(sequence, event.proposal)
            case events.EffectReceived():
                self.cycles = max(self.cycles, event.cycle)
                for proposal in event.proposals:
                    self._propose(sequence, proposal)
            case events.FactCarried():
                self._propose(sequence, event.proposal)
                self._promote(sequence, dict(event.promotion))
            case events.FactPromoted():
                self._promote(sequence, {name: getattr(event, name) for name in _PROMOTION})
            case events.ProposalGated():
                proposal, _ = self._proposals[event.proposal]
                self.gates[event.gate] = RecordedGate(event.gate, event.cycle, event.proposer, event.code, proposal)
            case events.DecisionReceived() if event.verdict != "defer" and event.gate in self.gates:
                self.gates[event.gate].decision = self.gates[event.gate].decision or event
            case events.DecisionRefused():
                self._reopen(event)
            case events.ProposalRejected() | events.ProposalConflicted() | events.ProposalDuplicate():
                self.refused.append(event)
            case events.SuggestorFailedEvent():
                self.failures.append(event)
            case events.CriterionEvaluated():
                self.criteria.append(event)
            case events.RunStopped():
                self.stop, self.cycles = event, event.cycles
            case events.RunReopened():
                self.stop = None
                self.criteria = []
            case _:
                pass

    def _propose(self, sequence: int, proposal: str | Mapping[str, Any]) -> None:
        if not isinstance(proposal, str) and "payload" in proposal:
            self._proposals.setdefault(str(ContentHash.of(canonical(proposal))), (proposal, sequence))

    def _promote(self, sequence: int, promotion: dict[str, Any]) -> None:
        proposal, proposed_at = self._proposals[promotion["proposal"]]
        fact = RecordedFact(proposal, promotion, proposed_at, sequence)
        self.facts[fact.ref] = fact

    def _reopen(self, refusal: events.DecisionRefused) -> None:
        """A decision that was refused, other than because another one came first, leaves its gate open."""
        gate = self.gates.get(refusal.gate)
        if gate is not None and refusal.code != "already_decided":
            gate.decision = None


_PROMOTION = (
    "approver",
    "authority",
    "cycle",
    "gate",
    "id",
    "key",
    "lamport",
    "policy",
    "proposal",
    "proposer",
)
