"""``converge ceg``: the execution graphs of a run, as its ledger tells of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import click

from converge_cli.output import emit, say
from converge_cli.recorded import read_verified, with_ledger
from converge_cli.report.execution_graph import execution_chart
from converge_cli.report.mermaid import escape
from converge_cli.session import Session, json_option, ledger_option, pass_session
from converge_core import ConvergeError, Entry, FactPayload, PayloadRegistry
from converge_core.ledger.canonical import canonical
from converge_core.ledger.history import History
from converge_plugins.ceg.facts import CompiledGraph, ExecutionTrace, PlannedExecution
from converge_plugins.ceg.graph import CEGraph


class Told(NamedTuple):
    """What a run tells of a request last: its graph, the plan (JSON, None before there is one), and the outcome."""

    request: str
    tick: int
    graph: CEGraph
    plan: Any
    outcome: str | None
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Return it as ``--json`` prints it."""
        return {
            "request": self.request,
            "tick": self.tick,
            "outcome": self.outcome,
            "reason": self.reason,
            "digest": self.graph.digest,
            "graph": self.graph.to_json(),
            "plan": self.plan,
        }


@click.group
def command() -> None:
    """Show execution graphs, into which the plugin `ceg` compiles requests."""


@command.command
@click.argument("run_id", metavar="RUN")
@click.option("--request", metavar="ID", help="Only the graph of this request; default: of all.")
@ledger_option
@json_option
@pass_session
def show(session: Session, run_id: str, request: str | None, ledger_url: str | None, as_json: bool) -> None:
    """Print the execution graphs of RUN as they are now, as Mermaid flowcharts.

    With --json a line for each request has its graph, its digest, the plan with every candidate, and the outcome.
    """
    entries: list[Entry]
    entries, _ = with_ledger(session.ledger(ledger_url, read_only=True), read_verified, run_id)
    told = [each for each in _told(History.of(entries, run_id)) if request in (None, each.request)]
    if not told:
        about = "" if request is None else f" of {request!r}"
        raise ConvergeError(f"run {run_id!r} has no execution graph{about}")
    for each in told:
        if as_json:
            emit(each.to_json())
            continue
        click.echo(f"%% {escape(each.request)}, tick {each.tick}: {each.outcome or 'goes on'}")
        for line in execution_chart(each.graph):
            click.echo(line)
        if each.reason:
            say(f"{each.request}: {each.reason}")


def _told(history: History) -> Iterable[Told]:
    """Return what the facts of a run say last of each request, in the order of the requests."""
    payloads = PayloadRegistry()
    for family in _FAMILIES.values():
        payloads.register(family)
    told: dict[str, Told] = {}
    for fact in history.facts.values():
        payload = fact.proposal["payload"]
        if payload["family"] not in _FAMILIES:
            continue
        match payloads.decode(payload["family"], payload["version"], canonical(payload["body"])):
            case CompiledGraph() as compiled:
                told[compiled.request] = Told(compiled.request, compiled.tick, compiled.graph, None, None, "")
            case PlannedExecution() as planned:
                told[planned.request] = told[planned.request]._replace(plan=payload["body"]["plan"])
            case ExecutionTrace() as trace:
                told[trace.request] = told[trace.request]._replace(
                    graph=trace.graph, outcome=trace.outcome, reason=trace.reason
                )
    return told.values()


_FAMILIES: Mapping[str, type[FactPayload]] = {
    kind.family: kind for kind in (CompiledGraph, PlannedExecution, ExecutionTrace)
}
