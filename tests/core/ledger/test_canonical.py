"""Canonical JSON against the RFC's own examples, an independent implementation, and everything it must refuse."""

from __future__ import annotations

import json
import struct
from collections import OrderedDict
from collections.abc import Callable
from decimal import Decimal
from enum import IntEnum, StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, cast

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from converge_core.errors import CanonicalError
from converge_core.ledger.canonical import (
    MAX_DEPTH,
    MAX_INTEGER,
    JsonValue,
    canonical,
    is_canonical,
    parse,
    parse_to_rewrite,
)

DATA = Path(__file__).parents[2] / "data" / "rfc8785"
EXAMPLES = sorted(path.name for path in (DATA / "input").iterdir())
assert EXAMPLES, "the RFC 8785 examples are missing"

integers = st.integers(-MAX_INTEGER, MAX_INTEGER)
bit_patterns = st.integers(0, 2**64 - 1).map(lambda bits: cast(float, struct.unpack(">d", bits.to_bytes(8, "big"))[0]))
numbers = st.floats(allow_nan=False, allow_infinity=False) | bit_patterns.filter(lambda x: abs(x) < float("inf"))
# Keys from both ends of the range where UTF-16 order and code point order differ.
keys = st.text() | st.text(st.sampled_from("aé\ud7ff\ue000\uffff\U00010000\U0010ffff"))
values: st.SearchStrategy[JsonValue] = st.recursive(
    st.none() | st.booleans() | integers | numbers | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(keys, inner, max_size=5),
    max_leaves=20,
)


def nested(depth: int) -> JsonValue:
    value: JsonValue = 1
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


def refusal(value: object) -> str:
    with pytest.raises(CanonicalError) as caught:
        canonical(cast(JsonValue, value))
    return str(caught.value)


def reading_refusal(text: str) -> str:
    with pytest.raises(CanonicalError) as caught:
        parse(text)
    return str(caught.value)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_of_the_reference_data_gives_its_exact_bytes(name: str) -> None:
    value = json.loads((DATA / "input" / name).read_bytes())
    assert canonical(value).encode() == (DATA / "output" / name).read_bytes()


# RFC 8785, appendix B.
@pytest.mark.parametrize(
    ("bits", "text"),
    [
        ("0000000000000000", "0"),
        ("8000000000000000", "0"),
        ("0000000000000001", "5e-324"),
        ("8000000000000001", "-5e-324"),
        ("7fefffffffffffff", "1.7976931348623157e+308"),
        ("ffefffffffffffff", "-1.7976931348623157e+308"),
        ("4340000000000000", "9007199254740992"),
        ("c340000000000000", "-9007199254740992"),
        ("4430000000000000", "295147905179352830000"),
        ("44b52d02c7e14af5", "9.999999999999997e+22"),
        ("44b52d02c7e14af6", "1e+23"),
        ("44b52d02c7e14af7", "1.0000000000000001e+23"),
        ("444b1ae4d6e2ef4e", "999999999999999700000"),
        ("444b1ae4d6e2ef4f", "999999999999999900000"),
        ("444b1ae4d6e2ef50", "1e+21"),
        ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
        ("3eb0c6f7a0b5ed8d", "0.000001"),
        ("41b3de4355555553", "333333333.3333332"),
        ("41b3de4355555554", "333333333.33333325"),
        ("41b3de4355555555", "333333333.3333333"),
        ("41b3de4355555556", "333333333.3333334"),
        ("41b3de4355555557", "333333333.33333343"),
        ("becbf647612f3696", "-0.0000033333333333333333"),
        ("43143ff3c1cb0959", "1424953923781206.2"),
    ],
)
def test_a_number_is_written_as_in_appendix_b(bits: str, text: str) -> None:
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical(number) == text


