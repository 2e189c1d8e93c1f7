"""Rows of input facts, from csv, jsonl, json and yaml files.

Each format has a reader, and all readers make the same: records, JSON values by column with the line
they stand on. What a column holds is declared, not guessed: a csv cell without a type stays the text
it is, and ``007`` keeps its zeros. A type reads the text of a csv cell, and checks a value of the
other formats, where ``"12"`` is no number. Nothing is rounded: an amount of money becomes whole minor
units by way of its digits.

A file is taken whole or not at all: the rows are complete before the caller sees the first, and the
faults of all rows are told at once, as many as a person will read.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import date
from enum import StrEnum
from json import JSONDecodeError, JSONDecoder
from typing import TYPE_CHECKING, NamedTuple, NoReturn, TypeAlias

from converge_adapters.documents import (
    NOWHERE,
    Place,
    exact_integer,
    finite_number,
    parse_document,
    place_after,
    read_text,
    shown,
)
from converge_core.errors import CanonicalError, IntentError, Problem
from converge_core.ledger.canonical import MAX_DEPTH, canonical

if TYPE_CHECKING:
    from pathlib import Path

    from converge_core.ledger.canonical import JsonValue

MAX_BYTES = 64 * 1024 * 1024
MAX_PROBLEMS = 20  # shown; the others are counted


class ColumnType(StrEnum):
    """What a column holds. An empty csv cell is ``null``, but for a ``string``; ``null`` is of every type."""

    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"  # in csv true, false, yes, no, 1, 0 in any case
    DATE = "date"  # 2026-10-31 (ISO 8601), kept as a string
    MONEY = "money"  # the text 12.50 becomes the minor units 1250
    JSON = "json"


class Row(NamedTuple):
    """A row of a file: the line where it starts, from 1, and its values by column."""

    line: int
    values: dict[str, JsonValue]


def read_rows(
    path: Path,
    *,
    types: Mapping[str, ColumnType] | None = None,
    format: str | None = None,
    max_bytes: int = MAX_BYTES,
) -> tuple[Row, ...]:
    """Return the rows of a file in their order; the suffix names its format where ``format`` does not.

    ``csv`` is comma separated with a header, ``jsonl`` an object a line (blank lines are skipped in
    both), ``json`` and ``yaml`` a list of objects. Raises IntentError with the faults of all rows; a
    type for a column that is not in the file is one of them.
    """
    faults = _Faults(str(path))
    name = format or _SUFFIXES.get(path.suffix.lower(), "")
    if name not in _FORMATS:
        what = f"the format {shown(name)} is unknown" if name else f"the suffix {shown(path.suffix)} names no format"
        faults.stop(f"{what}; the formats are {', '.join(_FORMATS)}")
    read, convert = _FORMATS[name]
    table = read(read_text(path, max_bytes=max_bytes), faults)
    types = types or {}
    for column in types:
        if table.columns and column not in table.columns:
            faults.add("a type is declared for this column, and the file has no such column", table.header, column)
    rows = tuple(Row(record.line, _typed(record, types, convert, faults)) for record in table.records)
    faults.check()
    return rows


class _Record(NamedTuple):
    line: int
    values: dict[str, JsonValue]
    places: Mapping[str, Place] = {}  # of the columns, where the format tells them


class _Table(NamedTuple):
    records: Sequence[_Record]
    columns: Collection[str]  # none when they are not known
    header: Place = NOWHERE


class _Faults:
    """The faults of one file."""

    def __init__(self, file: str) -> None:
        self.file = file
        self._problems: list[Problem] = []

    def add(self, message: str, place: Place = NOWHERE, column: str = "") -> None:
        self._problems.append(Problem(column, message, self.file, *place))

    def stop(self, message: str, place: Place = NOWHERE) -> NoReturn:
        """Add a fault after which nothing can be read."""
        self.add(message, place)
        raise self._error()

    def check(self) -> None:
        if self._problems:
            raise self._error()

    def __bool__(self) -> bool:
        return bool(self._problems)

    def _error(self) -> IntentError:
        problems = sorted(self._problems, key=lambda problem: (problem.line, problem.column))
        more = len(problems) - MAX_PROBLEMS
        rest = (Problem("", f"and {more} more", self.file),) if more > 0 else ()
        return IntentError((*problems[:MAX_PROBLEMS], *rest))


def _typed(
    record: _Record, types: Mapping[str, ColumnType], convert: _Convert, faults: _Faults
) -> dict[str, JsonValue]:
    values = dict(record.values)
    for column, kind in types.items():
        if column not in values:
            continue
        try:
            values[column] = convert(kind, values[column])
        except ValueError as error:
            faults.add(str(error), record.places.get(column, Place(record.line, 0)), column)
    return values


# Readers.


def _read_csv(text: str, faults: _Faults) -> _Table:
    lines = _csv_lines(text, faults)
    line, header = next(lines, (1, []))
    place = Place(line, 0)
    if not header:
        faults.check()
        faults.stop("the file is empty: the first line of a csv file names its columns", place)
    for number, name in enumerate(header, 1):
        if not name:
            faults.add(f"column {number} of the header has no name", place)
    for name, count in Counter(header).items():
        if name and count > 1:
            faults.add(f"the header names this column {count} times", place, name)
    faults.check()
    records: list[_Record] = []
    for line, cells in lines:
        if len(cells) == len(header):
            records.append(_Record(line, dict(zip(header, cells, strict=True))))
        else:
            faults.add(f"the header names {len(header)} columns, this row has {len(cells)}", Place(line, 0))
    return _Table(records, header, place)


def _csv_lines(text: str, faults: _Faults) -> Iterator[tuple[int, list[str]]]:
    """The lines that are not blank, each with the physical line where it starts."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            # What follows cannot be told apart: it may be inside or outside of quotes.
            faults.add(f"not CSV: {error}", Place(line, 0))
            return
        if cells:
            yield line, cells


