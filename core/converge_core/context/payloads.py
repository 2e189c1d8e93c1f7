"""What a fact says: typed, versioned and immutable all the way down.

A payload class is a frozen pydantic model with a ``family`` and a ``version``, the two names that the
ledger keeps beside its body. Nothing is ever imported by name when a ledger is read: the
`PayloadRegistry` of the engine says which class reads which family, and upcasters bring older
versions up to the one the program knows. An unknown family is a loud error, never a silent ``None``.

A fact that many read must not be changed by one of them, so a payload class with a field that can hold something
mutable (``list``, ``dict``, ``Any``) is refused when it is defined, and `DataPayload` freezes its JSON. So is one with
a set, frozen or not: its order depends on the process, and the ledger's bytes must not.
"""

from __future__ import annotations

import collections.abc as abc
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import is_dataclass
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    NoReturn,
    Self,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from converge_core.errors import PayloadError
from converge_core.ledger.canonical import JsonValue, canonical, parse, quote

if TYPE_CHECKING:
    from converge_core.context.state import Context

_CHANGING = (abc.Mapping, abc.Set, abc.MutableSequence)
_UNKNOWN = (Any, object, tuple)
_OPEN = (abc.Sequence, abc.Iterable)
_LARGEST_INTEGER = 2**53


class FrozenDict(dict[str, JsonValue]):
    """A ``dict`` that is only read. It stays a ``dict`` so that JSON and CEL take it as it is."""

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("a fact is immutable: propose a new one instead of changing this")

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[type[FrozenDict], tuple[dict[str, JsonValue]]]:
        return FrozenDict, (dict(self),)  # a copy or pickle is made whole, not item by item


