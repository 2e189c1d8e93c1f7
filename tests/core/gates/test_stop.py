from __future__ import annotations

import json
import pickle

import pytest

from converge_core import StopClass, StoppedEarly, StopReason, canonical
from converge_core.gates import stop
from converge_core.gates.stop import STOP_REASONS

REASONS: list[tuple[StopReason, StopClass, str]] = [
    (stop.Converged(), StopClass.SUCCESS, "Converged"),
    (stop.CriteriaMet(("a", "b")), StopClass.SUCCESS, "Criteria met: a, b"),
    (stop.UserCancelled("human:ann", "enough"), StopClass.CANCELLED, "Cancelled by human:ann: enough"),
    (
        stop.HumanInterventionRequired(("a",), ("ap:1",)),
        StopClass.HUMAN,
        "Human intervention required for: a (refs: ap:1)",
    ),
    (stop.HumanInterventionRequired(("a", "b")), StopClass.HUMAN, "Human intervention required for: a, b"),
    (stop.HitlGatePending(("g1", "g2"), 3), StopClass.HUMAN, "2 human gate(s) pending in cycle 3"),
    (stop.CycleBudgetExhausted(2, 2), StopClass.BUDGET, "Cycle budget exhausted: 2/2"),
    (stop.FactBudgetExhausted(9, 9), StopClass.BUDGET, "Fact budget exhausted: 9/9"),
    (stop.TokenBudgetExhausted(120, 100), StopClass.BUDGET, "Token budget exhausted: 120/100"),
    (
        stop.CostBudgetExhausted(1_500_000, 1_000_000),
        StopClass.BUDGET,
        "Cost budget exhausted: $1.500000/$1.000000",
    ),
    (stop.TimeBudgetExhausted(61_000, 60_000), StopClass.BUDGET, "Time budget exhausted: 61000ms/60000ms"),
    (
        stop.InvariantViolated("semantic", "sums", "3 is not 4", ("seeds/a",)),
        StopClass.VALIDATION,
        "Semantic invariant 'sums' violated: 3 is not 4",
    ),
    (
        stop.ConflictDetected("seeds/a", "rule"),
        StopClass.VALIDATION,
        "Conflict: 'rule' proposes other content for the fact 'seeds/a'",
    ),
    (stop.CommitRefused("not yet"), StopClass.VALIDATION, "Commitment refused: not yet"),
    (
        stop.SuggestorFailed("rule", "raised", "KeyError: 'x'"),
        StopClass.FAILURE,
        "Suggestor 'rule' failed (raised): KeyError: 'x'",
    ),
]
each_reason = pytest.mark.parametrize(
    ("reason", "stop_class", "sentence"), REASONS, ids=[type(reason).__name__ for reason, _, _ in REASONS]
)


def test_every_reason_is_on_the_list() -> None:
    assert {type(reason) for reason, _, _ in REASONS} == set(STOP_REASONS.values())
    assert {reason.name: type(reason) for reason, _, _ in REASONS} == STOP_REASONS


@each_reason
def test_a_reason_is_a_sentence_of_a_class(reason: StopReason, stop_class: StopClass, sentence: str) -> None:
    assert (str(reason), reason.stop_class) == (sentence, stop_class)


@each_reason
def test_a_reason_is_read_back_from_the_ledger(reason: StopReason, stop_class: StopClass, sentence: str) -> None:
    assert StopReason.from_json(json.loads(canonical(reason.to_json()))) == reason


@each_reason
def test_a_reason_can_be_raised_and_pickled(reason: StopReason, stop_class: StopClass, sentence: str) -> None:
    early = pickle.loads(pickle.dumps(StoppedEarly(reason)))
    assert (early.reason, str(early)) == (reason, sentence)


def test_an_unknown_reason_is_refused() -> None:
    with pytest.raises(KeyError):
        StopReason.from_json({"reason": "tired"})
