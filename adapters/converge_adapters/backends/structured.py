"""Whether an answer keeps its contracts: the one check, whoever answered.

A contract with a schema wants JSON that keeps it (JSON Schema, Draft 2020-12). The faults say where they are
(``$.claims[0].amount: must be at least 0``) and repeat nothing of the answer but the names of its fields: it may quote
the prompt. A contract without a schema is none that can be checked here, and is not reported on.

A schema is data. Its references lead nowhere but into itself: nothing is fetched.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from converge_core.context.payloads import freeze
from converge_core.errors import CanonicalError
from converge_core.ledger.canonical import JsonValue, canonical, parse
from converge_core.llm.backend import BackendRequest, ContractReport, ContractResult, ContractSpec
from converge_core.llm.errors import InvalidRequest

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError
    from jsonschema.protocols import Validator
    from pydantic import BaseModel

MOST_FAULTS = 5
"""So many faults are told of an answer; the next attempt is not helped by more."""

_LONGEST = 80
_FENCED = re.compile(r"\s*```[a-zA-Z]*\n(.*)\n\s*```\s*", re.S)
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_PHRASES: Mapping[str, str] = {
    "anyOf": "fits none of its forms",
    "const": "must be {}",
    "enum": "must be one of {}",
    "exclusiveMaximum": "must be below {}",
    "exclusiveMinimum": "must be above {}",
    "maxItems": "must have at most {} items",
    "maxLength": "must have at most {} characters",
    "maximum": "must be at most {}",
    "minItems": "must have at least {} items",
    "minLength": "must have at least {} characters",
    "minimum": "must be at least {}",
    "multipleOf": "must be a multiple of {}",
    "oneOf": "must fit exactly one of its forms",
    "pattern": "must match {}",
    "type": "must be of type {}",
    "uniqueItems": "must not have an item twice",
}


def shape_of(model: type[BaseModel], name: str | None = None, *, required: bool = True) -> ContractSpec:
    """Return the contract that an answer fits a pydantic model; its name is the model's, if no other is given."""
    return ContractSpec(name or model.__name__, model.model_json_schema(), required)


def schema_of(contract: ContractSpec) -> dict[str, Any]:
    """Return the schema of a contract that has one, as plain dicts and lists."""
    return cast("dict[str, Any]", parse(canonical(contract.schema)))


def instruction(contract: ContractSpec) -> str:
    """Return the words that ask for a shape, for a model that cannot be held to one."""
    return (
        f"Answer with JSON alone, without any words around it. It keeps this JSON Schema:\n{canonical(contract.schema)}"
    )


def require_schema(backend: str, request: BackendRequest) -> None:
    """Raise InvalidRequest, in the name of a backend, where a request wants a shape whose schema is none."""
    if request.shape is None:
        return
    from jsonschema import Draft202012Validator, SchemaError

    try:
        Draft202012Validator.check_schema(schema_of(request.shape))
    except SchemaError as error:
        place, name = _place(error.absolute_path), request.shape.name
        reason = f"the schema of contract {name!r} is not a JSON Schema: {place} breaks {error.validator!r}"
        raise InvalidRequest(backend, reason) from None


def subschemas(schema: JsonValue) -> Iterator[JsonValue]:
    """Yield a schema and the schemas that it is made of."""
    yield schema
    if isinstance(schema, Mapping):
        for keyword in ("properties", "$defs"):
            named = schema.get(keyword)
            for part in named.values() if isinstance(named, Mapping) else ():
                yield from subschemas(part)
        for keyword in ("anyOf", "oneOf", "allOf"):
            for part in listed(schema.get(keyword)):
                yield from subschemas(part)
        if "items" in schema:
            yield from subschemas(schema["items"])


def listed(value: JsonValue) -> Sequence[JsonValue]:
    """Return an array, or an empty one where there is none."""
    return value if isinstance(value, list | tuple) else ()


def is_closed(schema: JsonValue) -> bool:
    """Return whether a provider can hold a model to a schema: it says of everything what it is.

    Objects name all of their fields, nothing has two types, and references lead to ``$defs``.
    """
    return all(map(_is_closed, subschemas(schema)))


def _is_closed(part: JsonValue) -> bool:
    if not isinstance(part, Mapping):
        return False
    if part.get("type") == "object":
        return bool(part.get("properties")) and not part.get("additionalProperties") and "patternProperties" not in part
    if "$ref" in part:
        return str(part["$ref"]).startswith("#/$defs/")
    said = any(keyword in part for keyword in ("type", "enum", "const", "anyOf", "oneOf", "allOf"))
    return said and isinstance(part.get("type", ""), str)


def unfenced(text: str) -> str:
    """Return what stands in the one code fence that a text consists of, or else the text itself."""
    fenced = _FENCED.fullmatch(text)
    return text if fenced is None else fenced[1]


def check(request: BackendRequest, text: str) -> tuple[JsonValue, ContractReport]:
    """Return what an answer says, where it is to be JSON, and how it keeps the contracts of its request.

    An answer that is no JSON says nothing (None). One that breaks its schema says what it says.
    """
    if request.shape is None:
        return None, ContractReport()
    try:
        output = parse(text)
    except CanonicalError as error:
        return None, _report(request.shape, [f"$: {error}"])
    faults = sorted(set(_faults(schema_of(request.shape), output)))
    return freeze(output), _report(request.shape, faults)


def _report(contract: ContractSpec, faults: Sequence[str]) -> ContractReport:
    more = len(faults) - MOST_FAULTS
    told = [*faults[:MOST_FAULTS], *([f"and {more} more"] if more > 0 else [])]
    return ContractReport((ContractResult(contract.name, not faults, "; ".join(told)),))


def _faults(schema: dict[str, Any], value: JsonValue) -> Iterator[str]:
    from jsonschema import Draft202012Validator
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    # The stubs do not tell a registry of schemas from one of anything.
    make = cast("Callable[..., Validator]", Draft202012Validator)
    validator = make(schema, registry=Registry())
    try:
        for error in validator.iter_errors(value):
            yield from _told(error)
    except Unresolvable:
        yield "$: cannot be checked, as the schema refers to what it does not hold"
    except RecursionError:
        yield "$: cannot be checked, as the schema refers to itself without end"


def _told(error: ValidationError) -> Iterator[str]:
    """Yield what one error of the library says, in our words; of a choice, what the nearest alternative lacks."""
    from jsonschema.exceptions import best_match

    if error.context:
        error = best_match([error]) or error
    path, wanted, instance = list(error.absolute_path), error.validator_value, error.instance
    match error.validator:
        case "required" if isinstance(instance, Mapping) and isinstance(wanted, Iterable):
            yield from (f"{_place([*path, name])}: is missing" for name in wanted if name not in instance)
        case "additionalProperties" if wanted is False and isinstance(instance, Mapping):
            known = cast("Mapping[str, Any]", error.schema).get("properties", {})
            yield from (f"{_place([*path, name])}: is not a field here" for name in instance if name not in known)
        case str(keyword):
            phrase = _PHRASES.get(keyword, f"breaks {keyword!r}")
            yield f"{_place(path)}: {phrase.format(_short(json.dumps(wanted, ensure_ascii=False)))}"
        case _:
            yield f"{_place(path)}: is not allowed here"


def _place(path: Iterable[str | int]) -> str:
    return "$" + "".join(_step(step) for step in path)


def _step(step: str | int) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    name = _short(step)
    return f".{name}" if _PLAIN_KEY.fullmatch(name) else f"[{json.dumps(name)}]"


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
