"""Flow gates: may this principal do this to that, now? A policy engine answers; the machine asks and obeys.

A `FlowGateAuthorizer` is consulted for every proposal (``propose``), every proposal that has passed validation
(``validate``), every promotion (``promote``), every advance of the run's phase (``advance_phase``) and every fixed
point (``commit``). It promotes, rejects with a reason, or escalates: then a human decides, and is in the next question
as ``human_approval_present``; what the time-out of a gate has let through is not. An authorizer that raises, or answers
with anything but a decision, has rejected.

What the engine states about a run is not asked about; it would be nobody's to refuse. The exception is its
`CommitmentPayload`: that a fixed point counts is the one statement that has consequences.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import ClassVar, Protocol

from converge_core.context.authority import AuthorityLevel
from converge_core.context.facts import ENGINE, Actor, ActorKind, AnyProposal, ProposedFact
from converge_core.context.keys import KIND_OF_KEY, ContextKey
from converge_core.context.payloads import FactPayload
from converge_core.context.state import Context
from converge_core.gates.drafts import Draft
from converge_core.intent.root import RiskPosture, RootIntent
from converge_core.ledger.canonical import JsonValue


class FlowAction(StrEnum):
    """What is to be done."""

    PROPOSE = "propose"
    VALIDATE = "validate"
    PROMOTE = "promote"
    COMMIT = "commit"
    ADVANCE_PHASE = "advance_phase"


class FlowPhase(StrEnum):
    """Where a run is on its way from intent to commitment; it advances in this order, may skip, and never goes back."""

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
    """A proposal to advance the run to a phase; promoted, it is the phase the run is in.

    To the last phase a run comes at its fixed point alone, by a `CommitmentPayload`.
    """

    family: ClassVar[str] = "converge.flow.phase"
    phase: FlowPhase

    def summary(self) -> str:
        return f"advance to {self.phase}"

    def objection(self, ctx: Context) -> str | None:
        """Refuse to stand still, to go back, or to commit."""
        if self.phase is FlowPhase.COMMITMENT:
            return "a run is committed at its fixed point, by the engine"
        phase = current_phase(ctx)
        return None if phase.is_before(self.phase) else f"the run is in the phase {phase} already"


class CommitmentPayload(FactPayload):
    """The engine's proposal to let a fixed point count: so many facts, to be committed. Nobody else may make it."""

    family: ClassVar[str] = "converge.flow.commitment"
    facts: int

    def summary(self) -> str:
        return f"commit {self.facts} facts"

    def objection(self, ctx: Context) -> str | None:
        """Refuse to commit to anything but what there is."""
        return None if self.facts == ctx.version else f"there are {ctx.version} facts, not {self.facts}"


class FlowGateOutcome(StrEnum):
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
    """One question. ``amount`` is the proposal's, when its payload names a whole number ``amount``.

    ``provenance`` is what the proposal says of where it comes from; for an observation, who brought it in from where.
    ``risk_posture`` is the intent's.
    """

    principal: FlowGatePrincipal
    resource: FlowGateResource
    action: FlowAction
    human_approval_present: bool = False
    amount: int | None = None
    provenance: str = ""
    risk_posture: RiskPosture = RiskPosture.BALANCED
    fields: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FlowGateDecision:
    """One answer; ``source`` names the policy that gave it."""

    outcome: FlowGateOutcome
    reason: str = ""
    source: str = ""

    def __str__(self) -> str:
        return f"{self.reason or 'no reason given'}{f' ({self.source})' if self.source else ''}"


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

    @property
    def intent(self) -> RootIntent | None:
        """What the run is for."""
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
        return FlowGateDecision(FlowGateOutcome.PROMOTE, "everything is allowed", "allow_all")


@dataclass(frozen=True, slots=True)
class RejectAllFlowGateAuthorizer:
    """Lets nothing pass."""

    name: ClassVar[str] = "reject_all"
    reason: str = "nothing is allowed"

    def decide(self, question: FlowGateInput) -> FlowGateDecision:
        """Reject."""
        return FlowGateDecision(FlowGateOutcome.REJECT, self.reason, "reject_all")


