"""The desk: what waits for people, what they have answered, and what they have turned down for good.

Part of the machine's state, kept apart because it answers one question: may this proposal pass without a human?
"""

from __future__ import annotations

from converge_core.engine.setup import Setup
from converge_core.gates.answers import Gate, Refused, answer, edited
from converge_core.gates.authority import ApprovalPolicy
from converge_core.gates.drafts import Draft, Malformed
from converge_core.gates.hitl import GateDecision, GateRequest, HitlPolicy, Verdict, approval_id
from converge_core.ledger import events


class Desk:
    """The human gates of a run."""

    __slots__ = ("_asked", "_decided", "_gates", "_refused", "_run_id", "_setup", "now")

    def __init__(self, setup: Setup, run_id: str) -> None:
        self._setup = setup
        self._run_id = run_id
        self._gates: dict[str, Gate] = {}
        self._decided: dict[str, Gate] = {}
        self._asked: set[tuple[str, str]] = set()
        self._refused: set[tuple[str, str]] = set()
        self.now = ""
        """The latest moment that any answer named: authority that has ended does not come back with the clock."""

    @property
    def approval(self) -> ApprovalPolicy:
        """Who may decide."""
        return self._setup.hitl.approval if self._setup.hitl is not None else ApprovalPolicy()

    @property
    def is_busy(self) -> bool:
        """Whether this cycle has gates, open or decided."""
        return bool(self._gates)

    @property
    def waiting(self) -> list[Gate]:
        """The open gates, in merge order."""
        return [gate for gate in self._gates.values() if gate.decision is None]

    def hold(self, item: Draft, cycle: int, *, escalated: str | None = None) -> events.Event | None:
        """Hold a proposal if a human must decide about it, and return the event of that; None when it may pass.

        What a human has turned down in this run does not ask again, and what is at a gate asks once. A flow gate that
        has ``escalated``, for the reason given, leaves no choice, nor does what a person has let in and this would take
        the place of.
        """
        policy = self._setup.hitl
        if policy is None and escalated is None and item.supersedes is None:
            return None
        compelling = "escalated" if escalated is not None else "overrules_human" if item.overrules_human else None
        if policy is None:
            if compelling is None:
                return None
            policy = HitlPolicy()
        if self._refused and item.content in self._refused:
            reason = "the same content was turned down in this run"
            return events.ProposalRejected(cycle=cycle, **item.named, code="refused_before", reason=reason)
        if self._asked and item.content in self._asked:
            return events.ProposalDuplicate(cycle=cycle, **item.named, code="gated")
        code = compelling or policy.reason_to_ask(item)
        if code is None:
            return None
        gate_id = approval_id(self._run_id, cycle, item.hash)
        self._asked.add(item.content)
        self._gates[gate_id] = Gate(item, GateRequest.of(item, gate_id, cycle, code, policy.timeout, escalated))
        return events.ProposalGated(cycle=cycle, **item.named, gate=gate_id, code=code, reason=escalated)

    def answer(self, decision: GateDecision) -> events.Event | None:
        """Take an answer, and return what it comes to: a refusal, one approval of several, or the gate's decision.

        None for an answer that leaves the gate open, as it was or at the next level.
        """
        self.see(decision.at)
        answered = self._answered(decision)
        gate, actor = decision.gate_id, str(decision.by)
        if isinstance(answered, Refused):
            code, reason = answered.code, events.printable(answered.reason)
            return events.DecisionRefused(gate=gate, actor=actor, code=code, reason=reason)
        self._gates[gate] = answered
        if answered.decision is not None:
            verdict = decision.verdict.value
            return events.GateDecided(gate=gate, verdict=verdict, actor=actor, authority=answered.authority)
        if decision.verdict is Verdict.APPROVE:
            have, needs = len(answered.approvals), self.approval.needs
            authority = answered.authority
            return events.ApprovalCounted(gate=gate, actor=actor, authority=authority, have=have, needs=needs)
        return None

    def _answered(self, decision: GateDecision) -> Gate | Refused:
        gate = self._gates.get(decision.gate_id) or self._decided.get(decision.gate_id)
        if gate is None:
            return Refused("unknown_gate", "no such gate is open in this run")
        answered = answer(gate, decision, self.approval, self.now)
        if isinstance(answered, Gate) and decision.verdict is Verdict.EDIT:
            made = edited(gate.draft, decision, self._setup.payloads, self._setup.max_payload_bytes)
            if isinstance(made, Malformed):
                return Refused(made.code, made.reason)
        return answered

    def see(self, moment: str | None) -> None:
        """Note a moment that an input named."""
        self.now = max(self.now, moment or "")

    def turn_down(self, item: Draft) -> None:
        """Remember what a human has rejected."""
        self._refused.add(item.content)

    def clear(self) -> list[Gate]:
        """Return the gates of this cycle, all decided, in merge order; nobody waits after it."""
        decided, self._gates, self._asked = self._gates, {}, set()
        self._decided |= decided
        return list(decided.values())
