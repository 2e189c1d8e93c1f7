"""The routed call: who is asked, who is not and why, and what each attempt came to.

A request has candidates, in an order. Each of them is held to the same gates, right before it would be asked, and the
gates have one order:

    objections   classification, negative authority, claims, selection criteria: whatever was given, in its order
    capacity     its circuit, its quota, its key: one permit for one attempt
    price        a model whose price nobody knows is not asked
    budget       the most that the attempt can use is set aside, or it is not made

The first candidate that passes them all is asked. A failure is tried again as the request's retry policy has it, and
after that the next candidate is considered. Three things end the route at once, as nobody else is to be asked instead:
a refusal, a cut answer, and an answer beyond its limits. An answer of the wrong shape is asked for once more, with the
fault, where the task allows it.

However it ends, one record tells of it: everybody considered, everybody skipped with the reason, every attempt with its
outcome, latency and usage. No fallback hides a failure, and no attempt is left out of the sum. What a broken call may
have cost counts as spent.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from converge_core.context.allowance import Allowance, BudgetRefused, Reservation, Usage
from converge_core.errors import ConvergeError, MisuseError
from converge_core.ledger.canonical import JsonValue, canonical
from converge_core.ledger.events import printable
from converge_core.llm.backend import Backend, BackendRequest, BackendResponse, Listener, Message, MessageRole
from converge_core.llm.blobs import Blobs
from converge_core.llm.breaker import Permit
from converge_core.llm.capacity import Capacity, DreamerTier
from converge_core.llm.errors import (
    BackendError,
    BudgetExceeded,
    CallOutcome,
    ContractFailed,
    QuotaExhausted,
    RateLimited,
    Refused,
    StreamAborted,
    Truncated,
)
from converge_core.llm.prices import Prices
from converge_core.llm.profiles import ProviderProfile
from converge_core.llm.routing import DataClassification

Note = Callable[[Mapping[str, JsonValue]], None]
"""Takes the record of a route: `Context.note`, for a suggestor."""

Sleep = Callable[[int], Awaitable[None]]
"""Waits for so many milliseconds."""


class Watcher(Protocol):
    """Is told whom a router asks while it does: for people who wait, and for nobody's record."""

    def asking(self, agent: str, backend: str) -> None:
        """Hear that a backend is asked now, for an agent."""
        ...

    def asked(self, agent: str, backend: str, outcome: CallOutcome) -> None:
        """Hear how that ended."""
        ...


CAPACITY, PRICE, BUDGET = "capacity", "price", "budget"


@dataclass(frozen=True, slots=True)
class RouteTask:
    """What is known of a task beside its words: whose it is, and what the data in it may be shown to.

    ``action`` and ``agent`` are what authority is asked about, ``labels`` the classes of the data.
    """

    action: str = "chat"
    agent: str = ""
    tier: DreamerTier = DreamerTier.WANDERER
    data: DataClassification = DataClassification.RESTRICTED
    labels: frozenset[str] = frozenset()
    repair: bool = True


class Objection(NamedTuple):
    """A gate that every candidate is held to: its name, and what it has against a candidate, or None."""

    gate: str
    against: Callable[[ProviderProfile, RouteTask], str | None]


class Candidate(NamedTuple):
    """Somebody who may be asked, and what that costs."""

    backend: Backend
    prices: Prices

    @property
    def id(self) -> str:
        """The id of its profile."""
        return self.backend.profile.id


Ordering = Callable[[Sequence[ProviderProfile], RouteTask], Sequence[str]]
"""Returns the ids of those who may be asked, best first; who is left out is not asked."""


def as_declared(profiles: Sequence[ProviderProfile], task: RouteTask) -> Sequence[str]:
    """Return the ids in the order in which they were declared."""
    return [profile.id for profile in profiles]


