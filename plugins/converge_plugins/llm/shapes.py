"""What an answer looks like: from the ``output`` of a configuration to a JSON Schema, and from an answer to payloads.

``output`` is short for a schema::

    {cause: string, hosts: [string], severity: {enum: [low, high]}, certainty: number}

Every field is required, and no other is allowed, so an answer has nothing that nobody asked for. Or it names a pydantic
model; if that is a payload class of its own, facts have it, and otherwise its JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from converge_core import DataPayload, FactPayload, IntentError, Problem, TextPayload
from converge_core.context.payloads import one_line
from converge_core.ledger.canonical import JsonValue
from converge_core.llm.backend import BackendResponse, ContractSpec

CONTRACT = "answer"
ITEMS = "items"
_TYPES = ("string", "number", "integer", "boolean")


class WrongAnswer(ValueError):
    """An answer that keeps its schema and is none all the same: a validator of the model refuses it."""


@dataclass(frozen=True, slots=True)
class Said:
    """One output of an answer: what it says as a fact, and its fields (none of a text)."""

    payload: FactPayload
    fields: Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Shape:
    """What an answer is to be. ``schema`` is of one output, None for a text; ``many`` is how many there may be."""

    schema: Mapping[str, JsonValue] | None
    many: int | None = None
    model: type[BaseModel] | None = None

    @property
    def payloads(self) -> tuple[type[FactPayload], ...]:
        """The payload classes of one's own that facts will have."""
        return (self.model,) if self.model is not None and issubclass(self.model, FactPayload) else ()

    @property
    def contracts(self) -> tuple[ContractSpec, ...]:
        """The contract of the whole answer."""
        if self.schema is None:
            return ()
        if self.many is None:
            return (ContractSpec(CONTRACT, self.schema),)
        items: JsonValue = {"items": self.schema, "maxItems": self.many, "type": "array"}
        return (ContractSpec(CONTRACT, _object({ITEMS: items})),)

    def read(self, response: BackendResponse) -> list[Said]:
        """Return the outputs of an answer that keeps its contract. Raises WrongAnswer."""
        if self.schema is None:
            return [Said(TextPayload(text=response.text), {})]
        answer: Any = response.output
        outputs = [answer] if self.many is None else answer[ITEMS]
        return [self._said(output) for output in outputs]

    def _said(self, output: Mapping[str, JsonValue]) -> Said:
        if self.model is None:
            return Said(DataPayload(data=dict(output)), output)
        try:
            made = self.model.model_validate(output)
        except ValidationError as error:
            raise WrongAnswer(one_line(error)) from error
        if isinstance(made, FactPayload):
            return Said(made, output)
        return Said(DataPayload(data=made.model_dump(mode="json")), output)


def shape_of(
    output: Mapping[str, Any] | str | None, many: int | None, load: Callable[[str], Callable[..., Any]]
) -> Shape:
    """Return the shape that a configuration asks for. Raises IntentError."""
    if output is None:
        if many is not None:
            raise _fault("many", "a list has outputs: say what each is, with `output`")
        return Shape(None)
    if isinstance(output, Mapping):
        if not output:
            raise _fault("output", "an output has at least one field")
        return Shape(_object({name: _field(name, value) for name, value in output.items()}), many)
    return _shape_of_model(output, many, load)


def _shape_of_model(name: str, many: int | None, load: Callable[[str], Callable[..., Any]]) -> Shape:
    try:
        model: object = load(name)
    except LookupError as error:
        raise _fault("output", str(error.args[0])) from error
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise _fault("output", f"{name} is no pydantic model")
    return Shape(_closed(model.model_json_schema()), many, model)


def _field(name: str, value: object) -> JsonValue:
    if isinstance(value, str) and value in _TYPES:
        return {"type": value}
    if isinstance(value, list) and len(value) == 1:
        return {"items": _field(name, value[0]), "type": "array"}
    if isinstance(value, Mapping):
        return dict(_closed(value))
    raise _fault(f"output.{name}", f"a type is {', '.join(_TYPES)}, a list of one of them, or a JSON Schema")


def _object(properties: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    return {
        "additionalProperties": False,
        "properties": dict(properties),
        "required": list(properties),
        "type": "object",
    }


def _closed(schema: Any) -> Any:
    """Return a schema whose objects allow no fields but their own, wherever they stand."""
    if isinstance(schema, Mapping):
        closed = {name: _closed(value) for name, value in schema.items()}
        if closed.get("type") == "object" and "properties" in closed:
            closed.setdefault("additionalProperties", False)
        return closed
    return [_closed(item) for item in schema] if isinstance(schema, list | tuple) else schema


def _fault(path: str, message: str) -> IntentError:
    return IntentError((Problem(path, message),))