def _read_jsonl(text: str, faults: _Faults) -> _Table:
    records: list[_Record] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = _STRICT.decode(line)
        except JSONDecodeError as error:
            faults.add(f"not JSON: {error.msg}", Place(number, error.colno))
        except ValueError as error:
            faults.add(str(error), Place(number, 0))
        except RecursionError:
            faults.add(_TOO_DEEP, Place(number, 0))
        else:
            records += _json_record(value, number, faults)
    return _Table(records, _columns(records, faults))


def _read_json(text: str, faults: _Faults) -> _Table:
    try:
        elements = _SYNTAX.decode(text)
    except JSONDecodeError as error:
        faults.stop(f"not JSON: {error.msg}", Place(error.lineno, error.colno))
    except RecursionError:
        faults.stop(_TOO_DEEP)
    if not isinstance(elements, list):
        faults.stop("expected a list of objects", place_after(text[: len(text) - len(text.lstrip())]))
    records: list[_Record] = []
    end = text.index("[") + 1
    line = text.count("\n", 0, end) + 1
    for _ in elements:
        start = end
        while text[start] in ", \t\r\n":
            start += 1
        line += text.count("\n", end, start)
        try:
            value, end = _STRICT.raw_decode(text, start)
        except ValueError as error:
            faults.add(str(error), Place(line, 0))
            _, end = _SYNTAX.raw_decode(text, start)
        else:
            records += _json_record(value, line, faults)
        line += text.count("\n", start, end)
    return _Table(records, _columns(records, faults))


def _read_yaml(text: str, faults: _Faults) -> _Table:
    document = parse_document(text, faults.file)
    if not isinstance(document.value, list):
        faults.stop("expected a list of objects", document.place(()))
    records: list[_Record] = []
    for index, item in enumerate(document.value):
        place = document.place((index,))
        if isinstance(item, dict):
            records.append(_Record(place.line, item, {column: document.place((index, column)) for column in item}))
        else:
            faults.add(f"expected an object, found {shown(item)}", place)
    return _Table(records, _columns(records, faults))


def _json_record(value: JsonValue, line: int, faults: _Faults) -> list[_Record]:
    """The record that a value is, or none and a fault."""
    if not isinstance(value, dict):
        faults.add(f"expected an object, found {shown(value)}", Place(line, 0))
        return []
    try:
        canonical(value)
    except CanonicalError as error:
        faults.add(str(error), Place(line, 0))
        return []
    return [_Record(line, value)]


def _columns(records: Sequence[_Record], faults: _Faults) -> Collection[str]:
    """The columns of objects: what any of them has, which is not known when some could not be read."""
    return () if faults else {column for record in records for column in record.values}


