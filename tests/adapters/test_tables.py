"""Reading rows of input facts from csv, jsonl, json and yaml files."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal
from typing import TYPE_CHECKING, Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_adapters.tables import ColumnType, Row, read_rows
from converge_core.errors import IntentError
from converge_core.ledger.canonical import MAX_INTEGER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from converge_core.ledger.canonical import JsonValue

FORMATS = ("csv", "jsonl", "json", "yaml")


class Write(Protocol):
    def __call__(self, content: str | bytes, suffix: str) -> Path: ...


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes the file `t.csv` (or another suffix) of the current folder, so that problems show a short name."""
    monkeypatch.chdir(tmp_path)

    def write(content: str | bytes, suffix: str) -> Path:
        path = tmp_path / f"t.{suffix}"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path.relative_to(tmp_path)

    return write


def faults(read: Callable[[], object]) -> list[str]:
    """The problems that reading raises, as a person sees them."""
    with pytest.raises(IntentError) as caught:
        read()
    return [str(problem) for problem in caught.value.problems]


def one_column(values: list[JsonValue], suffix: str) -> str:
    """A file whose only column `x` has these values; in csv they are written as they are."""
    if suffix == "csv":
        lines = io.StringIO()
        csv.writer(lines).writerows([["x", "end"], *([value, ""] for value in values)])
        return lines.getvalue()
    objects = [json.dumps({"x": value, "end": ""}) for value in values]
    return "\n".join(objects) if suffix == "jsonl" else f"[{', '.join(objects)}]"


# The formats.


@pytest.mark.parametrize(
    ("content", "suffix", "lines"),
    [
        ("id,note\n1,a\n2,b\n", "csv", (2, 3)),
        ('{"id": "1", "note": "a"}\n{"id": "2", "note": "b"}\n', "jsonl", (1, 2)),
        ('[{"id": "1", "note": "a"},\n {"id": "2",\n  "note": "b"}]', "json", (1, 2)),
        ("- {id: '1', note: a}\n- id: '2'\n  note: b\n", "yaml", (1, 2)),
    ],
)
def test_each_format_gives_the_same_rows(write: Write, content: str, suffix: str, lines: tuple[int, int]) -> None:
    rows = read_rows(write(content, suffix))
    assert rows == (Row(lines[0], {"id": "1", "note": "a"}), Row(lines[1], {"id": "2", "note": "b"}))


@pytest.mark.parametrize(("suffix", "format"), [("NDJSON", "jsonl"), ("yml", "yaml"), ("JSON", "json"), ("CSV", "csv")])
def test_other_spellings_of_a_suffix_name_the_same_format(write: Write, suffix: str, format: str) -> None:
    assert read_rows(write(one_column(["a"], format), suffix))[0].values["x"] == "a"


def test_an_explicit_format_outweighs_the_suffix(write: Write) -> None:
    assert read_rows(write('{"a": 1}', "txt"), format="jsonl") == (Row(1, {"a": 1}),)
    assert read_rows(write('{"a": 1}', "csv"), format="jsonl") == (Row(1, {"a": 1}),)


def test_an_unknown_suffix_is_refused(write: Write) -> None:
    message = 't.txt: the suffix ".txt" names no format; the formats are csv, jsonl, json, yaml'
    assert faults(lambda: read_rows(write("", "txt"))) == [message]


