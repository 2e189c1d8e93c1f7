"""What the ledger measures with: SHA-256 digests, a logical clock, and the proof that a result carries.

A digest is its 32 bytes and nothing else, so it sorts, hashes and compares as ``bytes`` do; its text is always
lower-case hex. Time here is Lamport's: it counts promotions, never seconds, so that equal runs show equal times.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Self

from converge_core.ledger.canonical import JsonValue

DIGEST_SIZE = hashlib.sha256().digest_size

_HEX = re.compile(r"[0-9a-fA-F]{64}")


class ContentHash(bytes):
    """A SHA-256 digest: 32 bytes. Raises ``ValueError`` for any other length."""

    __slots__ = ()

    def __new__(cls, digest: bytes) -> Self:
        if len(digest) != DIGEST_SIZE:
            raise ValueError(f"a SHA-256 digest has {DIGEST_SIZE} bytes, not {len(digest)}")
        return super().__new__(cls, digest)

    @classmethod
    def of(cls, data: str | bytes) -> Self:
        """The digest of ``data``; text is hashed as UTF-8."""
        return cls(hashlib.sha256(data.encode() if isinstance(data, str) else data).digest())

    @classmethod
    def from_hex(cls, text: str) -> Self:
        """The digest that ``text`` writes. Raises ``ValueError`` unless it is 64 hex digits, of either case."""
        if not _HEX.fullmatch(text):
            raise ValueError(f"a SHA-256 digest is written as 64 hex digits, not {text[:80]!r}")
        return cls(bytes.fromhex(text))

    def __str__(self) -> str:
        return self.hex()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.hex()[:12]}>"


class MerkleRoot(ContentHash):
    """The root of a Merkle log (RFC 6962, section 2.1)."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class LamportClock:
    """A logical clock (Lamport 1978): it orders what happened by cause. Frozen: it does not run, it is succeeded."""

    time: int = 0

    @classmethod
    def at(cls, time: int) -> LamportClock:
        """The clock that shows ``time``."""
        return cls(time)

    def tick(self) -> LamportClock:
        """The clock after one more local event."""
        return LamportClock(self.time + 1)

    def update(self, remote: int) -> LamportClock:
        """The clock after hearing of an event at ``remote``: later than it, and later than all before."""
        return LamportClock(max(self.time, remote) + 1)


@dataclass(frozen=True, slots=True)
class IntegrityProof:
    """What a run concluded, in 32 bytes: the Merkle root over its promoted facts, in the order of promotion.

    ``clock_time`` is the Lamport time of the last promotion, ``fact_count`` the number of leaves under the root.
    """

    merkle_root: MerkleRoot
    clock_time: int
    fact_count: int

    def to_json(self) -> dict[str, JsonValue]:
        """``{"merkle_root": hex, "clock_time": int, "fact_count": int}``."""
        return {
            "merkle_root": str(self.merkle_root),
            "clock_time": self.clock_time,
            "fact_count": self.fact_count,
        }

    @classmethod
    def from_json(cls, value: JsonValue) -> IntegrityProof:
        """The proof that ``to_json`` wrote. Raises ``ValueError`` for anything else."""
        match value:
            case {"merkle_root": str(root), "clock_time": int(time), "fact_count": int(count), **rest}:
                # A bool is an int to Python, but not to JSON.
                if not rest and type(time) is type(count) is int and time >= 0 and count >= 0:
                    return cls(MerkleRoot.from_hex(root), time, count)
        raise ValueError("an integrity proof has a merkle_root in hex, and whole numbers as clock_time and fact_count")
