from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_core.ledger.canonical import JsonValue, canonical, parse
from converge_core.ledger.hashes import ContentHash, IntegrityProof, LamportClock, MerkleRoot

HELLO = "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"  # SHA-256 of "hello world"

whole_numbers = st.integers(min_value=0, max_value=2**53 - 1)
digests = st.binary(min_size=32, max_size=32)


def test_a_content_hash_is_the_sha_256_of_the_bytes() -> None:
    assert str(ContentHash.of(b"hello world")) == HELLO


def test_text_is_hashed_as_utf_8() -> None:
    assert ContentHash.of("é") == ContentHash.of(b"\xc3\xa9")


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_digest_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match=f"^a SHA-256 digest has 32 bytes, not {length}$"):
        ContentHash(bytes(length))


@given(digests)
def test_a_digest_is_read_back_from_its_text(digest: bytes) -> None:
    assert ContentHash.from_hex(str(ContentHash(digest))) == digest


def test_hex_may_be_read_in_either_case_and_is_written_in_lower_case() -> None:
    assert str(ContentHash.from_hex(HELLO.upper())) == HELLO


@pytest.mark.parametrize(
    "text", ["", HELLO[:-1], HELLO + "0", HELLO[:-1] + "g", f"{HELLO} ", HELLO[:62] + " 0", f"{HELLO}\n"]
)
def test_a_text_that_is_not_64_hex_digits_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^a SHA-256 digest is written as 64 hex digits, not '"):
        ContentHash.from_hex(text)


def test_the_repr_of_a_hash_is_short_and_names_its_type() -> None:
    assert repr(MerkleRoot.from_hex(HELLO)) == "<MerkleRoot b94d27b9934d>"


def test_a_hash_keeps_its_type() -> None:
    made = [MerkleRoot.of("a"), MerkleRoot.from_hex(HELLO), pickle.loads(pickle.dumps(MerkleRoot.of("a")))]
    assert [type(root) for root in made] == [MerkleRoot] * 3


def test_a_clock_starts_at_zero() -> None:
    assert LamportClock() == LamportClock.at(0)


def test_a_tick_gives_the_next_clock_and_leaves_this_one() -> None:
    clock = LamportClock.at(4)
    assert clock.tick().time == 5
    assert clock.time == 4


@given(whole_numbers, whole_numbers)
def test_an_update_is_just_after_both_clocks(local: int, remote: int) -> None:
    assert LamportClock.at(local).update(remote).time == max(local, remote) + 1


def test_a_clock_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        LamportClock().time = 1  # type: ignore[misc]


def test_the_json_of_a_proof_has_the_root_in_hex() -> None:
    assert IntegrityProof(MerkleRoot.from_hex(HELLO), 7, 5).to_json() == {
        "merkle_root": HELLO,
        "clock_time": 7,
        "fact_count": 5,
    }


@given(digests, whole_numbers, whole_numbers)
def test_a_proof_is_read_back_from_its_json(digest: bytes, clock_time: int, fact_count: int) -> None:
    proof = IntegrityProof(MerkleRoot(digest), clock_time, fact_count)
    read = IntegrityProof.from_json(parse(canonical(proof.to_json())))
    assert read == proof
    assert type(read.merkle_root) is MerkleRoot


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"merkle_root": HELLO, "clock_time": 1},
        {"merkle_root": HELLO, "clock_time": 1, "fact_count": 1, "more": 1},
        {"merkle_root": HELLO, "clock_time": True, "fact_count": 1},
        {"merkle_root": HELLO, "clock_time": 1, "fact_count": False},
        {"merkle_root": HELLO, "clock_time": 1.0, "fact_count": 1},
        {"merkle_root": HELLO, "clock_time": -1, "fact_count": 1},
        {"merkle_root": HELLO, "clock_time": 1, "fact_count": -1},
        {"merkle_root": 1, "clock_time": 1, "fact_count": 1},
    ],
)
def test_a_json_that_is_no_proof_is_refused(value: JsonValue) -> None:
    with pytest.raises(ValueError, match=r"^an integrity proof has a merkle_root in hex"):
        IntegrityProof.from_json(value)


def test_a_proof_with_a_broken_root_is_refused() -> None:
    with pytest.raises(ValueError, match="64 hex digits, not 'b94d'"):
        IntegrityProof.from_json({"merkle_root": "b94d", "clock_time": 1, "fact_count": 1})