def test_an_unknown_format_is_refused(write: Write) -> None:
    message = 't.csv: the format "xlsx" is unknown; the formats are csv, jsonl, json, yaml'
    assert faults(lambda: read_rows(write("", "csv"), format="xlsx")) == [message]


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_missing_file_is_a_problem(write: Write, suffix: str) -> None:
    path = write("", suffix)
    path.unlink()
    assert faults(lambda: read_rows(path)) == [f"t.{suffix}: No such file or directory"]


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_that_is_too_large_is_refused(write: Write, suffix: str) -> None:
    path = write(one_column(["a"], suffix), suffix)
    size = path.stat().st_size
    assert len(read_rows(path, max_bytes=size)) == 1
    assert faults(lambda: read_rows(path, max_bytes=size - 1)) == [
        f"t.{suffix}: too large: at most {size - 1} bytes are read"
    ]


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_that_is_not_utf_8_is_refused_with_the_place(write: Write, suffix: str) -> None:
    path = write(b"one\nt\xc3\xbcr \xe9\n", suffix)
    assert faults(lambda: read_rows(path)) == [f"t.{suffix}:2:5: not UTF-8: byte 0xe9"]


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_byte_order_mark_is_not_a_part_of_the_text(write: Write, suffix: str) -> None:
    path = write(b"\xef\xbb\xbf" + one_column(["a"], suffix).encode(), suffix)
    assert read_rows(path)[0].values["x"] == "a"


# csv.


def test_a_csv_cell_without_a_type_stays_the_text_it_is(write: Write) -> None:
    path = write("a,b,c\n007,,true\n", "csv")
    assert read_rows(path) == (Row(2, {"a": "007", "b": "", "c": "true"}),)


def test_a_csv_row_stands_on_the_physical_line_where_it_starts(write: Write) -> None:
    path = write('id,note\r\n1,"two\r\nlines"\r\n\r\n2,"""quoted"", and a comma"\r\n3,x', "csv")
    assert read_rows(path) == (
        Row(2, {"id": "1", "note": "two\r\nlines"}),
        Row(5, {"id": "2", "note": '"quoted", and a comma'}),
        Row(6, {"id": "3", "note": "x"}),
    )


def test_a_csv_file_with_a_header_alone_has_no_rows(write: Write) -> None:
    assert read_rows(write("id,note\n", "csv")) == ()


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_a_csv_file_without_a_header_is_refused(write: Write, content: str) -> None:
    message = "t.csv:1: the file is empty: the first line of a csv file names its columns"
    assert faults(lambda: read_rows(write(content, "csv"))) == [message]


def test_a_csv_header_names_each_column_and_each_once(write: Write) -> None:
    path = write("\na,,b,a,\n1,2,3,4,5\n", "csv")
    assert faults(lambda: read_rows(path)) == [
        "t.csv:2: column 2 of the header has no name",
        "t.csv:2: column 5 of the header has no name",
        "t.csv:2: a: the header names this column 2 times",
    ]


def test_a_csv_row_of_another_width_is_refused_where_it_starts(write: Write) -> None:
    path = write('a,b\n1,"x\ny"\n1\n1,2\n"p\nq",2,3\n', "csv")
    assert faults(lambda: read_rows(path)) == [
        "t.csv:4: the header names 2 columns, this row has 1",
        "t.csv:6: the header names 2 columns, this row has 3",
    ]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ('a,b\n1,2\n1,"x\ny\n', "t.csv:3: not CSV: unexpected end of data"),
        ('a,b\n1,"x"y\n', "t.csv:2: not CSV: ',' expected after '\"'"),
    ],
)
def test_wrong_quotes_in_csv_are_refused_where_the_row_starts(write: Write, content: str, fault: str) -> None:
    assert faults(lambda: read_rows(write(content, "csv"))) == [fault]


def test_wrong_quotes_in_the_csv_header_are_refused(write: Write) -> None:
    assert faults(lambda: read_rows(write('"a,b\n1,2\n', "csv"))) == ["t.csv:1: not CSV: unexpected end of data"]


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@given(st.lists(st.tuples(cells, cells), max_size=6))
def test_what_a_csv_writer_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, table: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("a", "b"), *table])
    assert [(row.values["a"], row.values["b"]) for row in read_rows(path)] == table


# jsonl and json.


def test_blank_lines_of_jsonl_are_skipped_and_counted(write: Write) -> None:
    path = write('\n {"a": 1}\r\n\r\n  \n{"a": "\u2028"}\n', "jsonl")
    assert read_rows(path) == (Row(2, {"a": 1}), Row(5, {"a": "\u2028"}))


