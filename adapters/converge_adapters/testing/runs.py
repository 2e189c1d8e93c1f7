"""Runs for those to tell of whose past is a ledger: of what was said in them, whose they were, and when."""

# ruff: noqa: S101 (these are tests, if on their way to others)

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import anyio

from converge_adapters.ledgers.memory import MemoryLedger
from converge_core.context.keys import ContextKey
from converge_core.context.state import ContextState
from converge_core.engine.drive import drive
from converge_core.engine.engine import Engine
from converge_core.ledger.merkle import Head
from converge_core.ports import Ledger

S = TypeVar("S")

NOON = datetime(2026, 10, 31, 12, tzinfo=UTC)


def minutes() -> Iterator[datetime]:
    """Yield a moment for every time the clock of a store is read, a minute after the one before; noon is the first."""
    moment = NOON
    while True:
        yield moment
        moment += timedelta(minutes=1)


def minute_ledger() -> MemoryLedger:
    """Return an empty ledger by whose clock a minute passes between two readings."""
    readings = minutes()
    return MemoryLedger(now=lambda: next(readings))


async def remember(
    ledger: Ledger, run_id: str, *texts: str, labels: Mapping[str, str] | None = None, engine: Engine | None = None
) -> Head:
    """Let a run with these seeds, ``s1`` and so on, happen to its end, and return the head of its log."""
    context = ContextState()
    for number, text in enumerate(texts, 1):
        context.add_input(ContextKey.SEEDS, f"s{number}", text)
    run = (engine or Engine()).begin(context, run_id=run_id, labels=labels)
    await ledger.create_run(run_id)
    result = await drive(run, ledger=ledger)
    assert result.converged
    return await ledger.head(run_id)


def on_a_loop(check: Callable[[S, Path], Awaitable[None]]) -> Callable[[S, Path], None]:
    """Make a test that pytest can call of one that awaits."""

    def test(self: S, tmp_path: Path) -> None:
        anyio.run(check, self, tmp_path)

    test.__doc__ = check.__doc__
    return test
