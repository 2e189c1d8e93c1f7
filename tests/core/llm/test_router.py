from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_core import LedgerError, MisuseError, Usage
from converge_core.context.allowance import Allowance, BudgetRefused
from converge_core.ledger.canonical import JsonValue, canonical
from converge_core.llm.backend import BackendBudgets, BackendRequest, BackendResponse, ContractSpec, Message
from converge_core.llm.blobs import Blobs
from converge_core.llm.errors import (
    AuthenticationFailed,
    BackendError,
    BackendTimeout,
    BudgetExceeded,
    CallOutcome,
    ExecutionFailed,
    InvalidRequest,
    NetworkFailed,
    QuotaExhausted,
    RateLimited,
    Refused,
    StreamAborted,
    Truncated,
    Unavailable,
)
from converge_core.llm.policies import RetryPolicy
from converge_core.llm.profiles import ProviderProfile
from converge_core.llm.router import Candidate, Objection, RouteFailed, Router, RouteTask
from converge_core.llm.routing import DataClassification
from tests.core.stage import finish
from tests.fakes.backend import FakeBackend, FakeCapacity, FakePrices, Said, profile_of

ONCE = RetryPolicy.no_retry()
REQUEST = BackendRequest("intent", (Message.user("hello"),), budgets=BackendBudgets(max_tokens=20), retry=ONCE)
SHAPED = replace(REQUEST, contracts=(ContractSpec("answer", {"type": "object"}),))
MOST = 30
"""Tokens that an attempt sets aside: ten of the prompt, twenty of the answer."""


@dataclass
class Stage:
    """A router of fake backends, and everything that can be seen of a route."""

    backends: list[FakeBackend]
    capacity: FakeCapacity = field(default_factory=FakeCapacity)
    prices: FakePrices = field(default_factory=FakePrices)
    objections: tuple[Objection, ...] = ()
    blobs: Blobs | None = None
    tokens: int | None = None
    microusd: int | None = None
    slept: list[int] = field(default_factory=list)
    notes: list[Mapping[str, JsonValue]] = field(default_factory=list)
    heard: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.allowance = Allowance(self.tokens, self.microusd)
        self.time = 0

    def ask(self, request: BackendRequest = REQUEST, task: RouteTask = RouteTask()) -> BackendResponse:  # noqa: B008
        candidates = [Candidate(backend, self.prices) for backend in self.backends]
        router = Router(candidates, self.capacity, self._clock, self._sleep, self.objections, blobs=self.blobs)
        return finish(router.ask(request, task, self.allowance, self.notes.append, self._hear))

    def _clock(self) -> int:
        self.time += 7
        return self.time

    async def _sleep(self, delay_ms: int) -> None:
        self.slept.append(delay_ms)

    async def _hear(self, piece: str) -> None:
        self.heard.append(piece)

    @property
    def record(self) -> Any:
        """The one record of the one route."""
        (note,) = self.notes
        return json.loads(canonical(note))

    @property
    def attempts(self) -> list[tuple[str, str]]:
        """Who was asked, and what came of it."""
        return [(attempt["backend"], attempt["outcome"]) for attempt in self.record["attempts"]]


def backend(name: str, *said: Said, **more: Any) -> FakeBackend:
    return FakeBackend(profile_of(name), list(said), **more)


# --- who is asked -----------------------------------------------------------------------------------------------------


def test_the_first_candidate_answers_and_nobody_else_is_asked() -> None:
    stage = Stage([backend("a", "yes"), backend("b", "no")])
    assert stage.ask().text == "yes"
    assert stage.backends[1].asked == []
    assert stage.attempts == [("a", "success")]


def test_what_an_answer_costs_is_in_its_usage() -> None:
    assert Stage([backend("a", "yes")]).ask().usage == Usage(10, 5, 15)


def test_after_a_failure_the_next_candidate_is_asked_and_the_failure_stands_in_the_record() -> None:
    stage = Stage([backend("a", Unavailable("a", "down")), backend("b", "yes")])
    assert stage.ask().backend == "b"
    assert stage.attempts == [("a", "overloaded"), ("b", "success")]
    assert stage.record["attempts"][0]["detail"] == "down"
    assert (stage.record["outcome"], stage.record["backend"]) == ("success", "b")