NO_OBJECTION = FlowGateDecision(FlowGateOutcome.PROMOTE)
BEFORE_VALIDATION, AFTER_VALIDATION = 0, 1


def flow_steps(item: Draft) -> tuple[tuple[FlowAction, ...], tuple[FlowAction, ...]]:
    """Return what a proposal has to be allowed: `BEFORE_VALIDATION`, and `AFTER_VALIDATION`."""
    payload = item.proposal.payload
    if item.proposer == ENGINE.id:
        return (), (FlowAction.COMMIT,) if type(payload) is CommitmentPayload else ()
    last = FlowAction.ADVANCE_PHASE if isinstance(payload, PhasePayload) else FlowAction.PROMOTE
    return (FlowAction.PROPOSE,), (FlowAction.VALIDATE, last)


def commitment(facts: int) -> AnyProposal:
    """Return the engine's proposal to let a fixed point of so many facts count."""
    payload = CommitmentPayload(facts=facts)
    return ProposedFact(ContextKey.CONSENSUS_OUTCOMES, f"commitment:{facts}", payload, provenance=str(ENGINE))


def current_phase(ctx: Context) -> FlowPhase:
    """Return the phase that the run is in."""
    if ctx.has(CommitmentPayload):
        return FlowPhase.COMMITMENT
    phases = ctx.get(PhasePayload)
    return phases[-1].payload.phase if phases else FlowPhase.INTENT


def consult(
    setup: FlowSetup, ctx: Context, item: Draft, actions: tuple[FlowAction, ...], approver: Actor | None
) -> FlowGateDecision:
    """Ask the authorizer of a run whether a proposal may be acted on in all of these ways.

    ``approver`` has let the proposal through a human gate, if anybody has. Returns the first rejection, else the first
    escalation that nobody has answered yet, else that all is well.
    """
    if setup.flow is None:
        return NO_OBJECTION
    escalated = None
    for action in actions:
        decision = _ask(setup.flow, _question(setup, ctx, item, action, approver))
        match decision.outcome, approver:
            case FlowGateOutcome.PROMOTE, _:
                continue
            case FlowGateOutcome.ESCALATE, None:
                escalated = escalated or _of_action(decision, action)
            case FlowGateOutcome.ESCALATE, Actor(kind=ActorKind.HUMAN):
                continue  # what it asks for has happened
            case _:
                return replace(_of_action(decision, action), outcome=FlowGateOutcome.REJECT)
    return escalated or NO_OBJECTION


def _of_action(decision: FlowGateDecision, action: FlowAction) -> FlowGateDecision:
    return replace(decision, reason=f"{action}: {decision.reason}")


def _question(setup: FlowSetup, ctx: Context, item: Draft, action: FlowAction, approver: Actor | None) -> FlowGateInput:
    proposal = item.proposal
    body = proposal.payload.body()
    fields = body if isinstance(body, Mapping) else {}
    amount = fields.get("amount")
    kind = KIND_OF_KEY[proposal.key].value
    return FlowGateInput(
        setup.principal(item.proposer),
        FlowGateResource(f"{proposal.key}/{proposal.id}", kind, current_phase(ctx)),
        action,
        human_approval_present=approver is not None and approver.kind is ActorKind.HUMAN,
        amount=amount if type(amount) is int else None,
        provenance=proposal.provenance or "",
        risk_posture=RiskPosture.BALANCED if setup.intent is None else setup.intent.risk_posture,
        fields=fields,
    )


def _ask(authorizer: FlowGateAuthorizer, question: FlowGateInput) -> FlowGateDecision:
    try:
        decision = authorizer.decide(question)
    except Exception as error:  # an authorizer that cannot answer has not allowed it
        return FlowGateDecision(
            FlowGateOutcome.REJECT, f"the authorizer raised {type(error).__name__}", authorizer.name
        )
    if isinstance(decision, FlowGateDecision) and isinstance(decision.outcome, FlowGateOutcome):
        return decision
    return FlowGateDecision(FlowGateOutcome.REJECT, "the authorizer answered with no decision", authorizer.name)
