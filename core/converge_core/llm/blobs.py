"""The port of what is too large for the ledger, and named there by its content."""

from __future__ import annotations

from typing import Protocol


class Blobs(Protocol):
    """Keeps bytes under their digest."""

    def put(self, content: bytes) -> str:
        """Keep content, durably, and return its SHA-256 in hex. Raises LedgerError."""
        ...

    def get(self, digest: str) -> bytes:
        """Return content, checked against its digest. Raises LedgerError."""
        ...
