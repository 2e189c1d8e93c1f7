"""``converge eval``: how good was a run? It is read, and stays as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from converge_adapters.documents import Document, load_document
from converge_cli.commands.fork import context_of
from converge_cli.commands.run import new_run_id
from converge_cli.compose import check_evals, compose, compose_evals
from converge_cli.exit_codes import ExitCode
from converge_cli.faults import nearest
from converge_cli.output import emit, safe, table
from converge_cli.recorded import composition_of, read_verified, started_of, with_ledger
from converge_cli.session import Session, json_option, ledger_option, pass_session
from converge_core import (
    ContextState,
    ConvergeError,
    Convergence,
    Engine,
    Entry,
    Eval,
    EvalOutcome,
    EvalRegistry,
    EvalResult,
    Head,
    Ledger,
    PayloadError,
    drive,
)
from converge_core.intent.sections import EvalSection
from converge_core.ledger.canonical import JsonValue
from converge_core.ledger.history import History

Evals = list[tuple[EvalSection, Eval]]


@click.command(epilog="Exits with 0 when every eval passes, and with 8 when one does not.")
@click.argument("run_id", metavar="RUN")
@click.option("--eval", "names", multiple=True, metavar="NAME", help="Only this eval. Repeatable.")
@click.option(
    "--file", "path", type=click.Path(path_type=Path), help="A YAML file of `evals`, in place of the intent's own."
)
@click.option("--record", is_flag=True, help="Keep the outcomes as the facts of a new run, a child of RUN.")
@ledger_option
@json_option
@pass_session
def command(
    session: Session,
    run_id: str,
    names: tuple[str, ...],
    path: Path | None,
    record: bool,
    ledger_url: str | None,
    as_json: bool,
) -> ExitCode:
    """Grade RUN, which has stopped, by the evals of its intent or of a file, and by those that plugins offer.

    RUN stays as it is, and nothing is written without --record.
    """
    entries: list[Entry]
    head: Head
    entries, head = with_ledger(session.ledger(ledger_url, read_only=True), read_verified, run_id)
    history = History.of(entries, run_id)
    if history.stop is None:
        raise ConvergeError(f"run {run_id!r} has not stopped: what it comes to is not known yet")
    folder, made = _evals(session, run_id, entries, path)
    chosen = _chosen(made, names)
    context = ContextState(_context(session, run_id, entries).facts())
    if record and not context.version:
        raise ConvergeError(f"run {run_id!r} has concluded nothing, so there is nothing to keep a grade of")
    results = EvalRegistry(one for _, one in chosen).evaluate_all(context)
    kept = _record(session, ledger_url, history, head, context, folder, chosen) if record else None
    _print(run_id, results, kept, as_json)
    passed = all(result.outcome is EvalOutcome.PASS for result in results)
    return ExitCode.CONVERGED if passed else ExitCode.UNMET


def _evals(session: Session, run_id: str, entries: Sequence[Entry], path: Path | None) -> tuple[Path, Evals]:
    """Return the evals of a file, or of the run's own intent, and the folder in which their code is."""
    started = started_of(run_id, entries)
    source = started.source or {}
    document, folder = (
        Document.of(source.get("document"), f"the intent of {run_id}"),
        Path(str(source.get("folder", "."))),
    )
    if path is not None:
        document, folder = load_document(path), path.parent
        check_evals(document)
    else:
        listed = document.value.get("evals", []) if isinstance(document.value, Mapping) else []
        document = Document.of({"evals": listed}, document.file)
    return folder, compose_evals(document, session.offers, folder, session.ports(started.labels or {}))


def _chosen(made: Evals, names: Sequence[str]) -> Evals:
    known = [section.name for section, _ in made]
    for name in names:
        if name not in known:
            hint = nearest(name, known) or f"; known: {', '.join(known) or 'none'}"
            raise click.UsageError(f"no eval {name!r}{hint}")
    if not made:
        raise click.UsageError("there are no evals: the intent has none, and no plugin offers one; give a --file")
    return [(section, one) for section, one in made if not names or section.name in names]


def _context(session: Session, run_id: str, entries: Sequence[Entry]) -> ContextState:
    """Return what the run has concluded; its code is looked for only where payloads cannot be read without it."""
    try:
        return context_of(entries, Engine(payloads=session.offers.payloads).payloads)
    except PayloadError:
        return context_of(entries, composition_of(session, run_id, entries).engine.payloads)


def _record(
    session: Session,
    ledger_url: str | None,
    history: History,
    head: Head,
    context: ContextState,
    folder: Path,
    evals: Evals,
) -> str:
    """Keep the outcomes in a child of the run, which begins with its facts and has no suggestor but the evals."""
    sections = [section.model_dump(mode="json", by_alias=True, exclude_defaults=True) for section, _ in evals]
    intent: JsonValue = {
        "intent": {"id": f"eval-{history.run_id}"[:128], "objective": f"Grade {history.run_id}"},
        "budget": {"facts": context.version + len(evals)},
        "suggestors": [{"use": "evals", "with": {"evals": sections}}],
    }
    labels = history.started.labels if history.started is not None else None
    document = Document.of(intent, f"the evals of {history.run_id}")
    made = compose(document, session.offers, folder, ports=session.ports(labels or {}))
    parent: dict[str, JsonValue] = {"cycle": history.cycles, "head": str(head), "run_id": history.run_id}
    child = made.engine.begin(
        context, made.intent, new_run_id(made.intent.id), made.source, parent=parent, labels=labels
    )
    with_ledger(session.ledger(ledger_url), _drive, child)
    return child.run_id


async def _drive(ledger: Ledger, child: Convergence) -> None:
    await ledger.create_run(child.run_id)
    result = await drive(child, ledger=ledger)
    result.raise_for_stop()


def _print(run_id: str, results: Sequence[EvalResult], kept: str | None, as_json: bool) -> None:
    if as_json:
        recorded = {} if kept is None else {"recorded": kept}
        for result in results:
            emit({"run_id": run_id} | result.to_json() | recorded)
        return
    rows = [(result.eval_name, result.outcome, f"{result.score:.2f}", result.rationale) for result in results]
    table(("eval", "outcome", "score", "rationale"), rows)
    if kept is not None:
        click.echo(safe(f"\nrecorded as {kept}"))
