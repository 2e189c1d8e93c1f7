"""How much say somebody has."""

from __future__ import annotations

from enum import IntEnum


class AuthorityLevel(IntEnum):
    """The say of a suggestor, a person or an input, as a flow gate is told of it; in this order."""

    ADVISORY = 1
    SUPERVISORY = 2
    PARTICIPATORY = 3
    SOVEREIGN = 4
