"""What CEL sees of a fact, and the functions it has beyond the standard."""

from __future__ import annotations

import asyncio
import json
import math
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_core import ContextKey, ContextState, DataPayload, Engine, FactPayload, ProposedFact, TextPayload
from converge_core.context.facts import AnyFact
from converge_core.ledger.canonical import JsonValue
from converge_plugins.rules.cel_values import fact_value, rendered
from converge_plugins.rules.expressions import Bindings, CelEvaluationError, CelExpression

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3),
    max_leaves=10,
)


class Words(FactPayload):
    """A payload whose body is no object."""

    family: ClassVar[str] = "test.words"
    words: tuple[str, ...]

    def body(self) -> JsonValue:
        return self.words

    @classmethod
    def from_text(cls, text: str) -> Words:
        return cls(words=tuple(json.loads(text)))


def promoted(payload: FactPayload) -> AnyFact:
    """The payload as a fact with confidence 1 that cites `source`."""
    proposal = ProposedFact(ContextKey.SEEDS, "s1", payload, provenance="import", evidence=["https://source"])
    result = asyncio.run(Engine().run(ContextState().add_proposal(proposal)))
    return result.context.get(ContextKey.SEEDS)[0]


def value_of(text: str, **names: object) -> object:
    bindings = Bindings()
    for name, value in names.items():
        bindings.bind(name, value)
    return CelExpression(text).evaluate(bindings)


def numbers_in(value: object) -> list[object]:
    match value:
        case dict():
            return [number for item in value.values() for number in numbers_in(item)]
        case list():
            return [number for item in value for number in numbers_in(item)]
        case bool():
            return []
        case int() | float():
            return [value]
        case _:
            return []


def test_the_fields_of_a_payload_are_fields_of_the_fact() -> None:
    fact = promoted(DataPayload(data={"amount": 12.5, "claim no": "c1", "lines": [{"n": "x"}]}))
    assert value_of("fact.amount", fact=fact_value(fact)) == 12.5
    assert value_of("fact['claim no']", fact=fact_value(fact)) == "c1"
    assert value_of("fact.lines[0].n", fact=fact_value(fact)) == "x"


def test_a_fact_shows_its_own_metadata() -> None:
    value = fact_value(promoted(TextPayload(text="hello")))
    assert value == {
        "text": "hello",
        "payload": {"text": "hello"},
        "id": "s1",
        "key": "seeds",
        "confidence": 1.0,
        "proposer": "input",
        "provenance": "import",
        "evidence": ("https://source",),
    }


def test_metadata_wins_over_a_field_of_the_same_name_which_stays_in_reach() -> None:
    value = fact_value(promoted(DataPayload(data={"id": "theirs", "payload": "theirs too"})))
    assert value["id"] == "s1"
    assert value["payload"] == {"id": "theirs", "payload": "theirs too"}


def test_a_payload_that_is_no_object_is_under_payload_alone() -> None:
    value = fact_value(promoted(Words(words=("a", "b"))))
    assert value["payload"] == ["a", "b"]
    assert "words" not in value


@given(VALUES)
def test_every_number_of_a_fact_is_a_double(value: JsonValue) -> None:
    seen = fact_value(promoted(DataPayload(data={"field": value})))
    payload = seen["payload"]
    assert payload == {"field": value}
    assert all(type(number) is float for number in [*numbers_in(payload), seen["confidence"]])


def test_a_boolean_of_a_fact_stays_a_boolean() -> None:
    fact = promoted(DataPayload(data={"ok": True}))
    assert value_of("fact.ok ? 'yes' : 'no'", fact=fact_value(fact)) == "yes"


@pytest.mark.parametrize("amount", [2, 2.5])
def test_adding_an_int_to_a_number_of_a_fact_fails_whatever_the_number(amount: float) -> None:
    fact = promoted(DataPayload(data={"n": amount}))
    with pytest.raises(CelEvaluationError, match=r"write 2\.0"):
        value_of("fact.n + 1", fact=fact_value(fact))
    assert value_of("fact.n + 1.0", fact=fact_value(fact)) == amount + 1.0


@pytest.mark.parametrize("literal", ["500", "500.0"])
def test_a_number_of_a_fact_compares_with_an_int_as_with_a_double(literal: str) -> None:
    fact = fact_value(promoted(DataPayload(data={"n": 501})))
    assert value_of(f"fact.n > {literal}", fact=fact) is True
    assert value_of(f"fact.n == {literal}", fact=fact) is False


@given(st.lists(st.floats(-1e9, 1e9)))
def test_a_sum_does_not_depend_on_the_order_of_its_terms(numbers: list[float]) -> None:
    assert value_of("sum(x)", x=numbers) == value_of("sum(x)", x=sorted(numbers)) == math.fsum(numbers)


@pytest.mark.parametrize("numbers", [[], [1], [1, 2.5]])
def test_a_sum_is_a_double_also_of_nothing(numbers: list[float]) -> None:
    assert type(value_of("sum(x)", x=numbers)) is float


def test_a_sum_may_be_written_as_a_method() -> None:
    assert value_of("[1.5, 2.0].sum()") == 3.5


@pytest.mark.parametrize("text", ["sum(['1'])", "sum([true])", "sum([null])", "round('1', 2)", "round(true, 2)"])
def test_what_is_not_a_number_is_not_calculated_with(text: str) -> None:
    with pytest.raises(CelEvaluationError, match="is not a number"):
        value_of(text)


def test_unique_keeps_the_first_of_equal_values_in_order() -> None:
    assert value_of("unique(['b', 'a', 'b', {'n': 1}, {'n': 1.0}, 1, true])") == ["b", "a", {"n": 1}, 1, True]


def test_unique_refuses_what_it_cannot_compare() -> None:
    with pytest.raises(CelEvaluationError, match="compares JSON values"):
        value_of("unique([timestamp('2026-10-01T00:00:00Z')])")


@pytest.mark.parametrize(
    ("text", "rounded"),
    [("round(2.345, 1)", 2.3), ("round(1234.5, -2)", 1200.0), ("round(0.5, 0)", 0.0), ("round(7, 2)", 7.0)],
)
def test_round_gives_a_double_with_so_many_digits(text: str, rounded: float) -> None:
    value = value_of(text)
    assert value == rounded
    assert type(value) is float


def test_the_digits_may_come_from_a_fact() -> None:
    fact = fact_value(promoted(DataPayload(data={"digits": 1})))
    assert value_of("round(0.25, fact.digits)", fact=fact) == 0.2


@pytest.mark.parametrize("digits", ["1.5", "309", "1.0/0.0"])
def test_round_takes_a_whole_number_of_digits(digits: str) -> None:
    with pytest.raises(CelEvaluationError, match=r"whole number of digits|no JSON form"):
        value_of(f"round(1.0, {digits})")


@pytest.mark.parametrize(
    ("value", "text"),
    [("as it is", "as it is"), (2.0, "2"), (-0.0, "0"), (0.5, "0.5"), (1e21, "1e+21"), (7, "7"), (True, "true")],
)
def test_a_value_in_a_text_is_written_as_json_writes_it(value: object, text: str) -> None:
    assert rendered(value) == text


@pytest.mark.parametrize(("value", "name"), [(None, "null"), ([1], "a list"), ({"a": 1}, "a map"), (b"", "bytes")])
def test_a_value_that_is_no_scalar_has_no_text(value: object, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} cannot stand in a text"):
        rendered(value)


def test_a_number_without_json_form_has_no_text() -> None:
    with pytest.raises(ValueError, match="Infinity"):
        rendered(math.inf)
