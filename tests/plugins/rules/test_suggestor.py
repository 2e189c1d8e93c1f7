"""``rules.cel``: a rule as configuration, run by a real engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import ClassVar, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from converge_core import (
    ContextKey,
    ContextState,
    ConvergeResult,
    DataPayload,
    Engine,
    FactPayload,
    ProposedFact,
    Site,
    TextPayload,
)
from converge_core.gates.stop import SuggestorFailed
from converge_core.ledger.canonical import JsonValue
from converge_core.suggestors import ReactOnceSuggestor
from converge_plugins.rules.suggestor import CelRule, RuleConfig

Config: TypeAlias = dict[str, object]
Row: TypeAlias = Mapping[str, JsonValue]


class Invoice(FactPayload):
    """A payload class of a third party."""

    family: ClassVar[str] = "test.invoice"
    amount: int


def no_code(text: str) -> Callable[..., object]:
    raise LookupError(text)


def config(**changes: object) -> Config:
    """A rule that flags each seed over 500; a change to None removes a field."""
    fields: Config = {
        "for_each": "seeds",
        "when": "fact.amount > 500",
        "key": "evaluations",
        "id": "flag:{fact.id}",
        "payload": {"verdict": "'review'"},
    }
    return {name: value for name, value in (fields | changes).items() if value is not None}


def rule(name: str = "rule", /, **changes: object) -> CelRule:
    return CelRule(RuleConfig.model_validate(config(**changes)), Site(name, no_code))


def seeds(*rows: Row, key: ContextKey = ContextKey.SEEDS) -> ContextState:
    """A context with a seed s1, s2, ... for each row."""
    context = ContextState()
    for number, row in enumerate(rows, 1):
        context.add_proposal(ProposedFact(key, f"s{number}", DataPayload(data=row)))
    return context


def run(context: ContextState, *rules: CelRule) -> ConvergeResult:
    engine = Engine()
    for one in rules:
        engine.register_suggestor(one)
    return asyncio.run(engine.run(context))


def evaluations(result: ConvergeResult) -> dict[str, JsonValue]:
    assert result.converged, result.stop_reason
    return {fact.id: fact.payload.body() for fact in result.context.get(ContextKey.EVALUATIONS)}


def failure(result: ConvergeResult) -> str:
    assert isinstance(result.stop_reason, SuggestorFailed)
    return result.stop_reason.message


def faults(**changes: object) -> list[tuple[tuple[int | str, ...], str]]:
    with pytest.raises(ValidationError) as caught:
        RuleConfig.model_validate(config(**changes))
    return [(fault["loc"], fault["msg"].removeprefix("Value error, ")) for fault in caught.value.errors()]


# What it proposes.


def test_a_rule_proposes_for_each_fact_that_meets_the_condition() -> None:
    result = run(seeds({"amount": 501}, {"amount": 500}, {"amount": 900.5}), rule())
    assert evaluations(result) == {"flag:s1": {"verdict": "review"}, "flag:s3": {"verdict": "review"}}


@given(st.lists(st.integers(0, 1000), max_size=8))
def test_a_rule_flags_exactly_the_facts_that_meet_the_condition(amounts: list[int]) -> None:
    result = run(seeds(*({"amount": amount} for amount in amounts)), rule())
    expected = [f"flag:s{number}" for number, amount in enumerate(amounts, 1) if amount > 500]
    assert list(evaluations(result)) == expected


def test_without_a_condition_every_fact_meets_it() -> None:
    assert list(evaluations(run(seeds({}, {}), rule(when=None)))) == ["flag:s1", "flag:s2"]


def test_a_payload_may_be_nested() -> None:
    payload = {"amount": {"value": "fact.amount * 2.0", "as": {"text": "'EUR'"}}, "lines": "[fact.id, 1]"}
    result = run(seeds({"amount": 600}), rule(payload=payload))
    body = {"amount": {"value": 1200, "as": {"text": "EUR"}}, "lines": ("s1", 1)}
    assert evaluations(result) == {"flag:s1": body}


def test_a_payload_may_be_a_text() -> None:
    result = run(seeds({"amount": 600}), rule(payload=None, text="{fact.id} is over by {fact.amount - 500.0}"))
    (fact,) = result.context.get(ContextKey.EVALUATIONS, TextPayload)
    assert fact.payload.text == "s1 is over by 100"


def test_let_names_expressions() -> None:
    let = {"net": "fact.amount / 1.25", "tax": "round(fact.amount - net, 2)"}
    result = run(seeds({"amount": 1000}), rule(let=let, when="tax > 100", payload={"tax": "tax"}))
    assert evaluations(result) == {"flag:s1": {"tax": 200}}


def test_a_let_of_one_fact_is_not_seen_by_the_next() -> None:
    let = {"double": "fact.amount * 2.0"}
    result = run(seeds({"amount": 600}, {"amount": 700}), rule(let=let, payload={"double": "double"}))
    assert evaluations(result) == {"flag:s1": {"double": 1200}, "flag:s2": {"double": 1400}}


def test_reads_are_lists_of_all_facts_of_a_key() -> None:
    context = seeds({"amount": 600}, {"amount": 900})
    context.add_proposal(ProposedFact(ContextKey.CONSTRAINTS, "limit", DataPayload(data={"limit": 700})))
    over = rule(reads=["constraints", "seeds"], when="constraints.exists(c, fact.amount > c.limit) && size(seeds) == 2")
    assert list(evaluations(run(context, over))) == ["flag:s2"]


def test_only_facts_of_the_payload_family_are_looked_at() -> None:
    context = seeds({"amount": 600})
    context.add_proposal(ProposedFact(ContextKey.SEEDS, "invoice", Invoice(amount=600)))
    assert list(evaluations(run(context, rule(payload_family="test.invoice")))) == ["flag:invoice"]


def test_a_rule_cites_the_fact() -> None:
    (fact,) = run(seeds({"amount": 600}), rule()).context.get(ContextKey.EVALUATIONS)
    assert fact.evidence == ("seeds/s1",)


def test_a_rule_may_cite_other_facts_too() -> None:
    cite = "seeds.filter(s, s.id != fact.id).map(s, s.key + '/' + s.id)"
    result = run(seeds({"amount": 600}, {"amount": 0}), rule(reads=["seeds"], cite=cite))
    (fact,) = result.context.get(ContextKey.EVALUATIONS)
    assert fact.evidence == ("seeds/s1", "seeds/s2")


def test_a_fact_that_is_cited_twice_is_evidence_once() -> None:
    result = run(seeds({"amount": 600}), rule(reads=["seeds"], cite="seeds.map(s, s.key + '/' + s.id)"))
    assert result.context.get(ContextKey.EVALUATIONS)[0].evidence == ("seeds/s1",)


def test_a_rule_may_cite_nothing() -> None:
    (fact,) = run(seeds({"amount": 600}), rule(evidence=False)).context.get(ContextKey.EVALUATIONS)
    assert fact.evidence == ()


@pytest.mark.parametrize(("confidence", "given"), [(0.25, 0.25), (1, 1.0), ("fact.amount / 1000.0", 0.6), ("1", 1.0)])
def test_the_confidence_is_a_number_or_an_expression(confidence: object, given: float) -> None:
    (fact,) = run(seeds({"amount": 600}), rule(confidence=confidence)).context.get(ContextKey.EVALUATIONS)
    assert fact.confidence == given


def test_a_confidence_out_of_range_is_rejected_by_the_gate() -> None:
    result = run(seeds({"amount": 600}), rule(confidence="fact.amount"))
    assert evaluations(result) == {}


def test_the_proposer_is_the_name_of_the_site() -> None:
    (fact,) = run(seeds({"amount": 600}), rule("over-limit")).context.get(ContextKey.EVALUATIONS)
    assert fact.proposer == "over-limit"


# When it runs.


def test_a_rule_looks_at_each_fact_once() -> None:
    # The counter under `seeds` is what makes a second look at s1 propose another content, and so a conflict.
    context = seeds({"amount": 600}).add_input(ContextKey.SIGNALS, "go", "wakes the second seed")
    count = rule(reads=["seeds"], when=None, payload={"seen": "size(seeds)"})
    more = rule("more", for_each="signals", when=None, key="seeds", id="s2", payload={"amount": "1.0"})
    assert evaluations(run(context, count, more)) == {"flag:s1": {"seen": 1}, "flag:s2": {"seen": 2}}


def test_a_fact_under_a_key_that_is_only_read_wakes_no_rule() -> None:
    engine = Engine()
    engine.register_suggestor(rule(reads=["signals"], when="size(signals) > 0"))
    engine.register_suggestor(ReactOnceSuggestor("late", "a signal", key=ContextKey.SIGNALS))
    result = asyncio.run(engine.run(seeds({"amount": 600})))
    assert result.context.has(ContextKey.SIGNALS)
    assert evaluations(result) == {}


def test_rules_feed_each_other() -> None:
    second = rule("second", for_each="evaluations", when=None, key="strategies", id="act:{fact.id}")
    result = run(seeds({"amount": 600}), rule("first"), second)
    assert [fact.id for fact in result.context.get(ContextKey.STRATEGIES)] == ["act:flag:s1"]


def test_a_rule_declares_what_it_reads_writes_and_does() -> None:
    one = rule(when=None, confidence=1, reads=["signals"])
    assert one.dependencies == (ContextKey.SEEDS,)
    assert one.writes == (ContextKey.EVALUATIONS,)
    assert one.config == {
        "for_each": "seeds",
        "payload_family": None,
        "reads": ["signals"],
        "let": {},
        "when": None,
        "key": "evaluations",
        "id": "flag:{fact.id}",
        "payload": {"verdict": "'review'"},
        "text": None,
        "confidence": "1.0",
        "evidence": True,
        "cite": None,
    }


# How it fails.


def test_a_condition_that_is_not_boolean_fails_the_rule() -> None:
    result = run(seeds({"amount": 600}), rule("over-limit", when="fact.amount"))
    assert failure(result) == (
        "SuggestorError: suggestor 'over-limit' failed (invalid_expression): "
        "fact seeds/s1: a condition is true or false, not a double, in `fact.amount`"
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"when": "fact.missing > 1"}, "no field 'missing', in `fact.missing > 1`"),
        ({"let": {"x": "fact.id == 's2' ? fact.amount + 1 : 0"}}, "cannot compute float + int"),
        ({"id": "flag:{fact.missing}"}, "no field 'missing', in `fact.missing`"),
        ({"id": "{fact}"}, "a map cannot stand in a text, in `fact`"),
        ({"payload": {"a": {"b": "fact.missing"}}}, "no field 'missing', in `fact.missing`"),
        ({"payload": None, "text": "{null}"}, "null cannot stand in a text, in `null`"),
        ({"confidence": "fact.id"}, "a confidence is a number, not a string, in `fact.id`"),
        ({"confidence": "true"}, "a confidence is a number, not a bool, in `true`"),
        ({"cite": "fact.id"}, "facts are cited as a list of strings such as 'seeds/s1', in `fact.id`"),
        ({"cite": "[1]"}, "facts are cited as a list of strings such as 'seeds/s1', in `[1]`"),
    ],
)
def test_an_expression_that_cannot_be_evaluated_fails_the_rule(changes: dict[str, object], reason: str) -> None:
    assert f"fact seeds/s2: {reason}" in failure(
        run(seeds({"amount": 1, "missing": 0}, {"amount": 600}), rule(**{"when": "fact.id == 's2'", **changes}))
    )


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("1.0 / 0.0", "Infinity has no JSON form"),
        ("b'x'", "bytes has no JSON form"),
        ("{1: 2}", "keys of an object are strings"),
    ],
)
def test_a_value_that_is_not_json_fails_the_rule(value: str, reason: str) -> None:
    message = failure(run(seeds({"amount": 600}), rule(payload={"field": value})))
    assert "fact seeds/s1: data" in message
    assert reason in message


# What the configuration refuses.


def test_a_syntax_error_is_located_in_its_field() -> None:
    assert faults(when="fact.amount >", payload={"a": {"b": "fact."}}, id="flag:{", let={"x": "1 1"}) == [
        (("let", "x"), "line 1, column 3: unexpected '1' expecting the end"),
        (("when",), "line 1, column 14: unexpected end"),
        (("id",), "line 1, column 6: a brace that is not closed: write {{ for the character"),
        (("payload", "a", "b"), "line 1, column 6: unexpected '.'"),
    ]


def test_a_list_that_is_not_declared_is_refused_in_every_field() -> None:
    reason = "'votes' is a context key: list it under `reads` to see its facts"
    size = "size(votes)"
    payload = {"a": {"b": size}}
    found = faults(when=f"{size} > 0", let={"n": size}, id="{size(votes)}", confidence=size, cite=size, payload=payload)
    places = [("let", "n"), ("when",), ("id",), ("confidence",), ("cite",), ("payload", "a", "b")]
    assert found == [(place, reason) for place in places]


def test_an_unknown_name_is_refused() -> None:
    assert faults(when="fcat.amount > 1") == [(("when",), "unknown name 'fcat'; known here: fact")]


def test_a_let_in_a_circle_is_refused() -> None:
    assert faults(let={"a": "b", "b": "a", "c": "1"}) == [
        (("let", "a"), "'a' needs itself, or is part of a circle"),
        (("let", "b"), "'b' needs itself, or is part of a circle"),
    ]


def test_a_let_may_use_one_that_stands_after_it() -> None:
    let = {"agrees": "offer > 500", "offer": "fact.amount"}  # sorted, as an intent comes back from a ledger
    result = run(seeds({"amount": 600}), rule(let=let, when="agrees", payload={"offer": "offer"}))
    assert result.context.count(ContextKey.EVALUATIONS) == 1


@pytest.mark.parametrize("name", ["fact", "seeds", "null", "in", "a b", "1", "a.b", ""])
def test_a_let_has_a_name_that_is_free(name: str) -> None:
    assert faults(let={name: "1"}) == [
        (("let", name), f"{name!r} cannot be a name: it is taken, or CEL reads something else")
    ]


@pytest.mark.parametrize("changes", [{"payload": None}, {"text": "both"}])
def test_a_rule_has_a_payload_or_a_text(changes: Config) -> None:
    assert faults(**changes) == [((), "give either `payload` or `text`")]


def test_a_field_of_a_payload_is_an_expression() -> None:
    assert faults(payload={"a": {"b": 1}}) == [(("payload", "a", "b"), "Input should be a valid string")]


@pytest.mark.parametrize("confidence", [-0.1, 2, float("nan")])
def test_a_constant_confidence_is_within_its_range(confidence: float) -> None:
    ((place, reason),) = faults(confidence=confidence)
    assert place == ("confidence",)
    assert "within 0.0 and 1.0" in reason


def test_an_unknown_field_is_refused() -> None:
    assert faults(whne="true") == [(("whne",), "Extra inputs are not permitted")]


def test_the_schema_of_the_configuration_names_every_field() -> None:
    properties = RuleConfig.model_json_schema()["properties"]
    assert properties.keys() == RuleConfig.model_fields.keys()
    assert {"type": "number"} in properties["confidence"]["anyOf"]
