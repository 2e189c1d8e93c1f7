from __future__ import annotations

import dataclasses
import json
from itertools import takewhile
from typing import Any

import pytest

from converge_core import Entry, StopReason, canonical, read_event
from converge_core.gates.stop import STOP_REASONS
from converge_core.ledger.canonical import is_canonical
from converge_core.ledger.events import EVENTS, MAX_REASON, DecisionReceived, Event, RunStopped, printable
from converge_core.ledger.merkle import leaf_hash
from tests.core.scenarios import SCRIPTS

each_script = pytest.mark.parametrize("name", SCRIPTS)


def log_of(name: str) -> list[Entry]:
    return [entry for append in SCRIPTS[name].play() for entry in append]


@pytest.fixture(scope="module")
def everything() -> dict[str, list[Entry]]:
    return {name: log_of(name) for name in SCRIPTS}


def test_every_kind_of_event_occurs_in_some_run(everything: dict[str, list[Entry]]) -> None:
    occurring = {entry.kind for log in everything.values() for entry in log}
    assert set(EVENTS) - occurring == set()


def test_every_stop_reason_occurs_in_some_run(everything: dict[str, list[Entry]]) -> None:
    reasons = {
        StopReason.from_json(json.loads(entry.body)["stop"]).name
        for log in everything.values()
        for entry in log
        if entry.kind == RunStopped.kind
    }
    paused = {"hitl_gate_pending"} if any(log[-1].kind == "run_paused" for log in everything.values()) else set()
    assert set(STOP_REASONS) - reasons - paused == set()


@each_script
def test_every_entry_is_canonical_json_that_names_its_kind_under_its_leaf_hash(name: str) -> None:
    for entry in log_of(name):
        assert is_canonical(entry.body)
        assert json.loads(entry.body)["kind"] == entry.kind
        assert entry.leaf == leaf_hash(entry.body.encode())
        assert Entry.of(entry.body) == entry


@each_script
def test_every_event_is_read_back_and_written_again_as_the_same_bytes(name: str) -> None:
    for entry in log_of(name):
        event = read_event(entry.body)
        assert type(event) is EVENTS[entry.kind]
        assert event.entry() == entry


BRING_PROPOSALS = {
    "correction_received",
    "decision_received",
    "effect_received",
    "fact_carried",
    "input_admitted",
    "proposal_made",
}


@each_script
def test_a_payload_is_stored_once(name: str) -> None:
    """Later events name a proposal by its hash; the words stand where they came in."""
    for entry in log_of(name):
        if entry.kind not in BRING_PROPOSALS:
            assert '"payload"' not in entry.body
            assert '"body"' not in entry.body


@each_script
def test_a_run_begins_with_its_constitution_and_then_its_inputs(name: str) -> None:
    log = log_of(name)
    kinds = [entry.kind for entry in log]
    assert (kinds[0], kinds.count("run_started")) == ("run_started", 1)
    begun = list(takewhile(lambda entry: entry.kind in ("fact_carried", "input_admitted"), log[1:]))
    late = [json.loads(entry.body) for entry in log[1 + len(begun) :] if entry.kind == "input_admitted"]
    assert kinds.count("fact_carried") == [entry.kind for entry in begun].count("fact_carried")
    assert all("cycle" in body for body in late), "what comes later says when it came"


@pytest.mark.parametrize("event", EVENTS.values(), ids=list(EVENTS))
def test_every_event_says_what_it_is_and_is_a_frozen_value(event: type[Event]) -> None:
    assert event.__doc__
    assert EVENTS[event.kind] is event
    parameters: Any = event.__dataclass_params__  # type: ignore[attr-defined]
    assert parameters.frozen
    assert all(field.kw_only for field in dataclasses.fields(event))


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "{}",
        '{"kind":"tea_break"}',
        '{"kind":7}',
        '{"kind":"time_observed"}',
        '{"kind":"time_observed","cycle":1,"elapsed_ms":1,"more":1}',
    ],
)
def test_what_is_no_event_is_refused(body: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the message is that of whatever part does not fit
        read_event(body)


@pytest.mark.parametrize("body", ["[]", "{}", '{"kind":"tea_break"}'])
def test_what_is_no_event_is_no_entry(body: str) -> None:
    with pytest.raises(ValueError, match="not the body of an event"):
        Entry.of(body)


def test_an_absent_field_is_left_out_of_the_body() -> None:
    event = DecisionReceived(gate="g", verdict="approve", actor="human:ann")
    assert event.body() == canonical(
        {"actor": "human:ann", "gate": "g", "kind": "decision_received", "verdict": "approve"}
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("why", "why"),
        ("a\n\n b\tc ", "a b c"),
        ("a\x00b\x1b[31m", "a?b?[31m"),
        ("\ud800", "?"),
        ("é 漢 🙂", "é 漢 🙂"),
        ("x" * 600, "x" * MAX_REASON),
        ("", ""),
    ],
)
def test_a_reason_is_one_printable_line(text: str, line: str) -> None:
    assert printable(text) == line
