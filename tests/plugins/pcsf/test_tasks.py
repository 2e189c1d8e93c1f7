"""The contract of one task: where it may run, what is in the way, and what must be shown before it is done."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_core import MisuseError
from converge_core.ledger.hashes import ContentHash
from converge_core.llm.capability import CapabilityKind, RequiredCapabilities
from converge_core.llm.routing import DataClassification
from converge_plugins.pcsf.tasks import (
    EvidenceContract,
    ExecutionBoundary,
    ExecutionReceipt,
    FailureClass,
    ProviderCapability,
    RouteDecision,
    RouteRequest,
    RouteStatus,
    assess_evidence,
    decide,
)

LOCAL, HYBRID, CLOUD = ExecutionBoundary
COMPLETION, CODE = CapabilityKind.COMPLETION, CapabilityKind.CODE
ALLOWED, BLOCKED, ESCALATION_REQUIRED = RouteStatus

HERE = ProviderCapability("ollama", "small", LOCAL)
THERE = ProviderCapability("openai", "large", CLOUD, {COMPLETION, CODE}, 900, 128_000)
CHAIN = ("openai", "ollama")
PLAN = EvidenceContract(required_checks=("tests",))
ASKED = RouteRequest("t-1", "mend it", verification=PLAN)
AFAR = replace(ASKED, boundary=HYBRID, cloud_approved=True, secret_scan_passed=True)
"""May leave the premises."""


def decided(
    request: RouteRequest,
    *models: ProviderCapability,
    chain: Sequence[str] = CHAIN,
    denied: Collection[str] = (),
) -> RouteDecision:
    return decide(request, models, chain, denied)


def ranking(decision: RouteDecision) -> list[str]:
    assert decision.selected is not None, decision.reasons
    return [model.name for model in (decision.selected, *decision.fallbacks)]


# --- the plan ---------------------------------------------------------------------------------------------------------


def test_a_task_without_a_plan_of_its_evidence_is_blocked_whoever_could_do_it() -> None:
    decision = decided(replace(AFAR, verification=EvidenceContract()), HERE, THERE)
    assert (decision.status, decision.failure_class) == (BLOCKED, FailureClass.VERIFICATION_PLAN_REQUIRED)
    assert (decision.selected, decision.fallbacks) == (None, ())
    assert decision.reasons == ("nothing says what must be shown before the task counts as done",)


@pytest.mark.parametrize(
    "fields",
    [
        {"required_artifacts": ("a",)},
        {"required_checks": ("a",)},
        {"require_exit_code_zero": True},
        {"allow_unverified_completion": True},
    ],
)
def test_whatever_is_asked_for_makes_a_plan(fields: dict[str, Any]) -> None:
    assert decided(replace(ASKED, verification=EvidenceContract(**fields)), HERE).status is ALLOWED


# --- the order --------------------------------------------------------------------------------------------------------


def test_the_first_is_selected_and_the_rest_are_fallbacks_in_their_order() -> None:
    decision = decided(AFAR, HERE, THERE)
    assert (decision.status, decision.failure_class, decision.reasons) == (ALLOWED, None, ())
    assert (decision.selected, decision.fallbacks) == (THERE, (HERE,))


def test_preference_comes_before_the_chain_and_the_chain_before_cost_and_cost_before_name() -> None:
    models = [
        ProviderCapability("preferred", "z", LOCAL, estimated_cost_microusd=9),
        ProviderCapability("first", "z", LOCAL, estimated_cost_microusd=8),
        ProviderCapability("second", "b", LOCAL, estimated_cost_microusd=1),
        ProviderCapability("second", "c", LOCAL, estimated_cost_microusd=1),
        ProviderCapability("second", "a", LOCAL, estimated_cost_microusd=2),
    ]
    request = replace(ASKED, preferred_providers=("nobody", "preferred"))
    expected = [model.name for model in models]
    for order in permutations(models):
        assert ranking(decided(request, *order, chain=("first", "second", "preferred"))) == expected


def test_preferences_have_an_order_and_open_no_way_that_is_shut() -> None:
    request = replace(AFAR, preferred_providers=("ollama", "openai"))
    assert ranking(decided(request, THERE, HERE)) == ["ollama/small", "openai/large"]
    assert ranking(decided(request, THERE, HERE, denied={"ollama"})) == ["openai/large"]


# --- what is in the way -----------------------------------------------------------------------------------------------


def test_a_model_that_is_switched_off_is_not_there() -> None:
    decision = decided(ASKED, replace(HERE, enabled=False))
    assert (decision.status, decision.failure_class) == (BLOCKED, FailureClass.NO_ROUTABLE_PROVIDER)


def test_where_there_is_no_model_nobody_can_be_asked() -> None:
    assert decided(ASKED).failure_class is FailureClass.NO_ROUTABLE_PROVIDER


IN_THE_WAY: dict[str, tuple[RouteRequest, ProviderCapability, Sequence[str], Collection[str], str, str]] = {
    "capability": (
        replace(ASKED, required=RequiredCapabilities({COMPLETION, CODE})),
        HERE,
        CHAIN,
        (),
        "missing_capability",
        "ollama/small: lacks code",
    ),
    "tokens": (
        replace(AFAR, required=RequiredCapabilities({COMPLETION}, 128_001)),
        THERE,
        CHAIN,
        (),
        "missing_capability",
        "openai/large: 128001 tokens are needed, 128000 fit",
    ),
    "unknown tokens": (
        replace(ASKED, required=RequiredCapabilities({COMPLETION}, 1)),
        HERE,
        CHAIN,
        (),
        "missing_capability",
        "ollama/small: 1 tokens are needed, an unknown number fit",
    ),
    "budget": (
        replace(AFAR, max_cost_microusd=899),
        THERE,
        CHAIN,
        (),
        "budget_exceeded",
        "openai/large: costs 900 micro-dollars, 899 are allowed",
    ),
    "policy": (ASKED, HERE, CHAIN, {"ollama"}, "policy_denied", "ollama/small: is denied by policy"),
    "boundary": (
        replace(AFAR, boundary=LOCAL),
        THERE,
        CHAIN,
        (),
        "no_routable_provider",
        "openai/large: is not local, and the task is",
    ),
    "chain": (ASKED, HERE, ("openai",), (), "no_routable_provider", "ollama/small: cannot be asked now"),
    "approval": (
        replace(AFAR, cloud_approved=False),
        THERE,
        CHAIN,
        (),
        "cloud_approval_required",
        "openai/large: is in the cloud, which nobody approved",
    ),
    "scan": (
        replace(AFAR, secret_scan_passed=False),
        THERE,
        CHAIN,
        (),
        "secret_scan_required",
        "openai/large: is in the cloud, and no scan for secrets has passed",
    ),
}


@pytest.mark.parametrize("case", IN_THE_WAY)
def test_what_is_in_the_way_of_the_only_model_is_named(case: str) -> None:
    request, model, chain, denied, failure, reason = IN_THE_WAY[case]
    decision = decided(request, model, chain=chain, denied=denied)
    assert (decision.selected, decision.fallbacks, decision.reasons) == (None, (), (reason,))
    assert decision.failure_class == failure
    assert decision.status is (ESCALATION_REQUIRED if case == "approval" else BLOCKED)


@pytest.mark.parametrize("case", IN_THE_WAY)
def test_who_may_not_is_no_fallback_of_who_may_and_the_reason_is_told(case: str) -> None:
    request, model, chain, denied, _, reason = IN_THE_WAY[case]
    able = ProviderCapability("able", "m", LOCAL, {COMPLETION, CODE}, 0, 1_000_000)
    decision = decided(request, model, able, chain=(*chain, "able"), denied=denied)
    assert (decision.status, decision.selected, decision.fallbacks) == (ALLOWED, able, ())
    assert (decision.reasons, decision.failure_class) == ((reason,), None)


def test_what_just_fits_is_no_obstacle() -> None:
    request = replace(AFAR, required=RequiredCapabilities({COMPLETION}, 128_000), max_cost_microusd=900)
    assert decided(request, THERE).status is ALLOWED


def test_a_task_without_a_limit_may_cost_anything() -> None:
    assert decided(AFAR, replace(THERE, estimated_cost_microusd=10**12)).status is ALLOWED


@pytest.mark.parametrize("boundary", [HYBRID, CLOUD])
def test_what_runs_partly_in_a_cloud_is_not_local(boundary: ExecutionBoundary) -> None:
    decision = decided(ASKED, replace(THERE, boundary=boundary))
    assert decision.reasons == ("openai/large: is not local, and the task is",)


def test_a_model_here_needs_neither_an_approval_nor_a_scan() -> None:
    assert decided(replace(ASKED, boundary=CLOUD), HERE).status is ALLOWED


# --- which failure is named -------------------------------------------------------------------------------------------

LACKING = ProviderCapability("lacking", "m", LOCAL, ())  # type: ignore[arg-type]  # nothing, however it is written
DEAR = ProviderCapability("dear", "m", LOCAL, estimated_cost_microusd=10_000)
DENIED = ProviderCapability("denied", "m", LOCAL)
AWAY = ProviderCapability("away", "m", LOCAL)
REMOTE = ProviderCapability("remote", "m", CLOUD)
WAY = (
    (FailureClass.MISSING_CAPABILITY, LACKING),
    (FailureClass.BUDGET_EXCEEDED, DEAR),
    (FailureClass.POLICY_DENIED, DENIED),
    (FailureClass.NO_ROUTABLE_PROVIDER, AWAY),
)


def obstructed(request: RouteRequest, *models: ProviderCapability) -> RouteDecision:
    chain = ("lacking", "dear", "denied", "remote")
    return decided(replace(request, max_cost_microusd=1_000), *models, chain=chain, denied={"denied"})


@given(st.sets(st.integers(0, len(WAY) - 1), min_size=1).flatmap(lambda met: st.permutations(sorted(met))))
def test_the_failure_is_that_of_the_model_that_came_furthest(met: list[int]) -> None:
    decision = obstructed(ASKED, *[WAY[place][1] for place in met])
    assert (decision.status, decision.failure_class) == (BLOCKED, WAY[max(met)][0])
    assert len(decision.reasons) == len(met)


@pytest.mark.parametrize(
    ("fields", "status", "failure"),
    [
        ({"cloud_approved": False}, ESCALATION_REQUIRED, FailureClass.CLOUD_APPROVAL_REQUIRED),
        (
            {"cloud_approved": False, "secret_scan_passed": False},
            ESCALATION_REQUIRED,
            FailureClass.CLOUD_APPROVAL_REQUIRED,
        ),
        ({"secret_scan_passed": False}, BLOCKED, FailureClass.SECRET_SCAN_REQUIRED),
    ],
)
def test_what_only_a_human_or_a_scan_is_missing_for_comes_before_every_other_failure(
    fields: dict[str, bool], status: RouteStatus, failure: FailureClass
) -> None:
    decision = obstructed(replace(AFAR, **fields), LACKING, DEAR, DENIED, AWAY, REMOTE)  # type: ignore[arg-type]
    assert (decision.status, decision.failure_class) == (status, failure)


def test_nobody_is_asked_to_approve_what_could_not_be_done_anyway() -> None:
    request = replace(AFAR, cloud_approved=False)
    assert decided(request, THERE, chain=()).status is BLOCKED
    assert decided(request, THERE, denied={"openai"}).status is BLOCKED
    assert decided(replace(request, max_cost_microusd=1), THERE).status is BLOCKED
    assert decided(replace(request, boundary=LOCAL), THERE).status is BLOCKED


# --- the hash of a request --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_", [ASKED, replace(ASKED, verification=EvidenceContract())])
def test_a_decision_names_its_request_and_the_evidence_that_was_agreed_on(request_: RouteRequest) -> None:
    decision = decided(request_, HERE)
    assert decision.request_hash == request_.context_hash
    assert decision.evidence_contract == request_.verification


@pytest.mark.parametrize(
    "changed",
    [
        {"task_id": "t-2"},
        {"intent": "break it"},
        {"boundary": HYBRID},
        {"required": RequiredCapabilities({CODE})},
        {"required": RequiredCapabilities({COMPLETION}, 1)},
        {"input_classification": DataClassification.RESTRICTED},
        {"max_cost_microusd": 0},
        {"cloud_approved": True},
        {"secret_scan_passed": True},
        {"verification": replace(PLAN, require_exit_code_zero=True)},
        {"preferred_providers": ("openai",)},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_whatever_is_asked_differently_has_another_hash(changed: dict[str, Any]) -> None:
    assert replace(ASKED, **changed).context_hash != ASKED.context_hash


def test_equal_requests_have_equal_hashes_in_every_process() -> None:
    code = (
        "import sys; sys.path[:] = sys.argv[1].split('|')\n"
        "from converge_core.llm.capability import CapabilityKind, RequiredCapabilities\n"
        "from converge_plugins.pcsf.tasks import RouteRequest\n"
        "print(RouteRequest('t', 'i', required=RequiredCapabilities(set(CapabilityKind))).context_hash)\n"
    )
    command = [sys.executable, "-c", code, "|".join(sys.path)]
    hashes = {
        subprocess.run(command, capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}).stdout.strip()
        for seed in ("1", "2")
    }
    here = RouteRequest("t", "i", required=RequiredCapabilities(set(CapabilityKind))).context_hash
    assert hashes == {str(here)}


def test_a_cost_is_not_negative() -> None:
    with pytest.raises(MisuseError, match="openai/large: a cost is not negative, unlike -1"):
        replace(THERE, estimated_cost_microusd=-1)


# --- the evidence -----------------------------------------------------------------------------------------------------

CONTRACT = EvidenceContract(("report",), ("tests",), require_exit_code_zero=True)
DIGEST = ContentHash.of("the report")
RECEIPT = ExecutionReceipt("t-1", decide(ASKED, [HERE], CHAIN), "completed", 0, {"report": DIGEST}, {"tests": True})


@pytest.mark.parametrize("status", ["completed", "succeeded"])
def test_where_everything_is_shown_the_task_is_done(status: str) -> None:
    assessment = assess_evidence(CONTRACT, replace(RECEIPT, status=status))
    assert (assessment.complete, assessment.reasons) == (True, ())


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"exit_code": 1}, "exit code 1"),
        ({"exit_code": None}, "no exit code"),
        ({"artifact_hashes": {"other": DIGEST}}, "artifact 'report' is missing"),
        ({"checks": {}}, "check 'tests' is missing"),
        ({"checks": {"tests": False}}, "check 'tests' has failed"),
        ({"checks": {"tests": 1}}, "check 'tests' has failed"),
        ({"checks": {"tests": "yes"}}, "check 'tests' has failed"),
        ({"status": "running"}, "its status is 'running'"),
        ({"status": "Completed"}, "its status is 'Completed'"),
    ],
)
def test_what_is_not_shown_is_named_and_the_task_is_not_done(fields: dict[str, Any], reason: str) -> None:
    assessment = assess_evidence(CONTRACT, replace(RECEIPT, **fields))
    assert (assessment.complete, assessment.reasons) == (False, (reason,))


def test_everything_that_is_missing_is_named_at_once() -> None:
    empty = ExecutionReceipt("t-1", RECEIPT.route, "failed")
    assert assess_evidence(CONTRACT, empty).reasons == (
        "no exit code",
        "artifact 'report' is missing",
        "check 'tests' is missing",
        "its status is 'failed'",
    )


def test_an_exit_code_that_nobody_asked_for_does_not_matter() -> None:
    assert assess_evidence(replace(CONTRACT, require_exit_code_zero=False), replace(RECEIPT, exit_code=1)).complete


def test_leave_to_complete_unverified_covers_the_status_and_no_evidence() -> None:
    lenient = replace(CONTRACT, allow_unverified_completion=True)
    assert assess_evidence(lenient, replace(RECEIPT, status="running")).complete
    assert assess_evidence(lenient, replace(RECEIPT, checks={})).reasons == ("check 'tests' is missing",)


def test_a_receipt_does_not_change_with_what_it_was_made_from() -> None:
    checks = {"tests": True}
    receipt = replace(RECEIPT, checks=checks)
    checks["tests"] = False
    assert assess_evidence(CONTRACT, receipt).complete
