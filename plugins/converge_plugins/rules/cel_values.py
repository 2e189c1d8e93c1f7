"""What CEL sees of a fact, and the functions it has beyond the standard.

A fact is a map. The top-level fields of its payload come first; ``id``, ``key``, ``confidence``, ``proposer``,
``provenance`` and ``evidence`` are the fact's own and win over fields of the same name; the whole payload is also under
``payload``, so nothing of it is ever out of reach: ``fact.amount``, ``fact.payload.id``, ``fact["claim no"]``.

**Every number of a fact is a CEL double.** JSON has one type of number, CEL has three and mixes none of them in
arithmetic. If 2 came as an int and 2.5 as a double, ``fact.n + 1`` would hold until the first fraction arrives; with
doubles it fails on the first fact it meets, and ``fact.n + 1.0`` never does. Comparisons are free of this:
``fact.n > 500`` and ``fact.n > 500.0`` are the same. The functions below keep to it, and give doubles too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from converge_core import CanonicalError, canonical
from converge_core.context.facts import AnyFact
from converge_core.ledger.canonical import JsonValue


def fact_value(fact: AnyFact) -> dict[str, JsonValue]:
    """Return a fact as the map that an expression sees."""
    payload = _with_doubles(fact.payload.body())
    fields = payload if isinstance(payload, Mapping) else {}
    return {
        **fields,
        "payload": payload,
        "id": fact.id,
        "key": fact.key.value,
        "confidence": float(fact.confidence),
        "proposer": fact.proposer,
        "provenance": fact.provenance,
        "evidence": fact.evidence,
    }


def fact_values(facts: Iterable[AnyFact]) -> list[JsonValue]:
    """Return facts as the list that an expression sees under the name of their key."""
    return [fact_value(fact) for fact in facts]


def rendered(value: object) -> str:
    """Return a CEL value as it stands in a text: ``2.0`` is ``2``, ``true`` is ``true``, a string is itself.

    Raises ValueError for null, for lists and maps, and for numbers that JSON cannot say.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return canonical(value)
    raise ValueError(f"{type_name(value)} cannot stand in a text")


def type_name(value: object) -> str:
    """Return what a CEL value is, in the words of CEL."""
    return _TYPE_NAMES.get(type(value), type(value).__name__)


_TYPE_NAMES = {
    type(None): "null",
    bool: "a bool",
    int: "an int",
    float: "a double",
    str: "a string",
    list: "a list",
    dict: "a map",
}


def _with_doubles(value: JsonValue) -> JsonValue:
    if type(value) is int:
        return float(value)
    if isinstance(value, Mapping):
        return {name: _with_doubles(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_doubles(item) for item in value]
    return value


def _sum(numbers: Sequence[object]) -> float:
    """``sum(list)``: the sum of the numbers as a double, correctly rounded whatever their order; 0.0 of none."""
    return math.fsum(_number(number) for number in numbers)


def _unique(values: Sequence[JsonValue]) -> list[JsonValue]:
    """``unique(list)``: the list with the first of equal values each, in the same order."""
    first: dict[str, JsonValue] = {}
    for value in values:
        try:
            first.setdefault(canonical(value), value)
        except CanonicalError as error:
            raise ValueError(f"unique() compares JSON values: {error}") from None
    return list(first.values())


def _round(number: object, digits: object) -> float:
    """``round(x, digits)``: a double; ties go to the even digit. ``digits`` may be negative."""
    places = _number(digits)
    if not places.is_integer() or abs(places) > 308:
        raise ValueError(f"round() takes a whole number of digits, not {rendered(digits)}")
    return round(_number(number), int(places))


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{type_name(value)} is not a number")
    return float(value)


FUNCTIONS: Mapping[str, Callable[..., object]] = {"sum": _sum, "unique": _unique, "round": _round}
"""The functions of every expression, besides those of CEL itself. ``sum(x)`` and ``x.sum()`` are the same."""
