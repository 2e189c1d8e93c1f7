"""``converge resume``: go on with a run that paused, failed, ran out of budget, or was cut off."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import click

from converge_cli.approvers import current_actor
from converge_cli.deciding import Answered
from converge_cli.differing import print_difference
from converge_cli.driving import Manner, check_manner, conclude, manner_options
from converge_cli.exit_codes import ExitCode
from converge_cli.output import say
from converge_cli.recorded import Loaded, load, with_ledger
from converge_cli.session import Session, invocation, json_option, key_option, ledger_option, pass_session
from converge_core import Budget, GateDecision, Ledger, MisuseError, ReplayDifference, StopClass, Stopped, StopReason

LIMITS = {
    "cycles": "max_cycles",
    "facts": "max_facts",
    "tokens": "max_tokens",
    "cost_usd": "max_cost_usd",
    "seconds": "time_limit_ms",
    "suggestors_per_cycle": "max_suggestors_per_cycle",
}


@click.command
@click.argument("run_id", metavar="RUN")
@click.option("--budget", "budgets", multiple=True, metavar="K=N", help="A new limit, or +N on top: cycles=+20.")
@click.option("--accept-changes", is_flag=True, help="Go on although suggestors or policies have changed.")
@manner_options
@key_option
@ledger_option
@json_option
@pass_session
def command(
    session: Session,
    /,
    run_id: str,
    budgets: tuple[str, ...],
    accept_changes: bool,
    ledger_url: str | None,
    as_json: bool,
    **options: Any,
) -> ExitCode:
    """Go on with RUN where its ledger ends.

    Calls that have finished are not made again, and what a person decided stays decided. A suggestor that failed is
    asked again. With changed code, --accept-changes goes on if the change leaves all that was derived as it is.
    """
    manner = Manner(as_json=as_json, **options)
    check_manner(manner)

    async def find(ledger: Ledger) -> tuple[Loaded, list[GateDecision]]:
        stored = await ledger.read(run_id)
        loaded = load(session, run_id, stored, accept_changes=accept_changes)
        return loaded, loaded.expire(stored)

    try:
        loaded, expired = with_ledger(session.ledger(ledger_url), find)
    except ReplayDifference as difference:
        say("the past would be another one with what has changed, so the run cannot go on with it")
        print_difference(difference, as_json)
        return ExitCode.CORRUPT
    for decision in expired:
        say(f"{Answered(run_id, decision)} ({decision.reason})")
    run, step = loaded.run, loaded.run.next()
    if loaded.changes:
        run.accept_changes(current_actor(manner.actor))
        say(f"accepted: {'; '.join(loaded.changes)}")
    if isinstance(step, Stopped):
        reason, budget = step.result.stop_reason, raised(run.budget, budgets)
        if _may_go_on(reason, anew=budget != run.budget):
            run.reopen(budget)
        elif reason.stop_class is StopClass.BUDGET:
            say(f"raise it to go on: {invocation(f'resume {run_id} --budget cycles=+20', ledger_url)}, for example")
    elif budgets:
        raise click.UsageError("--budget is for a run that has stopped; this one has not")
    return conclude(session, ledger_url, loaded.engine, run, loaded.size, manner)


def _may_go_on(reason: StopReason, *, anew: bool) -> bool:
    """Say whether there is anything to go on with after a stop; ``anew`` tells of a budget other than the last."""
    if reason.stop_class is StopClass.VALIDATION:
        return False  # it stays where it is, and says why once more
    return anew or reason.stop_class not in (StopClass.BUDGET, StopClass.SUCCESS)


def raised(budget: Budget, settings: tuple[str, ...]) -> Budget:
    """Return a budget with other limits: ``name=limit``, or ``name=+more``. Raises click.UsageError."""
    for setting in settings:
        name, _, text = setting.partition("=")
        try:
            budget = replace(budget, **_limit(budget, name, text))
        except (ValueError, MisuseError) as error:
            known = ", ".join(LIMITS)
            raise click.UsageError(
                f"--budget {setting}: give one of {known} a limit N, or +N more ({error})"
            ) from error
    return budget


def _limit(budget: Budget, name: str, text: str) -> dict[str, Any]:
    """Return one limit as `Budget` takes it. Raises ValueError, with a reason."""
    if name not in LIMITS:
        raise ValueError(f"there is no limit {name!r}")
    field, number = LIMITS[name], float(text)
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"{text!r} is no amount")
    number = round(number * 1000) if name == "seconds" else number
    if text.startswith("+"):
        before = getattr(budget, field)
        if before is None:
            raise ValueError(f"{name} has no limit to add to")
        number += before
    if name != "cost_usd" and not float(number).is_integer():
        raise ValueError(f"{text!r} is no whole number")
    return {field: number if name == "cost_usd" else int(number)}