class RouteFailed(ConvergeError):
    """Nobody answered. ``reasons`` are those who were considered, each with what was in the way."""

    def __init__(self, reasons: tuple[tuple[str, str], ...]) -> None:
        super().__init__(reasons)
        self.reasons = reasons

    def __str__(self) -> str:
        return "no model answered" + "".join(f"; {backend}: {reason}" for backend, reason in self.reasons)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call of one backend, and how it ended."""

    backend: str
    provider: str
    model: str
    outcome: CallOutcome
    latency_ms: int
    usage: Usage
    detail: str = ""
    repair: bool = False

    def to_json(self) -> dict[str, JsonValue]:
        """Return the attempt as the record holds it."""
        told: dict[str, JsonValue] = {
            "backend": self.backend,
            "latency_ms": self.latency_ms,
            "model": self.model,
            "outcome": self.outcome.value,
            "provider": self.provider,
            "usage": dict(self.usage.to_json()),
        }
        return told | ({"detail": self.detail} if self.detail else {}) | ({"repair": True} if self.repair else {})


@dataclass(slots=True)
class Router:
    """Asks one of its candidates, and says how it went.

    ``clock`` is in milliseconds and never decreases. With ``blobs`` the full exchange is kept, and named by its digest
    in the record. Raises MisuseError for two candidates of one id.
    """

    candidates: Sequence[Candidate]
    capacity: Capacity
    clock: Callable[[], int]
    sleep: Sleep
    objections: Sequence[Objection] = ()
    ordering: Ordering = as_declared
    blobs: Blobs | None = None
    watcher: Watcher | None = None

    def __post_init__(self) -> None:
        ids = [candidate.id for candidate in self.candidates]
        if len(set(ids)) < len(ids):
            raise MisuseError(f"each model has a name of its own, unlike {', '.join(ids)}")

    async def ask(
        self,
        request: BackendRequest,
        task: RouteTask,
        allowance: Allowance,
        note: Note,
        listen: Listener | None = None,
    ) -> BackendResponse:
        """Return an answer, its usage with what it cost.

        Raises Refused, Truncated, BudgetExceeded and StreamAborted as they are; BudgetRefused where only the budget was
        in the way; and RouteFailed where nobody answered. ``note`` has the record before anything is raised.
        """
        route = _Route(self, request, task, allowance, listen)
        try:
            return await route.run()
        finally:
            note(route.record())


@dataclass(slots=True)
class _Route:
    """One request on its way."""

    router: Router
    request: BackendRequest
    task: RouteTask
    allowance: Allowance
    listen: Listener | None
    considered: tuple[str, ...] = ()
    skipped: list[tuple[str, str, str]] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    exchanges: list[JsonValue] = field(default_factory=list)
    answer: BackendResponse | None = None

    async def run(self) -> BackendResponse:
        refused: BudgetRefused | None = None
        for candidate in self._in_order():
            if (objection := self._objection(candidate)) is not None:
                self.skipped.append((candidate.id, *objection))
                continue
            try:
                self.answer = await self._asked(candidate)
            except BudgetRefused as error:
                self.skipped.append((candidate.id, BUDGET, str(error)))
                refused = error
            if self.answer is not None:
                return self.answer
        if refused is not None and not self.attempts:
            raise refused
        raise RouteFailed(tuple(self._in_the_way()))

    def _in_order(self) -> Iterator[Candidate]:
        by_id = {candidate.id: candidate for candidate in self.router.candidates}
        profiles = [candidate.backend.profile for candidate in self.router.candidates]
        self.considered = tuple(self.router.ordering(profiles, self.task))
        return (by_id[id] for id in self.considered)

    def _objection(self, candidate: Candidate) -> tuple[str, str] | None:
        """Return the first gate that has something against a candidate, and what."""
        for gate, against in self.router.objections:
            if (reason := against(candidate.backend.profile, self.task)) is not None:
                return gate, reason
        return None

    async def _asked(self, candidate: Candidate) -> BackendResponse | None:
        """Ask a candidate as often as the policy allows; None where it is the next one's turn.

        Raises BudgetRefused, and those errors after which nobody else is to be asked.
        """
        request, made, repair = self.request, 0, False
        while True:
            leave = self.router.capacity.admit(candidate.backend.profile.provider)
            if leave.permit is None:
                self.skipped.append((candidate.id, CAPACITY, leave.reason or leave.state.value))
                return None
            reservation = await self._reserved(candidate, request, leave.permit)
            if reservation is None:
                return None
            try:
                return await self._attempt(candidate, request, leave.permit, reservation, repair)
            except (Refused, Truncated, BudgetExceeded):
                raise
            except _WrongShape as error:
                if repair or not self.task.repair:
                    return None
                request, repair = error.repaired(self.request), True
            except BackendError as error:
                made += 1
                delay_ms = request.retry.delay_after(error, made, f"{request.digest}\n{candidate.id}")
                if delay_ms is None:
                    return None
                await self.router.sleep(delay_ms)

    async def _reserved(self, candidate: Candidate, request: BackendRequest, permit: Permit) -> Reservation | None:
        """Set aside the most that an attempt can use; None where nobody knows what it costs, or the count failed.

        Raises BudgetRefused. A permit that comes to nothing is handed back.
        """
        profile = candidate.backend.profile
        try:
            prompt = await candidate.backend.count_tokens(request)
            most = Usage(prompt, request.budgets.max_tokens)
            cost = candidate.prices.cost_microusd(profile.provider, profile.model, most)
            if cost is None:
                self.skipped.append((candidate.id, PRICE, f"nobody knows what {profile.model!r} costs"))
            else:
                ceiling = request.budgets.cost_ceiling_microusd
                if ceiling is not None and cost > ceiling:
                    raise BudgetRefused("cost", cost, ceiling)
                return self.allowance.reserve(most.tokens, cost)
        except BackendError as error:
            self._settle(candidate, permit, error.outcome, 0, Usage(), printable(error.reason), error)
            return None
        except BaseException:
            self.router.capacity.settle(profile.provider, permit, CallOutcome.ABORTED, 0)
            raise
        self.router.capacity.settle(profile.provider, permit, CallOutcome.ABORTED, 0)
        return None

    async def _attempt(
        self, candidate: Candidate, request: BackendRequest, permit: Permit, reservation: Reservation, repair: bool
    ) -> BackendResponse:
        """Make one call, and settle whatever it was given: the permit and what was set aside."""
        began, watcher = self.router.clock(), self.router.watcher
        outcome, detail, error = CallOutcome.ABORTED, "", None
        usage: Usage | None = None
        answer: JsonValue = None
        if watcher is not None:
            watcher.asking(self.task.agent, candidate.id)
        try:
            response = await candidate.backend.complete(request, self.listen)
            answer = {"output": response.output, "text": response.text}
            usage = self._priced(candidate, response.usage, reservation)
            response = replace(response, usage=usage)
            self._check(request, response)
            outcome = CallOutcome.SUCCESS
            return response
        except BackendError as failure:
            outcome, detail, error = failure.outcome, printable(failure.reason), failure
            if usage is None:
                usage = self._lost(candidate, failure, reservation)
            raise
        except StreamAborted as failure:  # which says nothing of who was heard
            detail = printable(str(failure))
            raise
        except Exception as failure:  # a backend that raises what it may not: its call is paid for, and has failed
            outcome, detail = CallOutcome.FAILED, printable(f"{type(failure).__name__}: {failure}")
            raise
        finally:
            spent = reservation.most if usage is None else usage
            reservation.settle(spent)
            if watcher is not None:
                watcher.asked(self.task.agent, candidate.id, outcome)
            self.exchanges.append({"answer": answer, "asked": request.to_json(), "backend": candidate.id})
            self._settle(candidate, permit, outcome, self.router.clock() - began, spent, detail, error, repair)

    def _check(self, request: BackendRequest, response: BackendResponse) -> None:
        """Raise the first fault of an answer: one beyond its limits before one of the wrong shape."""
        for fault in request.faults(response):
            if isinstance(fault, ContractFailed):
                raise _WrongShape(fault, response)
            raise fault

    def _priced(self, candidate: Candidate, usage: Usage, reservation: Reservation) -> Usage:
        """Return what an answer has used, with its price; what cannot be priced costs what was set aside."""
        profile = candidate.backend.profile
        cost = candidate.prices.cost_microusd(profile.provider, profile.model, usage)
        return replace(usage, cost_microusd=reservation.most.cost_microusd if cost is None else cost)

    def _lost(self, candidate: Candidate, error: BackendError, reservation: Reservation) -> Usage:
        """Return what a failed call counts for: what the backend says, nothing, or all that it can have been."""
        if error.usage is not None:
            return self._priced(candidate, error.usage, reservation)
        return reservation.most if error.billed else Usage()

    def _settle(
        self,
        candidate: Candidate,
        permit: Permit,
        outcome: CallOutcome,
        latency_ms: int,
        usage: Usage,
        detail: str,
        error: BackendError | None,
        repair: bool = False,
    ) -> None:
        profile = candidate.backend.profile
        self.attempts.append(
            Attempt(candidate.id, profile.provider, profile.model, outcome, latency_ms, usage, detail, repair)
        )
        wait_ms = error.retry_after_ms if isinstance(error, RateLimited | QuotaExhausted) else None
        self.router.capacity.settle(profile.provider, permit, outcome, latency_ms, wait_ms, detail)

    def _in_the_way(self) -> Iterator[tuple[str, str]]:
        """Yield what was in the way of each who was considered."""
        for id in self.considered:
            yield from ((id, f"{gate}: {reason}") for skipped, gate, reason in self.skipped if skipped == id)
            yield from (
                (id, attempt.detail or attempt.outcome.value) for attempt in self.attempts if attempt.backend == id
            )

    def record(self) -> Mapping[str, JsonValue]:
        """Return the record of the route, JSON all the way down."""
        told: dict[str, JsonValue] = {
            "action": self.task.action,
            "attempts": [attempt.to_json() for attempt in self.attempts],
            "considered": list(self.considered),
            "data": self.task.data.value,
            "kind": "model_call",
            "labels": sorted(self.task.labels),
            "outcome": self._outcome(),
            "request": str(self.request.digest),
            "skipped": [{"backend": id, "gate": gate, "reason": reason} for id, gate, reason in self.skipped],
            "tier": self.task.tier.value,
        }
        if self.answer is not None:
            told |= {"backend": self.answer.backend, "model": self.answer.model}
        if self.router.blobs is not None and self.exchanges:
            try:
                told["exchange"] = self.router.blobs.put(canonical(self.exchanges).encode())
            except ConvergeError as error:  # the calls were made: better a record with a gap than none
                told["exchange_lost"] = printable(str(error))
        return told

    def _outcome(self) -> str:
        """Return how the route ended: as its last attempt did, or ``skipped`` where nobody was asked."""
        return self.attempts[-1].outcome.value if self.attempts else "skipped"


class _WrongShape(ContractFailed):
    """An answer that breaks its contract, and the answer."""

    def __init__(self, fault: ContractFailed, response: BackendResponse) -> None:
        super().__init__(fault.backend, fault.contract, fault.diagnostics)
        self.response = response

    def repaired(self, request: BackendRequest) -> BackendRequest:
        """Return the request that asks for the same again, and says what was wrong."""
        wrong = Message(MessageRole.ASSISTANT, self.response.text)
        fault = Message.user(f"That does not fit the contract {self.contract!r}: {self.diagnostics}. Answer again.")
        return replace(request, messages=(*request.messages, wrong, fault))
