"""Proposals and facts: what anyone may say, and what only the gate may make of it.

A `ProposedFact` is free to make and means nothing yet. A `Fact` is a proposal that the promotion gate
accepted, together with the record of that promotion; its ``hash`` is the RFC 6962 leaf hash of the
ledger's ``fact_promoted`` entry, which covers the whole proposal (through its hash) and the whole record.
A direct call of `Fact` raises `AuthorityError`: facts come from the gate alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import InitVar, dataclass
from enum import StrEnum
from typing import Generic, Self, TypeVar, cast

from converge_core.context.keys import ContextKey
from converge_core.context.payloads import DiagnosticPayload, FactPayload
from converge_core.context.subjects import SubjectRef
from converge_core.errors import AuthorityError
from converge_core.ledger.canonical import JsonValue, canonical, quote
from converge_core.ledger.merkle import leaf_hash

P = TypeVar("P", bound=FactPayload, covariant=True)

_GATE = object()
"""The seal of the promotion gate. Only `converge_core.gates.promotion` and a verified restore hold it."""


class ActorKind(StrEnum):
    """Who acts."""

    HUMAN = "human"
    SUGGESTOR = "suggestor"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class Actor:
    """Somebody who acts, written ``kind:id`` in the ledger."""

    id: str
    kind: ActorKind = ActorKind.HUMAN

    def __post_init__(self) -> None:
        if not self.id.strip() or not self.id.isprintable() or len(self.id) > 256:
            raise ValueError(f"{self.id[:80]!r} names no actor: 1 to 256 printable characters are needed")

    def __str__(self) -> str:
        return self.kind + ":" + self.id

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``kind:id``. Raises ValueError."""
        kind, _, actor_id = text.partition(":")
        return cls(actor_id, ActorKind(kind))


ENGINE = Actor("converge-engine", ActorKind.SYSTEM)


def fact_ref(key: ContextKey, fact_id: str) -> str:
    """Return the reference ``key/id`` by which evidence names a fact."""
    return key + "/" + fact_id


@dataclass(frozen=True, slots=True)
class ProposedFact(Generic[P]):
    """A suggestion. Nothing is checked here: the gate does that, visibly.

    ``confidence`` is in 0.0 to 1.0. ``provenance`` says where the suggestion comes from (the engine stamps the
    suggestor's when there is none). ``evidence`` cites facts (themselves, or ``key/id``) or other sources by URI.
    """

    key: ContextKey
    id: str
    payload: P
    confidence: float = 1.0
    provenance: str | None = None
    subject: SubjectRef | None = None
    evidence: Iterable[Fact[FactPayload] | str] = ()

    def __init__(
        self,
        key: ContextKey,
        id: str,
        payload: P,
        *,
        confidence: float = 1.0,
        provenance: str | None = None,
        subject: SubjectRef | None = None,
        evidence: Iterable[Fact[FactPayload] | str] = (),
    ) -> None:
        put = object.__setattr__
        put(self, "key", key)
        put(self, "id", id)
        put(self, "payload", payload)
        put(self, "confidence", confidence)
        put(self, "provenance", provenance)
        put(self, "subject", subject)
        if evidence or type(evidence) is not tuple:
            cited = (evidence,) if isinstance(evidence, str) else evidence  # a lone text is one source, not its letters
            evidence = tuple([piece.ref if isinstance(piece, Fact) else piece for piece in cited])
        put(self, "evidence", evidence)

    def stamped(self, provenance: str | None, payload: P) -> ProposedFact[P]:  # type: ignore[misc]  # as in __init__
        """Return the proposal with a provenance, and with its payload in another instance."""
        return ProposedFact(
            self.key,
            self.id,
            payload,
            confidence=self.confidence,
            provenance=provenance,
            subject=self.subject,
            evidence=self.evidence,
        )