@pytest.mark.parametrize("suffix", ["jsonl", "json", "yaml"])
def test_rows_may_have_different_columns(write: Write, suffix: str) -> None:
    objects = ['{"a": 1}', '{"b": [1, {"c": null}]}', "{}"]
    content = "\n".join(objects) if suffix == "jsonl" else f"[{', '.join(objects)}]"
    assert [row.values for row in read_rows(write(content, suffix))] == [{"a": 1}, {"b": [1, {"c": None}]}, {}]


@pytest.mark.parametrize("suffix", ["jsonl", "json", "yaml"])
def test_a_file_may_have_no_rows(write: Write, suffix: str) -> None:
    path = write("" if suffix == "jsonl" else " [ ] ", suffix)
    assert read_rows(path, types={"a": ColumnType.DATE}) == ()


def test_a_row_of_json_stands_on_the_line_where_it_starts(write: Write) -> None:
    path = write('\n[\n{"a": "]},[{"}\n,\n\n  {"a":\n 2},{"a": [[3]]}\n]\n', "json")
    assert read_rows(path) == (Row(3, {"a": "]},[{"}), Row(6, {"a": 2}), Row(7, {"a": [[3]]}))


def test_each_faulty_line_of_jsonl_is_told(write: Write) -> None:
    path = write('{"a": 1\n{"a": 1}\n[1]\n{"a": 1} 2\n{"a": NaN}\nnull\n', "jsonl")
    assert faults(lambda: read_rows(path)) == [
        "t.jsonl:1:8: not JSON: Expecting ',' delimiter",
        "t.jsonl:3: expected an object, found [1]",
        "t.jsonl:4:10: not JSON: Extra data",
        "t.jsonl:5: $.a: NaN has no JSON form",
        "t.jsonl:6: expected an object, found null",
    ]


def test_each_faulty_row_of_json_is_told(write: Write) -> None:
    path = write('[\n{"a": 1, "a": 2},\n{"a": 1},\n7, [{}],\n{"a":\n Infinity}, {"a": 9007199254740992}]', "json")
    assert faults(lambda: read_rows(path)) == [
        't.json:2: the key "a" is given 2 times in one object',
        "t.json:4: expected an object, found 7",
        "t.json:4: expected an object, found [{}]",
        "t.json:5: $.a: Infinity has no JSON form",
        't.json:6: the integer "9007199254740992" is beyond 2**53 - 1, where JSON ceases to be exact',
    ]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("", "t.json:1:1: not JSON: Expecting value"),
        ('[{"a": 1}\n {"a": 2}]', "t.json:2:2: not JSON: Expecting ',' delimiter"),
        ('[{"a": 1},\n {"a" 2}]', "t.json:2:7: not JSON: Expecting ':' delimiter"),
        ('[{"a": 1}]\n]', "t.json:2:1: not JSON: Extra data"),
        ('\n {"a": []}', "t.json:2:2: expected a list of objects"),
    ],
)
def test_a_json_file_that_is_no_list_is_refused_with_the_place(write: Write, content: str, fault: str) -> None:
    assert faults(lambda: read_rows(write(content, "json"))) == [fault]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("1e999", "$.x: Infinity has no JSON form"),
        ('"\\ud800"', "$.x: an unpaired surrogate has no UTF-8 form"),
        ('{"k": 1, "k": 2}', 'the key "k" is given 2 times in one object'),
        ("-9007199254740993", 'the integer "-9007199254740993" is beyond 2**53 - 1, where JSON ceases to be exact'),
        ("[" * 100_000, "nested more than 100 levels deep"),
    ],
)
def test_what_json_cannot_say_is_refused_with_its_line(write: Write, value: str, message: str) -> None:
    assert faults(lambda: read_rows(write(f'{{"x": 1}}\n{{"x": {value}}}', "jsonl"))) == [f"t.jsonl:2: {message}"]


def test_json_that_would_exhaust_the_stack_is_refused(write: Write) -> None:
    assert faults(lambda: read_rows(write("[" * 100_000, "json"))) == ["t.json: nested more than 100 levels deep"]


# yaml.


