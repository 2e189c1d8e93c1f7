"""Reading YAML as JSON, with the place of everything.

YAML 1.1, as most loaders speak it, turns ``no`` into False, ``012`` into 10 and ``12:30:00`` into
45000, and keeps the last of two equal keys. A file that decides about money cannot be read like that.
Here a plain word is one of the JSON types or a string, after the core schema of YAML 1.2 (section
10.3.2) less its octal, hexadecimal and ``+1`` spellings; what JSON cannot say is refused, all faults
at once, each with its line and column.

The parser's *events* are read, not its node tree: composing a tree recurses in C, where 200,000
brackets end the process, while events arrive one by one and can be counted. An alias is the very
value of its anchor and only its size is added up, so a "billion laughs" is refused before it costs.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, NoReturn, TypeAlias, cast

import yaml

from converge_core.errors import IntentError, Problem
from converge_core.ledger.canonical import MAX_DEPTH, MAX_INTEGER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from yaml import Mark
    from yaml._yaml import Mark as CMark

    from converge_core.ledger.canonical import JsonValue

    _Node: TypeAlias = yaml.ScalarEvent | yaml.SequenceStartEvent | yaml.MappingStartEvent

MAX_BYTES = 10 * 1024 * 1024
MAX_ALIASED_NODES = 100_000  # what all aliases of a document add together

Steps = tuple[str | int, ...]  # the way from the root to a value: keys and indices

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # PyYAML can be built without libyaml

_WORDS: Mapping[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"-?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # YAML 1.2, 5.1
_SIMPLE_KEY = re.compile(r"[\w-]+")

_YAML = "tag:yaml.org,2002:"
_SCALAR_TAGS: Mapping[str, tuple[type, ...]] = {
    f"{_YAML}null": (type(None),),
    f"{_YAML}bool": (bool,),
    f"{_YAML}int": (int,),
    f"{_YAML}float": (int, float),
}


class Place(NamedTuple):
    """Where something starts in a file. Lines, and columns in characters, count from 1; 0 means unknown."""

    line: int
    column: int


NOWHERE = Place(0, 0)


class Spot(NamedTuple):
    """Where a value starts, and where its key does; an element of a list is its own key."""

    value: Place
    key: Place


@dataclass(frozen=True, slots=True)
class Document:
    """A document's value, and where each part of it stands.

    The value is to be read only: what an alias names is the same object as its anchor. ``aliases``
    leads from the path of an alias to the path of the collection that it repeats.
    """

    value: JsonValue
    file: str
    places: Mapping[Steps, Spot]
    aliases: Mapping[Steps, Steps]

    @classmethod
    def of(cls, value: JsonValue, file: str) -> Document:
        """Return a document that was read before, whose places are no longer known."""
        return cls(value, file, {(): Spot(NOWHERE, NOWHERE)}, {})

    def place(self, path: Sequence[str | int], *, of_key: bool = False) -> Place:
        """Return the place of the value at ``path``, or of its key; where there is none, of the nearest ancestor."""
        at: Steps = ()
        spot = self.places[at]
        for step in path:
            at = (*self.aliases.get(at, at), step)
            if at not in self.places:
                return spot.value
            spot = self.places[at]
        return spot.key if of_key else spot.value

    def problem(self, path: Sequence[str | int], message: str, *, of_key: bool = False) -> Problem:
        """Return a fault of the value at ``path``, or, for a name that should not be there, of its key."""
        return Problem(dotted(path), message, self.file, *self.place(path, of_key=of_key))


def load_document(path: Path, *, max_bytes: int = MAX_BYTES) -> Document:
    """Return the YAML document of a file; an empty file is ``null``.

    Raises IntentError with every fault of the file, or with the reason why it cannot be read.
    """
    return parse_document(read_text(path, max_bytes=max_bytes), str(path))


def parse_document(text: str, file: str = "<string>") -> Document:
    """Return the YAML document in ``text``; problems show ``file`` as its name. Raises IntentError."""
    if unprintable := _UNPRINTABLE.search(text):
        message = f"the character {unprintable[0]!a} is not allowed in YAML"
        raise IntentError((Problem("", message, file, *place_after(text[: unprintable.start()])),))
    return _Reading(file, yaml.parse(text, Loader=_LOADER)).document()


def to_yaml(value: JsonValue) -> str:
    """Return JSON as YAML that a person can edit: block style, keys in their order, long texts over several lines."""
    dumped: str = yaml.dump(
        _plain(value), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100, default_flow_style=False
    )
    return dumped


class _Dumper(yaml.SafeDumper):
    """Quotes what this module, unlike YAML 1.1, would read as a number: ``0E0`` is one in the core schema."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        is_number = _FLOAT.fullmatch(text) or _INTEGER.fullmatch(text)
        return self.represent_scalar(f"{_YAML}str", text, style="'" if is_number else None)

    def ignore_aliases(self, data: object) -> bool:
        return True


_Dumper.add_representer(str, _Dumper.represent_text)


