from __future__ import annotations

from typing import Any

import pytest

from converge_core import (
    Blocked,
    Context,
    Criterion,
    CriterionEvaluator,
    CriterionOutcome,
    CriterionResult,
    Indeterminate,
    Met,
    RootIntent,
    StopReason,
    Unmet,
)
from converge_core.gates.flow import FlowGateOutcome
from converge_core.gates.stop import CommitRefused, Converged, CriteriaMet, HumanInterventionRequired
from converge_core.intent.criteria import judge, stop_reason_of
from tests.core.scenarios import Commits
from tests.core.stage import Played, engine_of, play, seeded

MUST = Criterion("must")


class Judge:
    """Answers as told, by the id of the criterion."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers

    def evaluate(self, criterion: Criterion, ctx: Context) -> CriterionResult:
        answer = self.answers[criterion.id]
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]


def judged(*criteria: Criterion, **answers: Any) -> Played:
    engine = engine_of(evaluator=Judge(**answers))
    return play(engine, seeded("a"), RootIntent("i", success=criteria))


# --- one criterion ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "result", [Met(), Met(("seeds/a",)), Unmet("not yet"), Blocked("law", "ap:1"), Indeterminate("?")]
)
def test_an_answer_is_the_outcome(result: CriterionResult) -> None:
    context = play(engine_of(), seeded("a")).result.context
    assert judge(MUST, Judge(must=result), context) == CriterionOutcome(MUST, result)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Met(("seeds/a", "seeds/z")), "evidence 'seeds/z' does not exist"),
        (ValueError("broken"), "the evaluator raised ValueError: broken"),
        (ValueError("bad \ud800\nline"), "the evaluator raised ValueError: bad ? line"),
        (None, "the evaluator raised AttributeError: "),
        (True, "the evaluator raised AttributeError: "),
        (Unmet("\ud800"), "the evaluator raised CanonicalError: "),
        (Met((object(),)), "the evaluator raised CanonicalError: "),  # type: ignore[arg-type]
    ],
    ids=str,
)
def test_whatever_goes_wrong_is_indeterminate(answer: Any, reason: str) -> None:
    context = play(engine_of(), seeded("a")).result.context
    result = judge(MUST, Judge(must=answer), context).result
    assert isinstance(result, Indeterminate)
    assert result.reason.startswith(reason)


def test_without_an_evaluator_nobody_can_tell() -> None:
    assert judge(MUST, None, seeded()).result == Indeterminate("no evaluator")


# --- the stop reason --------------------------------------------------------------------------------------------------

OPTIONAL = Criterion("may", required=False)


@pytest.mark.parametrize(
    ("outcomes", "reason"),
    [
        ([], Converged()),
        ([(MUST, Met())], CriteriaMet(("must",))),
        ([(MUST, Met()), (OPTIONAL, Unmet("no"))], CriteriaMet(("must",))),
        ([(MUST, Met()), (Criterion("too"), Met())], CriteriaMet(("must", "too"))),
        ([(OPTIONAL, Met())], Converged()),
        ([(MUST, Unmet("no"))], Converged()),
        ([(MUST, Indeterminate("?"))], Converged()),
        ([(MUST, Blocked("law", "ap:1"))], HumanInterventionRequired(("must",), ("ap:1",))),
        ([(MUST, Blocked("law")), (Criterion("too"), Met())], HumanInterventionRequired(("must",), ())),
        ([(OPTIONAL, Blocked("law", "ap:1"))], Converged()),
    ],
    ids=str,
)
def test_criteria_decide_what_a_fixed_point_is_called(
    outcomes: list[tuple[Criterion, CriterionResult]], reason: StopReason
) -> None:
    assert stop_reason_of([CriterionOutcome(criterion, result) for criterion, result in outcomes]) == reason


def test_criteria_are_judged_at_the_fixed_point_in_their_order() -> None:
    played = judged(MUST, OPTIONAL, must=Met(("seeds/a",)), may=Blocked("law", "ap:1"))

    assert played.result.stop_reason == CriteriaMet(("must",))
    assert [outcome.criterion.id for outcome in played.result.criteria_outcomes] == ["must", "may"]
    assert played.bodies("criterion_evaluated") == [
        {
            "kind": "criterion_evaluated",
            "criterion": "must",
            "required": True,
            "result": "met",
            "evidence": ["seeds/a"],
        },
        {
            "kind": "criterion_evaluated",
            "criterion": "may",
            "required": False,
            "result": "blocked",
            "reason": "law",
            "approval_ref": "ap:1",
            "evidence": [],
        },
    ]


@pytest.mark.parametrize(
    ("answer", "met"), [(Met(), True), (Unmet("no"), False), (Blocked("law"), False), (Indeterminate("?"), False)]
)
def test_a_run_converges_whatever_its_criteria_say(answer: CriterionResult, met: bool) -> None:
    result = judged(MUST, must=answer).result
    assert result.converged
    assert result.criteria_met is met


def test_a_run_without_required_criteria_has_met_them() -> None:
    assert judged(OPTIONAL, may=Unmet("no")).result.criteria_met


def test_a_human_who_must_unblock_a_criterion_is_the_reason_to_stop() -> None:
    result = judged(MUST, must=Blocked("law", "ap:1")).result
    assert result.stop_reason == HumanInterventionRequired(("must",), ("ap:1",))
    assert result.raise_for_stop() is result


@pytest.mark.parametrize(("answer", "reason"), [(Blocked("law"), HumanInterventionRequired), (Met(), CommitRefused)])
def test_what_waits_for_people_is_not_concluded(answer: CriterionResult, reason: type[StopReason]) -> None:
    engine = engine_of(evaluator=Judge(must=answer), flow=Commits(FlowGateOutcome.REJECT))
    assert type(play(engine, seeded("a"), RootIntent("i", success=(MUST,))).result.stop_reason) is reason


def test_an_evaluator_is_anything_that_evaluates() -> None:
    evaluator: CriterionEvaluator = Judge(must=Met())
    assert judge(MUST, evaluator, seeded()).result == Met()