def test_a_candidate_is_held_to_the_objections_right_before_it_would_be_asked() -> None:
    asked: list[str] = []

    def against(profile: ProviderProfile, task: RouteTask) -> str | None:
        asked.append(profile.id)
        return "denied" if profile.id == "a" else None

    stage = Stage([backend("a", "no"), backend("b", "yes"), backend("c")], objections=(Objection("nap", against),))
    stage.ask()
    assert stage.backends[0].asked == []
    assert stage.record["skipped"] == [{"backend": "a", "gate": "nap", "reason": "denied"}]
    assert asked == ["a", "b"]


def test_x08_a_denied_candidate_is_not_called_even_if_it_is_the_only_one() -> None:
    stage = Stage([backend("a", "yes")], objections=(Objection("nap", lambda profile, task: "denied"),))
    with pytest.raises(RouteFailed, match="a: nap: denied"):
        stage.ask()
    assert stage.backends[0].asked == []
    assert stage.record["outcome"] == "skipped"


def test_the_first_objection_of_several_is_the_one_that_is_told() -> None:
    gates = tuple(Objection(gate, lambda profile, task, gate=gate: f"{gate} says no") for gate in ("dcf", "nap"))  # type: ignore[misc]
    stage = Stage([backend("a")], objections=gates)
    with pytest.raises(RouteFailed, match=r"a: dcf: dcf says no$"):
        stage.ask()


def test_a_candidate_without_leave_is_skipped() -> None:
    stage = Stage([backend("a", "no"), backend("b", "yes")], FakeCapacity({"a": "its circuit is open"}))
    stage.ask()
    assert stage.record["skipped"] == [{"backend": "a", "gate": "capacity", "reason": "its circuit is open"}]


def test_nobody_is_there_to_be_asked() -> None:
    stage = Stage([])
    with pytest.raises(RouteFailed, match=r"^no model answered$"):
        stage.ask()


def test_two_candidates_of_one_name_are_refused() -> None:
    with pytest.raises(MisuseError, match="unlike a, a"):
        Stage([backend("a"), backend("a")]).ask()


def test_the_record_names_the_question_by_its_digest_and_never_holds_its_words() -> None:
    stage = Stage([backend("a", "yes")])
    stage.ask(task=RouteTask(data=DataClassification.INTERNAL, labels=frozenset({"pii.email"})))
    assert stage.record["request"] == str(REQUEST.digest)
    assert (stage.record["data"], stage.record["labels"]) == ("internal", ["pii.email"])
    assert "hello" not in canonical(stage.record)


def test_an_answer_is_heard_as_it_comes() -> None:
    stage = Stage([backend("a", "one two")])
    stage.ask()
    assert stage.heard == ["one", "two"]


# --- failures ---------------------------------------------------------------------------------------------------------

FINAL = [Refused("a", "no"), Truncated("a", "cut")]


@pytest.mark.parametrize("error", FINAL, ids=lambda error: type(error).__name__)
def test_after_a_refusal_or_a_cut_answer_nobody_else_is_asked(error: BackendError) -> None:
    stage = Stage([backend("a", error), backend("b", "yes")])
    with pytest.raises(type(error)):
        stage.ask()
    assert stage.attempts == [("a", error.outcome.value)]


FAILURES = [
    InvalidRequest("a", "bad"),
    AuthenticationFailed("a", "bad key"),
    ExecutionFailed("a", "empty answer"),
    NetworkFailed("a", "reset"),
    Unavailable("a", "down"),
    RateLimited("a", 50),
    QuotaExhausted("a", 60),
    BackendTimeout("a", 10, 12),
]


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
def test_every_attempt_is_told_to_the_capacity_with_its_outcome(error: BackendError) -> None:
    stage = Stage([backend("a", error), backend("b", "yes")])
    stage.ask()
    wait = getattr(error, "retry_after_ms", None)
    assert stage.capacity.told == [("a", error.outcome, wait), ("b", CallOutcome.SUCCESS, None)]


