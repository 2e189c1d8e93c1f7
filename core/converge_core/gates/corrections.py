"""Corrections: a fact that is wrong is never changed; a new one supersedes it, on somebody's authority.

The correction of ``seeds/claim:7`` is the fact ``seeds/claim:7~2``, the next one ``seeds/claim:7~3``. Readers see the
last of them; `Context.history` has them all. Whoever depends on the fact is woken by its correction as by any new fact.

What was concluded from the old fact may then be concluded otherwise, and that is no contradiction: the proposal is a
*revision* of the old conclusion, and takes its place under the next id in the same way. So a correction spreads as far
as its consequences do. A conclusion that cites nothing rests on all that was there. One that nobody states anew stays
as it is, and shows by its evidence what it rests on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from enum import StrEnum

from converge_core.context.facts import Actor, AnyFact
from converge_core.context.payloads import PayloadRegistry
from converge_core.context.state import Context
from converge_core.gates.answers import Refused, Sanction, authority_of
from converge_core.gates.authority import ApprovalPolicy
from converge_core.gates.drafts import DEFAULT_MAX_PAYLOAD_BYTES, Draft, Malformed, draft, reworded
from converge_core.gates.promotion import ENGINE_GATE
from converge_core.ledger.events import CorrectionEvent

CORRECTION_GATE = "correction"


class CorrectionReason(StrEnum):
    """Why a fact is corrected."""

    DATA_ERROR = "data_error"
    POLICY_CHANGE = "policy_change"
    SOURCE_RETRACTION = "source_retraction"
    MANUAL_OVERRIDE = "manual_override"
    SYSTEM_RECONCILIATION = "system_reconciliation"


def correction(
    event: CorrectionEvent,
    ctx: Context,
    payloads: PayloadRegistry,
    policy: ApprovalPolicy,
    now: str,
    max_payload_bytes: int = DEFAULT_MAX_PAYLOAD_BYTES,
) -> tuple[Draft, Sanction] | Refused:
    """Return what a correction proposes and what lets it in, or why it does not count.

    ``now`` is the latest moment known.
    """
    fact = ctx.resolve(event.fact)
    if fact is None:
        return Refused("unknown_fact", f"there is no fact {event.fact!r}")
    versions = ctx.history(fact.key, fact.id)
    if versions[-1] is not fact:
        return Refused("already_superseded", f"{fact.ref} is superseded by {versions[-1].ref}")
    try:
        actor = Actor.parse(event.actor)
        CorrectionReason(event.reason_code)
    except ValueError as error:
        return Refused("invalid_correction", str(error))
    authority = authority_of(actor, fact.key, policy, policy.levels, now)
    if isinstance(authority, Refused):
        return authority
    if policy.needs > 1 and fact.promotion.gate_id != ENGINE_GATE:
        return Refused("needs_more", f"{policy.needs} people let {fact.ref} in; one alone may not correct it")
    original = replace(fact.as_proposal(), id=_next_id(versions, ctx), evidence=(fact.ref,))
    made = reworded(original, event.payload, event.actor, payloads, max_payload_bytes)
    if isinstance(made, Malformed):
        return Refused(made.code, made.reason)
    if fact.same_content(made.proposal):
        return Refused("unchanged", f"{fact.ref} says that already")
    return replace(made, supersedes=fact), Sanction(CORRECTION_GATE, actor, authority)


def revision(
    item: Draft,
    versions: Sequence[AnyFact],
    ctx: Context,
    payloads: PayloadRegistry,
    max_payload_bytes: int = DEFAULT_MAX_PAYLOAD_BYTES,
) -> Draft | Malformed | None:
    """Return a suggestor's proposal for an existing fact as what is to supersede it; None where it just contradicts it.

    ``versions`` are the fact and those that superseded it. The last one may be revised when what it was concluded from
    has been superseded, and what the proposal cites has not: by whoever proposed it, and where a person has let it in,
    by any suggestor, with a person's consent.
    """
    current = versions[-1]
    concluded = next((fact for fact in reversed(versions) if fact.promotion.gate_id != CORRECTION_GATE), current)
    if not _is_stale(concluded, ctx) or _cites_superseded(map(str, item.proposal.evidence), ctx):
        return None
    made = replace(item.proposal, id=_next_id(versions, ctx))
    revised = draft(made, item.proposer, payloads, max_payload_bytes=max_payload_bytes)
    if isinstance(revised, Malformed):
        return revised
    revised = replace(revised, supersedes=current)
    return revised if revised.overrules_human or item.proposer == current.proposer else None


def _is_stale(fact: AnyFact, ctx: Context) -> bool:
    """Say whether what a fact was concluded from has been superseded since."""
    if fact.evidence:
        return _cites_superseded(fact.evidence, ctx)
    return any(old.lamport < fact.lamport < by.lamport for old, by in ctx.superseded())


def _cites_superseded(evidence: Iterable[str], ctx: Context) -> bool:
    """Say whether a piece of evidence is a fact that another supersedes."""
    return any((fact := ctx.resolve(ref)) is not None and not ctx.is_current(fact) for ref in evidence)


def _next_id(versions: Sequence[AnyFact], ctx: Context) -> str:
    """Return the id under which a fact is superseded: that of its first version, and the next free number."""
    first, number = versions[0], len(versions) + 1
    while ctx.resolve(f"{first.key}/{first.id}~{number}") is not None:
        number += 1
    return f"{first.id}~{number}"
