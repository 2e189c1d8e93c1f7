"""What a command prints: data on stdout, everything else on stderr.

With ``--json``, one JSON object a line and nothing else; without, tables and sentences for people. Text that comes from
a run is untrusted: control characters in it never reach a terminal.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.table import Table


def emit(value: Mapping[str, Any]) -> None:
    """Print one JSON object on one line of stdout."""
    click.echo(json_line(value))


def json_line(value: Mapping[str, Any]) -> str:
    """Return a JSON object as one line, in which nothing is unprintable."""
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def say(message: str) -> None:
    """Tell a person something, on stderr."""
    click.echo(safe(message), err=True)


def safe(text: str) -> str:
    """Return text without what could move a cursor or change a terminal; line breaks and tabs stay."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def counted(number: int, noun: str) -> str:
    """Return a number of things, as a person says it."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table on stdout; where that is no terminal, each row on one line, however long."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 10_000
    with console.capture() as printed:
        console.print(grid(columns, rows))
    click.echo(printed.get(), nl=False)  # which writes in any locale


def grid(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Return a table that rich can print."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in columns:
        grid.add_column(column, overflow="fold")
    for row in rows:
        grid.add_row(*(Text(safe(str(cell))) for cell in row))
    return grid


def on_terminal() -> bool:
    """Say whether stdout is a terminal, on which things can be redrawn."""
    from rich.console import Console

    return Console().is_terminal
