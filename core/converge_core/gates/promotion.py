"""The promotion gate: the only door between a proposal and a fact.

The states of a proposal are types. `PromotionGate.validate` turns a `Draft` into a `ValidatedProposal` or says why not;
`PromotionGate.promote` takes nothing but a `ValidatedProposal` and makes the `Fact`. Neither type can be made by a
direct call. Checks are callables that really run: a required check that nobody has registered is refused when the gate
is built, and one that raises has failed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import InitVar, dataclass, field

from converge_core.context.facts import Actor, AnyFact, AnyProposal, PromotionRecord, seal_fact
from converge_core.context.payloads import FactPayload, TextPayload
from converge_core.context.state import Context
from converge_core.errors import AuthorityError, MisuseError
from converge_core.gates.drafts import DEFAULT_MAX_PAYLOAD_BYTES, Draft
from converge_core.intent.frames import outside_of_frame
from converge_core.intent.scope import Scope
from converge_core.ledger.canonical import JsonValue, canonical
from converge_core.ledger.hashes import ContentHash

Check = Callable[[AnyProposal, Context], str | None]
"""A validation check: returns None when the proposal passes, else the reason why not."""

ENGINE_GATE = "engine-promotion"
HUMAN_GATE = "human-approval"
_SEAL = object()


@dataclass(frozen=True, slots=True)
class ValidationPolicy:
    """What every proposal has to pass. ``required_checks`` are names of registered checks, run in this order."""

    required_checks: tuple[str, ...] = ()
    max_payload_bytes: int = DEFAULT_MAX_PAYLOAD_BYTES

    def to_json(self) -> dict[str, JsonValue]:
        """Return the policy as it stands in the ledger."""
        return {"max_payload_bytes": self.max_payload_bytes, "required_checks": self.required_checks}


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a proposal is turned away: a reason code, and a sentence."""

    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class ValidatedProposal:
    """A draft that has passed every check of the gate. Made by the gate alone."""

    draft: Draft
    seal: InitVar[object] = None

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            raise AuthorityError("a proposal is validated by the promotion gate alone")


@dataclass(frozen=True, slots=True)
class PromotionGate:
    """The gate of one run: its policy, the checks that the policy requires, the scope of the intent.

    Raises MisuseError when the policy requires a check that is not among ``checks``.
    """

    policy: ValidationPolicy = ValidationPolicy()
    checks: Mapping[str, Check] = field(default_factory=dict)
    scope: Scope = Scope()
    policy_hash: str = field(init=False)

    def __post_init__(self) -> None:
        unknown = [name for name in self.policy.required_checks if name not in self.checks]
        if unknown:
            raise MisuseError(f"unknown required check: {', '.join(unknown)}")
        object.__setattr__(self, "policy_hash", str(ContentHash.of(canonical(self.to_json()))))

    def to_json(self) -> dict[str, JsonValue]:
        """Return policy and scope as they stand in the ledger."""
        return {"policy": self.policy.to_json(), "scope": self.scope.to_json()}

    def validate(self, draft: Draft, ctx: Context) -> ValidatedProposal | Rejection:
        """Run every check on a draft; the first that fails decides."""
        proposal = draft.proposal
        payload = proposal.payload
        if type(payload) is TextPayload and not payload.text.strip():
            return Rejection("blank_text", "content cannot be empty")
        if type(payload).objection is not FactPayload.objection and (objection := _objection(payload, ctx)) is not None:
            return Rejection("objection", objection)
        if self.scope.constraints and (outside := self.scope.excludes(proposal)):
            return Rejection("out_of_scope", outside)
        if proposal.evidence and (outside := outside_of_frame(proposal, ctx)):
            return Rejection("out_of_scope", outside)
        for name in self.policy.required_checks:
            try:
                fault = self.checks[name](proposal, ctx)
            except Exception as error:  # a check that cannot answer has not passed
                fault = f"the check raised {type(error).__name__}"
            if fault is not None:
                return Rejection("check_failed", f"{name}: {fault}")
        return ValidatedProposal(draft, _SEAL)

    def promote(
        self,
        validated: ValidatedProposal,
        approver: Actor,
        authority: str,
        cycle: int,
        lamport: int,
        gate_id: str = ENGINE_GATE,
    ) -> tuple[AnyFact, str]:
        """Make the fact of a validated proposal; also return the body of its ``fact_promoted`` entry."""
        draft = validated.draft
        old = None if draft.supersedes is None else draft.supersedes.ref
        record = PromotionRecord(gate_id, self.policy_hash, approver, authority, draft.hash, cycle, lamport, old)
        body = record.entry_body(draft.proposal.key, draft.proposal.id, draft.proposer)
        return seal_fact(draft.proposal, draft.proposer, record, body, draft.stored), body


def _objection(payload: FactPayload, ctx: Context) -> str | None:
    try:
        return payload.objection(ctx)
    except Exception as error:  # a payload that cannot say whether it fits does not
        return f"the payload raised {type(error).__name__}"
