"""The door: a proposal is checked for form, encoded and hashed once, before anything else looks at it.

What can be written down becomes a `Draft`; what cannot (a blank id, NaN, a payload over the limit) becomes a
`Malformed`, which keeps who proposed it and why it was turned away. Both enter the ledger as they are, so that a
replay meets exactly what the run met.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from converge_core.context.facts import ActorKind, AnyFact, AnyProposal, fact_ref
from converge_core.context.keys import ContextKey
from converge_core.context.payloads import DataPayload, FactPayload, FrozenDict, PayloadRegistry, text_of
from converge_core.context.subjects import SubjectRef
from converge_core.context.wire import is_current, proposal_hash, proposal_text, read_around
from converge_core.errors import CanonicalError, ConvergeError, PayloadError
from converge_core.ledger.canonical import JsonValue, canonical
from converge_core.ledger.events import printable

MAX_ID_BYTES = 256
MAX_EVIDENCE = 10_000
DEFAULT_MAX_PAYLOAD_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Draft:
    """A well-formed proposal; ``text`` is its canonical JSON, ``hash`` the SHA-256 of that, in hex.

    ``supersedes`` is the fact whose place it is to take, where it corrects or revises one; ``stored`` is as in `Fact`.
    """

    proposal: AnyProposal
    proposer: str
    text: str
    hash: str
    supersedes: AnyFact | None = None
    stored: str | None = None

    @property
    def content(self) -> tuple[str, str]:
        """What it says, whoever says it and however sure: ``key/id`` and the payload's canonical JSON."""
        proposal = self.proposal
        return fact_ref(proposal.key, proposal.id), canonical(proposal.payload.body())

    @property
    def named(self) -> dict[str, str]:
        """The fields by which every event about it names it."""
        proposal = self.proposal
        return {"proposer": self.proposer, "key": proposal.key.value, "id": proposal.id, "proposal": self.hash}

    @property
    def overrules_human(self) -> bool:
        """Whether it would take the place of what a person has let in."""
        return self.supersedes is not None and self.supersedes.promotion.approver.kind is ActorKind.HUMAN


@dataclass(frozen=True, slots=True)
class Malformed:
    """A proposal that has no form to be judged in. ``key`` and ``id`` are cut to what can be shown."""

    proposer: str
    key: str
    id: str
    code: str
    reason: str

    @property
    def text(self) -> str:
        """The canonical JSON that stands in the ledger in place of the proposal."""
        return canonical({"code": self.code, "id": self.id, "key": self.key, "reason": self.reason})

    @property
    def named(self) -> dict[str, str]:
        """The fields by which every event about it names it."""
        return {"proposer": self.proposer, "key": self.key, "id": self.id}


class _Refused(ConvergeError):
    def __init__(self, code: str, reason: str) -> None:
        super().__init__(code, reason)
        self.code, self.reason = code, reason


def draft(
    proposal: AnyProposal,
    proposer: str,
    payloads: PayloadRegistry,
    max_payload_bytes: int = DEFAULT_MAX_PAYLOAD_BYTES,
    provenance: str | None = None,
) -> Draft | Malformed:
    """Check the form of a proposal, stamp it with ``provenance`` if it carries none, and encode it once."""
    stamp = proposal.provenance if proposal.provenance is not None else provenance
    try:
        _check_form(proposal, stamp)
        body, reads_the_same = _encode_payload(proposal.payload, max_payload_bytes)
        payload = _as_replayed(proposal.payload, body, reads_the_same, payloads)
        if stamp is not proposal.provenance or payload is not proposal.payload:
            proposal = proposal.stamped(stamp, payload)
        text = proposal_text(proposal, body)
    except _Refused as refused:
        return Malformed(proposer, _shown(proposal.key), _shown(proposal.id), refused.code, refused.reason)
    return Draft(proposal, proposer, text, proposal_hash(text))


def read_draft(value: Mapping[str, Any], proposer: str, payloads: PayloadRegistry) -> Draft | Malformed:
    """Read back what `draft` wrote into the ledger.

    Raises PayloadError where no loaded class reads the payload, ValueError for what `draft` never wrote.
    """
    if "code" in value:
        return Malformed(proposer, *(str(value[name]) for name in ("key", "id", "code", "reason")))
    body = canonical(value["payload"]["body"])
    proposal = read_around(value, body, payloads)
    try:
        _check_form(proposal, proposal.provenance)
    except _Refused as refused:
        raise ValueError(f"{refused.code}: {refused.reason}") from refused
    # What was not written in these words shows where the text of the whole event is compared.
    stored = None if is_current(value, proposal) else canonical(value)
    text = proposal_text(proposal, body) if stored is None else stored
    return Draft(proposal, proposer, text, proposal_hash(text), stored=stored)