@dataclass(frozen=True, slots=True)
class PromotionRecord:
    """How a proposal became a fact: by which gate and policy, on whose authority, and when in the run.

    ``proposal_hash`` is the SHA-256 (hex) of the proposal's canonical JSON; ``lamport`` counts the facts of the
    run from 1; ``cycle`` is 0 for inputs. An approval's id is derived from run, cycle and proposal hash.
    ``supersedes`` names the fact (``key/id``) in whose place readers see this one, if there is one.
    """

    gate_id: str
    policy_hash: str
    approver: Actor
    authority: str
    proposal_hash: str
    cycle: int
    lamport: int
    supersedes: str | None = None

    def entry_body(self, key: str, fact_id: str, proposer: str) -> str:
        """Return the canonical JSON of the ``fact_promoted`` entry: the bytes behind a fact's hash."""
        supersedes = "" if self.supersedes is None else f',"supersedes":{quote(self.supersedes)}'
        return (
            f'{{"approver":{quote(str(self.approver))},"authority":{quote(self.authority)},"cycle":{self.cycle},'
            f'"gate":{quote(self.gate_id)},"id":{quote(fact_id)},"key":"{key}","kind":"fact_promoted",'
            f'"lamport":{self.lamport},"policy":"{self.policy_hash}","proposal":"{self.proposal_hash}",'
            f'"proposer":{quote(proposer)}{supersedes}}}'
        )

    @classmethod
    def from_entry(cls, entry: Mapping[str, JsonValue]) -> Self:
        """Read the record back from a ``fact_promoted`` entry."""
        return cls(
            gate_id=str(entry["gate"]),
            policy_hash=str(entry["policy"]),
            approver=Actor.parse(str(entry["approver"])),
            authority=str(entry["authority"]),
            proposal_hash=str(entry["proposal"]),
            cycle=cast("int", entry["cycle"]),
            lamport=cast("int", entry["lamport"]),
            supersedes=None if entry.get("supersedes") is None else str(entry["supersedes"]),
        )


@dataclass(frozen=True, slots=True)
class Fact(Generic[P]):
    """A promoted proposal. ``proposer`` named it, ``promotion`` says who let it in, ``hash`` covers everything.

    ``stored`` is the JSON of the proposal as it was promoted, where its payload has been brought up to a later version
    since; None where it reads the same today.
    """

    key: ContextKey
    id: str
    payload: P
    confidence: float
    provenance: str
    subject: SubjectRef | None
    evidence: tuple[str, ...]
    proposer: str
    promotion: PromotionRecord
    hash: bytes
    stored: str | None = None
    seal: InitVar[object] = None

    def __post_init__(self, seal: object) -> None:
        if seal is not _GATE:
            raise AuthorityError("facts are made by the promotion gate alone: propose it instead")

    @property
    def ref(self) -> str:
        """``key/id``, as evidence cites it."""
        return fact_ref(self.key, self.id)

    @property
    def lamport(self) -> int:
        """The fact's place in the order of promotion, from 1."""
        return self.promotion.lamport

    @property
    def supersedes(self) -> str | None:
        """``key/id`` of the fact in whose place readers see this one, or None."""
        return self.promotion.supersedes

    def as_proposal(self) -> ProposedFact[P]:
        """Return what was proposed to make this fact."""
        return ProposedFact(
            self.key,
            self.id,
            self.payload,
            confidence=self.confidence,
            provenance=self.provenance,
            subject=self.subject,
            evidence=self.evidence,
        )

    def same_content(self, proposal: ProposedFact[FactPayload]) -> bool:
        """Say whether a proposal for this key and id states what this fact already states."""
        return (
            type(self.payload) is type(proposal.payload)
            and self.subject == proposal.subject
            and canonical(self.payload.body()) == canonical(proposal.payload.body())  # to Python, 1 equals True
        )


AnyFact = Fact[FactPayload]
AnyProposal = ProposedFact[FactPayload]


def seal_fact(
    proposal: AnyProposal, proposer: str, record: PromotionRecord, body: str, stored: str | None = None
) -> AnyFact:
    """Make the fact of an accepted proposal. For the gate, and for a restore that has checked every hash."""
    return Fact(
        proposal.key,
        proposal.id,
        proposal.payload,
        proposal.confidence,
        proposal.provenance or "",
        proposal.subject,
        cast("tuple[str, ...]", proposal.evidence),
        proposer,
        record,
        leaf_hash(body.encode()),
        stored,
        _GATE,
    )


def diagnostic(
    fact_id: str, source: str, message: str, evidence: Iterable[AnyFact | str] = (), about: str | None = None
) -> AnyProposal:
    """Return the engine's own statement about a run, to be promoted like any other proposal.

    ``about`` is the ``key/id`` of the proposal that it is about, if it is about one.
    """
    payload = DiagnosticPayload(source=source, message=message, about=about)
    return ProposedFact(ContextKey.DIAGNOSTIC, fact_id, payload, provenance=str(ENGINE), evidence=evidence)
