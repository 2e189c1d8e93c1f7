"""The judge: what becomes of a proposal. One by one, serially, whoever made it.

Part of the machine's state, kept apart because it answers one question: is this a fact? Staged, suggested, edited by a
human, correcting another or stated by the engine, every proposal passes `Judge.hear`; there is no other way for a fact
to come about. The order of the gates is the order of the lines.
"""

from __future__ import annotations

from itertools import islice

from converge_core.context.facts import ENGINE, AnyFact, AnyProposal, diagnostic, fact_ref
from converge_core.context.state import Context, FactLog
from converge_core.engine.desk import Desk
from converge_core.engine.record import Record
from converge_core.engine.setup import ConflictPolicy, Setup
from converge_core.gates import stop
from converge_core.gates.answers import Sanction
from converge_core.gates.corrections import revision
from converge_core.gates.drafts import Draft, Malformed, draft
from converge_core.gates.flow import (
    AFTER_VALIDATION,
    BEFORE_VALIDATION,
    CommitmentPayload,
    FlowGateDecision,
    FlowGateOutcome,
    consult,
    flow_steps,
)
from converge_core.gates.promotion import ENGINE_GATE, Rejection
from converge_core.ledger import events
from converge_core.ledger.events import Entry, printable
from converge_core.ledger.hashes import IntegrityProof
from converge_core.ledger.merkle import MerkleLog

Judged = Draft | Malformed

_ENGINE_SANCTION = Sanction(ENGINE_GATE, ENGINE, "policy")


