from __future__ import annotations

from dataclasses import replace
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel, Field

from converge_adapters.backends.config import OfflineConfig
from converge_adapters.backends.fitting import fitting
from converge_adapters.backends.offline import Kind, OfflineBackend
from converge_adapters.backends.structured import shape_of
from converge_core.ledger.canonical import canonical
from converge_core.llm.backend import BackendBudgets, BackendRequest, BackendResponse, Message, MessageRole
from converge_core.llm.capability import BackendCapability
from converge_core.llm.errors import Truncated
from converge_core.llm.profiles import CostClass
from converge_core.suggestors.contract import Replayability

SAID = "A pump has failed twice\nsince Monday, and the   error log names the valve."
ASK = BackendRequest("intent", (Message(MessageRole.SYSTEM, "Be brief."), Message.user(SAID)))


def answer(request: BackendRequest = ASK, kind: Kind = Kind.DREAM) -> BackendResponse:
    """What is answered offline."""
    return anyio.run(OfflineBackend(OfflineConfig().profile_of("o", "offline", "t"), kind).complete, request)


class Cause(BaseModel):
    title: str = Field(min_length=3, max_length=20)
    confidence: float = Field(ge=0, le=1)
    severity: int = Field(gt=2, lt=5)
    part: str = Field(pattern="^(pump|motor)$")
    follows: list[Cause] = []


class Triage(BaseModel):
    verdict: str = Field(json_schema_extra={"enum": ["restart", "ignore", "failed"]})
    causes: list[Cause] = Field(min_length=1, max_length=3)
    seen: bool
    note: str | None = None


@pytest.mark.parametrize("kind", Kind)
def test_each_kind_says_back_what_was_said_in_its_own_way(kind: Kind) -> None:
    response = answer(kind=kind)
    assert "“A pump has failed twice since Monday, and the error log names the valve.”" in response.text
    assert [other for other in Kind if answer(kind=other).text == response.text] == [kind]


def test_a_request_says_the_kind_by_its_prompt_version() -> None:
    assert answer(replace(ASK, prompt_version="place")).text == answer(kind=Kind.PLACE).text
    assert answer(replace(ASK, prompt_version="v1"), Kind.NOTE).text == answer(kind=Kind.NOTE).text


def test_no_more_than_ninety_characters_are_said_back() -> None:
    text = answer(replace(ASK, messages=(Message.user("x" * 500),))).text
    assert text.count("x") == 90


def test_what_was_said_is_no_template() -> None:
    assert "{0} {}" in answer(replace(ASK, messages=(Message.user("{0} {}"),))).text


def test_an_answer_is_free_and_the_same_again() -> None:
    first, second = answer(), answer()
    assert first == second
    assert first.replayability is Replayability.DETERMINISTIC
    assert first.usage.cost_microusd == 0
    profile = OfflineConfig().profile_of("o", "offline", "t")
    assert (profile.cost, profile.remote) == (CostClass.FREE, False)
    assert BackendCapability.OFFLINE in profile.capabilities


def test_an_answer_that_is_longer_than_allowed_is_cut() -> None:
    with pytest.raises(Truncated):
        answer(replace(ASK, budgets=BackendBudgets(max_tokens=3)))


def test_a_request_with_a_shape_gets_a_value_that_fits_made_of_its_words() -> None:
    response = answer(replace(ASK, contracts=(shape_of(Triage),)))
    assert response.contract_report.all_passed, response.contract_report
    triage = Triage.model_validate_json(response.text)
    assert triage.verdict == "failed"
    assert triage.causes[0].part == "pump"
    assert triage.causes[0].title.split()[0] in SAID
    assert response.text == answer(replace(ASK, contracts=(shape_of(Triage),))).text


def test_other_words_make_another_value() -> None:
    other = replace(ASK, messages=(Message.user("The motor hums and the night is quiet over there"),))
    shaped = [replace(request, contracts=(shape_of(Triage),)) for request in (ASK, other)]
    assert len({answer(request).text for request in shaped}) == 2


SCHEMAS: list[dict[str, Any]] = [
    {},
    {"type": "string"},
    {"type": "string", "minLength": 40},
    {"type": "string", "maxLength": 2},
    {"type": "string", "minLength": 3, "maxLength": 3},
    {"type": "string", "format": "date"},
    {"type": "integer", "minimum": 7, "maximum": 7},
    {"type": "integer", "exclusiveMinimum": -3, "maximum": -1},
    {"type": "integer", "maximum": -5},
    {"type": "number", "minimum": 0.001, "maximum": 0.002},
    {"type": "number", "multipleOf": 0.25, "minimum": 1.1},
    {"type": ["null", "string"]},
    {"type": "array", "items": {"type": "boolean"}, "minItems": 4},
    {"type": "array", "items": {"enum": [1, 2]}, "maxItems": 1},
    {"type": "array", "prefixItems": [{"const": "a"}, {"type": "integer"}], "items": {"type": "null"}},
    {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
    {"type": "object", "required": ["a"], "properties": {"b": {"type": "integer"}}},
    {"enum": [None, 3, "x"]},
    {"const": {"a": [1]}},
    {"anyOf": [{"type": "null"}, {"type": "integer", "minimum": 4}]},
    {"oneOf": [{"type": "string", "maxLength": 2}, {"type": "integer"}]},
    {"allOf": [{"type": "object", "required": ["a"]}, {"properties": {"a": {"type": "integer"}}}]},
    {"$ref": "#/$defs/a", "$defs": {"a": {"type": "object", "required": ["b"], "properties": {"b": {"const": 1}}}}},
    {"$defs": {"t": {"type": "object", "properties": {"next": {"$ref": "#/$defs/t"}}}}, "$ref": "#/$defs/t"},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=canonical)
@given(text=st.text())
def test_a_value_fits_whatever_the_words(schema: dict[str, Any], text: str) -> None:
    value = fitting(schema, text)
    Draft202012Validator(schema).validate(value)
    assert fitting(schema, text) == value
    canonical(value)


def test_a_schema_that_never_ends_ends_here() -> None:
    endless: dict[str, Any] = {"type": "object", "required": ["next"], "properties": {"next": {"$ref": "#"}}}
    canonical(fitting(endless, "on and on"))
