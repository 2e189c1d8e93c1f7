from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from converge_core import (
    Context,
    ContextKey,
    ContextState,
    Engine,
    Invariant,
    InvariantClass,
    MisuseError,
    StopClass,
    Stopped,
    Violation,
    acceptance,
    semantic,
    structural,
    suggestor,
)
from converge_core.gates.stop import InvariantViolated
from converge_core.invariants import InvariantCheck, examine
from tests.core.stage import HYPOTHESES, SEEDS, SIGNALS, Played, Says, advance, engine_of, play, refs, seeded, text

MAKERS: list[Callable[[InvariantCheck], Invariant]] = [structural, semantic, acceptance]
each_class = pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)


def no_bad_seed(ctx: Context) -> Violation | None:
    bad = [fact for fact in ctx.get(SEEDS) if fact.id == "bad"]
    return Violation.with_facts("a bad seed", bad) if bad else None


def guarded(make: Callable[[InvariantCheck], Invariant], check: InvariantCheck, *says: Says) -> Engine:
    engine = engine_of(*says)
    engine.register_invariant(make(check))
    return engine


# --- a violation ------------------------------------------------------------------------------------------------------


@each_class
def test_a_violation_stops_the_run_and_names_the_facts(make: Callable[[InvariantCheck], Invariant]) -> None:
    played = play(guarded(make, no_bad_seed, Says("a", text("good"), text("bad"))))

    assert played.result.stop_reason == InvariantViolated(make.__name__, "no-bad-seed", "a bad seed", ("seeds/bad",))
    assert played.result.stop_reason.stop_class is StopClass.VALIDATION
    assert not played.result.converged
    (event,) = played.bodies("invariant_violated")
    assert event == {
        "kind": "invariant_violated",
        "cycle": played.result.cycles,
        "invariant": "no-bad-seed",
        "invariant_class": make.__name__,
        "reason": "a bad seed",
        "facts": ["seeds/bad"],
    }


@each_class
def test_the_engine_states_the_violation_as_a_fact_that_cites_those_at_fault(
    make: Callable[[InvariantCheck], Invariant],
) -> None:
    result = play(guarded(make, no_bad_seed, Says("a", text("good"), text("bad")))).result
    (statement,) = result.context.get(ContextKey.DIAGNOSTIC)
    assert statement.id == "violation:no-bad-seed:2"
    assert statement.payload.summary() == f"{make.__name__.capitalize()} invariant 'no-bad-seed' violated: a bad seed"
    assert statement.evidence == ("seeds/bad",)
    assert (statement.proposer, str(statement.promotion.approver)) == ("converge-engine", "system:converge-engine")
    assert refs(result) == ["seeds/good", "seeds/bad", statement.ref], "nothing is lost"


@each_class
def test_a_run_that_violates_something_cannot_be_reopened(make: Callable[[InvariantCheck], Invariant]) -> None:
    run = guarded(make, no_bad_seed, Says("a", text("bad"))).begin(ContextState())
    assert isinstance(advance(run), Stopped)
    with pytest.raises(MisuseError, match="violates nothing"):
        run.reopen()


def test_inputs_are_held_to_the_invariants_before_anybody_is_asked() -> None:
    says = Says("a", text("x", key=SIGNALS), reads=[SEEDS])
    result = play(guarded(structural, no_bad_seed, says), seeded("bad")).result
    assert isinstance(result.stop_reason, InvariantViolated)
    assert (says.runs, result.cycles) == (0, 0)


def test_the_first_violation_of_a_class_is_the_reason_and_the_later_are_not_checked() -> None:
    checked = []
    engine = engine_of()

    def third(ctx: Context) -> None:
        checked.append("third")

    engine.register_invariant(acceptance(lambda ctx: None))
    engine.register_invariant(acceptance(no_bad_seed))
    engine.register_invariant(acceptance(third))
    assert isinstance(play(engine, seeded("bad")).result.stop_reason, InvariantViolated)
    assert checked == []


def test_structure_is_checked_before_meaning() -> None:
    engine = engine_of()
    engine.register_invariant(semantic(lambda ctx: "meaning"))
    engine.register_invariant(structural(lambda ctx: "structure"))
    reason = play(engine, seeded("s")).result.stop_reason
    assert isinstance(reason, InvariantViolated)
    assert reason.message == "structure"


def test_acceptance_waits_for_the_fixed_point() -> None:
    def needs_hypothesis(ctx: Context) -> str | None:
        return None if ctx.has(HYPOTHESES) else "no hypothesis"

    says = Says("a", text("h", key=HYPOTHESES), reads=[SEEDS])
    assert play(guarded(acceptance, needs_hypothesis, says), seeded("s")).result.converged
    assert not play(guarded(semantic, needs_hypothesis, says), seeded("s")).result.converged


