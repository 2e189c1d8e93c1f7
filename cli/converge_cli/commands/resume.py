"""``converge resume``: go on with a run that paused, failed, ran out of budget, or was cut off."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import click

from converge_cli.approvers import current_actor
from converge_cli.driving import Manner, check_manner, conclude, manner_options
from converge_cli.exit_codes import ExitCode
from converge_cli.output import say
from converge_cli.recorded import Loaded, reload, with_ledger
from converge_cli.session import Session, json_option, ledger_option, pass_session
from converge_core import Budget, Convergence, StopClass, Stopped, StopReason

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
    load = partial(reload, accept_changes=accept_changes)
    loaded: Loaded = with_ledger(session.ledger(ledger_url), lambda ledger: load(session, ledger, run_id))
    run, step = loaded.run, loaded.run.next()
    if loaded.changes:
        say(f"accepted: {'; '.join(loaded.changes)}")
        run.accept_changes(current_actor(manner.actor))
    if isinstance(step, Stopped):
        _reopen(run, step.result.stop_reason, budgets)
    elif budgets:
        raise click.UsageError("--budget is for a run that has stopped; this one has not")
    return conclude(session, ledger_url, loaded.engine, run, loaded.size, manner)


def _reopen(run: Convergence, reason: StopReason, budgets: tuple[str, ...]) -> None:
    """Reopen a run that has stopped, if there is anything to go on with."""
    if reason.stop_class is StopClass.VALIDATION:
        return  # it stays where it is, and says why once more
    if reason.stop_class is StopClass.BUDGET and not budgets:
        say(f"{reason}; raise it with --budget, as in --budget cycles=+20")
        return
    if reason.stop_class is StopClass.SUCCESS and not budgets:
        return
    run.reopen(raised(run.budget, budgets))


def raised(budget: Budget, settings: tuple[str, ...]) -> Budget:
    """Return a budget with other limits: ``name=limit``, or ``name=+more``. Raises click.UsageError."""
    for setting in settings:
        name, _, text = setting.partition("=")
        field = LIMITS.get(name)
        try:
            number = float(text)
        except ValueError:
            number = -1.0
        if field is None or number < 0:
            raise click.UsageError(f"--budget {setting}: give one of {', '.join(LIMITS)} a limit N, or +N more")
        if field == "time_limit_ms":
            number *= 1000
        if text.startswith("+"):
            number += getattr(budget, field) or 0
        limits: dict[str, Any] = {field: number if field == "max_cost_usd" else round(number)}
        budget = replace(budget, **limits)
    return budget
