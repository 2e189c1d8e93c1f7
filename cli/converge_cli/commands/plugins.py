"""``converge plugins``: who is here, and what an intent can use."""

from __future__ import annotations

import click

from converge_cli.output import emit, table
from converge_cli.session import Session, json_option, pass_session


@click.command
@click.option("--offers", "show_offers", is_flag=True, help="List what the plugins offer, instead of the plugins.")
@json_option
@pass_session
def command(session: Session, show_offers: bool, as_json: bool) -> None:
    """List the plugins: name, version, hooks and state; with --offers, the names that an intent can use."""
    offers = session.offers
    if show_offers:
        rows: list[dict[str, object]] = [
            {"what": catalog.what, "name": entry.name, "plugin": entry.plugin, "summary": entry.summary}
            for catalog in offers.catalogs()
            for entry in catalog
        ]
        columns = ["what", "name", "plugin", "summary"]
    else:
        rows = [
            {
                "name": plugin.name,
                "version": plugin.version,
                "state": plugin.state,
                "hooks": [hook.removeprefix("converge_register_") for hook in plugin.hooks],
                "error": plugin.error,
            }
            for plugin in offers.plugins
        ]
        columns = ["name", "version", "state", "hooks", "error"]
    if as_json:
        for row in rows:
            emit(row)
        return
    table(columns, [[_cell(row[column]) for column in columns] for row in rows])


def _cell(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value or "")
