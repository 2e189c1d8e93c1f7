"""The Merkle log of RFC 6962, section 2.1: a list that can prove what it holds and that it only grew.

The tree over n leaves splits at the largest power of two below n, so a list of n leaves is a row of perfect
trees, one for each bit of n. ``MerkleLog`` keeps only their roots, the *peaks*: an append merges equal
neighbours as adding one to n carries bits, and the root folds the peaks from the right. Proofs are made from
the leaves, which the ledger has anyway, and are checked without any log by the loops of RFC 9162.

A head proves nothing about who made it. Whoever can rewrite a whole log can compute a head for it; only a head
that was kept elsewhere, and a consistency proof from it, shows that the past is still the past.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from hashlib import sha256

from converge_core.errors import MisuseError
from converge_core.ledger.hashes import DIGEST_SIZE, MerkleRoot

EMPTY_ROOT = MerkleRoot.of(b"")
"""The root of the log without leaves: the SHA-256 of nothing."""

_HEAD = re.compile(r"(0|[1-9][0-9]{0,18}):([0-9a-f]{64})")


def leaf_hash(body: bytes) -> bytes:
    """``SHA-256(0x00 || body)``: what an entry is in the tree."""
    return sha256(b"\x00" + body).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """``SHA-256(0x01 || left || right)``. The prefix keeps a node from passing for a leaf."""
    return sha256(b"\x01" + left + right).digest()


class Head:
    """A log at one moment: how many leaves it had, and their root. Its text is ``size:root``, the root in hex.

    A log gives the peaks it had then in place of a root, which is folded from them when it is first asked for: whoever
    only counts the leaves pays for no hash.
    """

    __slots__ = ("_peaks", "_root", "_size")

    def __init__(self, size: int, root: MerkleRoot | None = None, *, peaks: Sequence[bytes] = ()) -> None:
        self._size, self._root, self._peaks = size, root, peaks

    @property
    def size(self) -> int:
        """The number of leaves."""
        return self._size

    @property
    def root(self) -> MerkleRoot:
        """The Merkle tree hash of all leaves."""
        if self._root is None:
            self._root = fold(self._peaks)
        return self._root

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Head) and self._size == other._size and self.root == other.root

    def __hash__(self) -> int:
        return hash((self._size, self.root))

    def __str__(self) -> str:
        return f"{self._size}:{self.root}"

    def __repr__(self) -> str:
        return f"Head({self._size}, {self.root!r})"

    @classmethod
    def parse(cls, text: str) -> Head:
        """The head that ``str()`` wrote. Raises ``ValueError`` for anything else."""
        match = _HEAD.fullmatch(text)
        if match is None:
            raise ValueError(f"a head is written as size:root, a number and 64 hex digits, not {text[:80]!r}")
        return cls(int(match[1]), MerkleRoot.from_hex(match[2]))


def fold(peaks: Sequence[bytes]) -> MerkleRoot:
    """The root over a row of perfect trees, given theirs, from the largest to the smallest; O(log n) hashes."""
    if not peaks:
        return EMPTY_ROOT
    left = reversed(peaks)
    root = next(left)
    for peak in left:
        root = sha256(b"\x01" + peak + root).digest()
    return MerkleRoot(root)


class MerkleLog:
    """The root of a growing list of leaf hashes, in O(log n) memory and O(1) hashes a leaf, amortised.

    New leaves are kept as they are until somebody asks for a root or a head; then they are hashed together.
    """

    __slots__ = ("_new", "_peaks", "_size")

    def __init__(self, leaves: Iterable[bytes] = ()) -> None:
        self._size = 0  # without the new ones
        self._peaks: list[bytes] = []  # never changed in place: heads keep it
        self._new: list[bytes] = []
        self.extend(leaves)

    @property
    def size(self) -> int:
        """The number of leaves."""
        return self._size + len(self._new)

    @property
    def head(self) -> Head:
        """The size and the root as they are now, whatever is appended later."""
        self._take_in()
        return Head(self._size, peaks=self._peaks)

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash. Raises ``MisuseError`` if it is not 32 bytes."""
        self.extend((leaf,))

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Add leaf hashes; none of them where one is not 32 bytes, which raises ``MisuseError``."""
        leaves = list(leaves)
        for leaf in leaves:
            if not isinstance(leaf, bytes) or len(leaf) != DIGEST_SIZE:
                raise MisuseError(f"a leaf of a Merkle log is a hash of {DIGEST_SIZE} bytes, not {leaf!r:.80}")
        if self._new:
            self._new += leaves
        else:
            self._new = leaves

    def root(self) -> MerkleRoot:
        """The Merkle tree hash of all leaves; O(log n) hashes, and those of the leaves that are new."""
        self._take_in()
        return fold(self._peaks)

    def _take_in(self) -> None:
        if not self._new:
            return
        size, peaks = self._size, self._peaks.copy()
        for node in self._new:
            carry = size
            while carry & 1:  # every entry comes by here, so the hash is that of node_hash without the call
                node = sha256(b"\x01" + peaks.pop() + node).digest()
                carry >>= 1
            peaks.append(node)
            size += 1
        self._size, self._peaks, self._new = size, peaks, []


def root_of(leaves: Iterable[bytes]) -> MerkleRoot:
    """The Merkle tree hash of a list of leaf hashes."""
    return MerkleLog(leaves).root()


def inclusion_proof(leaves: Sequence[bytes], index: int, size: int | None = None) -> tuple[bytes, ...]:
    """The audit path PATH(index, leaves[:size]) of RFC 6962, section 2.1.1, from the leaf up; O(size) hashes.

    ``index`` counts from 0. Raises ``MisuseError`` unless ``index < size <= len(leaves)``.
    """
    size = len(leaves) if size is None else size
    if not 0 <= index < size <= len(leaves):
        raise MisuseError(f"no proof that leaf {index} is among the first {size} of {len(leaves)} leaves")
    low, high = 0, size
    path: list[bytes] = []
    while high - low > 1:
        middle = _split(low, high)
        if index < middle:
            path.append(root_of(leaves[middle:high]))
            high = middle
        else:
            path.append(root_of(leaves[low:middle]))
            low = middle
    return tuple(reversed(path))


def consistency_proof(leaves: Sequence[bytes], first: int, second: int | None = None) -> tuple[bytes, ...]:
    """PROOF(first, leaves[:second]) of RFC 6962, section 2.1.2: the first leaves are a prefix; O(second) hashes.

    Empty when there is nothing to prove: from size 0, or between equal sizes.
    Raises ``MisuseError`` unless ``0 <= first <= second <= len(leaves)``.
    """
    second = len(leaves) if second is None else second
    if not 0 <= first <= second <= len(leaves):
        raise MisuseError(f"no proof that {first} leaves are a prefix of the first {second} of {len(leaves)} leaves")
    if first == 0:
        return ()
    low, high = 0, second
    path: list[bytes] = []
    while first < high:
        middle = _split(low, high)
        if first <= middle:
            path.append(root_of(leaves[middle:high]))
            high = middle
        else:
            path.append(root_of(leaves[low:middle]))
            low = middle
    if low > 0:  # else this subtree is the whole old log, whose root the verifier has
        path.append(root_of(leaves[low:high]))
    return tuple(reversed(path))


def verify_inclusion(leaf: bytes, index: int, head: Head, proof: Sequence[bytes]) -> bool:
    """Whether ``proof`` shows that ``leaf`` is entry ``index`` of the log at ``head`` (RFC 9162, section 2.1.3.2)."""
    if not 0 <= index < head.size or not all(map(_is_digest, (leaf, *proof))):
        return False
    climbed = _climb(index, head.size - 1, leaf, proof)
    return climbed is not None and climbed[1] == head.root


def verify_consistency(first: Head, second: Head, proof: Sequence[bytes]) -> bool:
    """Whether ``proof`` shows that the log at ``second`` began as the log at ``first`` (RFC 9162, section 2.1.4.2).

    RFC 9162 leaves two cases open: every log began as the empty log, and a log as itself; their proof is empty.
    """
    if not 0 <= first.size <= second.size or not all(map(_is_digest, proof)):
        return False
    if first.size == second.size:
        return first.root == second.root and not proof
    if first.size == 0:
        return first.root == EMPTY_ROOT and not proof
    level = (first.size & -first.size).bit_length() - 1  # the height of the last perfect tree of the first log
    index, last = first.size - 1 >> level, second.size - 1 >> level
    path = proof if index else (first.root, *proof)  # that tree's root; a perfect log is its own last tree
    return bool(path) and _climb(index, last, path[0], path[1:]) == (first.root, second.root)


def _climb(index: int, last: int, node: bytes, path: Sequence[bytes]) -> tuple[bytes, bytes] | None:
    """Climb from ``node`` number ``index`` of a level that ends with number ``last`` to the root, along ``path``.

    Siblings on the left hold all that is before the node, those on the right all that is after. So the climb gives
    two roots: of the log that ended with the node, and of the whole. None if the path is too long or too short.
    """
    before = whole = node
    for sibling in path:
        if last == 0:
            return None
        if index & 1 or index == last:
            before, whole = node_hash(sibling, before), node_hash(sibling, whole)
            while not index & 1:  # the last node of an odd level rises without a sibling
                index, last = index >> 1, last >> 1
        else:
            whole = node_hash(whole, sibling)
        index, last = index >> 1, last >> 1
    return (before, whole) if last == 0 else None


def _split(low: int, high: int) -> int:
    """Where the tree over leaves[low:high] divides: after the largest power of two below its size."""
    return low + (1 << (high - low - 1).bit_length() - 1)


def _is_digest(node: object) -> bool:
    return isinstance(node, bytes) and len(node) == DIGEST_SIZE
