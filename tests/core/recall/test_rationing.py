"""Every budget of a policy is applied, and what was left out is told."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_core import AuthorityError, RecallPolicy, RecallQuery, Replayability
from converge_core.recall.answers import RecallCandidate
from converge_core.recall.payloads import (
    LeftOut,
    LeftOutReason,
    RecallExecuted,
    RecallStop,
    ReplayabilityDowngradeReason,
    ScoredCandidate,
    replayability_of,
)
from converge_core.recall.policy import RecallBudgets, RecallConsumer, RecallUse, tokens_of
from converge_core.recall.rationing import Recollection, ration, recall
from tests.core.recall.found import TRACE, FakeRecall, found
from tests.core.stage import finish
from tests.fakes.clock import FakeClock

QUERY = RecallQuery("words")
ALL = RecallPolicy(enabled=True, min_score_threshold=0)
NOT_PINNED = ReplayabilityDowngradeReason.RECALL_CORPUS_NOT_PINNED


def asked(
    source: FakeRecall, policy: RecallPolicy = ALL, *, query: RecallQuery = QUERY, took: int = 0, **how: Any
) -> Recollection:
    """Recall under a policy, by a search that takes so many milliseconds."""
    return finish(recall(source, query, policy, FakeClock([1000, 1000 + took]), **how))


def used(*candidates: RecallCandidate, top_k: int = 5, **limits: Any) -> list[str]:
    """The records that are let through."""
    recalled, _ = ration(candidates, top_k, ALL.model_copy(update=limits))
    return [one.item.record for one in recalled]


def left_out(*candidates: RecallCandidate, top_k: int = 5, **limits: Any) -> dict[str, int]:
    """How many are not, by reason."""
    _, out = ration(candidates, top_k, ALL.model_copy(update=limits))
    return {one.reason.value: one.count for one in out}


def some(*scores: float) -> list[RecallCandidate]:
    """Candidates with these scores, each with words of its own, 4 bytes long."""
    return [found(score, f"w{number:03}", number) for number, score in enumerate(scores)]


# --- what is let through ----------------------------------------------------------------------------------------------


def test_what_reaches_the_threshold_is_used_and_nothing_below_it() -> None:
    candidates = some(0.8, 0.5, 0.499)
    assert used(*candidates, min_score_threshold=0.5) == ["past/0", "past/1"]
    assert left_out(*candidates, min_score_threshold=0.5) == {"below_threshold": 1}


def test_no_more_items_than_the_policy_allows() -> None:
    assert used(*some(1, 1, 1), max_k_total=2) == ["past/0", "past/1"]
    assert left_out(*some(1, 1, 1), max_k_total=2) == {"over_count": 1}


def test_no_more_items_than_were_asked_for() -> None:
    assert used(*some(1, 1, 1), top_k=1) == ["past/0"]


def test_all_items_together_keep_to_the_limit_of_tokens() -> None:
    assert used(*some(1, 1, 1), max_tokens_injection=2) == ["past/0", "past/1"]
    assert left_out(*some(1, 1, 1), max_tokens_injection=2) == {"over_tokens": 1}


def test_one_that_is_too_large_leaves_its_place_to_a_smaller_one() -> None:
    large, small = found(1, "large " * 4, 1), found(0.9, "tiny", 2)
    assert used(large, small, max_tokens_injection=2) == ["past/2"]


def test_an_item_is_cut_to_its_own_limit_before_it_is_counted() -> None:
    policy = ALL.model_copy(update={"max_tokens_injection": 2, "budgets": RecallBudgets(max_tokens_per_candidate=2)})
    [one], out = ration([found(1, "a long story")], 5, policy)
    assert (one.item.text, one.item.tokens, one.item.truncated) == ("a lon…", 2, True)
    assert out == ()


def test_an_item_that_is_whole_says_so() -> None:
    [one], _ = ration([found(1, "short")], 5, ALL)
    assert (one.item.text, one.item.truncated) == ("short", False)


def test_of_two_with_the_same_words_the_better_one_is_used() -> None:
    assert used(found(1, "same", 1), found(0.9, "same", 2)) == ["past/1"]
    assert left_out(found(1, "same", 1), found(0.9, "same", 2)) == {"repeated": 1}


def test_two_that_differ_beyond_the_cut_are_two() -> None:
    short = RecallBudgets(max_tokens_per_candidate=2)
    assert used(found(1, "a long story", 1), found(1, "a long song", 2), budgets=short) == ["past/1", "past/2"]


def test_the_confidence_of_a_memory_is_weighed_by_the_prior() -> None:
    [one], _ = ration([found(1, confidence=0.8)], 5, ALL.model_copy(update={"prior_weight": 0.5}))
    assert one.confidence == 0.4


def test_an_item_says_where_it_comes_from() -> None:
    [one], _ = ration([found(0.6, run_id="run", sequence=4, subject="seeds/s")], 5, ALL)
    assert one.provenance == "recall:run:seeds/s"
    assert (one.item.run, one.item.record, one.item.subject) == ("run", "run/4", "seeds/s")
    assert (one.item.source_type, one.item.relevance, one.item.score) == ("similar_success", "medium", 0.6)


SCORES = st.lists(st.tuples(st.floats(0, 1), st.text("ab ", max_size=30)), max_size=12)
LIMITS = st.fixed_dictionaries(
    {
        "max_k_total": st.integers(0, 6),
        "max_tokens_injection": st.integers(0, 12),
        "min_score_threshold": st.floats(0, 1),
        "budgets": st.builds(RecallBudgets, max_tokens_per_candidate=st.integers(1, 6)),
    }
)


@given(SCORES, st.integers(0, 6), LIMITS)
def test_whatever_is_found_no_limit_is_exceeded_and_all_is_accounted_for(
    told: list[tuple[float, str]], top_k: int, limits: dict[str, Any]
) -> None:
    candidates = [found(score, words, place) for place, (score, words) in enumerate(told)]
    policy = ALL.model_copy(update=limits)
    recalled, out = ration(candidates, top_k, policy)
    items = [one.item for one in recalled]
    assert len(items) <= min(top_k, policy.max_k_total)
    assert sum(item.tokens for item in items) <= policy.max_tokens_injection
    assert all(item.tokens == tokens_of(item.text) <= policy.budgets.max_tokens_per_candidate for item in items)
    assert all(item.score >= policy.min_score_threshold for item in items)
    assert len(items) + sum(one.count for one in out) == len(candidates)
    assert [item.record for item in items] == [one.id for one in candidates if one.id in {i.record for i in items}]


# --- the search -------------------------------------------------------------------------------------------------------


def test_a_search_sees_the_past_as_it_is_now() -> None:
    source = FakeRecall()
    asked(source)
    assert source.calls == ["refresh", "search"]


def test_the_search_is_told_what_it_may_cost() -> None:
    source, budgets = FakeRecall(), RecallBudgets(max_embedding_calls=1)
    asked(source, ALL.model_copy(update={"budgets": budgets}))
    assert source.budgets == [budgets]


def test_under_a_policy_that_is_not_enabled_nothing_is_searched() -> None:
    source = FakeRecall(*some(1), downgrades=(NOT_PINNED,))
    found_ = asked(source, RecallPolicy())
    assert (source.calls, found_.recalled) == ([], ())
    assert found_.executed.stop_reason is RecallStop.DISABLED


@pytest.mark.parametrize("enabled", [True, False])
def test_a_use_that_the_policy_does_not_allow_is_refused_before_anything_is_searched(enabled: bool) -> None:
    source = FakeRecall(*some(1))
    policy = RecallPolicy(enabled=enabled)
    with pytest.raises(AuthorityError, match="training_candidate_selection; it allows runtime_augmentation"):
        asked(source, policy, use=RecallUse.TRAINING_CANDIDATE_SELECTION)
    assert source.calls == []


def test_a_use_that_the_policy_allows_is_recorded() -> None:
    policy = ALL.model_copy(update={"allowed_uses": (RecallUse.TRAINING_CANDIDATE_SELECTION,)})
    consumers = (RecallConsumer.TRAINER, RecallConsumer.ANALYTICS)
    executed = asked(FakeRecall(), policy, use=RecallUse.TRAINING_CANDIDATE_SELECTION, consumers=consumers).executed
    assert (executed.purpose, executed.consumers) == (RecallUse.TRAINING_CANDIDATE_SELECTION, consumers)


@pytest.mark.parametrize(("took", "count"), [(100, 1), (101, 0)])
def test_an_answer_that_comes_too_late_is_not_used(took: int, count: int) -> None:
    found_ = asked(FakeRecall(*some(1)), took=took)
    assert len(found_.recalled) == len(found_.executed.candidates) == count
    assert found_.executed.stop_reason is (None if count else RecallStop.TOO_LATE)


def test_the_past_of_another_tenant_is_refused() -> None:
    with pytest.raises(AuthorityError, match="the past of a"):
        asked(FakeRecall(*some(1), tenant="b"), query=RecallQuery("words", tenant="a"))


# --- the record -------------------------------------------------------------------------------------------------------


def test_the_record_tells_what_was_asked_found_used_and_left_out() -> None:
    executed = asked(FakeRecall(*some(0.9, 0.1)), RecallPolicy(enabled=True)).executed
    assert executed.query == "words"
    assert executed.query_hash == str(QUERY.stable_hash())
    assert executed.policy_hash == str(RecallPolicy(enabled=True).stable_hash())
    assert (executed.searched, executed.corpus_fingerprint) == (2, "corpus")
    assert executed.candidates == (ScoredCandidate(id="past/0", score=0.9, tokens=1),)
    assert executed.left_out == (LeftOut(reason=LeftOutReason.BELOW_THRESHOLD, count=1),)


def test_a_search_that_finds_nothing_is_recorded_too() -> None:
    executed = asked(FakeRecall()).executed
    assert (executed.candidates, executed.searched) == ((), 0)
    assert executed.summary() == "recalled 0 of 0 memories"


def test_the_record_holds_no_time_so_that_equal_searches_are_equal() -> None:
    assert asked(FakeRecall(*some(1)), took=1) == asked(FakeRecall(*some(1)), took=99)


def test_the_record_names_the_embedder_that_took_part() -> None:
    executed = asked(FakeRecall(embedding=TRACE)).executed
    assert (executed.embedder_id, executed.embedder_settings_hash) == ("embedder", "settings")
    assert (executed.embedding_input_hash, executed.embedding_hash) == ("input", "embedding")


# --- replayability ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reasons", "left"),
    [
        ((), Replayability.DETERMINISTIC),
        ((NOT_PINNED,), Replayability.BEST_EFFORT),
        ((ReplayabilityDowngradeReason.RECALL_EMBEDDER_NOT_DETERMINISTIC,), Replayability.BEST_EFFORT),
        ((ReplayabilityDowngradeReason.RECALL_CORPUS_NOT_CONTENT_ADDRESSED,), Replayability.NONE),
        ((NOT_PINNED, ReplayabilityDowngradeReason.RECALL_TOO_LATE), Replayability.NONE),
    ],
)
def test_every_reason_takes_something_from_replayability(
    reasons: tuple[ReplayabilityDowngradeReason, ...], left: Replayability
) -> None:
    assert replayability_of(reasons) is left


def test_a_downgrade_is_recorded_with_its_reason() -> None:
    executed = asked(FakeRecall(downgrades=(NOT_PINNED,))).executed
    assert (executed.replayability, executed.downgraded_from) == (
        Replayability.BEST_EFFORT,
        Replayability.DETERMINISTIC,
    )
    assert executed.downgrade_reasons == (NOT_PINNED,)
    assert "best_effort as recall_corpus_not_pinned" in executed.summary()


def test_a_search_that_nothing_takes_anything_from_is_not_downgraded() -> None:
    executed = asked(FakeRecall()).executed
    assert (executed.replayability, executed.downgraded_from) == (Replayability.DETERMINISTIC, None)


def test_where_the_clock_decided_there_is_no_replay() -> None:
    executed = asked(FakeRecall(downgrades=(NOT_PINNED,)), took=101).executed
    assert executed.replayability is Replayability.NONE
    assert executed.downgrade_reasons == (NOT_PINNED, ReplayabilityDowngradeReason.RECALL_TOO_LATE)


EXECUTED = asked(FakeRecall(*some(0.9, 0.8), embedding=TRACE)).executed


@pytest.mark.parametrize(
    "change",
    [
        {"query_hash": "0"},
        {"embedding_input_hash": "0"},
        {"embedder_id": "0"},
        {"embedder_settings_hash": "0"},
        {"corpus_fingerprint": "0"},
        {"policy_hash": "0"},
        {"purpose": RecallUse.TRAINING_CANDIDATE_SELECTION},
        {"consumers": ()},
        {"candidates": ()},
    ],
)
def test_a_search_that_was_another_does_not_match_for_replay(change: dict[str, Any]) -> None:
    assert not EXECUTED.matches_for_replay(EXECUTED.model_copy(update=change))


def test_an_embedding_may_differ_in_its_bits() -> None:
    assert EXECUTED.matches_for_replay(EXECUTED.model_copy(update={"embedding_hash": "0"}))


def test_the_hash_of_an_envelope_is_made_of_every_field_in_the_order_of_the_original() -> None:
    field = [b"recall-envelope-v1"]
    field += [part.encode() for part in (EXECUTED.query_hash, "input", "embedding", "embedder", "settings", "corpus")]
    field += [EXECUTED.policy_hash.encode(), b"\0", b"\0"]
    field += [b"past/0", (9000).to_bytes(2, "big"), b"past/1", (8000).to_bytes(2, "big")]
    field += [count.to_bytes(8, "big") for count in (2, 2, 7)] + [b"1970-01-01T00:00:00Z"]
    expected = _by_hand(field)
    assert str(EXECUTED.stable_hash(latency_ms=7, timestamp="1970-01-01T00:00:00Z")) == expected


def test_what_is_not_there_is_an_empty_field_of_the_envelope() -> None:
    bare: RecallExecuted = asked(FakeRecall()).executed.model_copy(update={"corpus_fingerprint": None})
    field = [b"recall-envelope-v1", bare.query_hash.encode(), *[b""] * 5, bare.policy_hash.encode(), b"\0", b"\0"]
    assert str(bare.stable_hash()) == _by_hand([*field, *[bytes(8)] * 3, b""])


def _by_hand(fields: list[bytes]) -> str:
    return sha256(b"".join(len(field).to_bytes(8, "big") + field for field in fields)).hexdigest()