def _members(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    members = dict(pairs)
    if len(members) < len(pairs):
        key, count = Counter(key for key, _ in pairs).most_common(1)[0]
        raise ValueError(f"the key {shown(key)} is given {count} times in one object")
    return members


_SYNTAX = JSONDecoder(parse_int=str)  # refuses nothing but faults of syntax, after which a file cannot be read on
_STRICT = JSONDecoder(parse_int=exact_integer, object_pairs_hook=_members)
_TOO_DEEP = f"nested more than {MAX_DEPTH} levels deep"


# Types.

_INTEGER = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_MONEY = re.compile(r"([+-]?[0-9]+)(?:\.([0-9]{1,2}))?")
_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def _string(text: str) -> str:
    return text


def _integer(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise ValueError(f"{shown(text)} is not an integer")
    return exact_integer(text)


def _number(text: str) -> int | float:
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{shown(text)} is not a number")
    return exact_integer(text) if _INTEGER.fullmatch(text) else finite_number(text)


def _boolean(text: str) -> bool:
    value = _BOOLEANS.get(text.lower())
    if value is None:
        raise ValueError(f"{shown(text)} is not a boolean: true or false, yes or no, 1 or 0")
    return value


def _date(text: str) -> str:
    try:
        exact = date.fromisoformat(text).isoformat() == text  # Python reads 20261031 and 2026-W44-6 as well
    except ValueError:
        exact = False
    if not exact:
        raise ValueError(f"{shown(text)} is not a date like 2026-10-31")
    return text


def _money(text: str) -> int:
    amount = _MONEY.fullmatch(text)
    if not amount:
        raise ValueError(f"{shown(text)} is not an amount like 1234.50: digits, and a point before at most 2 decimals")
    return exact_integer(amount[1] + (amount[2] or "").ljust(2, "0"))


def _json(text: str) -> JsonValue:
    try:
        value: JsonValue = _STRICT.decode(text)
    except JSONDecodeError as error:
        raise ValueError(f"{shown(text)} is not JSON: {error.msg}") from None
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    canonical(value)
    return value


_FROM_TEXT: Mapping[ColumnType, Callable[[str], JsonValue]] = {
    ColumnType.STRING: _string,
    ColumnType.INTEGER: _integer,
    ColumnType.NUMBER: _number,
    ColumnType.BOOLEAN: _boolean,
    ColumnType.DATE: _date,
    ColumnType.MONEY: _money,
    ColumnType.JSON: _json,
}
_OF_JSON: Mapping[ColumnType, tuple[type, ...]] = {
    ColumnType.STRING: (str,),
    ColumnType.INTEGER: (int,),
    ColumnType.NUMBER: (int, float),
    ColumnType.BOOLEAN: (bool,),
    ColumnType.DATE: (str,),
    ColumnType.MONEY: (str, int),
}


def _convert_cell(kind: ColumnType, cell: JsonValue) -> JsonValue:
    text = str(cell)
    return _FROM_TEXT[kind](text) if text or kind is ColumnType.STRING else None


def typed_value(kind: ColumnType, value: JsonValue) -> JsonValue:
    """Return a JSON value as a column of a type holds it. Raises ValueError when it is of another type."""
    if value is None or kind is ColumnType.JSON:
        return value
    if type(value) not in _OF_JSON[kind]:
        hint = ': write it in quotes, "12.50"' if kind is ColumnType.MONEY and isinstance(value, float) else ""
        raise ValueError(f"{shown(value)} is not of the type {kind}{hint}")
    return _FROM_TEXT[kind](str(value)) if kind in (ColumnType.DATE, ColumnType.MONEY) else value


# The formats: how a file is read, and how a type takes a value of it.

_Convert: TypeAlias = Callable[[ColumnType, "JsonValue"], "JsonValue"]
_FORMATS: Mapping[str, tuple[Callable[[str, _Faults], _Table], _Convert]] = {
    "csv": (_read_csv, _convert_cell),
    "jsonl": (_read_jsonl, typed_value),
    "json": (_read_json, typed_value),
    "yaml": (_read_yaml, typed_value),
}
_SUFFIXES = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".yaml": "yaml", ".yml": "yaml"}
