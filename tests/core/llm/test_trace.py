"""The records of routed calls, read back from a history."""

from __future__ import annotations

from typing import Any

import pytest

from converge_core import Usage
from converge_core.ledger.history import Noted, RecordedFact
from converge_core.llm.trace import ModelCall, model_calls

RECORD: dict[str, Any] = {
    "kind": "model_call",
    "considered": ["a", "b"],
    "skipped": [{"backend": "a", "gate": "capacity", "reason": "its circuit is open"}],
    "attempts": [
        {
            "backend": "b",
            "model": "b-1",
            "outcome": "success",
            "latency_ms": 7,
            "provider": "b",
            "usage": {"input_tokens": 10, "output_tokens": 5, "cost_microusd": 3},
        }
    ],
    "outcome": "success",
}


def read(**changes: Any) -> list[ModelCall]:
    return list(model_calls([Noted(4, 2, "causes", RECORD | changes)]))


def test_everybody_considered_is_told_in_their_order() -> None:
    (call,) = read()
    assert (call.cycle, call.suggestor, call.outcome) == (2, "causes", "success")
    assert [(each.backend, each.outcome, each.note) for each in call.considered] == [
        ("a", "skipped", "capacity: its circuit is open"),
        ("b", "success", ""),
    ]
    assert call.usage == Usage(10, 5, 3)


def test_all_attempts_of_a_model_stand_together_and_a_repair_says_so() -> None:
    first, again = dict(RECORD["attempts"][0], outcome="invalid_output"), dict(RECORD["attempts"][0], repair=True)
    (call,) = read(attempts=[first, again], skipped=[])
    assert [(each.outcome, each.note) for each in call.considered] == [
        ("invalid_output", ""),
        ("success", "asked again for the shape"),
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "something_else"},
        {"attempts": "none"},
        {"outcome": None},
        {"attempts": [{**RECORD["attempts"][0], "usage": {"cost_microusd": 10**15 + 1}}]},
    ],
)
def test_what_others_have_noted_is_no_model_call(changes: dict[str, Any]) -> None:
    assert read(**changes) == []


def fact(proposed_at: int, *evidence: str) -> RecordedFact:
    proposal = {"evidence": list(evidence)}
    return RecordedFact(proposal, {"key": "hypotheses", "id": "h"}, proposed_at, 9, "effect_received")


def test_a_call_has_led_to_the_facts_of_its_effect_that_cite_what_it_was_about() -> None:
    (call,) = read(about=["seeds/x"])
    assert call.led_to(fact(4, "seeds/x", "signals/y"))
    assert not call.led_to(fact(4, "seeds/other"))
    assert not call.led_to(fact(5, "seeds/x"))


def test_a_call_about_everything_has_led_to_all_facts_of_its_effect() -> None:
    (call,) = read()
    assert call.led_to(fact(4, "seeds/other"))
