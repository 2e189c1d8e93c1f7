"""History: what the ledger of a run tells, read without any plugin.

Replaying a run needs the code that ran; reading what happened does not. `History.of` goes through the entries once and
gives facts, gates and stops as plain JSON values, for everything that shows, explains or exports a run.

A fact is tied to what led to it while the entries go by: to the entry that brought its proposal, to the human gate that
it passed, unchanged or edited, and to the correction it answers. A ledger may come from anybody, so what is read here
has the form that the readers rely on, or is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from converge_core.errors import LedgerCorrupt
from converge_core.ledger import events
from converge_core.ledger.canonical import canonical
from converge_core.ledger.events import Entry, read_event
from converge_core.ledger.hashes import ContentHash


@dataclass(frozen=True, slots=True)
class RecordedFact:
    """A fact as the ledger has it: the proposal, its promotion, and where both stand (sequence numbers from 0).

    ``brought_by`` is the kind of the entry in which the proposal stands, ``gate`` the human gate that let it through,
    ``correction`` what was asked for where the fact corrects another.
    """

    proposal: Mapping[str, Any]
    promotion: Mapping[str, Any]
    proposed_at: int
    promoted_at: int
    brought_by: str
    gate: RecordedGate | None = None
    correction: events.CorrectionEvent | None = None

    @property
    def ref(self) -> str:
        """``key/id``."""
        return f"{self.promotion['key']}/{self.promotion['id']}"

    @property
    def body(self) -> Any:
        """What the fact says, as JSON."""
        return self.proposal["payload"]["body"]

    @property
    def evidence(self) -> tuple[str, ...]:
        """What the proposal cites: facts by ``key/id``, other sources by URI."""
        return tuple(self.proposal.get("evidence", ()))


@dataclass(slots=True)
class RecordedGate:
    """A human gate, who has approved so far, and the decision once it is made.

    ``proposal_hash`` names the proposal that waits, ``edited`` the one that a human put in its place.
    """

    gate: str
    cycle: int
    proposer: str
    code: str
    proposal: Mapping[str, Any]
    proposal_hash: str
    approvals: list[events.ApprovalCounted] = field(default_factory=list)
    decision: events.DecisionReceived | None = None
    authority: str | None = None
    edited: str | None = None

    @property
    def ref(self) -> str:
        """``key/id`` of the fact that an approval would make."""
        return f"{self.proposal['key']}/{self.proposal['id']}"


class Noted(NamedTuple):
    """What a call has noted of itself (`Context.note`), and the entry of its effect."""

    sequence: int
    cycle: int
    suggestor: str
    record: Mapping[str, Any]


@dataclass(slots=True)
class History:
    """A run as its entries tell it. ``superseded`` names the fact in the place of a corrected one, by ``key/id``."""

    run_id: str = ""
    started: events.RunStarted | None = None
    facts: dict[str, RecordedFact] = field(default_factory=dict)
    gates: dict[str, RecordedGate] = field(default_factory=dict)
    refused: list[events.Event] = field(default_factory=list)
    failures: list[events.SuggestorFailedEvent] = field(default_factory=list)
    criteria: list[events.CriterionEvaluated] = field(default_factory=list)
    stop: events.RunStopped | None = None
    cycles: int = 0
    superseded: dict[str, str] = field(default_factory=dict)
    notes: list[Noted] = field(default_factory=list)
    _proposals: dict[tuple[str, str], _Proposed] = field(default_factory=dict)
    _gates_by_place: dict[tuple[int, str], list[RecordedGate]] = field(default_factory=dict)
    _asked_for: events.CorrectionEvent | None = None
    _corrections: dict[str, events.CorrectionEvent] = field(default_factory=dict)
    _answered: events.DecisionReceived | None = None

    @classmethod
    def of(cls, entries: Iterable[Entry], run_id: str = "?") -> History:
        """Read the entries of a run. Raises LedgerCorrupt for one that is no event, or names an unknown proposal."""
        history = cls(run_id)
        for sequence, entry in enumerate(entries):
            try:
                history._take(sequence, read_event(entry.body))
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                raise LedgerCorrupt(history.run_id, sequence, "an event that fits", f"{entry.kind}: {error}") from error
        return history

    def open_gates(self) -> list[RecordedGate]:
        """Return the gates that nobody has decided."""
        return [gate for gate in self.gates.values() if gate.decision is None]

    def proposal(self, proposer: str, proposal_hash: str | None) -> Mapping[str, Any] | None:
        """Return what somebody proposed, or None where it had no form to be kept in."""
        proposed = self._proposals.get((proposal_hash or "", proposer))
        return None if proposed is None else proposed.proposal

    def _take(self, sequence: int, event: events.Event) -> None:
        match event:
            case events.RunStarted():
                self.started, self.run_id = event, event.run_id
            case events.InputAdmitted():
                self._propose(sequence, event, event.proposer, event.proposal)
            case events.ProposalMade():
                made = self._propose(sequence, event, event.proposer, event.proposal)
                if made is not None:
                    self._tie(event, *made)
            case events.EffectReceived():
                self.cycles = max(self.cycles, event.cycle)
                self.notes += [Noted(sequence, event.cycle, event.suggestor, _object(note)) for note in event.trace]
                for proposal in event.proposals:
                    self._propose(sequence, event, event.suggestor, proposal)
            case events.FactCarried():
                promotion = events.FactPromoted.from_json(event.promotion)
                self._propose(sequence, event, promotion.proposer, event.proposal)
                self._promote(sequence, promotion)
            case events.FactPromoted():
                self._promote(sequence, event)
            case events.ProposalGated():
                self._open(event)
            case events.DecisionReceived():
                self._answered = event
            case events.ApprovalCounted():
                self.gates[event.gate].approvals.append(event)
            case events.GateDecided():
                self._decide(event)
            case events.CorrectionEvent():
                self._asked_for = event
            case events.CorrectionRefused():
                self._asked_for = None
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

    def _propose(
        self, sequence: int, event: events.Event, proposer: str, proposal: str | Mapping[str, Any]
    ) -> tuple[str, Mapping[str, Any]] | None:
        """Keep a proposal, and return it with its hash; one that was turned away at the door has none."""
        if isinstance(proposal, str):
            raise ValueError("a proposal is an object")
        if "payload" not in proposal:
            return None
        _check_proposal(proposal)
        name = str(ContentHash.of(canonical(proposal)))
        self._proposals[name, proposer] = _Proposed(proposal, sequence, event.kind)
        return name, proposal

    def _promote(self, sequence: int, event: events.FactPromoted) -> None:
        proposed = self._proposals[event.proposal, event.proposer]
        ref = f"{event.key}/{event.id}"
        if (event.key, event.id) != (proposed.proposal["key"], proposed.proposal["id"]):
            raise ValueError(f"{ref} is promoted for a proposal of another fact")
        gates = self._gates_by_place.get((event.cycle, ref), ())
        gate = next((gate for gate in gates if event.proposal in (gate.proposal_hash, gate.edited)), None)
        self._supersede(ref, event.supersedes)
        self.facts[ref] = RecordedFact(
            proposed.proposal,
            event.to_json(),
            proposed.sequence,
            sequence,
            proposed.kind,
            gate,
            self._corrections.get(event.proposal),
        )

    def _open(self, event: events.ProposalGated) -> None:
        proposal = self._proposals[event.proposal, event.proposer].proposal
        gate = RecordedGate(event.gate, event.cycle, event.proposer, event.code, proposal, event.proposal)
        self.gates[event.gate] = gate
        self._gates_by_place.setdefault((event.cycle, gate.ref), []).append(gate)

    def _decide(self, event: events.GateDecided) -> None:
        """The answer that came before this entry has decided its gate."""
        answer = self._answered
        if answer is None or answer.gate != event.gate:
            raise ValueError(f"{event.gate} is decided, and nobody has answered")
        gate = self.gates[event.gate]
        gate.decision, gate.authority = answer, event.authority

    def _tie(self, event: events.ProposalMade, name: str, proposal: Mapping[str, Any]) -> None:
        """Tie what a human has made to why: to the gate where it replaces a proposal, or to the correction asked for.

        What a correction makes stands right after it, unless it was refused.
        """
        for gate in self._gates_by_place.get((event.cycle, f"{proposal['key']}/{proposal['id']}"), ()):
            decision = gate.decision
            answered = decision is not None and (decision.verdict, decision.actor) == ("edit", event.proposer)
            if answered and gate.edited is None:
                gate.edited = name
                return
        if self._asked_for is not None and self._asked_for.actor == event.proposer:
            self._corrections[name], self._asked_for = self._asked_for, None

    def _supersede(self, ref: str, old: str | None) -> None:
        """Note what a new fact takes the place of: a fact that came before it, so no chain of them is a circle."""
        if ref in self.facts:
            raise ValueError(f"{ref} is promoted twice")
        if old is not None:
            if old not in self.facts or old in self.superseded:
                raise ValueError(f"{ref} is to supersede {old}, which is no current fact")
            self.superseded[old] = ref


class _Proposed(NamedTuple):
    """A proposal, the sequence number of the entry in which it stands, and that entry's kind."""

    proposal: Mapping[str, Any]
    sequence: int
    kind: str


def _object(note: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what was noted. Raises ValueError for what no call can have noted."""
    if not isinstance(note, Mapping):
        raise ValueError("what is noted is an object")
    return note


def _check_proposal(proposal: Mapping[str, Any]) -> None:
    """Raise ValueError unless a proposal has the form in which the machine writes it."""
    match proposal:
        case {
            "key": str(),
            "id": str(),
            "payload": {"body": _, "family": str(), "version": int()},
            "confidence": int() | float(),
            "provenance": str(),
            **rest,
        }:
            cited = rest.get("evidence", [])
            if isinstance(cited, list) and all(isinstance(piece, str) for piece in cited):
                return
    raise ValueError("not the form of a proposal")
