"""What pydantic finds in an intent, as faults of the file: each with its place, and in words that its author knows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from types import UnionType
from typing import TYPE_CHECKING, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from converge_adapters.documents import Document
from converge_core import Problem

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Steps = tuple[str | int, ...]

_WORDS: Mapping[str, str] = {
    "dict_type": "expected a mapping",
    "model_type": "expected a mapping",
    "model_attributes_type": "expected a mapping",
    "list_type": "expected a list",
    "tuple_type": "expected a list",
}


def faults_of(error: ValidationError, document: Document, base: Steps, model: object, skip: int = 0) -> list[Problem]:
    """Return what is wrong with the value at ``base``, which should have been a ``model``.

    ``skip`` steps of each path inside it are not in the file.
    """
    found = error.errors(include_url=False, include_input=False)
    places = {fault["loc"] for fault in found}
    return [
        document.problem(base + fault["loc"][skip:], _message(fault, model), of_key=fault["type"] == "extra_forbidden")
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
    if fault["type"] == "too_short":
        return f"at least {fault['ctx']['min_length']} expected, found {fault['ctx']['actual_length']}"
    return _WORDS.get(fault["type"], fault["msg"].removeprefix("Value error, "))


def _any_below(loc: Steps, places: Iterable[Steps]) -> bool:
    """Whether a fault lies inside ``loc``: a list is not too short because its members are at fault."""
    return any(len(place) > len(loc) and place[: len(loc)] == loc for place in places)


def _fields(model: object, way: Iterable[str | int]) -> Iterable[str]:
    """Return the names of the fields that the mapping at the end of a way may have."""
    for step in way:
        model = next(iter(get_args(model)), None) if isinstance(step, int) else _by_name(model).get(str(step))
    return _by_name(model)


def _by_name(annotation: object) -> Mapping[str, object]:
    """Return the type of each field of a model, by its name in a file; of a union, those of the model in it."""
    options = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    for option in options:
        if isinstance(option, type) and issubclass(option, BaseModel):
            return {field.alias or name: field.annotation for name, field in option.model_fields.items()}
    return {}
