"""Proposals and facts as canonical JSON, the form they have in ledgers, snapshots and pauses.

Writing is one way; reading checks. A fact read back is sealed only if the hash of its proposal and the body of its
promotion entry are the ones that its own record names; that the record itself is genuine is for the caller to show,
with a Merkle root from a ledger it trusts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, cast

from converge_core.context.facts import AnyFact, AnyProposal, PromotionRecord, ProposedFact, seal_fact
from converge_core.context.keys import ContextKey
from converge_core.context.payloads import PayloadRegistry
from converge_core.context.subjects import SubjectRef
from converge_core.errors import PayloadError, SnapshotError
from converge_core.ledger.canonical import canonical, parse, quote


def proposal_text(proposal: AnyProposal, body: str) -> str:
    """Return the canonical JSON of a proposal around the text of its payload's body, which is encoded already.

    Every fact passes through here, so the object is written out, its members in their order; the form of the proposal
    has been checked before (`converge_core.gates.drafts`).
    """
    confidence = "1" if proposal.confidence == 1 else canonical(proposal.confidence)
    evidence = f'"evidence":{canonical(cast("tuple[str, ...]", proposal.evidence))},' if proposal.evidence else ""
    subject = f',"subject":{quote(proposal.subject)}' if proposal.subject is not None else ""
    payload = proposal.payload
    return (
        f'{{"confidence":{confidence},{evidence}"id":{quote(proposal.id)},'
        f'"key":"{proposal.key}","payload":{{"body":{body},"family":{quote(payload.family)},'
        f'"version":{payload.version}}},"provenance":{quote(proposal.provenance or "")}{subject}}}'
    )


def proposal_hash(text: str) -> str:
    """Return the SHA-256 (hex) by which later events name a proposal."""
    return hashlib.sha256(text.encode()).hexdigest()


def read_proposal(value: Mapping[str, Any], payloads: PayloadRegistry) -> AnyProposal:
    """Read a proposal back. Raises PayloadError where no loaded class reads its payload, KeyError or ValueError."""
    return read_around(value, canonical(value["payload"]["body"]), payloads)


def read_around(value: Mapping[str, Any], body: str, payloads: PayloadRegistry) -> AnyProposal:
    """Read a proposal back as `read_proposal` does, around the text of its payload's body, which is encoded already."""
    payload = value["payload"]
    subject = value.get("subject")
    return ProposedFact(
        ContextKey(value["key"]),
        value["id"],
        payloads.decode(payload["family"], payload["version"], body),
        confidence=float(value["confidence"]),
        provenance=value["provenance"],
        subject=None if subject is None else SubjectRef(subject),
        evidence=tuple(value.get("evidence", ())),
    )


def is_current(value: Mapping[str, Any], proposal: AnyProposal) -> bool:
    """Whether a proposal reads today as it was stored: its payload was not upcast from an older version."""
    return bool(value["payload"]["version"] == proposal.payload.version)


def fact_to_json(fact: AnyFact) -> dict[str, Any]:
    """Return a fact as its proposal and its promotion entry: everything that its hash covers."""
    return {
        "promotion": parse(fact.promotion.entry_body(fact.key, fact.id, fact.proposer)),
        "proposal": parse(fact.stored or proposal_text(fact.as_proposal(), canonical(fact.payload.body()))),
    }


def read_fact(value: Mapping[str, Any], payloads: PayloadRegistry) -> AnyFact:
    """Read a fact back from `fact_to_json`.

    Raises SnapshotError when proposal and promotion do not belong together, PayloadError where no loaded class reads
    its payload.
    """
    try:
        entry, text = value["promotion"], canonical(value["proposal"])
        record = PromotionRecord.from_entry(entry)
        if proposal_hash(text) != record.proposal_hash:
            raise SnapshotError(f"fact {entry['key']}/{entry['id']}: its content is not what was promoted")
        proposal = read_proposal(value["proposal"], payloads)
        body = record.entry_body(proposal.key, proposal.id, entry["proposer"])
    except (PayloadError, SnapshotError):
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise SnapshotError(f"a stored fact cannot be read: {type(error).__name__}: {error}") from error
    if body != canonical(entry):
        raise SnapshotError(f"fact {proposal.key}/{proposal.id}: its promotion is for another fact")
    stored = None if is_current(value["proposal"], proposal) else text
    return seal_fact(proposal, str(entry["proposer"]), record, body, stored)
