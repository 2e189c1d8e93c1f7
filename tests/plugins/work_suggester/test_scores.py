"""``work.score``: the original's formula, to its verified numbers, and BM25."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from converge_plugins.work_suggester.scores import IssueScore, bm25, recency_of
from tests.plugins.work_suggester.stage import TODAY, issue, opened, run, scorer, scores, vectoriser

DAY_BEFORE = "2026-10-30T10:00:00Z"


def score_of(**fields: Any) -> float:
    [score] = scores(run(opened(issue(**fields)), vectoriser(), scorer())).values()
    return score


@pytest.mark.parametrize(
    ("fields", "score"),
    [
        ({"labels": ["p2", "convergence-io"]}, 0.36),
        ({"labels": ["p0", "dream-journal"]}, 0.7),
        ({"labels": ["p1", "csf-agent"]}, 0.51),
        ({"labels": ["p1", "dream-journal"], "created_at": DAY_BEFORE}, 0.56),
        (
            {
                "title": "Issue 0",
                "labels": ["p0", "dream-journal"],
                "text": "fix convergence dream loop 0",
                "created_at": TODAY,
            },
            0.72,
        ),
    ],
)
def test_the_formula_gives_the_original_numbers(fields: dict[str, Any], score: float) -> None:
    assert score_of(**fields) == score


def test_the_greatest_score_there_is_is_92_hundredths() -> None:
    assert score_of(title="loop", text="loop", labels=["p0", "dream-journal"], created_at=TODAY) == 0.92


def test_the_first_priority_counts_and_the_greatest_stream() -> None:
    labels = ["p2", "convergence-io", "p0", "dream-journal"]
    result = run(opened(issue(labels=labels)), vectoriser(), scorer())
    [fact] = result.context.get(IssueScore)
    assert (fact.payload.urgency, fact.payload.importance, fact.payload.stream) == (1.0, 1.0, "dream-journal")


def test_labels_may_count_otherwise() -> None:
    result = run(
        opened(issue(labels=["now", "core"])), vectoriser(), scorer(priorities={"now": 0.5}, streams={"core": 1})
    )
    assert scores(result) == {1: 0.5}


@pytest.mark.parametrize(
    ("created_at", "recency"),
    [
        (TODAY, 0.2),
        ("2026-10-24T09:00:00Z", 0.2),
        ("2026-10-24T08:59:59Z", 0.0),
        ("2026-10-30", 0.2),
        ("2026-10-24T10:30:00+02:00", 0.0),
        ("yesterday", 0.0),
        ("", 0.0),
        (None, 0.0),
    ],
)
def test_what_was_opened_within_seven_days_is_recent(created_at: str | None, recency: float) -> None:
    assert recency_of(issue(created_at=created_at)) == recency


def test_without_the_moment_of_the_reading_nothing_is_recent() -> None:
    assert recency_of(issue(created_at=TODAY, seen_at=None)) == 0.0


def test_a_score_cites_what_it_was_reckoned_from() -> None:
    result = run(opened(issue(4, text="loop")), vectoriser(), scorer())
    [fact] = result.context.get(IssueScore)
    assert (fact.ref, fact.evidence, fact.payload.issue) == (
        "evaluations/score:4",
        ("signals/vectors:4",),
        "seeds/issue:4",
    )


def test_the_formula_waits_for_vectors_and_bm25_needs_none() -> None:
    assert scores(run(opened(issue(text="replay")), scorer())) == {}
    assert scores(run(opened(issue(text="replay")), scorer(method="bm25", query="replay"))) == {1: 0.2}


def test_with_bm25_what_one_is_after_comes_first() -> None:
    issues = [
        issue(1, text="the replay of a run"),
        issue(2, text="replay, and replay again, after a crash"),
        issue(3, text="a page for people"),
    ]
    result = scores(run(opened(*issues), scorer(method="bm25", query="Replay after a crash")))
    assert result[2] == 0.2 > result[1] > result[3]


def test_with_bm25_a_query_that_nothing_matches_scores_nothing() -> None:
    assert scores(run(opened(issue(text="loop")), scorer(method="bm25", query="ledger"))) == {1: 0.0}


@given(
    st.lists(st.lists(st.sampled_from("abcd"), max_size=6), max_size=6), st.lists(st.sampled_from("abcd"), max_size=4)
)
def test_bm25_is_never_negative_and_zero_without_a_common_word(texts: list[list[str]], query: list[str]) -> None:
    for text, match in zip(texts, bm25(query, texts), strict=True):
        assert (match > 0) == bool(set(text) & set(query))


def test_bm25_prefers_the_rare_word_and_the_short_text() -> None:
    texts = [["a", "b"], ["a", "c"], ["a", "d"], ["a"]]
    rare, common = bm25(["b"], texts)[0], bm25(["a"], texts)
    assert rare > common[0]
    assert common[3] > common[0]


@pytest.mark.parametrize(
    "config",
    [{"method": "bm25"}, {"query": "loop"}, {"method": "bm25", "query": " ?! "}, {"priorities": {"p0": 2}}, {"x": 1}],
)
def test_a_configuration_that_makes_no_sense_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        scorer(**config)
