"""Signing: Ed25519 keys in files, and the memory of what they have signed.

A key file is a private key in PEM (PKCS #8), unencrypted and readable by its owner alone, after one line with the
verifier key: RFC 7468 allows text before a key, and a key that signs has to know its name. Beside ``KEYFILE`` stands
``KEYFILE.heads``, one JSON object a line: every head that the key has put its name to. A log must never show two people
two pasts, so a head is signed only if the log shows that it grew from the one signed before under the same origin.
That holds for all who share the file; a copy of the key elsewhere remembers for itself.

`cryptography` is an extra and is imported by whoever signs or checks, not by this module.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from converge_core.errors import ConvergeError, ProofRefused
from converge_core.ledger.canonical import canonical, parse
from converge_core.ledger.checkpoint import Checkpoint, SignedNote, VerifierKey, sign
from converge_core.ledger.merkle import Head, MerkleLog
from converge_core.ledger.proofs import prove_growth

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


@contextmanager
def _extra_named() -> Iterator[None]:
    """Say how to install what is missing."""
    try:
        yield
    except ImportError as error:
        raise ConvergeError(
            f"signatures need the package cryptography ({error}): pip install 'converge-runtime[signing]'"
        ) from error


def verify_ed25519(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Say whether a signature is of a message and by a key: the `SignatureCheck` of the core."""
    with _extra_named():
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except InvalidSignature:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Ed25519Signer:
    """A private key and its name: the `Signer` of the core."""

    key: VerifierKey
    private_key: Ed25519PrivateKey

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message, 64 bytes."""
        return self.private_key.sign(message)


def new_key(name: str, path: Path) -> VerifierKey:
    """Make a key, keep it in a new file that only its owner can read (mode 0600), and return its verifier key.

    Raises ValueError for a bad name, ConvergeError for a file that exists or without `cryptography`, OSError.
    """
    with _extra_named():
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    private_key = Ed25519PrivateKey.generate()
    key = VerifierKey(name, private_key.public_key().public_bytes_raw())
    pem = private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise ConvergeError(f"{path} exists already: a key is never overwritten") from error
    with os.fdopen(file, "wb") as stream:
        stream.write(f"{key}\n".encode() + pem)
    return key


def load_key(path: Path) -> Ed25519Signer:
    """Read a key that `new_key` has kept. Raises ConvergeError for a file that holds no such key, OSError."""
    with _extra_named():
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    name, _, pem = path.read_bytes().partition(b"\n")
    try:
        key = VerifierKey.parse(name.decode())
        private_key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:  # TypeError: it is encrypted
        raise ConvergeError(f"{path} is no key of `converge keys new`: {error}") from error
    if not isinstance(private_key, Ed25519PrivateKey):
        raise ConvergeError(f"{path} holds a key of another kind than Ed25519")
    if private_key.public_key().public_bytes_raw() != key.public_key:
        raise ConvergeError(f"{path}: the private key is not that of {key}")
    return Ed25519Signer(key, private_key)


def sign_head(keyfile: Path, origin: str, leaves: Sequence[bytes]) -> SignedNote:
    """Sign the head of a log, given by its leaf hashes, as a checkpoint under an origin, and remember it.

    The head is durable in ``KEYFILE.heads`` before there is a signature. Raises ProofRefused when the log did not grow
    from the head that this key signed last under this origin, ValueError for a bad origin, ConvergeError for a key file
    or a record that cannot be read, OSError.
    """
    signer = load_key(keyfile)
    checkpoint = Checkpoint(origin, MerkleLog(leaves).head)
    file = keyfile.resolve()  # one record, by whatever link the key is reached
    record = file.with_name(f"{file.name}.heads")
    with _locked(record) as stream:
        last = _last_head(record, stream.read(), signer.key, origin)
        if last is not None:
            try:
                prove_growth(leaves, last)
            except ProofRefused as error:
                raise ProofRefused(f"{signer.key.name} has signed another past of {origin}: {error}") from error
        if last != checkpoint.head:
            line = {"head": str(checkpoint.head), "key": str(signer.key), "origin": origin}
            stream.write(f"{canonical(line)}\n".encode())
            stream.flush()
            os.fsync(stream.fileno())
    return sign(str(checkpoint), signer)


@contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    """Open a file to be read from its beginning and written at its end, by one process at a time."""
    with path.open("a+b") as stream:
        if sys.platform != "win32":  # which has no such lock; there, those who share a key have to take turns
            import fcntl

            fcntl.flock(stream, fcntl.LOCK_EX)
        stream.seek(0)
        yield stream


def _last_head(path: Path, record: bytes, key: VerifierKey, origin: str) -> Head | None:
    """Return the head that a key signed last under an origin; every line is looked at, and none is forgiven."""
    last = None
    for number, line in enumerate(record.splitlines(keepends=True), 1):
        try:
            signed_by, signed_for, head = _read_line(line)
        except ValueError as error:
            raise ConvergeError(f"{path}:{number}: nothing is signed while this line is damaged: {error}") from error
        if (signed_by, signed_for) == (str(key), origin):
            last = head
    return last


def _read_line(line: bytes) -> tuple[str, str, Head]:
    match parse(line.decode()):
        case {"head": str(head), "key": str(key), "origin": str(origin)} if line.endswith(b"\n"):
            return key, origin, Head.parse(head)
    raise ValueError("it is not the whole record of a signed head")
