"""Answers: what somebody's word does to a gate.

This is a pure function: `answer` takes a gate, a decision and the policy, and returns what has become of the gate or
why the decision does not count. The machine records both and keeps what it is given.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from converge_core.context.facts import Actor, ActorKind
from converge_core.context.keys import ContextKey
from converge_core.context.payloads import PayloadRegistry
from converge_core.gates.authority import ApprovalPolicy
from converge_core.gates.drafts import Draft, Malformed, reworded
from converge_core.gates.hitl import GateDecision, GateRequest, TimeoutAction, Verdict
from converge_core.gates.promotion import HUMAN_GATE


@dataclass(frozen=True, slots=True)
class Refused:
    """An answer that does not count: a reason code, and a sentence."""

    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Sanction:
    """What lets a proposal through that the engine may not promote by itself: a gate, a person, an authority."""

    gate_id: str
    approver: Actor
    authority: str


@dataclass(frozen=True, slots=True)
class Gate:
    """A proposal that waits for people: what was asked, who has approved so far, and the decision once it is made.

    ``authority`` is the one that was used last.
    """

    draft: Draft
    request: GateRequest
    level: int = 1
    approvals: tuple[Actor, ...] = ()
    decision: GateDecision | None = None
    authority: str = ""

    @property
    def sanction(self) -> Sanction | None:
        """What a decision gives the proposal on its way, once there is one."""
        return None if self.decision is None else Sanction(HUMAN_GATE, self.decision.by, self.authority)


def answer(gate: Gate, decision: GateDecision, policy: ApprovalPolicy, now: str) -> Gate | Refused:
    """Return what an answer makes of a gate, or why it does not count. ``now`` is the latest moment known."""
    if gate.decision is not None:
        return Refused("already_decided", f"decided by {gate.decision.by}")
    if decision.verdict is Verdict.DEFER:
        return gate
    if decision.by.kind is ActorKind.SYSTEM:
        return _timed_out(gate, decision, policy)
    if decision.verdict is Verdict.ESCALATE:
        return Refused("no_authority", "a gate is escalated by its time-out alone")
    if owns(decision.by, gate.draft.proposer, gate.draft.proposal.provenance or ""):
        return Refused("own_proposal", f"{decision.by} proposed it, and may not decide about it")
    authority = authority_of(decision.by, gate.draft.proposal.key, policy, gate.level, now)
    if isinstance(authority, Refused):
        return authority
    if decision.verdict is Verdict.REJECT:
        return replace(gate, decision=decision, authority=authority)
    if decision.by in gate.approvals:
        return Refused("same_approver", f"{decision.by} has approved already; another person is needed")
    if decision.verdict is Verdict.EDIT and policy.needs > 1:
        return Refused(
            "edit_needs_one", f"{policy.needs} people must approve the same words: reject, or approve as it is"
        )
    approvals = (*gate.approvals, decision.by)
    if len(approvals) < policy.needs:
        return replace(gate, approvals=approvals, authority=authority)
    if len(approvals) > 1:
        authority = f"{authority} ({', '.join(map(str, approvals))})"
    return replace(gate, approvals=approvals, decision=decision, authority=authority)


def owns(actor: Actor, proposer: str, provenance: str) -> bool:
    """Say whether somebody decides about what is their own: proposed, edited, or brought in by them."""
    own = {actor.id, str(actor)}
    return proposer in own or provenance in own or provenance.startswith(f"admission:{actor}:")


def authority_of(actor: Actor, key: ContextKey, policy: ApprovalPolicy, level: int, now: str) -> str | Refused:
    """Return by which authority somebody may decide about a fact of a key, or why not."""
    if actor.kind is not ActorKind.HUMAN:
        return Refused("no_authority", f"{actor} is no person")
    if not policy.grants:
        return "anyone"
    found = Refused("no_authority", f"{actor} is no approver for {key}")
    for grant in policy.grants:
        if actor.id not in grant.members or (grant.scope.keys and key not in grant.scope.keys):
            continue
        until = grant.scope.until
        if grant.level > level:
            found = Refused("not_escalated", f"{actor} is asked when the gate is escalated to level {grant.level}")
        elif until is not None and not now:
            found = Refused(
                "no_time", f"the authority of {actor} has an end, and the decision says not when it was made"
            )
        elif until is not None and now > until:
            found = Refused("authority_expired", f"the authority of {actor} ended at {until}")
        else:
            return f"grant:{grant.name}"
    return found


def edited(gated: Draft, decision: GateDecision, payloads: PayloadRegistry, max_bytes: int) -> Draft | Malformed:
    """Return the proposal that a person puts in the place of a gated one: their own, with another payload."""
    made = reworded(gated.proposal, decision.payload or {}, str(decision.by), payloads, max_bytes)
    return made if isinstance(made, Malformed) else replace(made, supersedes=gated.supersedes)


def _timed_out(gate: Gate, decision: GateDecision, policy: ApprovalPolicy) -> Gate | Refused:
    """The system decides nothing but what the time-out policy of the gate says."""
    action = gate.request.timeout.action
    if action is TimeoutAction.ESCALATE and gate.level < policy.levels:
        if decision.verdict is Verdict.ESCALATE:
            return replace(gate, level=gate.level + 1)
    elif decision.verdict is (Verdict.APPROVE if action is TimeoutAction.APPROVE else Verdict.REJECT):
        return replace(gate, decision=decision, authority=f"timeout:{action}")
    return Refused("no_authority", f"the time-out policy of this gate is to {action}, not to {decision.verdict}")
