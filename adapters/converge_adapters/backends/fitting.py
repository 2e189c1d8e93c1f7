"""A value that fits a JSON Schema, made from the words of a text: always the same one for the same text.

No meaning is claimed for it. A choice falls on what the text mentions, if it does, and else on what its hash picks;
strings are stretches of the text, numbers lie within their bounds. What a schema asks for beyond that (a pattern that
no word matches, a condition) may not be met, so whoever makes a value has it checked like any other.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from converge_adapters.backends.structured import listed
from converge_core.ledger.canonical import JsonValue, canonical

_ROOMY = 6
"""So deep, what need not be there is left out: a schema that holds itself comes to an end."""

_DEEPEST = 40
_PHRASE_WORDS = 12
_FINEST = Fraction(1, 10**9)
_WORD = re.compile(r"[^\W_]+(?:['’.-][^\W_]+)*")

_FORMATS: Mapping[str, str] = {
    "date": "2000-01-01",
    "date-time": "2000-01-01T00:00:00Z",
    "duration": "P1D",
    "email": "nobody@example.org",
    "hostname": "example.org",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "time": "00:00:00Z",
    "uri": "https://example.org/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
_SCALARS = ("null", "boolean", "integer", "number", "string")

Schema = Mapping[str, JsonValue]


def fitting(schema: Schema, text: str) -> JsonValue:
    """Return a value made from the words of a text that fits a schema, as far as that can be seen to."""
    words = _WORD.findall(text) or ["nothing"]
    return _Tailor(schema, words, text.casefold(), hashlib.sha256(text.encode()).digest()).value(schema, "$", 0)


@dataclass(frozen=True, slots=True)
class _Tailor:
    root: Schema
    words: Sequence[str]
    text: str
    seed: bytes

    def value(self, schema: JsonValue, place: str, depth: int) -> JsonValue:
        """Return a value for the part of the schema that is at a place."""
        if not isinstance(schema, Mapping) or depth > _DEEPEST:
            return self._phrase(place)
        if "$ref" in schema:
            return self.value(self._target(str(schema["$ref"])), place, depth + 1)
        if "const" in schema:
            return schema["const"]
        if options := listed(schema.get("enum")):
            return self._mentioned(options) or options[self._number(place) % len(options)]
        if parts := listed(schema.get("allOf")):
            return self.value(self._merged(schema, parts), place, depth + 1)
        for keyword in ("anyOf", "oneOf"):
            if options := listed(schema.get(keyword)):
                return self.value(self._option(options, place, depth), place, depth + 1)
        return self._of_type(schema, place, depth)

    def _of_type(self, schema: Schema, place: str, depth: int) -> JsonValue:
        kind = schema.get("type", "object" if "properties" in schema else "string")
        kinds = listed(kind) or (kind,)
        match kinds[0]:
            case "object":
                return self._object(schema, place, depth)
            case "array":
                return self._array(schema, place, depth)
            case "integer":
                return math.ceil(self._amount(schema, place, Fraction(1)))
            case "number":
                amount = self._amount(schema, place, Fraction(1, 100))
                return int(amount) if amount.denominator == 1 else float(amount)
            case "boolean":
                return self._number(place) % 2 == 0
            case "null":
                return None
        return self._string(schema, place)

    def _object(self, schema: Schema, place: str, depth: int) -> JsonValue:
        fields = schema.get("properties")
        fields = fields if isinstance(fields, Mapping) else {}
        required = [str(name) for name in listed(schema.get("required"))]
        wanted = list(dict.fromkeys([*(fields if depth < _ROOMY else ()), *required]))
        return {name: self.value(fields.get(name, {}), f"{place}.{name}", depth + 1) for name in wanted}

    def _array(self, schema: Schema, place: str, depth: int) -> JsonValue:
        first = listed(schema.get("prefixItems"))
        least, most = _whole(schema.get("minItems"), 0), _whole(schema.get("maxItems"), 100)
        size = min(max(least, len(first), 2 if depth < _ROOMY else 0), most)
        parts = [*first, *[schema.get("items", {})] * size][:size]
        items = [self.value(part, f"{place}[{index}]", depth + 1) for index, part in enumerate(parts)]
        if schema.get("uniqueItems") is True:
            items = list({canonical(item): item for item in items}.values())
        return items

    def _amount(self, schema: Schema, place: str, grain: Fraction) -> Fraction:
        """Return a number within its bounds: a multiple of what it is to be one of, or else of the grain."""
        step = _exact(schema.get("multipleOf")) or grain
        lows = [math.ceil(low / step) for low in (_exact(schema.get("minimum")),) if low is not None]
        lows += [math.floor(low / step) + 1 for low in (_exact(schema.get("exclusiveMinimum")),) if low is not None]
        highs = [math.floor(high / step) for high in (_exact(schema.get("maximum")),) if high is not None]
        highs += [math.ceil(high / step) - 1 for high in (_exact(schema.get("exclusiveMaximum")),) if high is not None]
        low = max(lows, default=min([0, *highs]))
        high = min(highs, default=low + 100)
        if high < low and "multipleOf" not in schema and grain > _FINEST:
            return self._amount(schema, place, grain / 10)
        return (low + self._number(place) % max(1, high - low + 1)) * step

    def _string(self, schema: Schema, place: str) -> str:
        least, most = _whole(schema.get("minLength"), 0), _whole(schema.get("maxLength"), 10**6)
        pattern, format = schema.get("pattern"), schema.get("format")
        if isinstance(format, str) and format in _FORMATS:
            return _FORMATS[format]
        phrase = self._phrase(place)
        if isinstance(pattern, str):
            return next((word for word in (phrase, *self.words, *_SAMPLES) if _matches(pattern, word)), phrase)
        while len(phrase) < least:
            phrase = f"{phrase} {phrase}"
        return phrase[: max(most, 0)].rstrip().ljust(min(least, most), ".")

    def _phrase(self, place: str) -> str:
        start = self._number(place) % max(1, len(self.words) - _PHRASE_WORDS + 1)
        return " ".join(self.words[start : start + _PHRASE_WORDS])

    def _number(self, place: str) -> int:
        return int.from_bytes(hashlib.sha256(self.seed + place.encode()).digest()[:6])

    def _mentioned(self, options: Sequence[JsonValue]) -> JsonValue:
        spoken = [option for option in options if isinstance(option, str) and option.casefold() in self.text]
        return max(spoken, key=len, default=None)

    def _option(self, options: Sequence[JsonValue], place: str, depth: int) -> JsonValue:
        """Return one of several schemas: deep down a plain one, as the others may have no end."""
        plain = [each for each in options if isinstance(each, Mapping) and each.get("type") in _SCALARS]
        if depth >= _ROOMY and plain:
            return plain[0]
        some = [each for each in options if not (isinstance(each, Mapping) and each.get("type") == "null")] or options
        return some[self._number(place) % len(some)]

    def _merged(self, schema: Schema, parts: Sequence[JsonValue]) -> JsonValue:
        """Return the schema that says at once what several say, which share no keyword but those of objects."""
        merged: dict[str, JsonValue] = {}
        for part in ({key: value for key, value in schema.items() if key != "allOf"}, *parts):
            known = self._target(str(part["$ref"])) if isinstance(part, Mapping) and "$ref" in part else part
            for key, value in known.items() if isinstance(known, Mapping) else ():
                old = merged.get(key)
                if isinstance(old, Mapping) and isinstance(value, Mapping):
                    value = {**old, **value}
                elif listed(old) and listed(value):
                    value = [*listed(old), *listed(value)]
                merged[key] = value
        return merged

    def _target(self, reference: str) -> JsonValue:
        """Return what a reference into the schema leads to; one that leads elsewhere asks for anything."""
        found: JsonValue = self.root
        for step in reference.removeprefix("#").split("/")[1:]:
            if not isinstance(found, Mapping):
                return {}
            found = found.get(step.replace("~1", "/").replace("~0", "~"), {})
        return found if reference.startswith("#") else {}


_SAMPLES = ("a", "A", "0", "1", "a1", "A1", "abc", "ABC", "100", "2000-01-01", "a-b", "a_b", "item-1", "no@example.org")


def _matches(pattern: str, text: str) -> bool:
    try:
        return re.search(pattern, text) is not None
    except re.error:
        return False


def _whole(value: JsonValue, default: int) -> int:
    return value if isinstance(value, int) else default


def _exact(value: JsonValue) -> Fraction | None:
    """Return a number as it is written."""
    return Fraction(str(value)) if isinstance(value, int | float) else None
