"""``work.vectorise``: words that count, and the angle between two texts."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_plugins.work_suggester.vectors import VOCABULARY, Component, IssueVectors, cosine, vector, words
from tests.plugins.work_suggester.stage import issue, opened, run, vectoriser

WEIGHTS = dict.fromkeys(VOCABULARY, 1.0)


def test_the_vocabulary_is_the_original_one() -> None:
    assert (len(VOCABULARY), len(set(VOCABULARY))) == (34, 34)


def test_a_word_is_what_is_written_and_a_hyphen_is_part_of_it() -> None:
    assert words("The csf-agent's LOOP, again: a_b 7!") == ["the", "csf-agent", "s", "loop", "again", "a_b", "7"]


def test_a_vector_counts_the_words_that_matter_by_their_weights() -> None:
    made = vector(words("loop the dream loop"), WEIGHTS | {"dream": 2.0})
    assert made == (Component("dream", 2 / math.sqrt(8)), Component("loop", 2 / math.sqrt(8)))


@pytest.mark.parametrize("text", ["", "nothing of the kind", "csf-agent"])
def test_a_text_without_any_such_word_has_no_vector(text: str) -> None:
    assert vector(words(text), WEIGHTS) == ()


@given(st.lists(st.sampled_from(VOCABULARY)), st.lists(st.sampled_from(VOCABULARY)))
def test_a_cosine_is_a_share_and_does_not_mind_the_order(one: list[str], other: list[str]) -> None:
    left, right = vector(one, WEIGHTS), vector(other, WEIGHTS)
    assert cosine(left, right) == pytest.approx(cosine(right, left))
    assert -1e-9 <= cosine(left, right) <= 1 + 1e-9
    assert cosine(left, left) == pytest.approx(1.0 if one else 0.0)
    assert vector(one[::-1], WEIGHTS) == left


def test_each_issue_has_a_vector_of_its_headline_and_one_of_its_text() -> None:
    one = issue(3, title="Fix the Loop", labels=["bug", "csf-agent"], text="the loop")
    result = run(opened(one), vectoriser())
    [fact] = result.context.get(IssueVectors)
    assert (fact.ref, fact.evidence, fact.payload.issue) == ("signals/vectors:3", ("seeds/issue:3",), "seeds/issue:3")
    assert [component.word for component in fact.payload.headline] == ["bug", "fix", "loop"]
    assert fact.payload.text == (Component("loop", 1.0),)


def test_the_vocabulary_and_its_weights_can_be_others() -> None:
    result = run(
        opened(issue(text="ledger replay loop")), vectoriser(vocabulary=["ledger", "replay"], weights={"replay": 3})
    )
    [fact] = result.context.get(IssueVectors)
    assert [component.word for component in fact.payload.text] == ["ledger", "replay"]
    assert fact.payload.text[1].value == pytest.approx(3 * fact.payload.text[0].value)
