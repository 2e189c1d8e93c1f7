"""Canonical JSON: RFC 8785, the JSON Canonicalization Scheme (JCS).

One value, one text; one text, one hash: everything in the ledger rests on this. Members are sorted by the
UTF-16 code units of their keys, there is no white space, and numbers are written as ECMAScript writes a
binary64. What has no such text is refused, never rounded, coerced or dropped.

Every fact passes through here, so the encoder is built for speed: the exact type of a value picks its
function from a table, the standard library's C function quotes the strings, and one look at the finished
text finds unpaired surrogates. Nothing keeps track of where it is; when a value is refused, ``_locate`` walks
down to the fault by encoding again ever smaller parts of it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from json import JSONDecodeError, JSONDecoder
from json.encoder import encode_basestring as _quote
from json.encoder import encode_basestring_ascii as _quote_ascii
from typing import Any, TypeAlias

from converge_core.errors import CanonicalError

# Sequence, because lists are invariant: a list[int] is no list[JsonValue]. At run time an array is a list or tuple.
JsonValue: TypeAlias = bool | int | float | str | Sequence["JsonValue"] | Mapping[str, "JsonValue"] | None

MAX_DEPTH = 100
"""Arrays and objects may be nested this deep: a hostile value must exhaust neither our stack nor a reader's."""

MAX_INTEGER = 2**53 - 1
"""The largest integer whose neighbours a binary64 tells apart (RFC 7493, section 2.2), in absolute value."""

_TOO_DEEP = f"arrays and objects are nested deeper than {MAX_DEPTH}"


def canonical(value: JsonValue) -> str:
    """The RFC 8785 text of ``value``.

    Lists and tuples are arrays, mappings are objects; subclasses (``StrEnum``, ``NamedTuple``) count as what
    they extend. Raises ``CanonicalError``, which names the place (``$.lines[3].amount: NaN has no JSON form``),
    for NaN and infinities, integers beyond ``MAX_INTEGER``, unpaired surrogates, keys that are no strings,
    other types, and nesting beyond ``MAX_DEPTH``.
    """
    try:
        return _encode(value, MAX_DEPTH)
    except CanonicalError as error:
        raise CanonicalError(_locate(value, "$", MAX_DEPTH, str(error))) from None


def parse(text: str) -> JsonValue:
    """The value of a JSON text. What it returns has a canonical form; the text itself need not be canonical.

    Raises ``CanonicalError`` for what is not JSON (NaN and Infinity too), a key given twice in one object, an
    unpaired surrogate, nesting beyond ``MAX_DEPTH``, and a number that a binary64 cannot hold. An integer beyond
    ``MAX_INTEGER`` is read as the float whose canonical text it is, and refused if it is nobody's.
    """
    value = _decoded(_DECODER, text)
    if _deserves_a_second_look(text, value):
        canonical(value)
    return value


def parse_to_rewrite(text: str) -> JsonValue:
    """The value of a JSON text that will be compared with what is written of the value: half the work of `parse`.

    What has no canonical form then shows, and so does a key given twice, of which the last is read. Raises
    ``CanonicalError`` for what is not JSON, and for numbers as `parse` does.
    """
    return _decoded(_TRUSTING_DECODER, text)


def _decoded(decoder: JSONDecoder, text: str) -> JsonValue:
    try:
        value: JsonValue = decoder.decode(text)
    except JSONDecodeError as error:
        raise CanonicalError(f"not JSON: {error}") from None
    except RecursionError:
        raise CanonicalError(_TOO_DEEP) from None
    return value


quote = _quote
"""The canonical text of a string that is known to be well-formed Unicode, such as a checked id. Checks nothing."""


def is_canonical(text: str) -> bool:
    """Whether ``text`` is the canonical text of some value."""
    try:
        return canonical(parse_to_rewrite(text)) == text
    except CanonicalError:
        return False


def _encode(value: object, room: int) -> str:
    text = _ENCODERS.get(type(value), _subclass)(value, room)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise CanonicalError("an unpaired surrogate has no UTF-8 form") from None
    return text


# The encoders. ``room`` is how many levels of arrays and objects may still be opened.


def _string(value: str, room: int) -> str:
    return _quote(value)


def _literal(value: bool | None, room: int) -> str:
    return "null" if value is None else "true" if value else "false"


def _integer(value: int, room: int) -> str:
    if -MAX_INTEGER <= value <= MAX_INTEGER:
        return int.__repr__(value)
    raise CanonicalError("an integer beyond 2**53 - 1 is not exact in JSON; write it as a string")


def _float(value: float, room: int) -> str:
    """ECMA-262 Number::toString, from the same shortest digits in Python's spelling."""
    text = float.__repr__(value)
    if text[-2:] == ".0":
        return text[:-2] if value else "0"
    if "e" in text:
        return _exponential(text)
    if "n" in text:
        raise CanonicalError(f"{_NON_FINITE[text]} has no JSON form")
    return text


_NON_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def _exponential(text: str) -> str:
    """Python turns to exponents at 1e16 and below 1e-4, ECMAScript at 1e21 and below 1e-6."""
    mantissa, _, exponent = text.partition("e")
    power = int(exponent)
    if not -7 < power < 21:
        return f"{mantissa}e{power:+d}"
    sign, digits = "-" * mantissa.startswith("-"), mantissa.lstrip("-").replace(".", "")
    return f"{sign}{digits:0<{power + 1}}" if power > 0 else f"{sign}0.{'0' * (-power - 1)}{digits}"


