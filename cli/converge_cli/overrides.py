"""What a command line changes in an intent: ``--set key=value`` and ``--input KEY=FILE``."""

from __future__ import annotations

import os.path
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from converge_adapters.documents import Document, dotted, parse_document
from converge_core import IntentError, Problem


@dataclass(frozen=True, slots=True)
class Overridden(Document):
    """A document of which parts came from the command line: a fault of theirs names the option, not the file."""

    options: Mapping[tuple[str, ...], str]

    def problem(self, path: Sequence[str | int], message: str, *, of_key: bool = False) -> Problem:
        """Return a fault of the value at ``path``, wherever that came from."""
        steps = tuple(map(str, path))
        for end in range(len(steps), 0, -1):
            if option := self.options.get(steps[:end]):
                return Problem("" if end == len(steps) else dotted(path), message, option)
        return Document.problem(self, path, message, of_key=of_key)


def set_value(document: Document, setting: str) -> Document:
    """Return the document with one value replaced or added; the value is read as YAML.

    The path is dotted, with numbers for the places of a list: ``suggestors.0.with.when``. Raises click.UsageError.
    """
    path, equals, text = setting.partition("=")
    steps = tuple(path.split("."))
    if not equals or not all(steps):
        raise click.UsageError(f"--set takes a path and a value, as in budget.cycles=5, not {setting!r}")
    option = f"--set {path}"
    try:
        return _overridden(
            document, _replaced(document.value, steps, parse_document(text, option).value), steps, option
        )
    except IntentError as error:
        raise click.UsageError(str(error)) from error
    except LookupError as error:
        raise click.UsageError(f"{option}: the intent has no place {error.args[0]!r}") from error


def add_input(document: Document, item: str) -> Document:
    """Return the document with an input file added under a key; its rows are named by their column ``id``.

    Raises click.UsageError.
    """
    key, equals, file = item.partition("=")
    if not equals or not key or not file:
        raise click.UsageError(f"--input takes a key and a file, as in seeds=claims.csv, not {item!r}")
    root: Any = document.value
    inputs = root.get("inputs") or [] if isinstance(root, dict) else None
    if not isinstance(inputs, list):
        return document  # which is refused for that
    added = {"key": key, "file": os.path.relpath(file, Path(document.file).parent), "id": "{id}"}
    steps = ("inputs", str(len(inputs)))
    return _overridden(document, {**root, "inputs": [*inputs, added]}, steps, f"--input {item}")


def _replaced(at: Any, steps: Sequence[str], value: Any, place: str = "") -> Any:
    """Return a copy of ``at`` with the value at the end of the steps. Raises LookupError with the place that is not.

    Only what leads there is copied: what an alias repeats elsewhere stays as it is.
    """
    if not steps:
        return value
    step, *rest = steps
    place = f"{place}.{step}" if place else step
    if at is None or isinstance(at, dict):
        return {**(at or {}), step: _replaced((at or {}).get(step), rest, value, place)}
    if isinstance(at, list) and step.isdecimal() and int(step) < len(at):
        number = int(step)
        return [*at[:number], _replaced(at[number], rest, value, place), *at[number + 1 :]]
    raise LookupError(place)


def _overridden(document: Document, value: Any, steps: tuple[str, ...], option: str) -> Overridden:
    options = document.options if isinstance(document, Overridden) else {}
    return Overridden(value, document.file, document.places, document.aliases, {**options, steps: option})
