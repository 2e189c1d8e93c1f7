"""Reading YAML as JSON, with the place of everything."""

from __future__ import annotations

import json
import pathlib
from typing import TYPE_CHECKING

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from converge_adapters import documents
from converge_adapters.documents import load_document, parse_document, to_yaml
from converge_core.errors import IntentError, Problem
from converge_core.ledger.canonical import MAX_DEPTH, MAX_INTEGER

if TYPE_CHECKING:
    from collections.abc import Callable

    from converge_core.ledger.canonical import JsonValue


@pytest.fixture(params=["with libyaml", "without libyaml"])
def any_loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "without libyaml":
        monkeypatch.setattr(documents, "_LOADER", yaml.SafeLoader)


def faults(read: Callable[[], object]) -> list[str]:
    """The problems that reading raises, as a person sees them."""
    with pytest.raises(IntentError) as caught:
        read()
    return [str(problem) for problem in caught.value.problems]


def faults_of(text: str) -> list[str]:
    return faults(lambda: parse_document(text, "f"))


# Values.


@pytest.mark.usefixtures("any_loader")
@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("False", False),
        ("0", 0),
        ("-12", -12),
        ("1.5", 1.5),
        ("-.5", -0.5),
        ("1e3", 1000.0),
        (str(MAX_INTEGER), MAX_INTEGER),
        ("!!str 12", "12"),
        ("! 12", "12"),
        ("!!int 12", 12),
        ("!!float 12", 12),
        ("!!null ~", None),
        ("!!bool true", True),
        ("!!seq []", []),
        ("!!map {}", {}),
    ],
)
def test_a_word_is_of_the_json_type_it_looks_like(word: str, value: JsonValue) -> None:
    read = parse_document(f"x: {word}").value
    assert read == {"x": value}
    assert isinstance(read, dict)
    assert type(read["x"]) is type(value)


@pytest.mark.usefixtures("any_loader")
@pytest.mark.parametrize(
    "word",
    ["no", "on", "Yes", "y", "012", "12:30:00", "2026-10-31", "0x1F", "0o17", "1_000", "+49", "1,5", "nUll", "1e", "."],
)
def test_a_word_that_only_yaml_1_1_takes_for_more_stays_a_string(word: str) -> None:
    assert parse_document(f"x: {word}").value == {"x": word}


@pytest.mark.parametrize("word", ["'12'", '"true"', "'null'", '""', "|-\n  12"])
def test_a_quoted_or_block_scalar_is_a_string(word: str) -> None:
    read = parse_document(f"x: {word}").value
    assert isinstance(read, dict)
    assert isinstance(read["x"], str)


def test_an_empty_document_is_null() -> None:
    assert parse_document("# nothing here\n").value is None
    assert parse_document("").place(("a",)) == (1, 1)


def test_a_byte_order_mark_is_not_a_part_of_the_text() -> None:
    document = parse_document("\ufeffa: 1")
    assert document.value == {"a": 1}
    assert document.place(("a",)) == (1, 4)


def test_an_alias_has_the_value_of_its_anchor() -> None:
    assert parse_document("a: &x {b: [1]}\nc: *x\n").value == {"a": {"b": [1]}, "c": {"b": [1]}}


def test_an_alias_repeats_the_last_anchor_of_its_name() -> None:
    assert parse_document("[&x 1, *x, &x 2, *x]").value == [1, 1, 2, 2]


def test_an_alias_of_a_string_can_be_a_key() -> None:
    assert parse_document("a: &k name\n*k : 1\n").value == {"a": "name", "name": 1}


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-MAX_INTEGER, MAX_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(min_codepoint=32, max_codepoint=126)),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(min_codepoint=32, max_codepoint=126)), inner),
    max_leaves=20,
)


@given(json_values)
def test_json_is_read_as_what_json_says(value: JsonValue) -> None:
    assert parse_document(json.dumps(value)).value == value


@given(json_values)
def test_what_is_written_as_yaml_is_read_back(value: JsonValue) -> None:
    assert parse_document(to_yaml(value)).value == value


# Places.

INTENT = """\
intent: {id: x}
suggestors:
  - use: rules.cel
    with:
      when: "1 > 0"
"""