@pytest.mark.parametrize(
    ("bits", "name"),
    [("7fffffffffffffff", "NaN"), ("7ff0000000000000", "Infinity"), ("fff0000000000000", "-Infinity")],
)
def test_a_number_that_is_not_finite_is_refused_by_name(bits: str, name: str) -> None:
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    assert refusal(number) == f"$: {name} has no JSON form"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (56.0, "56"),
        (1e16, "10000000000000000"),
        (-1.5e20, "-150000000000000000000"),
        (-1e21, "-1e+21"),
        (1e-5, "0.00001"),
        (-1.25e-6, "-0.00000125"),
        (1e-7, "1e-7"),
        (MAX_INTEGER, "9007199254740991"),
        (-MAX_INTEGER, "-9007199254740991"),
    ],
)
def test_exponents_begin_where_ecmascript_begins_them(number: float, text: str) -> None:
    assert canonical(number) == text


def test_a_string_has_the_escapes_of_the_rfc_and_no_others() -> None:
    short = {8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r", 0x22: '\\"', 0x5C: "\\\\"}
    for code in [*range(0x100), 0x2028, 0x2029, 0xFEFF, 0xFFFF, 0x1F600]:
        expected = short.get(code, f"\\u{code:04x}" if code < 0x20 else chr(code))
        assert canonical(chr(code)) == f'"{expected}"'


def test_keys_are_sorted_as_in_section_3_2_3() -> None:
    value = {
        "\u20ac": "Euro Sign",
        "\r": "Carriage Return",
        "\ufb33": "Hebrew Letter Dalet With Dagesh",
        "1": "One",
        "\U0001f600": "Emoji: Grinning Face",
        "\u0080": "Control",
        "\u00f6": "Latin Small Letter O With Diaeresis",
    }
    assert list(cast(dict[str, str], parse(canonical(value))).values()) == [
        "Carriage Return",
        "One",
        "Control",
        "Latin Small Letter O With Diaeresis",
        "Euro Sign",
        "Emoji: Grinning Face",
        "Hebrew Letter Dalet With Dagesh",
    ]


@given(values)
def test_another_implementation_writes_the_same_bytes(value: JsonValue) -> None:
    assert canonical(value).encode() == rfc8785.dumps(value)


@given(values)
def test_reading_and_writing_a_canonical_text_gives_it_again(value: JsonValue) -> None:
    text = canonical(value)
    assert canonical(parse(text)) == text


@given(numbers)
def test_a_float_that_is_written_is_read_as_the_same_number(number: float) -> None:
    assert parse(canonical(number)) == number


class Colour(StrEnum):
    RED = "red"


class Shouted(str):
    def __str__(self) -> str:
        return self.upper()


class Level(IntEnum):
    HIGH = 3


class Ratio(float):
    def __repr__(self) -> str:
        return "a ratio"


class Point(NamedTuple):
    x: int
    y: int


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Colour.RED, '"red"'),
        (Shouted("hearts"), '"hearts"'),
        ({Colour.RED: 1}, '{"red":1}'),
        (Level.HIGH, "3"),
        (Ratio(0.5), "0.5"),
        ((1, (2,)), "[1,[2]]"),
        (Point(1, 2), "[1,2]"),
        (OrderedDict(b=1, a=2), '{"a":2,"b":1}'),
        (MappingProxyType({"b": [True], "a": None}), '{"a":null,"b":[true]}'),
        ([True, False, None, 1, 0], "[true,false,null,1,0]"),
        ([[], {}], "[[],{}]"),
    ],
)
def test_a_subclass_counts_as_what_it_extends(value: JsonValue, text: str) -> None:
    assert canonical(value) == text


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            {"lines": [1, 2, 3, {"amount": float("nan")}]},
            "$.lines[3].amount: NaN has no JSON form",
        ),
        (
            [0, {"a": MAX_INTEGER + 1}],
            "$[1].a: an integer beyond 2**53 - 1 is not exact in JSON; write it as a string",
        ),
        (
            (-MAX_INTEGER - 1,),
            "$[0]: an integer beyond 2**53 - 1 is not exact in JSON; write it as a string",
        ),
        ([10**5000], "$[0]: an integer beyond 2**53 - 1 is not exact in JSON; write it as a string"),
        ({"a": {"b": "\ud800"}}, "$.a.b: an unpaired surrogate has no UTF-8 form"),
        ("\ude00\ud83d", "$: an unpaired surrogate has no UTF-8 form"),
        ({"a": [{"\ud800": 1}]}, '$.a[0]: the key "\\ud800" has an unpaired surrogate'),
        ({"a": {"b": 1, 2: 3}}, "$.a: the keys of an object are strings, not int"),
        ({None: 1}, "$: the keys of an object are strings, not NoneType"),
        ({"price": Decimal("1.5")}, "$.price: Decimal has no JSON form"),
        ([b"bytes"], "$[0]: bytes has no JSON form"),
        ({"a": {1, 2}}, "$.a: set has no JSON form"),
        (range(3), "$: range has no JSON form"),
        ({"two words": [object()]}, '$["two words"][0]: object has no JSON form'),
        ({"é": object()}, '$["\\u00e9"]: object has no JSON form'),
        (MappingProxyType({"a": (object(),)}), "$.a[0]: object has no JSON form"),
    ],
)
def test_what_has_no_canonical_form_is_refused_with_its_path(value: object, message: str) -> None:
    assert refusal(value) == message


