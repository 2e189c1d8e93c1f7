"""Editing a payload as YAML: in ``$EDITOR``, or from a file. What comes back is checked before it is a decision."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from click.termui import edit as open_editor

from converge_adapters.documents import parse_document, to_yaml
from converge_cli.output import say
from converge_core import IntentError, PayloadError, PayloadRegistry, canonical


def edit_payload(payload: Mapping[str, Any], payloads: PayloadRegistry, about: str) -> dict[str, Any] | None:
    """Open a payload (family, version, body) in ``$EDITOR`` until it is valid; None when it was left as it was."""
    text = f"# {about}: the payload, as {payload['family']}. Leave it unchanged to go back.\n{to_yaml(payload['body'])}"
    while True:
        edited = open_editor(text, extension=".yaml", require_save=False)
        if edited is None or edited == text:
            return None
        try:
            new = read_payload(payload, edited, payloads)
            return None if canonical(new["body"]) == canonical(payload["body"]) else new
        except click.UsageError as error:
            say(error.message)
            if not click.confirm("edit again?", default=True, err=True):
                return None
            text = edited


def read_payload(payload: Mapping[str, Any], text: str, payloads: PayloadRegistry) -> dict[str, Any]:
    """Return the payload with another body, given as YAML. Raises click.UsageError when it does not fit its class."""
    try:
        body: Any = parse_document(text, "payload").value
        payloads.decode(payload["family"], payload["version"], canonical(body))
    except (IntentError, PayloadError, ValueError) as error:
        raise click.UsageError(str(error)) from error
    return {"body": body, "family": payload["family"], "version": payload["version"]}


def given_text(value: str) -> str:
    """Return what an option gives: the text itself, or with ``@FILE`` the file's, or with ``-`` standard input's."""
    if value == "-":
        return sys.stdin.read()
    if value.startswith("@"):
        try:
            return Path(value[1:]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise click.UsageError(f"{value[1:]}: {error}") from error
    return value
