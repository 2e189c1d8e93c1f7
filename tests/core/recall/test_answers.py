"""What a search answers: candidates in order, and the fingerprint of where they were looked for."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_core import MisuseError
from converge_core.recall.answers import RecallCandidate, fingerprint_of, ranked
from converge_core.recall.payloads import RelevanceLevel
from tests.core.recall.found import found

SCORES = st.sampled_from([0.0, 0.4, 0.5, 0.9, 1.0])
TIMES = st.sampled_from(["", "2026-01-01T00:00:00.000Z", "2026-02-01T00:00:00.000Z"])
CANDIDATES = st.lists(
    st.builds(
        found,
        SCORES,
        sequence=st.integers(0, 9),
        raw=st.sampled_from([0.5, 2.0]),
        run_id=st.sampled_from("ab"),
        recorded_at=TIMES,
    ),
    max_size=12,
)
CORPUS = [("one", "1:aa", "t1"), ("two", "2:bb", "t2")]


@pytest.mark.parametrize("score", [-0.01, 1.01, float("nan"), float("inf")])
def test_a_score_out_of_range_is_refused_with_the_place(score: float) -> None:
    with pytest.raises(MisuseError, match="past/3"):
        found(score, sequence=3)


@pytest.mark.parametrize(
    ("score", "level"), [(1.0, "high"), (0.8, "high"), (0.79, "medium"), (0.5, "medium"), (0.49, "low"), (0.0, "low")]
)
def test_how_well_something_fits_is_told_in_a_word(score: float, level: str) -> None:
    assert found(score).relevance is RelevanceLevel(level)


def test_a_candidate_is_named_by_the_place_of_its_record() -> None:
    assert found(1, run_id="run", sequence=7).id == "run/7"


def _order(candidates: Sequence[RecallCandidate]) -> list[str]:
    return [candidate.id for candidate in ranked(candidates)]


def test_the_better_score_comes_first_whatever_the_ranking_says() -> None:
    assert _order([found(0.4, sequence=1, raw=9), found(0.5, sequence=2, raw=1)]) == ["past/2", "past/1"]


def test_of_equal_scores_the_better_ranking_comes_first() -> None:
    assert _order([found(0.5, sequence=1, raw=1), found(0.5, sequence=2, raw=9)]) == ["past/2", "past/1"]


def test_of_those_that_fit_equally_well_the_newest_comes_first() -> None:
    old, new = found(0.5, run_id="a", recorded_at="2026-01"), found(0.5, run_id="b", recorded_at="2026-02")
    assert _order([old, new]) == ["b/0", "a/0"]


def test_of_the_same_moment_the_place_decides() -> None:
    assert _order([found(0.5, sequence=2), found(0.5, sequence=1)]) == ["past/1", "past/2"]


@given(CANDIDATES, st.randoms(use_true_random=False))
def test_the_order_depends_on_nothing_but_the_candidates(candidates: list[RecallCandidate], random: Random) -> None:
    shuffled = list(candidates)
    random.shuffle(shuffled)
    distinct = {candidate.id: candidate for candidate in candidates}.values()
    again = {candidate.id: candidate for candidate in shuffled if candidate in distinct}.values()
    assert ranked(distinct) == ranked(again)


def test_a_fingerprint_does_not_depend_on_the_order_of_runs() -> None:
    assert fingerprint_of(CORPUS) == fingerprint_of(reversed(CORPUS))


@pytest.mark.parametrize(
    "other",
    [
        CORPUS[:1],
        [*CORPUS, ("three", "1:cc", "t3")],
        [("One", "1:aa", "t1"), CORPUS[1]],
        [("one", "1:ab", "t1"), CORPUS[1]],
        [("one", "1:aa", "t9"), CORPUS[1]],
    ],
)
def test_another_corpus_has_another_fingerprint(other: list[tuple[str, str, str]]) -> None:
    assert fingerprint_of(other) != fingerprint_of(CORPUS)
