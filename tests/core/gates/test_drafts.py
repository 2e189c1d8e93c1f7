from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import date
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import field_validator

from converge_core import (
    DataPayload,
    FactPayload,
    PayloadError,
    PayloadRegistry,
    ProposedFact,
    SubjectRef,
    TextPayload,
)
from converge_core.gates.drafts import Draft, Malformed, draft, read_draft
from converge_core.ledger.canonical import canonical, is_canonical, parse
from tests.core.stage import SEEDS, text


class Invoice(FactPayload):
    family: ClassVar[str] = "test.invoice"
    cents: int
    due: date | None = None


class Impostor(FactPayload):
    family: ClassVar[str] = "test.invoice"
    cents: int


class Unreadable(FactPayload):
    """A class that writes what it does not read."""

    family: ClassVar[str] = "test.unreadable"

    def body(self) -> str:
        return "something else"


class Unwritable(FactPayload):
    family: ClassVar[str] = "test.unwritable"

    def body(self) -> Any:
        raise RuntimeError("no serialiser")


class Touchy(FactPayload):
    family: ClassVar[str] = "test.touchy"
    number: int

    @field_validator("number")
    @classmethod
    def _even_once(cls, value: int) -> int:
        if value % 2:
            raise TypeError("odd")
        return value


def drafted(proposal: ProposedFact[FactPayload]) -> Draft | Malformed:
    return draft(proposal, "rule", PayloadRegistry())


def of(payload: FactPayload, **more: Any) -> ProposedFact[FactPayload]:
    return ProposedFact(SEEDS, "s1", payload, provenance="rule", **more)


def said(**more: Any) -> ProposedFact[FactPayload]:
    return text(**{"id": "s1", "provenance": "rule", **more})


# --- well-formed ------------------------------------------------------------------------------------------------------


def test_a_proposal_is_encoded_once_as_canonical_json_and_hashed() -> None:
    found = drafted(said(confidence=0.5, evidence=["mail:1"], subject=SubjectRef("erp://invoice/7")))
    assert isinstance(found, Draft)
    assert is_canonical(found.text)
    assert parse(found.text) == {
        "confidence": 0.5,
        "evidence": ["mail:1"],
        "id": "s1",
        "key": "seeds",
        "payload": {"body": {"text": "words"}, "family": "converge.text", "version": 1},
        "provenance": "rule",
        "subject": "erp://invoice/7",
    }
    assert found.hash == hashlib.sha256(found.text.encode()).hexdigest()


@given(
    st.text(min_size=1, max_size=64),
    st.text(max_size=100),
    st.floats(0, 1),
    st.lists(st.text(min_size=1, max_size=20), max_size=3),
)
def test_whatever_is_well_formed_is_read_back_from_the_ledger(
    id: str, words: str, confidence: float, evidence: list[str]
) -> None:
    found = drafted(said(id=id, words=words, confidence=confidence, evidence=evidence))
    again = read_draft(parse(found.text), "rule", PayloadRegistry())  # type: ignore[arg-type]
    assert again == found
    assert is_canonical(found.text)


def test_a_payload_of_a_plugin_is_drafted_as_a_replay_will_read_it() -> None:
    found = drafted(of(Invoice(cents=120, due=date(2026, 10, 31))))
    assert isinstance(found, Draft)
    assert found.proposal.payload == Invoice(cents=120, due=date(2026, 10, 31))
    assert isinstance(found.proposal.payload, Invoice)


def test_an_integer_is_a_confidence() -> None:
    assert isinstance(drafted(said(confidence=0)), Draft)


def test_content_is_what_it_says_whoever_says_it_and_however_sure() -> None:
    one, other = drafted(said(confidence=0.5)), drafted(said(provenance="elsewhere"))
    assert isinstance(one, Draft)
    assert isinstance(other, Draft)
    assert one.content == other.content
    assert one.hash != other.hash


# --- malformed --------------------------------------------------------------------------------------------------------

