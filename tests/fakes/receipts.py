"""What earlier runs have concluded, in a list."""

from __future__ import annotations

from collections.abc import Mapping

from converge_core import ConvergeError
from converge_core.ledger.canonical import JsonValue
from converge_core.repository import PastReceipt


class FakeReceipts:
    """Holds receipts of one family, oldest first; or the ``error`` with which their ledger answers."""

    def __init__(self, family: str) -> None:
        self.family = family
        self.kept: list[PastReceipt] = []
        self.error: ConvergeError | None = None

    async def newest(self, family: str, matching: Mapping[str, JsonValue]) -> PastReceipt | None:
        if self.error is not None:
            raise self.error
        for past in reversed(self.kept):
            if family == self.family and all(past.body.get(name) == value for name, value in matching.items()):
                return past
        return None
