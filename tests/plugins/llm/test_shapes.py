from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel, field_validator

from converge_core import DataPayload, FactPayload, IntentError, TextPayload
from converge_plugins.llm.shapes import Shape, WrongAnswer, shape_of
from tests.plugins.llm.stage import answer, nowhere


class Cause(FactPayload):
    family: ClassVar[str] = "tests.cause"
    cause: str

    @field_validator("cause")
    @classmethod
    def _lower(cls, cause: str) -> str:
        if cause.isupper():
            raise ValueError("do not shout")
        return cause


class Plain(BaseModel):
    cause: str


class Nested(BaseModel):
    causes: list[Plain]


def shape(output: Any, many: int | None = None, found: Mapping[str, Any] = {}) -> Shape:
    def load(reference: str) -> Any:
        return found[reference] if reference in found else nowhere(reference)

    return shape_of(output, many, load)


def schema(output: Any, many: int | None = None, found: Mapping[str, Any] = {}) -> Any:
    (contract,) = shape(output, many, found).contracts
    return contract.schema


def test_every_field_is_required_and_no_other_is_allowed() -> None:
    assert schema({"cause": "string", "sure": "number"}) == {
        "additionalProperties": False,
        "properties": {"cause": {"type": "string"}, "sure": {"type": "number"}},
        "required": ("cause", "sure"),
        "type": "object",
    }


def test_a_list_in_brackets_is_a_list_of_that_type() -> None:
    assert schema({"hosts": ["string"]})["properties"]["hosts"] == {"items": {"type": "string"}, "type": "array"}


def test_a_field_may_be_a_json_schema_whose_objects_are_closed() -> None:
    inner = {"type": "object", "properties": {"a": {"type": "object", "properties": {"b": {"type": "string"}}}}}
    field = schema({"it": inner})["properties"]["it"]
    assert field["additionalProperties"] is False
    assert field["properties"]["a"]["additionalProperties"] is False


def test_many_outputs_are_a_list_of_bounded_length() -> None:
    items = schema({"cause": "string"}, 3)["properties"]["items"]
    assert (items["type"], items["maxItems"]) == ("array", 3)


def test_a_pydantic_model_is_a_shape_and_closed_throughout() -> None:
    closed = schema("m:Nested", found={"m:Nested": Nested})
    assert closed["additionalProperties"] is False
    assert closed["$defs"]["Plain"]["additionalProperties"] is False


def test_without_an_output_an_answer_is_a_text() -> None:
    assert shape(None).contracts == ()
    (said,) = shape(None).read(answer("words"))
    assert said.payload == TextPayload(text="words")


def test_an_output_becomes_a_json_object() -> None:
    (said,) = shape({"cause": "string"}).read(answer({"cause": "fire"}))
    assert said.payload == DataPayload(data={"cause": "fire"})


def test_many_outputs_become_as_many_facts() -> None:
    said = shape({"cause": "string"}, 2).read(answer({"items": [{"cause": "fire"}, {"cause": "water"}]}))
    assert [one.fields["cause"] for one in said] == ["fire", "water"]


def test_a_payload_class_of_ones_own_is_what_the_fact_has() -> None:
    made = shape("m:Cause", found={"m:Cause": Cause})
    (said,) = made.read(answer({"cause": "fire"}))
    assert said.payload == Cause(cause="fire")
    assert made.payloads == (Cause,)


def test_another_pydantic_model_becomes_json() -> None:
    made = shape("m:Plain", found={"m:Plain": Plain})
    (said,) = made.read(answer({"cause": "fire"}))
    assert said.payload == DataPayload(data={"cause": "fire"})
    assert made.payloads == ()


def test_an_answer_that_a_validator_refuses_names_the_field() -> None:
    with pytest.raises(WrongAnswer, match=r"^cause: Value error, do not shout$"):
        shape("m:Cause", found={"m:Cause": Cause}).read(answer({"cause": "FIRE"}))


@pytest.mark.parametrize(
    ("output", "many", "path", "message"),
    [
        ({}, None, "output", "at least one field"),
        ({"a": "text"}, None, "output.a", "a type is string, number, integer, boolean"),
        ({"a": ["string", "number"]}, None, "output.a", "a type is"),
        ({"a": None}, None, "output.a", "a type is"),
        ("m:Nowhere", None, "output", "there is no m:Nowhere"),
        ("m:len", None, "output", "is no pydantic model"),
        (None, 3, "many", "say what each is"),
    ],
)
def test_an_output_that_says_nothing_is_a_fault_of_the_intent(
    output: Any, many: int | None, path: str, message: str
) -> None:
    with pytest.raises(IntentError) as error:
        shape(output, many, found={"m:len": len})
    (problem,) = error.value.problems
    assert problem.path == path
    assert message in problem.message
