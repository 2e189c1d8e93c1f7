"""A text that has the form of an event is one, whatever it says; and what the machine writes has that form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_core import canonical, read_event
from converge_core.ledger.canonical import parse
from converge_core.ledger.events import EVENTS, FactPromoted, ProposalRejected
from converge_core.ledger.forms import _form, is_plain
from tests.core.scenarios import SCRIPTS

PLAIN = sorted(kind for kind in EVENTS if _form(kind) is not None)
PROMOTED = FactPromoted(
    cycle=1,
    key="seeds",
    id="s",
    proposal="ab",
    proposer="rule",
    lamport=1,
    gate="engine-promotion",
    policy="cd",
    approver="system:converge-engine",
    authority="policy",
)


def plain_bodies() -> list[tuple[str, str]]:
    written = {(entry.kind, entry.body) for script in SCRIPTS.values() for append in script.play() for entry in append}
    return sorted(pair for pair in written if is_plain(*pair))


BODIES = plain_bodies()


def texts_of(kind: str) -> st.SearchStrategy[str]:
    form = _form(kind)
    assert form is not None
    return st.from_regex(form, fullmatch=True)


def event_that_it_is(kind: str, body: str) -> None:
    """Assert that a body is what a reader of it would have to find out."""
    value = parse(body)
    assert isinstance(value, dict)
    assert value["kind"] == kind
    assert canonical(value) == body
    assert type(read_event(body)) is EVENTS[kind]


def test_the_events_of_names_hashes_and_whole_numbers_have_a_form() -> None:
    assert {"fact_promoted", "proposal_duplicate", "gate_decided", "run_paused", "suggestor_skipped"} <= set(PLAIN)
    assert not {"run_started", "effect_received", "input_admitted", "run_stopped"} & set(PLAIN)


def test_every_promotion_that_the_machine_writes_is_plain() -> None:
    written = {entry.body for append in SCRIPTS["quick start"].play() for entry in append if entry.kind in PLAIN}
    assert written
    assert written <= {body for _, body in BODIES}


@given(st.sampled_from(PLAIN).flatmap(lambda kind: st.tuples(st.just(kind), texts_of(kind))))
def test_whatever_has_the_form_of_an_event_is_one(pair: tuple[str, str]) -> None:
    kind, body = pair
    assert is_plain(kind, body)
    event_that_it_is(kind, body)


@given(st.sampled_from(BODIES), st.data())
def test_a_plain_body_that_was_altered_is_still_an_event_or_no_longer_plain(
    pair: tuple[str, str], data: st.DataObject
) -> None:
    kind, body = pair
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(body))] * 2)))
    put = data.draw(st.text(max_size=3) | st.sampled_from([body[start:end] * 2, '"', '\\"', "\ud800", "-0", "01", " "]))
    altered = body[:start] + put + body[end:]
    if is_plain(kind, altered):
        event_that_it_is(kind, altered)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("proposal_gated", PROMOTED.body()),
        ("tea_break", PROMOTED.body()),
        ("fact_promoted", PROMOTED.body().replace('"id":"s"', '"id":"é"')),
        ("fact_promoted", PROMOTED.body().replace('"id":"s"', '"id":"\\u0061"')),
        ("fact_promoted", PROMOTED.body().replace('"id":"s"', '"id":"s","id":"s"')),
        ("fact_promoted", PROMOTED.body().replace('"id":"s"', '"id":7')),
        ("fact_promoted", PROMOTED.body().replace('"id":"s",', "")),
        ("fact_promoted", PROMOTED.body().replace('"lamport":1', '"lamport":01')),
        ("fact_promoted", PROMOTED.body().replace('"lamport":1', '"lamport":-0')),
        ("fact_promoted", PROMOTED.body().replace('"lamport":1', '"lamport":1.0')),
        ("fact_promoted", PROMOTED.body().replace('"lamport":1', '"lamport":9007199254740993')),
        ("fact_promoted", PROMOTED.body() + "\n"),
        ("fact_promoted", PROMOTED.body().replace(",", ", ")),
        ("run_paused", '{"cycle":1,"kind":"run_paused","waiting":true}'),
    ],
)
def test_what_only_reading_could_tell_is_not_plain(kind: str, body: str) -> None:
    assert is_plain("fact_promoted", PROMOTED.body())
    assert not is_plain(kind, body)


@pytest.mark.parametrize("proposal", [None, "ab"])
def test_a_member_that_may_be_absent_is_plain_with_and_without(proposal: str | None) -> None:
    event = ProposalRejected(cycle=1, proposer="p", key="seeds", id="s", code="c", reason="why", proposal=proposal)
    assert is_plain(event.kind, event.body())
