"""The Merkle log against the reference tree of Certificate Transparency, published proofs, and its definition."""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypedDict, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_core.errors import MisuseError
from converge_core.ledger import merkle
from converge_core.ledger.hashes import MerkleRoot
from converge_core.ledger.merkle import (
    EMPTY_ROOT,
    Head,
    MerkleLog,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)

DATA = Path(__file__).parents[2] / "data" / "rfc6962"
INCLUSION = sorted(DATA.glob("inclusion/*/*.json"))
CONSISTENCY = sorted(DATA.glob("consistency/*/*.json"))
assert INCLUSION, "the RFC 6962 inclusion vectors are missing"
assert CONSISTENCY, "the RFC 6962 consistency vectors are missing"

# The reference tree of Certificate Transparency: its eight leaves, and its root at every size.
REFERENCE_LEAVES = [
    leaf_hash(body) for body in (b"", b"\x00", b"\x10", b" !", b"01", b"@ABC", b"PQRSTUVW", b"`abcdefghijklmno")
]
REFERENCE_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]

LEAVES = [leaf_hash(str(index).encode()) for index in range(200)]
HEADS = [MerkleLog(LEAVES[:size]).head for size in range(len(LEAVES) + 1)]
sizes = st.integers(0, len(LEAVES))


class InclusionVector(TypedDict):
    leafIdx: int
    treeSize: int
    root: str
    leafHash: str
    proof: list[str] | None
    wantErr: bool


class ConsistencyVector(TypedDict):
    size1: int
    size2: int
    root1: str
    root2: str
    proof: list[str] | None
    wantErr: bool


