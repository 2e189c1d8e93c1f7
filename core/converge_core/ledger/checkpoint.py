"""Checkpoints: a head in the text form of public transparency logs, and the signatures under it.

The forms are C2SP's tlog-checkpoint and signed-note, v1.0.0, so witnesses and verifiers that exist can read our heads.
A note is text; a signed note is the text, an empty line, and a line for each signature. What a signature covers is the
text to its last byte, so reading is strict: nothing is trimmed, folded or decoded in more than one way.

Ed25519 itself is not here. Who signs is a `Signer`, and what checks a signature is a `SignatureCheck`; both are ports.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple, Protocol

from converge_core.errors import ProofRefused
from converge_core.ledger.hashes import MerkleRoot
from converge_core.ledger.merkle import Head

ED25519 = b"\x01"
"""The signature type of Ed25519, as it stands before the public key."""

PUBLIC_KEY_SIZE = 32
KEY_ID_SIZE = 4

SignatureCheck = Callable[[bytes, bytes, bytes], bool]
"""Says whether ``(public key, message, signature)`` fit together, by Ed25519 (RFC 8032)."""

_NAME = re.compile(r"[^\s+\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_SIGNATURE = re.compile("\N{EM DASH} ([^ ]+) ([^ ]+)")


def checked_name(name: str) -> str:
    """Return the name of a key or an origin. Raises ValueError if it is empty, or has spaces, ``+`` or controls."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name[:80]!r} is no name for a key or an origin: spaces, '+' and control characters are out")
    return name


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A name and its public Ed25519 key (32 bytes). Its text is ``name+key id+base64(0x01 || public key)``.

    Raises ValueError for a bad name or another length.
    """

    name: str
    public_key: bytes

    def __post_init__(self) -> None:
        checked_name(self.name)
        if len(self.public_key) != PUBLIC_KEY_SIZE:
            raise ValueError(f"a public key of Ed25519 has {PUBLIC_KEY_SIZE} bytes, not {len(self.public_key)}")

    @property
    def key_id(self) -> bytes:
        """The first four bytes of ``SHA-256(name || LF || 0x01 || public key)``."""
        return sha256(self.name.encode() + b"\n" + ED25519 + self.public_key).digest()[:KEY_ID_SIZE]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{_base64(ED25519 + self.public_key)}"

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Read a verifier key. Raises ValueError for anything else, another type of key, and a key id not its own."""
        match text.split("+", 2):
            case [name, key_id, encoded]:
                key = _bytes(encoded)
                if key[:1] != ED25519:
                    raise ValueError("only verifier keys of Ed25519 (type 1) are known here")
                found = cls(name, key[1:])
                if found.key_id.hex() != key_id:
                    raise ValueError(f"the key of {name} has the id {found.key_id.hex()}, not {key_id[:16]!r}")
                return found
        raise ValueError(f"a verifier key is written as name+id+key, not {text[:80]!r}")


class Signer(Protocol):
    """Signs in a name."""

    @property
    def key(self) -> VerifierKey:
        """The key that checks what this signs."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Return the Ed25519 signature of a message (RFC 8032), 64 bytes."""
        ...


class Signature(NamedTuple):
    """A signature as a note has it: in whose name, by which key (its id, 4 bytes), and its bytes."""

    name: str
    key_id: bytes
    value: bytes

    def __str__(self) -> str:
        return f"\N{EM DASH} {self.name} {_base64(self.key_id + self.value)}"

    @classmethod
    def parse(cls, line: str) -> Signature:
        """Read a signature line. Raises ValueError."""
        match = _SIGNATURE.fullmatch(line)
        if match is None:
            raise ValueError(f"a signature is written as '\N{EM DASH} name base64', not {line[:80]!r}")
        signed = _bytes(match[2])
        if len(signed) <= KEY_ID_SIZE:
            raise ValueError(f"the signature of {match[1][:80]!r} is cut off")
        return cls(checked_name(match[1]), signed[:KEY_ID_SIZE], signed[KEY_ID_SIZE:])


@dataclass(frozen=True, slots=True)
class SignedNote:
    """A text and one or more signatures under it.

    Raises ValueError for a text that does not end with LF, or has control characters other than that.
    """

    text: str
    signatures: tuple[Signature, ...]

    def __post_init__(self) -> None:
        if not self.text.endswith("\n") or _CONTROL.search(self.text):
            raise ValueError("the text of a note ends with a line feed, and has no other control characters")

    def __str__(self) -> str:
        return "\n".join((self.text, *map(str, self.signatures), ""))

    @classmethod
    def parse(cls, note: str) -> SignedNote:
        """Read a signed note. Raises ValueError for what is none; whether the signatures are good is another matter."""
        text, _, lines = note.rpartition("\n\n")
        if not text or not lines.endswith("\n"):
            raise ValueError("a signed note is a text, an empty line and whole lines with signatures")
        return cls(text + "\n", tuple(map(Signature.parse, lines[:-1].split("\n"))))

    def verify(self, known: Sequence[VerifierKey], check: SignatureCheck) -> tuple[VerifierKey, ...]:
        """Return the known keys that have signed this note, in the order of their signatures.

        A signer is known by name and key id, and others are ignored. Raises ProofRefused when a known one's signature
        fails, and when none of the signers is known.
        """
        message = self.text.encode()
        verified: dict[VerifierKey, None] = {}
        for signature in self.signatures:
            for key in known:
                if (key.name, key.key_id) == (signature.name, signature.key_id):
                    if not check(key.public_key, message, signature.value):
                        raise ProofRefused(f"the signature of {key.name} is not of this text")
                    verified[key] = None
        if not verified:
            signers = ", ".join(f"{signature.name} ({signature.key_id.hex()})" for signature in self.signatures)
            raise ProofRefused(f"none of the signers is known: {signers}")
        return tuple(verified)


def sign(text: str, signer: Signer) -> SignedNote:
    """Sign a text. Raises ValueError as `SignedNote` does."""
    return SignedNote(text, (Signature(signer.key.name, signer.key.key_id, signer.sign(text.encode())),))


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A head and who issues it, ``origin``. Raises ValueError for an origin that is no name."""

    origin: str
    head: Head

    def __post_init__(self) -> None:
        checked_name(self.origin)

    def __str__(self) -> str:
        """Return the note text: origin, size and base64 root, a line each."""
        return f"{self.origin}\n{self.head.size}\n{_base64(self.head.root)}\n"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Read the note text of a checkpoint. Raises ValueError for anything else."""
        match text.split("\n"):
            case [origin, size, root, ""] if _SIZE.fullmatch(size):
                return cls(origin, Head(int(size), MerkleRoot(_bytes(root))))
        raise ValueError("a checkpoint is three lines: an origin, a size and a root in base64")


def read_checkpoint(text: str) -> tuple[Checkpoint, SignedNote | None]:
    """Read a checkpoint, signed or not; the signatures are not checked here. Raises ValueError."""
    if "\n\n" not in text:
        return Checkpoint.parse(text), None
    note = SignedNote.parse(text)
    return Checkpoint.parse(note.text), note


def _base64(data: bytes) -> str:
    return b64encode(data).decode()


def _bytes(text: str) -> bytes:
    """Decode standard base64. Raises ValueError for all but the one text that encodes these bytes."""
    data = b64decode(text)
    if _base64(data) != text:
        raise ValueError(f"{text[:80]!r} is not standard base64")
    return data
