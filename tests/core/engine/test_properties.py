"""What holds for every run: random suggestors, gates, answers, budgets and orders of completion.

A random graph of rules is drawn as data (`Graph`) and cast as suggestors that are pure functions of the context, so the
same graph can be run again, in another order, from its ledger, by another machine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import ClassVar

from hypothesis import event, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from converge_core import (
    Actor,
    AdmissionActorKind,
    AdmissionError,
    AdmissionRequest,
    AgentEffect,
    AwaitDecision,
    Budget,
    ConflictPolicy,
    Context,
    ContextKey,
    ContextState,
    Convergence,
    ConvergeResult,
    Engine,
    Entry,
    Execute,
    FactPayload,
    GateDecision,
    HitlPolicy,
    MerkleLog,
    MisuseError,
    Outcome,
    ProposedFact,
    Refusal,
    StopClass,
    Stopped,
    Suggestor,
    TextPayload,
    Usage,
    replay,
)
from converge_core.context.snapshot import facts_root
from converge_core.context.state import Selector
from converge_core.ledger.canonical import JsonValue
from converge_core.ledger.events import CorrectionEvent
from tests.core.stage import bodies, finish, perform

KEYS = (ContextKey.SEEDS, ContextKey.SIGNALS, ContextKey.HYPOTHESES, ContextKey.VOTES)


class Number(FactPayload):
    family: ClassVar[str] = "test.number"
    n: int


# --- a graph of rules, as data ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Emission:
    """One proposal of a rule. Few ids and contents make duplicates and conflicts likely."""

    key: ContextKey
    id: str
    content: int
    confidence: float
    numeric: bool

    def proposal(self) -> ProposedFact[FactPayload]:
        payload = (
            Number(n=self.content)
            if self.numeric
            else TextPayload(text=" " * (self.content == 0) or "w" * self.content)
        )
        return ProposedFact(self.key, self.id, payload, confidence=self.confidence)


@dataclass(frozen=True)
class Rule:
    """A suggestor: what wakes it, what it says, what it costs, and how it fails."""

    reads: tuple[Selector, ...]
    says: tuple[Emission, ...]
    tokens: int
    reserves: bool
    failure: str
    optional: bool


@dataclass(frozen=True)
class Graph:
    """Everything a run is made of but the order in which calls finish."""

    rules: tuple[Rule, ...]
    inputs: tuple[Emission, ...]
    budget: Budget
    hitl: HitlPolicy | None
    conflict: ConflictPolicy
    answers: tuple[int, ...]

    def engine(self) -> Engine:
        engine = Engine(budget=self.budget, hitl_policy=self.hitl, conflict_policy=self.conflict)
        engine.payloads.register(Number)
        for place, described in enumerate(self.rules):
            engine.register_suggestor(Cast(f"rule-{place}", described))
        return engine

    def context(self) -> ContextState:
        context = ContextState()
        for emission in self.inputs:
            context.add_proposal(emission.proposal())
        return context

    def begin(self) -> Convergence:
        return self.engine().begin(self.context())


class Cast(Suggestor):
    """A rule, cast as a suggestor."""

    def __init__(self, name: str, described: Rule) -> None:
        self.name = name
        self.described = described
        self.dependencies = described.reads
        self.optional = described.optional

    def accepts(self, ctx: Context) -> bool:
        if self.described.failure == "accepts":
            raise LookupError("who knows")
        return bool(self.dependencies) or ctx.version < 12

    def execute(self, ctx: Context) -> AgentEffect:
        usage = Usage(self.described.tokens)
        if self.described.reserves:
            ctx.allowance.reserve(tokens=self.described.tokens).settle(usage)
        if self.described.failure == "raises":
            raise ValueError(f"at {ctx.version}")
        if self.described.failure == "refuses":
            raise Refusal("not my business")
        if self.described.failure == "nonsense":
            return AgentEffect(("nonsense",), usage)  # type: ignore[arg-type]
        return AgentEffect.with_proposals([emission.proposal() for emission in self.described.says], usage)


emissions = st.builds(
    Emission,
    st.sampled_from(KEYS),
    st.sampled_from(["a", "b", "c", "d", ""]),
    st.integers(0, 2),
    st.sampled_from([0.25, 0.5, 0.75, 1.0, 1.5]),
    st.booleans(),
)
selectors: st.SearchStrategy[Selector] = st.sampled_from(
    [*KEYS, TextPayload, Number, *((key, payload) for key in KEYS for payload in (TextPayload, Number))]
)
rules = st.builds(
    Rule,
    st.lists(selectors, max_size=2).map(tuple),
    st.lists(emissions, max_size=4).map(tuple),
    st.sampled_from([0, 0, 10, 40]),
    st.booleans(),
    st.sampled_from(["", "", "", "", "raises", "refuses", "nonsense", "accepts"]),
    st.booleans(),
)
budgets = st.builds(
    Budget,
    max_cycles=st.sampled_from([30, 30, 30, 4, 3, 2, 1, 0]),
    max_facts=st.sampled_from([50, 50, 50, 8, 4, 2, 1, 0]),
    max_tokens=st.none() | st.integers(0, 100),
    max_suggestors_per_cycle=st.none() | st.integers(1, 3),
)
policies = (
    st.none()
    | st.just(HitlPolicy(1.0))
    | st.builds(
        HitlPolicy,
        st.none() | st.sampled_from([0.25, 0.5, 1.0]),
        st.lists(st.sampled_from(KEYS), max_size=2).map(tuple),
    )
)
graphs = st.builds(
    Graph,
    st.lists(rules, min_size=1, max_size=5).map(tuple),
    st.lists(emissions, max_size=4).map(tuple),
    budgets,
    policies,
    st.sampled_from(ConflictPolicy),
    st.lists(st.integers(0, 10**6), min_size=1, max_size=6).map(tuple),
)


# --- playing one ------------------------------------------------------------------------------------------------------


def answer(graph: Graph, gate_id: str, place: int) -> GateDecision:
    """What people say at a gate: depends on the graph alone, and so not on who asks when."""
    match graph.answers[place % len(graph.answers)] % 4:
        case 0:
            return GateDecision.approve(gate_id, "ann")
        case 1:
            return GateDecision.reject(gate_id, "ann", "no")
        case 2:
            return GateDecision.edit(gate_id, "ann", Number(n=place))
        case _:
            return GateDecision.edit(gate_id, "ann", TextPayload(text="edited"))


def decide(graph: Graph, run: Convergence, step: AwaitDecision) -> None:
    """Answer all open gates; an edit that nobody can read is refused, and approved as it was after all."""
    refused = run.decide([answer(graph, request.gate_id, place) for place, request in enumerate(step.requests)])
    assert not run.decide([GateDecision.approve(refusal.gate, "bob") for refusal in refused])


def play(graph: Graph, run: Convergence, order: Sequence[int] = (0,), parts: bool = False) -> ConvergeResult:
    """Drive a machine to its end; calls finish in the given order, perhaps one by one, and so do the answers."""
    while True:
        match run.next():
            case Execute() as step:
                outcomes = perform(step)
                shuffled = sorted(outcomes, key=lambda o: order[outcomes.index(o) % len(order)])
                for part in [[outcome] for outcome in shuffled] if parts else [shuffled]:
                    run.receive(part)
            case AwaitDecision() as step:
                decide(graph, run, step)
            case Stopped(result):
                return result


def entries_of(log: list[Entry], kind: str) -> list[dict[str, object]]:
    return [json.loads(entry.body) for entry in log if entry.kind == kind]


@given(graphs)
@settings(max_examples=150)
def test_every_run_ends_and_its_ledger_accounts_for_every_fact(graph: Graph) -> None:
    run = graph.begin()
    result = play(graph, run)
    log = run.drain()
    facts = list(result.context.facts())
    event(result.stop_reason.name)
    event(f"{'some' if entries_of(log, 'proposal_gated') else 'no'} gates")

    promoted = entries_of(log, "fact_promoted")
    assert [(fact.key, fact.id, fact.lamport) for fact in facts] == [
        (e["key"], e["id"], e["lamport"]) for e in promoted
    ]
    assert [fact.lamport for fact in facts] == list(range(1, len(facts) + 1))
    assert [fact.hash for fact in facts] == [entry.leaf for entry in log if entry.kind == "fact_promoted"]
    assert len({fact.ref for fact in facts}) == len(facts)
    assert result.integrity.fact_count == result.integrity.clock_time == len(facts)
    assert result.integrity.merkle_root == MerkleLog(fact.hash for fact in facts).root() == facts_root(tuple(facts))
    stopped = entries_of(log, "run_stopped")[-1]
    assert stopped["merkle_root"] == str(result.integrity.merkle_root)


@given(graphs)
@settings(max_examples=150)
def test_no_run_overshoots_a_budget(graph: Graph) -> None:
    run = graph.begin()
    result = play(graph, run)
    budget = graph.budget

    assert result.cycles <= budget.max_cycles
    assert len(result.context.facts()) <= budget.max_facts
    careful = all(described.reserves for described in graph.rules)
    if budget.max_tokens is not None and careful:
        assert result.usage.tokens <= budget.max_tokens
    if budget.max_suggestors_per_cycle is not None:
        asked = [effect["cycle"] for effect in entries_of(run.drain(), "effect_received")]
        assert all(asked.count(cycle) <= budget.max_suggestors_per_cycle for cycle in set(asked))


@given(graphs)
@settings(max_examples=100)
def test_once_too_much_is_spent_nobody_is_asked_again(graph: Graph) -> None:
    limited = replace(graph, budget=replace(graph.budget, max_tokens=30))
    run = limited.begin()
    play(limited, run)
    spent = last = 0
    for entry in run.drain():
        if entry.kind == "effect_received":
            effect = json.loads(entry.body)
            assert spent <= 30 or effect["cycle"] == last, "the cycle that overspent is the last"
            spent += effect.get("usage", {}).get("input_tokens", 0)
            last = effect["cycle"]


@given(graphs, st.permutations(range(5)), st.booleans())
@settings(max_examples=150)
def test_the_order_in_which_calls_finish_leaves_no_trace(graph: Graph, order: list[int], parts: bool) -> None:
    one, other = graph.begin(), graph.begin()
    play(graph, one)
    play(graph, other, order, parts)
    assert bodies(one.drain()) == bodies(other.drain())


@given(graphs)
@settings(max_examples=150)
def test_every_run_replays_to_the_same_bytes_and_the_same_result(graph: Graph) -> None:
    run = graph.begin()
    result = play(graph, run)
    log = run.drain()

    again = replay(graph.engine(), log)
    assert again.drain() == []
    step = again.next()
    assert isinstance(step, Stopped)
    assert (step.result.stop_reason, step.result.integrity) == (result.stop_reason, result.integrity)
    assert (step.result.usage, step.result.cycles) == (result.usage, result.cycles)


@given(graphs, st.data())
@settings(max_examples=100)
def test_a_run_broken_off_at_any_step_is_driven_on_to_the_same_bytes(graph: Graph, data: st.DataObject) -> None:
    whole = graph.begin()
    play(graph, whole)
    log = whole.drain()

    run, appends = graph.begin(), []
    while not isinstance(step := run.next(), Stopped):
        appends.append(run.drain())
        if isinstance(step, Execute):
            run.receive(perform(step))
        elif isinstance(step, AwaitDecision):
            decide(graph, run, step)
    appends.append(run.drain())

    end = data.draw(st.integers(1, len(appends)))
    prefix = [entry for append in appends[:end] for entry in append]
    again = replay(graph.engine(), prefix)
    play(graph, again)
    assert bodies(prefix + again.drain()) == bodies(log)


@given(graphs)
@settings(max_examples=100)
def test_every_proposal_that_came_in_is_accounted_for(graph: Graph) -> None:
    """Promoted, rejected, a duplicate, a conflict, at a gate, or held back by a stop: nothing is hidden."""
    run = graph.begin()
    result = play(graph, run)
    log = run.drain()

    came = len(entries_of(log, "input_admitted")) + len(entries_of(log, "proposal_made"))
    came += sum(len(effect["proposals"]) for effect in entries_of(log, "effect_received"))  # type: ignore[arg-type, misc]
    fates = ("fact_promoted", "proposal_rejected", "proposal_duplicate", "proposal_conflicted")
    decided = sum(len(entries_of(log, kind)) for kind in fates)
    edited = sum(entry["verdict"] == "edit" for entry in entries_of(log, "decision_received"))
    held = sum(int(str(stop["held"])) for stop in entries_of(log, "run_stopped"))
    waiting = len(result.context.staged)
    refused = sum(entry["code"] != "unknown_gate" for entry in entries_of(log, "decision_refused"))
    assert came == decided + (edited - refused) + held + waiting, "an edit takes the place of what it edits"


@given(graphs, graphs)
@settings(max_examples=60)
def test_a_run_that_starts_from_the_context_of_another_replays_too(first: Graph, second: Graph) -> None:
    context = play(first, first.begin()).context
    start = ContextState(context.facts(), [emission.proposal() for emission in second.inputs])
    run = second.engine().begin(start, run_id="second")
    result = play(second, run)
    replay(second.engine(), run.drain())
    assert list(result.context.facts())[: context.version] == list(context.facts())


# --- any driver, any moment -------------------------------------------------------------------------------------------


class AnyDriver(RuleBasedStateMachine):
    """Somebody who does with a machine whatever may be done, in any order: it never breaks, and always replays."""

    @initialize(graph=graphs)
    def begin(self, graph: Graph) -> None:
        self.graph = replace(graph, budget=replace(graph.budget, time_limit_ms=1_000))
        self.run = self.graph.begin()
        self.log: list[Entry] = []
        self.waiting: list[Outcome] = []
        self.step: Execute | AwaitDecision | Stopped | None = None

    @rule()
    def next(self) -> None:
        step = self.run.next()
        if step is not self.step and isinstance(step, Execute):
            self.waiting = perform(step)
        self.step = step

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def some_calls_finish(self, data: st.DataObject) -> None:
        place = data.draw(st.integers(0, len(self.waiting) - 1))
        self.run.receive([self.waiting.pop(place)])

    @rule(suggestor=st.sampled_from(["rule-0", "nobody"]))
    def an_answer_that_nobody_waits_for(self, suggestor: str) -> None:
        try:
            self.run.receive([Outcome(99, suggestor)])
        except MisuseError:
            return
        raise AssertionError("taken all the same")

    @precondition(lambda self: isinstance(self.step, AwaitDecision))
    @rule(data=st.data())
    def somebody_answers(self, data: st.DataObject) -> None:
        assert isinstance(self.step, AwaitDecision)
        request = data.draw(st.sampled_from(self.step.requests))
        self.run.decide([answer(self.graph, request.gate_id, data.draw(st.integers(0, 3)))])

    @rule()
    def somebody_defers_or_errs(self) -> None:
        self.run.decide([GateDecision.defer("gate-of-nobody", "ann")])

    @rule(milliseconds=st.integers(0, 1_100))
    def time_passes(self, milliseconds: int) -> None:
        self.run.observe_time(milliseconds)

    @rule()
    def somebody_cancels(self) -> None:
        self.run.cancel("enough", Actor("ann"))

    @precondition(lambda self: isinstance(self.step, Stopped))
    @rule(facts=st.integers(0, 20), cycles=st.integers(0, 20))
    def somebody_reopens(self, facts: int, cycles: int) -> None:
        assert isinstance(self.step, Stopped)
        violated = self.step.result.stop_reason.stop_class is StopClass.VALIDATION
        try:
            self.run.reopen(Budget(max_facts=facts, max_cycles=cycles, time_limit_ms=10_000))
        except MisuseError:
            assert violated
            return
        assert not violated
        self.step, self.waiting = None, []

    @rule(emission=emissions)
    def an_observation_comes_in(self, emission: Emission) -> None:
        proposal = emission.proposal()
        with suppress(AdmissionError):  # it may be blank, contradict what is known, or come too late
            kind = AdmissionActorKind.EXTERNAL
            self.run.admit(AdmissionRequest("sensor", kind, "plant", proposal.key, proposal.id, proposal.payload))

    @rule(emission=emissions, n=st.integers(0, 2))
    def somebody_corrects_a_fact(self, emission: Emission, n: int) -> None:
        wire: Mapping[str, JsonValue] = {"family": Number.family, "version": 1, "body": {"n": n}}
        self.run.correct(
            CorrectionEvent(
                fact=f"{emission.key}/{emission.id}",
                actor="human:ann",
                reason_code="data_error",
                reason="a typo",
                payload=wire,
            )
        )

    @rule()
    def what_happened_is_drained(self) -> None:
        self.log += self.run.drain()

    @invariant()
    def the_ledger_replays_to_where_the_machine_stands(self) -> None:
        if not hasattr(self, "run"):
            return
        self.log += self.run.drain()
        again = replay(self.graph.engine(), self.log)
        assert again.drain() == []
        assert again.usage == self.run.usage
        assert list(again.result().context.facts()) == list(self.run.result().context.facts())


AnyDriver.TestCase.settings = settings(max_examples=60, stateful_step_count=25)
TestAnyDriver = AnyDriver.TestCase


def test_the_engine_drives_a_graph_as_the_machine_is_driven_by_hand() -> None:
    graph = Graph(
        (Rule((), (Emission(KEYS[0], "a", 1, 1.0, False),), 0, False, "", False),),
        (),
        Budget(),
        None,
        ConflictPolicy.STOP,
        (0,),
    )
    by_hand = play(graph, graph.begin())
    by_engine = finish(graph.engine().run(graph.context()))
    assert (by_hand.integrity, by_hand.stop_reason) == (by_engine.integrity, by_engine.stop_reason)
