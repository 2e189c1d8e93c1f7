"""A message on its way: the gates, their one order, and the one record."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import pytest

from converge_core.context.allowance import Allowance
from converge_core.governance.actions import ActionRecord, ActionStatus, Gate
from converge_core.governance.claims import CapabilityGate, EnvironmentVerifier, VerificationMethod, Verifier
from converge_core.governance.classification import ClassificationLabel, Taxonomy
from converge_core.governance.negative_authority import (
    DREAMER_SAFETY,
    LOCAL_ONLY,
    AuthorityGate,
    NegativeAuthorityProfile,
)
from converge_core.governance.terms import Boundary
from converge_core.ledger.canonical import JsonValue, canonical
from converge_core.llm.capacity import Consumption, DreamerTier
from converge_core.llm.chat import AGENTS, Chat, ChatReply, ChatRequest, chain_order, claims_of
from converge_core.llm.errors import (
    BackendTimeout,
    CallOutcome,
    CapacityError,
    ExecutionFailed,
    Refused,
    StreamAborted,
    Unavailable,
)
from converge_core.llm.models import Model, Models, permitted
from converge_core.llm.profiles import DataSovereignty, ProviderProfile
from converge_core.llm.router import Candidate, Ordering, RouteTask, as_declared
from converge_core.llm.routing import DataClassification
from tests.core.stage import finish
from tests.fakes.backend import FakeBackend, FakeCapacity, FakePrices, Said, profile_of

T = TypeVar("T")
HELLO = ChatRequest("chat-1", "I flew over a mill")
DAY_MS = 86_400_000


@dataclass
class Quotas:
    """Grants so many, and remembers who asked."""

    left: int = 100
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    broken: CapacityError | None = None

    def consume(self, tier: str, action: str, user: str) -> Consumption:
        if self.broken is not None:
            raise self.broken
        self.asked.append((tier, action, user))
        if not self.left:
            return Consumption(False, 0, "the quota of chat is used up", 1000)
        self.left -= 1
        return Consumption(True, self.left)


@dataclass
class Line:
    """Hears so many pieces, and then hangs up."""

    patience: int = 100
    streams: bool = True
    heard: list[str] = field(default_factory=list)

    async def tell(self, piece: str) -> None:
        if len(self.heard) == self.patience:
            raise StreamAborted("the reader has gone")
        self.heard.append(piece)

    async def hold(self, call: Callable[[], Awaitable[T]]) -> T:
        return await call()


@dataclass
class Stage:
    """A chat over fake models, and everything that can be seen of it."""

    backends: list[FakeBackend]
    profiles: tuple[NegativeAuthorityProfile, ...] = (DREAMER_SAFETY,)
    quotas: Quotas = field(default_factory=Quotas)
    closed: Mapping[str, str] = field(default_factory=dict)
    data: DataClassification = DataClassification.INTERNAL
    taxonomy: Taxonomy | None = None
    claims: CapabilityGate = field(default_factory=lambda: claims_of(AGENTS))
    verifier: Verifier = field(default_factory=lambda: EnvironmentVerifier({}, bool))
    order: Callable[[FakeCapacity], Ordering] = lambda capacity: as_declared
    notes: list[Mapping[str, JsonValue]] = field(default_factory=list)
    now_ms: int = 20_000 * DAY_MS

    def __post_init__(self) -> None:
        chain = [backend.profile.provider for backend in self.backends]
        self.capacity = FakeCapacity(self.closed, chain)
        authority = AuthorityGate(self.profiles)
        models = Models(
            [Model(Candidate(backend, FakePrices()), self.data) for backend in self.backends],
            self.capacity,
            lambda: 0,
            self._sleep,
            (permitted(authority, self._now),),
            authority=authority,
        )
        self.chat = Chat(
            models,
            self.quotas,
            self._now,
            self.claims,
            {VerificationMethod.ENV_CHECK: self.verifier},
            ordering=self.order(self.capacity),
        )
        if self.taxonomy is not None:
            self.chat.taxonomy = self.taxonomy

    def route(self, asked: ChatRequest = HELLO, line: Line | None = None) -> ChatReply:
        return finish(self.chat.route(asked, Allowance(), self.notes.append, line))

    def record(self, asked: ChatRequest = HELLO, line: Line | None = None) -> ActionRecord:
        return self.route(asked, line).record

    @property
    def calls(self) -> int:
        """How often any provider was asked."""
        return sum(len(backend.asked) for backend in self.backends)

    def trace(self) -> Any:
        (note,) = self.notes
        return json.loads(canonical(note))

    def _now(self) -> int:
        return self.now_ms

    async def _sleep(self, delay_ms: int) -> None:
        raise AssertionError("a chat waits for nobody: the next one is asked")


def cloud(name: str, *said: Said) -> FakeBackend:
    return FakeBackend(profile_of(name), list(said))


def offline(*said: Said) -> FakeBackend:
    return FakeBackend(profile_of("offline", sovereignty=DataSovereignty.ON_PREMISES), list(said or ("as ever",)))


def gates(record: ActionRecord) -> list[str]:
    return [passage.gate.value for passage in record.gates]


def denial(record: ActionRecord) -> tuple[str, str]:
    assert record.status is ActionStatus.DENIED
    assert record.denial is not None
    return record.denial.gate.value, str(record.denial.denial)


# --- the way through ------------------------------------------------------------------------------------------------


def test_x30_the_gates_are_passed_in_the_one_declared_order() -> None:
    met: list[str] = []

    class Seen(Quotas):
        def consume(self, tier: str, action: str, user: str) -> Consumption:
            met.append("pcsf")
            return super().consume(tier, action, user)

    class SeenTaxonomy(Taxonomy):
        def __getitem__(self, label: str) -> ClassificationLabel:
            met.append("dcf")
            return ClassificationLabel(label)

    class SeenDenials(AuthorityGate):
        def check(self, *args: Any, **named: Any) -> Any:
            met.append("nap")
            return super().check(*args, **named)

    class SeenClaims(CapabilityGate):
        def check(self, *args: Any, **named: Any) -> Any:
            met.append("ccf")
            return super().check(*args, **named)

    class Called(FakeBackend):
        async def complete(self, *args: Any, **named: Any) -> Any:
            met.append("call")
            return await super().complete(*args, **named)

    stage = Stage([Called(profile_of("claude"), ["hello"])], quotas=Seen(), taxonomy=SeenTaxonomy())
    stage.chat.models = replace(stage.chat.models, authority=SeenDenials())
    checked = finish(stage.chat.claims.refreshed("auto", stage.chat.verifiers, stage.now_ms))
    stage.chat.claims = SeenClaims(checked.honesty_floor, checked.honesty, checked.claims)
    record = stage.record()

    assert list(dict.fromkeys(met)) == ["dcf", "nap", "ccf", "pcsf", "call"]
    assert gates(record) == ["dcf", "nap", "ccf", "pcsf", "aapf"] == [gate.value for gate in Gate]


def test_td002_an_answer_leaves_one_record_that_says_by_what_it_was_allowed() -> None:
    stage = Stage([cloud("claude", "hello")])
    reply = stage.route()
    record = reply.record
    assert reply.response is not None
    assert (record.status, reply.response.text, record.output_summary) == (ActionStatus.OK, "hello", "hello")
    assert (record.actor.agent_id, record.actor.provider_id, record.actor.model) == ("auto", "claude", "claude-1")
    assert (record.capability_claim, record.nap_profile, record.dcf_ref) == ("auto", "dreamer-safety", "chat-1")
    assert record.plan == stage.trace()["request"]
    assert record.data_classes == ("dream_content",)
    assert (record.metadata["source"], record.metadata["quota_left"]) == ("llm", 99)


@pytest.mark.parametrize("kind", ["character", "lore", "place"])
def test_what_holds_symbols_is_classified_as_such(kind: str) -> None:
    record = Stage([offline()]).record(replace(HELLO, kind=kind))
    assert record.data_classes == ("dream_content", "symbolic_data")


def test_an_offline_answer_says_that_it_is_one() -> None:
    record = Stage([offline("as ever")]).record()
    assert (record.metadata["source"], record.boundary.value) == ("offline", "local")


def test_a_summary_is_short_and_the_answer_whole() -> None:
    stage = Stage([cloud("claude", "y" * 500)])
    reply = stage.route(replace(HELLO, message="x" * 500))
    assert reply.response is not None
    assert (len(reply.record.input_summary), len(reply.record.output_summary)) == (200, 200)
    assert len(reply.response.text) == 500


# --- denials --------------------------------------------------------------------------------------------------------


def test_an_agent_without_a_claim_is_denied_and_nobody_is_asked() -> None:
    stage = Stage([cloud("claude", "hello")])
    record = stage.record(replace(HELLO, agent="stranger"))
    assert denial(record) == ("ccf", "no capability claim registered for 'stranger'")
    assert gates(record) == ["dcf", "nap", "ccf", "aapf"]
    assert (stage.calls, stage.notes, stage.quotas.asked) == (0, [], [])


def test_a_claim_is_looked_at_again_when_its_time_is_over() -> None:
    stage = Stage([cloud("claude", "hello", "again")])
    assert stage.record().status is ActionStatus.OK
    stage.now_ms += 61_000
    assert stage.record().status is ActionStatus.OK


@pytest.mark.parametrize("tier", DreamerTier)
def test_a_claim_holds_for_every_tier(tier: DreamerTier) -> None:
    assert Stage([offline()]).record(replace(HELLO, tier=tier)).status is ActionStatus.OK


def test_a_claim_that_is_not_found_true_is_worth_nothing() -> None:
    stage = Stage([offline()], verifier=EnvironmentVerifier({"pcsf-chain": "THE_KEY"}, lambda name: False))
    assert denial(stage.record()) == ("ccf", "the claim of 'auto' is not verified: THE_KEY is not set")


def test_an_action_that_is_denied_is_denied_whoever_would_be_asked() -> None:
    no_chat = NegativeAuthorityProfile("no-chat", actions=frozenset({"chat"}), reason="not today")
    stage = Stage([offline()], (DREAMER_SAFETY, no_chat))
    record = stage.record()
    assert denial(record) == ("nap", "action 'chat' denied: not today")
    assert (record.nap_profile, stage.calls, gates(record)) == ("no-chat", 0, ["dcf", "nap", "aapf"])


def test_x08_a_denied_provider_is_not_asked_even_if_it_is_the_only_one() -> None:
    stage = Stage([cloud("anthropic", "hello")], (LOCAL_ONLY,))
    record = stage.record()
    assert denial(record) == ("nap", "anthropic: provider 'anthropic' denied: nothing leaves the premises")
    assert (record.nap_profile, stage.calls) == ("local-only", 0)


def test_a_denied_provider_is_passed_over_visibly_and_another_one_asked() -> None:
    stage = Stage([cloud("anthropic", "hello"), offline()], (LOCAL_ONLY,))
    record = stage.record()
    assert (record.status, record.actor.provider_id) == (ActionStatus.OK, "offline")
    (skipped,) = stage.trace()["skipped"]
    assert (skipped["backend"], skipped["gate"]) == ("anthropic", "negative_authority")
    assert len(stage.backends[0].asked) == 0


def test_a_model_that_may_not_see_the_message_is_not_asked() -> None:
    stage = Stage([cloud("claude", "hello")], data=DataClassification.PUBLIC)
    assert denial(stage.record()) == ("dcf", "claude: it may be shown public data, and this is internal")
    assert stage.calls == 0


def test_data_that_stays_in_a_place_goes_to_nobody_elsewhere() -> None:
    here = Taxonomy((ClassificationLabel("dream_content", jurisdiction=DataSovereignty.EU),))
    record = Stage([cloud("claude", "hello")], taxonomy=here).record()
    assert denial(record) == ("dcf", "claude: 'dream_content' data is for eu, and that of claude resides in any")


def test_an_agent_that_chats_on_the_premises_alone_is_held_to_it() -> None:
    gate = claims_of(["homebody"])
    claim = replace(gate.claims["homebody"].claim, boundary=Boundary.LOCAL)
    stage = Stage([cloud("claude", "hello")], claims=gate.register(claim))
    assert denial(stage.record(replace(HELLO, agent="homebody"))) == (
        "ccf",
        "claude: boundary mismatch: need cloud, have local",
    )


def test_who_is_out_of_an_agents_reach_is_passed_over_and_not_asked() -> None:
    gate = claims_of(["homebody"])
    claim = replace(gate.claims["homebody"].claim, boundary=Boundary.LOCAL)
    stage = Stage([cloud("claude", "hello"), offline("as ever")], claims=gate.register(claim))
    record = stage.record(replace(HELLO, agent="homebody"))
    assert (record.actor.provider_id, len(stage.backends[0].asked)) == ("offline", 0)
    (skipped,) = stage.trace()["skipped"]
    assert (skipped["backend"], skipped["gate"]) == ("claude", "capability")


def test_a_claim_holds_for_the_whole_of_a_call_however_long_that_takes() -> None:
    class Slow(FakeBackend):
        async def complete(self, *args: Any, **named: Any) -> Any:
            stage.now_ms += 61_000
            return await super().complete(*args, **named)

    slow = Slow(profile_of("claude"), [BackendTimeout("claude", 60_000, 61_000)])
    stage = Stage([slow, offline("as ever")])
    assert stage.record().actor.provider_id == "offline"


def test_where_nobody_can_be_asked_now_the_message_is_denied_and_counts_for_nothing() -> None:
    stage = Stage([cloud("claude", "hello")], closed={"claude": "its circuit is open"})
    assert denial(stage.record()) == ("pcsf", "claude: it cannot be asked now (unknown)")
    assert (stage.calls, stage.quotas.asked) == (0, [])


def test_x22_who_is_turned_away_at_an_open_circuit_leaves_no_count_behind() -> None:
    stage = Stage([cloud("claude", "hello")], closed={"claude": "its circuit is open"})
    for _ in range(20):
        assert stage.record().status is ActionStatus.DENIED
    stage.capacity.closed = {}
    assert stage.record().status is ActionStatus.OK
    assert (stage.capacity.out, stage.calls) == (0, 1)


def test_a_quota_is_counted_and_enforced() -> None:
    stage = Stage([cloud("claude", "one", "two", "three")], quotas=Quotas(left=2))
    statuses = [stage.record().status for _ in range(3)]
    assert statuses == [ActionStatus.OK, ActionStatus.OK, ActionStatus.DENIED]
    assert stage.quotas.asked == [("wanderer", "chat", "dreamer")] * 3
    assert stage.calls == 2


def test_a_capacity_that_cannot_be_read_lets_nobody_pass() -> None:
    stage = Stage([cloud("claude", "hello")], quotas=Quotas(broken=CapacityError("capacity.db", "it is damaged")))
    record = stage.record()
    assert denial(record) == ("pcsf", "capacity of the providers, capacity.db: it is damaged")
    assert stage.calls == 0


# --- failures -------------------------------------------------------------------------------------------------------


def test_cr004_a_fallback_hides_no_failure() -> None:
    stage = Stage([cloud("claude", Unavailable("claude", "overloaded")), offline("as ever")])
    record = stage.record()
    assert (record.status, record.actor.provider_id, record.error) == (ActionStatus.OK, "offline", "claude: overloaded")
    assert [attempt["outcome"] for attempt in stage.trace()["attempts"]] == ["overloaded", "success"]
    assert stage.capacity.told == [("claude", CallOutcome.OVERLOADED, None), ("offline", CallOutcome.SUCCESS, None)]


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (ExecutionFailed("claude", "the answer is empty"), ActionStatus.ERROR, "the answer is empty"),
        (Refused("claude", "it declines"), ActionStatus.ERROR, "it declines"),
        (BackendTimeout("claude", 10, 11), ActionStatus.TIMEOUT, "10 ms"),
        (RuntimeError("a bug"), ActionStatus.ERROR, "RuntimeError: a bug"),
    ],
)
def test_x23_every_failure_ends_in_one_record_and_its_permit_is_handed_back(
    error: Exception, status: ActionStatus, reason: str
) -> None:
    stage = Stage([cloud("claude", error)])
    reply = stage.route()
    assert (reply.response, reply.record.status) == (None, status)
    assert reason in reply.record.error
    assert gates(reply.record)[-1] == "aapf"
    assert reply.record.actor.provider_id == "claude"
    assert (len(stage.notes), stage.capacity.out) == (1, 0)


def test_nobody_else_is_asked_what_a_model_has_refused() -> None:
    stage = Stage([cloud("claude", Refused("claude", "it declines")), offline()])
    assert stage.record().status is ActionStatus.ERROR
    assert len(stage.backends[1].asked) == 0


# --- streams --------------------------------------------------------------------------------------------------------


def test_a_stream_is_heard_and_recorded_like_any_answer() -> None:
    line, stage = Line(), Stage([cloud("claude", "one two three")])
    assert stage.record(line=line).status is ActionStatus.OK
    assert line.heard == ["one", "two", "three"]


def test_who_does_not_stream_hears_nothing_before_the_end() -> None:
    line = Line(streams=False)
    assert Stage([cloud("claude", "one two")]).record(line=line).status is ActionStatus.OK
    assert line.heard == []


def test_s008_a_stream_that_is_cut_off_is_one_record_and_its_permit_is_handed_back() -> None:
    stage = Stage([cloud("claude", "one two three"), offline()])
    reply = stage.route(line=Line(patience=1))
    assert (reply.record.status, reply.record.actor.provider_id) == (ActionStatus.ERROR, "claude")
    assert reply.record.error == "the answer was cut off: the reader has gone"
    assert stage.capacity.told == [("claude", CallOutcome.ABORTED, None)]
    assert stage.capacity.out == 0
    assert len(stage.backends[1].asked) == 0


# --- order ----------------------------------------------------------------------------------------------------------


def test_the_chain_of_the_providers_says_who_is_asked_first() -> None:
    stage = Stage([cloud("a", "from a"), cloud("b", "from b")], order=chain_order)
    stage.capacity.order = ("b", "a")
    assert stage.record().actor.provider_id == "b"


def test_who_is_not_in_the_chain_comes_last_and_is_passed_over_visibly() -> None:
    stage = Stage([cloud("a", "from a"), cloud("b", "from b")], closed={"a": "its circuit is open"}, order=chain_order)
    assert stage.record().actor.provider_id == "b"
    assert stage.trace()["considered"] == ["b", "a"]


def test_profiles_in_the_order_of_the_chain_keep_theirs_where_it_says_nothing() -> None:
    ordering = chain_order(FakeCapacity(order=("b",)))
    profiles: list[ProviderProfile] = [profile_of("x"), profile_of("y"), profile_of("b")]
    assert list(ordering(profiles, RouteTask())) == ["b", "x", "y"]