class Judge:
    """The facts of a run, and what lets a proposal become one of them."""

    __slots__ = ("_desk", "_record", "_setup", "_tree", "log", "max_facts")

    def __init__(self, setup: Setup, record: Record, desk: Desk) -> None:
        self._setup, self._record, self._desk = setup, record, desk
        self._tree = MerkleLog()
        self.log = FactLog()
        self.max_facts = setup.budget.max_facts

    @property
    def version(self) -> int:
        """The Lamport time: how many facts there are."""
        return len(self.log.all)

    @property
    def proof(self) -> IntegrityProof:
        """The proof over the facts, in the order of promotion; the tree takes in those that are new since the last."""
        tree = self._tree
        tree.extend(fact.hash for fact in islice(self.log.all, tree.size, None))
        return IntegrityProof(tree.root(), tree.size, tree.size)

    def view(self) -> Context:
        """Return the context as it is now."""
        return Context(self.log, len(self.log.all))

    def hear(self, item: Judged, sanction: Sanction | None = None) -> stop.StopReason | None:
        """Take one proposal through all gates: rejected, duplicate, conflict, gated, or promoted.

        ``sanction`` is what a person lets it through by, if one does. Returns why the run has to stop, if it has to; a
        full budget leaves the proposal unjudged.
        """
        if isinstance(item, Malformed):
            self.turn_away(item, item.code, item.reason)
            return None
        proposal, setup, log = item.proposal, self._setup, self.log
        if (setup.writes or type(proposal.payload) is CommitmentPayload) and (untitled := self._untitled(item)):
            self.turn_away(item, *untitled)
            return None
        escalated = None
        if setup.flow is not None:
            asked = self._consult(item, sanction, BEFORE_VALIDATION)
            if asked.outcome is FlowGateOutcome.REJECT:
                return None
        validated = setup.gate.validate(item, self.view())
        if isinstance(validated, Rejection):
            self.turn_away(item, validated.code, validated.reason)
            return None
        if fact_ref(proposal.key, proposal.id) in log.by_ref:
            return self._meet(item)
        if setup.flow is not None:
            allowed = self._consult(item, sanction, AFTER_VALIDATION)
            if allowed.outcome is FlowGateOutcome.REJECT:
                is_commitment = type(proposal.payload) is CommitmentPayload
                return stop.CommitRefused(printable(str(allowed))) if is_commitment else None
            said = (asked, allowed)
            escalated = next((printable(str(d)) for d in said if d.outcome is FlowGateOutcome.ESCALATE), None)
        if sanction is None and (escalated is not None or item.proposer != ENGINE.id):
            held = self._desk.hold(item, self._record.cycle, escalated=escalated)
            if held is not None:
                self._record.emit(held)
                return None
        count = len(log.all)
        if count >= self.max_facts:
            return stop.FactBudgetExhausted(count, self.max_facts)
        by, record = sanction or _ENGINE_SANCTION, self._record
        fact, body = setup.gate.promote(validated, by.approver, by.authority, record.cycle, count + 1, by.gate_id)
        record.append(Entry("fact_promoted", body, fact.hash))
        log.append(fact)
        if setup.detectors and item.proposer != ENGINE.id:
            self._detect(fact)
        return None

    def _untitled(self, item: Draft) -> tuple[str, str] | None:
        """Return why this proposer may not make this proposal, whatever it says: a reason code and a sentence."""
        proposal = item.proposal
        writes = self._setup.writes.get(item.proposer)
        if writes is not None and proposal.key not in writes:
            return "undeclared_key", f"{item.proposer!r} does not declare that it writes {proposal.key}"
        if type(proposal.payload) is CommitmentPayload and item.proposer != ENGINE.id:
            return "engine_only", "only the engine proposes to commit a run"
        return None

    def _consult(self, item: Draft, sanction: Sanction | None, place: int) -> FlowGateDecision:
        """Ask the flow gate what it asks at a place on a proposal's way; record it when it rejects."""
        approver = None if sanction is None else sanction.approver
        decision = consult(self._setup, self.view(), item, flow_steps(item)[place], approver)
        if decision.outcome is FlowGateOutcome.REJECT:
            self.turn_away(item, "flow_gate", str(decision))
        return decision

    def _detect(self, fact: AnyFact) -> None:
        """State the tensions that a new fact causes; a detector that raises is stated too."""
        from converge_core.context.tensions import tension_proposal  # few engines have detectors

        for detector in self._setup.detectors:
            try:
                found = [tension_proposal(tension) for tension in detector.detect(fact, self.view())]
            except Exception as error:  # a detector of somebody else's must not lose the fact it was asked about
                message = printable(f"detector {detector.name} raised {type(error).__name__}: {error}")
                found = [diagnostic(f"detector-failed:{detector.name}:{fact.lamport}", detector.name, message)]
            for proposal in found:
                self.state(proposal)

    def _meet(self, item: Draft) -> stop.StopReason | None:
        """A fact of this key and id exists: the proposal says the same, or revises it, or contradicts it."""
        ctx, setup = self.view(), self._setup
        versions = ctx.history(item.proposal.key, item.proposal.id)
        if any(fact.same_content(item.proposal) for fact in versions):
            self._duplicate(item, "fact")
            return None
        if item.proposer in setup.positions:  # others conclude nothing; they correct, with authority, or contradict
            revised = revision(item, versions, ctx, setup.payloads, setup.max_payload_bytes)
            if revised is not None:
                return self.hear(self.made(revised))
        current = versions[-1]
        self._record.emit(
            events.ProposalConflicted(cycle=self._record.cycle, **item.named, fact=current.promotion.proposal_hash)
        )
        if setup.conflict_policy is ConflictPolicy.REJECT:
            return None
        return stop.ConflictDetected(current.ref, item.proposer)

    def turn_away(self, item: Judged, code: str, reason: str) -> None:
        """Record that a proposal is rejected, with a reason code and a sentence."""
        self._record.emit(
            events.ProposalRejected(cycle=self._record.cycle, **item.named, code=code, reason=printable(reason))
        )

    def _duplicate(self, item: Draft, code: str) -> None:
        self._record.emit(events.ProposalDuplicate(cycle=self._record.cycle, **item.named, code=code))

    def state(self, proposal: AnyProposal) -> None:
        """Promote a statement of the engine's own through the same gates; a full budget leaves it an event."""
        item = self.made(draft(proposal, ENGINE.id, self._setup.payloads))
        if isinstance(self.hear(item), stop.FactBudgetExhausted):
            self.turn_away(item, "fact_budget", f"{self.max_facts} facts are allowed")

    def made(self, item: Judged) -> Judged:
        """Record a proposal that no input brought, before it is judged."""
        self._record.emit(events.ProposalMade(cycle=self._record.cycle, proposer=item.proposer, proposal=item.text))
        return item