def reworded(
    proposal: AnyProposal,
    wire: Mapping[str, JsonValue],
    by: str,
    payloads: PayloadRegistry,
    max_payload_bytes: int = DEFAULT_MAX_PAYLOAD_BYTES,
) -> Draft | Malformed:
    """Return a proposal with another payload (family, version, body), as that of a person, who answers for all of it.

    The payload stays in its family: those who read the fact rely on it.
    """
    family, version = proposal.payload.family, wire.get("version")
    try:
        if wire.get("family") != family or type(version) is not int or "body" not in wire:
            raise PayloadError(family, proposal.payload.version, "a payload of this family, version and body is needed")
        payload = payloads.decode(family, version, canonical(wire["body"]))
    except (PayloadError, CanonicalError) as error:
        return Malformed(by, proposal.key, proposal.id, "invalid_payload", printable(str(error)))
    made = replace(proposal, payload=payload, confidence=1.0, provenance=by)
    return draft(made, by, payloads, max_payload_bytes=max_payload_bytes)


def _check_form(proposal: AnyProposal, provenance: object) -> None:
    if not isinstance(proposal.key, ContextKey):
        raise _Refused("unknown_key", f"{_shown(proposal.key)!r} is not a context key")
    if not isinstance(proposal.payload, FactPayload):
        raise _Refused("invalid_payload", f"{type(proposal.payload).__name__} is not a FactPayload")
    _check_name("id", proposal.id)
    if not isinstance(provenance, str) or not provenance.strip():
        raise _Refused("blank_provenance", "a proposal must say where it comes from")
    _check_text("provenance", provenance)
    confidence = proposal.confidence
    if isinstance(confidence, bool) or not isinstance(confidence, int | float):
        raise _Refused("invalid_confidence", f"confidence is a number, not a {_shown(confidence)}")
    if not 0.0 <= confidence <= 1.0:  # which NaN is not, either
        shown = confidence if isinstance(confidence, float) else _shown(confidence)
        raise _Refused("invalid_confidence", f"confidence {shown} is not within 0.0 and 1.0")
    if proposal.subject is not None and not isinstance(proposal.subject, SubjectRef):
        raise _Refused("invalid_subject", f"{_shown(proposal.subject)!r} is not a SubjectRef")
    if proposal.evidence:
        _check_evidence(cast("tuple[object, ...]", proposal.evidence))


def _check_name(what: str, name: object) -> None:
    if not isinstance(name, str) or not name.strip():
        raise _Refused(f"invalid_{what}", f"a blank {what}")
    if len(name) > MAX_ID_BYTES or (not name.isascii() and len(name.encode(errors="replace")) > MAX_ID_BYTES):
        raise _Refused(f"invalid_{what}", f"the {what} is longer than {MAX_ID_BYTES} bytes")
    if not name.isprintable():
        raise _Refused(f"invalid_{what}", f"the {what} has control or unprintable characters: {_shown(name)}")


def _check_text(what: str, text: str) -> None:
    if not text.isascii() and any(0xD800 <= ord(character) <= 0xDFFF for character in text):
        raise _Refused(f"invalid_{what}", f"the {what} has an unpaired surrogate")
    if len(text) > 4 * MAX_ID_BYTES:
        raise _Refused(f"invalid_{what}", f"the {what} is longer than {4 * MAX_ID_BYTES} characters")


def _check_evidence(evidence: tuple[object, ...]) -> None:
    if len(evidence) > MAX_EVIDENCE:
        raise _Refused("invalid_evidence", f"more than {MAX_EVIDENCE} pieces of evidence")
    for piece in evidence:
        if not isinstance(piece, str) or not piece.strip():
            raise _Refused("invalid_evidence", "evidence is a fact or a non-blank reference")
        _check_text("evidence", piece)


def _encode_payload(payload: FactPayload, max_bytes: int) -> tuple[str, bool]:
    """Return the canonical JSON of a payload, and whether a round trip through it leaves the payload as it is."""
    try:
        body = text_of(payload)
        reads_the_same = body is not None or (type(payload) is DataPayload and type(payload.data) is FrozenDict)
        if body is None:
            body = canonical(payload.body())
    except CanonicalError as error:
        raise _Refused("invalid_payload", str(error)) from error
    except Exception as error:  # a payload class of a third party may break in its own serialiser
        raise _Refused("invalid_payload", f"cannot be encoded: {type(error).__name__}") from error
    size = len(body) if body.isascii() else len(body.encode())
    if size > max_bytes:
        raise _Refused("payload_too_large", f"{size} bytes where {max_bytes} are allowed")
    return body, reads_the_same


def _as_replayed(payload: FactPayload, body: str, reads_the_same: bool, payloads: PayloadRegistry) -> FactPayload:
    """Return the payload as a replay will read it; what cannot be read back may not be written."""
    try:
        payloads.register(type(payload))
        return payload if reads_the_same else payloads.decode(payload.family, payload.version, body)
    except PayloadError as error:
        raise _Refused("invalid_payload", error.reason) from error


def _shown(value: object) -> str:
    """Return a short, printable form of what somebody put where a name belongs."""
    text = value if isinstance(value, str) else type(value).__name__
    return text[:64].encode("ascii", "backslashreplace").decode().translate(dict.fromkeys((*range(32), 127), "?"))