def test_meaning_is_checked_only_where_something_changed() -> None:
    engine = engine_of(suggestor(name="silent", reads=SEEDS)(lambda ctx: None))
    engine.register_invariant(semantic(lambda ctx: "always violated"))
    assert play(engine).result.converged


# --- what counts as an answer -----------------------------------------------------------------------------------------


def raises(ctx: Context) -> None:
    raise ValueError("bad \ud800\nline")


@pytest.mark.parametrize(
    ("check", "violation"),
    [
        (lambda ctx: None, None),
        (lambda ctx: "why", Violation("why")),
        (lambda ctx: "", Violation("")),
        (lambda ctx: Violation("why", ("seeds/a",)), Violation("why", ("seeds/a",))),
        (lambda ctx: "bad \ud800\nline", Violation("bad ? line")),
        (lambda ctx: True, Violation("the check returned a bool, not None or a Violation")),
        (lambda ctx: False, Violation("the check returned a bool, not None or a Violation")),
        (lambda ctx: [], Violation("the check returned a list, not None or a Violation")),
        (raises, Violation("the check raised ValueError: bad ? line")),
    ],
)
def test_only_none_holds_and_everything_else_is_a_violation(check: Any, violation: Violation | None) -> None:
    assert examine(structural(check), ContextState()) == violation


@pytest.mark.parametrize("facts", [("\ud800",), (object(),), 7], ids=["surrogate", "object", "number"])
def test_a_violation_that_the_ledger_cannot_hold_is_a_violation_all_the_same(facts: Any) -> None:
    found = examine(structural(lambda ctx: Violation("why", facts)), ContextState())
    assert found is not None
    assert found.reason.startswith("the check raised ")


@each_class
def test_an_invariant_that_cannot_be_checked_does_not_hold(make: Callable[[InvariantCheck], Invariant]) -> None:
    reason = play(guarded(make, raises), seeded("s")).result.stop_reason
    assert isinstance(reason, InvariantViolated)
    assert reason.message == "the check raised ValueError: bad ? line"


def test_facts_are_named_by_themselves_or_by_reference() -> None:
    fact = play(engine_of(), seeded("a")).result.context.get(SEEDS)[0]
    assert Violation.with_facts("why", [fact, "seeds/b"]) == Violation("why", ("seeds/a", "seeds/b"))
    found = examine(structural(lambda ctx: Violation("why", (fact,))), ContextState())  # type: ignore[arg-type]
    assert found == Violation("why", ("seeds/a",))


# --- what a check is given --------------------------------------------------------------------------------------------


def test_a_check_need_only_look_at_what_is_new_since_it_last_passed() -> None:
    fresh: list[list[str]] = []

    def look(ctx: Context) -> None:
        fresh.append([fact.id for fact in ctx.fresh(SEEDS)])

    says = Says("a", text("b"), reads=[SIGNALS])
    play(guarded(structural, look, says), seeded("a").add_input(SIGNALS, "go", "words"))
    assert fresh == [["a"], ["b"]]


def test_invariants_of_different_classes_may_share_a_name_and_do_not_share_what_they_have_seen() -> None:
    fresh: list[int] = []

    def same(ctx: Context) -> None:
        fresh.append(len(ctx.fresh(SEEDS)))

    engine = engine_of()
    engine.register_invariant(structural(same))
    engine.register_invariant(acceptance(same))
    play(engine, seeded("a", "b"))
    assert fresh == [2, 2]


# --- registration -----------------------------------------------------------------------------------------------------


def test_an_invariant_is_named_after_its_function() -> None:
    assert structural(no_bad_seed).name == "no-bad-seed"
    assert [make(no_bad_seed).invariant_class for make in MAKERS] == list(InvariantClass)


def test_a_name_is_taken_once_in_a_class() -> None:
    engine = guarded(structural, no_bad_seed)
    with pytest.raises(MisuseError, match="'no-bad-seed' is registered already"):
        engine.register_invariant(structural(no_bad_seed))


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 129, "é" * 65])
def test_a_name_has_to_be_fit_to_be_shown(name: str) -> None:
    def check(ctx: Context) -> None:
        return None

    check.__name__ = name
    with pytest.raises(MisuseError, match="invariant needs a name"):
        engine_of().register_invariant(structural(check))


def test_the_longest_name_still_makes_a_statement() -> None:
    def check(ctx: Context) -> str:
        return "violated"

    check.__name__ = "é" * 64
    played: Played = play(guarded(structural, check), seeded("a"))
    assert played.result.context.has(ContextKey.DIAGNOSTIC)
