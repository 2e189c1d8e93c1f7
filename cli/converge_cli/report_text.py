"""The result of a run, for people."""

from __future__ import annotations

from collections import Counter

import click

from converge_cli.approvers import YesApprover
from converge_cli.gate_text import describe
from converge_cli.output import counted, safe, say, table
from converge_cli.session import invocation
from converge_core import ConvergeResult, Head

MAX_SHOWN = 5
"""Open gates that are shown in full when a run pauses."""


def print_result(
    result: ConvergeResult, head: Head, approver: YesApprover | None, rejected: int, ledger_url: str | None
) -> None:
    """Print counts, criteria, the stop and the proof on stdout; what waits, and how to decide it, on stderr."""
    counts = Counter(fact.key.value for fact in result.context.facts())
    table(("key", "facts"), counts.items())
    size = f"{counted(result.integrity.fact_count, 'fact')} in {counted(result.cycles, 'cycle')}"
    click.echo(safe(f"\n{result.stop_reason}: {size}"))
    for outcome in result.criteria_outcomes:
        weight = "required" if outcome.criterion.required else "optional"
        click.echo(safe(f"  {weight} {outcome.criterion.id}: {outcome.result.result}"))
    if approver is not None:
        if approver.approved:
            click.echo(safe(f"--yes approved {counted(approver.approved, 'gate')} in the name of {approver.actor.id}"))
        for refusal in sorted(approver.refusals):
            say(f"--yes was refused: {refusal}")
    click.echo(f"run          {result.run_id}\nmerkle root  {result.integrity.merkle_root}\nledger head  {head}")
    if rejected:
        show = invocation(f"show {result.run_id} --json", ledger_url)
        say(f"{counted(rejected, 'proposal')} rejected: `{show}` says why")
    if result.pause is not None:
        requests = result.pause.requests
        for request in requests[:MAX_SHOWN]:
            say(describe(request, result.context))
        if len(requests) > MAX_SHOWN:
            say(f"\n… and {len(requests) - MAX_SHOWN} more")
        run_id, gate = result.run_id, requests[0].gate_id
        say(f"\n{len(requests)} gate(s) wait for a human. Decide them, from anywhere, and go on:")
        for words in (
            "approvals",
            f"approve {run_id} {gate}",
            f"reject {run_id} {gate} --reason TEXT",
            f"edit {run_id} {gate}",
            f"resume {run_id}",
        ):
            say(f"  {invocation(words, ledger_url)}")
