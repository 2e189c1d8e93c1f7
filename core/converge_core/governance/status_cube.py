"""The status cube: where each part of a repository stands, by what it is, whom it is for, and how far it is.

Three axes of fixed words, and time. The axes are rings: after the last place comes the first, so every coordinate has
six neighbours. An artifact stands at one coordinate with the evidence that was found for it; what it *projects* to is
where it is going by that evidence.

| it is     | with evidence that passes | it goes to | confidence                      |
|-----------|---------------------------|------------|---------------------------------|
| proven    | any                       | proven     | 0.95                            |
| candidate | n >= 2                    | proven     | 0.7 + 0.1 n, and 0.99 at most   |
| candidate | n < 2                     | candidate  | 0.4 + 0.1 n                     |
| held      | any                       | candidate  | 0.3                             |
| blocked   | any                       | blocked    | 0.1                             |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from converge_core.errors import MisuseError
from converge_core.governance.terms import member

SUBJECTS = ("repo", "apps", "skills", "scripts", "docs", "archive", "data", "surfaces", "integrations")
LANES = ("control", "report", "dollhouse", "wallet", "device", "product")
ENOUGH = 2
"""How many pieces of evidence prove a candidate."""


class Standing(StrEnum):
    """How far something is."""

    PROVEN = "proven"
    CANDIDATE = "candidate"
    HELD = "held"
    BLOCKED = "blocked"


W = TypeVar("W", bound=str)


@dataclass(frozen=True, slots=True)
class Coordinate:
    """A place in the cube: what it is, whom it is for, how far it is, and when.

    Raises MisuseError for a word that its axis does not have.
    """

    x: str
    y: str
    z: Standing
    t: str = ""

    def __post_init__(self) -> None:
        for axis, word, words in (("x", self.x, SUBJECTS), ("y", self.y, LANES)):
            if word not in words:
                raise MisuseError(f"status cube, axis {axis}: {word!r:.80} is none of {', '.join(words)}")
        object.__setattr__(self, "z", member(Standing, self.z, "status cube, axis z"))

    def neighbours(self) -> tuple[Coordinate, ...]:
        """Return the places one step away, axis by axis, back and forth, at the same time."""
        return (
            *(replace(self, x=word) for word in _beside(SUBJECTS, self.x)),
            *(replace(self, y=word) for word in _beside(LANES, self.y)),
            *(replace(self, z=word) for word in _beside(tuple(Standing), self.z)),
        )


def _beside(ring: Sequence[W], word: W) -> tuple[W, W]:
    place = ring.index(word)
    return ring[place - 1], ring[(place + 1) % len(ring)]


class Projection(NamedTuple):
    """Where an artifact is going, and how likely that is."""

    standing: Standing
    confidence: float


@dataclass(frozen=True, slots=True)
class StatusArtifact:
    """Something that has a place in the cube; ``passed`` are the ids of the evidence for it that passes."""

    id: str
    at: Coordinate
    passed: frozenset[str] = frozenset()

    def project(self) -> Projection:
        """Return where the artifact is going by the evidence for it."""
        count = len(self.passed)
        match self.at.z:
            case Standing.PROVEN:
                return Projection(Standing.PROVEN, 0.95)
            case Standing.CANDIDATE if count >= ENOUGH:
                return Projection(Standing.PROVEN, min(round(0.7 + 0.1 * count, 2), 0.99))
            case Standing.CANDIDATE:
                return Projection(Standing.CANDIDATE, round(0.4 + 0.1 * count, 2))
            case Standing.HELD:
                return Projection(Standing.CANDIDATE, 0.3)
            case Standing.BLOCKED:
                return Projection(Standing.BLOCKED, 0.1)


@dataclass(frozen=True, slots=True)
class StatusCube:
    """The artifacts by id, each at one place."""

    artifacts: Mapping[str, StatusArtifact] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "artifacts", MappingProxyType(dict(self.artifacts)))

    def place(self, artifact: StatusArtifact) -> StatusCube:
        """Return the cube with an artifact at its place, and nowhere else."""
        return replace(self, artifacts={**self.artifacts, artifact.id: artifact})

    def at(self, coordinate: Coordinate) -> tuple[StatusArtifact, ...]:
        """Return the artifacts at a place, whenever they came there."""
        place = (coordinate.x, coordinate.y, coordinate.z)
        return tuple(each for each in self.artifacts.values() if (each.at.x, each.at.y, each.at.z) == place)

    def project(self) -> Mapping[str, Projection]:
        """Return where every artifact is going."""
        return {id: artifact.project() for id, artifact in self.artifacts.items()}