def test_when_nobody_answers_each_reason_is_told() -> None:
    stage = Stage([backend("a", Unavailable("a", "down")), backend("b", NetworkFailed("b", "reset"))])
    with pytest.raises(RouteFailed, match="no model answered; a: down; b: reset"):
        stage.ask()
    assert stage.record["outcome"] == "network"


def test_a_backend_that_raises_what_it_may_not_has_failed_and_is_paid_for() -> None:
    stage = Stage([backend("a", KeyError("oops"))], tokens=100)
    with pytest.raises(KeyError):
        stage.ask()
    assert stage.attempts == [("a", "failed")]
    assert stage.allowance.tokens == 100 - MOST


def test_a_call_that_is_cancelled_leaves_one_record_and_hands_everything_back() -> None:
    stage = Stage([backend("a", GeneratorExit()), backend("b")], tokens=100)
    with pytest.raises(GeneratorExit):
        stage.ask()
    assert stage.attempts == [("a", "aborted")]
    assert (stage.capacity.out, stage.allowance.tokens) == (0, 100 - MOST)


@given(st.lists(st.sampled_from([*FINAL, *FAILURES, KeyError("x"), "yes"]), min_size=1, max_size=5))
def test_whatever_happens_every_permit_is_handed_back_and_there_is_one_record(said: list[Said]) -> None:
    stage = Stage([backend(str(place), word) for place, word in enumerate(said)])
    with suppress(Exception):
        stage.ask()
    assert stage.capacity.out == 0
    assert len(stage.capacity.told) == len(stage.record["attempts"])


# --- retries ----------------------------------------------------------------------------------------------------------

TWICE = replace(REQUEST, retry=RetryPolicy(max_attempts=2, initial_delay_ms=100, jitter_percent=0))


def test_what_may_pass_is_tried_again_after_the_wait_that_the_policy_has() -> None:
    stage = Stage([backend("a", Unavailable("a", "down"), "yes")])
    stage.ask(TWICE)
    assert stage.slept == [100]
    assert stage.attempts == [("a", "overloaded"), ("a", "success")]


def test_a_wait_that_the_provider_asks_for_is_kept() -> None:
    stage = Stage([backend("a", RateLimited("a", 900), "yes")])
    stage.ask(TWICE)
    assert stage.slept == [900]


def test_what_will_not_pass_is_not_tried_again() -> None:
    stage = Stage([backend("a", InvalidRequest("a", "bad"), "yes"), backend("b", "yes")])
    assert stage.ask(TWICE).backend == "b"
    assert stage.slept == []


def test_a_circuit_that_has_opened_meanwhile_ends_the_attempts() -> None:
    stage = Stage([backend("a", Unavailable("a", "down"), "yes"), backend("b", "yes")])

    class Opens(FakeCapacity):
        def settle(self, provider: str, *args: Any, **kwargs: Any) -> None:
            super().settle(provider, *args, **kwargs)
            self.closed = {"a": "its circuit is open"}

    stage.capacity = Opens()
    assert stage.ask(TWICE).backend == "b"
    assert stage.attempts == [("a", "overloaded"), ("b", "success")]


# --- shapes and limits ------------------------------------------------------------------------------------------------


def test_an_answer_of_the_wrong_shape_is_asked_for_once_more_with_the_fault() -> None:
    stage = Stage([backend("a", "wrong", "right", kept=[False, True])])
    assert stage.ask(SHAPED).text == "right"
    again = stage.backends[0].asked[1].messages
    assert [message.content for message in again[1:]] == [
        "wrong",
        "That does not fit the contract 'answer': $.x: is missing. Answer again.",
    ]
    assert stage.attempts == [("a", "invalid_output"), ("a", "success")]
    assert [attempt.get("repair") for attempt in stage.record["attempts"]] == [None, True]


def test_an_answer_is_repaired_once_and_not_twice() -> None:
    stage = Stage([backend("a", "wrong", "wrong", "right", kept=[False, False, True])])
    with pytest.raises(RouteFailed, match=r"contract 'answer' failed: \$\.x: is missing"):
        stage.ask(SHAPED)
    assert stage.attempts == [("a", "invalid_output")] * 2