def test_faulty_yaml_is_refused_with_the_place(write: Write) -> None:
    path = write("- {a: 1}\n- {a: 1, a: 2}\n", "yaml")
    assert faults(lambda: read_rows(path)) == ["t.yaml:2:10: [1].a: duplicate key, first given on line 2"]


@pytest.mark.parametrize(("content", "place"), [("# none\n", "1:1"), ("\n a: 1", "2:2"), ("'- a'", "1:1")])
def test_yaml_that_is_no_list_is_refused(write: Write, content: str, place: str) -> None:
    assert faults(lambda: read_rows(write(content, "yaml"))) == [f"t.yaml:{place}: expected a list of objects"]


def test_an_element_of_yaml_that_is_no_object_is_refused_with_the_place(write: Write) -> None:
    assert faults(lambda: read_rows(write("- {a: 1}\n-   b\n- [c]\n", "yaml"))) == [
        't.yaml:2:5: expected an object, found "b"',
        't.yaml:3:3: expected an object, found ["c"]',
    ]


def test_a_fault_of_a_type_in_yaml_has_line_and_column(write: Write) -> None:
    path = write("- &x\n  day: tomorrow\n- *x\n", "yaml")
    message = 'day: "tomorrow" is not a date like 2026-10-31'
    assert faults(lambda: read_rows(path, types={"day": ColumnType.DATE})) == [
        f"t.yaml:2:8: {message}",
        f"t.yaml:2:8: {message}",
    ]


# Types.

IN_CSV: list[tuple[ColumnType, str, JsonValue]] = [
    (ColumnType.STRING, "007", "007"),
    (ColumnType.STRING, "", ""),
    (ColumnType.INTEGER, "12", 12),
    (ColumnType.INTEGER, "-007", -7),
    (ColumnType.INTEGER, "+1", 1),
    (ColumnType.INTEGER, str(MAX_INTEGER), MAX_INTEGER),
    (ColumnType.NUMBER, "12", 12),
    (ColumnType.NUMBER, "0.1", 0.1),
    (ColumnType.NUMBER, "-1.5e3", -1500.0),
    (ColumnType.BOOLEAN, "true", True),
    (ColumnType.BOOLEAN, "Yes", True),
    (ColumnType.BOOLEAN, "1", True),
    (ColumnType.BOOLEAN, "FALSE", False),
    (ColumnType.BOOLEAN, "no", False),
    (ColumnType.BOOLEAN, "0", False),
    (ColumnType.DATE, "2028-02-29", "2028-02-29"),
    (ColumnType.MONEY, "1234.50", 123450),
    (ColumnType.MONEY, "1234.5", 123450),
    (ColumnType.MONEY, "1234", 123400),
    (ColumnType.MONEY, "-0.05", -5),
    (ColumnType.MONEY, "90071992547409.91", MAX_INTEGER),
    (ColumnType.JSON, '{"a": [1, null]}', {"a": [1, None]}),
    *((kind, "", None) for kind in ColumnType if kind is not ColumnType.STRING),
]


@pytest.mark.parametrize(("kind", "cell", "value"), IN_CSV)
def test_a_typed_csv_cell_is_read(write: Write, kind: ColumnType, cell: str, value: JsonValue) -> None:
    (row,) = read_rows(write(one_column([cell], "csv"), "csv"), types={"x": kind})
    assert row.values["x"] == value
    assert type(row.values["x"]) is type(value)


NOT_AN_AMOUNT = "is not an amount like 1234.50: digits, and a point before at most 2 decimals"


