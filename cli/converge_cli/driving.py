"""Driving a run from the command line: the executor, the journal, the clock, and who is asked."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from converge_adapters.event_loop import run_async
from converge_adapters.executors import AnyioExecutor
from converge_adapters.journal import JournalingExecutor
from converge_cli.approvers import PromptApprover, YesApprover, current_actor
from converge_cli.exit_codes import ExitCode
from converge_cli.output import emit, say
from converge_cli.progress import Progress
from converge_cli.recorded import read_verified
from converge_cli.report_text import print_result
from converge_cli.standing import exit_code_of, result_json
from converge_core import (
    Convergence,
    ConvergeResult,
    Engine,
    Head,
    Ledger,
    LedgerConflict,
    PayloadRegistry,
    drive,
    replay,
)

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Manner:
    """How a run is driven: what the options of `run` and `resume` say."""

    yes: bool
    no_input: bool
    actor: str | None
    concurrency: int
    time_limit: float | None
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
        )
    ):
        command = option(command)
    return command


def check_manner(manner: Manner) -> None:
    """Refuse options that exclude each other. Raises click.UsageError."""
    if manner.yes and manner.no_input:
        raise click.UsageError("--yes and --no-input exclude each other")


def conclude(ledger: Ledger, engine: Engine, run: Convergence, size: int, manner: Manner) -> ExitCode:
    """Drive a run on from ``size`` recorded entries, print how it ends, and return the exit code."""
    approver = manner.approver(engine.payloads)
    try:
        result, head = run_async(_drive, ledger, engine, run, size, manner, approver)
    except (KeyboardInterrupt, click.Abort):
        say(f"\nrun {run.run_id} is kept as far as it came: converge resume {run.run_id}")
        return ExitCode.INTERRUPTED
    if manner.as_json:
        emit(result_json(result, head))
    else:
        print_result(result, head, approver)
    return exit_code_of(result)


async def _drive(
    ledger: Ledger,
    engine: Engine,
    run: Convergence,
    size: int,
    manner: Manner,
    approver: YesApprover | PromptApprover | None,
) -> tuple[ConvergeResult, Head]:
    """Drive a run; where a person was asked and another process moved the run meanwhile, go on from there."""
    began = time.monotonic()
    limit_ms = None if manner.time_limit is None else round(manner.time_limit * 1000)
    try:
        if size == 0:
            await ledger.create_run(run.run_id)
        while True:
            before = run.elapsed_ms
            executor = JournalingExecutor(
                AnyioExecutor(manner.concurrency, limit_ms), ledger, run.run_id, engine.payloads
            )
            progress = Progress(executor, run.budget)
            lively = not manner.as_json and not isinstance(approver, PromptApprover)
            try:
                with progress.shown(lively):
                    result = await drive(
                        run,
                        executor=progress,
                        ledger=ledger,
                        size=size,
                        approver=approver,
                        observers=[progress],
                        clock=lambda before=before: before + round((time.monotonic() - began) * 1000),  # type: ignore[misc]
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
