"""The eval ``cel``: whether a condition is true of a run, how good that is, and what it rests on."""

from __future__ import annotations

from collections.abc import Callable

import pluggy
import pytest
from pydantic import ValidationError

from converge_core import Catalog, ContextKey, ContextState, Eval, EvalOutcome, EvalResult, Site, hookspec
from converge_core.evals import judged
from converge_plugins import rules
from converge_plugins.rules.conditions import CelEval, EvalConfig
from tests.core.stage import data, engine_of, play


def no_code(text: str) -> Callable[..., object]:
    raise LookupError(text)


def cel(expression: str, **more: str) -> CelEval:
    config = EvalConfig.model_validate({"expression": expression, **more})
    return CelEval(config, Site("graded", no_code))


def seeds(*numbers: int) -> ContextState:
    context = ContextState()
    for number in numbers:
        context.add_proposal(data(f"s{number}", n=number))
    return ContextState(play(engine_of(), context).result.context.facts())


def graded(expression: str, *numbers: int, **more: str) -> EvalResult:
    return judged(cel(expression, **more), seeds(*numbers))


@pytest.mark.parametrize(
    ("expression", "outcome", "score"), [("size(seeds) == 2", "pass", 1.0), ("size(seeds) == 3", "fail", 0.0)]
)
def test_an_eval_passes_when_its_condition_is_true(expression: str, outcome: str, score: float) -> None:
    result = graded(expression, 1, 2)
    assert (result.eval_name, result.outcome, result.score) == ("graded", EvalOutcome(outcome), score)


@pytest.mark.parametrize(("expression", "told"), [("size(seeds) > 0", "true"), ("size(seeds) > 9", "false")])
def test_the_rationale_quotes_the_condition(expression: str, told: str) -> None:
    assert graded(expression, 1).rationale == f"`{expression}` is {told}"


@pytest.mark.parametrize(
    ("score", "expected"),
    [("double(seeds.filter(s, s.n > 1).size()) / double(size(seeds))", 0.5), ("0.25", 0.25), ("7", 1.0)],
)
def test_the_score_is_the_number_that_an_expression_comes_to(score: str, expected: float) -> None:
    assert graded("true", 1, 2, score=score).score == expected


def test_a_score_does_not_depend_on_the_outcome() -> None:
    result = graded("false", 1, score="0.9")
    assert (result.outcome, result.score) == (EvalOutcome.FAIL, 0.9)


@pytest.mark.parametrize("score", ["'high'", "true", "seeds"])
def test_a_score_that_is_no_number_leaves_it_indeterminate(score: str) -> None:
    result = graded("true", 1, score=score)
    assert result.outcome is EvalOutcome.INDETERMINATE
    assert "a score is a number" in result.rationale


def test_a_share_of_nothing_leaves_it_indeterminate() -> None:
    result = graded("true", score="double(size(seeds)) / double(size(seeds))")
    assert (result.outcome, result.score) == (EvalOutcome.INDETERMINATE, 0.0)


def test_a_condition_that_is_neither_true_nor_false_leaves_it_indeterminate() -> None:
    result = graded("size(seeds)", 1)
    assert (result.outcome, result.score) == (EvalOutcome.INDETERMINATE, 0.0)
    assert "a condition is true or false" in result.rationale


def test_it_may_say_on_which_facts_it_rests() -> None:
    assert graded("true", 1, 2, evidence="seeds.map(s, 'seeds/' + s.id)").fact_ids == ("seeds/s1", "seeds/s2")


def test_what_is_no_fact_cannot_be_cited() -> None:
    assert graded("true", 1, evidence="['seeds/nobody']").outcome is EvalOutcome.INDETERMINATE


def test_it_depends_on_the_keys_that_any_of_its_expressions_mentions() -> None:
    one = cel("size(seeds) > 0", score="double(size(signals))", evidence="votes.map(v, 'votes/' + v.id)")
    assert set(one.dependencies) == {ContextKey.SEEDS, ContextKey.SIGNALS, ContextKey.VOTES}


def test_its_description_is_the_condition() -> None:
    assert cel("size(seeds) > 0").description == "size(seeds) > 0"


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        ({"expression": "size(sedes) > 0"}, "sedes"),
        ({"expression": "true", "score": "size(sedes)"}, "sedes"),
        ({"expression": "true", "evidence": "sedes"}, "sedes"),
        ({"expression": "size("}, "expression"),
        ({"expression": "true", "weight": "1"}, "weight"),
    ],
)
def test_what_it_cannot_mean_is_refused_when_it_is_configured(config: dict[str, str], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        EvalConfig.model_validate(config)


def test_the_rules_offer_it() -> None:
    manager = pluggy.PluginManager("converge")
    manager.add_hookspecs(hookspec)
    manager.register(rules)
    registry = Catalog[Eval]("eval")
    manager.hook.converge_register_evals(registry=registry)
    assert [(entry.name, entry.config) for entry in registry] == [("cel", EvalConfig)]
