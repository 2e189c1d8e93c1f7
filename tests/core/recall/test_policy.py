"""What may be asked, the hashes that name it, and how words are counted and cut."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from converge_core import AuthorityError, MisuseError
from converge_core.recall.policy import (
    DecisionStep,
    RecallBudgets,
    RecallConsumer,
    RecallPolicy,
    RecallQuery,
    RecallUse,
    cut_to,
    number,
    ordinal,
    stable_hash,
    text,
    tokens_of,
)

TEXTS = st.text(st.characters() | st.sampled_from("aä漢🏡\ud800 "), max_size=60)
BUDGETS = RecallBudgets()


def by_hand(*fields: bytes) -> str:
    """A stable hash as the specification words it."""
    return sha256(b"".join(len(field).to_bytes(8, "big") + field for field in fields)).hexdigest()


# --- the policy -------------------------------------------------------------------------------------------------------


def test_the_defaults_are_those_of_the_original() -> None:
    assert RecallPolicy().model_dump(mode="json") == {
        "enabled": False,
        "max_k_total": 5,
        "max_tokens_injection": 500,
        "min_score_threshold": 0.5,
        "budgets": {"max_latency_ms": 100, "max_embedding_calls": 3, "max_tokens_per_candidate": 100},
        "allowed_uses": ["runtime_augmentation"],
        "prior_weight": 1.0,
    }


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (RecallPolicy(), "8fe9b30cf172df0df03d441c122b69148414d1cb1c4fae9dfce73d6bc21f4e98"),
        (RecallPolicy(enabled=True), "84a7cba911a067cd82d2e4529ec23c1c567c3573df1c7a8da0a6823808a12b3d"),
    ],
)
def test_the_hash_of_a_policy_is_that_of_the_original(policy: RecallPolicy, expected: str) -> None:
    assert str(policy.stable_hash()) == expected


def test_the_hash_of_a_policy_is_made_of_every_field_byte_for_byte() -> None:
    policy = RecallPolicy(
        enabled=True,
        max_k_total=7,
        max_tokens_injection=300,
        min_score_threshold=0.25,
        budgets=RecallBudgets(max_latency_ms=1, max_embedding_calls=2, max_tokens_per_candidate=3),
        allowed_uses=(RecallUse.TRAINING_CANDIDATE_SELECTION, RecallUse.RUNTIME_AUGMENTATION),
        prior_weight=0.5,
    )
    eights = [value.to_bytes(8, "big") for value in (7, 300, 1, 2, 3)]
    threshold, weight = (2500).to_bytes(2, "big"), (5000).to_bytes(2, "big")
    assert str(policy.stable_hash()) == by_hand(
        b"recall-policy-v1", b"\x01", *eights[:2], threshold, *eights[2:], b"\x01", b"\x00", weight
    )


@pytest.mark.parametrize(
    "change",
    [
        {"enabled": True},
        {"max_k_total": 4},
        {"max_tokens_injection": 499},
        {"min_score_threshold": 0.51},
        {"budgets": BUDGETS.model_copy(update={"max_latency_ms": 99})},
        {"budgets": BUDGETS.model_copy(update={"max_embedding_calls": 2})},
        {"budgets": BUDGETS.model_copy(update={"max_tokens_per_candidate": 99})},
        {"allowed_uses": ()},
        {"prior_weight": 0.9},
    ],
)
def test_every_field_of_a_policy_is_in_its_hash(change: dict[str, object]) -> None:
    assert RecallPolicy().model_copy(update=change).stable_hash() != RecallPolicy().stable_hash()


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_k_total": -1},
        {"max_k_total": 10**9 + 1},
        {"max_tokens_injection": -1},
        {"min_score_threshold": 1.1},
        {"min_score_threshold": float("nan")},
        {"prior_weight": 1.5},
        {"budgets": {"max_tokens_per_candidate": 0}},
        {"budgets": {"max_latency_ms": -1}},
        {"allowed_uses": ["gossip"]},
        {"max_k": 3},
    ],
)
def test_a_limit_out_of_range_is_no_policy(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        RecallPolicy.model_validate(wrong)


@pytest.mark.parametrize("use", RecallUse)
def test_only_a_use_that_is_named_is_allowed(use: RecallUse) -> None:
    assert RecallPolicy(allowed_uses=(use,)).is_use_allowed(use)
    assert not RecallPolicy(allowed_uses=tuple(set(RecallUse) - {use})).is_use_allowed(use)


# --- the query --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (RecallQuery("test query", 5), "16a5e2ad2646366cd4ec3282857b4bcdb37ab452c434f583118d5873074750a8"),
        (
            RecallQuery("test", 5, DecisionStep.REASONING, "tenant-1"),
            "4eccc4c7bab389d886bad2eec2b21ea04b3028e2653d5629de46bbf99ba9efac",
        ),
    ],
)
def test_the_hash_of_a_query_is_that_of_the_original(query: RecallQuery, expected: str) -> None:
    assert str(query.stable_hash()) == expected


@given(
    TEXTS,
    st.integers(0, 10**9),
    st.none() | st.sampled_from(DecisionStep),
    st.none() | st.text(min_size=1).filter(str.strip),
)
def test_the_hash_of_any_query_is_made_byte_for_byte(
    words: str, top_k: int, step: DecisionStep | None, tenant: str | None
) -> None:
    fields = (words, None, step or "", tenant or "")
    encoded = [top_k.to_bytes(8, "big") if field is None else field.encode(errors="surrogatepass") for field in fields]
    query = RecallQuery(words, top_k, step, tenant)
    assert str(query.stable_hash()) == by_hand(b"recall-query-v1", *encoded)


@pytest.mark.parametrize("top_k", [-1, 10**9 + 1])
def test_a_query_for_an_impossible_number_of_items_is_refused(top_k: int) -> None:
    with pytest.raises(MisuseError, match="top_k"):
        RecallQuery("words", top_k)


@pytest.mark.parametrize("tenant", ["", " \t"])
def test_a_blank_tenant_is_refused_rather_than_taken_for_none(tenant: str) -> None:
    with pytest.raises(MisuseError, match="blank tenant"):
        RecallQuery("words", tenant=tenant)


@pytest.mark.parametrize(("asks", "holds"), [("a", "b"), ("a", None), (None, "a")])
def test_the_past_of_another_tenant_is_not_searched(asks: str | None, holds: str | None) -> None:
    with pytest.raises(AuthorityError, match=f"the past of {asks or 'no tenant'}"):
        RecallQuery("words", tenant=asks).require(holds)


@pytest.mark.parametrize("tenant", ["a", None])
def test_a_tenant_may_search_its_own_past(tenant: str | None) -> None:
    RecallQuery("words", tenant=tenant).require(tenant)


# --- the fields of a stable hash --------------------------------------------------------------------------------------


def test_where_one_field_ends_and_the_next_begins_counts() -> None:
    assert stable_hash("d", b"ab", b"c") != stable_hash("d", b"a", b"bc")


def test_a_field_that_is_empty_counts_all_the_same() -> None:
    assert str(stable_hash("d", b"")) == by_hand(b"d", b"") != by_hand(b"d")


def test_a_number_is_big_endian_of_eight_bytes() -> None:
    assert number(258) == b"\0\0\0\0\0\0\1\2"


def test_a_text_is_its_utf_8() -> None:
    assert text("ä") == b"\xc3\xa4"


def test_a_word_is_its_place_among_its_kind() -> None:
    assert [ordinal(consumer) for consumer in RecallConsumer] == [b"\0", b"\1", b"\2"]


# --- tokens -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("words", "tokens"), [("", 0), ("a", 1), ("four", 1), ("fiver", 2), ("漢字", 2), ("🏡", 1)])
def test_a_token_is_four_bytes_begun(words: str, tokens: int) -> None:
    assert tokens_of(words) == tokens


@given(TEXTS, st.integers(1, 20))
def test_a_text_that_is_cut_counts_for_no_more_than_it_may(words: str, tokens: int) -> None:
    assert tokens_of(cut_to(words, tokens)) <= tokens


@given(TEXTS, st.integers(1, 20))
def test_a_text_is_cut_only_if_it_is_too_long_and_then_one_sees_it(words: str, tokens: int) -> None:
    cut = cut_to(words, tokens)
    assert (cut == words) == (tokens_of(words) <= tokens)
    assert cut == words or cut.endswith("…")


@given(st.text(max_size=60), st.integers(1, 20))
def test_what_is_left_of_a_text_is_its_beginning(words: str, tokens: int) -> None:
    cut = cut_to(words, tokens)
    assert cut == words or words.startswith(cut.removesuffix("…"))
