"""Driving a run from the command line: the executor, the journal, the clock, and who is asked."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from converge_adapters.event_loop import run_async
from converge_adapters.journal import JournalingExecutor
from converge_cli.approvers import PromptApprover, YesApprover, current_actor
from converge_cli.exit_codes import ExitCode
from converge_cli.output import emit, say
from converge_cli.progress import Progress, Tally
from converge_cli.recorded import read_verified
from converge_cli.report_text import print_result
from converge_cli.session import Session
from converge_cli.standing import exit_code_of, result_json
from converge_core import (
    Convergence,
    ConvergeResult,
    Engine,
    Executor,
    Head,
    Ledger,
    LedgerConflict,
    Observer,
    PayloadRegistry,
    drive,
    replay,
)
from converge_core.ledger.events import ProposalRejected

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

    def approver(self, payloads: PayloadRegistry) -> YesApprover | PromptApprover | None:
        """Return who answers at human gates; nobody, where there is nobody to ask."""
        if self.yes:
            return YesApprover(current_actor(self.actor))
        if self.no_input or self.as_json or not (sys.stdin.isatty() and sys.stderr.isatty()):
            return None
        return PromptApprover(current_actor(self.actor), payloads)


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
    tally = Tally()
    observers = (session.observer(), tally)
    approver = manner.approver(engine.payloads)
    ledger = session.ledger(ledger_url, create=True)
    try:
        result, head = run_async(_drive, ledger, engine, run, size, executor, observers, approver, not manner.as_json)
    except (KeyboardInterrupt, click.Abort):
        say(f"\nrun {run.run_id} is kept as far as it came: converge resume {run.run_id}")
        return ExitCode.INTERRUPTED
    if manner.as_json:
        emit(result_json(result, head))
    else:
        print_result(result, head, approver, tally[ProposalRejected.kind])
    return exit_code_of(result)


async def _drive(
    ledger: Ledger,
    engine: Engine,
    run: Convergence,
    size: int,
    performer: Executor,
    observers: Sequence[Observer],
    approver: YesApprover | PromptApprover | None,
    lively: bool,
) -> tuple[ConvergeResult, Head]:
    """Drive a run; where a person was asked and another process moved the run meanwhile, go on from there."""
    try:
        if size == 0:
            await ledger.create_run(run.run_id)
        while True:
            executor = JournalingExecutor(performer, ledger, run.run_id, engine.payloads)
            progress = Progress(run, executor, approver)
            try:
                with progress.shown(lively):
                    result = await drive(
                        run,
                        executor=progress,
                        ledger=ledger,
                        size=size,
                        approver=progress,
                        observers=observers,
                        clock=progress.working_ms,
                    )
                return result, await ledger.head(run.run_id)
            except LedgerConflict:
                if not isinstance(approver, PromptApprover):
                    raise
                say("another process has moved this run; going on from there")
                entries, head = await read_verified(ledger, run.run_id)
                run, size = replay(engine, entries), head.size
    finally:
        await ledger.close()
