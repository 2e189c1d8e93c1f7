"""Corrections: a fact that is wrong is never changed; a new one supersedes it, on somebody's authority.

The correction of ``seeds/claim:7`` is the fact ``seeds/claim:7~2``, the next one ``seeds/claim:7~3``. Readers see the
last of them; `Context.history` has them all. Whoever depends on the fact is woken by its correction as by any new fact.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from converge_core.context.facts import Actor, AnyFact
from converge_core.context.payloads import PayloadRegistry
from converge_core.context.state import Context
from converge_core.errors import PayloadError
from converge_core.gates.answers import Refused, Sanction, authority_of, owns
from converge_core.gates.authority import ApprovalPolicy
from converge_core.gates.drafts import DEFAULT_MAX_PAYLOAD_BYTES, Draft, Malformed, draft
from converge_core.ledger.canonical import canonical
from converge_core.ledger.events import CorrectionEvent

CORRECTION_GATE = "correction"


class CorrectionReason(StrEnum):
    """Why a fact is corrected."""

    DATA_ERROR = "data_error"
    POLICY_CHANGE = "policy_change"
    SOURCE_RETRACTION = "source_retraction"
    MANUAL_OVERRIDE = "manual_override"
    SYSTEM_RECONCILIATION = "system_reconciliation"


@dataclass(frozen=True, slots=True)
class Correction:
    """A correction that may be judged: the fact it is for, the proposal that is to supersede it, and who answers."""

    fact: AnyFact
    draft: Draft
    sanction: Sanction
    reason_code: CorrectionReason


def correction(
    event: CorrectionEvent,
    ctx: Context,
    payloads: PayloadRegistry,
    policy: ApprovalPolicy,
    now: str,
    max_payload_bytes: int = DEFAULT_MAX_PAYLOAD_BYTES,
) -> Correction | Refused:
    """Return what a correction asks for, or why it does not count. ``now`` is the latest moment known."""
    fact = ctx.resolve(event.fact)
    if fact is None:
        return Refused("unknown_fact", f"there is no fact {event.fact!r}")
    versions = ctx.history(fact.key, fact.id)
    if versions[-1] is not fact:
        return Refused("already_superseded", f"{fact.ref} is superseded by {versions[-1].ref}")
    try:
        actor, reason_code = Actor.parse(event.actor), CorrectionReason(event.reason_code)
    except ValueError as error:
        return Refused("invalid_correction", str(error))
    if owns(actor, fact.proposer, fact.provenance):
        return Refused("own_proposal", f"{actor} proposed it, and may not correct it alone")
    authority = authority_of(actor, fact.key, policy, policy.levels, now)
    if isinstance(authority, Refused):
        return authority
    made = _superseding(event, fact, len(versions) + 1, versions[0].id, payloads, max_payload_bytes)
    if isinstance(made, Malformed):
        return Refused(made.code, made.reason)
    return Correction(fact, made, Sanction(CORRECTION_GATE, actor, authority), reason_code)


def _superseding(
    event: CorrectionEvent, fact: AnyFact, number: int, first_id: str, payloads: PayloadRegistry, max_payload_bytes: int
) -> Draft | Malformed:
    """Return the proposal that supersedes a fact: another payload under the next id, citing what it corrects."""
    wire = event.payload
    new_id = f"{first_id}~{number}"
    try:
        payload = payloads.decode(str(wire["family"]), int(str(wire["version"])), canonical(wire["body"]))
    except (PayloadError, KeyError, ValueError) as error:
        return Malformed(event.actor, fact.key, new_id, "invalid_payload", str(error))
    proposal = replace(
        fact.as_proposal(), id=new_id, payload=payload, confidence=1.0, provenance=event.actor, evidence=(fact.ref,)
    )
    return draft(proposal, event.actor, payloads, max_payload_bytes)
