"""Corrections: a new fact in the place of a wrong one, and what follows for the conclusions drawn from it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from converge_core import (
    Actor,
    Context,
    ContextKey,
    ContextState,
    Convergence,
    DataPayload,
    Engine,
    FactPayload,
    GateDecision,
    HitlPolicy,
    LedgerCorrupt,
    MisuseError,
    ProposedFact,
    Stopped,
    Suggestor,
    TextPayload,
    ValidationPolicy,
    replay,
    semantic,
    structural,
    suggestor,
)
from converge_core.context.snapshot import facts_root, restore, snapshot
from converge_core.gates.authority import ApprovalPolicy, AuthorityGrant, AuthorityScope
from converge_core.gates.stop import ConflictDetected, InvariantViolated, StopReason
from converge_core.ledger.events import CorrectionEvent, CorrectionRefused, FactPromoted, read_event
from tests.core.stage import (
    HYPOTHESES,
    SEEDS,
    SIGNALS,
    Says,
    advance,
    engine_of,
    gates_of,
    perform,
    refs,
    seeded,
    text,
)

STRATEGIES = ContextKey.STRATEGIES
A, A2, A3 = "seeds/a", "seeds/a~2", "seeds/a~3"


def wire(words: str, family: str = "converge.text", version: object = 1) -> dict[str, Any]:
    return {"body": {"text": words}, "family": family, "version": version}


def correction(fact: str = A, words: str = "right", by: str = "human:ann", **more: Any) -> CorrectionEvent:
    fields = {"payload": wire(words), "reason_code": "data_error", "reason": "a slip of the pen", **more}
    return CorrectionEvent(fact=fact, actor=by, **fields)


def settled(engine: Engine, *ids: str) -> Convergence:
    """A run that has come to its fixed point."""
    run = engine.begin(seeded(*(ids or ("a", "b"))), run_id="run")
    assert isinstance(advance(run), Stopped)
    return run


def correct(run: Convergence, *events: CorrectionEvent) -> StopReason | None:
    """Correct a run that has stopped, and drive it on; return why it stops, if it does."""
    for event in events:
        assert run.correct(event) is None
    run.reopen()
    step = advance(run)
    return step.result.stop_reason if isinstance(step, Stopped) else None


def refusal(run: Convergence, event: CorrectionEvent) -> str:
    refused = run.correct(event)
    assert isinstance(refused, CorrectionRefused)
    return refused.code


def says(run: Convergence, key: ContextKey, fact_id: str) -> str:
    fact = run.result().context.find(key, fact_id)
    assert fact is not None
    return fact.payload.summary()


class Concludes(Suggestor):
    """Concludes from each fact of a key one of another, with the same id but for the number of a correction."""

    def __init__(self, reads: ContextKey, writes: ContextKey, confidence: float = 1.0) -> None:
        self.name = f"{reads}-to-{writes}"
        self.dependencies = (reads,)
        self.reads, self.to, self.confidence = reads, writes, confidence

    def execute(self, ctx: Context) -> Any:
        return [
            ProposedFact(
                self.to,
                fact.id.partition("~")[0],
                TextPayload(text=f"{fact.payload.summary()}!"),
                confidence=self.confidence,
                evidence=[fact],
            )
            for fact in ctx.fresh(self.reads)
        ]


def chain(**settings: Any) -> Engine:
    return engine_of(Concludes(SEEDS, SIGNALS), Concludes(SIGNALS, HYPOTHESES), **settings)


# --- what readers see -----------------------------------------------------------------------------------------------


def test_readers_see_the_correction_and_the_history_on_request() -> None:
    run = settled(engine_of())
    correct(run, correction(words="right"))
    context = run.result().context
    assert [fact.ref for fact in context.get(SEEDS)] == ["seeds/b", A2]
    assert says(run, SEEDS, "a") == says(run, SEEDS, "a~2") == "right"
    assert [fact.payload.summary() for fact in context.history(SEEDS, "a")] == ["a", "right"]
    assert refs(run.result()) == [A, "seeds/b", A2], "both stay"
    assert context.count(SEEDS) == 2


def test_a_correction_can_be_corrected_by_whoever_made_it_too() -> None:
    run = settled(engine_of())
    correct(run, correction(words="rihgt"))
    correct(run, correction(A2, "right"))
    assert [fact.ref for fact in run.result().context.history(SEEDS, "a~2")] == [A, A2, A3]
    assert says(run, SEEDS, "a") == "right"


def test_whoever_corrects_is_the_proposer_and_the_approver_with_the_authority_used() -> None:
    grants = ApprovalPolicy((AuthorityGrant("editors", ("ann",)),))
    run = settled(engine_of(hitl_policy=HitlPolicy(approval=grants)))
    correct(run, correction())
    fact = run.result().context.resolve(A2)
    assert fact is not None
    record = fact.promotion
    assert (fact.proposer, record.approver, record.authority) == ("human:ann", Actor("ann"), "grant:editors")
    assert (record.gate_id, record.supersedes, fact.evidence, fact.confidence) == ("correction", A, (A,), 1.0)


def test_what_supersedes_what_is_under_the_hash_of_the_fact() -> None:
    run = settled(engine_of())
    correct(run, correction())
    promoted = [read_event(entry.body) for entry in run.drain() if entry.kind == FactPromoted.kind]
    assert [event.supersedes for event in promoted if isinstance(event, FactPromoted)] == [None, None, A]


def test_a_correction_keeps_out_of_the_way_of_an_id_that_is_taken() -> None:
    run = settled(engine_of(), "a", "a~2")
    correct(run, correction())
    assert [fact.ref for fact in run.result().context.history(SEEDS, "a")] == [A, A3]
    assert says(run, SEEDS, "a~2") == "a~2", "which is another fact"


def test_a_corrected_context_stays_corrected_in_the_next_run() -> None:
    run = settled(engine_of())
    correct(run, correction())
    child = settled_from(ContextState(run.result().context.facts()))
    assert [fact.ref for fact in child.result().context.get(SEEDS)] == ["seeds/b", A2]
    again = replay(engine_of(), child.drain())
    assert [fact.ref for fact in again.result().context.get(SEEDS)] == ["seeds/b", A2]


def settled_from(context: ContextState) -> Convergence:
    run = engine_of().begin(context, run_id="child")
    assert isinstance(advance(run), Stopped)
    return run


def test_a_corrected_context_stays_corrected_in_a_snapshot() -> None:
    run = settled(engine_of())
    correct(run, correction())
    context = run.result().context
    restored = restore(snapshot(context), facts_root(tuple(context.facts())))
    assert [fact.ref for fact in restored.get(SEEDS)] == ["seeds/b", A2]


def test_facts_of_which_one_supersedes_what_is_not_there_are_no_context() -> None:
    run = settled(engine_of())
    correct(run, correction())
    _, b, corrected = run.result().context.facts()
    with pytest.raises(MisuseError):
        ContextState([b, corrected])


# --- what does not count --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (correction("seeds/z"), "unknown_fact"),
        (correction("nonsense"), "unknown_fact"),
        (correction(words="a"), "unchanged"),
        (correction(reason_code="a whim"), "invalid_correction"),
        (correction(by="ann"), "invalid_correction"),
        (correction(by="suggestor:rule"), "no_authority"),
        (correction(by="system:clock"), "no_authority"),
        (correction(payload=wire("x", family="converge.data")), "invalid_payload"),
        (correction(payload=wire("x", version=9)), "invalid_payload"),
        (correction(payload=wire("x", version="1")), "invalid_payload"),
        (correction(payload={"body": {"words": "x"}, "family": "converge.text", "version": 1}), "invalid_payload"),
        (correction(payload={}), "invalid_payload"),
        (correction(words="x" * 2_000_000), "payload_too_large"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_correction_that_does_not_count_is_refused_and_recorded(event: CorrectionEvent, code: str) -> None:
    run = settled(engine_of())
    run.drain()
    assert refusal(run, event) == code
    assert [entry.kind for entry in run.drain()] == ["correction_received", "correction_refused"]
    run.reopen()
    advance(run)
    assert refs(run.result()) == [A, "seeds/b"]


def test_a_fact_is_corrected_once() -> None:
    run = settled(engine_of())
    assert run.correct(correction(words="first")) is None
    assert refusal(run, correction(words="second")) == "already_superseded", "while the first waits"
    run.reopen()
    advance(run)
    assert refusal(run, correction(words="third")) == "already_superseded", "and when it is a fact"
    assert says(run, SEEDS, "a") == "first"


def test_outside_the_grant_nobody_corrects() -> None:
    scope = AuthorityScope((SIGNALS,), until="2026-10-31")
    policy = HitlPolicy(approval=ApprovalPolicy((AuthorityGrant("editor", ("ann",), scope),)))
    run = settled(chain(hitl_policy=policy))
    assert refusal(run, correction()) == "no_authority", "another key"
    assert refusal(run, correction("signals/a", by="human:bob")) == "no_authority", "another person"
    assert refusal(run, correction("signals/a")) == "no_time"
    assert run.correct(correction("signals/a", at="2026-10-31T00:00:00Z")) is None
    assert refusal(run, correction("signals/b", at="2026-11-01T00:00:00Z")) == "authority_expired"
    assert refusal(run, correction("signals/b", at="2026-10-31T00:00:00Z")) == "authority_expired", "time has been seen"


def test_the_last_level_may_correct_without_being_asked() -> None:
    grants = (AuthorityGrant("team", ("ann",)), AuthorityGrant("boss", ("eve",), level=2))
    run = settled(engine_of(hitl_policy=HitlPolicy(approval=ApprovalPolicy(grants))))
    assert run.correct(correction(by="human:eve")) is None


def test_one_person_does_not_correct_what_two_have_let_in() -> None:
    policy = HitlPolicy(gated_keys=(SIGNALS,), approval=ApprovalPolicy(needs=2))
    run = engine_of(Concludes(SEEDS, SIGNALS), hitl_policy=policy).begin(seeded("a"), run_id="run")
    gate = gates_of(advance(run))["signals/a"].gate_id
    run.decide([GateDecision.approve(gate, "ann"), GateDecision.approve(gate, "bob")])
    assert isinstance(advance(run), Stopped)
    assert refusal(run, correction("signals/a", "mine")) == "needs_more"
    assert run.correct(correction(A)) is None, "nobody had to let this in"


def test_a_correction_passes_the_checks_and_the_invariants_like_any_proposal() -> None:
    engine = engine_of(validation=ValidationPolicy(("short",)))
    engine.register_check("short", lambda p, ctx: "too long" if len(p.payload.summary()) > 5 else None)
    run = settled(engine)
    assert correct(run, correction(words="far too long")) is not None
    assert refs(run.result()) == [A, "seeds/b"]
    assert run.correct(correction()) is None, "the fact is still there to be corrected"


@pytest.mark.parametrize("invariant_class", [structural, semantic])
def test_a_correction_that_breaks_an_invariant_stops_the_run_though_it_wakes_nobody(invariant_class: Any) -> None:
    def nothing_is_right(ctx: Context) -> str | None:
        return "it is" if any(fact.payload.summary() == "right" for fact in ctx.get(SEEDS)) else None

    engine = engine_of()
    engine.register_invariant(invariant_class(nothing_is_right))
    assert isinstance(correct(settled(engine), correction()), InvariantViolated)


# --- who is woken ---------------------------------------------------------------------------------------------------


def test_whoever_depends_on_the_fact_is_woken_and_sees_the_correction_as_new() -> None:
    seen: list[list[str]] = []

    @suggestor(reads=SEEDS)
    def reader(ctx: Context) -> None:
        seen.append([fact.payload.summary() for fact in ctx.fresh(SEEDS)])

    correct(settled(engine_of(reader)), correction())
    assert seen == [["a", "b"], ["right"]]


def test_a_correction_takes_a_cycle_of_its_own() -> None:
    """What a call has seen depends on the number of its cycle alone, so its journaled effect stays right."""
    run = chain().begin(seeded("a"), run_id="run")
    asked = advance(run, cycles=1)
    assert run.correct(correction()) is None
    run.receive(perform(asked))
    seen = advance(run, cycles=3)
    assert [call.context.version for call in seen.batch] == [3, 3]  # type: ignore[union-attr]  # an Execute step
    promoted = [read_event(entry.body) for entry in run.drain() if entry.kind == FactPromoted.kind]
    assert [(e.cycle, e.id) for e in promoted if isinstance(e, FactPromoted)] == [(0, "a"), (1, "a"), (2, "a~2")]


def test_a_run_that_waits_for_people_takes_a_correction_when_they_have_answered() -> None:
    run = chain(hitl_policy=HitlPolicy(gated_keys=(SIGNALS,))).begin(seeded("a"), run_id="run")
    gate = gates_of(advance(run))["signals/a"].gate_id
    assert run.correct(correction()) is None
    run.decide([GateDecision.approve(gate, "bob")])
    again = gates_of(advance(run))
    assert list(again) == ["signals/a~2"], "what bob has let in rested on what was wrong"


def test_corrections_of_the_past_are_replayed_byte_by_byte() -> None:
    run = settled(chain())
    log = run.drain()
    for event in (correction(), correction(A2, "better"), correction("signals/b", "by hand")):
        run.correct(event)
        run.reopen()
        advance(run)
        log += run.drain()
    again = replay(chain(), log)
    assert refs(again.result()) == refs(run.result())
    assert again.result().integrity == run.result().integrity


# --- what was concluded ---------------------------------------------------------------------------------------------


def test_conclusions_are_drawn_anew_as_far_as_the_correction_reaches() -> None:
    run = settled(chain())
    assert says(run, HYPOTHESES, "a") == "a!!"
    assert not isinstance(correct(run, correction(words="right")), ConflictDetected)
    assert (says(run, SIGNALS, "a"), says(run, HYPOTHESES, "a")) == ("right!", "right!!")
    assert (says(run, SIGNALS, "b"), says(run, HYPOTHESES, "b")) == ("b!", "b!!")
    context = run.result().context
    assert [fact.ref for fact in context.history(HYPOTHESES, "a")] == ["hypotheses/a", "hypotheses/a~2"]
    revised = context.find(HYPOTHESES, "a")
    assert revised is not None
    assert (revised.proposer, revised.evidence) == ("signals-to-hypotheses", ("signals/a~2",))
    assert (revised.promotion.gate_id, revised.promotion.supersedes) == ("engine-promotion", "hypotheses/a")


def test_conclusions_follow_a_second_correction_too() -> None:
    run = settled(chain())
    correct(run, correction(words="one"))
    correct(run, correction(A2, "two"))
    assert says(run, HYPOTHESES, "a") == "two!!"
    assert len(run.result().context.history(HYPOTHESES, "a")) == 3


def test_a_conclusion_that_stays_the_same_is_no_new_fact() -> None:
    class Constant(Concludes):
        def execute(self, ctx: Context) -> Any:
            return [text("x", "always", SIGNALS, evidence=[fact]) for fact in ctx.fresh(SEEDS)]

    run = settled(engine_of(Constant(SEEDS, SIGNALS)), "a")
    correct(run, correction())
    assert refs(run.result()) == [A, "signals/x", A2]


def test_a_conclusion_from_what_still_stands_is_contradicted_not_revised() -> None:
    @suggestor(reads=SEEDS)
    def fickle(ctx: Context) -> Iterable[ProposedFact[FactPayload]]:
        yield text("x", f"{ctx.version}", SIGNALS, evidence=["seeds/b"])

    reason = correct(settled(engine_of(fickle)), correction())
    assert reason == ConflictDetected("signals/x", "fickle")


def test_a_conclusion_that_cites_nothing_rests_on_all_that_was_there() -> None:
    @suggestor(reads=SEEDS)
    def counts(ctx: Context) -> Iterable[ProposedFact[FactPayload]]:
        words = " ".join(fact.payload.summary() for fact in ctx.get(SEEDS))
        yield text("all", words, SIGNALS)

    run = settled(engine_of(counts))
    assert says(run, SIGNALS, "all") == "a b"
    correct(run, correction())
    assert says(run, SIGNALS, "all") == "b right"
    run.reopen()
    advance(run)
    assert len(run.result().context.history(SIGNALS, "all")) == 2


def test_a_conclusion_that_came_after_the_correction_is_contradicted_not_revised() -> None:
    @suggestor(reads=[SEEDS, HYPOTHESES])
    def fickle(ctx: Context) -> Iterable[ProposedFact[FactPayload]]:
        if len(ctx.history(SEEDS, "a")) == 2:
            yield text("x", f"{ctx.version}", SIGNALS)

    again = Says("again", text("h", key=HYPOTHESES), reads=[SIGNALS])
    reason = correct(settled(engine_of(fickle, again)), correction())
    assert reason == ConflictDetected("signals/x", "fickle")


def test_an_input_revises_nothing_whatever_was_corrected() -> None:
    """Else whoever brings something in would correct without authority."""
    run = settled(engine_of())
    correct(run, correction())
    child = engine_of().begin(ContextState(run.result().context.facts(), [text("b", "other words")]), run_id="child")
    step = advance(child)
    assert isinstance(step, Stopped)
    assert step.result.stop_reason == ConflictDetected("seeds/b", "input")


def test_a_proposal_that_rests_on_what_was_corrected_revises_nothing() -> None:
    @suggestor(reads=SEEDS)
    def late(ctx: Context) -> Iterable[ProposedFact[FactPayload]]:
        yield text("x", f"{ctx.version}", SIGNALS, evidence=[A])

    assert correct(settled(engine_of(late)), correction()) == ConflictDetected("signals/x", "late")


def test_only_its_own_proposer_revises_what_the_engine_let_in() -> None:
    @suggestor(reads=SEEDS)
    def once(ctx: Context) -> Iterable[ProposedFact[FactPayload]]:
        if ctx.count(SIGNALS) == 0:
            yield text("x", "mine", SIGNALS, evidence=[A])

    @suggestor(reads=SEEDS)
    def other(ctx: Context) -> Iterable[ProposedFact[FactPayload]]:
        if ctx.count(SIGNALS) == 1:
            yield text("x", "theirs", SIGNALS, evidence=[A2])

    assert correct(settled(engine_of(once, other)), correction()) == ConflictDetected("signals/x", "other")


def test_what_a_human_has_let_in_is_revised_with_a_humans_consent_alone() -> None:
    policy = HitlPolicy(confidence_threshold=0.5)
    unsure = Concludes(SEEDS, SIGNALS, confidence=0.4)
    run = engine_of(unsure, Concludes(SIGNALS, HYPOTHESES), hitl_policy=policy).begin(seeded("a"), run_id="run")
    gate = gates_of(advance(run))["signals/a"].gate_id
    run.decide([GateDecision.edit(gate, "ann", TextPayload(text="ann's words"))])
    assert isinstance(advance(run), Stopped)
    unsure.confidence = 0.9  # the policy alone would let it pass now
    run.correct(correction(by="human:bob"))
    run.reopen()

    request = gates_of(advance(run))["signals/a~2"]
    assert request.code == "overrules_human"
    assert says(run, SIGNALS, "a") == "ann's words"

    run.decide([GateDecision.approve(request.gate_id, "ann")])
    advance(run)
    assert (says(run, SIGNALS, "a"), says(run, HYPOTHESES, "a")) == ("right!", "right!!")


def test_a_human_may_keep_what_a_human_has_let_in() -> None:
    run = chain(hitl_policy=HitlPolicy(gated_keys=(SIGNALS,))).begin(seeded("a"), run_id="run")
    run.decide([GateDecision.approve(gates_of(advance(run))["signals/a"].gate_id, "ann")])
    advance(run)
    run.correct(correction(by="human:bob"))
    run.reopen()
    run.decide([GateDecision.reject(gates_of(advance(run))["signals/a~2"].gate_id, "ann")])
    assert isinstance(advance(run), Stopped)
    assert says(run, SIGNALS, "a") == "a!"


def test_a_conclusion_corrected_by_hand_is_not_overruled_by_a_rule_without_a_human() -> None:
    run = settled(chain(), "a")
    correct(run, correction("signals/a", "by hand"))
    assert says(run, HYPOTHESES, "a") == "by hand!"
    run.correct(correction(by="human:bob"))
    run.reopen()
    assert gates_of(advance(run))["signals/a~3"].code == "overrules_human", "though this run has no gates of its own"
    assert says(run, SIGNALS, "a") == "by hand"


def test_a_fact_that_supersedes_out_of_turn_is_corruption() -> None:
    run = settled(engine_of())
    correct(run, correction())
    child = engine_of().begin(ContextState(run.result().context.facts()), run_id="child").drain()
    carried = [entry for entry in child if entry.kind == "fact_carried"]
    swapped = [child[0], *carried[1:], *[entry for entry in child if entry.kind != "fact_carried"][1:]]
    with pytest.raises(LedgerCorrupt):
        replay(engine_of(), swapped)


def test_payloads_of_other_classes_can_be_corrected_within_their_class() -> None:
    context = ContextState().add_proposal(ProposedFact(SEEDS, "a", DataPayload(data={"n": 1}), provenance="me"))
    run = engine_of().begin(context, run_id="run")
    advance(run)
    data: dict[str, Any] = {"body": {"n": 2}, "family": "converge.data", "version": 1}
    correct(run, correction(payload=data))
    fact = run.result().context.find(SEEDS, "a")
    assert fact is not None
    assert fact.payload == DataPayload(data={"n": 2})
