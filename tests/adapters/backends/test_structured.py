from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from converge_adapters.backends.structured import check, is_closed, require_schema, shape_of, unfenced
from converge_core.ledger.canonical import JsonValue
from converge_core.llm.backend import BackendRequest, ContractReport, ContractSpec, Message
from converge_core.llm.errors import InvalidRequest


class Claim(BaseModel):
    amount: int = Field(ge=0)
    note: str | None = None


class Claims(BaseModel):
    claims: list[Claim]


ASK = BackendRequest("intent", (Message.user("hello"),))


def diagnostics(schema: dict[str, Any], text: str) -> str:
    """What is found wrong with an answer."""
    _, report = check(replace(ASK, contracts=(ContractSpec("shape", schema),)), text)
    [result] = report.results
    assert result.passed == (not result.diagnostics)
    return result.diagnostics


def test_an_answer_that_fits_a_model_is_kept_and_frozen() -> None:
    output, report = check(replace(ASK, contracts=(shape_of(Claims),)), '{"claims": [{"amount": 5.0}]}')
    assert output == {"claims": ({"amount": 5},)}
    assert report.all_passed
    assert [result.name for result in report.results] == ["Claims"]


def test_without_a_shape_there_is_nothing_to_check() -> None:
    assert check(replace(ASK, contracts=(ContractSpec("kind"),)), "hello") == (None, ContractReport())


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('{"claims": [{"amount": 1}, {"amount": -1}]}', "$.claims[1].amount: must be at least 0"),
        ('{"claims": [{"note": "x"}]}', "$.claims[0].amount: is missing"),
        ('{"claims": [{"amount": "1"}]}', '$.claims[0].amount: must be of type "integer"'),
        ('{"claims": [{"amount": 1, "note": 7}]}', "$.claims[0].note: fits none of its forms"),
        ("[]", '$: must be of type "object"'),
        ("", "$: not JSON: Expecting value: line 1 column 1 (char 0)"),
        ('{"claims": NaN}', "NaN"),
        ('{"claims": [], "claims": []}', "claims"),
    ],
)
def test_a_fault_names_its_field(answer: str, expected: str) -> None:
    assert expected in diagnostics(Claims.model_json_schema(), answer)


def test_a_field_that_is_unknown_is_named() -> None:
    schema = {"type": "object", "properties": {"a": {}}, "additionalProperties": False}
    assert diagnostics(schema, '{"b c": 1, "a": 2}') == '$["b c"]: is not a field here'


def test_faults_do_not_repeat_the_answer() -> None:
    schema = {"type": "object", "properties": {"a": {"enum": ["x", "y"]}, "b": {"maxLength": 3}}}
    found = diagnostics(schema, '{"a": "the secret", "b": "the secret"}')
    assert found == '$.a: must be one of ["x", "y"]; $.b: must have at most 3 characters'


def test_only_the_first_faults_are_told_and_the_others_counted() -> None:
    found = diagnostics({"items": {"type": "integer"}}, '["a","b","c","d","e","f","g"]')
    assert found.count("must be of type") == 5
    assert found.endswith("and 2 more")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # it is what the library says when it fetches something
def test_a_schema_fetches_nothing(tmp_path: Path) -> None:
    elsewhere = tmp_path / "schema.json"
    elsewhere.write_text('{"type": "integer"}')
    assert "refers to what it does not hold" in diagnostics({"$ref": elsewhere.as_uri()}, "1")


def test_a_schema_without_end_is_no_crash() -> None:
    assert "without end" in diagnostics({"$ref": "#"}, "1")


@pytest.mark.parametrize("schema", [{"type": "text"}, {"required": "a"}, {"properties": {"a": 1}}])
def test_a_schema_that_is_none_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match=r"contract 'shape' is not a JSON Schema: \$"):
        require_schema("b", replace(ASK, contracts=(ContractSpec("shape", schema),)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("```json\n{}\n```", "{}"),
        ("  ```\n[1,\n2]\n```\n", "[1,\n2]"),
        ("{}", "{}"),
        ("see ```{}```", "see ```{}```"),
    ],
)
def test_a_fence_around_an_answer_is_taken_off(text: str, expected: str) -> None:
    assert unfenced(text) == expected


@pytest.mark.parametrize(
    ("schema", "closed"),
    [
        (Claims.model_json_schema(), True),
        ({"type": "string"}, True),
        ({}, False),
        ({"type": "object"}, False),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, False),
        ({"type": "array", "items": {}}, False),
        ({"type": ["string", "null"]}, False),
        ({"anyOf": [{"type": "string"}, True]}, False),
        ({"$ref": "#/definitions/a"}, False),
    ],
)
def test_a_schema_is_closed_where_it_says_what_everything_is(schema: JsonValue, closed: bool) -> None:
    assert is_closed(schema) is closed


@given(st.text())
def test_any_text_is_checked_without_a_crash(text: str) -> None:
    diagnostics(Claims.model_json_schema(), text)