def test_where_no_repair_is_wanted_the_next_candidate_is_asked() -> None:
    stage = Stage([backend("a", "wrong", kept=[False]), backend("b", "right")])
    assert stage.ask(SHAPED, RouteTask(repair=False)).backend == "b"


def test_an_answer_beyond_its_limits_ends_the_route() -> None:
    long = BackendResponse("a", "a-1", "long", usage=Usage(10, 21))
    stage = Stage([backend("a", long), backend("b", "yes")], tokens=100)
    with pytest.raises(BudgetExceeded):
        stage.ask()
    assert stage.allowance.tokens == 100 - 31


# --- price and budget -------------------------------------------------------------------------------------------------


def test_a_model_whose_price_nobody_knows_is_not_asked() -> None:
    stage = Stage([backend("a", "no"), backend("b", "yes")], prices=FakePrices(frozenset({"a-1"})))
    assert stage.ask().backend == "b"
    assert stage.record["skipped"] == [{"backend": "a", "gate": "price", "reason": "nobody knows what 'a-1' costs"}]
    assert stage.capacity.out == 0


def test_an_attempt_that_could_exceed_the_tokens_is_not_made() -> None:
    stage = Stage([backend("a", "no")], tokens=MOST - 1)
    with pytest.raises(BudgetRefused, match="tokens: 30 asked, 29 left"):
        stage.ask()
    assert (stage.backends[0].asked, stage.allowance.tokens, stage.capacity.out) == ([], MOST - 1, 0)


def test_an_attempt_that_could_exceed_the_money_is_not_made() -> None:
    stage = Stage([backend("a", "no")], microusd=MOST - 1)
    with pytest.raises(BudgetRefused, match="cost: 30 asked, 29 left"):
        stage.ask()
    assert stage.backends[0].asked == []


def test_one_that_fits_the_budget_is_asked_in_place_of_one_that_does_not() -> None:
    stage = Stage([backend("a", "no", prompt_tokens=50), backend("b", "yes")], tokens=MOST)
    assert stage.ask().backend == "b"
    assert stage.record["skipped"] == [{"backend": "a", "gate": "budget", "reason": "tokens: 70 asked, 30 left"}]


def test_a_ceiling_of_the_request_is_a_budget_too() -> None:
    stage = Stage([backend("a", "no")])
    with pytest.raises(BudgetRefused, match="cost: 30 asked, 29 left"):
        stage.ask(replace(REQUEST, budgets=BackendBudgets(20, cost_ceiling_microusd=29)))


def test_what_was_set_aside_and_not_used_is_given_back() -> None:
    stage = Stage([backend("a", "yes")], tokens=100, microusd=100)
    stage.ask()
    assert (stage.allowance.tokens, stage.allowance.cost_microusd) == (85, 85)


def test_a_failure_that_nobody_bills_costs_nothing() -> None:
    stage = Stage([backend("a", Unavailable("a", "down")), backend("b", "yes")], tokens=100)
    stage.ask()
    assert stage.allowance.tokens == 85


def test_a_failure_that_may_be_billed_counts_as_all_it_can_have_cost() -> None:
    stage = Stage([backend("a", BackendTimeout("a", 1, 2)), backend("b", "yes")], tokens=100)
    stage.ask()
    assert stage.allowance.tokens == 100 - MOST - 15


def test_a_refusal_costs_what_the_backend_says() -> None:
    refused = Refused("a", "no")
    refused.usage = Usage(10, 2)
    stage = Stage([backend("a", refused)], tokens=100, microusd=100)
    with pytest.raises(Refused):
        stage.ask()
    assert (stage.allowance.tokens, stage.allowance.cost_microusd) == (88, 88)


