"""What may be asked about past runs, and which of them an answer may be about."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_core import MisuseError
from converge_core.experience.query import ALL_TENANTS, ALWAYS, KINDS, ExperienceQuery, TimeRange, UserExperience
from converge_core.ledger.events import EVENTS

NAMES = st.none() | st.sampled_from("ab")


def test_a_kind_is_that_of_an_entry_or_what_a_person_did() -> None:
    assert set(KINDS) == {*EVENTS, *UserExperience}
    assert len(KINDS) == len(set(KINDS))


def test_a_kind_that_nobody_knows_is_refused_by_name() -> None:
    with pytest.raises(MisuseError, match="'rumour' is no kind of experience"):
        ExperienceQuery(kinds=("fact_promoted", "rumour"))


@pytest.mark.parametrize("name", ["run", "correlation", "tenant"])
@pytest.mark.parametrize("value", ["", "  "])
def test_a_blank_name_is_refused(name: str, value: str) -> None:
    with pytest.raises(MisuseError, match=f"a blank {name}"):
        ExperienceQuery(**{name: value})  # type: ignore[arg-type]  # any of three


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_is_at_least_one(limit: int) -> None:
    with pytest.raises(MisuseError, match="a limit is at least 1"):
        ExperienceQuery(limit=limit)


def test_a_time_range_does_not_end_before_it_starts() -> None:
    with pytest.raises(MisuseError, match="ends before it starts"):
        TimeRange(2, 1)


@given(st.none() | st.integers(), st.none() | st.integers(min_value=0), st.integers())
def test_a_time_range_includes_both_its_ends_and_is_open_where_it_has_none(
    start: int | None, length: int | None, instant: int
) -> None:
    end = None if length is None else (start or 0) + length
    inside = TimeRange(start, end)
    assert (instant in inside) == ((start is None or start <= instant) and (end is None or instant <= end))
    assert start is None or start in inside
    assert end is None or end in inside


@given(st.integers())
def test_always_includes_every_moment(instant: int) -> None:
    assert instant in ALWAYS


@pytest.mark.parametrize(
    ("asked", "told", "wanted"),
    [
        ((), ("run_stopped",), True),
        (("run_stopped",), ("run_stopped",), True),
        (("run_stopped", "fact_promoted"), ("fact_promoted",), True),
        (("run_stopped",), ("fact_promoted",), False),
        (("user_correction",), ("correction_received", "user_correction"), True),
        (("correction_received",), ("correction_received", "user_correction"), True),
    ],
)
def test_a_record_is_wanted_by_any_of_its_kinds(asked: tuple[str, ...], told: tuple[str, ...], wanted: bool) -> None:
    assert ExperienceQuery(asked).wants(*told) == wanted


@pytest.mark.parametrize(
    ("query", "labels", "admitted"),
    [
        (ExperienceQuery(), {}, True),
        (ExperienceQuery(), {"tenant": "a"}, False),
        (ExperienceQuery(tenant="a"), {"tenant": "a"}, True),
        (ExperienceQuery(tenant="a"), {"tenant": "b"}, False),
        (ExperienceQuery(tenant="a"), {}, False),
        (ExperienceQuery(tenant=ALL_TENANTS), {"tenant": "b"}, True),
        (ExperienceQuery(tenant=ALL_TENANTS), {}, True),
        (ExperienceQuery(tenant="all"), {"tenant": "b"}, False),
        (ExperienceQuery(run="past"), {}, True),
        (ExperienceQuery(run="other"), {}, False),
        (ExperienceQuery(correlation="c"), {"correlation": "c"}, True),
        (ExperienceQuery(correlation="c"), {}, False),
        (ExperienceQuery(correlation="c"), {"correlation": "c", "tenant": "a"}, False),
    ],
)
def test_a_run_is_seen_only_by_whom_it_concerns(query: ExperienceQuery, labels: dict[str, str], admitted: bool) -> None:
    assert query.admits("past", labels) == admitted


@given(NAMES, NAMES, NAMES, NAMES, NAMES)
def test_no_query_for_one_tenant_ever_sees_the_run_of_another(
    asks: str | None, owner: str | None, run: str | None, correlation: str | None, label: str | None
) -> None:
    labels: dict[str, Any] = {"tenant": owner, "correlation": label}
    held = {name: value for name, value in labels.items() if value is not None}
    query = ExperienceQuery(run=run, correlation=correlation, tenant=asks)
    assert not query.admits("a", held) or asks == owner