def test_nesting_up_to_the_limit_is_accepted() -> None:
    assert canonical(nested(MAX_DEPTH)).count("1") == 1


def test_nesting_beyond_the_limit_is_refused_at_the_level_that_is_too_deep() -> None:
    path, _, reason = refusal(nested(MAX_DEPTH + 1)).partition(": ")
    assert path == "$" + ".a[0]" * (MAX_DEPTH // 2)
    assert reason == f"arrays and objects are nested deeper than {MAX_DEPTH}"


def test_a_very_deep_value_is_refused_without_exhausting_the_stack() -> None:
    assert refusal(nested(100_000)).endswith("nested deeper than 100")


def test_a_value_that_holds_itself_is_refused() -> None:
    endless: list[object] = [0]
    endless.extend([endless, endless])
    assert refusal(endless).startswith("$[1][1][1]")


@given(values, st.text(st.sampled_from(" \n\t"), max_size=2))
def test_a_text_with_spaces_or_escapes_is_read_as_the_same_value(value: JsonValue, indent: str) -> None:
    assert canonical(parse(json.dumps(value, indent=indent))) == canonical(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a":1,"b":{"c":1,"c":1}}', 'the key "c" appears 2 times in one object'),
        ('{"a":1,"\\u0061":1}', 'the key "a" appears 2 times in one object'),
        ("[NaN]", "NaN has no JSON form"),
        ("-Infinity", "-Infinity has no JSON form"),
        ("1e400", "the number 1e400 is beyond the range of a binary64"),
        ("9007199254740993", "the integer 9007199254740993 is not exact in JSON; write it as a string"),
        ("-99999999999999999999", "the integer -99999999999999999999 is not exact in JSON; write it as a string"),
        ('["\\ud800"]', "$[0]: an unpaired surrogate has no UTF-8 form"),
        ('["\ud800"]', "$[0]: an unpaired surrogate has no UTF-8 form"),
        ("[1,]", "not JSON: Expecting value: line 1 column 4 (char 3)"),
        ("1 2", "not JSON: Extra data: line 1 column 3 (char 2)"),
        ("", "not JSON: Expecting value: line 1 column 1 (char 0)"),
    ],
)
def test_a_text_that_the_ledger_cannot_hold_is_refused(text: str, message: str) -> None:
    assert reading_refusal(text) == message


def test_a_message_about_a_long_number_is_short() -> None:
    assert reading_refusal("9" * 5000) == f"the number {'9' * 32}... is beyond the range of a binary64"