def _plain(value: JsonValue) -> object:
    """Return JSON as the exact types that a YAML dumper knows."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def read_text(path: Path, *, max_bytes: int) -> str:
    """Return the text of a UTF-8 file, without a byte order mark.

    Raises IntentError; a file that is too large is refused unread.
    """
    file = str(path)
    try:
        size, data = path.stat().st_size, b""
        if size <= max_bytes:
            with path.open("rb") as stream:
                data = stream.read(max_bytes + 1)  # a pipe has no size, and a file may grow
    except (OSError, ValueError) as error:
        raise IntentError((Problem("", getattr(error, "strerror", None) or str(error), file),)) from None
    if max(size, len(data)) > max_bytes:
        raise IntentError((Problem("", f"too large: at most {max_bytes:,} bytes are read", file),))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"not UTF-8: byte 0x{error.object[error.start]:02x}"
        place = place_after(error.object[: error.start].decode())
        raise IntentError((Problem("", message, file, *place),)) from None


def place_after(text: str) -> Place:
    """Return the place of what follows ``text`` from the start of a file."""
    return Place(text.count("\n") + 1, len(text) - text.rfind("\n"))


def dotted(path: Sequence[str | int]) -> str:
    """Return a path as people write it: ``suggestors[0].with.when``, ``inputs["a.b"]`` for an odd key."""
    parts: list[str] = []
    for step in path:
        if isinstance(step, int):
            parts.append(f"[{step}]")
        elif _SIMPLE_KEY.fullmatch(step):
            parts.append(f".{step}")
        else:
            parts.append(f"[{shown(step)}]")
    return "".join(parts).removeprefix(".")


def shown(value: JsonValue) -> str:
    """Return a value as one short line, for messages."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def exact_integer(digits: str) -> int:
    """Return the integer that decimal digits, with an optional sign, write.

    Raises ValueError where JSON would not keep it exact.
    """
    # The length comes first: Python refuses to read thousands of digits, in words of its own.
    if len(digits.lstrip("+-0")) > len(str(MAX_INTEGER)) or abs(int(digits)) > MAX_INTEGER:
        raise ValueError(f"the integer {shown(digits)} is beyond 2**53 - 1, where JSON ceases to be exact")
    return int(digits)


