"""Live progress of a run, on stderr when it is a terminal; silent otherwise."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from converge_core import Call, Entry, Executor, Outcome
from converge_core.gates.budgets import Budget


class Progress:
    """An executor that shows what it hands on, and an observer that counts what was recorded."""

    def __init__(self, inner: Executor, budget: Budget) -> None:
        self._inner = inner
        self._budget = budget
        self._facts = 0
        self._show: Callable[[str], object] = len  # shows nothing until there is a place to show it

    async def execute(self, calls: Sequence[Call]) -> Sequence[Outcome]:
        """Show the cycle, then perform it."""
        budget = self._budget
        names = ", ".join(call.name for call in calls[:3]) + (" …" if len(calls) > 3 else "")
        self._show(
            f"cycle {calls[0].cycle}/{budget.max_cycles} · {len(calls)} eligible ({names})"
            f" · {self._facts}/{budget.max_facts} facts"
        )
        return await self._inner.execute(calls)

    def recorded(self, run_id: str, entries: Sequence[Entry]) -> None:
        """Count the facts."""
        self._facts += sum(entry.kind == "fact_promoted" for entry in entries)

    @contextmanager
    def shown(self, wanted: bool) -> Iterator[None]:
        """Show progress while a run is driven."""
        if not wanted or not sys.stderr.isatty():
            yield
            return
        from rich.console import Console

        console = Console(stderr=True, highlight=False)
        with console.status("starting") as status:
            self._show = status.update
            yield
