"""The transitions of a lease: a table that any store obeys."""

from __future__ import annotations

import pickle
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_core import MisuseError
from converge_core.leases import (
    DAY_MS,
    MAX_NAME,
    Lease,
    LeaseHeld,
    LeaseLost,
    Retention,
    claimed,
    released,
    renewed,
)

HELD = Lease("desk", "ann", 100, 200)
OTHERS = Lease("desk", "bob", 100, 200)


@pytest.mark.parametrize("found", [None, HELD, OTHERS])
@pytest.mark.parametrize("now", [200, 300])
def test_a_slot_that_nobody_holds_can_be_claimed(found: Lease | None, now: int) -> None:
    assert claimed(found, "desk", "cy", 50, now) == Lease("desk", "cy", now, now + 50)


@pytest.mark.parametrize("owner", ["ann", "bob"])
@pytest.mark.parametrize("now", [100, 199])
def test_x29_a_slot_that_is_held_cannot_be_claimed_by_anybody(owner: str, now: int) -> None:
    with pytest.raises(LeaseHeld) as raised:
        claimed(HELD, "desk", owner, 50, now)
    assert raised.value.lease == HELD
    assert str(raised.value) == "the slot 'desk' is held by 'ann'"


@pytest.mark.parametrize(("ttl_ms", "end"), [(10, 200), (50, 200), (51, 201)])
def test_a_lease_that_is_renewed_never_ends_earlier(ttl_ms: int, end: int) -> None:
    assert renewed(HELD, HELD, ttl_ms, 150) == Lease("desk", "ann", 100, end)


@pytest.mark.parametrize(("found", "now"), [(None, 150), (OTHERS, 150), (HELD, 200)])
def test_a_lease_that_is_gone_cannot_be_renewed(found: Lease | None, now: int) -> None:
    with pytest.raises(LeaseLost, match="'ann' no longer has the slot 'desk'"):
        renewed(found, HELD, 50, now)


@pytest.mark.parametrize(("now", "end"), [(150, 150), (200, 200), (300, 200)])
def test_a_lease_that_is_released_has_ended(now: int, end: int) -> None:
    assert released(HELD, HELD, now) == Lease("desk", "ann", 100, end)
    assert not released(HELD, HELD, now).is_held(now)


@pytest.mark.parametrize("found", [None, OTHERS, Lease("desk", "ann", 101, 200)])
def test_only_who_claimed_a_slot_can_release_it(found: Lease | None) -> None:
    with pytest.raises(LeaseLost):
        released(found, HELD, 150)


def test_a_lease_is_the_same_however_often_it_was_renewed() -> None:
    assert HELD.is_same(Lease("desk", "ann", 100, 900))
    assert not HELD.is_same(None)


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * (MAX_NAME + 1)])
def test_a_name_is_something_that_can_be_printed(name: str) -> None:
    for slot, owner in ((name, "ann"), ("desk", name)):
        with pytest.raises(MisuseError, match="names no slot or owner"):
            claimed(None, slot, owner, 1, 0)


def test_a_lease_lasts_for_a_while() -> None:
    for ttl_ms in (0, -1):
        with pytest.raises(MisuseError, match="at least 1 ms"):
            claimed(None, "desk", "ann", ttl_ms, 0)
        with pytest.raises(MisuseError, match="at least 1 ms"):
            renewed(HELD, HELD, ttl_ms, 150)


@pytest.mark.parametrize("error", [LeaseHeld(HELD), LeaseLost(HELD)])
def test_the_errors_pickle(error: LeaseHeld | LeaseLost) -> None:
    assert pickle.loads(pickle.dumps(error)).lease == HELD


def test_td003_an_ended_lease_is_remembered_for_a_day_unless_there_are_too_many() -> None:
    assert Retention().cutoff(DAY_MS + 5) == 5
    assert [Retention(cap=3).surplus(recorded) for recorded in (0, 3, 5)] == [0, 0, 2]


@pytest.mark.parametrize("bounds", [{"max_age_ms": -1}, {"cap": -1}])
def test_a_retention_has_no_negative_bounds(bounds: dict[str, int]) -> None:
    with pytest.raises(MisuseError):
        Retention(**bounds)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 20), st.integers(0, 9)), max_size=30))
def test_x29_there_is_never_more_than_one_owner_at_a_moment(claims: list[tuple[str, int, int]]) -> None:
    now, found, held = 0, None, []
    for owner, ttl_ms, pause in claims:
        now += pause
        try:
            found = claimed(found, "desk", owner, ttl_ms, now)
        except LeaseHeld:
            continue
        held.append(found)
    assert all(one.ends_at <= next_one.claimed_at for one, next_one in pairwise(held))
