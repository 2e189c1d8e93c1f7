"""Frames: who cites one is held to its scope."""

from __future__ import annotations

from typing import Any

from converge_core import ContextKey, ContextState, ProposedFact
from converge_core.intent.frames import Frame
from tests.core.stage import data, engine_of, play


def frame(name: str, *scope: tuple[str, str], parent: str | None = None) -> ProposedFact[Any]:
    return ProposedFact(ContextKey.CONSTRAINTS, name, Frame(title=name, scope=scope, parent=parent))


def objections(*proposals: ProposedFact[Any]) -> list[str]:
    context = ContextState()
    for proposal in proposals:
        context.add_proposal(proposal)
    return [body["reason"] for body in play(engine_of(), context).bodies("proposal_rejected")]


def within(name: str, frame_name: str, **fields: Any) -> ProposedFact[Any]:
    made = data(name, **fields)
    return ProposedFact(made.key, made.id, made.payload, evidence=[f"constraints/{frame_name}"])


def test_a_proposal_within_a_frame_keeps_to_its_scope() -> None:
    europe = frame("europe", ("market", "eu"))
    assert objections(europe, within("a", "europe", market="eu")) == []
    [objection] = objections(europe, within("a", "europe", market="us"))
    assert objection == "frame constraints/europe: market 'us' is not among eu"


def test_a_proposal_outside_of_every_frame_is_free() -> None:
    assert objections(frame("europe", ("market", "eu")), data("a", market="us")) == []


def test_the_frames_around_a_frame_count_too() -> None:
    nested = (frame("europe", ("market", "eu")), frame("cars", ("product", "car"), parent="constraints/europe"))
    assert objections(*nested, within("a", "cars", market="eu", product="car")) == []
    [objection] = objections(*nested, within("a", "cars", market="us", product="car"))
    assert objection.startswith("frame constraints/europe:")


def test_a_frame_stands_inside_one_that_exists() -> None:
    assert objections(frame("cars", parent="constraints/europe")) == ["'constraints/europe' is no frame"]
    assert objections(data("a"), frame("cars", parent="seeds/a")) == ["'seeds/a' is no frame"]
