from __future__ import annotations

import copy
import pickle
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    computed_field,
    field_serializer,
    field_validator,
    model_validator,
)

from converge_core import (
    CanonicalError,
    ContextKey,
    DataPayload,
    DiagnosticPayload,
    FactPayload,
    FrozenObject,
    PayloadError,
    PayloadRegistry,
    TextPayload,
    canonical,
)
from converge_core.context.payloads import FrozenDict, text_of
from converge_core.ledger.canonical import JsonValue, parse

T = TypeVar("T")

json_values: st.SearchStrategy[JsonValue] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


class Line(BaseModel, frozen=True):
    item: str
    cents: int


class Amounts(FactPayload):
    family: ClassVar[str] = "test.amounts"


class Invoice(FactPayload):
    family: ClassVar[str] = "test.invoice"
    lines: tuple[Line, ...]
    due: date | None = None


class Loose(BaseModel):
    item: str


class Open(BaseModel, frozen=True, extra="allow"):
    item: str


class Nested(BaseModel, frozen=True):
    tags: list[str]


@dataclass
class Changing:
    number: int


@dataclass(frozen=True)
class HoldsList:
    numbers: list[int]


class Row(NamedTuple):
    cells: list[int]


class Tree(BaseModel, frozen=True):
    name: str
    children: tuple[Tree, ...] = ()


@dataclass(frozen=True)
class Still:
    number: int


def payload_with(annotation: object) -> type[FactPayload]:
    """A payload class with one field of that type."""
    body = {"__annotations__": {"field": annotation}, "__module__": __name__, "family": "test.field"}
    return type("Payload", (FactPayload,), body)


@pytest.mark.parametrize(
    "annotation",
    [
        list[int],
        dict[str, int],
        set[int],
        frozenset[int],
        deque[int],
        Counter[str],
        Mapping[str, int],
        Sequence[int],
        Iterable[int],
        list[int] | None,
        tuple[list[int], ...],
        tuple[Annotated[list[int], Field(min_length=1)], ...],
        Annotated[list[int], Field(min_length=1)],
        tuple,
        tuple[Any, ...],
        Any,
        object,
        T,
        Loose,
        Open,
        Nested,
        Changing,
        HoldsList,
        Row,
    ],
    ids=str,
)
def test_a_field_that_can_hold_something_mutable_is_refused_when_the_class_is_defined(annotation: object) -> None:
    with pytest.raises(TypeError, match=r"^Payload\.field can hold "):
        payload_with(annotation)


@pytest.mark.parametrize(
    "annotation",
    [
        str,
        bool,
        Decimal,
        date,
        ContextKey,
        Literal["a", "b"],
        int | None,
        tuple[int, ...],
        tuple[str, int],
        Annotated[str, Field(min_length=1)],
        Line,
        Tree,
        Still,
        FrozenObject,
        FrozenObject | None,
        tuple[FrozenObject, ...],
    ],
    ids=str,
)
def test_a_field_that_holds_still_is_allowed(annotation: object) -> None:
    assert "field" in payload_with(annotation).model_fields


def test_a_payload_class_cannot_be_thawed() -> None:
    with pytest.raises(TypeError, match="must stay frozen"):
        type("Payload", (FactPayload,), {"family": "test.thawed", "model_config": {"frozen": False}})


def test_a_payload_class_knows_all_its_fields() -> None:
    with pytest.raises(TypeError, match="know all its fields"):
        type("Payload", (FactPayload,), {"family": "test.open", "model_config": {"extra": "allow"}})


@pytest.mark.parametrize("names", [{"family": " "}, {}, {"family": "test.x", "version": 0}])
def test_a_payload_class_needs_a_family_and_a_version(names: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="needs a non-blank `family` and a `version` of at least 1"):
        type("Payload", (FactPayload,), names)


def test_a_payload_cannot_be_changed() -> None:
    payload = Invoice(lines=(Line(item="pen", cents=120),))
    with pytest.raises(ValidationError, match="frozen"):
        payload.due = date(2026, 10, 31)


