from __future__ import annotations

import json
from typing import Any

import pytest

from converge_core import (
    Actor,
    ActorKind,
    ContextKey,
    DataPayload,
    FactPayload,
    GateDecision,
    GateRequest,
    HitlPause,
    HitlPolicy,
    MisuseError,
    PayloadRegistry,
    ProposalKind,
    ProposedFact,
    TextPayload,
    TimeoutAction,
    TimeoutPolicy,
    Verdict,
    canonical,
)
from converge_core.context.keys import KIND_OF_KEY
from converge_core.gates.drafts import Draft, draft
from converge_core.gates.hitl import approval_id
from converge_core.ledger.events import read_event
from tests.core.stage import SEEDS, SIGNALS, data, engine_of, play, seeded, text


def drafted(proposer: str = "rule", **more: Any) -> Draft:
    found = draft(text("s1", **{"provenance": "rule", **more}), proposer, PayloadRegistry())
    assert isinstance(found, Draft)
    return found


# --- who must be asked ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "code"),
    [
        (HitlPolicy(), None),
        (HitlPolicy(gated_keys=(SEEDS,)), "gated_key"),
        (HitlPolicy(gated_keys=(SIGNALS,)), None),
        (HitlPolicy(gated_kinds=(ProposalKind.CLAIM,)), "gated_kind"),
        (HitlPolicy(gated_kinds=(ProposalKind.PLAN,)), None),
        (HitlPolicy(gated_suggestors=("rule",)), "gated_suggestor"),
        (HitlPolicy(gated_suggestors=("other",)), None),
        (HitlPolicy(confidence_threshold=0.5), "low_confidence"),
        (HitlPolicy(confidence_threshold=0.4999), None),
        (HitlPolicy(confidence_threshold=1, gated_keys=(SEEDS,)), "gated_key"),
    ],
    ids=str,
)
def test_a_policy_says_why_a_human_is_asked(policy: HitlPolicy, code: str | None) -> None:
    assert policy.reason_to_ask(drafted(confidence=0.5)) == code


@pytest.mark.parametrize("key", list(ContextKey))
def test_every_key_can_be_gated_by_its_kind(key: ContextKey) -> None:
    policy = HitlPolicy(gated_kinds=(KIND_OF_KEY[key],))
    assert policy.reason_to_ask(drafted(key=key)) == "gated_kind"


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_a_threshold_is_a_confidence(threshold: float) -> None:
    with pytest.raises(MisuseError, match=r"within 0\.0 and 1\.0"):
        HitlPolicy(confidence_threshold=threshold)


@pytest.mark.parametrize(("threshold", "asks"), [(0.0, False), (1.0, True)])
def test_a_threshold_may_be_as_low_or_as_high_as_a_confidence(threshold: float, asks: bool) -> None:
    assert (HitlPolicy(threshold).reason_to_ask(drafted(confidence=0.5)) is not None) is asks
    assert HitlPolicy(threshold).reason_to_ask(drafted(confidence=threshold)) == "low_confidence"


def test_a_policy_stands_in_the_ledger() -> None:
    policy = HitlPolicy(0.5, (SEEDS,), (ProposalKind.PLAN,), ("rule",), TimeoutPolicy(60, TimeoutAction.APPROVE))
    written = json.loads(canonical(policy.to_json()))
    assert written["confidence_threshold"] == 0.5
    assert (written["gated_keys"], written["gated_kinds"], written["gated_suggestors"]) == (
        ["seeds"],
        ["plan"],
        ["rule"],
    )
    assert written["timeout"] == {"action": "approve", "seconds": 60}


def test_nobody_waits_longer_than_half_an_hour_by_default_and_silence_is_a_no() -> None:
    assert TimeoutPolicy() == TimeoutPolicy(1800, TimeoutAction.REJECT)


# --- what the human is asked ------------------------------------------------------------------------------------------


def request(**more: Any) -> GateRequest:
    return GateRequest.of(drafted(**more), "gate-1", 2, "low_confidence", TimeoutPolicy())


def test_a_request_shows_the_whole_proposal() -> None:
    shown = request(confidence=0.5, evidence=["mail:1", "mail:2"])
    assert (shown.ref, shown.summary, shown.confidence, shown.evidence) == (
        "seeds/s1",
        "words",
        0.5,
        ("mail:1", "mail:2"),
    )
    assert (shown.gate_id, shown.cycle, shown.proposer, shown.code) == ("gate-1", 2, "rule", "low_confidence")
    assert request().evidence == ()


