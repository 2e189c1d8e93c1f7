"""What the tests of the machine share: suggestors that are quickly cast, and a way to play a run to its end.

Nothing here needs an event loop: the core awaits, but what it awaits is always there already, so a coroutine is driven
by hand.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

from converge_core import (
    AgentEffect,
    AwaitDecision,
    Context,
    ContextKey,
    ContextState,
    Convergence,
    ConvergeResult,
    DataPayload,
    Engine,
    Entry,
    Execute,
    FactPayload,
    GateDecision,
    GateRequest,
    Outcome,
    ProposedFact,
    RootIntent,
    Step,
    Suggestor,
    TextPayload,
)
from converge_core.context.state import Selector
from converge_core.ports import Approver, Clock, Executor, Ledger
from tests.fakes.observer import FakeObserver

SEEDS, SIGNALS, HYPOTHESES = ContextKey.SEEDS, ContextKey.SIGNALS, ContextKey.HYPOTHESES

T = TypeVar("T")


def finish(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never has to wait. One that does fails the test."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]  # what the coroutine returns
    raise AssertionError("the core waited for something")


def text(id: str, words: str = "words", key: ContextKey = SEEDS, **more: Any) -> ProposedFact[FactPayload]:
    """A proposal of a text."""
    return ProposedFact(key, id, TextPayload(text=words), **more)


def data(id: str, key: ContextKey = SEEDS, **fields: Any) -> ProposedFact[FactPayload]:
    """A proposal of a JSON object."""
    return ProposedFact(key, id, DataPayload(data=fields))


class Says(Suggestor):
    """Proposes the same each time it is asked. Without ``reads`` it asks to run until its proposals are facts."""

    def __init__(
        self,
        name: str,
        *proposals: ProposedFact[FactPayload],
        reads: Iterable[Selector] = (),
        optional: bool = False,
    ) -> None:
        self.name = name
        self.dependencies = tuple(reads)
        self.optional = optional
        self.proposals = proposals
        self.runs = 0

    def accepts(self, ctx: Context) -> bool:
        return bool(self.dependencies) or any(ctx.find(p.key, p.id) is None for p in self.proposals)

    def execute(self, ctx: Context) -> AgentEffect:
        self.runs += 1
        return AgentEffect.with_proposals(self.proposals)


class Raises(Suggestor):
    """Raises the same each time it is asked, until it is told to behave; then it proposes."""

    def __init__(
        self, name: str, error: Exception, *proposals: ProposedFact[FactPayload], optional: bool = False
    ) -> None:
        self.name = name
        self.optional = optional
        self.dependencies = (SEEDS,)
        self.error: Exception | None = error
        self.proposals = proposals
        self.runs = 0

    def execute(self, ctx: Context) -> AgentEffect:
        self.runs += 1
        if self.error is not None:
            raise self.error
        return AgentEffect.with_proposals(self.proposals)


class Played(NamedTuple):
    """A run that was played: what it returned, and what it recorded, append by append."""

    result: ConvergeResult
    appends: list[list[Entry]]

    @property
    def log(self) -> list[Entry]:
        """The whole ledger of the run."""
        return [entry for append in self.appends for entry in append]

    @property
    def kinds(self) -> list[str]:
        """The kinds of the entries."""
        return [entry.kind for entry in self.log]

    def bodies(self, kind: str) -> list[dict[str, Any]]:
        """The parsed entries of one kind."""
        return [json.loads(entry.body) for entry in self.log if entry.kind == kind]


def play(
    engine: Engine,
    context: ContextState | None = None,
    intent: RootIntent | None = None,
    *,
    run_id: str = "run",
    executor: Executor | None = None,
    approver: Approver | None = None,
    ledger: Ledger | None = None,
    clock: Clock | None = None,
) -> Played:
    """Play a run to its end, or to its pause."""
    observer = FakeObserver()
    run = engine.run(
        context or ContextState(),
        intent,
        run_id=run_id,
        executor=executor,
        approver=approver,
        ledger=ledger,
        clock=clock,
        observers=[observer],
    )
    return Played(finish(run), observer.appends)


def engine_of(*suggestors: Suggestor, **settings: Any) -> Engine:
    """An engine with these suggestors, in this order."""
    engine = Engine(**settings)
    for suggestor in suggestors:
        engine.register_suggestor(suggestor)
    return engine


def seeded(*ids: str) -> ContextState:
    """A context with staged texts under SEEDS; the text of each is its id."""
    context = ContextState()
    for id in ids:
        context.add_input(SEEDS, id, id)
    return context


def perform(step: Step) -> list[Outcome]:
    """Perform the calls of an `Execute` step, in order."""
    assert isinstance(step, Execute)
    return [finish(call.perform()) for call in step.batch]


def advance(run: Convergence, *, cycles: int | None = None) -> Step:
    """Drive a machine by hand until it wants anything but calls, or until it asks for those of a cycle."""
    step = run.next()
    while isinstance(step, Execute) and step.cycle != cycles:
        run.receive(perform(step))
        step = run.next()
    return step


def gates_of(step: Step) -> dict[str, GateRequest]:
    """The open gates of an `AwaitDecision` step by the fact that each is about."""
    assert isinstance(step, AwaitDecision)
    return {request.ref: request for request in step.requests}


def approve(by: str = "ann") -> Callable[[str], GateDecision]:
    return lambda gate_id: GateDecision.approve(gate_id, by)


def reject(by: str = "ann", reason: str | None = None) -> Callable[[str], GateDecision]:
    return lambda gate_id: GateDecision.reject(gate_id, by, reason)


def edit(payload: FactPayload, by: str = "ann") -> Callable[[str], GateDecision]:
    return lambda gate_id: GateDecision.edit(gate_id, by, payload)


def defer(by: str = "ann") -> Callable[[str], GateDecision]:
    return lambda gate_id: GateDecision.defer(gate_id, by)


def refs(result: ConvergeResult) -> list[str]:
    """``key/id`` of every fact of a result, in the order of promotion."""
    return [fact.ref for fact in result.context.facts()]


def bodies(entries: Sequence[Entry]) -> list[str]:
    """The bytes of a ledger."""
    return [entry.body for entry in entries]
