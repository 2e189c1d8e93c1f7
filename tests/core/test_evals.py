"""Evals: what they say of a context, whom a registry asks, and what a run makes of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_core import (
    Context,
    ContextKey,
    ContextState,
    EvalOutcome,
    EvalRegistry,
    EvalResult,
    EvalSuggestor,
    HitlPolicy,
    MisuseError,
    Stopped,
    TextPayload,
    replay,
)
from converge_core.evals import EvalFact, judged
from tests.core.stage import (
    HYPOTHESES,
    SEEDS,
    SIGNALS,
    Played,
    Says,
    advance,
    engine_of,
    gates_of,
    play,
    refs,
    reject,
    seeded,
    text,
)

PASS, FAIL, INDETERMINATE = EvalOutcome.PASS, EvalOutcome.FAIL, EvalOutcome.INDETERMINATE
EVALUATIONS = ContextKey.EVALUATIONS


class Asks:
    """An eval of a function, which counts how often it is asked."""

    description = "what the function says"

    def __init__(
        self, name: str, says: Callable[[Context], EvalResult], dependencies: Iterable[ContextKey] = ()
    ) -> None:
        self.name, self.dependencies, self._says = name, tuple(dependencies), says
        self.asked = 0

    def evaluate(self, ctx: Context) -> EvalResult:
        self.asked += 1
        return self._says(ctx)


def result(outcome: EvalOutcome = PASS, score: float = 1.0, why: str = "so", **more: Any) -> EvalResult:
    return EvalResult("e", outcome, score, why, **more)


def always(name: str, *dependencies: ContextKey) -> Asks:
    return Asks(name, lambda ctx: result(), dependencies)


def counts(name: str, key: ContextKey = SIGNALS, wanted: int = 1) -> Asks:
    """Passes when there are so many facts; its score is the share."""

    def says(ctx: Context) -> EvalResult:
        found = ctx.count(key)
        return result(PASS if found >= wanted else FAIL, found / wanted, f"{found} of {wanted}")

    return Asks(name, says, [key])


CONTEXT = play(engine_of(), seeded("a")).result.context


# --- a result ---------------------------------------------------------------------------------------------------------


@given(st.floats(allow_nan=False) | st.integers(-5, 5))
def test_a_score_out_of_range_becomes_the_nearer_end(score: float) -> None:
    clamped = result(score=score).score
    assert 0 <= clamped <= 1
    assert clamped == score or clamped in (0.0, 1.0)
    assert (clamped == 1.0) == (score >= 1)


def test_a_score_that_is_no_number_is_refused() -> None:
    with pytest.raises(MisuseError, match="the score of 'e' is no number"):
        result(score=math.nan)


def test_a_result_is_told_as_the_original_told_it() -> None:
    assert result(PASS, 0.85, "good").fact().summary() == "Outcome: Pass | Score: 0.85 | good"
    assert result(INDETERMINATE, 0, "?").fact().summary() == "Outcome: Indeterminate | Score: 0.00 | ?"


@pytest.mark.parametrize(("id", "fact_id"), [(None, "eval:e"), ("7", "eval:e:7")])
def test_a_result_is_proposed_under_evaluations(id: str | None, fact_id: str) -> None:
    proposal = result(fact_ids=("seeds/a",)).proposal(id)
    assert (proposal.key, proposal.id, proposal.evidence) == (EVALUATIONS, fact_id, ("seeds/a",))


def test_a_result_is_a_fact_with_all_that_it_says() -> None:
    told = result(FAIL, 0.5, "half", fact_ids=("seeds/a",), metadata={"n": 1}).to_json()
    assert told == {
        "eval": "e",
        "outcome": "fail",
        "score": 0.5,
        "rationale": "half",
        "facts": ["seeds/a"],
        "metadata": {"n": 1},
    }
    assert EvalFact.model_validate(told).body() == told


# --- the registry -----------------------------------------------------------------------------------------------------


def test_all_evals_are_asked_in_the_order_in_which_they_were_registered() -> None:
    registry = EvalRegistry([always("b"), always("a", SEEDS)])
    registry.register(always("c"))
    assert [one.eval_name for one in registry.evaluate_all(CONTEXT)] == ["b", "a", "c"]


def test_evals_of_the_same_name_are_refused() -> None:
    with pytest.raises(MisuseError, match="'a' is registered already"):
        EvalRegistry([always("a"), always("a")])


@pytest.mark.parametrize("name", ["", "  ", "two\nlines", "x" * 201, "漢" * 67])
def test_a_name_that_no_fact_could_bear_is_refused(name: str) -> None:
    with pytest.raises(MisuseError, match="an eval needs a printable name"):
        EvalRegistry([always(name)])


def test_only_evals_that_depend_on_what_has_changed_are_asked() -> None:
    registry = EvalRegistry([always("seeds", SEEDS), always("both", SEEDS, SIGNALS), always("signals", SIGNALS)])
    assert [one.eval_name for one in registry.evaluate_dependent(CONTEXT, [SEEDS])] == ["seeds", "both"]
    assert registry.evals[2].asked == 0  # type: ignore[attr-defined]  # an Asks


def test_an_eval_without_dependencies_depends_on_everything() -> None:
    registry = EvalRegistry([always("any"), always("signals", SIGNALS)])
    assert [one.eval_name for one in registry.evaluate_dependent(CONTEXT, [HYPOTHESES])] == ["any"]


def test_where_nothing_has_changed_nobody_is_asked() -> None:
    assert EvalRegistry([always("any")]).evaluate_dependent(CONTEXT, []) == ()


def test_one_eval_is_asked_by_its_name() -> None:
    registry = EvalRegistry([always("a"), counts("b")])
    assert registry.evaluate_named(CONTEXT, "b") == EvalResult("b", FAIL, 0.0, "0 of 1")


def test_an_eval_that_nobody_has_registered_is_named_with_those_that_are() -> None:
    with pytest.raises(MisuseError, match="no eval is named 'c'; there are 'a', 'b'"):
        EvalRegistry([always("a"), always("b")]).evaluate_named(CONTEXT, "c")


# --- what goes wrong in an eval ---------------------------------------------------------------------------------------


def test_a_result_bears_the_name_under_which_its_eval_was_registered() -> None:
    assert judged(always("mine"), CONTEXT).eval_name == "mine"


def test_an_eval_that_raises_is_indeterminate_with_the_reason() -> None:
    def broken(ctx: Context) -> EvalResult:
        raise ValueError("no such\nthing")

    one = judged(Asks("e", broken), CONTEXT)
    assert (one.outcome, one.score) == (INDETERMINATE, 0.0)
    assert one.rationale.startswith("the eval raised ValueError: no such")
    assert one.rationale.isprintable()


@pytest.mark.parametrize(
    "nonsense",
    [None, "pass", EvalResult("e", "splendid", 1.0), EvalResult("e", PASS, 1.0, metadata={"x": object()})],  # type: ignore[arg-type, dict-item]
)
def test_an_eval_that_says_what_no_fact_can_hold_is_indeterminate(nonsense: Any) -> None:
    assert judged(Asks("e", lambda ctx: nonsense), CONTEXT).outcome is INDETERMINATE


def test_an_eval_that_cites_what_is_no_fact_is_indeterminate() -> None:
    one = judged(Asks("e", lambda ctx: result(fact_ids=("seeds/a", "seeds/nobody"))), CONTEXT)
    assert (one.outcome, one.rationale) == (INDETERMINATE, "it cites 'seeds/nobody', which is no fact")


def test_an_eval_may_cite_facts() -> None:
    assert judged(Asks("e", lambda ctx: result(fact_ids=("seeds/a",))), CONTEXT).outcome is PASS


# --- in a run ---------------------------------------------------------------------------------------------------------


def graded(*evals: Asks, engine: Any = None, context: ContextState | None = None) -> Played:
    engine = engine or engine_of(Says("echo", text("x", key=SIGNALS), reads=[SEEDS]))
    engine.register_suggestor(EvalSuggestor(EvalRegistry(evals)))
    return play(engine, context or seeded("s"))


def outcomes(played: Played) -> list[tuple[str, str]]:
    return [(fact.payload.eval, fact.payload.rationale) for fact in played.result.context.get(EvalFact)]


def test_the_outcomes_of_evals_are_facts_under_evaluations() -> None:
    played = graded(always("fine", SEEDS))
    assert outcomes(played) == [("fine", "so")]
    [fact] = played.result.context.get(EVALUATIONS)
    assert fact.id.startswith("eval:fine:")
    assert fact.proposer == "evals"


def test_an_eval_is_asked_again_when_what_it_reads_has_changed() -> None:
    played = graded(counts("two", SIGNALS, 2), engine=_slow())
    assert outcomes(played) == [("two", "0 of 2"), ("two", "1 of 2"), ("two", "2 of 2")]


def _slow() -> Any:
    return engine_of(
        Says("first", text("x", key=SIGNALS), reads=[SEEDS]),
        Says("second", text("h", key=HYPOTHESES), reads=[SIGNALS]),
        Says("third", text("y", key=SIGNALS), reads=[HYPOTHESES]),
    )


def test_an_eval_is_not_asked_about_what_it_does_not_read() -> None:
    seeds = always("seeds", SEEDS)
    graded(seeds, counts("signals"))
    assert seeds.asked == 1


def test_a_verdict_that_has_not_changed_is_not_said_again() -> None:
    one = Asks("e", lambda ctx: result(), [SIGNALS])
    played = graded(one, engine=_slow())
    assert one.asked == 3
    assert outcomes(played) == [("e", "so")]


def test_a_verdict_that_comes_back_is_said_again() -> None:
    def odd(ctx: Context) -> EvalResult:
        return result(PASS if ctx.count(SIGNALS) % 2 else FAIL, why="odd" if ctx.count(SIGNALS) % 2 else "even")

    engine = engine_of(
        Says("a", text("1", key=SIGNALS), reads=[SEEDS]),
        Says("b", text("h", key=HYPOTHESES), reads=[SIGNALS]),
        Says("c", text("2", key=SIGNALS), reads=[HYPOTHESES]),
        Says("d", text("p", key=ContextKey.PROPOSALS), reads=[HYPOTHESES]),
        Says("e", text("3", key=SIGNALS), reads=[ContextKey.PROPOSALS]),
    )
    played = graded(Asks("odd", odd, [SIGNALS]), engine=engine)
    assert [why for _, why in outcomes(played)] == ["even", "odd", "even", "odd"]


def test_outcomes_of_evals_wake_no_eval() -> None:
    one = Asks("e", lambda ctx: result(why=f"{ctx.version} facts"))
    played = graded(one)
    assert played.result.converged
    assert one.asked == 2, "for the seed, and for the signal"


def test_what_others_say_under_evaluations_does_wake_them() -> None:
    def says(ctx: Context) -> EvalResult:
        return result(why=f"{len(ctx.get(EVALUATIONS, TextPayload))} judged")

    engine = engine_of(Says("judge", text("j", key=EVALUATIONS), reads=[SEEDS]))
    played = graded(Asks("others", says, [EVALUATIONS]), engine=engine)
    assert outcomes(played) == [("others", "0 judged"), ("others", "1 judged")]


def test_an_eval_that_raises_stops_no_run() -> None:
    def broken(ctx: Context) -> EvalResult:
        raise RuntimeError("no")

    played = graded(Asks("broken", broken), always("fine"))
    assert played.result.converged
    assert {fact.payload.outcome for fact in played.result.context.get(EvalFact)} == {INDETERMINATE, PASS}


def test_an_eval_that_fails_keeps_a_run_from_nothing() -> None:
    assert graded(counts("never", SIGNALS, 9)).result.converged


def test_the_outcomes_pass_the_gates_as_every_proposal_does() -> None:
    engine = engine_of(hitl_policy=HitlPolicy(gated_keys=(EVALUATIONS,)))
    engine.register_suggestor(EvalSuggestor(EvalRegistry([always("fine", SEEDS)])))
    [ref] = gates_of(advance(engine.begin(seeded("s"))))
    assert ref.startswith("evaluations/eval:fine:")


def test_an_eval_of_what_nobody_ever_says_is_asked_once() -> None:
    one = counts("votes", ContextKey.VOTES)
    played = graded(one)
    assert (one.asked, outcomes(played)) == (1, [("votes", "0 of 1")])


def test_a_run_that_begins_with_nothing_but_outcomes_is_graded_too() -> None:
    context = ContextState().add_proposal(result().proposal())
    assert outcomes(graded(always("new"), engine=engine_of(), context=context)) == [("e", "so"), ("new", "so")]


def test_where_nothing_was_concluded_there_is_nothing_to_grade() -> None:
    assert outcomes(graded(always("any"), engine=engine_of(), context=ContextState())) == []


def test_an_outcome_that_a_person_has_turned_down_is_not_asked_about_again() -> None:
    engine = engine_of(hitl_policy=HitlPolicy(gated_keys=(EVALUATIONS,)))
    engine.register_suggestor(EvalSuggestor(EvalRegistry([always("any")])))
    run = engine.begin(seeded("s"))
    [request] = gates_of(advance(run)).values()
    run.decide([reject()(request.gate_id)])
    step = advance(run)
    assert isinstance(step, Stopped)
    assert step.result.converged


def test_an_eval_is_asked_only_when_somebody_else_has_said_something() -> None:
    one = always("any")
    graded(one, engine=engine_of())
    assert one.asked == 1


def test_two_that_grade_under_one_name_do_not_contradict_each_other() -> None:
    engine = engine_of(
        EvalSuggestor(EvalRegistry([always("e", SEEDS)]), "kind"),
        EvalSuggestor(EvalRegistry([Asks("e", lambda ctx: result(FAIL, 0, "no"), [SEEDS])]), "strict"),
    )
    assert outcomes(play(engine, seeded("s"))) == [("e", "so"), ("e", "no")]


def test_a_run_with_evals_replays_to_the_same_bytes() -> None:
    engine = engine_of(Says("echo", text("x", key=SIGNALS), reads=[SEEDS]))
    played = graded(counts("one"), always("any"), engine=engine)
    again = replay(engine, played.log)
    assert refs(again.result()) == refs(played.result)