MIB = 1 << 20


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda: said(key="seeds"), "unknown_key"),
        (lambda: said(key=None), "unknown_key"),
        (lambda: of({"text": "words"}), "invalid_payload"),  # type: ignore[arg-type]
        (lambda: of(None), "invalid_payload"),  # type: ignore[arg-type]
        (lambda: of(Unreadable()), "invalid_payload"),
        (lambda: of(Unwritable()), "invalid_payload"),
        (lambda: of(Touchy.model_construct(number=1)), "invalid_payload"),
        (lambda: of(TextPayload.model_construct(text=5)), "invalid_payload"),
        (lambda: of(TextPayload.model_construct(text="\ud800")), "invalid_payload"),
        (lambda: of(DataPayload.model_construct(data={"n": float("nan")})), "invalid_payload"),
        (lambda: of(DataPayload.model_construct(data={1: 2})), "invalid_payload"),
        (lambda: of(DataPayload.model_construct(data=None)), "invalid_payload"),
        (lambda: said(id=""), "invalid_id"),
        (lambda: said(id=" \t"), "invalid_id"),
        (lambda: said(id=None), "invalid_id"),
        (lambda: said(id=7), "invalid_id"),
        (lambda: said(id="x" * 257), "invalid_id"),
        (lambda: said(id="é" * 129), "invalid_id"),
        (lambda: said(id="a\nb"), "invalid_id"),
        (lambda: said(id="a\x00"), "invalid_id"),
        (lambda: said(id="a\x9b"), "invalid_id"),
        (lambda: said(id="a\u202eb"), "invalid_id"),
        (lambda: said(id="a\ud800"), "invalid_id"),
        (lambda: said(provenance=""), "blank_provenance"),
        (lambda: said(provenance=" "), "blank_provenance"),
        (lambda: said(provenance=7), "blank_provenance"),
        (lambda: said(provenance=None), "blank_provenance"),
        (lambda: said(provenance="\udfff"), "invalid_provenance"),
        (lambda: said(provenance="x" * 1025), "invalid_provenance"),
        (lambda: said(confidence=float("nan")), "invalid_confidence"),
        (lambda: said(confidence=float("inf")), "invalid_confidence"),
        (lambda: said(confidence=float("-inf")), "invalid_confidence"),
        (lambda: said(confidence=1.0000001), "invalid_confidence"),
        (lambda: said(confidence=-0.1), "invalid_confidence"),
        (lambda: said(confidence=10**5000), "invalid_confidence"),
        (lambda: said(confidence=True), "invalid_confidence"),
        (lambda: said(confidence="0.5"), "invalid_confidence"),
        (lambda: said(confidence=None), "invalid_confidence"),
        (lambda: said(subject="erp://invoice/7"), "invalid_subject"),
        (lambda: said(evidence=[7]), "invalid_evidence"),
        (lambda: said(evidence=[" "]), "invalid_evidence"),
        (lambda: said(evidence=["\ud800"]), "invalid_evidence"),
        (lambda: said(evidence=["x" * 1025]), "invalid_evidence"),
        (lambda: said(evidence=["x"] * 10_001), "invalid_evidence"),
        (lambda: said(words="x" * MIB), "payload_too_large"),
        (lambda: said(words="é" * (MIB // 2)), "payload_too_large"),
    ],
)
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_what_has_no_form_is_turned_away_with_a_code(make: Callable[[], ProposedFact[FactPayload]], code: str) -> None:
    found = drafted(make())
    assert isinstance(found, Malformed)
    assert (found.code, found.proposer) == (code, "rule")
    assert found.reason
    assert is_canonical(found.text), "it enters the ledger all the same"
    assert read_draft(parse(found.text), "rule", PayloadRegistry()) == found  # type: ignore[arg-type]


def test_the_largest_payload_and_the_longest_id_are_allowed() -> None:
    overhead = len('{"text":""}')
    assert isinstance(drafted(said(words="x" * (MIB - overhead))), Draft)
    assert isinstance(drafted(said(words="x" * (MIB - overhead + 1))), Malformed)
    assert isinstance(drafted(said(id="é" * 128)), Draft)
    assert isinstance(drafted(said(id="x" * 256)), Draft)


def test_the_size_limit_counts_bytes_of_canonical_json() -> None:
    proposal = ProposedFact(SEEDS, "s1", DataPayload(data={"a": "é"}), provenance="rule")
    assert isinstance(draft(proposal, "rule", PayloadRegistry(), 10), Draft)
    assert isinstance(draft(proposal, "rule", PayloadRegistry(), 9), Malformed)


def test_a_second_class_of_the_same_family_is_turned_away() -> None:
    payloads = PayloadRegistry()
    assert isinstance(draft(of(Invoice(cents=1)), "rule", payloads), Draft)
    clash = draft(of(Impostor(cents=1)), "rule", payloads)
    assert isinstance(clash, Malformed)
    assert (clash.code, clash.reason) == ("invalid_payload", "Invoice already has this family")


def test_a_payload_that_was_never_validated_is_read_back_before_it_counts() -> None:
    found = drafted(of(Invoice.model_construct(cents=7, due=None)))
    assert isinstance(found, Draft)
    assert found.proposal.payload == Invoice(cents=7)


@pytest.mark.parametrize("id", ["\x1b[2J" * 40, "a\ud800b", "línea\n"])
def test_what_is_shown_of_a_bad_id_is_short_and_printable(id: str) -> None:
    found = drafted(said(id=id))
    assert isinstance(found, Malformed)
    assert found.id.isascii()
    assert found.id.isprintable()
    assert len(found.id) <= 64 * len("\\U0010ffff")


def test_a_payload_of_an_unknown_family_cannot_be_read_from_a_ledger() -> None:
    found = drafted(of(Invoice(cents=1)))
    with pytest.raises(PayloadError, match="unknown family"):
        read_draft(parse(found.text), "rule", PayloadRegistry())  # type: ignore[arg-type]


def test_reading_a_proposal_back_encodes_its_payload_once_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    found = drafted(said())
    written: dict[str, Any] = parse(found.text)  # type: ignore[assignment]  # what a draft wrote is an object
    encoded: list[object] = []

    def counted(value: Any) -> str:
        encoded.append(value)
        return canonical(value)

    monkeypatch.setattr("converge_core.gates.drafts.canonical", counted)
    monkeypatch.setattr("converge_core.context.wire.canonical", counted)
    assert read_draft(written, "rule", PayloadRegistry()) == found
    assert [value for value in encoded if isinstance(value, dict)] == [written["payload"]["body"]]


@pytest.mark.parametrize(
    ("field", "value"), [("id", 7), ("id", ""), ("confidence", 7), ("provenance", 7), ("evidence", [7])], ids=str
)
def test_what_was_never_admitted_cannot_be_read_from_a_ledger(field: str, value: object) -> None:
    found = drafted(said())
    written = {**parse(found.text), field: value}  # type: ignore[dict-item]
    with pytest.raises(ValueError, match=r"invalid|blank"):
        read_draft(written, "rule", PayloadRegistry())


def test_what_is_no_payload_is_named() -> None:
    found = drafted(of({"text": "words"}))  # type: ignore[arg-type]
    assert isinstance(found, Malformed)
    assert found.reason == "dict is not a FactPayload"
