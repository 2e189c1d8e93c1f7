"""Time-outs of human gates, by the store's clock and the wall clock.

The machine knows no time; a gate that nobody answered is decided by whoever looks at the run next, in the name of the
time-out policy and with nothing but what that policy says. The wait begins when the gate was recorded, and again when
it was escalated.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from converge_core.context.facts import Actor, ActorKind
from converge_core.gates.answers import Gate
from converge_core.gates.hitl import GateDecision, TimeoutAction, Verdict
from converge_core.ledger.events import DecisionReceived, ProposalGated, read_event
from converge_core.ports import StoredEntry

POLICY = Actor("timeout-policy", ActorKind.SYSTEM)


def moment(now: datetime | None = None) -> str:
    """Return a moment as decisions carry it: UTC, to the second, ``2026-10-31T18:00:00Z``."""
    return f"{(now or datetime.now(UTC)).astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def waiting_since(gate_id: str, stored: Sequence[StoredEntry]) -> str:
    """Return when a gate was recorded, or last escalated, as the store has it. Raises LookupError."""
    since = ""
    for entry in stored:
        if entry.kind not in (ProposalGated.kind, DecisionReceived.kind):
            continue
        event = read_event(entry.body)
        is_escalation = isinstance(event, DecisionReceived) and event.verdict == Verdict.ESCALATE
        if isinstance(event, ProposalGated | DecisionReceived) and event.gate == gate_id:
            since = entry.recorded_at if is_escalation or not since else since
    if not since:
        raise LookupError(f"no gate {gate_id!r} in this run")
    return since


def seconds_left(since: str, seconds: int, now: datetime | None = None) -> int:
    """Return how many whole seconds a gate has left; none or fewer when its time is up."""
    waited = (now or datetime.now(UTC)) - datetime.fromisoformat(since)
    return int(seconds - waited.total_seconds())


def overdue(
    gates: Iterable[Gate], levels: int, stored: Sequence[StoredEntry], now: datetime | None = None
) -> list[GateDecision]:
    """Return what the time-out policy decides about gates whose time is up; ``levels`` is that of the approvers."""
    decisions = []
    for gate in gates:
        request = gate.request
        timeout = request.timeout
        if seconds_left(waiting_since(request.gate_id, stored), timeout.seconds, now) > 0:
            continue
        verdict = {TimeoutAction.APPROVE: Verdict.APPROVE, TimeoutAction.REJECT: Verdict.REJECT}.get(timeout.action)
        if verdict is None:
            verdict = Verdict.ESCALATE if gate.level < levels else Verdict.REJECT
        reason = f"no answer within {timeout.seconds} s; the policy is to {timeout.action}"
        decisions.append(GateDecision(request.gate_id, verdict, POLICY, reason, at=moment(now)))
    return decisions
