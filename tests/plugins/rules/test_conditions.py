"""Invariants and success criteria in CEL, judged by a real engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

import pytest
from pydantic import ValidationError

from converge_core import (
    Blocked,
    Context,
    ContextKey,
    ContextState,
    ConvergeResult,
    Criterion,
    CriterionResult,
    DataPayload,
    Engine,
    FactPayload,
    Indeterminate,
    InvariantClass,
    Met,
    ProposedFact,
    RootIntent,
    Site,
    TextPayload,
    Unmet,
    suggestor,
)
from converge_core.context.facts import AnyFact
from converge_core.gates.stop import InvariantViolated
from converge_core.invariants import FunctionInvariant
from converge_core.ledger.canonical import JsonValue
from converge_plugins.rules import cel_values, conditions
from converge_plugins.rules.conditions import (
    MAX_NAMED,
    CelCriterion,
    CelInvariant,
    CriterionConfig,
    InvariantConfig,
)

Row: TypeAlias = Mapping[str, JsonValue]


def no_code(text: str) -> Callable[..., object]:
    raise LookupError(text)


SITE = Site("condition", no_code)


def seeds(*rows: Row) -> ContextState:
    context = ContextState()
    for number, row in enumerate(rows, 1):
        context.add_proposal(ProposedFact(ContextKey.SEEDS, f"s{number}", DataPayload(data=row)))
    return context


def checked(
    context: ContextState,
    expression: str,
    for_each: ContextKey | None = None,
    kind: InvariantClass = InvariantClass.ACCEPTANCE,
) -> ConvergeResult:
    """Run a context that has one invariant."""
    engine = Engine()
    check = CelInvariant(InvariantConfig(expression=expression, for_each=for_each), SITE)  # type: ignore[arg-type]
    engine.register_invariant(FunctionInvariant("holds", kind, check))
    return asyncio.run(engine.run(context))


def violation(result: ConvergeResult) -> InvariantViolated:
    assert isinstance(result.stop_reason, InvariantViolated)
    return result.stop_reason


def judged(context: ContextState, expression: str, **more: str) -> CriterionResult:
    config = CriterionConfig.model_validate({"expression": expression, **more})
    engine = Engine(evaluator=CelCriterion(config, SITE))
    result = asyncio.run(engine.run(context, RootIntent("test", success=(Criterion("met"),))))
    (outcome,) = result.criteria_outcomes
    return outcome.result


# Invariants.


def test_an_invariant_that_holds_lets_the_run_converge() -> None:
    assert checked(seeds({"n": 1}, {"n": 2}), "size(seeds) == 2 && size(evaluations) == 0").converged


def test_an_invariant_that_does_not_hold_stops_the_run() -> None:
    found = violation(checked(seeds({"n": 1}), "size(evaluations) >= size(seeds)"))
    assert found.message == "`size(evaluations) >= size(seeds)` is false"
    assert found.facts == ()


def test_lists_of_facts_can_be_compared() -> None:
    context = seeds({"n": 1}, {"n": 2})
    context.add_proposal(ProposedFact(ContextKey.EVALUATIONS, "e1", DataPayload(data={"of": "s1"})))
    every_seed_judged = "seeds.all(s, evaluations.exists(e, e.of == s.id))"
    assert not checked(context, every_seed_judged).converged
    context.add_proposal(ProposedFact(ContextKey.EVALUATIONS, "e2", DataPayload(data={"of": "s2"})))
    assert checked(context, every_seed_judged).converged


def test_an_invariant_on_single_facts_names_those_at_fault() -> None:
    found = violation(checked(seeds({"n": 1}, {"n": 9}, {"n": 8}), "fact.n < 5", ContextKey.SEEDS))
    assert found.message == "`fact.n < 5` is false for 2 of 3 new facts"
    assert found.facts == ("seeds/s2", "seeds/s3")


def test_an_invariant_on_single_facts_sees_lists_too() -> None:
    found = violation(checked(seeds({"n": 1}, {"n": 2}), "seeds.exists(s, s.n > fact.n)", ContextKey.SEEDS))
    assert found.facts == ("seeds/s2",)


def test_an_invariant_on_single_facts_holds_where_there_are_none() -> None:
    assert checked(seeds({"n": 1}), "fact.n > 5", ContextKey.EVALUATIONS).converged


def test_a_violation_names_no_more_facts_than_can_be_cited() -> None:
    found = violation(checked(seeds(*[{"n": 1}] * (MAX_NAMED + 1)), "fact.n > 5", ContextKey.SEEDS))
    assert len(found.facts) == MAX_NAMED
    assert f"{MAX_NAMED + 1} of {MAX_NAMED + 1} new facts" in found.message


def test_a_fact_that_has_passed_is_not_checked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[str] = []

    def counted(fact: AnyFact) -> dict[str, JsonValue]:
        looked_at.append(fact.ref)
        return cel_values.fact_value(fact)

    @suggestor(reads=ContextKey.SEEDS, writes=ContextKey.SEEDS)
    def one_more(ctx: Context) -> ProposedFact[DataPayload]:
        return ProposedFact(ContextKey.SEEDS, "s2", DataPayload(data={"n": 2}))

    monkeypatch.setattr(conditions, "fact_value", counted)
    engine = Engine()
    engine.register_suggestor(one_more)
    check = CelInvariant(InvariantConfig.model_validate({"expression": "fact.n < 5", "for_each": "seeds"}), SITE)
    engine.register_invariant(FunctionInvariant("holds", InvariantClass.STRUCTURAL, check))
    assert asyncio.run(engine.run(seeds({"n": 1}))).converged
    assert looked_at == ["seeds/s1", "seeds/s2"]


def test_a_list_is_converted_once_a_check(monkeypatch: pytest.MonkeyPatch) -> None:
    converted: list[int] = []

    def counted(facts: Iterable[AnyFact]) -> list[JsonValue]:
        values = cel_values.fact_values(facts)
        converted.append(len(values))
        return values

    monkeypatch.setattr(conditions, "fact_values", counted)
    assert checked(seeds(*[{"n": 1}] * 300), "seeds.exists(s, s.id == fact.id)", ContextKey.SEEDS).converged
    assert converted == [300]
    assert checked(seeds(*[{"n": 1}] * 300), "seeds.exists(s, s.id == fact.id)", ContextKey.EVALUATIONS).converged
    assert converted == [300], "a check without new facts looks at nothing"


@pytest.mark.parametrize(
    ("expression", "for_each", "reason"),
    [
        ("size(seeds)", None, "a condition is true or false, not an int, in `size(seeds)`"),
        ("seeds.all(s, s.missing > 1)", None, "no field 'missing'"),
        ("fact.missing > 1", ContextKey.SEEDS, "fact seeds/s1: no field 'missing', in `fact.missing > 1`"),
        ("fact.n", ContextKey.SEEDS, "fact seeds/s1: a condition is true or false, not a double, in `fact.n`"),
    ],
)
def test_an_invariant_that_cannot_be_evaluated_does_not_hold(
    expression: str, for_each: ContextKey | None, reason: str
) -> None:
    assert reason in violation(checked(seeds({"n": 1}), expression, for_each)).message


# Criteria.


def test_a_criterion_that_is_true_is_met() -> None:
    assert judged(seeds({"n": 1}), "seeds.exists(s, s.n == 1)") == Met()


def test_a_criterion_that_is_false_is_unmet() -> None:
    assert judged(seeds(), "size(seeds) > 0") == Unmet("`size(seeds) > 0` is false")


@pytest.mark.parametrize("expression", ["size(seeds)", "seeds.exists(s, s.missing)"])
def test_a_criterion_that_cannot_be_evaluated_is_indeterminate(expression: str) -> None:
    result = judged(seeds({"n": 1}), expression)
    assert isinstance(result, Indeterminate)
    assert f"`{expression}`" in result.reason


# Configuration.


@pytest.mark.parametrize("model", [InvariantConfig, CriterionConfig])
@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("size(seeds", "Value error, line 1, column 11: missing ')' at end"),
        ("size(sedes) > 0", "unknown name 'sedes'; known here: seeds, hypotheses,"),
        ("fact.n > 0", "unknown name 'fact'; known here: seeds, hypotheses,"),
    ],
)
def test_a_faulty_expression_is_refused(
    model: type[InvariantConfig | CriterionConfig], expression: str, reason: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        model.model_validate({"expression": expression})
    (fault,) = caught.value.errors()
    assert fault["loc"] == ("expression",)
    assert fault["msg"].startswith(reason)


def test_a_criterion_is_not_about_single_facts() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        CriterionConfig.model_validate({"expression": "true", "for_each": "seeds"})


# What shows a success, and who could bring it about.


def test_a_criterion_names_the_facts_that_show_it() -> None:
    shown = judged(seeds({"n": 1}, {"n": 2}), "size(seeds) == 2", evidence="seeds.map(s, s.key + '/' + s.id)")
    assert shown == Met(("seeds/s1", "seeds/s2"))


def test_evidence_that_does_not_exist_shows_nothing() -> None:
    shown = judged(seeds({"n": 1}), "true", evidence="['seeds/s1', 'seeds/s9']")
    assert shown == Indeterminate("evidence 'seeds/s9' does not exist")


@pytest.mark.parametrize("evidence", ["'seeds/s1'", "[1]", "seeds"])
def test_evidence_is_a_list_of_references(evidence: str) -> None:
    shown = judged(seeds({"n": 1}), "true", evidence=evidence)
    assert isinstance(shown, Indeterminate)
    assert "facts are cited as a list of strings such as 'seeds/s1'" in shown.reason


def test_evidence_is_looked_for_when_the_criterion_is_met_alone() -> None:
    assert judged(seeds(), "false", evidence="[1]") == Unmet("`false` is false")


def test_a_criterion_may_be_blocked_with_a_reference_to_who_can_unblock_it() -> None:
    blocked = judged(
        seeds({"n": 9}),
        "size(evaluations) > 0",
        blocked_when="seeds.exists(s, s.n > 5)",
        approval_ref="legal:claims",
    )
    assert blocked == Blocked("`seeds.exists(s, s.n > 5)` is true", "legal:claims")


def test_what_blocks_a_criterion_needs_no_reference() -> None:
    assert judged(seeds(), "false", blocked_when="true") == Blocked("`true` is true")


@pytest.mark.parametrize(("expression", "result"), [("true", Met()), ("false", Unmet("`false` is false"))])
def test_a_criterion_that_is_met_or_that_nothing_blocks_is_not_blocked(
    expression: str, result: CriterionResult
) -> None:
    assert judged(seeds(), expression, blocked_when=f"{expression} == true") == result


def test_what_cannot_tell_whether_it_is_blocked_is_indeterminate() -> None:
    assert isinstance(judged(seeds({"n": 1}), "false", blocked_when="seeds[0].m"), Indeterminate)


@pytest.mark.parametrize("field", ["evidence", "blocked_when"])
def test_a_fault_is_told_of_the_expression_that_has_it(field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        CriterionConfig.model_validate({"expression": "true", field: "sedes"})
    assert [fault["loc"] for fault in caught.value.errors()] == [(field,)]


def test_an_invariant_is_not_blocked() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        InvariantConfig.model_validate({"expression": "true", "blocked_when": "true"})


def texts(key: ContextKey, *words: str) -> list[ProposedFact[FactPayload]]:
    return [ProposedFact(key, f"{key}{number}", TextPayload(text=text)) for number, text in enumerate(words)]


STRATEGIES, EVALUATIONS, CONSTRAINTS = ContextKey.STRATEGIES, ContextKey.EVALUATIONS, ContextKey.CONSTRAINTS
VIABLE = (
    "size(strategies) > 0 && (size(evaluations) == 0 || evaluations.exists(e, e.text.matches('(?i)viable|positive')))"
)
POSITIVE = "size(evaluations) > 0 && evaluations.all(e, !e.text.matches('(?i)negative|rejected'))"


@pytest.mark.parametrize(
    ("expression", "facts", "met"),
    [
        (VIABLE, [], False),
        (VIABLE, texts(STRATEGIES, "a"), True),
        (VIABLE, [*texts(STRATEGIES, "a"), *texts(EVALUATIONS, "Positive")], True),
        (VIABLE, [*texts(STRATEGIES, "a"), *texts(EVALUATIONS, "doubtful")], False),
        ("size(strategies) > 0", [], False),
        ("size(strategies) > 0", texts(STRATEGIES, "monday"), True),
        ("constraints.all(c, !c.text.contains('unallocated'))", [], True),
        ("constraints.all(c, !c.text.contains('unallocated'))", texts(CONSTRAINTS, "3 unallocated"), False),
        ("size(strategies) >= 2", texts(STRATEGIES, "a"), False),
        ("size(strategies) >= 2", texts(STRATEGIES, "a", "b"), True),
        (POSITIVE, [], False),
        (POSITIVE, texts(EVALUATIONS, "good", "fine"), True),
        (POSITIVE, texts(EVALUATIONS, "good", "Rejected"), False),
    ],
)
def test_the_built_in_criteria_of_the_original_are_expressions(
    expression: str, facts: list[ProposedFact[FactPayload]], met: bool
) -> None:
    """AtLeastOneViableStrategy, ValidScheduleFound, AllTasksAllocated, MinimumStrategies(2), AllEvaluationsPositive."""
    context = ContextState([], facts)
    assert isinstance(judged(context, expression), Met) is met
