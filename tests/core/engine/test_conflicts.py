"""Contradictions: a proposal for a key and id that a fact has already, with other content."""

from __future__ import annotations

import pytest

from converge_core import (
    ConflictPolicy,
    ContextKey,
    ContextState,
    Engine,
    FactPayload,
    MisuseError,
    ProposedFact,
    Stopped,
    SubjectRef,
    structural,
)
from converge_core.gates.stop import ConflictDetected
from tests.core.stage import SEEDS, SIGNALS, Says, advance, data, engine_of, play, refs, seeded, text

FIRST = text("s", "one")
OTHERS: list[ProposedFact[FactPayload]] = [
    text("s", "other"),
    data("s", text="one"),
    text("s", "one", subject=SubjectRef("erp://invoice/7")),
]


def contradicted(other: ProposedFact[FactPayload], **settings: object) -> Engine:
    rule = Says("rule", text("before", key=SIGNALS), other, text("after", key=SIGNALS), reads=[SEEDS])
    return engine_of(rule, **settings)


@pytest.mark.parametrize("other", OTHERS, ids=["other words", "other class", "other subject"])
def test_a_contradiction_stops_the_run_and_keeps_the_context(other: ProposedFact[FactPayload]) -> None:
    played = play(contradicted(other), ContextState().add_proposal(FIRST))
    assert played.result.stop_reason == ConflictDetected("seeds/s", "rule")
    assert refs(played.result) == ["seeds/s", "signals/before"]
    assert played.result.context.get(SEEDS)[0].payload == FIRST.payload, "the fact stays"
    assert played.bodies("run_stopped")[0]["held"] == 1, "and the proposal after it is counted"


def test_the_contradiction_is_shown_with_the_proposals_of_both() -> None:
    played = play(contradicted(OTHERS[0]), ContextState().add_proposal(FIRST))
    (event,) = played.bodies("proposal_conflicted")
    assert (event["key"], event["id"], event["proposer"], event["cycle"]) == ("seeds", "s", "rule", 1)
    assert event["fact"] == played.result.context.get(SEEDS)[0].promotion.proposal_hash
    assert event["proposal"] not in ("", event["fact"])


@pytest.mark.parametrize("other", OTHERS, ids=["other words", "other class", "other subject"])
def test_a_contradiction_can_be_turned_away_instead(other: ProposedFact[FactPayload]) -> None:
    engine = contradicted(other, conflict_policy=ConflictPolicy.REJECT)
    played = play(engine, ContextState().add_proposal(FIRST))
    assert played.result.converged
    assert refs(played.result) == ["seeds/s", "signals/before", "signals/after"]
    assert played.result.context.get(SEEDS)[0].payload == FIRST.payload
    assert "proposal_conflicted" in played.kinds


def test_true_is_not_one() -> None:
    context = ContextState().add_proposal(data("s", n=1)).add_proposal(data("s", n=True))
    assert isinstance(play(engine_of(), context).result.stop_reason, ConflictDetected)


def test_inputs_can_contradict_each_other() -> None:
    context = seeded().add_proposal(FIRST).add_proposal(OTHERS[0])
    result = play(engine_of(), context).result
    assert (result.stop_reason, result.cycles) == (ConflictDetected("seeds/s", "input"), 0)


def test_the_same_id_under_another_key_is_another_fact() -> None:
    engine = engine_of(Says("rule", text("s", "other", SIGNALS), reads=[SEEDS]))
    assert refs(play(engine, ContextState().add_proposal(FIRST)).result) == ["seeds/s", "signals/s"]


def test_a_run_that_ended_in_a_contradiction_cannot_be_reopened() -> None:
    run = contradicted(OTHERS[0]).begin(ContextState().add_proposal(FIRST))
    assert isinstance(advance(run), Stopped)
    with pytest.raises(MisuseError):
        run.reopen()


def test_nobody_can_take_the_place_of_a_statement_of_the_engine() -> None:
    """A suggestor that forges the id of a coming diagnostic causes a conflict that is shown as one."""
    engine = engine_of()
    engine.register_invariant(structural(lambda ctx: "never holds"))
    forged = text("violation:<lambda>:1", "all is well", ContextKey.DIAGNOSTIC)
    played = play(engine, ContextState().add_proposal(forged))
    assert str(played.result.stop_reason) == "Structural invariant '<lambda>' violated: never holds"
    assert [body["id"] for body in played.bodies("proposal_conflicted")] == ["violation:<lambda>:1"]
    assert "proposal_rejected" not in played.kinds
