"""The typed way in for observations from outside: who says it, where it comes from, what it is to serve."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from converge_core.context.facts import AnyProposal, ProposedFact
from converge_core.context.keys import ContextKey
from converge_core.context.payloads import TextPayload
from converge_core.context.subjects import SubjectRef
from converge_core.errors import MisuseError
from converge_core.ledger.hashes import ContentHash


class AdmissionActorKind(StrEnum):
    """What sort of party brings an observation in."""

    HUMAN = "human"
    AGENT = "agent"
    SYSTEM = "system"
    EXTERNAL = "external"


@dataclass(frozen=True, slots=True)
class AdmissionReceipt:
    """What the submitter can keep: ``content_hash`` is the SHA-256 of the content, ``proposal_id`` names it inside."""

    key: ContextKey
    proposal_id: str
    content_hash: ContentHash
    target_truth: str | None


@dataclass(frozen=True, slots=True)
class AdmissionRequest:
    """An observation to admit. Raises MisuseError when actor, source, id or content is blank."""

    actor: str
    actor_kind: AdmissionActorKind
    source: str
    key: ContextKey
    id: str
    content: str
    subject: SubjectRef | None = None
    target_truth: str | None = None

    def __post_init__(self) -> None:
        for what in ("actor", "source", "id", "content"):
            if not getattr(self, what).strip():
                raise MisuseError(f"admission {what} must not be empty")

    @property
    def provenance(self) -> str:
        """``admission:{kind}:{actor}:{source}``, with the target truth when there is one."""
        truth = f":truth:{self.target_truth}" if self.target_truth else ""
        return f"admission:{self.actor_kind}:{self.actor}:{self.source}{truth}"

    def proposal(self) -> AnyProposal:
        """Return the proposal that the gates will judge."""
        payload = TextPayload(text=self.content)
        return ProposedFact(self.key, self.id, payload, provenance=self.provenance, subject=self.subject)

    def receipt(self) -> AdmissionReceipt:
        """Return the receipt of this request."""
        return AdmissionReceipt(self.key, self.id, ContentHash.of(self.content), self.target_truth)
