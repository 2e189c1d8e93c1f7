"""``converge explain``: why is this a fact? No plugin is needed for that."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence

import click

from converge_cli.output import emit
from converge_cli.recorded import read_verified, with_ledger
from converge_cli.report import asked
from converge_cli.report.mermaid import flowchart
from converge_cli.report.wording import account, fact_json, one_line, plain
from converge_cli.session import Session, json_option, ledger_option, pass_session
from converge_core import ConvergeError, Entry, Head
from converge_core.ledger.history import History
from converge_core.ledger.lineage import Sight, Step, lineage
from converge_core.llm.trace import ModelCall, model_calls

DEPTH = 100


@click.command
@click.argument("run_id", metavar="RUN")
@click.argument("ref", metavar="FACT")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "mermaid"]),
    default="text",
    show_default=True,
    help="What to print.",
)
@click.option("--depth", type=click.IntRange(0), default=DEPTH, show_default=True, help="How far back to go.")
@ledger_option
@json_option
@pass_session
def command(
    session: Session, run_id: str, ref: str, form: str, depth: int, ledger_url: str | None, as_json: bool
) -> None:
    """Show why FACT (key/id) holds in RUN: who proposed it, who let it in, and what it rests on, back to the inputs.

    What stands in the tree already is referred to with ↑ and not repeated.
    """
    entries: list[Entry]
    head: Head
    entries, head = with_ledger(session.ledger(ledger_url, read_only=True), read_verified, run_id)
    history = History.of(entries, run_id)
    if ref not in history.facts:
        raise ConvergeError(f"run {run_id!r} has no fact {ref!r}{_nearest(ref, history)}")
    steps = list(lineage(history, ref, depth))
    if as_json or form == "json":
        emit(_as_json(history, steps, head))
    elif form == "mermaid":
        facts = {step.ref: step.fact for step in steps if step.fact is not None}
        citations = [(step.ref, step.parent) for step in steps if step.parent is not None]
        click.echo("\n".join(flowchart(facts.values(), citations)))
    else:
        for line in tree(history, steps):
            click.echo(line)


def _nearest(ref: str, history: History) -> str:
    near = difflib.get_close_matches(ref, history.facts, n=3, cutoff=0.5)
    near = near or [known for known in history.facts if known.endswith(f"/{ref}")][:3]
    return f"; did you mean {' or '.join(near)}?" if near else ""


def _as_json(history: History, steps: Sequence[Step], head: Head) -> dict[str, object]:
    """Return the lineage as a graph: each fact once, with the names of what it cites."""
    facts = {step.ref: step.fact for step in steps if step.fact is not None}
    return {
        "run_id": history.run_id,
        "fact": steps[0].ref,
        "superseded_by": history.superseded.get(steps[0].ref),
        "ledger_head": str(head),
        "facts": [fact_json(fact) for fact in facts.values()],
        "model_calls": [
            {"cycle": call.cycle, "suggestor": call.suggestor} | dict(call.record)
            for call in model_calls(history.notes)
            if any(map(call.led_to, facts.values()))
        ],
        "sources": list(dict.fromkeys(step.ref for step in steps if step.sight is Sight.SOURCE)),
        "cut": list(dict.fromkeys(step.ref for step in steps if step.sight is Sight.CUT)),
    }


def tree(history: History, steps: Sequence[Step]) -> Iterator[str]:
    """Yield the lines of the tree, drawn with box characters."""
    rails: list[str] = []
    calls = list(model_calls(history.notes))
    for step in steps:
        del rails[max(step.depth - 1, 0) :]
        branch = "" if step.depth == 0 else "└─ " if step.last else "├─ "
        yield f"{''.join(rails)}{branch}{_title(history, step)}"
        if step.depth:
            rails.append("   " if step.last else "│  ")
        below = "│  " if step.sight is Sight.FACT and step.fact is not None and step.fact.evidence else "   "
        for line in _notes(step, calls):
            yield f"{''.join(rails)}{below}{click.style(line, dim=True)}"


def _title(history: History, step: Step) -> str:
    ref = plain(step.ref)
    if step.fact is None:
        return f"{click.style(ref, italic=True)}  (no fact of this run)"
    if step.sight is Sight.AGAIN:
        return f"{ref}  ↑"
    by = history.superseded.get(step.ref)
    corrected = f"  (superseded by {plain(by)})" if by is not None else ""
    return f"{click.style(ref, bold=True)}  {one_line(step.fact.body)}{corrected}"


def _notes(step: Step, calls: Sequence[ModelCall]) -> Iterator[str]:
    if step.fact is None or step.sight is Sight.AGAIN:
        return
    yield from account(step.fact)
    yield from asked.notes(step.fact, calls)
    if step.sight is Sight.CUT:
        yield f"rests on {len(step.fact.evidence)} more: --depth goes further"