@pytest.mark.usefixtures("any_loader")
@pytest.mark.parametrize(
    ("path", "value", "key"),
    [
        ((), (1, 1), (1, 1)),
        (("intent",), (1, 9), (1, 1)),
        (("intent", "id"), (1, 14), (1, 10)),
        (("suggestors",), (3, 3), (2, 1)),
        (("suggestors", 0), (3, 5), (3, 5)),
        (("suggestors", 0, "with", "when"), (5, 13), (5, 7)),
    ],
)
def test_a_value_and_its_key_are_found_by_their_path(
    path: tuple[str | int, ...], value: tuple[int, int], key: tuple[int, int]
) -> None:
    document = parse_document(INTENT)
    assert document.place(path) == value
    assert document.place(path, of_key=True) == key


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (("nowhere",), (1, 1)),
        (("suggestors", 0, "name"), (3, 5)),
        (("suggestors", 0, "with", "when", "too", "deep"), (5, 13)),
        (("suggestors", 1), (3, 3)),
    ],
)
@pytest.mark.parametrize("of_key", [False, True])
def test_what_is_not_there_has_the_place_of_its_nearest_ancestor(
    path: tuple[str | int, ...], place: tuple[int, int], of_key: bool
) -> None:
    assert parse_document(INTENT).place(path, of_key=of_key) == place


def test_what_is_inside_an_alias_has_its_place_at_the_anchor() -> None:
    document = parse_document("a: &x {b: 1}\nc:\n  - &y [*x]\n  - *y\n")
    assert document.place(("c", 1)) == (4, 5)
    assert document.place(("c", 1, 0)) == (3, 9)
    assert document.place(("c", 1, 0, "b")) == (1, 11)


def test_an_alias_that_is_a_key_leaves_the_places_of_the_others_alone() -> None:
    document = parse_document("a: &k name\n*k : 1\nb: 2\n")
    assert document.place(("name",)) == (2, 6)
    assert document.place(("b",)) == (3, 4)


def test_a_column_counts_characters_not_bytes() -> None:
    assert parse_document("{é𝄞: x}").place(("é𝄞",)) == (1, 6)


def test_a_problem_names_the_path_the_file_and_the_place() -> None:
    document = parse_document(INTENT, "intent.yaml")
    path = ("suggestors", 0, "with", "when")
    assert document.problem(path, "no") == Problem("suggestors[0].with.when", "no", "intent.yaml", 5, 13)
    assert document.problem(path, "no", of_key=True) == Problem("suggestors[0].with.when", "no", "intent.yaml", 5, 7)


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ((), ""),
        ((0, "a"), "[0].a"),
        (("over-limit", "größe"), "over-limit.größe"),
        (("inputs", "a.b", 2), 'inputs["a.b"][2]'),
        (("", "line\nend"), '[""]["line\\nend"]'),
    ],
)
def test_a_path_is_written_as_people_write_it(path: tuple[str | int, ...], shown: str) -> None:
    assert documents.dotted(path) == shown


# Faults.


@pytest.mark.usefixtures("any_loader")
def test_a_duplicate_key_is_refused_where_it_stands_with_mention_of_the_first() -> None:
    assert faults_of("a:\n  b: 1\n  c: 2\n  b: 3\n") == ["f:4:3: a.b: duplicate key, first given on line 2"]


def test_keys_are_compared_by_what_they_say() -> None:
    assert faults_of("a: 1\n'a': 2\n") == ["f:2:1: a: duplicate key, first given on line 1"]


@pytest.mark.usefixtures("any_loader")
@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("1", "f:2:1: a key must be a string: put quotes around 1"),
        ("1.5", "f:2:1: a key must be a string: put quotes around 1.5"),
        ("true", "f:2:1: a key must be a string: put quotes around true"),
        ("~", "f:2:1: a key must be a string: put quotes around null"),
        ("? [a, {b: [c]}]\n", "f:2:3: a key must be a string, not a collection"),
        ("*x ", "f:2:1: a key must be a string: put quotes around 7"),
        ("<<", "f:2:1: merge keys (<<) are not supported"),
        ("!foo a", "f:2:1: the tag !foo is not allowed: values are of JSON's types"),
    ],
)
def test_a_key_that_is_no_string_is_refused(key: str, message: str) -> None:
    assert faults_of(f"a: &x 7\n{key}: 1\n") == [message]


def test_a_quoted_key_that_looks_like_a_merge_key_is_a_key() -> None:
    assert parse_document("'<<': 1").value == {"<<": 1}


@pytest.mark.usefixtures("any_loader")
@pytest.mark.parametrize(
    ("value", "tag"),
    [
        ("!!python/object:os.system {}", "!!python/object:os.system"),
        ("!!python/name:os.system ''", "!!python/name:os.system"),
        ("!foo 1", "!foo"),
        ("!foo [1]", "!foo"),
        ("!<tag:example.org,2026:x> 1", "tag:example.org,2026:x"),
        ("!!binary aGk=", "!!binary"),
        ("!!set {}", "!!set"),
        ("!!timestamp 2026-10-31", "!!timestamp"),
        ("!!map []", "!!map"),
        ("!!str []", "!!str"),
    ],
)
def test_a_tag_that_is_not_of_json_is_refused(value: str, tag: str) -> None:
    assert faults_of(f"a:\n  b: {value}\n") == [f"f:2:6: a.b: the tag {tag} is not allowed: values are of JSON's types"]


