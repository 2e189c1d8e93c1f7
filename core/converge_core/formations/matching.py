"""Maximum bipartite matching, for roles and those who can play them.

By augmenting paths (Berge 1957; Kuhn 1955): each player in turn takes a free role, or one whose player can move on to
another. Who once has a role keeps one, so the players that end up with a role are, of all sets that a maximum matching
can have, the one that comes first in the order given. That is what lets a score decide between equals.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence


def maximum_matching(playable: Sequence[Sequence[int]]) -> dict[int, int]:
    """Return a role for as many players as possible: ``playable[player]`` are the roles that each can play."""
    player_of: dict[int, int] = {}
    role_of: dict[int, int] = {}
    for newcomer in range(len(playable)):
        asked_by: dict[int, int] = {}
        free = _free_role(newcomer, playable, player_of, asked_by)
        while free is not None:  # everybody on the path moves on by one role
            player = asked_by[free]
            player_of[free], role_of[player], free = player, free, role_of.get(player)
    return role_of


def _free_role(
    newcomer: int, playable: Sequence[Sequence[int]], player_of: dict[int, int], asked_by: dict[int, int]
) -> int | None:
    """Return a free role to which a path leads from a newcomer, and note in ``asked_by`` who would take each role."""
    queue = deque([newcomer])
    while queue:
        player = queue.popleft()
        for role in playable[player]:
            if role in asked_by:
                continue
            asked_by[role] = player
            if role not in player_of:
                return role
            queue.append(player_of[role])
    return None
