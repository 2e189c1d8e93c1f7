from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from converge_core import (
    AdmissionActorKind,
    AdmissionRequest,
    ContentHash,
    ContextState,
    DataPayload,
    SubjectRef,
    TextPayload,
)
from converge_core.errors import AdmissionError
from tests.core.stage import SEEDS, SIGNALS, engine_of, play

REQUEST = AdmissionRequest(
    "sensor-7", AdmissionActorKind.EXTERNAL, "plant", SIGNALS, "t1", "21 degrees", SubjectRef("plant://room/1")
)


def test_an_observation_becomes_a_staged_proposal_that_says_who_brought_it_from_where() -> None:
    context = ContextState()
    context.submit_observation(REQUEST)
    (staged,) = context.staged
    assert staged.payload == TextPayload(text="21 degrees")
    assert (staged.key, staged.id, staged.subject) == (SIGNALS, "t1", "plant://room/1")
    assert staged.provenance == "admission:external:sensor-7:plant"


def test_the_truth_it_is_to_serve_is_part_of_its_provenance() -> None:
    assert replace(REQUEST, target_truth="comfort").provenance.endswith(":plant:truth:comfort")


def test_the_receipt_holds_what_the_submitter_can_check() -> None:
    receipt = ContextState().submit_observation(REQUEST)
    assert (receipt.key, receipt.proposal_id, receipt.target_truth) == (SIGNALS, "t1", None)
    assert receipt.content_hash == ContentHash.of("21 degrees")
    assert receipt.subject == "plant://room/1"
    assert receipt.staged


@pytest.mark.parametrize("kind", AdmissionActorKind)
def test_every_kind_of_actor_is_named_in_the_provenance(kind: AdmissionActorKind) -> None:
    assert replace(REQUEST, actor_kind=kind).provenance == f"admission:{kind.name.lower()}:sensor-7:plant"


def test_an_observation_carries_any_payload_and_is_hashed_as_its_canonical_json() -> None:
    request = replace(REQUEST, content=DataPayload(data={"b": 1.0, "a": [True]}))
    assert request.proposal().payload == request.content
    assert request.receipt().content_hash == ContentHash.of('{"a":[true],"b":1}')


def test_a_text_is_short_for_a_text_payload() -> None:
    long_form = replace(REQUEST, content=TextPayload(text="21 degrees"))
    assert long_form.proposal() == REQUEST.proposal()
    assert long_form.receipt() == REQUEST.receipt()


def test_the_same_observation_is_staged_once() -> None:
    context = ContextState()
    assert context.submit_observation(REQUEST).staged
    assert not context.submit_observation(REQUEST).staged
    assert len(context.staged) == 1


@pytest.mark.parametrize("change", [{"content": "22 degrees"}, {"subject": None}, {"content": DataPayload()}])
def test_another_content_under_the_same_id_is_refused(change: dict[str, Any]) -> None:
    context = ContextState()
    context.submit_observation(REQUEST)
    with pytest.raises(AdmissionError, match="other content is staged under signals/t1"):
        context.submit_observation(replace(REQUEST, **change))
    assert len(context.staged) == 1


def test_an_id_may_be_used_again_under_another_key() -> None:
    context = ContextState()
    context.submit_observation(REQUEST)
    assert context.submit_observation(replace(REQUEST, key=SEEDS, content="other")).staged


@pytest.mark.parametrize("blank", ["", " ", "\n"])
@pytest.mark.parametrize(
    ("field", "what"), [("actor", "actor id"), ("source", "source"), ("id", "id"), ("content", "content")]
)
def test_a_blank_field_is_refused_by_name(field: str, what: str, blank: str) -> None:
    with pytest.raises(AdmissionError, match=f"admission {what} must not be empty"):
        replace(REQUEST, **{field: blank})  # type: ignore[arg-type]


def test_fields_are_kept_as_they_are() -> None:
    request = replace(REQUEST, actor=" a ", source=" b ", content=" c ")
    assert request.provenance == "admission:external: a : b "
    assert request.payload == TextPayload(text=" c ")


def test_an_observation_is_judged_like_any_proposal() -> None:
    context = ContextState()
    context.submit_observation(replace(REQUEST, id="x" * 300))
    played = play(engine_of(), context)
    assert not played.result.context.has(SIGNALS)
    assert played.bodies("proposal_rejected")[0]["code"] == "invalid_id"
