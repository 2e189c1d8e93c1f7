"""Detectors in CEL, in a real engine."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from converge_core import ContextKey, ContextState, DataPayload, DiagnosticPayload, ProposedFact, Site
from converge_core.context.tensions import ConflictType, Tension
from converge_plugins.rules.tensions import CelDetector, DetectorConfig
from tests.core.stage import Played, engine_of, play

OFFERS = ({"vendor": "a", "price": 1}, {"vendor": "b", "price": 2}, {"vendor": "a", "price": 3})
RIVALS = {"for_each": "strategies", "when": "fact.price != other.price", "same": "fact.vendor"}


def detected(*offers: dict[str, Any], key: ContextKey = ContextKey.STRATEGIES, **config: Any) -> Played:
    engine = engine_of()
    detector = CelDetector(DetectorConfig.model_validate(RIVALS | config), Site("rivals", lambda _: print))
    engine.register_detector(detector)
    context = ContextState()
    for number, offer in enumerate(offers):
        context.add_proposal(ProposedFact(key, f"o{number}", DataPayload(data=offer)))
    return play(engine, context)


def tensions(played: Played) -> list[Tension]:
    return [fact.payload for fact in played.result.context.get(Tension)]


def test_two_facts_of_a_kind_in_conflict_are_a_tension() -> None:
    (tension,) = tensions(detected(*OFFERS))
    assert (tension.left, tension.right) == ("strategies/o0", "strategies/o2")
    assert (tension.conflict_type, tension.reason) == (ConflictType.CONTRADICTION, "fact.price != other.price")


def test_without_same_every_fact_is_held_against_every_other() -> None:
    assert len(tensions(detected(*OFFERS, same=None))) == 3


def test_facts_that_agree_are_in_no_tension() -> None:
    assert tensions(detected(OFFERS[0], OFFERS[0])) == []


def test_facts_under_other_keys_are_nobodys_business() -> None:
    assert tensions(detected(*OFFERS, key=ContextKey.SEEDS)) == []


def test_the_sort_of_the_conflict_and_the_reason_are_what_the_intent_says() -> None:
    (tension,) = tensions(
        detected(*OFFERS, conflict_type="priority_mismatch", reason="{fact.vendor}: {other.price} or {fact.price}")
    )
    assert (tension.conflict_type, tension.reason) == (ConflictType.PRIORITY_MISMATCH, "a: 1 or 3")


def test_a_fact_that_the_condition_does_not_fit_is_stated_and_loses_nothing() -> None:
    played = detected(OFFERS[0], {"vendor": "a"})
    assert played.result.context.count(ContextKey.STRATEGIES) == 2
    (diagnostic,) = played.result.context.get(DiagnosticPayload)
    assert "no field 'price'" in diagnostic.payload.summary()


def test_what_facts_have_in_common_is_evaluated_once_for_each() -> None:
    detector = CelDetector(DetectorConfig.model_validate(RIVALS), Site("rivals", lambda _: print))
    engine = engine_of()
    engine.register_detector(detector)
    context = ContextState()
    for number in range(20):
        context.add_proposal(
            ProposedFact(ContextKey.STRATEGIES, f"o{number}", DataPayload(data=OFFERS[0] | {"n": number}))
        )
    play(engine, context)
    assert len(detector._kin) == 20


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"when": "fact.price !="}, "line 1"),
        ({"when": "fakt.price != other.price"}, "unknown name 'fakt'; known here: fact, other"),
        ({"same": "other.vendor"}, "unknown name 'other'; known here: fact"),
        ({"reason": "{seeds}"}, "unknown name|context key"),
        ({"for_each": "nothing"}, "Input should be"),
    ],
)
def test_a_detector_that_cannot_work_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DetectorConfig.model_validate(RIVALS | config)
