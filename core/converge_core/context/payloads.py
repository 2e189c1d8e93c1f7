"""What a fact says: typed, versioned and immutable all the way down.

A payload class is a frozen pydantic model with a ``family`` and a ``version``, the two names that the
ledger keeps beside its body. Nothing is ever imported by name when a ledger is read: the
`PayloadRegistry` of the engine says which class reads which family, and upcasters bring older
versions up to the one the program knows. An unknown family is a loud error, never a silent ``None``.

A fact that many read must not be changed by one of them, so a payload class with a mutable field
(``list``, ``dict``, ``set``) is refused when it is defined, and `DataPayload` freezes its JSON.
"""

from __future__ import annotations

import collections.abc as abc
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, NoReturn, Self, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from converge_core.errors import PayloadError
from converge_core.ledger.canonical import JsonValue, canonical, parse

_MUTABLE = (list, dict, set, bytearray, abc.Mapping, abc.MutableMapping, abc.Sequence, abc.MutableSequence, abc.Set)
_LARGEST_INTEGER = 2**53


class FrozenDict(dict[str, JsonValue]):
    """A ``dict`` that is only read. It stays a ``dict`` so that JSON and CEL take it as it is."""

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("a fact is immutable: propose a new one instead of changing this")

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse


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


def _mutable_part(annotation: object) -> object | None:
    """Return the first mutable type inside an annotation, or None."""
    origin = get_origin(annotation) or annotation
    if origin in _MUTABLE:
        return origin
    if isinstance(origin, type) and issubclass(origin, BaseModel) and not origin.model_config.get("frozen"):
        return origin
    return next((found for part in get_args(annotation) if (found := _mutable_part(part))), None)


class FactPayload(BaseModel):
    """The base of every payload. Subclasses name their ``family``; ``version`` counts its shapes from 1."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    family: ClassVar[str] = ""
    version: ClassVar[int] = 1

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: object) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if not cls.family.strip() or cls.version < 1:
            raise TypeError(f"{cls.__name__} needs a non-blank `family` and a `version` of at least 1")
        for name, field in cls.model_fields.items():
            if any(isinstance(item, AfterValidator) and item.func is _freeze_object for item in field.metadata):
                continue
            if part := _mutable_part(field.annotation):
                raise TypeError(
                    f"{cls.__name__}.{name} holds a mutable {getattr(part, '__name__', part)}: "
                    "use a tuple, a frozenset, a frozen model or FrozenObject"
                )

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
    """What the engine states about a run: a violated invariant, a failed suggestor, a human's refusal."""

    family: ClassVar[str] = "converge.diagnostic"
    source: str
    message: str

    def summary(self) -> str:
        return self.message


Upcaster = Callable[[JsonValue], JsonValue]
"""Turns the body of one version into the body of the next."""


class PayloadRegistry:
    """Which class reads which family. Every engine has its own."""

    def __init__(self) -> None:
        self._classes: dict[str, type[FactPayload]] = {}
        self._upcasters: dict[tuple[str, int], Upcaster] = {}
        for payload in (TextPayload, DataPayload, DiagnosticPayload):
            self.register(payload)

    def register(self, payload: type[FactPayload], upcasters: Mapping[int, Upcaster] | None = None) -> None:
        """Register a class; ``upcasters[n]`` turns a body of version n into one of n + 1.

        Raises PayloadError when another class already has the family.
        """
        known = self._classes.setdefault(payload.family, payload)
        if known is not payload:
            raise PayloadError(payload.family, payload.version, f"{known.__qualname__} already has this family")
        for version, upcaster in (upcasters or {}).items():
            self._upcasters[payload.family, version] = upcaster

    def families(self) -> dict[str, type[FactPayload]]:
        """Return the registered classes by family."""
        return dict(self._classes)

    def decode(self, family: str, version: int, text: str) -> FactPayload:
        """Read a payload from its canonical text, upcast to the current version.

        Raises PayloadError for an unknown family, a missing upcaster or a body that does not fit.
        """
        payload = self._classes.get(family)
        if payload is None:
            raise PayloadError(family, version, "unknown family: the plugin that defines it is not loaded")
        if version > payload.version:
            raise PayloadError(family, version, f"newer than this program, which knows v{payload.version}")
        for step in range(version, payload.version):
            upcaster = self._upcasters.get((family, step))
            if upcaster is None:
                raise PayloadError(family, version, f"no upcaster from v{step} to v{step + 1}")
            text = canonical(upcaster(parse(text)))
        try:
            return payload.from_text(text)
        except ValidationError as error:
            raise PayloadError(family, version, one_line(error)) from error


def one_line(error: ValidationError) -> str:
    """Put the faults of a pydantic error on one line, each with its place; input values stay out of it."""
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'payload'}: {fault['msg']}" for fault in faults)
