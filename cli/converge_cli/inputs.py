"""The inputs of an intent: rows of files, or inline items, staged as proposals."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from converge_adapters.documents import Document
from converge_adapters.tables import ColumnType, read_rows, typed_value
from converge_core import ContextState, IntentError, PayloadRegistry, Problem, ProposedFact, canonical
from converge_core.context.payloads import DataPayload, FactPayload, TextPayload, one_line
from converge_core.intent.document import InputSection

_COLUMN = re.compile(r"\{([^{}]*)\}")


def stage_inputs(
    sections: Sequence[InputSection],
    document: Document,
    folder: Path,
    payloads: PayloadRegistry,
    context: ContextState,
    problems: list[Problem],
) -> None:
    """Stage every row of every input; what is wrong is added to ``problems`` with its file and line."""
    for place, section in enumerate(sections):
        path = ("inputs", place)
        payload = _payload_class(section.payload, payloads)
        if payload is None:
            known = ", ".join(["data", "text", *payloads.families()])
            problems.append(
                document.problem((*path, "payload"), f"unknown payload {section.payload!r}; known: {known}")
            )
            continue
        try:
            rows = list(_rows(section, document, folder, path))
        except IntentError as error:
            problems += error.problems
            continue
        for where, values in rows:
            try:
                context.add_proposal(_proposal(section, payload, values))
            except ValueError as error:
                message = one_line(error) if isinstance(error, ValidationError) else str(error)
                problems.append(where._replace(message=message))


def _rows(
    section: InputSection, document: Document, folder: Path, path: tuple[str | int, ...]
) -> Iterable[tuple[Problem, Mapping[str, Any]]]:
    """Return the rows, each with its place as a problem that waits for its message."""
    if section.items is not None:
        for place, item in enumerate(section.items):
            yield document.problem((*path, "items", place), ""), _typed_item(section, item, document, path, place)
        return
    file = folder / (section.file or "")
    if not file.is_file():
        raise IntentError((document.problem((*path, "file"), f"there is no file {section.file!r}"),))
    types = {column: ColumnType(kind) for column, kind in section.types.items()}
    for row in read_rows(file, types=types, format=section.format):
        yield Problem("", "", str(file), row.line), row.values


def _typed_item(
    section: InputSection, item: Mapping[str, Any], document: Document, path: tuple[str | int, ...], place: int
) -> Mapping[str, Any]:
    """Return an inline item with the types that the intent declares. Raises IntentError."""
    typed = dict(item)
    for column, kind in section.types.items():
        if column in typed:
            try:
                typed[column] = typed_value(ColumnType(kind), typed[column])
            except ValueError as error:
                raise IntentError((document.problem((*path, "items", place, column), str(error)),)) from error
    return typed


def _proposal(
    section: InputSection, payload: type[FactPayload], values: Mapping[str, Any]
) -> ProposedFact[FactPayload]:
    """Return the proposal of one row. Raises ValueError for what does not fit the payload or the id."""
    made = payload.from_text(canonical(dict(values)))
    fact_id = _COLUMN.sub(lambda match: _cell(match[1], values), section.id)
    provenance = f"file:{section.file}" if section.file is not None else "intent:items"
    return ProposedFact(section.key, fact_id, made, confidence=section.confidence, provenance=provenance)


def _payload_class(name: str, payloads: PayloadRegistry) -> type[FactPayload] | None:
    shorthands: dict[str, type[FactPayload]] = {"data": DataPayload, "text": TextPayload}
    return shorthands.get(name) or payloads.families().get(name)


def _cell(column: str, values: Mapping[str, Any]) -> str:
    if column not in values:
        raise ValueError(f"the id needs a column {column!r}; there are {', '.join(values)}")
    value = values[column]
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"the id needs a text or a whole number in the column {column!r}, not {value!r}")
    return str(value)
