"""One message, routed: through every gate in the one order, to a model, and into one record.

    dcf    classification        what the message is, and so who may see it
    nap    negative authority    whether anybody denies it
    ccf    capability            whether the agent can do it, and is known to be able to
    pcsf   capacity              who can be asked now, and whether the user's quota allows it
    call   the models that are left, in their order (`converge_core.llm.router`)
    aapf   the record            of every message, whatever became of it

A gate holds the action to what it knows, and then each model that is left. Who has something against a model takes it
out of the choice; whoever takes out the last one, or has something against the action itself, turns the message away,
and nobody is asked. The gates before capacity are asked again about each model, right before its turn in the call,
since what was true a moment ago may not be.

However it ends, `Chat.route` returns one `ActionRecord` and raises nothing but a cancellation: an answer, a denial, a
refusal, a failure of every provider, and a reader who hung up in the middle of a stream are all told by it. An answer
of a fallback names the failures before it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol, TypeVar

from converge_core.context.allowance import Allowance
from converge_core.errors import ConvergeError
from converge_core.governance.actions import (
    ActionRecord,
    ActionStatus,
    ActionType,
    AgentActor,
    Gate,
    GateTrace,
    pass_gates,
)
from converge_core.governance.claims import CapabilityClaim, CapabilityGate, VerificationMethod, Verifier
from converge_core.governance.classification import DREAM_LABELS, Classification, Taxonomy
from converge_core.governance.terms import Boundary
from converge_core.ledger.canonical import JsonValue
from converge_core.ledger.events import printable
from converge_core.llm.backend import BackendBudgets, BackendRequest, BackendResponse, Listener, Message, MessageRole
from converge_core.llm.capacity import Capacity, DreamerTier, ProviderState, Quotas
from converge_core.llm.errors import CallOutcome, CapacityError
from converge_core.llm.models import CLASSIFICATION, NEGATIVE_AUTHORITY, Models
from converge_core.llm.policies import RetryPolicy
from converge_core.llm.profiles import ProviderProfile
from converge_core.llm.router import CAPACITY, Candidate, Note, Objection, Ordering, Router, RouteTask, as_declared

T = TypeVar("T")

ACTION = "chat"
CAPABILITY = "capability"
OFFLINE = "offline"

AGENTS = ("auto", "lantern", "orion", "keystone", "blinkbug", "waterfall", "xenon", "founder")
"""The agents that a message may be for, where nobody says otherwise."""

SYMBOLIC_KINDS = frozenset({"character", "lore", "place"})
"""The kinds of a message that hold symbols, beside what was dreamt."""


class Line(Protocol):
    """The line to whoever asked: hears an answer as it comes, and knows when they have hung up."""

    @property
    def streams(self) -> bool:
        """Whether anybody wants to hear an answer before it is whole."""
        ...

    async def tell(self, piece: str) -> None:
        """Tell a piece of an answer. Raises StreamAborted where nobody hears it."""
        ...

    async def hold(self, call: Callable[[], Awaitable[T]]) -> T:
        """Await a call. Raises StreamAborted as soon as whoever asked hangs up, and then the call is cancelled."""
        ...


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A message. ``id`` names the action and its data; ``user`` is whose quota it is counted against."""

    id: str
    message: str
    agent: str = "auto"
    kind: str = "dream"
    user: str = "dreamer"
    system: str = ""
    tier: DreamerTier = DreamerTier.WANDERER

    @property
    def labels(self) -> frozenset[str]:
        """The classes of the data in the message."""
        return frozenset({"dream_content"} | ({"symbolic_data"} if self.kind in SYMBOLIC_KINDS else set()))


class ChatReply(NamedTuple):
    """The record of a message, and the answer to it, if there is one."""

    record: ActionRecord
    response: BackendResponse | None = None


def claims_of(agents: Sequence[str]) -> CapabilityGate:
    """Return the claims of agents to chat through the providers of a chain, wherever those are; nobody has looked."""
    gate = CapabilityGate()
    for agent in agents:
        gate = gate.register(CapabilityClaim(agent, "pcsf-chain", frozenset({ACTION}), Boundary.HYBRID))
    return gate


def chain_order(capacity: Capacity) -> Ordering:
    """Return the order of the providers' chain for the tier of a task; who is not in it now comes last."""

    def ordering(profiles: Sequence[ProviderProfile], task: RouteTask) -> Sequence[str]:
        chain = capacity.chain(task.tier)
        places = {provider: place for place, provider in enumerate(chain)}
        return [p.id for p in sorted(profiles, key=lambda profile: places.get(profile.provider, len(chain)))]

    return ordering