def finite_number(text: str) -> float:
    """Return the number that ``text`` writes. Raises ValueError where it overflows."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {shown(text)} is beyond what JSON holds")
    return number


class _Anchor(NamedTuple):
    value: JsonValue
    path: Steps
    nodes: int
    height: int  # levels of collections


class _Reading:
    """One pass over the events of a document; faults that leave the rest readable are collected."""

    def __init__(self, file: str, events: Iterator[yaml.Event]) -> None:
        self._file = file
        self._events = events
        self._problems: dict[Place, Problem] = {}
        self._places: dict[Steps, Spot] = {}
        self._aliases: dict[Steps, Steps] = {}
        self._anchors: dict[str | None, _Anchor | None] = {}  # None: its value is still being read
        self._nodes = 0  # read so far; this and the next with what aliases repeat
        self._deepest = 0  # level of a collection, within the value being read
        self._aliased_nodes = 0

    def document(self) -> Document:
        try:
            value = self._root()
        except yaml.MarkedYAMLError as error:
            self._stop(*_syntax_error(error))
        if self._problems:
            raise IntentError(tuple(self._problems.values()))
        return Document(value, self._file, self._places, self._aliases)

    def _root(self) -> JsonValue:
        next(self._events)  # the stream starts
        if isinstance(next(self._events), yaml.StreamEndEvent):
            self._places[()] = Spot(Place(1, 1), Place(1, 1))
            return None
        event = next(self._events)
        self._places[()] = Spot(_start(event), _start(event))
        value = self._value(event, ())
        next(self._events)  # the document ends
        if isinstance(second := next(self._events), yaml.DocumentStartEvent):
            self._stop("a second document starts here; a file holds one", _start(second))
        return value

    def _value(self, event: yaml.Event, path: Steps) -> JsonValue:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, path)
        node = cast("_Node", event)  # by the parser's grammar
        anchor, nodes, deepest = node.anchor, self._nodes, self._deepest
        if anchor is not None:
            self._anchors[anchor] = None
        self._nodes, self._deepest = nodes + 1, len(path)
        value: JsonValue
        if isinstance(node, yaml.ScalarEvent):
            value = self._scalar(node, path)
        elif isinstance(node, yaml.SequenceStartEvent):
            value = self._sequence(node, path)
        else:
            value = self._mapping(node, path)
        if anchor is not None:
            self._anchors[anchor] = _Anchor(value, path, self._nodes - nodes, self._deepest - len(path))
        self._deepest = max(self._deepest, deepest)
        return value

    def _alias(self, event: yaml.AliasEvent, path: Steps) -> JsonValue:
        anchor = self._anchors.get(event.anchor)
        if anchor is None:
            reason = "repeats itself" if event.anchor in self._anchors else "names no anchor above it"
            self._report(path, f"the alias *{event.anchor} {reason}", _start(event))
            return None
        self._nodes += anchor.nodes
        self._aliased_nodes += anchor.nodes
        if self._aliased_nodes > MAX_ALIASED_NODES:
            self._stop(f"aliases repeat more than {MAX_ALIASED_NODES:,} values", _start(event))
        self._descend(len(path) + anchor.height, event)
        if anchor.height:
            self._aliases[path] = anchor.path
        return anchor.value

    def _scalar(self, event: yaml.ScalarEvent, path: Steps) -> JsonValue:
        try:
            return _scalar_value(event)
        except ValueError as error:
            self._report(path, str(error), _start(event))
            return None

    def _sequence(self, event: yaml.SequenceStartEvent, path: Steps) -> list[JsonValue]:
        self._open_collection(event, path, f"{_YAML}seq")
        items: list[JsonValue] = []
        while not isinstance(item := next(self._events), yaml.SequenceEndEvent):
            step = (*path, len(items))
            self._places[step] = Spot(_start(item), _start(item))
            items.append(self._value(item, step))
        return items

    def _mapping(self, event: yaml.MappingStartEvent, path: Steps) -> dict[str, JsonValue]:
        self._open_collection(event, path, f"{_YAML}map")
        members: dict[str, JsonValue] = {}
        while not isinstance(key_event := next(self._events), yaml.MappingEndEvent):
            key = self._key(key_event, path)
            step = (*path, key)
            if key in members:
                first = self._places[step].key
                self._report(step, f"duplicate key, first given on line {first.line}", _start(key_event))
            value_event = next(self._events)
            self._places[step] = Spot(_start(value_event), _start(key_event))
            members[key] = self._value(value_event, step)
        return members

    def _key(self, event: yaml.Event, path: Steps) -> str:
        """Read a key; one that is refused leaves a name for what follows from it."""
        if isinstance(event, yaml.CollectionStartEvent):
            self._skip_collection()
            self._report(path, "a key must be a string, not a collection", _start(event))
            return "?"
        if isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]:
            self._report(path, "merge keys (<<) are not supported", _start(event))
            return "<<"
        key = self._value(event, path)
        if not isinstance(key, str):
            self._report(path, f"a key must be a string: put quotes around {shown(key)}", _start(event))
            return shown(key)
        return key

    def _skip_collection(self) -> None:
        depth = 1
        while depth:
            event = next(self._events)
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)

    def _open_collection(self, event: yaml.CollectionStartEvent, path: Steps, tag: str) -> None:
        self._descend(len(path) + 1, event)
        if event.tag not in (None, "!", tag):
            self._report(path, _foreign(event.tag), _start(event))

    def _descend(self, level: int, event: yaml.Event) -> None:
        if level > MAX_DEPTH:
            self._stop(f"nested more than {MAX_DEPTH} levels deep", _start(event))
        self._deepest = max(self._deepest, level)

    def _report(self, path: Steps, message: str, place: Place) -> None:
        """Remember a fault; the first one of a place stands for those that follow from it."""
        self._problems.setdefault(place, Problem(dotted(path), message, self._file, *place))

    def _stop(self, message: str, place: Place) -> NoReturn:
        self._report((), message, place)
        raise IntentError(tuple(self._problems.values()))


def _scalar_value(event: yaml.ScalarEvent) -> JsonValue:
    """Return what a scalar says. Raises ValueError for what JSON cannot say."""
    event.value.encode()  # Python's own parser, unlike libyaml, lets an unpaired surrogate through
    tag = event.tag
    if tag is None:
        return _plain_value(event.value) if event.implicit[0] else event.value
    if tag in ("!", f"{_YAML}str"):
        return event.value
    if tag not in _SCALAR_TAGS:
        raise ValueError(_foreign(tag))
    value = _plain_value(event.value)
    if type(value) not in _SCALAR_TAGS[tag]:
        raise ValueError(f"{shown(event.value)} is not of the type {_short(tag)}")
    return value


def _plain_value(word: str) -> JsonValue:
    if word in _WORDS:
        return _WORDS[word]
    if _INTEGER.fullmatch(word):
        return exact_integer(word)
    if _FLOAT.fullmatch(word):
        return finite_number(word)
    if _NOT_FINITE.fullmatch(word):
        raise ValueError(f"{word} is no number in JSON")
    return word


def _foreign(tag: str) -> str:
    return f"the tag {_short(tag)} is not allowed: values are of JSON's types"


def _short(tag: str) -> str:
    return tag.replace(_YAML, "!!", 1)


def _start(event: yaml.Event) -> Place:
    return _place(event.start_mark)


def _place(mark: Mark | CMark | None) -> Place:
    return Place(mark.line + 1, mark.column + 1) if mark else NOWHERE


def _syntax_error(error: yaml.MarkedYAMLError) -> tuple[str, Place]:
    """Return the parser's complaint as one line, and where the parser stood."""
    place, begin = _place(error.problem_mark or error.context_mark), _place(error.context_mark)
    since = f" that starts on line {begin.line}" if 0 < begin.line < place.line else ""
    parts = ["not YAML", error.problem, error.context and f"{error.context}{since}"]
    return ": ".join(part for part in parts if part), place
