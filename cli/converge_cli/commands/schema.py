"""``converge schema``: the shape of intent.yaml, for editors and for checks in a pipeline."""

from __future__ import annotations

import json

import click

from converge_cli.output import emit
from converge_cli.session import Session, json_option, pass_session
from converge_core import IntentDocument


@click.command
@click.argument("use", required=False)
@json_option
@pass_session
def command(session: Session, use: str | None, as_json: bool) -> None:
    """Print the JSON Schema of intent.yaml, or of the configuration of USE, a suggestor's name in the catalog."""
    if use is None:
        schema = IntentDocument.model_json_schema()
    else:
        try:
            schema = session.offers.suggestors.find(use).config.model_json_schema()
        except LookupError as error:
            raise click.UsageError(str(error.args[0])) from error
    if as_json:
        emit(schema)
    else:
        click.echo(json.dumps(schema, indent=2, ensure_ascii=False))
