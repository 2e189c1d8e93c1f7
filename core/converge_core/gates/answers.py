"""Answers: what somebody's word does to a gate.

This is a pure function: `answer` takes a gate, a decision and the policy, and returns what has become of the gate or
why the decision does not count. The machine records both and keeps what it is given.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from converge_core.context.facts import Actor, ActorKind
from converge_core.gates.authority import ApprovalPolicy
from converge_core.gates.drafts import Draft
from converge_core.gates.hitl import GateDecision, GateRequest, TimeoutAction, Verdict


@dataclass(frozen=True, slots=True)
class Refused:
    """An answer that does not count: a reason code, and a sentence."""

    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Gate:
    """A proposal that waits for people: what was asked, who has approved so far, and the decision once it is made."""

    draft: Draft
    request: GateRequest
    level: int = 1
    approvals: tuple[Actor, ...] = ()
    decision: GateDecision | None = None
    authority: str = ""


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
    if _is_proposer(decision.by, gate.draft):
        return Refused("own_proposal", f"{decision.by} proposed it, and may not decide about it")
    authority = _authority(gate, decision.by, policy, now)
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
        return replace(gate, approvals=approvals)
    if len(approvals) > 1:
        authority = f"{authority} ({', '.join(map(str, approvals))})"
    return replace(gate, approvals=approvals, decision=decision, authority=authority)


def _is_proposer(actor: Actor, draft: Draft) -> bool:
    """Say whether somebody decides about what is their own: proposed, edited, or brought in by them."""
    provenance = draft.proposal.provenance or ""
    own = {actor.id, str(actor)}
    return draft.proposer in own or provenance in own or provenance.startswith(f"admission:{actor}:")


def _authority(gate: Gate, actor: Actor, policy: ApprovalPolicy, now: str) -> str | Refused:
    """Return by which authority somebody may decide, or why not."""
    if actor.kind is not ActorKind.HUMAN:
        return Refused("no_authority", f"{actor} is no person")
    if not policy.grants:
        return "anyone"
    found = Refused("no_authority", f"{actor} is no approver for {gate.draft.proposal.key}")
    for grant in policy.grants:
        if actor.id not in grant.members or (grant.scope.keys and gate.draft.proposal.key not in grant.scope.keys):
            continue
        if grant.level > gate.level:
            found = Refused("not_escalated", f"{actor} is asked when the gate is escalated to level {grant.level}")
        elif grant.scope.until is not None and not now:
            found = Refused(
                "no_time", f"the authority of {actor} has an end, and the decision says not when it was made"
            )
        elif grant.scope.until is not None and now > grant.scope.until:
            found = Refused("authority_expired", f"the authority of {actor} ended at {grant.scope.until}")
        else:
            return f"grant:{grant.name}"
    return found


def _timed_out(gate: Gate, decision: GateDecision, policy: ApprovalPolicy) -> Gate | Refused:
    """The system decides nothing but what the time-out policy of the gate says."""
    action = gate.request.timeout.action
    if action is TimeoutAction.ESCALATE and gate.level < policy.levels:
        if decision.verdict is Verdict.ESCALATE:
            return replace(gate, level=gate.level + 1)
    elif decision.verdict is (Verdict.APPROVE if action is TimeoutAction.APPROVE else Verdict.REJECT):
        return replace(gate, decision=decision, authority=f"timeout:{action}")
    return Refused("no_authority", f"the time-out policy of this gate is to {action}, not to {decision.verdict}")