def test_a_payload_is_read_back_from_its_body() -> None:
    payload = Invoice(lines=(Line(item="pen", cents=120),), due=date(2026, 10, 31))
    assert Invoice.from_text(canonical(payload.body())) == payload


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        TextPayload.model_validate({"text": "words", "language": "en"})


# --- free JSON --------------------------------------------------------------------------------------------------------


def test_free_data_is_read_by_field() -> None:
    payload = DataPayload(data={"amount": 500})
    assert (payload["amount"], payload.get("verdict", "none")) == (500, "none")


def test_free_data_is_frozen_all_the_way_down() -> None:
    lines = [{"item": "pen"}]
    payload = DataPayload(data={"lines": lines})

    lines[0]["item"] = "gold"

    assert payload["lines"] == ({"item": "pen"},)
    with pytest.raises(TypeError, match="a fact is immutable"):
        payload["lines"][0]["item"] = "gold"


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(a=2),
        lambda d: d.pop("a"),
        lambda d: d.popitem(),
        lambda d: d.clear(),
        lambda d: d.setdefault("b", 1),
        lambda d: d.__delitem__("a"),
        lambda d: d.__ior__({"a": 2}),
    ],
    ids=["update", "pop", "popitem", "clear", "setdefault", "del", "ior"],
)
def test_no_method_of_a_frozen_object_changes_it(change: Any) -> None:
    frozen = FrozenDict({"a": 1})
    with pytest.raises(TypeError, match="a fact is immutable"):
        change(frozen)
    assert frozen == {"a": 1}


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))], ids=["deepcopy", "pickle"])
def test_frozen_data_can_be_copied(copied: Any) -> None:
    payload = DataPayload(data={"lines": [{"item": "pen"}]})
    assert copied(payload) == payload


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), {1: 2}, b"bytes", "\ud800", 2**53, object()], ids=repr)
def test_data_without_a_json_form_is_refused(odd: object) -> None:
    with pytest.raises(ValidationError):
        DataPayload(data={"field": odd})


@given(st.dictionaries(st.text(), json_values))
def test_free_data_reads_the_same_before_and_after_the_ledger(value: dict[str, JsonValue]) -> None:
    payload = DataPayload(data=value)
    text = canonical(payload.body())
    again = DataPayload.from_text(text)

    assert canonical(again.body()) == text == canonical(value)
    assert again == payload


@pytest.mark.parametrize(("live", "kept"), [(1.0, 1), (-0.0, 0), (1e15, 10**15), (0.5, 0.5), (1e20, 1e20)])
def test_a_float_without_a_fraction_is_an_integer_at_once(live: float, kept: float) -> None:
    number = DataPayload(data={"n": live})["n"]
    assert (number, type(number)) == (kept, type(kept))
    assert parse(canonical(number)) == number


def test_data_that_is_no_object_is_refused() -> None:
    with pytest.raises(ValidationError):
        DataPayload.from_text("[1, 2]")


@pytest.mark.parametrize(
    ("payload", "line"),
    [
        (TextPayload(text="words"), "words"),
        (DataPayload(data={"b": 1, "a": 2}), '{"a":2,"b":1}'),
        (DiagnosticPayload(source="rule", message="it broke"), "it broke"),
    ],
)
def test_a_payload_sums_itself_up_in_a_line(payload: FactPayload, line: str) -> None:
    assert payload.summary() == line


# --- the registry -----------------------------------------------------------------------------------------------------


class InvoiceV3(FactPayload):
    family: ClassVar[str] = "test.invoice"
    version: ClassVar[int] = 3
    cents: int
    currency: str


def test_an_unknown_family_is_a_loud_error() -> None:
    with pytest.raises(PayloadError, match=r"payload test\.invoice v1: unknown family: the plugin .* is not loaded"):
        PayloadRegistry().decode("test.invoice", 1, "{}")


def test_two_classes_cannot_share_a_family() -> None:
    registry = PayloadRegistry()
    registry.register(Invoice)
    with pytest.raises(PayloadError, match="Invoice already has this family"):
        registry.register(InvoiceV3)


