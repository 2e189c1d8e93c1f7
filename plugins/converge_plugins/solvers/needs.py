"""What the solvers need from outside: scipy, which not everybody has, and a clock to keep a time limit by.

scipy is imported inside the functions that use it. So everything but solving works without it: a run whose plans are
in the ledger can be shown, verified and replayed anywhere.
"""

from __future__ import annotations

from collections.abc import Callable

from converge_core import PluginError

Clock = Callable[[], float]
"""Seconds since some moment; never goes back."""


def require_scipy() -> None:
    """Raise PluginError, with the way to install it, where there is no scipy."""
    try:
        import scipy  # noqa: F401
    except ImportError as error:
        raise PluginError("solvers", "there is no scipy here: pip install 'converge-runtime[solvers]'") from error


class Deadline:
    """A time limit that several searches share."""

    def __init__(self, seconds: float, clock: Clock) -> None:
        self._clock = clock
        self._end = clock() + seconds

    def left(self) -> float:
        """Return the seconds that are left; 0.0 when there are none."""
        return max(0.0, self._end - self._clock())
