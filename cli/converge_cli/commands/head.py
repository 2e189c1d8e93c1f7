"""``converge head``: the head of a run as a checkpoint, for others to hold."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import click

from converge_cli.output import emit
from converge_cli.recorded import read_verified, with_ledger
from converge_cli.session import Session, json_option, ledger_option, pass_session
from converge_core import Entry, Head
from converge_core.ledger.checkpoint import Checkpoint


@click.command
@click.argument("run_id", metavar="RUN")
@click.option(
    "--sign",
    "keyfile",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Sign it with a key of `converge keys new`.",
)
@click.option("--origin", metavar="NAME", help="Who issues it; default: converge/RUN. No spaces, no +.")
@ledger_option
@json_option
@pass_session
def command(
    session: Session, run_id: str, keyfile: Path | None, origin: str | None, ledger_url: str | None, as_json: bool
) -> None:
    """Print the head of RUN as a checkpoint (C2SP tlog-checkpoint): origin, size, root.

    Whoever holds it can check later that nothing before it was changed: `converge verify RUN --head FILE`.

    --sign remembers what it signed in KEYFILE.heads, and refuses to sign a log that has not grown from that.
    """
    entries: list[Entry]
    head: Head
    entries, head = with_ledger(session.ledger(ledger_url, read_only=True), read_verified, run_id)
    try:
        checkpoint = Checkpoint(f"converge/{quote(run_id)}" if origin is None else origin, head)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--origin") from error
    text = str(checkpoint)
    if keyfile is not None:
        from converge_adapters.signing import sign_head

        text = str(sign_head(keyfile, checkpoint.origin, [entry.leaf for entry in entries]))
    if as_json:
        emit({"run_id": run_id, "origin": checkpoint.origin, "ledger_head": str(head), "checkpoint": text})
    else:
        click.echo(text.encode(), nl=False)  # a checkpoint is UTF-8, whatever the terminal is