def test_a_very_deep_text_is_refused_without_exhausting_the_stack() -> None:
    assert reading_refusal("[" * 100_000) == "arrays and objects are nested deeper than 100"


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_a_text_nested_beyond_the_limit_is_refused(opening: str, closing: str) -> None:
    deepest = opening * MAX_DEPTH + "1" + closing * MAX_DEPTH
    assert canonical(parse(deepest)) == deepest
    assert reading_refusal(f"{opening}{deepest}{closing}").endswith("nested deeper than 100")


def test_many_brackets_side_by_side_are_not_deep() -> None:
    assert parse("[" + ",".join(["[]"] * 1000) + "]") == [[]] * 1000


def test_a_wide_text_is_read_without_being_encoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[object] = []
    monkeypatch.setattr("converge_core.ledger.canonical.canonical", encoded.append)
    assert parse('[[{"a":[]}' + ",{}" * MAX_DEPTH + "]]") == [[{"a": []}, *[{}] * MAX_DEPTH]]
    assert encoded == []


@pytest.mark.parametrize("wide", ["[]", '{"a":{}}'])
def test_what_is_too_deep_is_found_among_what_is_wide(wide: str) -> None:
    deepest = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert reading_refusal(f"[{wide},{deepest},{wide}]").endswith("nested deeper than 100")


def test_integral_numbers_are_read_as_integers_while_those_are_exact() -> None:
    read = [parse("9007199254740991"), parse("-9007199254740991"), parse("9007199254740992"), parse("1.0")]
    assert [type(number) for number in read] == [int, int, float, float]


# What no encoder writes: keys in any order and more than once, any spelling of numbers and strings, halves of pairs.
spellings = st.sampled_from(
    [
        *("0", "-0", "1.0", "1e2", "1E400", "9007199254740992", "9007199254740993", "NaN", "null", "true", "tru"),
        *('"a"', '""', '"{["', '"😀"', '"\ud800"', '"\n"'),
        *(r'"\u0061"', r'"\ud800"', r'"\ud83d\ude00"', r'"\/"', r'"\n"'),
    ]
)
names = st.sampled_from(['"a"', '"b"', '"\\u0061"', '"\ue000"', '"😀"', '"\ud800"', "1"])
gaps = st.sampled_from(["", "", "", " "])
texts: st.SearchStrategy[str] = st.recursive(
    spellings,
    lambda inner: (
        st.builds("[{}{}]".format, gaps, st.lists(inner, max_size=3).map(",".join))
        | st.builds("{}{}{}".format, st.just("[" * (MAX_DEPTH - 1)), inner, st.just("]" * (MAX_DEPTH - 1)))
        | st.lists(st.builds("{}{}:{}".format, names, gaps, inner), max_size=3).map(lambda all: f"{{{','.join(all)}}}")
    ),
    max_leaves=6,
)


def value_or_none(read: Callable[[str], JsonValue], text: str) -> list[JsonValue] | None:
    try:
        return [read(text)]
    except CanonicalError:
        return None


@given(texts)
def test_what_is_written_of_a_value_is_its_text_only_if_the_text_is_one_that_parse_reads(text: str) -> None:
    """So that whoever compares the two may read with half the care."""
    value, found = value_or_none(parse, text), value_or_none(parse_to_rewrite, text)
    if value is not None:
        assert repr(found) == repr(value)
    if found is not None and value_or_none(lambda _: canonical(found[0]), text) == [text]:
        assert repr(value) == repr(found)


def test_of_a_key_given_twice_the_last_is_read_to_be_rewritten() -> None:
    assert parse_to_rewrite('{"a":1,"a":2}') == {"a": 2}


@given(values)
def test_a_canonical_text_is_recognised(value: JsonValue) -> None:
    assert is_canonical(canonical(value))


@pytest.mark.parametrize(
    "text",
    [
        '{"b":1,"a":2}',
        "[1, 2]",
        "1.0",
        "-0",
        "1e2",
        "9007199254740993",
        '"\\u0061"',
        '"\\/"',
        '{"a":1,"a":1}',
        "",
        "NaN",
    ],
)
def test_a_text_that_is_not_canonical_is_recognised(text: str) -> None:
    assert not is_canonical(text)
