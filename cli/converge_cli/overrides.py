"""What a command line changes in an intent: ``--set key=value`` and ``--input KEY=FILE``."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from converge_adapters.documents import Document, parse_document
from converge_core import IntentError


def set_value(document: Document, setting: str) -> Document:
    """Return the document with one value replaced or added; the value is read as YAML.

    The path is dotted, with numbers for the places of a list: ``suggestors.0.with.when``. Raises click.UsageError.
    """
    dotted, equals, text = setting.partition("=")
    if not equals or not dotted:
        raise click.UsageError(f"--set takes a path and a value, as in budget.cycles=5, not {setting!r}")
    try:
        value = parse_document(text, f"--set {dotted}").value
    except IntentError as error:
        raise click.UsageError(str(error)) from error
    root: Any = copy.deepcopy(document.value)
    *way, last = dotted.split(".")
    at = root
    for step in way:
        at = _descend(at, step, setting)
    if isinstance(at, list) and last.isdecimal() and int(last) < len(at):
        at[int(last)] = value
    elif isinstance(at, dict):
        at[last] = value
    else:
        raise click.UsageError(f"--set {dotted}: there is no such place in the intent")
    return replace(document, value=root)


def _descend(at: Any, step: str, setting: str) -> Any:
    if isinstance(at, dict):
        return at.setdefault(step, {})
    if isinstance(at, list) and step.isdecimal() and int(step) < len(at):
        return at[int(step)]
    raise click.UsageError(f"--set {setting.partition('=')[0]}: there is no {step!r} in the intent")


def add_input(document: Document, item: str) -> Document:
    """Return the document with an input file added under a key; its rows are named by their column ``id``."""
    key, equals, file = item.partition("=")
    if not equals or not key or not file:
        raise click.UsageError(f"--input takes a key and a file, as in seeds=claims.csv, not {item!r}")
    root: Any = copy.deepcopy(document.value)
    if isinstance(root, dict) and isinstance(root.setdefault("inputs", []), list):
        root["inputs"].append({"key": key, "file": str(Path(file).resolve()), "id": "{id}"})
    return replace(document, value=root)
