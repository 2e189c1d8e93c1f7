"""Content beside the ledger, in files that are named by their SHA-256: what it says is what it is called.

A blob is written to a file of its own, brought to the disk, and then given its name, so that what has a name is whole.
It is checked whenever it is read. The same content twice is one file.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path

from converge_core.errors import LedgerError

_DIGEST = re.compile(r"[0-9a-f]{64}")


def blobs_path(ledger: Path) -> Path:
    """Return the folder of the blobs of a ledger."""
    return ledger.with_name(f"{ledger.name}.blobs")


def write_durably(path: Path, content: bytes) -> None:
    """Write a file so that it is there as a whole or not at all, also after a crash. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class FolderBlobs:
    """Blobs in a folder, which is made when the first one is put: `converge_core.llm.blobs.Blobs`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, content: bytes) -> str:
        """Keep content, durably, and return its SHA-256 in hex. Raises LedgerError."""
        digest = hashlib.sha256(content).hexdigest()
        path = self._path(digest)
        try:
            if not path.exists() or path.read_bytes() != content:  # what is not what it says is written anew
                write_durably(path, content)
        except OSError as error:
            raise LedgerError(f"blob {digest} cannot be written: {error.strerror}") from error
        return digest

    def get(self, digest: str) -> bytes:
        """Return content. Raises LedgerError where there is none, or it is not what its name says."""
        if not _DIGEST.fullmatch(digest):
            raise LedgerError(f"{digest!r:.80} is not the name of a blob")
        try:
            content = self._path(digest).read_bytes()
        except OSError as error:
            raise LedgerError(f"blob {digest} cannot be read: {error.strerror}") from error
        if hashlib.sha256(content).hexdigest() != digest:
            raise LedgerError(f"blob {digest} is not what was written")
        return content

    def _path(self, digest: str) -> Path:
        return self.folder / digest[:2] / digest[2:]
