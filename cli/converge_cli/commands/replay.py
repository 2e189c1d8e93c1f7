"""``converge replay``: derive a run again, and compare."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from functools import partial

import click

from converge_adapters.event_loop import run_async
from converge_cli.differing import print_difference
from converge_cli.exit_codes import ExitCode
from converge_cli.output import emit, say, table
from converge_cli.recorded import composition_of, read_verified, with_ledger
from converge_cli.session import Session, json_option, ledger_option, pass_session
from converge_core import Convergence, Engine, Entry, Head, ReplayDifference, replay, replay_live, until_cycle
from converge_core.ledger.replay import changes


class CycleType(click.ParamType[int]):
    """A place in a run: ``cycle:N``."""

    name = "cycle:N"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read ``cycle:N`` or ``N``, or fail with the reason."""
        number = str(value).removeprefix("cycle:")
        if not number.isdecimal():
            self.fail(f"{value!r} is not of the form cycle:3", param, ctx)
        return int(number)


@click.command
@click.argument("run_id", metavar="RUN")
@click.option(
    "--live", is_flag=True, help="Also execute the deterministic suggestors again, and compare their effects."
)
@click.option("--until", "cycle", type=CycleType(), help="Stop at the end of a cycle, and show the context as it was.")
@ledger_option
@json_option
@pass_session
def command(
    session: Session, run_id: str, live: bool, cycle: int | None, ledger_url: str | None, as_json: bool
) -> ExitCode:
    """Feed the recorded inputs of RUN to a new machine, and compare every event it derives, byte by byte.

    No suggestor is executed, unless --live says so, and nothing is written.
    """
    entries: Sequence[Entry]
    head: Head
    entries, head = with_ledger(session.ledger(ledger_url, read_only=True), read_verified, run_id)
    engine = composition_of(session, run_id, entries).engine
    if cycle is not None:
        try:
            entries = until_cycle(entries, cycle)
        except LookupError as error:
            raise click.UsageError(str(error.args[0])) from error
    try:
        run = _replayed(engine, entries, live)
    except ReplayDifference as difference:
        print_difference(difference, as_json)
        return ExitCode.CORRUPT
    _print(run, entries, head, live, as_json, with_context=cycle is not None)
    return ExitCode.CONVERGED


def _replayed(engine: Engine, entries: Sequence[Entry], live: bool) -> Convergence:
    """Replay with the setup as it is now: what has changed counts for nothing if it derives the same."""
    with redirect_stdout(sys.stderr):  # what suggestors print is no data
        if live:
            return run_async(partial(replay_live, engine, entries, accept_changes=True))
        return replay(engine, entries, accept_changes=True)


def _print(
    run: Convergence, entries: Sequence[Entry], head: Head, live: bool, as_json: bool, *, with_context: bool
) -> None:
    """Print that the replay was equal, what has changed all the same, and the context at its end if it is asked for."""
    result, count, changed = run.result(), len(entries), changes(entries, run)
    facts = [{"key": fact.key.value, "id": fact.id, "payload": fact.payload.body()} for fact in result.context.facts()]
    if as_json:
        proof = {"merkle_root": str(result.integrity.merkle_root), "ledger_head": str(head), "changes": changed}
        shown = {"facts": facts} if with_context else {}
        emit(
            {"run_id": run.run_id, "equal": True, "live": live, "entries": count, "cycles": run.cycles} | proof | shown
        )
        return
    if with_context:
        rows = [(f"{fact['key']}/{fact['id']}", json.dumps(fact["payload"], ensure_ascii=False)) for fact in facts]
        table(("fact", "says"), rows)
    executed = ", the deterministic suggestors executed again" if live else ""
    for change in changed:
        say(f"since the run was recorded, {change}")
    click.echo(
        f"{run.run_id}: {count} entries derived again, all equal{executed}\n"
        f"merkle root {result.integrity.merkle_root} over {len(facts)} facts"
    )
