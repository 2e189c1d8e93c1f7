"""The decision who is asked, as a payload."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from converge_core.formations.decision import FormationDecision, RoleAssignment, bench, decision_proposal
from converge_core.formations.kinds import FormationKind


def decision(candidates: str, selected: str, **more: Any) -> FormationDecision:
    return FormationDecision(
        kind=FormationKind.STATIC,
        candidates=tuple(candidates),
        selected=tuple(selected),
        rationale="told so",
        **more,
    )


def test_only_candidates_are_selected() -> None:
    with pytest.raises(ValidationError, match="'c' is selected and no candidate"):
        decision("ab", "c")


def test_only_those_who_are_selected_play_a_role() -> None:
    with pytest.raises(ValidationError, match="'b' plays a role and is not selected"):
        decision("ab", "a", assignments=(RoleAssignment("planning", "b"),))


@pytest.mark.parametrize(
    ("selected", "more", "said"),
    [
        ("ab", {}, "static: a, b of 3; told so"),
        ("", {"unmatched_roles": ("planning", "meta")}, "static: nobody of 3; told so; nobody for planning, meta"),
    ],
)
def test_a_decision_is_summed_up_in_one_line(selected: str, more: dict[str, Any], said: str) -> None:
    assert decision("abc", selected, **more).summary() == said


def test_a_decision_is_proposed_as_sure_as_it_is() -> None:
    made = decision_proposal(decision("a", "a", confidence=0.5), 7)
    assert (made.id, made.confidence, made.provenance) == ("formation:7", 0.5, "formation:static")


def test_who_is_no_candidate_is_never_benched() -> None:
    assert bench(None) == frozenset()
    assert bench(decision("ab", "a")) == {"b"}


def test_until_something_is_decided_no_candidate_is_asked() -> None:
    assert bench(None, ["a", "b"]) == {"a", "b"}


def test_a_candidate_of_the_formation_that_a_decision_does_not_know_is_not_asked() -> None:
    assert bench(decision("ab", "a"), ["a", "b", "c"]) == {"b", "c"}
