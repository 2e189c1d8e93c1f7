"""What pydantic finds in an intent, as faults of the file: each with its place, and in words that its author knows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from converge_core import Problem

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from converge_adapters.documents import Document

Steps = tuple[str | int, ...]

_WORDS: Mapping[str, str] = {
    "dict_type": "expected a mapping",
    "model_type": "expected a mapping",
    "model_attributes_type": "expected a mapping",
    "list_type": "expected a list",
    "tuple_type": "expected a list",
    "union_tag_not_found": "a `kind` is needed",
}


def faults_of(
    error: ValidationError, document: Document, base: Steps, model: object, names: Mapping[str, str] | None = None
) -> list[Problem]:
    """Return what is wrong with the value at ``base``, which should have been a ``model``.

    ``names`` are the fields of the model that are called otherwise in the file.
    """
    names = names or {}
    found = error.errors(include_url=False, include_input=False)
    places = {fault["loc"] for fault in found}
    value = _at(document.value, base)
    return [
        document.problem(
            base + tuple(names.get(str(step), step) for step in _without_kinds(fault["loc"], value)),
            _message(fault, model),
            of_key=fault["type"] == "extra_forbidden",
        )
        for fault in found
        if fault["type"] != "too_short" or not _any_below(fault["loc"], places)
    ]


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the known names that a mistyped one may stand for, as the end of a sentence; nothing if there are none."""
    near = get_close_matches(name, list(known), n=2)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


def _message(fault: ErrorDetails, model: object) -> str:
    *way, last = fault["loc"] or ("",)
    if fault["type"] == "extra_forbidden":
        return f"unknown field{nearest(str(last), _fields(model, way))}"
    if fault["type"] == "union_tag_invalid":
        return f"no kind {fault['ctx']['tag']!r}; there are {fault['ctx']['expected_tags']}"
    if fault["type"] == "too_short":
        return f"at least {fault['ctx']['min_length']} expected, found {fault['ctx']['actual_length']}"
    return _WORDS.get(fault["type"], fault["msg"].removeprefix("Value error, "))


def _any_below(loc: Steps, places: Iterable[Steps]) -> bool:
    """Whether a fault lies inside ``loc``: a list is not too short because its members are at fault."""
    return any(len(place) > len(loc) and place[: len(loc)] == loc for place in places)


def _at(value: object, steps: Steps) -> object:
    """Return what stands in the file at the end of some steps, or None."""
    for step in steps:
        if isinstance(value, Mapping):
            value = value.get(step)
        else:
            value = value[step] if isinstance(value, list) and isinstance(step, int) and step < len(value) else None
    return value


def _without_kinds(loc: Steps, value: object) -> Steps:
    """Leave out the steps that only say which kind of mapping was expected: they are not in the file."""
    steps: list[str | int] = []
    for step in loc:
        if isinstance(value, Mapping) and step not in value and step == value.get("kind"):
            continue
        steps.append(step)
        value = _at(value, (step,))
    return tuple(steps)


def _fields(model: object, way: Iterable[str | int]) -> Iterable[str]:
    """Return the names of the fields that the mapping at the end of a way may have."""
    for step in way:
        if isinstance(step, int):
            model = next(iter(get_args(model)), None)
        else:
            model = _of_kind(model, step) or _by_name(model).get(step)
    return _by_name(model)


def _by_name(annotation: object) -> Mapping[str, object]:
    """Return the type of each field of a model, by its name in a file; of a union, those of the model in it."""
    for option in _models(annotation):
        return {field.alias or name: field.annotation for name, field in option.model_fields.items()}
    return {}


def _of_kind(annotation: object, kind: str) -> type[BaseModel] | None:
    """Return the model of this kind in a union, if there is one."""
    fields = ((option, option.model_fields.get("kind")) for option in _models(annotation))
    return next((option for option, field in fields if field is not None and field.default == kind), None)


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    """Yield the models that an annotation allows."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Annotated, Union, UnionType):
        for option in get_args(annotation):
            yield from _models(option)
