"""The life of governed artifacts: a table that the gate enforces."""

from __future__ import annotations

import pickle
from itertools import product
from typing import Any

import pytest
from pydantic import ValidationError

from converge_core import ContextKey, ContextState, ProposedFact, replay
from converge_core.context.artifacts import (
    LIFE,
    ArtifactUse,
    GovernedArtifactState,
    InvalidStateTransition,
    LifecycleEvent,
    RollbackImpact,
    RollbackSeverity,
    last_event,
    validate_transition,
)
from tests.core.stage import Played, engine_of, play

DRAFT, APPROVED, ACTIVE, QUARANTINED, DEPRECATED, ROLLED_BACK = GovernedArtifactState
STEPS = {
    (DRAFT, APPROVED),
    (DRAFT, DEPRECATED),
    (APPROVED, ACTIVE),
    (APPROVED, QUARANTINED),
    (APPROVED, ROLLED_BACK),
    (ACTIVE, QUARANTINED),
    (ACTIVE, DEPRECATED),
    (ACTIVE, ROLLED_BACK),
    (QUARANTINED, ACTIVE),
    (QUARANTINED, ROLLED_BACK),
    (QUARANTINED, DEPRECATED),
}
ONE, OTHER = "1" * 64, "2" * 64


def step(old: GovernedArtifactState, new: GovernedArtifactState, **fields: Any) -> ProposedFact[Any]:
    if new is ROLLED_BACK:
        fields = {"impact": RollbackImpact(severity=RollbackSeverity.HIGH)} | fields
    values = {"artifact": "policy", "reason": "because", "content_hash": ONE, "artifact_version": "1"} | fields
    payload = LifecycleEvent(old=old, new=new, **values)
    return ProposedFact(ContextKey.EVALUATIONS, f"{old}-{new}-{values['content_hash'][0]}", payload)


def use(**fields: Any) -> ProposedFact[Any]:
    values = {"artifact": "policy", "content_hash": ONE, "artifact_version": "1"} | fields
    return ProposedFact(ContextKey.SIGNALS, "use", ArtifactUse(**values))


def told(*proposals: ProposedFact[Any]) -> Played:
    context = ContextState()
    for proposal in proposals:
        context.add_proposal(proposal)
    return play(engine_of(), context)


def objections(*proposals: ProposedFact[Any]) -> list[str]:
    return [body["reason"] for body in told(*proposals).bodies("proposal_rejected")]


@pytest.mark.parametrize(("old", "new"), list(product(GovernedArtifactState, repeat=2)))
def test_the_table_has_these_steps_and_no_others(old: GovernedArtifactState, new: GovernedArtifactState) -> None:
    if (old, new) in STEPS:
        validate_transition(old, new)
    else:
        with pytest.raises(InvalidStateTransition, match=f"no artifact goes from {old} .* to {new}"):
            validate_transition(old, new)


@pytest.mark.parametrize(
    ("state", "new_runs", "replay"),
    [
        (DRAFT, False, False),
        (APPROVED, True, True),
        (ACTIVE, True, True),
        (QUARANTINED, False, True),
        (DEPRECATED, False, False),
        (ROLLED_BACK, False, False),
    ],
)
def test_a_state_says_what_may_be_done(state: GovernedArtifactState, new_runs: bool, replay: bool) -> None:
    assert (LIFE[state].new_runs, LIFE[state].replay) == (new_runs, replay)


def test_an_invalid_transition_pickles() -> None:
    error = pickle.loads(pickle.dumps(InvalidStateTransition(DRAFT, ACTIVE)))
    assert (error.old, error.new) == (DRAFT, ACTIVE)


def test_an_artifact_begins_as_a_draft_and_goes_step_by_step() -> None:
    played = told(step(DRAFT, APPROVED), step(APPROVED, ACTIVE))
    last = last_event(played.result.context, "policy")
    assert last is not None
    assert last.new is ACTIVE
    assert last_event(played.result.context, "another") is None


def test_a_step_that_the_table_does_not_have_is_turned_away() -> None:
    [objection] = objections(step(DRAFT, ACTIVE))
    assert objection.startswith("no artifact goes from draft")


def test_a_step_starts_where_the_artifact_is() -> None:
    assert objections(step(DRAFT, APPROVED), step(ACTIVE, DEPRECATED)) == ["policy is approved, not active"]


def test_changed_content_has_to_be_approved_anew() -> None:
    [objection] = objections(step(DRAFT, APPROVED), step(APPROVED, ACTIVE, content_hash=OTHER))
    assert "approved with another content" in objection


def test_a_roll_back_and_nothing_else_has_an_impact() -> None:
    for new, impact in ((ROLLED_BACK, None), (ACTIVE, RollbackImpact())):
        with pytest.raises(ValidationError, match="a roll-back has an impact"):
            step(APPROVED, new, impact=impact)


@pytest.mark.parametrize("severity", RollbackSeverity)
def test_from_high_on_somebody_has_to_act_at_once(severity: RollbackSeverity) -> None:
    assert RollbackImpact(severity=severity).is_urgent is (severity in ("high", "critical"))


def test_a_roll_back_is_recorded_with_all_that_it_comes_to_and_read_back() -> None:
    impact = RollbackImpact(
        severity=RollbackSeverity.CRITICAL,
        invalidates_outputs=True,
        affected_count=12,
        affected_tenants=("acme",),
        quality_issues=("wrong totals",),
    )
    played = told(step(DRAFT, APPROVED), step(APPROVED, ROLLED_BACK, impact=impact, reference="INC-7"))
    replayed = replay(engine_of(), played.log).result().context
    last = last_event(replayed, "policy")
    assert last is not None
    assert (last.impact, last.reference) == (impact, "INC-7")
    assert objections(step(DRAFT, APPROVED), step(APPROVED, ROLLED_BACK), use()) == [
        "policy is rolled_back: no new run may use it"
    ]


def test_an_approved_artifact_can_be_used() -> None:
    assert objections(step(DRAFT, APPROVED), use()) == []


@pytest.mark.parametrize(
    ("fields", "objection"),
    [
        ({"artifact": "another"}, "nothing is known of the artifact 'another'"),
        ({"artifact_version": "2"}, "policy: version 1 is approved, not 2"),
        ({"content_hash": OTHER}, "policy: its content is not what was approved"),
    ],
)
def test_a_use_is_of_what_was_approved(fields: dict[str, str], objection: str) -> None:
    assert objections(step(DRAFT, APPROVED), use(**fields)) == [objection]


def test_a_quarantined_artifact_serves_replays_only() -> None:
    life = (step(DRAFT, APPROVED), step(APPROVED, QUARANTINED))
    assert objections(*life, use()) == ["policy is quarantined: no new run may use it"]
    assert objections(*life, use(replay=True)) == []


def test_a_rolled_back_artifact_serves_nothing() -> None:
    life = (step(DRAFT, APPROVED), step(APPROVED, ROLLED_BACK))
    assert objections(*life, use(replay=True)) == ["policy is rolled_back: no replay may use it"]