@pytest.mark.parametrize(("tag", "word"), [("!!int", "1.5"), ("!!bool", "no"), ("!!null", "x"), ("!!float", "true")])
def test_a_word_that_is_not_what_its_tag_says_is_refused(tag: str, word: str) -> None:
    assert faults_of(f"- {tag} {word}") == [f'f:1:3: [0]: "{word}" is not of the type {tag}']


@pytest.mark.usefixtures("any_loader")
@pytest.mark.parametrize("word", [".inf", "-.Inf", "+.INF", ".nan", ".NaN"])
def test_a_number_that_json_does_not_have_is_refused(word: str) -> None:
    assert faults_of(f"a:\n- {word}") == [f"f:2:3: a[0]: {word} is no number in JSON"]


def test_a_number_that_overflows_is_refused() -> None:
    assert faults_of("a: 1e999") == ['f:1:4: a: the number "1e999" is beyond what JSON holds']


@pytest.mark.parametrize("digits", [str(MAX_INTEGER + 1), str(-MAX_INTEGER - 1), "9" * 30])
def test_an_integer_that_json_would_not_keep_exact_is_refused(digits: str) -> None:
    message = f'the integer "{digits}" is beyond 2**53 - 1, where JSON ceases to be exact'
    assert faults_of(f"a: {digits}") == [f"f:1:4: a: {message}"]


def test_an_integer_of_a_million_digits_is_refused_in_one_short_line() -> None:
    (fault,) = faults_of(f"a: {'9' * 1_000_000}")
    assert "beyond 2**53 - 1" in fault
    assert len(fault) < 200


@pytest.mark.usefixtures("any_loader")
def test_a_second_document_is_refused() -> None:
    assert faults_of("a: 1\n---\nb: 2\n") == ["f:2:1: a second document starts here; a file holds one"]


@pytest.mark.usefixtures("any_loader")
def test_an_alias_without_an_anchor_is_refused() -> None:
    assert faults_of("a: *b\nb: &b 1\n") == ["f:1:4: a: the alias *b names no anchor above it"]


@pytest.mark.usefixtures("any_loader")
def test_an_alias_inside_its_own_anchor_is_refused() -> None:
    assert faults_of("a: &x\n  - b: *x\n") == ["f:2:8: a[0].b: the alias *x repeats itself"]


@pytest.mark.usefixtures("any_loader")
def test_aliases_that_multiply_are_refused_before_they_cost() -> None:
    laughs = ["- &x0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    laughs += [f"- &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]" for n in range(1, 40)]
    assert faults_of("\n".join(laughs)) == ["f:6:8: aliases repeat more than 100,000 values"]


def test_aliases_may_repeat_a_hundred_thousand_values_and_no_more() -> None:
    thousand = f"- &x [{', '.join(['1'] * 999)}]\n"
    document = parse_document(thousand + "- *x\n" * 100)
    assert isinstance(document.value, list)
    assert len(document.value) == 101
    assert faults_of(thousand + "- *x\n" * 101) == ["f:102:3: aliases repeat more than 100,000 values"]


@pytest.mark.usefixtures("any_loader")
@pytest.mark.parametrize(
    ("opening", "column"), [("[", MAX_DEPTH + 1), ("- ", 2 * MAX_DEPTH + 1), ("{a: ", 4 * MAX_DEPTH + 1)]
)
def test_a_document_that_would_exhaust_the_stack_is_refused(opening: str, column: int) -> None:
    assert faults_of(opening * 5000) == [f"f:1:{column}: nested more than 100 levels deep"]


def test_a_file_of_brackets_does_not_end_the_process() -> None:
    assert faults_of("[" * 1_000_000) == ["f:1:101: nested more than 100 levels deep"]


def test_the_deepest_document_that_is_read_is_the_deepest_that_the_ledger_takes() -> None:
    text = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert parse_document(text).value == json.loads(text)


def test_depth_is_counted_through_aliases() -> None:
    half = "[" * 60 + "1" + "]" * 59 + ", 1]"
    assert faults_of(f"- &x {half}\n- {'[' * 39}*x{']' * 39}\n- {'[' * 40}*x{']' * 40}\n") == [
        "f:3:43: nested more than 100 levels deep"
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: b: c", "f:1:5: not YAML: mapping values are not allowed in this context"),
        (
            "a: 1\nb: {c: 1\nd: 2\n",
            "f:3:2: not YAML: did not find expected ',' or '}': while parsing a flow mapping that starts on line 2",
        ),
        (
            "a: 'x\n\n",
            "f:3:1: not YAML: found unexpected end of stream: while scanning a quoted scalar that starts on line 1",
        ),
        (
            "a:\n\t- b",
            "f:2:1: not YAML: found character that cannot start any token: while scanning for the next token",
        ),
        (
            "x: 1\na: |\n  x\n b",
            "f:4:2: not YAML: did not find expected key: while parsing a block mapping that starts on line 1",
        ),
        ("%TAG ! bad", "f:2:1: not YAML: did not find expected <document start>"),
    ],
)
def test_a_fault_of_syntax_is_one_line_with_its_place(text: str, fault: str) -> None:
    assert faults_of(text) == [fault]