@pytest.mark.parametrize(
    ("kind", "cell", "message"),
    [
        (ColumnType.INTEGER, "1.0", '"1.0" is not an integer'),
        (ColumnType.INTEGER, " 1", '" 1" is not an integer'),
        (ColumnType.INTEGER, "1_000", '"1_000" is not an integer'),
        (ColumnType.INTEGER, "١", '"١" is not an integer'),
        (
            ColumnType.INTEGER,
            "9007199254740992",
            'the integer "9007199254740992" is beyond 2**53 - 1, where JSON ceases to be exact',
        ),
        (ColumnType.NUMBER, "1,5", '"1,5" is not a number'),
        (ColumnType.NUMBER, "nan", '"nan" is not a number'),
        (ColumnType.NUMBER, "inf", '"inf" is not a number'),
        (ColumnType.NUMBER, "1e999", 'the number "1e999" is beyond what JSON holds'),
        (
            ColumnType.NUMBER,
            "-9007199254740992",
            'the integer "-9007199254740992" is beyond 2**53 - 1, where JSON ceases to be exact',
        ),
        (ColumnType.BOOLEAN, "on", '"on" is not a boolean: true or false, yes or no, 1 or 0'),
        (ColumnType.DATE, "31.10.2026", '"31.10.2026" is not a date like 2026-10-31'),
        (ColumnType.DATE, "20261031", '"20261031" is not a date like 2026-10-31'),
        (ColumnType.DATE, "2026-W44-6", '"2026-W44-6" is not a date like 2026-10-31'),
        (ColumnType.DATE, "2026-02-29", '"2026-02-29" is not a date like 2026-10-31'),
        (ColumnType.MONEY, "1,234.50", f'"1,234.50" {NOT_AN_AMOUNT}'),
        (ColumnType.MONEY, "12.345", f'"12.345" {NOT_AN_AMOUNT}'),
        (ColumnType.MONEY, "12.", f'"12." {NOT_AN_AMOUNT}'),
        (ColumnType.MONEY, "€12", f'"€12" {NOT_AN_AMOUNT}'),
        (ColumnType.MONEY, "1e3", f'"1e3" {NOT_AN_AMOUNT}'),
        (
            ColumnType.MONEY,
            "90071992547409.92",
            'the integer "9007199254740992" is beyond 2**53 - 1, where JSON ceases to be exact',
        ),
        (ColumnType.JSON, "{", '"{" is not JSON: Expecting property name enclosed in double quotes'),
        (ColumnType.JSON, "[NaN]", "$[0]: NaN has no JSON form"),
        (ColumnType.JSON, "[" * 100_000, "nested more than 100 levels deep"),
    ],
)
def test_a_csv_cell_that_is_not_of_its_type_is_refused(write: Write, kind: ColumnType, cell: str, message: str) -> None:
    path = write(one_column(["", cell], "csv"), "csv")
    assert faults(lambda: read_rows(path, types={"x": kind})) == [f"t.csv:3: x: {message}"]


@pytest.mark.parametrize("suffix", ["jsonl", "json", "yaml"])
@pytest.mark.parametrize(
    ("kind", "given", "value"),
    [
        (ColumnType.STRING, "007", "007"),
        (ColumnType.INTEGER, 12, 12),
        (ColumnType.NUMBER, 0.5, 0.5),
        (ColumnType.NUMBER, 12, 12),
        (ColumnType.BOOLEAN, False, False),
        (ColumnType.DATE, "2026-10-31", "2026-10-31"),
        (ColumnType.MONEY, "12.5", 1250),
        (ColumnType.MONEY, 12, 1200),
        (ColumnType.JSON, {"a": [1, "2"]}, {"a": [1, "2"]}),
        *((kind, None, None) for kind in ColumnType),
    ],
)
def test_a_typed_value_of_the_other_formats_is_checked(
    write: Write, suffix: str, kind: ColumnType, given: JsonValue, value: JsonValue
) -> None:
    (row,) = read_rows(write(one_column([given], suffix), suffix), types={"x": kind})
    assert row.values["x"] == value
    assert type(row.values["x"]) is type(value)


