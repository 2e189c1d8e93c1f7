"""Maximum matching, held against every matching there is."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from converge_core.formations.matching import maximum_matching

GRAPHS = st.integers(0, 5).flatmap(
    lambda roles: st.lists(st.lists(st.integers(0, roles - 1), unique=True) if roles else st.just([]), max_size=6)
)


def can_play_together(players: Sequence[int], playable: Sequence[Sequence[int]], taken: frozenset[int]) -> bool:
    """Whether each of these players can have a role of its own: all assignments are tried."""
    if not players:
        return True
    first, *rest = players
    return any(can_play_together(rest, playable, taken | {role}) for role in playable[first] if role not in taken)


def brute_force(playable: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """The first of the largest sets of players that can play together, in the order of the players."""
    for size in range(len(playable), -1, -1):
        for players in combinations(range(len(playable)), size):
            if can_play_together(players, playable, frozenset()):
                return players
    raise AssertionError("nobody at all can always play together")


@given(GRAPHS)
def test_a_role_is_given_once_and_to_one_who_can_play_it(playable: list[list[int]]) -> None:
    matched = maximum_matching(playable)
    assert len(set(matched.values())) == len(matched)
    assert all(role in playable[player] for player, role in matched.items())


@given(GRAPHS)
def test_as_many_play_as_can_and_of_equals_those_who_come_first(playable: list[list[int]]) -> None:
    assert tuple(sorted(maximum_matching(playable))) == brute_force(playable)


def test_whoever_came_first_moves_on_to_let_another_play() -> None:
    assert maximum_matching([[0, 1], [0]]) == {0: 1, 1: 0}


def test_a_path_may_be_longer_than_the_stack_is_deep() -> None:
    chain = [[place, place + 1] for place in range(5_000)]
    assert len(maximum_matching([*chain, [0]])) == 5_001


def test_where_nobody_can_play_nobody_does() -> None:
    assert maximum_matching([[], []]) == {}