def vector_name(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def decoded(proof: list[str] | None) -> list[bytes]:
    return [b64decode(node) for node in proof or ()]


def defined_root(leaves: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962, section 2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + defined_root(leaves[:k]) + defined_root(leaves[k:])).digest()


def flipped(parts: Sequence[bytes], bit: int) -> list[bytes]:
    """The parts, of 32 bytes each, with one bit of them all turned."""
    joined = bytearray(b"".join(parts))
    joined[bit // 8] ^= 1 << bit % 8
    return [bytes(joined[start : start + 32]) for start in range(0, len(joined), 32)]


@st.composite
def inclusions(draw: st.DrawFn) -> tuple[int, int]:
    size = draw(st.integers(1, len(LEAVES)))
    return draw(st.integers(0, size - 1)), size


@st.composite
def prefixes(draw: st.DrawFn) -> tuple[int, int]:
    first, second = sorted((draw(sizes), draw(sizes)))
    return first, second


@pytest.fixture
def count_hashes(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    calls: list[bytes] = []

    def counted(data: bytes) -> object:
        calls.append(data)
        return hashlib.sha256(data)

    monkeypatch.setattr(merkle, "sha256", counted)
    return lambda: len(calls)


def test_a_leaf_is_hashed_with_prefix_zero() -> None:
    assert leaf_hash(b"body") == hashlib.sha256(b"\x00body").digest()


def test_a_node_is_hashed_with_prefix_one() -> None:
    assert node_hash(b"left", b"right") == hashlib.sha256(b"\x01leftright").digest()


@pytest.mark.parametrize("size", range(9))
def test_the_reference_tree_has_its_known_root_at_every_size(size: int) -> None:
    assert str(root_of(REFERENCE_LEAVES[:size])) == REFERENCE_ROOTS[size]


def test_a_log_shows_the_known_root_after_every_append() -> None:
    log = MerkleLog()
    heads = [log.head]
    for leaf in REFERENCE_LEAVES:
        log.append(leaf)
        heads.append(log.head)
    assert [str(head) for head in heads] == [f"{size}:{root}" for size, root in enumerate(REFERENCE_ROOTS)]


def test_the_empty_log_has_the_hash_of_nothing() -> None:
    assert MerkleLog().head == Head(0, EMPTY_ROOT)
    assert hashlib.sha256().digest() == EMPTY_ROOT


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=70))
def test_the_incremental_root_is_the_one_that_the_rfc_defines(leaves: list[bytes]) -> None:
    log = MerkleLog(leaves)
    assert log.size == len(leaves)
    assert log.root() == defined_root(leaves)
    assert type(log.root()) is MerkleRoot


def test_repeating_the_last_leaf_gives_another_root() -> None:
    assert root_of(LEAVES[:3]) != root_of([*LEAVES[:3], LEAVES[2]])


@pytest.mark.parametrize("leaf", [b"", bytes(31), bytes(33)])
def test_a_leaf_that_is_no_hash_is_refused(leaf: bytes) -> None:
    with pytest.raises(MisuseError, match="32 bytes"):
        MerkleLog().append(leaf)


def test_of_leaves_one_of_which_is_no_hash_none_is_added() -> None:
    log = MerkleLog(REFERENCE_LEAVES[:3])
    with pytest.raises(MisuseError):
        log.extend([*REFERENCE_LEAVES[3:5], b"no hash"])
    assert str(log.head) == f"3:{REFERENCE_ROOTS[3]}"


@pytest.mark.parametrize("size", [1, 2, 1000, 1024, 4095])
def test_appends_cost_less_than_a_hash_each_at_any_size(size: int, count_hashes: Callable[[], int]) -> None:
    log = MerkleLog()
    for index in range(size):
        log.append(LEAVES[index % len(LEAVES)])
    assert log.head.size == size
    assert count_hashes() == size - size.bit_count()


@pytest.mark.parametrize("size", [1, 2, 1000, 1024, 4095])
def test_a_root_costs_a_logarithm_of_the_size(size: int, count_hashes: Callable[[], int]) -> None:
    log = MerkleLog(LEAVES[index % len(LEAVES)] for index in range(size))
    assert log.head.size == size
    before = count_hashes()
    log.root()
    assert count_hashes() - before == size.bit_count() - 1


def test_a_head_is_that_of_its_moment_whatever_is_appended_later() -> None:
    log = MerkleLog(REFERENCE_LEAVES[:5])
    head = log.head
    log.append(REFERENCE_LEAVES[5])
    assert str(head) == f"5:{REFERENCE_ROOTS[5]}"


def test_a_head_costs_hashes_only_when_its_root_is_first_asked_for(count_hashes: Callable[[], int]) -> None:
    log = MerkleLog(LEAVES[index % len(LEAVES)] for index in range(7))
    head = log.head
    before = count_hashes()
    assert head.size == 7
    assert count_hashes() == before
    assert head.root == head.root == log.root()
    assert count_hashes() == before + 2 * 2


def test_heads_are_equal_when_size_and_root_are() -> None:
    head, read = MerkleLog(REFERENCE_LEAVES[:5]).head, Head.parse(f"5:{REFERENCE_ROOTS[5]}")
    assert head == read
    assert hash(head) == hash(read)
    assert head != Head(5, EMPTY_ROOT)
    assert head != Head(6, read.root)
    assert head != str(head)


@pytest.mark.parametrize("path", INCLUSION, ids=vector_name)
def test_a_published_inclusion_proof_is_judged_as_expected(path: Path) -> None:
    vector: InclusionVector = json.loads(path.read_text())
    head = Head(vector["treeSize"], cast(MerkleRoot, b64decode(vector["root"])))
    verdict = verify_inclusion(b64decode(vector["leafHash"]), vector["leafIdx"], head, decoded(vector["proof"]))
    assert verdict is not vector["wantErr"]


@pytest.mark.parametrize("path", CONSISTENCY, ids=vector_name)
def test_a_published_consistency_proof_is_judged_as_expected(path: Path) -> None:
    vector: ConsistencyVector = json.loads(path.read_text())
    # Some vectors have roots that are no hashes, which MerkleRoot itself would refuse.
    first = Head(vector["size1"], cast(MerkleRoot, b64decode(vector["root1"])))
    second = Head(vector["size2"], cast(MerkleRoot, b64decode(vector["root2"])))
    assert verify_consistency(first, second, decoded(vector["proof"])) is not vector["wantErr"]


@pytest.mark.parametrize("path", [path for path in INCLUSION if path.name == "happy-path.json"], ids=vector_name)
def test_the_published_inclusion_proofs_are_the_ones_made(path: Path) -> None:
    vector: InclusionVector = json.loads(path.read_text())
    made = inclusion_proof(REFERENCE_LEAVES, vector["leafIdx"], vector["treeSize"])
    assert list(made) == decoded(vector["proof"])


@pytest.mark.parametrize("path", [path for path in CONSISTENCY if path.name == "happy-path.json"], ids=vector_name)
def test_the_published_consistency_proofs_are_the_ones_made(path: Path) -> None:
    vector: ConsistencyVector = json.loads(path.read_text())
    made = consistency_proof(REFERENCE_LEAVES, vector["size1"], vector["size2"])
    assert list(made) == decoded(vector["proof"])


def test_every_inclusion_proof_of_a_small_log_verifies_at_its_place_only() -> None:
    for size in range(1, 18):
        for index in range(size):
            proof = inclusion_proof(LEAVES, index, size)
            places = [place for place in range(size) if verify_inclusion(LEAVES[index], place, HEADS[size], proof)]
            assert places == [index]


def test_every_consistency_proof_of_a_small_log_verifies() -> None:
    for second in range(18):
        for first in range(second + 1):
            assert verify_consistency(HEADS[first], HEADS[second], consistency_proof(LEAVES, first, second))


@given(inclusions())
def test_an_inclusion_proof_verifies(place: tuple[int, int]) -> None:
    index, size = place
    assert verify_inclusion(LEAVES[index], index, HEADS[size], inclusion_proof(LEAVES, index, size))


@given(prefixes())
def test_a_consistency_proof_verifies(pair: tuple[int, int]) -> None:
    first, second = pair
    assert verify_consistency(HEADS[first], HEADS[second], consistency_proof(LEAVES, first, second))


@given(inclusions(), st.data())
def test_a_flipped_bit_in_an_inclusion_proof_is_refused(place: tuple[int, int], data: st.DataObject) -> None:
    index, size = place
    parts = [LEAVES[index], HEADS[size].root, *inclusion_proof(LEAVES, index, size)]
    leaf, root, *proof = flipped(parts, data.draw(st.integers(0, 256 * len(parts) - 1)))
    assert not verify_inclusion(leaf, index, Head(size, MerkleRoot(root)), proof)


@given(prefixes().filter(lambda pair: pair[0] > 0), st.data())
def test_a_flipped_bit_in_a_consistency_proof_is_refused(pair: tuple[int, int], data: st.DataObject) -> None:
    first, second = pair
    parts = [HEADS[first].root, HEADS[second].root, *consistency_proof(LEAVES, first, second)]
    old, new, *proof = flipped(parts, data.draw(st.integers(0, 256 * len(parts) - 1)))
    assert not verify_consistency(Head(first, MerkleRoot(old)), Head(second, MerkleRoot(new)), proof)


@given(prefixes().filter(lambda pair: pair[0] > 0), st.data())
def test_a_log_whose_past_was_changed_is_not_consistent(pair: tuple[int, int], data: st.DataObject) -> None:
    first, second = pair
    changed = data.draw(st.integers(0, first - 1))
    forged = [*LEAVES[:changed], leaf_hash(b"forged"), *LEAVES[changed + 1 : second]]
    assert not verify_consistency(HEADS[first], MerkleLog(forged).head, consistency_proof(forged, first))


def test_the_empty_log_is_consistent_with_every_log_by_an_empty_proof_only() -> None:
    assert verify_consistency(HEADS[0], HEADS[5], ())
    assert not verify_consistency(HEADS[0], HEADS[5], [LEAVES[0]])
    assert not verify_consistency(Head(0, HEADS[1].root), HEADS[5], ())


def test_a_log_is_consistent_with_itself_by_an_empty_proof_only() -> None:
    assert verify_consistency(HEADS[5], HEADS[5], ())
    assert not verify_consistency(HEADS[5], HEADS[5], [LEAVES[0]])
    assert not verify_consistency(HEADS[5], Head(5, HEADS[4].root), ())


def test_a_log_that_shrank_is_not_consistent() -> None:
    # The loop of the RFC alone would accept this: it takes the first log for the left half of the second.
    assert not verify_consistency(Head(7, MerkleRoot(LEAVES[0])), HEADS[2], LEAVES[:2])


def test_a_log_of_a_negative_size_is_not_consistent() -> None:
    assert verify_consistency(HEADS[7], HEADS[8], consistency_proof(LEAVES, 7, 8))
    assert not verify_consistency(Head(-1, HEADS[7].root), HEADS[8], consistency_proof(LEAVES, 7, 8))


def test_a_negative_index_does_not_count_from_the_end() -> None:
    assert verify_inclusion(LEAVES[7], 7, HEADS[8], inclusion_proof(LEAVES, 7, 8))
    assert not verify_inclusion(LEAVES[7], -1, HEADS[8], inclusion_proof(LEAVES, 7, 8))


def test_a_proof_that_climbs_above_the_root_is_refused() -> None:
    assert not verify_inclusion(LEAVES[1], 0, Head(1, HEADS[2].root), [LEAVES[0]])


hostile_nodes = st.binary(max_size=40) | st.just(LEAVES[0]) | cast(st.SearchStrategy[bytes], st.none() | st.text())
hostile_sizes = st.integers(-2, 70) | st.integers(2**63, 2**300)


@given(hostile_nodes, hostile_sizes, hostile_sizes, st.lists(hostile_nodes, max_size=70))
def test_hostile_proofs_are_refused_without_raising(leaf: bytes, index: int, size: int, proof: list[bytes]) -> None:
    assert not verify_inclusion(leaf, index, Head(size, HEADS[7].root), proof)
    assert not verify_consistency(Head(index, HEADS[8].root), Head(size, HEADS[7].root), proof)


@pytest.mark.parametrize(("index", "size"), [(-1, 5), (5, 5), (0, 0), (0, 201), (200, None)])
def test_an_inclusion_proof_outside_the_log_is_misuse(index: int, size: int | None) -> None:
    with pytest.raises(MisuseError, match=f"^no proof that leaf {index} is among the first"):
        inclusion_proof(LEAVES, index, size)


@pytest.mark.parametrize(("first", "second"), [(-1, 5), (6, 5), (0, 201), (201, None)])
def test_a_consistency_proof_outside_the_log_is_misuse(first: int, second: int | None) -> None:
    with pytest.raises(MisuseError, match=f"^no proof that {first} leaves are a prefix"):
        consistency_proof(LEAVES, first, second)


@given(st.integers(0, 10**18), st.binary(min_size=32, max_size=32))
def test_a_head_is_read_back_from_its_text(size: int, root: bytes) -> None:
    head = Head(size, MerkleRoot(root))
    assert Head.parse(str(head)) == head
    assert type(Head.parse(str(head)).root) is MerkleRoot


@pytest.mark.parametrize(
    "text",
    [
        "",
        REFERENCE_ROOTS[1],
        f":{REFERENCE_ROOTS[1]}",
        f"-1:{REFERENCE_ROOTS[1]}",
        f"01:{REFERENCE_ROOTS[1]}",
        f"1:{REFERENCE_ROOTS[1][:-1]}",
        f"1:{REFERENCE_ROOTS[1].upper()}",
        f"1:{REFERENCE_ROOTS[1]}\n",
        f"{'1' * 20}:{REFERENCE_ROOTS[1]}",
    ],
)
def test_a_text_that_is_no_head_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^a head is written as size:root, a number and 64 hex digits, not '"):
        Head.parse(text)
