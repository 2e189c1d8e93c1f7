"""The vocabulary of flow gates: phases, levels, and what becomes of answers."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import pytest

from converge_core import (
    Actor,
    ActorKind,
    AllowAllFlowGateAuthorizer,
    AuthorityLevel,
    ContextKey,
    ContextState,
    FlowAction,
    FlowGateAuthorizer,
    FlowGateDecision,
    FlowGateInput,
    FlowGateOutcome,
    FlowGatePrincipal,
    FlowGateResource,
    FlowPhase,
    PayloadRegistry,
    PhasePayload,
    ProposedFact,
    RejectAllFlowGateAuthorizer,
    RiskPosture,
    RootIntent,
    current_phase,
)
from converge_core.context.facts import ENGINE, AnyProposal
from converge_core.gates.drafts import Draft, draft
from converge_core.gates.flow import (
    CommitmentPayload,
    commitment,
    consult,
    flow_steps,
)
from tests.core.stage import data, text
from tests.fakes.authorizer import FakeAuthorizer

HUMAN, TIMER = Actor("ann"), Actor("timeout", ActorKind.SYSTEM)
QUESTION = FlowGateInput(
    FlowGatePrincipal("rule", AuthorityLevel.ADVISORY),
    FlowGateResource("seeds/a", "claim", FlowPhase.INTENT),
    FlowAction.PROMOTE,
)
BOTH = (FlowAction.VALIDATE, FlowAction.PROMOTE)


@dataclass
class FakeSetup:
    """As much of a run's setup as a question is made from."""

    flow: FlowGateAuthorizer | None
    intent: RootIntent | None = None

    def principal(self, proposer: str) -> FlowGatePrincipal:
        return FlowGatePrincipal(proposer, AuthorityLevel.SUPERVISORY, ("pricing",))


def drafted(proposal: AnyProposal, proposer: str = "rule") -> Draft:
    made = draft(proposal, proposer, PayloadRegistry(), provenance="somewhere")
    assert isinstance(made, Draft)
    return made


def asked(authorizer: FlowGateAuthorizer, approver: Actor | None = None, **setup: RootIntent) -> FlowGateDecision:
    return consult(FakeSetup(authorizer, **setup), ContextState(), drafted(text("a")), BOTH, approver)


# --- levels and phases ------------------------------------------------------------------------------------------------


def test_the_levels_of_authority_are_ordered() -> None:
    names = ["ADVISORY", "SUPERVISORY", "PARTICIPATORY", "SOVEREIGN"]
    assert [level.name for level in sorted(AuthorityLevel, reverse=True)] == names[::-1]
    assert AuthorityLevel.ADVISORY < AuthorityLevel.SOVEREIGN


def test_the_phases_come_one_after_the_other() -> None:
    phases = [FlowPhase(name) for name in ["intent", "framing", "exploration", "tension", "convergence", "commitment"]]
    assert list(FlowPhase) == phases
    for earlier, later in combinations(phases, 2):
        assert earlier.is_before(later)
        assert not later.is_before(earlier)
    assert not any(phase.is_before(phase) for phase in phases)


def test_a_run_begins_in_the_phase_of_intent() -> None:
    assert current_phase(ContextState()) is FlowPhase.INTENT


@pytest.mark.parametrize("phase", FlowPhase)
def test_a_first_phase_may_be_any_but_that_of_intent_and_commitment(phase: FlowPhase) -> None:
    objection = PhasePayload(phase=phase).objection(ContextState())
    if phase is FlowPhase.INTENT:
        assert objection == "the run is in the phase intent already"
    elif phase is FlowPhase.COMMITMENT:
        assert objection == "a run is committed at its fixed point, by the engine"
    else:
        assert objection is None


def test_a_commitment_is_to_the_facts_there_are() -> None:
    assert CommitmentPayload(facts=0).objection(ContextState()) is None
    assert CommitmentPayload(facts=1).objection(ContextState()) == "there are 0 facts, not 1"


# --- what is asked ----------------------------------------------------------------------------------------------------


def test_a_proposal_is_asked_about_before_and_after_its_validation() -> None:
    assert flow_steps(drafted(text("a"))) == ((FlowAction.PROPOSE,), BOTH)


def test_advancing_the_phase_is_an_action_of_its_own() -> None:
    advance = ProposedFact(ContextKey.STRATEGIES, "p", PhasePayload(phase=FlowPhase.FRAMING))
    assert flow_steps(drafted(advance)) == ((FlowAction.PROPOSE,), (FlowAction.VALIDATE, FlowAction.ADVANCE_PHASE))


def test_of_what_the_engine_says_only_the_commitment_is_asked_about() -> None:
    assert flow_steps(drafted(text("a"), ENGINE.id)) == ((), ())
    assert flow_steps(drafted(commitment(3), ENGINE.id)) == ((), (FlowAction.COMMIT,))


