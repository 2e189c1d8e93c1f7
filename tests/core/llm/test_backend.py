from __future__ import annotations

from dataclasses import replace

import pytest

from converge_core import CanonicalError, MisuseError, Usage
from converge_core.llm.backend import (
    BackendBudgets,
    BackendRequest,
    BackendResponse,
    ContractReport,
    ContractResult,
    ContractSpec,
    Message,
    MessageRole,
)
from converge_core.llm.errors import BackendError, BudgetExceeded, ContractFailed
from converge_core.llm.policies import RetryPolicy
from converge_core.suggestors.contract import Replayability

REQUEST = BackendRequest("intent", (Message.user("hello"),))
ANSWER = BackendResponse("b", "model")


def faults(request: BackendRequest, **answer: object) -> list[str]:
    return [str(fault) for fault in request.faults(replace(ANSWER, **answer))]  # type: ignore[arg-type]  # any field


def test_a_request_by_default() -> None:
    assert REQUEST.budgets == BackendBudgets(1024, 1, None, None)
    assert REQUEST.retry == RetryPolicy()
    assert (REQUEST.truth_ids, REQUEST.contracts, REQUEST.state_injection_hash) == ((), (), None)


def test_a_text_is_one_message_of_the_user() -> None:
    assert Message.user("hello") == Message(MessageRole.USER, "hello")


def test_a_request_needs_a_message() -> None:
    with pytest.raises(MisuseError, match="at least one message"):
        BackendRequest("intent", ())


def test_two_contracts_of_one_name_are_refused() -> None:
    with pytest.raises(MisuseError, match="a name of its own, unlike shape, tone, shape"):
        replace(REQUEST, contracts=(ContractSpec("shape"), ContractSpec("tone"), ContractSpec("shape")))


def test_a_schema_does_not_change_after_it_was_given() -> None:
    properties: dict[str, dict[str, str]] = {"id": {"type": "string"}}
    contract = ContractSpec("shape", {"properties": properties})
    properties.clear()
    assert contract.schema == {"properties": {"id": {"type": "string"}}}
    with pytest.raises(TypeError, match="immutable"):
        contract.schema["properties"] = None  # type: ignore[index]  # that is the point


def test_a_schema_that_is_not_json_is_refused() -> None:
    with pytest.raises(CanonicalError):
        ContractSpec("shape", {"const": float("nan")})


def test_an_answer_says_nothing_of_replay_unless_told() -> None:
    assert ANSWER.replayability is Replayability.NONE


# --- contracts --------------------------------------------------------------------------------------------------------


def test_all_passed_is_what_the_results_say() -> None:
    kept, broken = ContractResult("a", True), ContractResult("b", False)
    assert ContractReport().all_passed
    assert ContractReport((kept,)).all_passed
    assert not ContractReport((kept, broken)).all_passed


def test_a_required_contract_that_is_broken_is_a_fault() -> None:
    request = replace(REQUEST, contracts=(ContractSpec("shape"), ContractSpec("tone")))
    report = ContractReport((ContractResult("shape", False, "no id"), ContractResult("tone", True)))
    assert faults(request, contract_report=report) == ["backend 'b': contract 'shape' failed: no id"]


def test_a_required_contract_that_nobody_checked_is_a_fault() -> None:
    request = replace(REQUEST, contracts=(ContractSpec("shape"),))
    assert faults(request) == ["backend 'b': contract 'shape' failed: not checked"]


def test_a_contract_that_is_not_required_stops_nothing() -> None:
    request = replace(REQUEST, contracts=(ContractSpec("shape", required=False),))
    assert faults(request, contract_report=ContractReport((ContractResult("shape", False),))) == []


def test_a_contract_that_passed_and_failed_has_failed() -> None:
    request = replace(REQUEST, contracts=(ContractSpec("shape"),))
    report = ContractReport((ContractResult("shape", True), ContractResult("shape", False, "on a second look")))
    assert faults(request, contract_report=report) == ["backend 'b': contract 'shape' failed: on a second look"]


# --- budgets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("budgets", "answer", "fault"),
    [
        (BackendBudgets(max_tokens=10), {"usage": Usage(99, 11)}, "tokens: 11 used, 10 allowed"),
        (BackendBudgets(max_iterations=2), {"iterations": 3}, "iterations: 3 used, 2 allowed"),
        (BackendBudgets(latency_ceiling_ms=5), {"latency_ms": 6}, "latency_ms: 6 used, 5 allowed"),
        (BackendBudgets(cost_ceiling_microusd=7), {"usage": Usage(0, 0, 8)}, "cost_microusd: 8 used, 7 allowed"),
        (BackendBudgets(cost_ceiling_microusd=0), {"usage": Usage(0, 0, 1)}, "cost_microusd: 1 used, 0 allowed"),
    ],
)
def test_a_limit_that_is_exceeded_is_a_fault(budgets: BackendBudgets, answer: dict[str, object], fault: str) -> None:
    assert faults(replace(REQUEST, budgets=budgets), **answer) == [f"backend 'b': {fault}"]


def test_a_limit_that_is_reached_is_kept() -> None:
    request = replace(REQUEST, budgets=BackendBudgets(10, 2, 5, 7))
    assert faults(request, usage=Usage(99, 10, 7), iterations=2, latency_ms=5) == []


def test_without_a_ceiling_time_and_money_have_no_limit() -> None:
    assert faults(REQUEST, usage=Usage(0, 0, 10**9), latency_ms=10**9) == []


def test_all_faults_are_found_at_once() -> None:
    request = replace(
        REQUEST,
        budgets=BackendBudgets(max_tokens=10, latency_ceiling_ms=5),
        contracts=(ContractSpec("shape"), ContractSpec("tone")),
    )
    found = request.faults(replace(ANSWER, usage=Usage(0, 11), latency_ms=6))
    kinds: list[type[BackendError]] = [BudgetExceeded, BudgetExceeded, ContractFailed, ContractFailed]
    assert [type(fault) for fault in found] == kinds


@pytest.mark.parametrize("field", ["max_tokens", "max_iterations", "latency_ceiling_ms", "cost_ceiling_microusd"])
def test_a_negative_limit_is_refused(field: str) -> None:
    with pytest.raises(MisuseError, match="a limit is not negative"):
        BackendBudgets(**{field: -1})
