"""Time-outs of human gates, by the store's clock and the wall clock.

The machine knows no time; a gate that nobody answered is decided by whoever looks at the run next, in the name of the
time-out policy and with nothing but what that policy says. The wait begins when the gate was recorded, and again when
it was escalated; a clock that was put back does not make it longer than the policy allows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from math import ceil

from converge_adapters.ledgers.wall_clock import utc_now
from converge_core.context.facts import Actor, ActorKind
from converge_core.gates.answers import Gate
from converge_core.gates.hitl import GateDecision, TimeoutAction, Verdict
from converge_core.ledger.events import DecisionReceived, DecisionRefused, ProposalGated, read_event
from converge_core.ports import StoredEntry

POLICY = Actor("timeout-policy", ActorKind.SYSTEM)


def moment(now: datetime | None = None) -> str:
    """Return a moment as decisions carry it: UTC, to the second, ``2026-10-31T18:00:00Z``."""
    return f"{(now or utc_now()).astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def waiting_since(stored: Sequence[StoredEntry]) -> dict[str, str]:
    """Return when each gate of a run was recorded, or last escalated, by its id, as the store has it."""
    since: dict[str, str] = {}
    for place, entry in enumerate(stored):
        if entry.kind not in (ProposalGated.kind, DecisionReceived.kind):
            continue
        match read_event(entry.body):
            case ProposalGated(gate=gate):
                since[gate] = entry.recorded_at
            case DecisionReceived(gate=gate, verdict=Verdict.ESCALATE) if not _is_refused(place, stored):
                since[gate] = entry.recorded_at
    return since


def _is_refused(place: int, stored: Sequence[StoredEntry]) -> bool:
    """Say whether the answer at a place does not count: that is the next entry, then."""
    return place + 1 < len(stored) and stored[place + 1].kind == DecisionRefused.kind


def seconds_left(since: str, seconds: int, now: datetime | None = None) -> int:
    """Return how many seconds a gate has left, begun ones included; none or fewer when its time is up."""
    waited = (now or utc_now()) - datetime.fromisoformat(since)
    return min(seconds, ceil(seconds - waited.total_seconds()))


def overdue(
    gates: Iterable[Gate], levels: int, stored: Sequence[StoredEntry], now: datetime | None = None
) -> list[GateDecision]:
    """Return what the time-out policy decides about gates whose time is up; ``levels`` is that of the approvers."""
    since, now = waiting_since(stored), now or utc_now()
    late = [gate for gate in gates if seconds_left(since[gate.request.gate_id], gate.request.timeout.seconds, now) <= 0]
    return [_by_policy(gate, levels, moment(now)) for gate in late]


def _by_policy(gate: Gate, levels: int, at: str) -> GateDecision:
    timeout = gate.request.timeout
    reason = f"no answer within {timeout.seconds} s; the policy is to {timeout.action}"
    verdict = Verdict(timeout.action.value)
    if timeout.action is TimeoutAction.ESCALATE and gate.level >= levels:
        verdict, reason = Verdict.REJECT, f"{reason}, and nobody is left to be asked"
    return GateDecision(gate.request.gate_id, verdict, POLICY, reason, at=at)