def test_registering_a_class_again_is_harmless() -> None:
    registry = PayloadRegistry()
    registry.register(Invoice)
    registry.register(Invoice)
    assert registry.families()["test.invoice"] is Invoice


def test_an_older_version_is_brought_up_step_by_step() -> None:
    registry = PayloadRegistry()
    registry.register(
        InvoiceV3,
        {1: lambda body: {"cents": body["amount"]}, 2: lambda body: {**body, "currency": "EUR"}},  # type: ignore[dict-item, index, call-overload]
    )
    assert registry.decode("test.invoice", 1, '{"amount":120}') == InvoiceV3(cents=120, currency="EUR")


def test_a_missing_upcaster_is_named() -> None:
    registry = PayloadRegistry()
    registry.register(InvoiceV3, {1: lambda body: body})
    with pytest.raises(PayloadError, match="no upcaster from v2 to v3"):
        registry.decode("test.invoice", 1, "{}")


def test_an_upcaster_that_raises_is_named() -> None:
    registry = PayloadRegistry()
    registry.register(InvoiceV3, {1: lambda body: body["absent"], 2: lambda body: body})  # type: ignore[index, call-overload]
    with pytest.raises(PayloadError, match="the upcaster of v1 raised KeyError"):
        registry.decode("test.invoice", 1, "{}")


def test_a_newer_version_than_the_program_knows_is_refused() -> None:
    registry = PayloadRegistry()
    registry.register(Invoice)
    with pytest.raises(PayloadError, match="newer than this program, which knows v1"):
        registry.decode("test.invoice", 2, "{}")


def test_a_body_that_does_not_fit_is_refused_with_the_place_and_without_the_value() -> None:
    registry = PayloadRegistry()
    registry.register(Invoice)
    with pytest.raises(PayloadError) as refused:
        registry.decode("test.invoice", 1, '{"lines":[{"item":"pen","cents":"secret"}]}')
    assert "lines.0.cents" in str(refused.value)
    assert "secret" not in str(refused.value)


def _reserved() -> tuple[PayloadRegistry, list[str]]:
    """A registry that keeps two families, and what it notes when it brings their classes."""
    registry, brought = PayloadRegistry(), []

    def load() -> tuple[type[FactPayload], ...]:
        brought.append("brought")
        return Invoice, Amounts

    registry.reserve(("test.invoice", "test.amounts"), load)
    return registry, brought


def test_the_classes_of_reserved_families_are_brought_once_one_is_read() -> None:
    registry, brought = _reserved()
    registry.decode("converge.text", 1, '{"text":"other"}')
    assert brought == []
    assert registry.decode("test.invoice", 1, '{"lines":[]}') == Invoice(lines=())
    assert registry.decode("test.amounts", 1, "{}") == Amounts()
    assert brought == ["brought"]


def test_reserved_families_are_listed_with_their_classes() -> None:
    registry, _ = _reserved()
    assert registry.families()["test.amounts"] is Amounts


def test_a_reserved_family_is_for_its_own_class_alone() -> None:
    registry, _ = _reserved()
    registry.register(Amounts)
    with pytest.raises(PayloadError, match="Invoice already has this family"):
        registry.register(InvoiceV3)


def test_a_family_that_another_class_has_cannot_be_reserved() -> None:
    registry = PayloadRegistry()
    registry.register(InvoiceV3)
    with pytest.raises(PayloadError, match="InvoiceV3 already has this family"):
        registry.reserve(("test.amounts", "test.invoice"), lambda: (Amounts, Invoice))


def test_every_engine_has_its_own_registry() -> None:
    one, other = PayloadRegistry(), PayloadRegistry()
    one.register(Invoice)
    assert "test.invoice" not in other.families()


def test_a_canonical_error_says_where_the_fault_is() -> None:
    with pytest.raises(CanonicalError, match=r"^\$\.lines\[1\]\.amount: NaN has no JSON form$"):
        canonical({"lines": [{}, {"amount": float("nan")}]})


# --- what is its own JSON ---------------------------------------------------------------------------------------------


class Letter(FactPayload):
    family: ClassVar[str] = "test.letter"
    to: str
    body_text: str


