"""The inputs of an intent: rows of files, or inline items, staged as proposals."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from converge_adapters.documents import Document
from converge_adapters.tables import MAX_PROBLEMS, ColumnType, read_rows, typed_value
from converge_cli.faults import Steps, nearest
from converge_core import ContextState, IntentError, PayloadRegistry, Problem, ProposedFact, canonical
from converge_core.context.payloads import DataPayload, FactPayload, TextPayload, one_line
from converge_core.intent.document import InputSection

_COLUMN = re.compile(r"\{([^{}]*)\}")

_Rows = list[tuple[Problem, Mapping[str, Any]]]  # each with its place, as a problem that waits for its message


def stage_inputs(
    sections: Iterable[tuple[int, InputSection]],
    document: Document,
    folder: Path,
    payloads: PayloadRegistry,
    context: ContextState,
    problems: list[Problem],
) -> None:
    """Stage every row of every input; what is wrong is added to ``problems`` with its file and line.

    The sections come with their places in the list of inputs.
    """
    for place, section in sections:
        path = ("inputs", place)
        payload = payload_class(section.payload, payloads)
        if payload is None:
            known = ["data", "text", *payloads.families()]
            hint = nearest(section.payload, known) or f"; known: {', '.join(known)}"
            problems.append(document.problem((*path, "payload"), f"unknown payload {section.payload!r}{hint}"))
        try:
            rows = _rows(section, document, folder, path)
            _check_id(section.id, rows, document, path)
            if payload is not None:
                _stage(section, payload, rows, context)
        except IntentError as error:
            problems += error.problems


def _stage(section: InputSection, payload: type[FactPayload], rows: _Rows, context: ContextState) -> None:
    """Stage the rows of one input. Raises IntentError with the faults of all of them, as many as a person will read."""
    faults = []
    for where, values in rows:
        try:
            context.add_proposal(_proposal(section, payload, values))
        except ValueError as error:
            faults.append(where._replace(message=one_line(error) if isinstance(error, ValidationError) else str(error)))
    if len(faults) > MAX_PROBLEMS:
        more = f"and {len(faults) - MAX_PROBLEMS} more"
        faults[MAX_PROBLEMS:] = [faults[MAX_PROBLEMS]._replace(path="", message=more)]
    if faults:
        raise IntentError(tuple(faults))


def _rows(section: InputSection, document: Document, folder: Path, path: Steps) -> _Rows:
    """Return the rows of an input, typed. Raises IntentError with the faults of all of them."""
    types = {column: ColumnType(kind) for column, kind in section.types.items()}
    if section.items is not None:
        return _items(section.items, types, document, (*path, "items"))
    file = folder / (section.file or "")
    if not file.is_file():
        raise IntentError((document.problem((*path, "file"), f"there is no file {section.file!r}"),))
    return [
        (Problem("", "", str(file), row.line), row.values)
        for row in read_rows(file, types=types, format=section.format)
    ]


def _items(
    items: Sequence[Mapping[str, Any]], types: Mapping[str, ColumnType], document: Document, path: Steps
) -> _Rows:
    rows: _Rows = []
    faults = []
    for place, item in enumerate(items):
        typed = dict(item)
        for column, kind in types.items():
            try:
                if column in item:
                    typed[column] = typed_value(kind, item[column])
            except ValueError as error:
                faults.append(document.problem((*path, place, column), str(error)))
        rows.append((document.problem((*path, place), ""), typed))
    if faults:
        raise IntentError(tuple(faults))
    return rows


def _check_id(template: str, rows: _Rows, document: Document, path: Steps) -> None:
    """Raise IntentError for a template that cannot name any of the rows: that is one fault, not one a row."""
    faults = [] if template else ["an id cannot be empty"]
    if re.search(r"[{}]", _COLUMN.sub("", template)):
        faults.append("a brace has no partner; a column is named as in `claim:{id}`")
    columns = {column for _, values in rows for column in values}
    for column in _COLUMN.findall(template):
        if rows and column not in columns:
            hint = nearest(column, columns) or f"; there are {', '.join(sorted(columns))}"
            faults.append(f"no row has a column {column!r}{hint}")
    if faults:
        raise IntentError(tuple(document.problem((*path, "id"), fault) for fault in faults))


def _proposal(
    section: InputSection, payload: type[FactPayload], values: Mapping[str, Any]
) -> ProposedFact[FactPayload]:
    """Return the proposal of one row. Raises ValueError for what does not fit the payload or the id."""
    made = payload.from_text(canonical(dict(values)))
    fact_id = _COLUMN.sub(lambda match: _cell(match[1], values), section.id)
    provenance = f"file:{section.file}" if section.file is not None else "intent:items"
    return ProposedFact(section.key, fact_id, made, confidence=section.confidence, provenance=provenance)


def payload_class(name: str, payloads: PayloadRegistry) -> type[FactPayload] | None:
    """Return the class that a name stands for in a file or on the command line: ``data``, ``text``, or a family."""
    shorthands: dict[str, type[FactPayload]] = {"data": DataPayload, "text": TextPayload}
    return shorthands.get(name) or payloads.families().get(name)


def _cell(column: str, values: Mapping[str, Any]) -> str:
    if column not in values:
        raise ValueError(f"the id needs the column {column!r}, which this row does not have")
    value = values[column]
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"the id needs a text or a whole number in the column {column!r}, not {value!r}")
    return str(value)
