"""Runs of all kinds, each with a script that plays it to its end from wherever its ledger stands.

A script says what the world does: what people answer, what the clock shows, when somebody cancels. All of it depends on
the machine and its ledger alone, so a run that was broken off at any append can be driven on as if nothing had been.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from converge_core import (
    Actor,
    AdmissionActorKind,
    AdmissionRequest,
    AgentEffect,
    ApprovalPolicy,
    AwaitDecision,
    Blocked,
    Budget,
    ConflictPolicy,
    Context,
    ContextKey,
    ContextState,
    Convergence,
    Criterion,
    CriterionResult,
    Engine,
    Entry,
    Execute,
    FactPayload,
    HitlPolicy,
    Indeterminate,
    Met,
    ProposedFact,
    Refusal,
    Replayability,
    RootIntent,
    Scope,
    Stopped,
    Suggestor,
    TextPayload,
    Unmet,
    Usage,
    ValidationPolicy,
    acceptance,
    replay,
    semantic,
    structural,
    suggestor,
)
from converge_core.formations.kinds import DeliberatedFormation, OpenClawFormation, ScoredFormation
from converge_core.formations.profiles import SuggestorProfile
from converge_core.gates.flow import FlowAction, FlowGateDecision, FlowGateInput, FlowGateOutcome
from converge_core.ledger.canonical import JsonValue
from converge_core.ledger.events import CorrectionEvent
from converge_core.suggestors import ReactOnceSuggestor, SeedSuggestor
from tests.core.stage import (
    HYPOTHESES,
    SEEDS,
    SIGNALS,
    Says,
    approve,
    data,
    defer,
    edit,
    engine_of,
    perform,
    play,
    reject,
    seeded,
    text,
)
from tests.fakes.approver import Answer

DIAGNOSTIC = ContextKey.DIAGNOSTIC


class Invoice(FactPayload):
    family: ClassVar[str] = "test.invoice"
    cents: int


class Flaky(Says):
    """Fails until the context shows that it has failed."""

    def execute(self, ctx: Context) -> AgentEffect:
        if not ctx.has(DIAGNOSTIC):
            raise ValueError("not today")
        return super().execute(ctx)


class Model(Suggestor):
    """Something that costs, and may answer otherwise the next time."""

    replayability = Replayability.NONE
    name = "model"
    dependencies = (SEEDS,)

    def execute(self, ctx: Context) -> AgentEffect:
        ctx.allowance.reserve(tokens=100).settle(Usage(60, 20))
        answer = text("answer", "42", HYPOTHESES, confidence=0.75, evidence=ctx.fresh(SEEDS))
        return AgentEffect.with_proposal(answer, Usage(60, 20, 1_000))


class Commits:
    """A flow gate that lets everything pass but the end."""

    def __init__(self, outcome: FlowGateOutcome) -> None:
        self.name = f"commits-{outcome}"
        self._outcome = outcome

    def decide(self, question: FlowGateInput) -> FlowGateDecision:
        outcome = self._outcome if question.action is FlowAction.COMMIT else FlowGateOutcome.PROMOTE
        return FlowGateDecision(outcome, "by the book", "book")


def corrects(run: Convergence) -> None:
    """Correct a fact; then try to correct one that is none, and the first one again."""
    for ref in ("seeds/s", "seeds/nothing", "seeds/s"):
        payload: Mapping[str, JsonValue] = {"family": "converge.text", "version": 1, "body": {"text": "corrected"}}
        run.correct(
            CorrectionEvent(fact=ref, actor="human:ann", reason_code="data_error", reason="a typo", payload=payload)
        )


def observes(run: Convergence) -> None:
    """Bring in an observation, twice."""
    for _ in range(2):
        run.admit(AdmissionRequest("sensor", AdmissionActorKind.EXTERNAL, "plant", SIGNALS, "late", "21 degrees"))


class Everything:
    """Judges each criterion by its name."""

    def evaluate(self, criterion: Criterion, ctx: Context) -> CriterionResult:
        answers: dict[str, CriterionResult] = {
            "met": Met(("seeds/s",)),
            "unmet": Unmet("not yet"),
            "blocked": Blocked("law", "ap:1"),
        }
        return answers.get(criterion.id, Indeterminate("who knows"))


@dataclass(frozen=True)
class Script:
    """An engine, what it starts from, and what the world does to it.

    ``answers`` are given to a gate all at once, by ``key/id``; ``elapsed`` is the clock, by cycle; ``cancel_in`` is the
    cycle whose calls are called off; ``reopen`` are the budgets under which a stopped run goes on, and ``late`` what is
    done to it before it does so for the first time.
    """

    engine: Callable[[], Engine]
    context: Callable[[], ContextState] = ContextState
    intent: RootIntent | None = None
    answers: Mapping[str, Sequence[Answer]] = field(default_factory=dict)
    elapsed: Callable[[int], int] | None = None
    cancel_in: int | None = None
    reopen: tuple[Budget | None, ...] = ()
    late: Callable[[Convergence], object] | None = None

    def begin(self) -> Convergence:
        return self.engine().begin(self.context(), self.intent)

    def play_on(self, run: Convergence, log: Iterable[Entry] = ()) -> list[list[Entry]]:
        """Drive a machine whose ledger is ``log`` to the end of the script; return what it appends."""
        kinds = [entry.kind for entry in log]
        appends: list[list[Entry]] = []
        while True:
            if self.elapsed is not None and (appends or not kinds):  # a step that was taken up again is done first
                run.observe_time(self.elapsed(run.cycles))
            step = run.next()
            appends.append(run.drain())
            kinds += [entry.kind for entry in appends[-1]]
            match step:
                case Execute() if step.cycle == self.cancel_in and "cancel_requested" not in kinds:
                    run.cancel("enough", Actor("ann"))
                case Execute():
                    run.receive(perform(step))
                case AwaitDecision():
                    answers = [
                        answer(request.gate_id)
                        for request in step.requests
                        for answer in self.answers.get(request.ref, ())
                    ]
                    if not answers:
                        return appends
                    run.decide(answers)
                case Stopped(result) if (variant := run.lineup.next_variant(result)) is not None:
                    run.form(variant)
                    run.reopen()
                case Stopped():
                    reopened = kinds.count("run_reopened")
                    if reopened >= len(self.reopen):
                        return appends
                    if self.late is not None and not reopened:
                        self.late(run)
                    run.reopen(self.reopen[reopened])

    def play(self) -> list[list[Entry]]:
        """Play the whole run; return it append by append."""
        return self.play_on(self.begin())

    def play_from(self, log: Sequence[Entry]) -> list[Entry]:
        """Play on from a ledger, on a new engine; return the whole ledger."""
        run = replay(self.engine(), log)
        return [*log, *(entry for append in self.play_on(run, log) for entry in append)]


def check(name: str, violated: bool) -> Callable[[Context], str | None]:
    def holds(ctx: Context) -> str | None:
        return "it does not" if violated and ctx.has(SIGNALS) else None

    holds.__name__ = name
    return holds


def with_invariants(violated: str = "") -> Engine:
    engine = engine_of(Says("rule", text("x", key=SIGNALS), reads=[SEEDS]))
    for make in (structural, semantic, acceptance):
        engine.register_invariant(make(check(make.__name__, make.__name__ == violated)))
    return engine


def with_packs() -> Engine:
    engine = engine_of(Says("free", text("free", key=SIGNALS), reads=[SEEDS]))
    engine.register_suggestor(Says("packed", text("packed"), reads=[SEEDS]), pack="other")
    return engine


def with_checks() -> Engine:
    engine = engine_of(
        Says("rule", text("ok", key=SIGNALS, evidence=["seeds/s"]), text("no", key=SIGNALS), reads=[SEEDS]),
        validation=ValidationPolicy(("even", "evidence_exists")),
    )
    engine.register_check("even", lambda proposal, ctx: None if proposal.id != "no" else "odd")
    return engine


def messy() -> ContextState:
    """Inputs of every sort: good, bad, said twice."""
    context = seeded("s", "s", "", "t").add_input(SIGNALS, "blank", " ")
    context.add_proposal(data("d", ContextKey.EVALUATIONS, n=1.0, deep=[{"a": None}]))
    context.add_proposal(ProposedFact(SEEDS, "invoice", Invoice(cents=120), provenance="erp"))
    return context.add_proposal(text("odd", confidence=float("nan")))


def carried() -> ContextState:
    """The context of an earlier run, with another input."""
    earlier = play(engine_of(Says("old", text("o", key=SIGNALS), reads=[SEEDS])), messy()).result.context
    return ContextState(earlier.facts(), [text("late", provenance="me")])


def reads_invoices() -> Engine:
    @suggestor(reads=[Invoice, (SEEDS, Invoice)], writes=SIGNALS)
    def sums(ctx: Context) -> Iterable[ProposedFact[FactPayload]]:
        yield data("sum", SIGNALS, cents=sum(fact.payload.cents for fact in ctx.get(Invoice)))
        yield text("elsewhere")

    return engine_of(sums, Says("old", text("o", key=SIGNALS), reads=[SEEDS]))


def unsure(**settings: object) -> Engine:
    return engine_of(
        Says("rule", text("a", key=SIGNALS), text("b", key=SIGNALS), text("c", key=SIGNALS), text("free")),
        Says("again", text("b", key=SIGNALS), reads=[SIGNALS]),
        Says("twice", text("a", key=SIGNALS, confidence=0.5)),
        **{"hitl_policy": HitlPolicy(gated_keys=(SIGNALS,)), **settings},
    )


def unsure_members(**settings: object) -> Engine:
    """Two that a formation may choose between; one of them is the surer one, and plays a role."""
    sure = Says("a", text("a", key=SIGNALS, confidence=0.9), reads=[SEEDS])
    sure.profile = SuggestorProfile(roles=("planning",), confidence=0.9)
    unsure = Says("b", text("b", key=SIGNALS, confidence=0.3), reads=[SEEDS])
    return engine_of(sure, unsure, evaluator=Everything(), **settings)


def refusing(name: str, *, optional: bool = False) -> Suggestor:
    def refuses(ctx: Context) -> None:
        raise Refusal("not my business")

    return suggestor(name=name, reads=SEEDS, optional=optional)(refuses)


ANSWERS: dict[str, Sequence[Answer]] = {
    "signals/a": [defer("bob"), approve("ann"), reject("bob")],
    "signals/b": [lambda gate: approve()("gate-of-nobody"), reject("ann", "no")],
    "signals/c": [edit(TextPayload(text="better"), "ann")],
}

S = seeded
SCRIPTS: dict[str, Script] = {
    "nothing at all": Script(engine_of),
    "quick start": Script(
        lambda: engine_of(SeedSuggestor("seed-1", "initial data"), ReactOnceSuggestor("hyp-1", "insight"))
    ),
    "messy inputs": Script(reads_invoices, messy),
    "carried facts": Script(reads_invoices, carried),
    "a conflict": Script(lambda: engine_of(Says("rule", text("s", "other"), reads=[SEEDS])), lambda: S("s")),
    "a conflict turned away": Script(
        lambda: engine_of(Says("rule", text("s", "other"), reads=[SEEDS]), conflict_policy=ConflictPolicy.REJECT),
        lambda: S("s"),
    ),
    "inactive packs": Script(with_packs, lambda: S("s"), RootIntent("i", active_packs=("basics",))),
    "checks and scope": Script(with_checks, lambda: S("s"), RootIntent("i", scope=Scope((("text", "words"),)))),
    "gates answered": Script(unsure, answers=ANSWERS),
    "gates unanswered": Script(unsure),
    "gated inputs": Script(unsure, lambda: S().add_input(SIGNALS, "a", "in"), answers={"signals/a": [approve()]}),
    "criteria met": Script(
        lambda: engine_of(evaluator=Everything()), lambda: S("s"), RootIntent("i", success=(Criterion("met"),))
    ),
    "criteria blocked": Script(
        lambda: engine_of(evaluator=Everything()),
        lambda: S("s"),
        RootIntent("i", success=tuple(Criterion(name) for name in ("met", "blocked", "unmet", "other"))),
    ),
    "invariants that hold": Script(with_invariants, lambda: S("s")),
    **{
        f"a {name} violation": Script(lambda name=name: with_invariants(name), lambda: S("s"))  # type: ignore[misc]
        for name in ("structural", "semantic", "acceptance")
    },
    "a failure": Script(lambda: engine_of(refusing("no"), Says("rule", text("x"), reads=[SEEDS])), lambda: S("s")),
    "a failure mended": Script(
        lambda: engine_of(Flaky("flaky", text("f", key=SIGNALS), reads=[SEEDS])), lambda: S("s"), reopen=(None,)
    ),
    "an optional failure": Script(lambda: engine_of(refusing("no", optional=True)), lambda: S("s")),
    "too few cycles": Script(
        lambda: engine_of(Says("a", text("a")), Says("b", text("b"), reads=[SEEDS]), budget=Budget(max_cycles=1)),
        reopen=(Budget(max_cycles=2), Budget()),
    ),
    "too few facts": Script(
        lambda: engine_of(Says("a", *(text(f"f{i}") for i in range(5))), budget=Budget(max_facts=2)),
        reopen=(Budget(max_facts=3), Budget()),
    ),
    "too few tokens": Script(
        lambda: engine_of(Model(), budget=Budget(max_tokens=50)), lambda: S("s"), reopen=(Budget(max_tokens=500),)
    ),
    "too little money": Script(lambda: engine_of(Model(), budget=Budget(max_cost_usd=0.0005)), lambda: S("s")),
    "too little time": Script(
        lambda: engine_of(
            Says("a", text("a")), Says("b", text("b", key=SIGNALS), reads=[SEEDS]), budget=Budget(time_limit_ms=15)
        ),
        elapsed=lambda cycle: 10 * cycle,
        reopen=(Budget(time_limit_ms=1_000),),
    ),
    "few at a time": Script(
        lambda: engine_of(*(Says(n, text(n)) for n in "cab"), budget=Budget(max_suggestors_per_cycle=1))
    ),
    "cancelled": Script(lambda: engine_of(Says("a", text("a")), Says("b", text("b"))), cancel_in=1),
    "cancelled and reopened": Script(
        lambda: engine_of(Says("a", text("a")), Says("b", text("b"), reads=[SEEDS])), cancel_in=2, reopen=(None,)
    ),
    "two must approve": Script(
        lambda: unsure(hitl_policy=HitlPolicy(gated_keys=(SIGNALS,), approval=ApprovalPolicy(needs=2))),
        answers={f"signals/{name}": [approve("ann"), approve("ann"), approve("bob")] for name in "abc"},
    ),
    "a correction": Script(
        lambda: engine_of(Says("rule", text("x", key=SIGNALS), reads=[SEEDS])),
        lambda: S("s"),
        reopen=(None,),
        late=corrects,
    ),
    "a late observation": Script(
        lambda: engine_of(Says("rule", text("x"), reads=[SIGNALS])), lambda: S("s"), reopen=(None,), late=observes
    ),
    "a scored formation": Script(
        unsure_members, lambda: S("s"), RootIntent("i", formation=ScoredFormation(top_n=1, roles=("planning",)))
    ),
    "a deliberated formation": Script(
        unsure_members, lambda: S("s"), RootIntent("i", formation=DeliberatedFormation(huddle_max_cycles=1))
    ),
    "an open formation": Script(
        unsure_members,
        lambda: S("s"),
        RootIntent(
            "i",
            success=(Criterion("unmet"),),
            formation=OpenClawFormation(variants=(("a",), ("b",), ("a", "b")), max_extra_loops=2),
        ),
    ),
    "a formation at a gate": Script(
        lambda: unsure_members(hitl_policy=HitlPolicy(gated_suggestors=("formation",))),
        lambda: S("s"),
        RootIntent("i", formation=DeliberatedFormation()),
        answers={"strategies/formation:0": [approve()], "strategies/formation:4": [reject()]},
    ),
    "changes accepted": Script(
        lambda: engine_of(Says("rule", text("x"), reads=[SIGNALS])),
        lambda: S("s"),
        reopen=(None,),
        late=lambda run: run.accept_changes(Actor("ann")),
    ),
    "a commitment allowed": Script(lambda: engine_of(flow=Commits(FlowGateOutcome.PROMOTE)), lambda: S("s")),
    "a commitment refused": Script(lambda: engine_of(flow=Commits(FlowGateOutcome.REJECT)), lambda: S("s")),
    "a commitment escalated": Script(
        lambda: engine_of(flow=Commits(FlowGateOutcome.ESCALATE)),
        lambda: S("s"),
        answers={"consensus_outcomes/commitment:1": [approve()]},
    ),
    "a model": Script(lambda: engine_of(Model(), budget=Budget(max_tokens=500)), lambda: S("s", "t")),
    "a model at a gate": Script(
        lambda: engine_of(Model(), hitl_policy=HitlPolicy(0.8), budget=Budget(max_tokens=500)),
        lambda: S("s"),
        answers={"hypotheses/answer": [approve()]},
    ),
}
"""Every kind of run, by what happens in it."""
