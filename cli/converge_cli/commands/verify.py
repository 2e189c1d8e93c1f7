"""``converge verify``: is a run what was written?"""

from __future__ import annotations

import click

from converge_cli.output import emit
from converge_cli.recorded import read_verified, with_ledger
from converge_cli.session import Session, json_option, ledger_option, pass_session
from converge_core import Entry, Head


class HeadType(click.ParamType[Head]):
    """A head, as every command prints it: ``size:root``."""

    name = "size:root"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Head:
        """Read a head, or fail with the reason."""
        try:
            return value if isinstance(value, Head) else Head.parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command
@click.argument("run_id", metavar="RUN")
@click.option("--head", type=HeadType(), help="A head kept elsewhere: the run must hold it, or have grown from it.")
@ledger_option
@json_option
@pass_session
def command(session: Session, run_id: str, head: Head | None, ledger_url: str | None, as_json: bool) -> None:
    """Check every entry of RUN against its hashes, and the whole against its Merkle roots.

    Without --head this cannot see a history that was rewritten as a whole, or cut off at its end: keep a head elsewhere
    and give it here.
    """
    entries: list[Entry]
    found: Head
    entries, found = with_ledger(session.ledger(ledger_url, read_only=True), read_verified, run_id, head)
    if as_json:
        emit({"run_id": run_id, "verified": True, "entries": len(entries), "ledger_head": str(found)})
    else:
        against = " and holds the given head" if head is not None else ""
        click.echo(f"{run_id}: {len(entries)} entries intact{against}\nledger head {found}")