def test_a_question_tells_who_what_where_and_how_much() -> None:
    fake = FakeAuthorizer()
    item = drafted(data("a", ContextKey.STRATEGIES, amount=500, note="x"))
    intent = RootIntent("i", risk_posture=RiskPosture.CONSERVATIVE)
    consult(FakeSetup(fake, intent), ContextState(), item, (FlowAction.PROMOTE,), None)
    assert fake.asked == [
        FlowGateInput(
            FlowGatePrincipal("rule", AuthorityLevel.SUPERVISORY, ("pricing",)),
            FlowGateResource("strategies/a", "plan", FlowPhase.INTENT),
            FlowAction.PROMOTE,
            human_approval_present=False,
            amount=500,
            provenance="somewhere",
            risk_posture=RiskPosture.CONSERVATIVE,
            fields={"amount": 500, "note": "x"},
        )
    ]


@pytest.mark.parametrize("amount", [None, "500", 1.5, True, [500]])
def test_only_a_whole_number_is_an_amount(amount: object) -> None:
    fake = FakeAuthorizer()
    consult(FakeSetup(fake), ContextState(), drafted(data("a", amount=amount)), (FlowAction.PROMOTE,), None)
    assert fake.asked[0].amount is None


@pytest.mark.parametrize(("approver", "present"), [(None, False), (HUMAN, True), (TIMER, False)])
def test_a_human_is_present_only_where_one_has_approved(approver: Actor | None, present: bool) -> None:
    fake = FakeAuthorizer()
    asked(fake, approver)
    assert [question.human_approval_present for question in fake.asked] == [present, present]


# --- what is answered -------------------------------------------------------------------------------------------------


def test_without_an_authorizer_nobody_objects() -> None:
    decision = consult(FakeSetup(None), ContextState(), drafted(text("a")), BOTH, None)
    assert decision.outcome is FlowGateOutcome.PROMOTE


def test_allow_all_lets_everything_pass_and_says_who_it_is() -> None:
    decision = AllowAllFlowGateAuthorizer().decide(QUESTION)
    assert (decision.outcome, decision.source) == (FlowGateOutcome.PROMOTE, "allow_all")
    assert asked(AllowAllFlowGateAuthorizer()).outcome is FlowGateOutcome.PROMOTE


@pytest.mark.parametrize(
    ("authorizer", "reason"),
    [
        (RejectAllFlowGateAuthorizer(), "nothing is allowed"),
        (RejectAllFlowGateAuthorizer("closed for today"), "closed for today"),
    ],
)
def test_reject_all_lets_nothing_pass_for_the_reason_it_is_given(
    authorizer: RejectAllFlowGateAuthorizer, reason: str
) -> None:
    assert authorizer.decide(QUESTION) == FlowGateDecision(FlowGateOutcome.REJECT, reason, "reject_all")


def test_the_first_rejection_ends_the_questions_and_names_its_action() -> None:
    fake = FakeAuthorizer({"validate": FlowGateOutcome.REJECT})
    decision = asked(fake)
    assert decision.outcome is FlowGateOutcome.REJECT
    assert str(decision) == "validate: because (fake:1)"
    assert [question.action for question in fake.asked] == [FlowAction.VALIDATE]


def test_a_rejection_outweighs_an_escalation() -> None:
    fake = FakeAuthorizer({"validate": FlowGateOutcome.ESCALATE, "promote": FlowGateOutcome.REJECT})
    assert asked(fake).outcome is FlowGateOutcome.REJECT


def test_an_escalation_waits_for_a_human() -> None:
    assert asked(FakeAuthorizer({"promote": FlowGateOutcome.ESCALATE})).outcome is FlowGateOutcome.ESCALATE


def test_an_escalation_is_answered_by_a_human_and_by_no_timer() -> None:
    escalating = FakeAuthorizer({"promote": FlowGateOutcome.ESCALATE})
    assert asked(escalating, HUMAN).outcome is FlowGateOutcome.PROMOTE
    assert asked(escalating, TIMER).outcome is FlowGateOutcome.REJECT


def test_a_human_does_not_outweigh_a_rejection() -> None:
    assert asked(FakeAuthorizer({"promote": FlowGateOutcome.REJECT}), HUMAN).outcome is FlowGateOutcome.REJECT


def test_an_authorizer_that_raises_has_rejected() -> None:
    decision = asked(FakeAuthorizer({"validate": ValueError("secret")}))
    assert decision.outcome is FlowGateOutcome.REJECT
    assert str(decision) == "validate: the authorizer raised ValueError (fake:1)"


@pytest.mark.parametrize("answer", [None, True, "promote", FlowGateDecision("promote")])  # type: ignore[arg-type]
def test_an_answer_that_is_no_decision_rejects(answer: object) -> None:
    class Careless(FakeAuthorizer):
        def decide(self, question: FlowGateInput) -> FlowGateDecision:
            return answer  # type: ignore[return-value]

    decision = asked(Careless())
    assert decision.outcome is FlowGateOutcome.REJECT
    assert decision.reason == "validate: the authorizer answered with no decision"


@pytest.mark.parametrize(
    ("decision", "sentence"),
    [
        (FlowGateDecision(FlowGateOutcome.REJECT), "no reason given"),
        (FlowGateDecision(FlowGateOutcome.REJECT, "too much"), "too much"),
        (FlowGateDecision(FlowGateOutcome.REJECT, "too much", "cedar"), "too much (cedar)"),
    ],
)
def test_a_decision_is_a_sentence(decision: FlowGateDecision, sentence: str) -> None:
    assert str(decision) == sentence
