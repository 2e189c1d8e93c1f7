from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_core import (
    ContextState,
    DataPayload,
    FactPayload,
    MisuseError,
    ProposedFact,
    RootIntent,
    Scope,
    SubjectRef,
    TimeWindow,
)
from converge_core.ledger.canonical import JsonValue, canonical, parse
from tests.core.context.test_payloads import json_values
from tests.core.stage import SEEDS, engine_of, play, text

SCOPE = Scope((("product", "expenses"), ("product", "claims"), ("region", "eu")))


def about(subject: str, **fields: JsonValue) -> ProposedFact[FactPayload]:
    return ProposedFact(SEEDS, "s1", DataPayload(data=fields), subject=SubjectRef(subject))


def proposal(**fields: JsonValue) -> ProposedFact[FactPayload]:
    return ProposedFact(SEEDS, "s1", DataPayload(data=fields))


@pytest.mark.parametrize(
    "inside",
    [
        proposal(),
        proposal(product="expenses"),
        proposal(product="claims", region="eu"),
        proposal(product=None),
        about("erp://product/claims"),
        about("erp://invoice/7"),
        about("erp://product/travel", product="expenses"),
        text("s1", "travel"),
    ],
    ids=lambda p: str(p.payload.body()),
)
def test_what_names_a_value_of_the_scope_or_no_dimension_of_it_is_inside(inside: ProposedFact[FactPayload]) -> None:
    assert SCOPE.excludes(inside) is None


@pytest.mark.parametrize(
    ("outside", "why"),
    [
        (proposal(product="travel"), "product 'travel' is not among claims, expenses"),
        (proposal(product="expenses", region="us"), "region 'us' is not among eu"),
        (proposal(product=7), "product 7 is not among claims, expenses"),
        (proposal(product=["expenses"]), "product ('expenses',) is not among claims, expenses"),
        (proposal(product={"a": 1}), "product {'a': 1} is not among claims, expenses"),
        (about("erp://product/travel"), "product 'travel' is not among claims, expenses"),
    ],
    ids=lambda value: str(value.payload.body()) if isinstance(value, ProposedFact) else "",
)
def test_what_names_another_value_is_outside(outside: ProposedFact[FactPayload], why: str) -> None:
    assert SCOPE.excludes(outside) == why


@given(st.dictionaries(st.sampled_from(["product", "region", "other"]), json_values))
def test_whatever_a_payload_holds_has_an_answer(fields: dict[str, JsonValue]) -> None:
    named = [name for name in ("product", "region") if fields.get(name) is not None]
    inside = all(fields[name] in [value for key, value in SCOPE.constraints if key == name] for name in named)
    assert (SCOPE.excludes(proposal(**fields)) is None) is inside


def test_without_constraints_everything_is_inside() -> None:
    assert Scope().excludes(proposal(product="travel")) is None


# --- time -------------------------------------------------------------------------------------------------------------

OCTOBER = TimeWindow("2026-10-01", "2026-10-31")
SHIFT = TimeWindow("2026-10-31T06:00:00Z", "2026-10-31T14:00:00Z")


@pytest.mark.parametrize(
    ("window", "time"),
    [
        (OCTOBER, "2026-10-01"),
        (OCTOBER, "2026-10-31"),
        (OCTOBER, "2026-10-01T00:00:00Z"),
        (OCTOBER, "2026-10-31T23:59:59Z"),
        (TimeWindow("2026-10-01"), "9999-12-31"),
        (TimeWindow(end="2026-10-31"), "0001-01-01"),
        (TimeWindow("2026-10-07", "2026-10-07"), "2026-10-07"),
        (SHIFT, "2026-10-31T06:00:00Z"),
        (SHIFT, "2026-10-31T14:00:00Z"),
    ],
)
def test_a_time_within_a_window_is_inside(window: TimeWindow, time: str) -> None:
    assert window.holds(time)
    assert Scope((("date", window),)).allows(proposal(date=time))


@pytest.mark.parametrize(
    ("window", "time"),
    [
        (OCTOBER, "2026-09-30"),
        (OCTOBER, "2026-11-01"),
        (OCTOBER, "2026-11-01T00:00:00Z"),
        (SHIFT, "2026-10-31"),
        (SHIFT, "2026-10-31T05:59:59Z"),
        (OCTOBER, "2026-10-07T10:00:00+02:00"),
        (OCTOBER, "October 7"),
        (OCTOBER, ""),
        (OCTOBER, 20261007),
        (OCTOBER, ["2026-10-07"]),
    ],
)
def test_another_time_and_what_is_no_time_is_outside(window: TimeWindow, time: JsonValue) -> None:
    assert not window.holds(time)
    assert not Scope((("date", window),)).allows(proposal(date=time))


def test_the_reason_names_the_window() -> None:
    scope = Scope((("date", OCTOBER), ("date", TimeWindow("2027-01-01"))))
    why = "date '2026-11-01' is not among 2026-10-01 to 2026-10-31, 2027-01-01 to …"
    assert scope.excludes(proposal(date="2026-11-01")) == why


@pytest.mark.parametrize(
    ("start", "end", "reason"),
    [
        (None, None, "needs a beginning or an end"),
        ("yesterday", None, "'yesterday' is no date"),
        (None, "2026-10-31T18:00", "'2026-10-31T18:00' is no date"),
        ("2026-10-02", "2026-10-01", "cannot end"),
        ("2026-10-01T12:00:00Z", "2026-10-01T11:59:59Z", "cannot end"),
    ],
)
def test_what_is_no_window_is_refused(start: str | None, end: str | None, reason: str) -> None:
    with pytest.raises(MisuseError, match=reason):
        TimeWindow(start, end)


@pytest.mark.parametrize("scope", [SCOPE, Scope(), Scope((("date", OCTOBER), ("date", TimeWindow(end="2027-01-01"))))])
def test_a_scope_is_read_back_from_the_ledger(scope: Scope) -> None:
    value: Any = parse(canonical(scope.to_json()))
    assert Scope.from_json(value) == scope


def test_what_is_outside_is_turned_away_by_the_gate_with_the_reason() -> None:
    intent = RootIntent("i", scope=Scope((("date", OCTOBER),)))
    context = ContextState([], [proposal(date="2026-11-01")])
    played = play(engine_of(), context, intent)
    (rejected,) = played.bodies("proposal_rejected")
    assert (rejected["code"], rejected["reason"]) == (
        "out_of_scope",
        "date '2026-11-01' is not among 2026-10-01 to 2026-10-31",
    )


def test_a_scope_stands_in_the_ledger_as_it_stands_in_an_intent() -> None:
    assert parse(canonical(SCOPE.to_json())) == [{"product": "expenses"}, {"product": "claims"}, {"region": "eu"}]