def test_a_long_summary_is_cut() -> None:
    assert len(request(words="x" * 10_000).summary) == 500


def test_a_request_cannot_be_changed() -> None:
    proposal: Any = request().proposal
    with pytest.raises(TypeError, match="immutable"):
        proposal["payload"]["body"]["text"] = "other words"


def test_a_request_is_read_back_from_json() -> None:
    shown = request(confidence=0.5, evidence=["mail:1"])
    assert GateRequest.from_json(json.loads(canonical(shown.to_json()))) == shown


@pytest.mark.parametrize(
    "other", [("run-2", 1, "a" * 64), ("run-1", 2, "a" * 64), ("run-1", 1, "b" * 64), ("run-11", 1, "a" * 64)]
)
def test_an_approval_belongs_to_one_proposal_of_one_cycle_of_one_run(other: tuple[str, int, str]) -> None:
    assert approval_id("run-1", 1, "a" * 64) == approval_id("run-1", 1, "a" * 64)
    assert approval_id("run-1", 1, "a" * 64) != approval_id(*other)


# --- what the human answers -------------------------------------------------------------------------------------------

DECISIONS = [
    GateDecision.approve("g", "ann"),
    GateDecision.approve("g", Actor("clock", ActorKind.SYSTEM), "time-out"),
    GateDecision.reject("g", "ann", "no"),
    GateDecision.edit("g", "ann", TextPayload(text="better words")),
    GateDecision.edit("g", "ann", DataPayload(data={"n": [1.5, {"a": None}]}), "sums"),
    GateDecision.defer("g", "ann"),
]


@pytest.mark.parametrize("decision", DECISIONS, ids=lambda decision: decision.verdict)
def test_a_decision_is_read_back_from_the_ledger(decision: GateDecision) -> None:
    assert GateDecision.from_event(read_event(decision.event().body())) == decision  # type: ignore[arg-type]


def test_whoever_decides_is_a_human_unless_said_otherwise() -> None:
    assert GateDecision.approve("g", "ann").by == Actor("ann", ActorKind.HUMAN)
    assert GateDecision.approve("g", Actor("clock", ActorKind.SYSTEM)).by.kind is ActorKind.SYSTEM


def test_an_edit_carries_the_payload_with_its_family_and_version() -> None:
    decision = GateDecision.edit("g", "ann", TextPayload(text="better"))
    assert decision.verdict is Verdict.EDIT
    assert decision.payload == {"body": {"text": "better"}, "family": "converge.text", "version": 1}


def test_an_edit_does_not_change_after_it_was_given() -> None:
    wire: dict[str, Any] = {"body": {"text": "better"}, "family": "converge.text", "version": 1}
    decision = GateDecision("g", Verdict.EDIT, Actor("ann"), payload=wire)
    wire["body"]["text"] = "worse"
    assert decision.payload == {"body": {"text": "better"}, "family": "converge.text", "version": 1}


# --- a pause is data --------------------------------------------------------------------------------------------------


def paused() -> HitlPause:
    proposals: list[ProposedFact[FactPayload]] = [text("a", "é\n\x00"), data("b", n=[1.5, None])]
    context = seeded("c")
    for proposal in proposals:
        context.add_proposal(proposal)
    pause = play(engine_of(hitl_policy=HitlPolicy(gated_keys=(SEEDS,))), context).result.pause
    assert pause is not None
    return pause


def test_a_pause_makes_the_round_trip_through_json() -> None:
    pause = paused()
    assert len(pause.requests) == 3
    assert HitlPause.from_json(pause.to_json()) == pause
    assert HitlPause.from_json(pause.to_json()).to_json() == pause.to_json()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"cycle":1,"log":["no event"],"requests":[],"run_id":"r"}',
        '{"cycle":1,"log":[7],"requests":[],"run_id":"r"}',
        '{"cycle":1,"log":[],"requests":[{}],"run_id":"r"}',
        '{"cycle":1,"log":[],"requests":[7],"run_id":"r"}',
        '{"cycle":1,"log":[],"run_id":"r"}',
    ],
)
def test_what_is_no_pause_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the message is that of whatever part does not fit
        HitlPause.from_json(text)