def _array(value: list[object] | tuple[object, ...], room: int) -> str:
    if not room:
        raise CanonicalError(_TOO_DEEP)
    room -= 1
    return f"[{','.join([_ENCODERS.get(type(item), _subclass)(item, room) for item in value])}]"


def _object(value: dict[Any, object], room: int) -> str:
    if not room:
        raise CanonicalError(_TOO_DEEP)
    room -= 1
    texts = [f"{_quote(key)}:{_ENCODERS.get(type(value[key]), _subclass)(value[key], room)}" for key in _sorted(value)]
    return f"{{{','.join(texts)}}}"


def _sorted(keys: dict[Any, object]) -> list[str]:
    """The keys by their UTF-16 code units (RFC 8785, section 3.2.3), which for ASCII is their usual order."""
    try:
        if "".join(keys).isascii():
            return sorted(keys)
        return sorted(keys, key=_utf16)
    except TypeError:
        odd = next(key for key in keys if not isinstance(key, str))
        raise CanonicalError(f"the keys of an object are strings, not {type(odd).__qualname__}") from None
    except UnicodeEncodeError as error:
        raise CanonicalError(f"the key {_quote_ascii(error.object)} has an unpaired surrogate") from None


def _utf16(key: str) -> bytes:
    return key.encode("utf-16-be")


def _subclass(value: object, room: int) -> str:
    """A type that is not in the table: what it extends decides."""
    if isinstance(value, str):
        return _quote(value)
    if isinstance(value, int):
        return _integer(value, room)
    if isinstance(value, float):
        return _float(value, room)
    if isinstance(value, (list, tuple)):
        return _array(value, room)
    if isinstance(value, Mapping):
        return _object(dict(value), room)
    raise CanonicalError(f"{type(value).__qualname__} has no JSON form")


# Any, because each function is called with its own type of value only, and keys are not yet known to be strings.
_ENCODERS: dict[type, Callable[[Any, int], str]] = {
    str: _string,
    dict: _object,
    list: _array,
    tuple: _array,
    int: _integer,
    float: _float,
    bool: _literal,
    type(None): _literal,
}


# Where a fault is.


def _locate(value: object, path: str, room: int, reason: str) -> str:
    """``path: reason`` of the innermost part that is refused; ``reason`` is why ``value`` as a whole is."""
    for step, part in _parts(value) if room else ():
        try:
            _encode(part, room - 1)
        except CanonicalError as error:
            return _locate(part, path + step, room - 1, str(error))
    return f"{path}: {reason}"


def _parts(value: object) -> Iterable[tuple[str, object]]:
    if isinstance(value, Mapping):
        return ((_step(key), item) for key, item in value.items() if isinstance(key, str))
    if isinstance(value, (list, tuple)):
        return ((f"[{index}]", item) for index, item in enumerate(value))
    return ()


def _step(key: str) -> str:
    return f".{key}" if key.isascii() and key.isidentifier() else f"[{_quote_ascii(key)}]"


# Reading.


def _read_object(members: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    value = dict(members)
    if len(value) != len(members):
        key, count = Counter(key for key, _ in members).most_common(1)[0]
        raise CanonicalError(f"the key {_quote_ascii(key)} appears {count} times in one object")
    return value


def _read_integer(digits: str) -> int | float:
    if len(digits) < 18 and -MAX_INTEGER <= (integer := int(digits)) <= MAX_INTEGER:
        return integer
    number = _read_float(digits)
    if _float(number, 0) != digits:
        raise CanonicalError(f"the integer {_shortened(digits)} is not exact in JSON; write it as a string")
    return number


def _read_float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise CanonicalError(f"the number {_shortened(digits)} is beyond the range of a binary64")
    return number


def _shortened(digits: str) -> str:
    return digits if len(digits) <= 32 else f"{digits[:32]}..."


def _read_constant(name: str) -> JsonValue:
    raise CanonicalError(f"{name} has no JSON form")


_NUMBERS: dict[str, Any] = {"parse_int": _read_integer, "parse_float": _read_float, "parse_constant": _read_constant}
_DECODER = JSONDecoder(object_pairs_hook=_read_object, **_NUMBERS)
_TRUSTING_DECODER = JSONDecoder(**_NUMBERS)


def _deserves_a_second_look(text: str, value: JsonValue) -> bool:
    """Whether the decoder may have let pass an unpaired surrogate, or did pass too deep a nesting. Rarely true."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    if "\\" in text and "\\u" in text:  # the longer one is slow to be searched for, and rare is the shorter
        return True
    return text.count("[") + text.count("{") > MAX_DEPTH and _is_too_deep(value)


def _is_too_deep(value: JsonValue) -> bool:
    """Whether arrays and objects are nested beyond `MAX_DEPTH`. Goes down level by level, and looks at no text."""
    level: list[Any] = [value] if type(value) in (dict, list) else []
    for _ in range(MAX_DEPTH):
        parts = chain.from_iterable(part.values() if type(part) is dict else part for part in level)
        level = [part for part in parts if type(part) is dict or type(part) is list]
        if not level:
            return False
    return True
