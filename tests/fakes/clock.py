"""A clock that shows what the test says."""

from __future__ import annotations

from collections.abc import Iterable


class FakeClock:
    """Shows one reading after the other, in milliseconds, and stays at the last."""

    def __init__(self, readings: Iterable[int]) -> None:
        self._readings = iter(readings)
        self._now = 0

    def __call__(self) -> int:
        self._now = next(self._readings, self._now)
        return self._now
