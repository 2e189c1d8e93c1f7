"""Live progress of a run, on stderr when it is a terminal; silent otherwise."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING

from converge_cli.output import safe
from converge_core import Approver, Call, Convergence, Entry, Executor, GateDecision, GateRequest, Outcome

if TYPE_CHECKING:
    from rich.status import Status

    from converge_core.llm.errors import CallOutcome

NAMED = 3
"""Suggestors of a cycle that are named; there may be hundreds."""


class Tally(Counter[str]):
    """An observer that counts what was recorded, by kind."""

    def recorded(self, run_id: str, entries: Sequence[Entry]) -> None:
        """Count the entries."""
        self.update(entry.kind for entry in entries)


class Asking:
    """A watcher of routers: which model is asked right now, and for whom. ``changed`` is called when that changes."""

    def __init__(self) -> None:
        self._now: list[str] = []
        self.changed: Callable[[], None] = lambda: None

    def asking(self, agent: str, backend: str) -> None:
        """Hear that a backend is asked."""
        self._now.append(f"{agent} asks {backend}")
        self.changed()

    def asked(self, agent: str, backend: str, outcome: CallOutcome) -> None:
        """Hear that it has answered, or failed."""
        self._now.remove(f"{agent} asks {backend}")
        self.changed()

    def line(self) -> str:
        """Say who is asked, in the order in which they were."""
        more = len(self._now) - NAMED
        return ", ".join(self._now[:NAMED]) + (f" and {more} more" if more > 0 else "")


class Progress:
    """Stands between a run and those who work for it: shows how it gets on, and keeps the time that it takes.

    While a person is asked, nothing is shown, and the time stands still.
    """

    def __init__(
        self,
        run: Convergence,
        executor: Executor,
        approver: Approver | None,
        clock: Callable[[], float] = time.monotonic,
        asking: Asking | None = None,
    ) -> None:
        self._run = run
        self._asking = asking or Asking()
        self._asking.changed = self._show
        self._calls: Sequence[Call] = ()
        self._executor = executor
        self._approver = approver
        self._stdout = sys.stdout
        self._status: Status | None = None  # none where there is no place to show it
        self._clock = clock
        self._began = clock() - run.elapsed_ms / 1000

    def working_ms(self) -> int:
        """Return the working time of the run so far, in milliseconds: a clock for `drive`."""
        return round((self._clock() - self._began) * 1000)

    async def execute(self, calls: Sequence[Call]) -> Sequence[Outcome]:
        """Show the cycle, then perform it."""
        self._calls = calls
        self._show()
        if self._status is not None:
            self._status.start()
        return await self._executor.execute(calls)

    async def decide(self, requests: Sequence[GateRequest]) -> Sequence[GateDecision]:
        """Make room on the screen, then ask, if there is somebody to be asked."""
        if self._approver is None:
            return ()
        if self._status is not None:
            self._status.stop()
        asked = self._clock()
        with redirect_stdout(self._stdout):
            decisions = await self._approver.decide(requests)
        self._began += self._clock() - asked
        return decisions

    @contextmanager
    def shown(self, wanted: bool) -> Iterator[None]:
        """Show progress while a run is driven; what suggestors print goes to stderr too, for stdout is for data."""
        with redirect_stdout(sys.stderr):
            if not wanted or not sys.stderr.isatty():
                yield
                return
            from rich.console import Console

            with Console(stderr=True).status("starting") as self._status:
                yield

    def _show(self) -> None:
        """Show where the run stands now, where there is a place to show it."""
        if self._status is not None and self._calls:
            from rich.text import Text

            self._status.update(Text(safe(self._line(self._calls))))

    def _line(self, calls: Sequence[Call]) -> str:
        """Say where the run stands: the cycle, who is asked, the facts, and what is left to spend."""
        budget, context = self._run.budget, calls[0].context
        names = ", ".join(call.name for call in calls[:NAMED]) + (", …" if len(calls) > NAMED else "")
        parts = [
            f"cycle {calls[0].cycle}/{budget.max_cycles}",
            f"{len(calls)} eligible ({names})",
            f"{context.version}/{budget.max_facts} facts",
        ]
        if (tokens := context.allowance.tokens) is not None:
            parts.append(f"{tokens} tokens left")
        if (cost := context.allowance.cost_microusd) is not None:
            parts.append(f"${cost / 1_000_000:.2f} left")
        if asking := self._asking.line():
            parts.append(asking)
        return " · ".join(parts)