@dataclass(slots=True)
class Chat:
    """Routes messages. ``now`` is the time of day in milliseconds.

    ``claims`` is replaced whenever a claim was due and has been looked at by one of the ``verifiers``.
    """

    models: Models
    quotas: Quotas
    now: Callable[[], int]
    claims: CapabilityGate = field(default_factory=lambda: claims_of(AGENTS))
    verifiers: Mapping[VerificationMethod, Verifier] = field(default_factory=dict)
    taxonomy: Taxonomy = DREAM_LABELS
    ordering: Ordering = as_declared
    budgets: BackendBudgets = BackendBudgets()
    keep_exchange: bool = False

    async def route(self, asked: ChatRequest, allowance: Allowance, note: Note, line: Line | None = None) -> ChatReply:
        """Route a message, and return its record. Raises LookupError where there are no models at all."""
        router = self.models.router(keep_exchange=self.keep_exchange)
        now_ms = self.now()
        self.claims = await self.claims.refreshed(asked.agent, self.verifiers, now_ms)
        datum = Classification(asked.id, asked.labels, now_ms)
        task = RouteTask(
            ACTION, asked.agent, asked.tier, datum.sensitivity(self.taxonomy), datum.all_labels, repair=False
        )
        passing = _Passing(self, router, asked, datum, task, now_ms)
        try:
            trace = passing.gates()
        except CapacityError as error:  # a gate that cannot say what it knows lets nobody pass
            return passing.failed_at_a_gate(error)
        if not trace.granted:
            return ChatReply(passing.record(trace, ActionStatus.DENIED))
        return await passing.call(trace, allowance, note, line)


