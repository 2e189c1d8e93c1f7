"""Tensions: stated by the machine when a detector finds one, resolved by a recorded decision."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from converge_core import Context, ContextKey, ContextState, Engine, MisuseError, ProposedFact, replay
from converge_core.context.facts import ENGINE, AnyFact
from converge_core.context.tensions import (
    Tension,
    TensionResolution,
    TensionSide,
    open_tensions,
    tension_proposal,
)
from tests.core.stage import SEEDS, Played, data, engine_of, play


class OneOwner:
    """Finds two seeds that name different owners of the same thing."""

    name = "one-owner"

    def detect(self, fact: AnyFact, ctx: Context) -> Iterable[Tension]:
        mine: Any = fact.payload
        for other in ctx.get(SEEDS):
            theirs: Any = other.payload
            if other is not fact and theirs["thing"] == mine["thing"] and theirs["owner"] != mine["owner"]:
                yield Tension(left=other.ref, right=fact.ref, reason="two owners")


class Broken:
    name = "broken"

    def detect(self, fact: AnyFact, ctx: Context) -> Iterable[Tension]:
        raise KeyError("thing")


def watched(*detectors: Any) -> Engine:
    engine = engine_of()
    for detector in detectors:
        engine.register_detector(detector)
    return engine


def told(engine: Engine, *proposals: ProposedFact[Any]) -> Played:
    context = ContextState()
    for proposal in proposals:
        context.add_proposal(proposal)
    return play(engine, context)


CAR, SAME_CAR = data("a", thing="car", owner="ann"), data("b", thing="car", owner="ben")


def resolution(tension: str, **fields: Any) -> ProposedFact[Any]:
    values = {"chosen": TensionSide.LEFT, "rationale": "she paid"} | fields
    return ProposedFact(ContextKey.EVALUATIONS, "resolved", TensionResolution(tension=tension, **values))


def stated() -> str:
    return f"disagreements/{tension_proposal(Tension(left='seeds/a', right='seeds/b')).id}"


def test_the_engine_states_what_a_detector_finds() -> None:
    played = told(watched(OneOwner()), CAR, SAME_CAR)
    [fact] = played.result.context.get(Tension)
    assert (fact.ref, fact.proposer, fact.evidence) == (stated(), ENGINE.id, ("seeds/a", "seeds/b"))
    assert [open_.ref for open_ in open_tensions(played.result.context)] == [stated()]


def test_the_same_two_facts_are_in_tension_once() -> None:
    there = tension_proposal(Tension(left="seeds/a", right="seeds/b"))
    back = tension_proposal(Tension(left="seeds/b", right="seeds/a"))
    assert there.id == back.id


def test_facts_in_tension_stay_facts() -> None:
    assert told(watched(OneOwner()), CAR, SAME_CAR).result.context.count(SEEDS) == 2


def test_without_a_conflict_nothing_is_stated() -> None:
    assert not told(watched(OneOwner()), CAR, data("b", thing="bike", owner="ben")).result.context.has(Tension)


def test_a_resolved_tension_is_not_open() -> None:
    played = told(watched(OneOwner()), CAR, SAME_CAR, resolution(stated()))
    assert open_tensions(played.result.context) == []
    [fact] = played.result.context.get(TensionResolution)
    [tension] = played.result.context.get(Tension)
    assert fact.payload.winner(tension.payload) == "seeds/a"


@pytest.mark.parametrize("side", [TensionSide.NEITHER, TensionSide.MERGED])
def test_where_neither_is_chosen_nobody_wins(side: TensionSide) -> None:
    decision = TensionResolution(tension="t", chosen=side, rationale="both are wrong")
    assert decision.winner(Tension(left="seeds/a", right="seeds/b")) is None


def test_a_tension_is_resolved_once() -> None:
    again = ProposedFact(ContextKey.EVALUATIONS, "again", resolution(stated()).payload)
    played = told(watched(OneOwner()), CAR, SAME_CAR, resolution(stated()), again)
    assert [body["reason"] for body in played.bodies("proposal_rejected")] == [f"{stated()} is resolved already"]


def test_only_a_tension_can_be_resolved() -> None:
    played = told(watched(), CAR, resolution("seeds/a"))
    assert [body["reason"] for body in played.bodies("proposal_rejected")] == ["'seeds/a' is no tension"]


def test_a_tension_is_between_facts() -> None:
    played = told(watched(), CAR, tension_proposal(Tension(left="seeds/a", right="seeds/x")))
    assert [body["reason"] for body in played.bodies("proposal_rejected")] == ["there is no fact 'seeds/x'"]


def test_a_detector_that_raises_is_stated_and_loses_nothing() -> None:
    played = told(watched(Broken(), OneOwner()), CAR, SAME_CAR)
    messages = [fact.payload.summary() for fact in played.result.context.get(ContextKey.DIAGNOSTIC)]
    assert messages == ["detector broken raised KeyError: 'thing'"] * 2
    assert played.result.context.has(Tension)


def test_detectors_stand_in_the_ledger_and_a_replay_states_the_same() -> None:
    played = told(watched(OneOwner()), CAR, SAME_CAR)
    [started] = played.bodies("run_started")
    assert started["gates"]["detectors"] == ["one-owner"]
    assert replay(watched(OneOwner()), played.log).result().integrity == played.result.integrity


def test_a_detector_has_a_name_of_its_own() -> None:
    with pytest.raises(MisuseError, match="'one-owner' is registered already"):
        watched(OneOwner(), OneOwner())
