"""``converge providers``: which providers of models can be asked now, and what is known of each."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from converge_cli.gate_text import duration
from converge_cli.output import emit, grid, on_terminal, say, table
from converge_cli.session import Session, json_option, pass_session
from converge_core.llm.capacity import DreamerTier

REDRAW_S = 1
COLUMNS = ("", "provider", "state", "routable", "latency", "errors", "window", "key", "last error")


@click.command
@click.option(
    "--tier",
    type=click.Choice([tier.value for tier in DreamerTier]),
    default=DreamerTier.WANDERER.value,
    show_default=True,
    help="Whose order the chain has.",
)
@click.option(
    "--watch", is_flag=True, help="Go on showing them, until Ctrl-C; where that is no terminal, as JSON lines."
)
@click.option("--reset", "forgotten", multiple=True, metavar="NAME", help="Forget what is known of one. Repeatable.")
@json_option
@pass_session
def command(session: Session, tier: str, watch: bool, forgotten: tuple[str, ...], as_json: bool) -> None:
    """Show the providers of models, in the order in which they are asked.

    The first column is the place in the chain of those that can be asked now. The window is for how long one is left
    alone: its circuit is open, or its quota used up. All processes of this home share what they have learned.
    """
    known = [row["provider_id"] for row in _rows(session, DreamerTier(tier))] if forgotten else []
    for name in forgotten:
        if name not in known:
            raise click.BadParameter(f"there is no provider {name!r}; known: {', '.join(known)}", param_hint="--reset")
    for name in forgotten:
        session.capacity.forget(name)
        say(f"forgotten: {name}")
    if watch:
        _watch(session, DreamerTier(tier), as_lines=as_json or not on_terminal())
        return
    rows = _rows(session, DreamerTier(tier))
    if as_json:
        for row in rows:
            emit(row)
    else:
        table(COLUMNS, map(_cells, rows))


def _watch(session: Session, tier: DreamerTier, *, as_lines: bool) -> None:
    """Show the providers again and again: as a table that is redrawn, or a line of each that has changed."""
    if as_lines:
        shown: list[dict[str, Any]] = []
        for rows in _ticks(session, tier):
            lasting = [{**row, "window_left_ms": None} for row in rows]  # it changes with every look
            for row, seen in zip(rows, lasting, strict=True):
                if seen not in shown:
                    emit(row)
            shown = lasting
    else:
        from rich.live import Live

        with Live(auto_refresh=False) as live:
            for rows in _ticks(session, tier):
                live.update(grid(COLUMNS, map(_cells, rows)), refresh=True)


def _ticks(session: Session, tier: DreamerTier) -> Iterator[list[dict[str, Any]]]:
    while True:
        yield _rows(session, tier)
        time.sleep(REDRAW_S)


def _rows(session: Session, tier: DreamerTier) -> list[dict[str, Any]]:
    """Return what is known of each provider, as `--json` prints it: those that can be asked first, in their order."""
    shown: Mapping[str, Any] = session.capacity.snapshot(tier)
    chain, providers = shown["routable_chain"], shown["providers"]
    rest = (name for name in shown["priority"] if name not in chain)
    places = {name: place for place, name in enumerate(chain, 1)}
    return [{"position": places.get(name), **providers[name]} for name in (*chain, *rest)]


def _cells(row: Mapping[str, Any]) -> Sequence[object]:
    latency, left, key = row["latency_ema_ms"], row["window_left_ms"], row["env_key"]
    return (
        row["position"] or "",
        row["provider_id"],
        row["state"],
        "yes" if row["is_routable"] else "no",
        "" if latency is None else f"{latency:.0f} ms",
        row["error_count"] or "",
        duration(-(-left // 1000)) if left else "",
        "not needed" if key is None else f"{key}: {'present' if row['key_present'] else 'missing'}",
        row["last_error_msg"],
    )
