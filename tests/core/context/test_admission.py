from __future__ import annotations

from dataclasses import replace

import pytest

from converge_core import (
    AdmissionActorKind,
    AdmissionRequest,
    ContentHash,
    ContextState,
    SubjectRef,
    TextPayload,
)
from converge_core.errors import AdmissionError
from tests.core.stage import SIGNALS, engine_of, play

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


@pytest.mark.parametrize(
    ("field", "what"), [("actor", "actor id"), ("source", "source"), ("id", "id"), ("content", "content")]
)
def test_a_blank_field_is_refused_by_name(field: str, what: str) -> None:
    with pytest.raises(AdmissionError, match=f"admission {what} must not be empty"):
        replace(REQUEST, **{field: " "})  # type: ignore[arg-type]


def test_an_observation_is_judged_like_any_proposal() -> None:
    context = ContextState()
    context.submit_observation(replace(REQUEST, id="x" * 300))
    played = play(engine_of(), context)
    assert not played.result.context.has(SIGNALS)
    assert played.bodies("proposal_rejected")[0]["code"] == "invalid_id"
