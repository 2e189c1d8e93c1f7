from __future__ import annotations

import pytest

from converge_core.packs import (
    Finding,
    PlanEvaluation,
    PlanInvariant,
    PlanVerdict,
    Severity,
    default_gate_evaluation,
    examine_plan,
)
from tests.core.packs.toy import Change, Coins, Purse, purse

PROBLEM = Change(amount=4, coins=(2, 2))
CRITICAL = Finding(invariant="a", severity=Severity.CRITICAL, reason="")
ADVISORY = Finding(invariant="b", severity=Severity.ADVISORY, reason="")


def _raises(problem: Change, plan: Purse) -> str | None:
    raise LookupError("no such\ncoin")


def test_a_plan_that_keeps_all_invariants_has_no_findings() -> None:
    assert examine_plan(Coins().invariants, PROBLEM, purse(2, 2)) == ()


def test_every_invariant_that_a_plan_breaks_is_found_with_its_reason() -> None:
    assert examine_plan(Coins().invariants, PROBLEM, purse(2, 1, 1, 1)) == (
        Finding(invariant="adds-up", severity=Severity.CRITICAL, reason="the coins are 5, not 4"),
        Finding(invariant="is-light", severity=Severity.ADVISORY, reason="4 coins are a lot"),
    )


def test_an_invariant_that_cannot_answer_is_broken() -> None:
    (finding,) = examine_plan([PlanInvariant("odd", _raises)], PROBLEM, purse(4))
    assert finding.reason == "the check raised LookupError: no such coin"


def test_an_invariant_that_answers_no_is_broken_and_not_a_crash() -> None:
    odd: PlanInvariant[Change, Purse] = PlanInvariant("odd", lambda problem, plan: False)  # type: ignore[arg-type,return-value]
    (finding,) = examine_plan([odd], PROBLEM, purse(4))
    assert finding.reason.startswith("the check raised AttributeError")


@pytest.mark.parametrize(
    ("findings", "evaluation"),
    [
        ([], PlanEvaluation(PlanVerdict.PROMOTE, "All invariants passed")),
        ([ADVISORY], PlanEvaluation(PlanVerdict.ESCALATE, "Advisory invariant(s) violated: b")),
        ([ADVISORY, CRITICAL], PlanEvaluation(PlanVerdict.REJECT, "Critical invariant(s) violated: a")),
        (
            [CRITICAL, CRITICAL.model_copy(update={"invariant": "c"})],
            PlanEvaluation(PlanVerdict.REJECT, "Critical invariant(s) violated: a, c"),
        ),
    ],
)
def test_the_gate_of_a_pack_rejects_escalates_or_promotes(findings: list[Finding], evaluation: PlanEvaluation) -> None:
    assert default_gate_evaluation(findings) == evaluation
    assert Coins().evaluate_gate(findings) == evaluation
