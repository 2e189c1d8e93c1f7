"""The result of a run, for people."""

from __future__ import annotations

from collections import Counter

import click

from converge_cli.approvers import YesApprover, describe
from converge_cli.output import counted, safe, say, table
from converge_core import Approver, ConvergeResult, Head

MAX_SHOWN = 5
"""Open gates that are shown in full when a run pauses."""


def print_result(result: ConvergeResult, head: Head, approver: Approver | None, rejected: int) -> None:
    """Print counts, criteria, the stop and the proof on stdout; what waits, and how to decide it, on stderr."""
    counts = Counter(fact.key.value for fact in result.context.facts())
    table(("key", "facts"), counts.items())
    size = f"{counted(result.integrity.fact_count, 'fact')} in {counted(result.cycles, 'cycle')}"
    click.echo(safe(f"\n{result.stop_reason}: {size}"))
    for outcome in result.criteria_outcomes:
        weight = "required" if outcome.criterion.required else "optional"
        click.echo(safe(f"  {weight} {outcome.criterion.id}: {outcome.result.result}"))
    if isinstance(approver, YesApprover) and approver.approved:
        click.echo(safe(f"--yes approved {counted(approver.approved, 'gate')} in the name of {approver.actor.id}"))
    click.echo(f"run          {result.run_id}\nmerkle root  {result.integrity.merkle_root}\nledger head  {head}")
    if rejected:
        say(f"{counted(rejected, 'proposal')} rejected: `converge show {result.run_id} --json` says why")
    if result.pause is not None:
        requests = result.pause.requests
        for request in requests[:MAX_SHOWN]:
            say(describe(request))
        if len(requests) > MAX_SHOWN:
            say(f"\n… and {len(requests) - MAX_SHOWN} more")
        run_id, gate = result.run_id, requests[0].gate_id
        say(
            f"\n{len(requests)} gate(s) wait for a human. Decide them, from anywhere, and go on:\n"
            f"  converge approvals\n"
            f"  converge approve {run_id} {gate}\n"
            f"  converge reject {run_id} {gate} --reason TEXT\n"
            f"  converge edit {run_id} {gate}\n"
            f"  converge resume {run_id}"
        )
