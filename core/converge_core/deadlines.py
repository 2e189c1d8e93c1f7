"""The port of a deadline: work that must not keep others waiting, however long it takes itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

from converge_core.errors import ConvergeError
from converge_core.suggestors.catalog import Port

T = TypeVar("T")


class DeadlinePassed(ConvergeError):
    """There was no answer in time."""

    def __init__(self, limit_ms: int) -> None:
        super().__init__(limit_ms)
        self.limit_ms = limit_ms

    def __str__(self) -> str:
        return f"no answer within {self.limit_ms} ms"


class Deadlines(Protocol):
    """Does pieces of work side by side, each with a deadline of its own."""

    async def attempt(self, works: Sequence[Callable[[], T | Awaitable[T]]], limit_ms: int) -> Sequence[T | Exception]:
        """Return what each piece of work comes to, in their order: its value, or the exception that it raised.

        The time of a piece begins when it does; one that is late comes to DeadlinePassed, and what it still says is
        not heard. A piece may be ``async`` or plain; a plain one may block, and holds nobody up.
        """
        ...


DEADLINES: Port[Deadlines] = Port("deadlines")
"""Runs work under a time limit."""
