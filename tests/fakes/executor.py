"""An executor that lets the test say in which order calls finish."""

from __future__ import annotations

from collections.abc import Sequence

from converge_core import Call, Outcome


class FakeExecutor:
    """Performs the calls of a batch in a given order, and returns their outcomes in that order.

    ``order`` ranks the places of a batch, over and over: ``(2, 0, 1)`` lets the second of three calls finish first.
    """

    def __init__(self, order: Sequence[int] = (0,)) -> None:
        self._order = order
        self.batches: list[tuple[str, ...]] = []

    async def execute(self, calls: Sequence[Call]) -> Sequence[Outcome]:
        places = sorted(range(len(calls)), key=lambda place: (self._order[place % len(self._order)], place))
        self.batches.append(tuple(calls[place].name for place in places))
        return [await calls[place].perform() for place in places]