def test_without_libyaml_a_fault_of_syntax_has_its_place_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "_LOADER", yaml.SafeLoader)
    assert faults_of("a: b: c") == ["f:1:5: not YAML: mapping values are not allowed here"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: 1\nb: \x00", "f:2:4: the character '\\x00' is not allowed in YAML"),
        ("\x1b[31m", "f:1:1: the character '\\x1b' is not allowed in YAML"),
        ("a\ud800", "f:1:2: the character '\\ud800' is not allowed in YAML"),
    ],
)
def test_an_unprintable_character_is_refused(text: str, fault: str) -> None:
    assert faults_of(text) == [fault]


@pytest.mark.usefixtures("any_loader")
def test_an_unpaired_surrogate_in_an_escape_is_refused() -> None:
    (fault,) = faults_of('a: 1\nb: "\\ud800"\n')
    assert fault.startswith("f:2:")


def test_all_faults_are_told_at_once_with_those_of_the_syntax_last() -> None:
    assert faults_of("a: 1\na: !x 2\n1: .nan\nb: *c\nd: [\n") == [
        "f:2:1: a: duplicate key, first given on line 1",
        "f:2:4: a: the tag !x is not allowed: values are of JSON's types",
        "f:3:1: a key must be a string: put quotes around 1",
        "f:3:4: 1: .nan is no number in JSON",
        "f:4:4: b: the alias *c names no anchor above it",
        "f:6:1: not YAML: did not find expected node content: while parsing a flow node",
    ]


# Files.


def test_a_document_is_loaded_from_a_file(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: [2]\r\n")
    document = load_document(file)
    assert document.value == {"a": 1, "b": [2]}
    assert document.file == str(file)
    assert document.place(("b", 0)) == (2, 5)


def test_a_fault_of_a_file_names_the_file(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("a: 1\na: 2\n")
    assert faults(lambda: load_document(file)) == [f"{file}:2:1: a: duplicate key, first given on line 1"]


def test_a_missing_file_is_a_problem(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "a.yaml"
    assert faults(lambda: load_document(file)) == [f"{file}: No such file or directory"]


def test_a_directory_is_a_problem(tmp_path: pathlib.Path) -> None:
    assert faults(lambda: load_document(tmp_path)) == [f"{tmp_path}: Is a directory"]


def test_a_name_that_no_file_can_have_is_a_problem() -> None:
    (fault,) = faults(lambda: load_document(pathlib.Path("a\0b")))
    assert "embedded null" in fault


@pytest.mark.parametrize(
    ("data", "place"), [(b"a: \xff", "1:4"), (b"a: 1\nb: \xc3\xa9 \xe9", "2:6"), (b"\xef\xbb\xbfa\x80", "1:2")]
)
def test_a_file_that_is_not_utf_8_is_refused_with_the_place(tmp_path: pathlib.Path, data: bytes, place: str) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(data)
    byte = next(byte for byte in reversed(data) if byte > 0x7F)
    assert faults(lambda: load_document(file)) == [f"{file}:{place}: not UTF-8: byte 0x{byte:02x}"]


class Unopened(type(pathlib.Path())):  # type: ignore[misc]  # the class of this platform's paths
    """A path whose file may be looked at but not opened."""

    def open(self, *_: object, **__: object) -> None:
        raise AssertionError("the file was opened")


def test_a_file_that_is_too_large_is_refused_unread(tmp_path: pathlib.Path) -> None:
    file = Unopened(tmp_path, "a.yaml")
    with pathlib.Path(file).open("wb") as stream:
        stream.truncate(100 * 1024 * 1024)
    assert faults(lambda: load_document(file)) == [f"{file}: too large: at most 10,485,760 bytes are read"]


def test_a_file_of_just_the_allowed_size_is_read(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("a: 12345")
    assert load_document(file, max_bytes=8).value == {"a": 12345}
    assert faults(lambda: load_document(file, max_bytes=7)) == [f"{file}: too large: at most 7 bytes are read"]


def test_a_file_that_lies_about_its_size_is_read_no_further_than_allowed() -> None:
    endless = pathlib.Path("/dev/zero")
    if not endless.exists():
        pytest.skip("this platform has no endless file")
    assert faults(lambda: load_document(endless, max_bytes=1000)) == [
        "/dev/zero: too large: at most 1,000 bytes are read"
    ]