def freeze(value: JsonValue) -> JsonValue:
    """Return ``value`` as immutable JSON, in the form it has after a round trip through the ledger.

    JSON has one kind of number, so a float without a fraction becomes an ``int``: what a suggestor
    sees in a live run is what it sees after a resume.
    """
    if type(value) is float and value.is_integer() and abs(value) < _LARGEST_INTEGER:
        return int(value)
    if isinstance(value, Mapping):
        return FrozenDict({key: freeze(item) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return tuple(freeze(item) for item in value)
    return value


def _freeze_object(value: Mapping[str, Any]) -> Mapping[str, Any]:
    canonical(value)  # refuses NaN, foreign types and unpaired surrogates, with the path
    return freeze(value)  # type: ignore[return-value]  # a Mapping freezes to a FrozenDict


FrozenObject = Annotated[Mapping[str, Any], AfterValidator(_freeze_object)]
"""The one mapping type a payload may have as a field: a JSON object, frozen when it is validated."""


def _loose_part(annotation: object, seen: frozenset[object] = frozenset()) -> object | None:
    """Return the first type inside an annotation that does not hold still, or None."""
    if annotation in _UNKNOWN or isinstance(annotation, TypeVar):
        return annotation
    if any(isinstance(item, AfterValidator) and item.func is _freeze_object for item in get_args(annotation)):
        return None  # a FrozenObject
    origin = get_origin(annotation) or annotation
    parts: Iterable[object] = get_args(annotation)
    if isinstance(origin, type):
        if origin in _OPEN or issubclass(origin, _CHANGING):
            return origin
        if issubclass(origin, BaseModel):
            if not _holds_still(origin):
                return origin
            parts = () if origin in seen else (_declared(field) for field in origin.model_fields.values())
        elif is_dataclass(origin) or (issubclass(origin, tuple) and origin is not tuple):
            if is_dataclass(origin) and not origin.__dataclass_params__.frozen:  # type: ignore[attr-defined]
                return origin
            parts = () if origin in seen else get_type_hints(origin, include_extras=True).values()
    return next((found for part in parts if (found := _loose_part(part, seen | {origin})) is not None), None)


def _declared(field: FieldInfo) -> object:
    """Return a field's annotation with the metadata that pydantic has taken off it."""
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


def _holds_still(model: type[BaseModel]) -> bool:
    return bool(model.model_config.get("frozen")) and model.model_config.get("extra") != "allow"


def _text_members(payload: type[FactPayload]) -> tuple[tuple[str, str], ...] | None:
    """Return the fields of a class that is nothing but texts, as its JSON has them: each with its quoted name.

    None for any other class.

    Pydantic's own schema tells: it names every validator, serializer, constraint, default and alias, so a class is that
    plain only if its schema is bare. One that a future pydantic writes otherwise is merely taken for any other.
    """
    usual = payload.body is FactPayload.body and payload.model_dump is BaseModel.model_dump
    for name in ("from_text", "model_validate_json"):
        usual = usual and getattr(payload, name).__func__ is getattr(FactPayload, name).__func__
    if not usual or not payload.__pydantic_complete__:
        return None
    text = {"type": "model-field", "schema": {"type": "str"}, "metadata": {}}
    fields = dict.fromkeys(payload.model_fields, text)
    bare = {
        "type": "model",
        "cls": payload,
        "config": {"title": payload.__name__, "extra_fields_behavior": "forbid", "allow_inf_nan": False},
        "custom_init": False,
        "root_model": False,
        "schema": {"type": "model-fields", "model_name": payload.__name__, "computed_fields": [], "fields": fields},
    }
    schema = {part: told for part, told in payload.__pydantic_core_schema__.items() if part not in ("ref", "metadata")}
    return tuple([(name, f"{quote(name)}:") for name in sorted(fields)]) if schema == bare else None


class FactPayload(BaseModel):
    """The base of every payload. Subclasses name their ``family``; ``version`` counts its shapes from 1."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    family: ClassVar[str] = ""
    version: ClassVar[int] = 1
    _text_members: ClassVar[tuple[tuple[str, str], ...] | None] = None

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: object) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if not cls.family.strip() or cls.version < 1:
            raise TypeError(f"{cls.__name__} needs a non-blank `family` and a `version` of at least 1")
        if not _holds_still(cls):
            raise TypeError(f"{cls.__name__} must stay frozen, and know all its fields")
        for name, field in cls.model_fields.items():
            part = _loose_part(_declared(field))
            if part is not None:
                raise TypeError(
                    f"{cls.__name__}.{name} can hold {getattr(part, '__name__', part)}, which is mutable, unordered or "
                    "unknown: use a tuple of what it holds, a frozen model or FrozenObject"
                )
        cls._text_members = _text_members(cls)

    def body(self) -> JsonValue:
        """Return the payload as JSON, without family and version."""
        return self.model_dump(mode="json")

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read a payload back from the JSON of its `body`. Raises pydantic's ValidationError."""
        return cls.model_validate_json(text)

    def summary(self) -> str:
        """Return one line a person can read."""
        return canonical(self.body())

    def objection(self, ctx: Context) -> str | None:
        """Return why this may not be said in this context, or None: what a payload demands of the facts there are.

        The promotion gate asks every payload. Pure; one that raises has objected.
        """
        return None


class TextPayload(FactPayload):
    """Plain text; the gate refuses it when it is blank."""

    family: ClassVar[str] = "converge.text"
    text: str

    def summary(self) -> str:
        return self.text


class DataPayload(FactPayload):
    """A free JSON object, for intents that define no payload classes. ``payload["amount"]`` reads a field."""

    family: ClassVar[str] = "converge.data"
    data: FrozenObject = Field(default_factory=FrozenDict)

    def body(self) -> JsonValue:
        return self.data

    @classmethod
    def from_text(cls, text: str) -> Self:
        return cls(data=parse(text))  # type: ignore[arg-type]  # pydantic refuses what is not an object

    def __getitem__(self, name: str) -> Any:
        return self.data[name]

    def get(self, name: str, default: Any = None) -> Any:
        """Return a field, or ``default`` where the object has none."""
        return self.data.get(name, default)


class DiagnosticPayload(FactPayload):
    """What the engine states about a run: a violated invariant, a failed suggestor, a human's refusal.

    ``about`` is the ``key/id`` of the proposal that a human has refused.
    """

    family: ClassVar[str] = "converge.diagnostic"
    source: str
    message: str
    about: str | None = None

    def summary(self) -> str:
        return self.message


def text_of(payload: FactPayload) -> str | None:
    """Return the canonical JSON of a payload that holds nothing but texts; None for any other.

    Nothing of its class stands between such a payload and its JSON, in either direction. Raises CanonicalError.
    """
    members, values = payload._text_members, payload.__dict__
    if members is None or len(values) != len(members):
        return None
    parts = []
    for name, opening in members:
        value = values.get(name)
        if type(value) is not str:
            return None
        parts.append(opening + quote(value))
    text = f"{{{','.join(parts)}}}"
    return text if text.isascii() else canonical(values)  # which knows the order of all letters, and surrogates


Upcaster = Callable[[JsonValue], JsonValue]
"""Turns the body of one version into the body of the next."""


class PayloadRegistry:
    """Which class reads which family. Every engine has its own."""

    def __init__(self) -> None:
        self._classes: dict[str, type[FactPayload]] = {}
        self._reserved: dict[str, Callable[[], Iterable[type[FactPayload]]]] = {}
        self._upcasters: dict[tuple[str, int], Upcaster] = {}
        for payload in (TextPayload, DataPayload, DiagnosticPayload):
            self.register(payload)

    def register(self, payload: type[FactPayload], upcasters: Mapping[int, Upcaster] | None = None) -> None:
        """Register a class; ``upcasters[n]`` turns a body of version n into one of n + 1.

        Raises PayloadError when another class already has the family.
        """
        known = self._classes.get(payload.family)
        if known is None:
            known = self._fetched(payload.family) or self._classes.setdefault(payload.family, payload)
        if known is not payload:
            raise PayloadError(payload.family, payload.version, f"{known.__qualname__} already has this family")
        if upcasters:
            self._upcasters |= {(payload.family, version): upcaster for version, upcaster in upcasters.items()}

    def reserve(self, families: Sequence[str], load: Callable[[], Iterable[type[FactPayload]]]) -> None:
        """Keep families for classes that ``load`` returns, and that are registered once one of them is asked for.

        Raises PayloadError when another class already has one of the families.
        """
        self._reserved |= dict.fromkeys(families, load)
        if not self._classes.keys().isdisjoint(families):
            self._fetched(families[0])

    def _fetched(self, family: str) -> type[FactPayload] | None:
        """Return the class of a reserved family, and register all that are reserved with it; None for any other."""
        load = self._reserved.get(family)
        if load is None:
            return None
        self._reserved = {name: other for name, other in self._reserved.items() if other is not load}
        for payload in load():
            self.register(payload)
        return self._classes.get(family)

    def families(self) -> dict[str, type[FactPayload]]:
        """Return the registered classes by family."""
        for family in tuple(self._reserved):
            self._fetched(family)
        return dict(self._classes)

    def decode(self, family: str, version: int, text: str) -> FactPayload:
        """Read a payload from its canonical text, upcast to the current version.

        Raises PayloadError for an unknown family, a missing upcaster or a body that does not fit.
        """
        payload = self._classes.get(family) or self._fetched(family)
        if payload is None:
            raise PayloadError(family, version, "unknown family: the plugin that defines it is not loaded")
        if version > payload.version:
            raise PayloadError(family, version, f"newer than this program, which knows v{payload.version}")
        if version != payload.version:
            text = self._upcast(payload, version, text)
        try:
            return payload.from_text(text)
        except ValidationError as error:
            raise PayloadError(family, version, one_line(error)) from error
        except Exception as error:  # a validator is a plugin's, and meets what its author may not have foreseen
            raise PayloadError(family, version, f"cannot be read: {type(error).__name__}") from error

    def _upcast(self, payload: type[FactPayload], version: int, text: str) -> str:
        """Bring the text of an older version up to the current one. Raises PayloadError."""
        family = payload.family
        for step in range(version, payload.version):
            upcaster = self._upcasters.get((family, step))
            if upcaster is None:
                raise PayloadError(family, version, f"no upcaster from v{step} to v{step + 1}")
            try:
                text = canonical(upcaster(parse(text)))
            except Exception as error:  # an upcaster is a plugin's, too
                raise PayloadError(family, version, f"the upcaster of v{step} raised {type(error).__name__}") from error
        return text


def one_line(error: ValidationError) -> str:
    """Put the faults of a pydantic error on one line, each with its place; input values stay out of it."""
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'payload'}: {fault['msg']}" for fault in faults)
