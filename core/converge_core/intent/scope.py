"""The scope of an intent: which things it is about, and so what a proposal may speak of.

Market, geography, product, customer segment: a dimension is whatever name the intent and the payloads share, and its
values are the ones that are allowed. A period of time is a dimension too, with a `TimeWindow` in place of a value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self, cast

from converge_core.context.facts import AnyProposal
from converge_core.errors import MisuseError
from converge_core.ledger.canonical import JsonValue

_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """From ``start`` to ``end``, both included; one of them may be open.

    Dates (``2026-10-31``) and moments in UTC (``2026-10-31T18:00:00Z``, RFC 3339) are times; a date is the whole of its
    day. Raises MisuseError for a bound that is neither, for a window without any, and for one that ends before it
    begins.
    """

    start: str | None = None
    end: str | None = None

    def __post_init__(self) -> None:
        for bound in (self.start, self.end):
            if bound is not None and _day(bound) is None:
                raise MisuseError(f"{bound[:40]!r} is no date (2026-10-31), nor a moment (2026-10-31T18:00:00Z)")
        if self.start is None and self.end is None:
            raise MisuseError("a window of time needs a beginning or an end")
        if self._first > self._last:
            raise MisuseError(f"a window of time cannot end ({self.end}) before it begins ({self.start})")

    @property
    def _first(self) -> str:
        span = _day(self.start or "")
        return "" if span is None else span[0]

    @property
    def _last(self) -> str:
        span = _day(self.end or "")
        return "~" if span is None else span[1]  # after every digit

    def holds(self, time: object) -> bool:
        """Say whether a time lies within the window. What is no time does not."""
        span = _day(time) if isinstance(time, str) else None
        return span is not None and self._first <= span[0] and span[1] <= self._last

    def __str__(self) -> str:
        return f"{self.start or '…'} to {self.end or '…'}"

    def to_json(self) -> dict[str, JsonValue]:
        """Return the window as it stands in an intent."""
        return {name: bound for name, bound in (("from", self.start), ("to", self.end)) if bound is not None}


def _day(text: str) -> tuple[str, str] | None:
    """Return the first and the last second of a date or moment, comparable as texts; None for what is neither."""
    if _DATE.fullmatch(text):
        return f"{text}T00:00:00Z", f"{text}T23:59:59Z"
    return (text, text) if _MOMENT.fullmatch(text) else None


@dataclass(frozen=True, slots=True)
class Scope:
    """A set of ``(dimension, value)`` constraints, such as ``("product", "expenses")``. Empty: everything is in scope.

    A proposal that names a constrained dimension, as a field of its payload or as the kind of its subject, must name
    one of the values that the scope lists for it, or a time within one of its windows. One that does not name the
    dimension is in scope.
    """

    constraints: tuple[tuple[str, str | TimeWindow], ...] = ()

    def allows(self, proposal: AnyProposal) -> bool:
        """Say whether a proposal is in scope."""
        return self.excludes(proposal) is None

    def excludes(self, proposal: AnyProposal) -> str | None:
        """Return why a proposal is out of scope, or None."""
        body = proposal.payload.body()
        for dimension in dict.fromkeys(name for name, _ in self.constraints):
            allowed = [value for name, value in self.constraints if name == dimension]
            named = body.get(dimension) if isinstance(body, Mapping) else None
            if named is None and proposal.subject is not None and proposal.subject.kind == dimension:
                named = proposal.subject.id
            if named is None or named in allowed:
                continue
            if not any(isinstance(value, TimeWindow) and value.holds(named) for value in allowed):
                return f"{dimension} {named!r} is not among {', '.join(sorted(set(map(str, allowed))))}"
        return None

    def to_json(self) -> list[JsonValue]:
        """Return the constraints as they stand in an intent: one single-field object each."""
        return [{name: value.to_json() if isinstance(value, TimeWindow) else value} for name, value in self.constraints]

    @classmethod
    def from_json(cls, value: Iterable[Mapping[str, JsonValue]]) -> Self:
        """Read a scope back from `to_json`."""
        return cls(tuple((name, _constraint(item)) for one in value for name, item in one.items()))


def _constraint(value: JsonValue) -> str | TimeWindow:
    if isinstance(value, Mapping):
        bounds = cast("Mapping[str, str | None]", value)
        return TimeWindow(bounds.get("from"), bounds.get("to"))
    return cast("str", value)