@pytest.mark.parametrize(("suffix", "place"), [("jsonl", "2"), ("json", "1"), ("yaml", "1:32")])
@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        (ColumnType.STRING, 7, "7 is not of the type string"),
        (ColumnType.INTEGER, "12", '"12" is not of the type integer'),
        (ColumnType.INTEGER, True, "true is not of the type integer"),
        (ColumnType.INTEGER, 1.5, "1.5 is not of the type integer"),
        (ColumnType.NUMBER, "12", '"12" is not of the type number'),
        (ColumnType.NUMBER, False, "false is not of the type number"),
        (ColumnType.BOOLEAN, 1, "1 is not of the type boolean"),
        (ColumnType.BOOLEAN, "yes", '"yes" is not of the type boolean'),
        (ColumnType.DATE, 2026, "2026 is not of the type date"),
        (ColumnType.DATE, "2026", '"2026" is not a date like 2026-10-31'),
        (ColumnType.MONEY, 12.5, '12.5 is not of the type money: write it in quotes, "12.50"'),
        (ColumnType.MONEY, "1,234.50", f'"1,234.50" {NOT_AN_AMOUNT}'),
        (ColumnType.MONEY, [], "[] is not of the type money"),
    ],
)
def test_a_value_of_the_other_formats_that_is_not_of_its_type_is_refused(
    write: Write, suffix: str, place: str, kind: ColumnType, given: JsonValue, message: str
) -> None:
    path = write(one_column([None, given], suffix), suffix)
    assert faults(lambda: read_rows(path, types={"x": kind})) == [f"t.{suffix}:{place}: x: {message}"]


@given(st.integers(-MAX_INTEGER, MAX_INTEGER))
def test_money_is_exact_to_the_last_minor_unit(tmp_path_factory: pytest.TempPathFactory, minor: int) -> None:
    path = tmp_path_factory.mktemp("money") / "t.csv"
    path.write_text(f"x\n{Decimal(minor).scaleb(-2):f}\n")
    assert read_rows(path, types={"x": ColumnType.MONEY}) == (Row(2, {"x": minor}),)


@pytest.mark.parametrize(("suffix", "header"), [("csv", ":1"), ("jsonl", ""), ("json", ""), ("yaml", "")])
def test_a_type_for_a_column_that_is_not_there_is_refused(write: Write, suffix: str, header: str) -> None:
    path = write(one_column(["a", "b"], suffix), suffix)
    types = {"x": ColumnType.STRING, "y": ColumnType.DATE}
    message = "y: a type is declared for this column, and the file has no such column"
    assert faults(lambda: read_rows(path, types=types)) == [f"t.{suffix}{header}: {message}"]


def test_a_column_that_some_rows_have_is_there(write: Write) -> None:
    path = write('{"a": 1}\n{"b": "2.50"}\n', "jsonl")
    assert read_rows(path, types={"b": ColumnType.MONEY}) == (Row(1, {"a": 1}), Row(2, {"b": 250}))


def test_whether_a_column_is_there_is_left_open_when_a_row_could_not_be_read(write: Write) -> None:
    path = write('{"a": 1}\n{"b":\n', "jsonl")
    assert faults(lambda: read_rows(path, types={"b": ColumnType.MONEY})) == ["t.jsonl:2:6: not JSON: Expecting value"]


# Many faults.


def test_all_faults_are_told_in_the_order_of_their_lines(write: Write) -> None:
    path = write("a,b\nx,y\n1\n2,z\n", "csv")
    types: Mapping[str, ColumnType] = {"a": ColumnType.INTEGER, "b": ColumnType.NUMBER, "c": ColumnType.DATE}
    assert faults(lambda: read_rows(path, types=types)) == [
        "t.csv:1: c: a type is declared for this column, and the file has no such column",
        't.csv:2: a: "x" is not an integer',
        't.csv:2: b: "y" is not a number',
        "t.csv:3: the header names 2 columns, this row has 1",
        't.csv:4: b: "z" is not a number',
    ]


@pytest.mark.parametrize(("bad", "told"), [(20, 20), (21, 21), (500, 21)])
def test_more_faults_than_a_person_reads_are_counted(write: Write, bad: int, told: int) -> None:
    path = write(one_column(["x"] * bad, "csv"), "csv")
    problems = faults(lambda: read_rows(path, types={"x": ColumnType.INTEGER}))
    assert len(problems) == told
    assert problems[19] == 't.csv:21: x: "x" is not an integer'
    if bad > 20:
        assert problems[20] == f"t.csv: and {bad - 20} more"
