"""Hypotheses are resolved once, by what can resolve them."""

from __future__ import annotations

from typing import Any

import pytest

from converge_core import ContextKey, ContextState, ProposedFact
from converge_core.context.hypotheses import Hypothesis, HypothesisOutcome, HypothesisResolution, open_hypotheses
from tests.core.stage import Played, engine_of, play, text

CONFIRMED, FALSIFIED, SUPERSEDED = HypothesisOutcome


def formed(name: str, **fields: Any) -> ProposedFact[Any]:
    return ProposedFact(ContextKey.HYPOTHESES, name, Hypothesis(claim=f"claim {name}", **fields))


def resolved(name: str, outcome: HypothesisOutcome = CONFIRMED, by: str = "r", **fields: Any) -> ProposedFact[Any]:
    payload = HypothesisResolution(hypothesis=f"hypotheses/{name}", outcome=outcome, reason="seen", **fields)
    return ProposedFact(ContextKey.EVALUATIONS, by, payload)


def told(*proposals: ProposedFact[Any]) -> Played:
    context = ContextState()
    for proposal in proposals:
        context.add_proposal(proposal)
    return play(engine_of(), context)


def objections(*proposals: ProposedFact[Any]) -> list[str]:
    return [body["reason"] for body in told(*proposals).bodies("proposal_rejected")]


def test_what_nobody_has_resolved_is_open() -> None:
    played = told(formed("a"), formed("b"), resolved("a"))
    assert [fact.id for fact in open_hypotheses(played.result.context)] == ["b"]


def test_a_hypothesis_is_resolved_once() -> None:
    again = resolved("a", FALSIFIED, "again")
    assert objections(formed("a"), resolved("a"), again) == ["hypotheses/a is resolved already"]


def test_only_a_hypothesis_can_be_resolved() -> None:
    assert objections(text("a", key=ContextKey.HYPOTHESES), resolved("a")) == ["'hypotheses/a' is no hypothesis"]
    assert objections(resolved("a")) == ["'hypotheses/a' is no hypothesis"]


@pytest.mark.parametrize("outcome", [CONFIRMED, FALSIFIED])
def test_what_cannot_be_tested_is_neither_confirmed_nor_falsified(outcome: HypothesisOutcome) -> None:
    [objection] = objections(formed("a", testable=False), resolved("a", outcome))
    assert "cannot be tested" in objection


def test_what_falsifies_a_hypothesis_exists() -> None:
    missing = resolved("a", FALSIFIED, contradiction="signals/nothing")
    assert objections(formed("a"), missing) == ["there is no fact 'signals/nothing'"]


def test_a_hypothesis_is_superseded_by_another() -> None:
    assert objections(formed("a"), formed("b"), resolved("a", SUPERSEDED, contradiction="hypotheses/b")) == []
    for nothing in (None, "hypotheses/a", "hypotheses/x"):
        [objection] = objections(formed("a"), resolved("a", SUPERSEDED, contradiction=nothing))
        assert objection == "a superseded hypothesis names another hypothesis that takes its place"


def test_one_that_cannot_be_tested_can_be_superseded() -> None:
    successor = resolved("a", SUPERSEDED, contradiction="hypotheses/b")
    assert objections(formed("a", testable=False), formed("b"), successor) == []