@given(to=st.text(st.characters(codec="utf-8")), said=st.text(st.characters(codec="utf-8")))
def test_a_payload_of_nothing_but_texts_is_its_own_json_in_both_directions(to: str, said: str) -> None:
    letter = Letter(to=to, body_text=said)
    assert text_of(letter) == canonical(letter.body())
    assert Letter.from_text(canonical(letter.body())) == letter


def test_the_members_of_a_payload_of_texts_stand_in_the_order_of_canonical_json() -> None:
    """In UTF-16 a letter beyond the first plane comes before the last ones of it, as in RFC 8785 it has to."""
    fields = {"b": str, "a\ufb1e": str, "a\U00010400": str}
    scripts = type(
        "Scripts", (FactPayload,), {"family": "test.scripts", "__annotations__": fields, "__module__": __name__}
    )
    assert issubclass(scripts, FactPayload)
    payload = scripts.model_validate(dict.fromkeys(fields, "text"))
    assert text_of(payload) == canonical(payload.body()) == '{"a\U00010400":"text","a\ufb1e":"text","b":"text"}'


def test_an_unpaired_surrogate_in_a_payload_of_texts_is_refused_with_its_place() -> None:
    letter = Letter.model_construct(to="to", body_text="\ud800")
    with pytest.raises(CanonicalError, match=r"^\$\.body_text: an unpaired surrogate"):
        text_of(letter)


class Stripped(FactPayload):
    model_config = ConfigDict(str_strip_whitespace=True)
    family: ClassVar[str] = "test.stripped"
    text: str


class Short(FactPayload):
    family: ClassVar[str] = "test.short"
    text: str = Field(max_length=9)


class Renamed(FactPayload):
    family: ClassVar[str] = "test.renamed"
    text: str = Field(alias="words")


class Defaulted(FactPayload):
    family: ClassVar[str] = "test.defaulted"
    text: str = "text"


class Numbered(FactPayload):
    family: ClassVar[str] = "test.numbered"
    text: float


class Lowered(FactPayload):
    family: ClassVar[str] = "test.lowered"
    text: str

    @field_validator("text")
    @classmethod
    def lower(cls, text: str) -> str:
        return text.lower()


class Turned(FactPayload):
    family: ClassVar[str] = "test.turned"
    text: str

    @model_validator(mode="before")
    @classmethod
    def turn(cls, value: Any) -> Any:
        return value


class Masked(FactPayload):
    family: ClassVar[str] = "test.masked"
    text: str

    @field_serializer("text")
    def mask(self, text: str) -> str:
        return "*" * len(text)


class Measured(FactPayload):
    family: ClassVar[str] = "test.measured"
    text: str

    @computed_field  # type: ignore[prop-decorator]  # as pydantic documents it
    @property
    def size(self) -> int:
        return len(self.text)


class Made(FactPayload):
    family: ClassVar[str] = "test.made"
    text: str

    def model_post_init(self, context: Any) -> None:
        assert self.text


class Written(FactPayload):
    family: ClassVar[str] = "test.written"
    text: str

    def body(self) -> JsonValue:
        return {"text": self.text.upper()}


class WrittenOnce(Written):
    family: ClassVar[str] = "test.written-once"


@pytest.mark.parametrize(
    "payload",
    [Stripped, Short, Defaulted, Lowered, Turned, Masked, Measured, Made, Written, WrittenOnce],
    ids=lambda payload: payload.__name__,
)
def test_a_class_that_has_a_say_in_its_json_is_asked(payload: type[FactPayload]) -> None:
    assert text_of(payload.model_validate({"text": "text"})) is None


def test_a_field_with_another_name_or_type_is_no_plain_text() -> None:
    assert text_of(Renamed(words="text")) is None
    assert text_of(Numbered(text=1)) is None


def test_a_payload_that_was_never_validated_is_not_taken_for_texts() -> None:
    class Shout(str):
        pass

    assert text_of(TextPayload.model_construct(text=Shout("text"))) is None
    assert text_of(TextPayload.model_construct()) is None
    assert text_of(TextPayload(text="text").model_copy(update={"more": "text"})) is None
