"""Formations: the latest decision says which candidates are asked."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from converge_core import ContextKey, ContextState, ProposedFact
from converge_core.suggestors.formations import FormationDecision, FormationKind
from tests.core.stage import SEEDS, Played, Says, engine_of, play, text


def decision(name: str, candidates: str, selected: str) -> ProposedFact[Any]:
    payload = FormationDecision(
        kind=FormationKind.STATIC, candidates=tuple(candidates), selected=tuple(selected), rationale="told so"
    )
    return ProposedFact(ContextKey.STRATEGIES, name, payload)


def told(*decisions: ProposedFact[Any]) -> Played:
    context = ContextState().add_proposal(text("start"))
    for made in decisions:
        context.add_proposal(made)
    suggestors = [Says(name, text(f"by-{name}", key=ContextKey.SIGNALS), reads=[SEEDS]) for name in "abc"]
    return play(engine_of(*suggestors), context)


def asked(played: Played) -> list[str]:
    return [body["suggestor"] for body in played.bodies("effect_received")]


def test_without_a_decision_everybody_is_asked() -> None:
    assert asked(told()) == ["a", "b", "c"]


def test_a_candidate_that_is_not_selected_is_not_asked_and_that_is_recorded() -> None:
    played = told(decision("d", candidates="ab", selected="b"))
    assert asked(played) == ["b", "c"]
    skipped = [(body["suggestor"], body["code"]) for body in played.bodies("suggestor_skipped")]
    assert skipped == [("a", "not_in_formation")]


def test_the_latest_decision_counts() -> None:
    assert asked(told(decision("d", "abc", "a"), decision("e", "abc", "bc"))) == ["b", "c"]


def test_nobody_may_be_selected() -> None:
    assert asked(told(decision("d", "abc", ""))) == []


def test_only_candidates_are_selected() -> None:
    with pytest.raises(ValidationError, match="'c' is selected and no candidate"):
        decision("d", candidates="ab", selected="c")
