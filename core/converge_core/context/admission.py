"""The typed way in for observations from outside: who says it, where it comes from, what it is to serve.

An observation carries any payload; a plain text is short for a text payload. Before a run it is staged with
`ContextState.submit_observation`, afterwards it goes to `Convergence.admit`; both give a receipt, and neither decides
anything: the gates do, as for every proposal.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from converge_core.context.facts import AnyProposal, ProposedFact
from converge_core.context.keys import ContextKey
from converge_core.context.payloads import FactPayload, TextPayload
from converge_core.context.subjects import SubjectRef
from converge_core.errors import AdmissionError
from converge_core.ledger.canonical import canonical
from converge_core.ledger.hashes import ContentHash

INPUT = "input"
"""The proposer of what no suggestor proposes: staged inputs and observations. No suggestor may have this name."""


class AdmissionActorKind(StrEnum):
    """What sort of party brings an observation in."""

    HUMAN = "human"
    AGENT = "agent"
    SYSTEM = "system"
    EXTERNAL = "external"


@dataclass(frozen=True, slots=True)
class AdmissionReceipt:
    """What the submitter can keep: ``content_hash`` is that of `content_hash`, ``proposal_id`` names it inside.

    ``staged`` is False when the same was there already, and nothing was taken in.
    """

    key: ContextKey
    proposal_id: str
    content_hash: ContentHash
    subject: SubjectRef | None
    target_truth: str | None
    staged: bool = True


@dataclass(frozen=True, slots=True)
class AdmissionRequest:
    """An observation to admit. Raises AdmissionError when actor, source, id or a text is blank.

    ``target_truth`` names the truth of the intent that it is to serve.
    """

    actor: str
    actor_kind: AdmissionActorKind
    source: str
    key: ContextKey
    id: str
    content: str | FactPayload
    subject: SubjectRef | None = None
    target_truth: str | None = None

    def __post_init__(self) -> None:
        for what, text in (
            ("actor id", self.actor),
            ("source", self.source),
            ("id", self.id),
            ("content", self.content),
        ):
            if isinstance(text, str) and not text.strip():
                raise AdmissionError(f"admission {what} must not be empty")

    @property
    def payload(self) -> FactPayload:
        """What is observed."""
        return TextPayload(text=self.content) if isinstance(self.content, str) else self.content

    @property
    def provenance(self) -> str:
        """``admission:{kind}:{actor}:{source}``, with the target truth when there is one."""
        truth = f":truth:{self.target_truth}" if self.target_truth else ""
        return f"admission:{self.actor_kind}:{self.actor}:{self.source}{truth}"

    def proposal(self) -> AnyProposal:
        """Return the proposal that the gates will judge."""
        return ProposedFact(self.key, self.id, self.payload, provenance=self.provenance, subject=self.subject)

    def receipt(self, *, staged: bool = True) -> AdmissionReceipt:
        """Return the receipt of this request."""
        said = content_hash(self.payload)
        return AdmissionReceipt(self.key, self.id, said, self.subject, self.target_truth, staged)


def content_hash(payload: FactPayload) -> ContentHash:
    """Return the SHA-256 of what was observed: of a text's bytes, of the canonical JSON of anything else.

    It is that of the source's own bytes, so a source can check it without knowing how facts are written here.
    """
    return ContentHash.of(payload.text if type(payload) is TextPayload else canonical(payload.body()))