@dataclass(slots=True)
class _Passing:
    """One message on its way. ``left`` are the models that no gate has taken out yet.

    A claim is held to the rules as of ``asked_ms``, when it was looked at: a call may last longer than that is good.
    """

    chat: Chat
    router: Router
    asked: ChatRequest
    datum: Classification
    task: RouteTask
    asked_ms: int
    left: list[Candidate] = field(init=False)
    began_ms: int = field(init=False)
    denied_by: str = ""
    remaining: int | None = None
    told: list[Mapping[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.left = list(self.router.candidates)
        self.began_ms = self.router.clock()

    def gates(self) -> GateTrace:
        """Ask the gates, in their order."""
        objections = self._objections()
        return pass_gates(
            {
                Gate.CLASSIFICATION: lambda: self._classification() or self._narrow(objections[CLASSIFICATION]),
                Gate.NEGATIVE_AUTHORITY: lambda: self._denial() or self._narrow(objections[NEGATIVE_AUTHORITY]),
                Gate.CAPABILITY: lambda: self._claim() or self._narrow(objections[CAPABILITY]),
                Gate.CAPACITY: lambda: self._narrow([Objection(CAPACITY, self._capacity)]) or self._quota(),
            }
        )

    async def call(self, trace: GateTrace, allowance: Allowance, note: Note, line: Line | None) -> ChatReply:
        """Ask the models, and tell how it went."""
        objections = [objection for gate in self._objections().values() for objection in gate]
        router = replace(self.router, objections=objections, ordering=self.chat.ordering)
        listen: Listener | None = line.tell if line is not None and line.streams else None

        def tell(record: Mapping[str, JsonValue]) -> None:
            self.told.append(record)
            note(record)

        async def ask() -> BackendResponse:
            return await router.ask(self._request(), self.task, allowance, tell, listen)

        try:
            response = await (ask() if line is None else line.hold(ask))
        except Exception as error:  # whatever it is, it is told: there is a record on every path
            reason = str(error) if isinstance(error, ConvergeError) else f"{type(error).__name__}: {error}"
            return ChatReply(self.record(trace, self._status(), error=reason))
        failures = "; ".join(_failures(self._attempts()))
        return ChatReply(self.record(trace, ActionStatus.OK, response, failures), response)

    def failed_at_a_gate(self, error: CapacityError) -> ChatReply:
        """Return the record of a message that a gate could not judge."""
        trace = GateTrace()
        while trace.due is not Gate.RECORD and trace.due is not None:
            trace = trace.after(trace.due, str(error) if trace.due is Gate.CAPACITY else None)
        return ChatReply(self.record(trace, ActionStatus.DENIED))

    def record(
        self, trace: GateTrace, status: ActionStatus, response: BackendResponse | None = None, error: str = ""
    ) -> ActionRecord:
        """Return the record: who, what, past which gates, on whose claim, and how it ended."""
        asked, profile = self.asked, self._asked_last(response)
        claim = self.chat.claims.claims.get(asked.agent)
        denied = status is ActionStatus.DENIED
        return ActionRecord(
            action_type=ActionType.CHAT,
            actor=AgentActor(
                agent_id=asked.agent,
                provider_id="" if denied or profile is None else profile.provider,
                model="" if denied or profile is None else profile.model if response is None else response.model,
            ),
            status=status,
            gates=trace.after(Gate.RECORD).passages,
            input_summary=asked.message,
            output_summary="" if response is None else response.text,
            capability_claim="" if claim is None else claim.claim.agent,
            nap_profile=self.denied_by or ", ".join(each.id for each in self.chat.models.authority.profiles),
            dcf_ref=self.datum.datum,
            plan=str(self._request().digest),
            tier=asked.tier,
            data_classes=tuple(sorted(self.datum.all_labels)),
            boundary=Boundary.LOCAL if denied or profile is None else Boundary.of(profile),
            latency_ms=max(0, self.router.clock() - self.began_ms),
            error=printable(error),
            metadata={
                "considered": list(self.told[-1]["considered"]) if self.told else [],
                "kind": asked.kind,
                "quota_left": self.remaining,
                "source": self._source(profile if response is not None else None),
                "user": asked.user,
            },
        )

    def _objections(self) -> dict[str, list[Objection]]:
        """Return what each model is held to, by gate, in the order of the gates."""
        found: dict[str, list[Objection]] = {
            CLASSIFICATION: [Objection(CLASSIFICATION, self._residence)],
            NEGATIVE_AUTHORITY: [],
            CAPABILITY: [Objection(CAPABILITY, self._reach)],
        }
        for objection in self.router.objections:
            found.setdefault(objection.gate, []).append(objection)
        return found

    def _narrow(self, objections: Sequence[Objection]) -> str | None:
        """Take out the models that something is said against; return what it is, where none is left."""
        against = {candidate.id: _first(objections, candidate, self.task) for candidate in self.left}
        left = [candidate for candidate in self.left if against[candidate.id] is None]
        if left:
            self.left = left
            return None
        return "; ".join(f"{name}: {reason}" for name, reason in against.items())

    def _classification(self) -> str | None:
        return self.datum.objection(self.chat.taxonomy, self.chat.now())

    def _residence(self, profile: ProviderProfile, task: RouteTask) -> str | None:
        return self.datum.objection(self.chat.taxonomy, self.chat.now(), candidate=profile)

    def _denial(self) -> str | None:
        authority, now_ms = self.chat.models.authority, self.chat.now()
        found = authority.check(ACTION, None, None, self.task.labels, self.task.tier, now_ms)
        if not found.denied:
            each = [
                authority.check_candidate(ACTION, one.backend.profile, self.task.labels, self.task.tier, now_ms)
                for one in self.left
            ]
            self.denied_by = each[0].by if all(one.denied for one in each) else ""
            return None
        self.denied_by = found.by
        return found.objection

    def _claim(self) -> str | None:
        return self._claimed(None)

    def _reach(self, profile: ProviderProfile, task: RouteTask) -> str | None:
        return self._claimed(Boundary.of(profile))

    def _claimed(self, boundary: Boundary | None) -> str | None:
        needed, asked = frozenset({ACTION}), self.asked
        return self.chat.claims.check(asked.agent, needed, asked.tier, self.asked_ms, boundary).objection

    def _capacity(self, profile: ProviderProfile, task: RouteTask) -> str | None:
        capacity = self.router.capacity
        if profile.provider in capacity.chain(task.tier):
            return None
        providers: Any = capacity.snapshot(task.tier).get("providers", {})
        known = providers.get(profile.provider, {})
        missing = f": {known['env_key']}" if known.get("state") == ProviderState.NO_KEY else ""
        return f"it cannot be asked now ({known.get('state', 'unknown')}{missing})"

    def _quota(self) -> str | None:
        """Count the message against the user's quota: the last question, so what is turned away counts for nothing."""
        granted = self.chat.quotas.consume(self.asked.tier.value, ACTION, self.asked.user)
        self.remaining = granted.remaining
        return None if granted.granted else granted.reason

    def _request(self) -> BackendRequest:
        asked = self.asked
        system = (Message(MessageRole.SYSTEM, asked.system),) if asked.system else ()
        return BackendRequest(
            asked.id,
            (*system, Message.user(asked.message)),
            prompt_version=asked.kind,
            budgets=self.chat.budgets,
            retry=RetryPolicy.no_retry(),
        )

    def _attempts(self) -> Sequence[Mapping[str, Any]]:
        attempts: Sequence[Mapping[str, Any]] = self.told[-1]["attempts"] if self.told else ()
        return attempts

    def _status(self) -> ActionStatus:
        """Return how a call that gave no answer ended: in time, or not."""
        outcomes = [attempt["outcome"] for attempt in self._attempts()]
        return ActionStatus.TIMEOUT if outcomes[-1:] == [CallOutcome.TIMEOUT] else ActionStatus.ERROR

    def _asked_last(self, response: BackendResponse | None) -> ProviderProfile | None:
        """Return who has answered, or who was the last to be asked."""
        attempts = self._attempts()
        name = response.backend if response is not None else attempts[-1]["backend"] if attempts else None
        profiles = (candidate.backend.profile for candidate in self.router.candidates)
        return next((profile for profile in profiles if profile.id == name), None)

    def _source(self, profile: ProviderProfile | None) -> str:
        if profile is None:
            return "none"
        return OFFLINE if profile.provider == OFFLINE else "llm"


def _first(objections: Sequence[Objection], candidate: Candidate, task: RouteTask) -> str | None:
    found = (objection.against(candidate.backend.profile, task) for objection in objections)
    return next((reason for reason in found if reason is not None), None)


def _failures(attempts: Sequence[Mapping[str, Any]]) -> Sequence[str]:
    """Return the failures before an answer, each in a few words."""
    return [
        f"{attempt['backend']}: {attempt.get('detail') or attempt['outcome']}"
        for attempt in attempts
        if attempt["outcome"] != CallOutcome.SUCCESS
    ]
