from __future__ import annotations

import pickle

import pytest

from converge_core import ConvergeError
from converge_core.llm.errors import (
    AuthenticationFailed,
    BackendError,
    BackendTimeout,
    BudgetExceeded,
    CircuitOpen,
    ContractFailed,
    ExecutionFailed,
    InvalidRequest,
    NetworkFailed,
    NoBackendFits,
    RateLimited,
    Retried,
    Unavailable,
    UnsupportedCapability,
)

EACH: list[tuple[BackendError, bool, bool, str]] = [
    (InvalidRequest("b", "no model"), False, False, "no model"),
    (AuthenticationFailed("b", "bad key"), False, False, "bad key"),
    (ExecutionFailed("b", "crashed"), False, False, "crashed"),
    (NetworkFailed("b", "connection reset"), True, False, "connection reset"),
    (Unavailable("b", "down"), True, True, "down"),
    (RateLimited("b"), True, True, "rate limited"),
    (RateLimited("b", 70), True, True, "rate limited, try again in 70 ms"),
    (BackendTimeout("b", 100, 120), True, True, "no answer within 100 ms, given up after 120 ms"),
    (UnsupportedCapability("b", "image"), False, False, "does not offer image"),
    (BudgetExceeded("b", "tokens", 10, 12), False, False, "tokens: 12 used, 10 allowed"),
    (ContractFailed("b", "shape", "no id"), False, False, "contract 'shape' failed: no id"),
    (CircuitOpen("b", 40), False, False, "its circuit is open, try again in 40 ms"),
    (CircuitOpen("b"), False, False, "its circuit is open"),
    (Retried("b", 3, Unavailable("b", "down")), False, False, "3 attempts; the last one: down"),
]


@pytest.mark.parametrize(("error", "retryable", "overload", "reason"), EACH)
def test_each_type_says_whether_to_try_again_and_whether_the_backend_is_in_trouble(
    error: BackendError, retryable: bool, overload: bool, reason: str
) -> None:
    assert (error.retryable, error.overload) == (retryable, overload)
    assert str(error) == f"backend 'b': {reason}"


@pytest.mark.parametrize(
    "words", ["timeout", "rate limit", "429", "503", "502", "504", "connection", "network", "overloaded"]
)
def test_the_words_of_a_message_decide_nothing(words: str) -> None:
    error = ExecutionFailed("b", f"the {words} is the topic of this text")
    assert (error.retryable, error.overload) == (False, False)


@pytest.mark.parametrize("error", [each[0] for each in EACH])
def test_each_error_pickles_with_its_data(error: BackendError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error) == str(type(error)(*error.args))
    assert {name: str(value) for name, value in vars(copy).items()} == {
        name: str(value) for name, value in vars(error).items()
    }


def test_an_error_carries_its_data() -> None:
    timeout, budget = BackendTimeout("b", 100, 120), BudgetExceeded("b", "tokens", 10, 12)
    assert (timeout.backend, timeout.deadline_ms, timeout.elapsed_ms) == ("b", 100, 120)
    assert (budget.resource, budget.limit, budget.used) == ("tokens", 10, 12)


def test_attempts_that_all_failed_keep_the_last_failure() -> None:
    error = Retried("b", 3, RateLimited("b", 9))
    assert (error.attempts, error.last.retryable) == (3, True)


def test_nobody_fits_for_the_reasons_that_are_listed() -> None:
    error = NoBackendFits("acme", (("a", ("cost: high is above low", "data: closed")), ("b", ("denied: yes",))))
    assert str(error) == (
        "no backend satisfies the selection criteria for provider acme\n"
        "  a: cost: high is above low; data: closed\n"
        "  b: denied: yes"
    )
    assert str(NoBackendFits(None, ())) == "no backend satisfies the selection criteria"
    assert isinstance(error, ConvergeError)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
