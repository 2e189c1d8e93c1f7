"""Driving a run from the command line: the executor, the journal, the clock, and who is asked.

A run is driven in stretches, each of them one event loop: until it stops, or until people have to decide. A person at
the terminal is asked between two stretches (`converge_cli.prompting`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

import click

from converge_adapters.event_loop import run_async
from converge_adapters.journal import JournalingExecutor
from converge_cli.approvers import YesApprover, current_actor
from converge_cli.deciding import Answered, decide
from converge_cli.exit_codes import ExitCode
from converge_cli.output import emit, say
from converge_cli.progress import Progress, Tally
from converge_cli.prompting import converse
from converge_cli.recorded import Loaded, load
from converge_cli.report_text import print_result
from converge_cli.session import Session, invocation
from converge_cli.standing import exit_code_of, result_json
from converge_core import (
    Convergence,
    ConvergeResult,
    Engine,
    Executor,
    GateDecision,
    Head,
    Ledger,
    LedgerConflict,
    drive,
)
from converge_core.ledger.events import EffectReceived, ProposalRejected

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Manner:
    """How a run is driven: what the options of `run` and `resume` say."""

    yes: bool
    no_input: bool
    actor: str | None
    concurrency: int
    time_limit: float | None
    executor: str | None
    as_json: bool

    def asks(self) -> bool:
        """Say whether there is a person at a terminal who is to be asked at human gates."""
        return not (self.yes or self.no_input or self.as_json) and sys.stdin.isatty() and sys.stderr.isatty()


def manner_options(command: F) -> F:
    """Add the options that `Manner` holds to a command, which gets them as ``manner``."""
    for option in reversed(
        (
            click.option("--yes", is_flag=True, help="Approve at every human gate."),
            click.option("--no-input", is_flag=True, help="Never ask: pause at human gates."),
            click.option("--as", "actor", metavar="NAME", help="Who decides; default: CONVERGE_ACTOR, or the user."),
            click.option(
                "--concurrency", default=8, show_default=True, type=click.IntRange(1), help="Suggestors at a time."
            ),
            click.option(
                "--time-limit",
                type=click.FloatRange(0, min_open=True),
                metavar="SECONDS",
                help="The most for one call.",
            ),
            click.option("--executor", metavar="NAME", help="Who performs the calls, if a plugin offers one."),
        )
    ):
        command = option(command)
    return command


def check_manner(manner: Manner) -> None:
    """Refuse options that exclude each other. Raises click.UsageError."""
    if manner.yes and manner.no_input:
        raise click.UsageError("--yes and --no-input exclude each other")


def conclude(
    session: Session, ledger_url: str | None, engine: Engine, run: Convergence, size: int, manner: Manner
) -> ExitCode:
    """Drive a run on from ``size`` recorded entries, print how it ends, and return the exit code."""
    limit_ms = None if manner.time_limit is None else round(manner.time_limit * 1000)
    executor = session.executor(manner.executor, manner.concurrency, limit_ms)
    approver = YesApprover(current_actor(manner.actor)) if manner.yes else None
    driver = Driver(session, session.ledger(ledger_url, create=True), executor, approver, lively=not manner.as_json)
    try:
        end = driver.drive(Loaded(engine, run, size))
        while end.result.pause is not None and manner.asks():
            loaded = converse(end.loaded, current_actor(manner.actor), driver.record)
            left = loaded.run.open_gates
            end = driver.drive(loaded)
            if left:
                break
    except (KeyboardInterrupt, click.Abort):
        say(f"\nrun {run.run_id} is kept as far as it came: {invocation(f'resume {run.run_id}', ledger_url)}")
        return ExitCode.INTERRUPTED
    finally:
        driver.close()
    if manner.as_json:
        emit(result_json(end.result, end.head))
    else:
        print_result(end.result, end.head, approver, driver.tally[ProposalRejected.kind], ledger_url)
    return exit_code_of(end.result)


class Stretch(NamedTuple):
    """How a stretch of a run ended, and where the run stands then."""

    result: ConvergeResult
    head: Head
    loaded: Loaded


class Driver:
    """Drives a run on one ledger, stretch by stretch, and records what a person answers in between."""

    def __init__(
        self, session: Session, ledger: Ledger, executor: Executor, approver: YesApprover | None, *, lively: bool
    ) -> None:
        self._session, self._ledger, self._executor, self._approver = session, ledger, executor, approver
        self._lively = lively
        self.tally = Tally()
        self._observers = [session.observer(), self.tally, *([approver] if approver is not None else [])]

    def drive(self, loaded: Loaded) -> Stretch:
        """Drive a run until it stops or waits for people. Raises LedgerConflict when another process drives it."""
        return run_async(self._drive, loaded)

    def record(self, loaded: Loaded, decision: GateDecision) -> tuple[list[Answered], Loaded]:
        """Record an answer; return what was decided, the answer last, and the run after it."""
        run_id = loaded.run.run_id
        return run_async(decide, self._ledger, self._session, run_id, lambda _: [decision], loaded)

    def close(self) -> None:
        """Close the ledger."""
        run_async(self._ledger.close)

    async def _drive(self, loaded: Loaded) -> Stretch:
        """Drive a run in the event loop of this stretch, which ends with it, and so do the connections made in it."""
        try:
            return await self._driven(loaded)
        finally:
            await self._session.give_back_connections()

    async def _driven(self, loaded: Loaded) -> Stretch:
        run_id = loaded.run.run_id
        if loaded.size == 0:
            await self._ledger.create_run(run_id)
        while True:
            executor = JournalingExecutor(self._executor, self._ledger, run_id, loaded.engine.payloads)
            progress = Progress(loaded.run, executor, self._approver, asking=self._session.asking)
            try:
                with progress.shown(self._lively):
                    result = await drive(
                        loaded.run,
                        executor=progress,
                        ledger=self._ledger,
                        size=loaded.size,
                        approver=progress,
                        observers=self._observers,
                        clock=progress.working_ms,
                    )
            except LedgerConflict as conflict:
                loaded = await self._caught_up(conflict)
            else:
                head = await self._ledger.head(run_id)
                return Stretch(result, head, replace(loaded, size=head.size))

    async def _caught_up(self, conflict: LedgerConflict) -> Loaded:
        """Return the run as others have left it who only answered or corrected something; or raise the conflict.

        What was executed in vain is in the journal, where it matters.
        """
        stored = await self._ledger.read(conflict.run_id)
        if any(entry.kind == EffectReceived.kind for entry in stored[conflict.expected_size :]):
            raise conflict
        say("somebody has answered or corrected something in this run; going on from there")
        return load(self._session, conflict.run_id, stored)
