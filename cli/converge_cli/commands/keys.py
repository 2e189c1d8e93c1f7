"""``converge keys``: the keys that sign heads."""

from __future__ import annotations

import re
from pathlib import Path

import click

from converge_cli.output import emit, say
from converge_cli.session import json_option
from converge_core.ledger.checkpoint import checked_name


@click.group
def command() -> None:
    """Make keys that sign the heads of runs."""


@command.command("new")
@click.argument("name")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Where to keep the private key; default: NAME.key in this folder. Nothing is overwritten.",
)
@json_option
def new(name: str, output: Path | None, as_json: bool) -> None:
    """Make a key, and print what verifies it.

    The private key (Ed25519) goes into FILE, which only you can read; the verifier key on stdout is for everybody.
    NAME says who signs, as in example.com/releases; it has no spaces and no +.
    """
    from converge_adapters.signing import new_key

    try:
        checked_name(name)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="NAME") from error
    path = output or Path(re.sub(r"[^\w.-]+", "-", name).lstrip("-.") + ".key")
    key = new_key(name, path)
    if as_json:
        emit({"name": key.name, "verifier_key": str(key), "file": str(path)})
    else:
        click.echo(str(key))
    say(f"the private key is in {path}: whoever has it can sign as {key.name}")
