"""``converge export``: a run as a file, for another ledger, a chart or a reader. No plugin is needed for that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

import click

from converge_cli.interchange import Exported, dump
from converge_cli.output import emit, say
from converge_cli.recorded import entries_of, with_ledger
from converge_cli.report.mermaid import MAX_EDGES, flowchart
from converge_cli.session import Session, json_option, ledger_option, pass_session
from converge_cli.standing import standing_in
from converge_core import Ledger, StoredEntry, verify
from converge_core.ledger.history import History


@click.command
@click.argument("run_id", metavar="RUN")
@click.option(
    "--format",
    "form",
    type=click.Choice(["jsonl", "mermaid", "html"]),
    default="jsonl",
    show_default=True,
    help="Everything, to be imported; the provenance, as a flowchart; or a page, to be read.",
)
@click.option(
    "--output", "-o", "file", type=click.File("wb", lazy=True, atomic=True), default="-", help="Default: stdout."
)
@ledger_option
@json_option
@pass_session
def command(session: Session, run_id: str, form: str, file: BinaryIO, ledger_url: str | None, as_json: bool) -> None:
    """Write RUN, once it is verified, as JSON lines (see `converge import`), as a Mermaid flowchart or as HTML.

    With --json, what was written is described on stdout; then --output has to name a file.
    """
    if as_json and file.name == "-":
        raise click.UsageError("--json describes what was written to a file: give --output FILE")
    stored: list[StoredEntry] = with_ledger(session.ledger(ledger_url, read_only=True), _read, run_id)
    run = Exported(run_id, verify(run_id, stored), stored)
    data = _WRITERS[form](run)
    file.write(data)
    if as_json:
        emit({"run_id": run_id, "format": form, "output": file.name, "bytes": len(data), "ledger_head": str(run.head)})


async def _read(ledger: Ledger, run_id: str) -> Sequence[StoredEntry]:
    return list(await ledger.read(run_id))


def _mermaid(run: Exported) -> bytes:
    history = _history(run)
    citations = [(cited, fact.ref) for fact in history.facts.values() for cited in dict.fromkeys(fact.evidence)]
    if len(citations) > MAX_EDGES:
        say(
            f"{len(citations)} lines: Mermaid draws no more than {MAX_EDGES} unless its maxEdges is raised; "
            "`converge explain` draws one fact, `--format html` has all of them"
        )
    return "".join(f"{line}\n" for line in flowchart(history.facts.values(), citations)).encode()


def _html(run: Exported) -> bytes:
    from converge_cli.report.page import page

    history = _history(run)
    return page(history, run.stored, run.head, standing_in(history)).encode()


def _history(run: Exported) -> History:
    return History.of(entries_of(run.stored), run.run_id)


_WRITERS = {"jsonl": dump, "mermaid": _mermaid, "html": _html}
