from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_core import MisuseError
from converge_core.governance.status_cube import (
    LANES,
    SUBJECTS,
    Coordinate,
    Projection,
    Standing,
    StatusArtifact,
    StatusCube,
)

PROVEN, CANDIDATE, HELD, BLOCKED = Standing
HERE = Coordinate("repo", "control", PROVEN, "tick-1")


def test_an_artifact_stands_at_one_place() -> None:
    there = replace(HERE, x="docs")
    cube = StatusCube().place(StatusArtifact("a", HERE)).place(StatusArtifact("b", HERE))
    cube = cube.place(StatusArtifact("a", there))
    assert [each.id for each in cube.at(HERE)] == ["b"]
    assert [each.id for each in cube.at(there)] == ["a"]


def test_a_place_is_the_same_at_any_time() -> None:
    cube = StatusCube().place(StatusArtifact("a", HERE))
    assert [each.id for each in cube.at(replace(HERE, t="tick-9"))] == ["a"]


def test_the_axes_are_rings() -> None:
    assert HERE.neighbours() == (
        replace(HERE, x="integrations"),
        replace(HERE, x="apps"),
        replace(HERE, y="product"),
        replace(HERE, y="report"),
        replace(HERE, z=BLOCKED),
        replace(HERE, z=CANDIDATE),
    )


@pytest.mark.parametrize(
    ("standing", "passed", "projection"),
    [
        (PROVEN, 0, Projection(PROVEN, 0.95)),
        (PROVEN, 5, Projection(PROVEN, 0.95)),
        (CANDIDATE, 0, Projection(CANDIDATE, 0.4)),
        (CANDIDATE, 1, Projection(CANDIDATE, 0.5)),
        (CANDIDATE, 2, Projection(PROVEN, 0.9)),
        (CANDIDATE, 3, Projection(PROVEN, 0.99)),
        (CANDIDATE, 9, Projection(PROVEN, 0.99)),
        (HELD, 9, Projection(CANDIDATE, 0.3)),
        (BLOCKED, 9, Projection(BLOCKED, 0.1)),
    ],
)
def test_an_artifact_goes_where_its_evidence_takes_it(standing: Standing, passed: int, projection: Projection) -> None:
    artifact = StatusArtifact("a", replace(HERE, z=standing), frozenset(map(str, range(passed))))
    assert StatusCube().place(artifact).project() == {"a": projection}


@pytest.mark.parametrize(("axis", "word"), [("x", "moon"), ("y", "moon"), ("z", "moon")])
def test_a_word_that_is_on_no_axis_is_refused(axis: str, word: str) -> None:
    with pytest.raises(MisuseError, match=f"status cube, axis {axis}: 'moon' is none of"):
        replace(HERE, **{axis: word})  # type: ignore[arg-type]  # any axis


@given(st.builds(Coordinate, st.sampled_from(SUBJECTS), st.sampled_from(LANES), st.sampled_from(Standing)))
def test_who_is_my_neighbour_has_me_as_a_neighbour(place: Coordinate) -> None:
    assert len(set(place.neighbours())) == 6
    assert all(place in each.neighbours() for each in place.neighbours())
