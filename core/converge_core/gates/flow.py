"""Flow gates: may this principal do this to that, now? A policy engine answers; the machine asks and obeys.

A `FlowGateAuthorizer` is consulted for every proposal (``propose``), every proposal that has passed validation
(``validate``), every promotion (``promote``), every advance of the run's phase (``advance_phase``) and the settling of
the run (``commit``). It promotes, rejects with a reason, or escalates: then a human decides, and is in the next
question as ``human_approval_present``. An authorizer that raises has rejected. What the engine states about a run is
not asked about; it would be nobody's to refuse.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Protocol

from converge_core.context.authority import AuthorityLevel
from converge_core.context.facts import ENGINE, AnyProposal, ProposedFact
from converge_core.context.keys import KIND_OF_KEY, ContextKey
from converge_core.context.payloads import FactPayload
from converge_core.context.state import Context
from converge_core.gates.drafts import Draft
from converge_core.ledger.canonical import JsonValue


class FlowAction(StrEnum):
    """What is to be done."""

    PROPOSE = "propose"
    VALIDATE = "validate"
    PROMOTE = "promote"
    COMMIT = "commit"
    ADVANCE_PHASE = "advance_phase"


class FlowPhase(StrEnum):
    """Where a run is on its way from intent to commitment; it advances in this order and never back."""

    INTENT = "intent"
    FRAMING = "framing"
    EXPLORATION = "exploration"
    TENSION = "tension"
    CONVERGENCE = "convergence"
    COMMITMENT = "commitment"

    def is_before(self, other: FlowPhase) -> bool:
        """Say whether this phase comes before another."""
        phases = list(FlowPhase)
        return phases.index(self) < phases.index(other)


class PhasePayload(FactPayload):
    """A proposal to advance the run to a phase; promoted, it is the phase the run is in."""

    family: ClassVar[str] = "converge.flow.phase"
    phase: FlowPhase

    def summary(self) -> str:
        return f"advance to {self.phase}"

    def objection(self, ctx: Context) -> str | None:
        """Refuse to stand still or to go back."""
        phase = current_phase(ctx)
        return None if phase.is_before(self.phase) else f"the run is in the phase {phase} already"


class FlowOutcome(StrEnum):
    """What an authorizer decides."""

    PROMOTE = "promote"
    REJECT = "reject"
    ESCALATE = "escalate"


@dataclass(frozen=True, slots=True)
class FlowGatePrincipal:
    """Who wants to act: a suggestor, the engine, or whoever brought an input in."""

    id: str
    authority: AuthorityLevel
    domains: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FlowGateResource:
    """What is acted on: a proposal (``key/id``) or the run itself, in the run's phase."""

    id: str
    kind: str
    phase: FlowPhase


@dataclass(frozen=True, slots=True)
class FlowGateInput:
    """One question. ``amount`` is the proposal's, when its payload names a whole number ``amount``."""

    principal: FlowGatePrincipal
    resource: FlowGateResource
    action: FlowAction
    human_approval_present: bool = False
    amount: int | None = None
    fields: Mapping[str, JsonValue] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the question as JSON, as policies and logs read it."""
        value = asdict(self)
        value["principal"]["authority"] = self.principal.authority.name.lower()
        return value


@dataclass(frozen=True, slots=True)
class FlowGateDecision:
    """One answer; ``source`` names the policy that gave it."""

    outcome: FlowOutcome
    reason: str = ""
    source: str = ""


class FlowGateAuthorizer(Protocol):
    """Answers the machine's questions. Pure: the same question, the same answer. Its name says which policy it is."""

    @property
    def name(self) -> str:
        """Its name and, where its policy can change, a hash of it; it stands in the ledger."""
        ...

    def decide(self, question: FlowGateInput) -> FlowGateDecision:
        """Return the decision. One that raises has rejected."""
        ...


class FlowSetup(Protocol):
    """What a question is made from: the setup of a run."""

    @property
    def flow(self) -> FlowGateAuthorizer | None:
        """Who answers, if anybody does."""
        ...

    def principal(self, proposer: str) -> FlowGatePrincipal:
        """Return who stands behind a proposal."""
        ...


@dataclass(frozen=True, slots=True)
class AllowAllFlowGateAuthorizer:
    """Lets everything pass; for tests, and to see what a policy would be asked."""

    name: ClassVar[str] = "allow_all"

    def decide(self, question: FlowGateInput) -> FlowGateDecision:
        """Promote."""
        return FlowGateDecision(FlowOutcome.PROMOTE, "everything is allowed", "allow_all")


@dataclass(frozen=True, slots=True)
class RejectAllFlowGateAuthorizer:
    """Lets nothing pass."""

    name: ClassVar[str] = "reject_all"
    reason: str = "nothing is allowed"

    def decide(self, question: FlowGateInput) -> FlowGateDecision:
        """Reject."""
        return FlowGateDecision(FlowOutcome.REJECT, self.reason, "reject_all")


def flow_steps(proposal: AnyProposal) -> tuple[FlowAction, ...]:
    """Return what a valid proposal still has to be allowed: to be valid, and to be promoted or to advance the phase."""
    last = FlowAction.ADVANCE_PHASE if isinstance(proposal.payload, PhasePayload) else FlowAction.PROMOTE
    return FlowAction.VALIDATE, last


def commitment() -> AnyProposal:
    """Return the engine's proposal to let a fixed point count."""
    payload = PhasePayload(phase=FlowPhase.COMMITMENT)
    return ProposedFact(ContextKey.CONSENSUS_OUTCOMES, "commitment", payload, provenance=str(ENGINE))


def current_phase(ctx: Context) -> FlowPhase:
    """Return the phase that the run is in."""
    phases = ctx.get(PhasePayload)
    return phases[-1].payload.phase if phases else FlowPhase.INTENT


def ask(setup: FlowSetup, ctx: Context, item: Draft, action: FlowAction, sanction: object | None) -> FlowGateDecision:
    """Ask the authorizer of a run about a proposal. An authorizer that raises has rejected."""
    proposal = item.proposal
    body = proposal.payload.body()
    fields = body if isinstance(body, Mapping) else {}
    amount = fields.get("amount")
    kind = KIND_OF_KEY[proposal.key].value
    question = FlowGateInput(
        setup.principal(item.proposer),
        FlowGateResource(f"{proposal.key}/{proposal.id}", kind, current_phase(ctx)),
        action,
        human_approval_present=sanction is not None,
        amount=amount if type(amount) is int else None,
        fields=fields,
    )
    if setup.flow is None:
        return FlowGateDecision(FlowOutcome.PROMOTE)
    try:
        return setup.flow.decide(question)
    except Exception as error:  # an authorizer that cannot answer has not allowed it
        return FlowGateDecision(FlowOutcome.REJECT, f"the authorizer raised {type(error).__name__}", setup.flow.name)