def test_a_count_that_fails_is_an_attempt_that_failed() -> None:
    class Uncountable(FakeBackend):
        async def count_tokens(self, request: BackendRequest) -> int:
            raise NetworkFailed("a", "reset")

    stage = Stage([Uncountable(profile_of("a"), []), backend("b", "yes")], tokens=100)
    stage.ask()
    assert stage.attempts == [("a", "network"), ("b", "success")]
    assert stage.allowance.tokens == 85


@given(
    st.lists(st.sampled_from([*FAILURES, "yes"]), min_size=1, max_size=8),
    st.integers(0, 100),
)
def test_no_sequence_of_fallbacks_and_retries_exceeds_the_budget(said: list[Said], tokens: int) -> None:
    stage = Stage([backend(str(place), word, word, word) for place, word in enumerate(said)], tokens=tokens)
    with suppress(BudgetRefused, RouteFailed):
        stage.ask(TWICE)
    spent = sum(
        attempt["usage"].get("input_tokens", 0) + attempt["usage"].get("output_tokens", 0)
        for attempt in stage.record["attempts"]
    )
    assert spent <= tokens
    assert stage.allowance.tokens == tokens - spent


# --- the full exchange ------------------------------------------------------------------------------------------------


class MemoryBlobs:
    def __init__(self, error: LedgerError | None = None) -> None:
        self.kept: dict[str, bytes] = {}
        self.error = error

    def put(self, content: bytes) -> str:
        if self.error is not None:
            raise self.error
        digest = hashlib.sha256(content).hexdigest()
        self.kept[digest] = content
        return digest

    def get(self, digest: str) -> bytes:
        return self.kept[digest]


def test_the_full_exchange_is_kept_and_the_record_names_it() -> None:
    blobs = MemoryBlobs()
    stage = Stage([backend("a", Unavailable("a", "down")), backend("b", "yes")], blobs=blobs)
    stage.ask()
    first, second = json.loads(blobs.get(stage.record["exchange"]))
    assert (first["backend"], first["answer"]) == ("a", None)
    assert (second["backend"], second["answer"]["text"]) == ("b", "yes")
    assert second["asked"]["messages"] == [{"content": "hello", "role": "user"}]


def test_an_exchange_that_cannot_be_kept_is_a_gap_that_the_record_shows() -> None:
    stage = Stage([backend("a", "yes")], blobs=MemoryBlobs(LedgerError("the disk is full")))
    assert stage.ask().text == "yes"
    assert stage.record["exchange_lost"] == "the disk is full"


# --- whoever listens ------------------------------------------------------------------------------------------------


def test_a_listener_who_hangs_up_is_no_failure_of_the_provider() -> None:
    gone = StreamAborted("the reader has gone")
    stage = Stage([FakeBackend(profile_of("a"), [gone]), FakeBackend(profile_of("b"), ["hello"])])
    with pytest.raises(StreamAborted):
        stage.ask()
    assert stage.capacity.told == [("a", CallOutcome.ABORTED, None)]
    assert stage.attempts == [("a", "aborted")]
    assert stage.allowance.used.tokens == MOST


@dataclass
class Watching:
    """Remembers what it is told."""

    told: list[tuple[str, ...]] = field(default_factory=list)

    def asking(self, agent: str, backend: str) -> None:
        self.told.append((agent, backend))

    def asked(self, agent: str, backend: str, outcome: CallOutcome) -> None:
        self.told.append((agent, backend, outcome.value))


def test_a_watcher_is_told_of_every_attempt_as_it_begins_and_ends() -> None:
    watcher = Watching()
    backends = [FakeBackend(profile_of("a"), [Unavailable("a", "busy")]), FakeBackend(profile_of("b"), ["hello"])]
    candidates = [Candidate(backend, FakePrices()) for backend in backends]
    notes: list[Mapping[str, JsonValue]] = []

    async def sleep(delay_ms: int) -> None:
        raise AssertionError("nobody waits")

    router = Router(candidates, FakeCapacity(), lambda: 0, sleep, watcher=watcher)
    finish(router.ask(REQUEST, RouteTask(agent="causes"), Allowance(), notes.append))
    assert watcher.told == [("causes", "a"), ("causes", "a", "overloaded"), ("causes", "b"), ("causes", "b", "success")]
