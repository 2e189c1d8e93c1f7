"""``score.weighted``: rankings, made by a real engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TypeAlias

import pluggy
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from converge_core import (
    Catalog,
    Context,
    ContextKey,
    ContextState,
    ConvergeResult,
    DataPayload,
    Engine,
    Fact,
    PayloadRegistry,
    ProposedFact,
    Site,
    Suggestor,
    hookspec,
    suggestor,
)
from converge_core.gates.stop import SuggestorFailed
from converge_core.ledger.canonical import JsonValue
from converge_plugins import scoring
from converge_plugins.scoring import Ranked, ScoringConfig, WeightedScore

Row: TypeAlias = Mapping[str, JsonValue]

PRICE = {"name": "price", "field": "price", "weight": 0.75, "goal": "min"}
SLA = {"name": "sla", "field": "terms.sla", "weight": 0.25}

FINITE = st.floats(allow_nan=False, allow_infinity=False)
NUMBERS = st.integers(-1000, 1000).map(float)


def no_code(text: str) -> Callable[..., object]:
    raise LookupError(text)


def score(**changes: object) -> WeightedScore:
    """A ranking of strategies by price and sla, or whatever the changes make of it."""
    config = {"for_each": "strategies", "criteria": [PRICE, SLA], **changes}
    return WeightedScore(ScoringConfig.model_validate(config), Site("score", no_code))


def offers(rows: Mapping[str, Row]) -> ContextState:
    context = ContextState()
    for fact_id, row in rows.items():
        context.add_proposal(ProposedFact(ContextKey.STRATEGIES, fact_id, DataPayload(data=row)))
    return context


def offer(price: JsonValue, sla: JsonValue = 0) -> Row:
    return {"price": price, "terms": {"sla": sla}}


def run(context: ContextState, *suggestors: Suggestor) -> ConvergeResult:
    engine = Engine()
    for one in suggestors:
        engine.register_suggestor(one)
    return asyncio.run(engine.run(context))


def ranking(result: ConvergeResult) -> list[Fact[Ranked]]:
    assert result.converged, result.stop_reason
    return list(result.context.get(ContextKey.EVALUATIONS, Ranked))


def scores(values: Mapping[str, float], **criterion: object) -> dict[str, float]:
    """Rank candidates by one number each; return their scores, the best first."""
    criteria = [{"name": "only", "field": "price", "weight": 1, **criterion}]
    result = run(offers({name: offer(value) for name, value in values.items()}), score(criteria=criteria))
    return {fact.payload.item: fact.payload.score for fact in ranking(result)}


def failure(result: ConvergeResult) -> str:
    assert isinstance(result.stop_reason, SuggestorFailed)
    return result.stop_reason.message


def fault(**changes: object) -> tuple[tuple[int | str, ...], str]:
    with pytest.raises(ValidationError) as caught:
        score(**changes)
    (found,) = caught.value.errors()
    return found["loc"], found["msg"].removeprefix("Value error, ")


# Scores and ranks.


def test_a_ranking_weighs_criteria_against_each_other() -> None:
    result = run(offers({"a": offer(100, 99), "b": offer(200, 100), "c": offer(150, 99.5)}), score())
    assert [fact.payload for fact in ranking(result)] == [
        Ranked(item="a", rank=1, score=0.75, parts={"price": 0.75, "sla": 0.0}, candidates=3),
        Ranked(item="c", rank=2, score=0.5, parts={"price": 0.375, "sla": 0.125}, candidates=3),
        Ranked(item="b", rank=3, score=0.25, parts={"price": 0.0, "sla": 0.25}, candidates=3),
    ]


def test_a_ranked_candidate_is_evidence_and_its_score_the_confidence() -> None:
    best, _ = ranking(run(offers({"a": offer(1, 1), "b": offer(2, 0)}), score()))
    assert best.id == "rank:2:a"
    assert best.evidence == ("strategies/a",)
    assert best.confidence == best.payload.score == 1.0
    assert best.proposer == "score"


@pytest.mark.parametrize(("goal", "order"), [("max", ["high", "mid", "low"]), ("min", ["low", "mid", "high"])])
def test_the_goal_says_which_end_is_the_best(goal: str, order: list[str]) -> None:
    found = scores({"low": 1, "high": 9, "mid": 3}, goal=goal)
    assert list(found) == order
    assert list(found.values())[0::2] == [1.0, 0.0]


@pytest.mark.parametrize("goal", ["max", "min"])
def test_candidates_that_are_equal_are_all_the_best(goal: str) -> None:
    assert scores({"b": 7, "a": 7}, goal=goal) == {"a": 1.0, "b": 1.0}


def test_ties_are_broken_by_id() -> None:
    assert list(scores({"c": 1, "a": 1, "d": 2, "b": 1})) == ["d", "a", "b", "c"]


def test_a_scale_of_its_own_takes_the_place_of_the_ends() -> None:
    assert scores({"a": 25, "b": 75}, scale={"min": 0, "max": 100}) == {"a": 0.25, "b": 0.75}


def test_what_is_outside_a_scale_counts_as_its_end() -> None:
    assert scores({"a": -5, "b": 500}, scale={"min": 0, "max": 100}) == {"a": 0.0, "b": 1.0}


def test_a_score_has_six_decimal_places() -> None:
    assert scores({"a": 0, "b": 1, "c": 3})["b"] == 0.333333


@given(st.dictionaries(st.text("abc", min_size=1), FINITE, min_size=1, max_size=6))
@example({"a": -1.7e308, "b": 0.0, "c": 1.7e308})
@example({"a": 0.0, "b": 5e-324})
def test_any_numbers_give_scores_from_zero_to_one_with_a_best(values: dict[str, float]) -> None:
    found = scores(values)
    assert all(0.0 <= value <= 1.0 for value in found.values())
    assert max(found.values()) == 1.0
    assert list(found.values()) == sorted(found.values(), reverse=True)


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=6), st.sampled_from([0.5, 2.0, 1024.0]))
def test_the_unit_of_a_field_does_not_matter(rows: list[tuple[float, float]], factor: float) -> None:
    plain = {f"o{number}": offer(price, sla) for number, (price, sla) in enumerate(rows)}
    scaled = {f"o{number}": offer(price * factor, sla) for number, (price, sla) in enumerate(rows)}
    one, other = (ranking(run(offers(found), score())) for found in (plain, scaled))
    assert [fact.payload for fact in one] == [fact.payload for fact in other]


@given(st.dictionaries(st.text("abc", min_size=1), NUMBERS, min_size=1, max_size=6))
def test_the_order_of_the_candidates_does_not_matter(values: dict[str, float]) -> None:
    backwards = dict(reversed(list(values.items())))
    assert list(scores(values).items()) == list(scores(backwards).items())


@given(st.dictionaries(st.text("abc", min_size=1), NUMBERS, min_size=2, max_size=6))
def test_the_opposite_goal_turns_the_scores_round(values: dict[str, float]) -> None:
    low, high = scores(values, goal="min"), scores(values, goal="max")
    if len(set(values.values())) > 1:
        assert low == pytest.approx({name: 1.0 - value for name, value in high.items()}, abs=2e-6)


# Who is ranked, and when.


def test_excluded_candidates_are_left_out() -> None:
    context = offers({"a": offer(1), "b": offer(2), "c": offer(9)})
    context.add_proposal(ProposedFact(ContextKey.CONSTRAINTS, "x", DataPayload(data={"violated": {"by": "a"}})))
    context.add_proposal(ProposedFact(ContextKey.CONSTRAINTS, "y", DataPayload(data={"about": "something else"})))
    result = run(context, score(exclude={"key": "constraints", "field": "violated.by"}))
    assert [(fact.id, fact.payload.rank) for fact in ranking(result)] == [("rank:3:b", 1), ("rank:3:c", 2)]


def test_an_excluded_candidate_does_not_move_the_scales() -> None:
    context = offers({"a": offer(-1000), "b": offer(1), "c": offer(2)})
    context.add_proposal(ProposedFact(ContextKey.CONSTRAINTS, "x", DataPayload(data={"offer": "a"})))
    result = run(context, score(exclude={"key": "constraints", "field": "offer"}))
    assert [fact.payload.parts["price"] for fact in ranking(result)] == [0.75, 0]


def test_an_excluded_candidate_needs_no_numbers() -> None:
    context = offers({"a": {}, "b": offer(1)})
    context.add_proposal(ProposedFact(ContextKey.CONSTRAINTS, "x", DataPayload(data={"offer": "a"})))
    result = run(context, score(exclude={"key": "constraints", "field": "offer"}))
    assert [fact.payload.item for fact in ranking(result)] == ["b"]


def test_nobody_is_ranked_when_all_are_excluded() -> None:
    context = offers({"a": offer(1)})
    context.add_proposal(ProposedFact(ContextKey.CONSTRAINTS, "x", DataPayload(data={"offer": "a"})))
    assert ranking(run(context, score(exclude={"key": "constraints", "field": "offer"}))) == []


def test_a_ranking_waits_for_the_key_it_comes_after() -> None:
    assert ranking(run(offers({"a": offer(1)}), score(after="signals"))) == []
    context = offers({"a": offer(1)}).add_input(ContextKey.SIGNALS, "complete", "all offers are in")
    assert [fact.payload.item for fact in ranking(run(context, score(after="signals")))] == ["a"]


def test_a_ranking_that_waited_sees_every_candidate() -> None:
    @suggestor(reads=ContextKey.STRATEGIES, writes=ContextKey.SIGNALS)
    def complete(ctx: Context) -> ProposedFact[DataPayload]:
        return ProposedFact(ContextKey.SIGNALS, "complete", DataPayload())

    result = run(offers({"a": offer(1), "b": offer(2)}), score(after="signals"), complete)
    assert [fact.id for fact in ranking(result)] == ["rank:2:a", "rank:2:b"]


def test_a_candidate_that_comes_late_leads_to_a_ranking_of_its_own() -> None:
    @suggestor(reads=ContextKey.SEEDS, writes=ContextKey.STRATEGIES)
    def late(ctx: Context) -> ProposedFact[DataPayload]:
        return ProposedFact(ContextKey.STRATEGIES, "b", DataPayload(data=offer(1)))

    @suggestor(reads=ContextKey.SIGNALS, writes=ContextKey.SEEDS)
    def first(ctx: Context) -> ProposedFact[DataPayload]:
        return ProposedFact(ContextKey.SEEDS, "go", DataPayload())

    context = offers({"a": offer(2)}).add_input(ContextKey.SIGNALS, "go", "a second offer follows")
    result = run(context, score(), late, first)
    ranks = [(fact.id, fact.payload.rank, fact.payload.candidates) for fact in ranking(result)]
    assert ranks == [("rank:1:a", 1, 1), ("rank:2:b", 1, 2), ("rank:2:a", 2, 2)]


def test_key_and_prefix_can_be_chosen() -> None:
    result = run(offers({"a": offer(1)}), score(key="proposals", id_prefix="shortlist"))
    assert [fact.id for fact in result.context.get(ContextKey.PROPOSALS)] == ["shortlist:1:a"]


def test_a_ranking_declares_what_it_reads_and_writes() -> None:
    one = score(after="signals")
    assert one.dependencies == (ContextKey.STRATEGIES, ContextKey.SIGNALS)
    assert one.writes == (ContextKey.EVALUATIONS,)
    assert isinstance(one.config, dict)
    assert one.config["criteria"][1] == {**SLA, "goal": "max", "scale": None}


# How it fails.


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({}, "it has no 'price'"),
        ({"price": 1}, "it has no 'terms.sla'"),
        ({"price": 1, "terms": 5}, "it has no 'terms.sla'"),
        ({"price": "12", "terms": {"sla": 1}}, "its 'price' is not a number: it is '12'"),
        ({"price": True, "terms": {"sla": 1}}, "its 'price' is not a number: it is True"),
    ],
)
def test_a_candidate_that_cannot_be_judged_fails_the_ranking(row: Row, reason: str) -> None:
    message = failure(run(offers({"a": offer(1), "b": row}), score()))
    assert message == f"SuggestorError: suggestor 'score' failed (invalid_input): fact strategies/b: {reason}"


def test_an_exclusion_that_names_no_id_fails_the_ranking() -> None:
    context = offers({"a": offer(1)})
    context.add_proposal(ProposedFact(ContextKey.CONSTRAINTS, "x", DataPayload(data={"offer": 3})))
    message = failure(run(context, score(exclude={"key": "constraints", "field": "offer"})))
    assert message.endswith("fact constraints/x: its 'offer' names no candidate: it is 3")


@pytest.mark.parametrize("weights", [(0.5, 0.4), (0.5, 0.6), (0.5, 0.50001)])
def test_weights_sum_to_one(weights: tuple[float, float]) -> None:
    criteria = [{**PRICE, "weight": weights[0]}, {**SLA, "weight": weights[1]}]
    assert fault(criteria=criteria) == (("criteria",), f"the weights sum to {sum(weights):.12g}, not to 1")


def test_weights_may_miss_one_by_a_rounding_error() -> None:
    criteria = [{"name": f"c{number}", "field": "price", "weight": 0.3333333333} for number in range(3)]
    assert len(ranking(run(offers({"a": offer(1)}), score(criteria=criteria)))) == 1


def test_a_weight_is_positive() -> None:
    place, _ = fault(criteria=[{**PRICE, "weight": 1}, {**SLA, "weight": 0}])
    assert place == ("criteria", 1, "weight")


def test_criteria_have_different_names() -> None:
    reason = "two criteria have the same name: price"
    assert fault(criteria=[PRICE, {**SLA, "name": "price"}]) == (("criteria",), reason)


def test_a_ranking_has_a_criterion() -> None:
    assert fault(criteria=[]) == (("criteria",), "a ranking needs a criterion")


def test_a_scale_has_a_length() -> None:
    criterion = {**PRICE, "weight": 1, "scale": {"min": 5, "max": 5}}
    assert fault(criteria=[criterion]) == (("criteria", 0, "scale"), "`min` is below `max`, unlike 5 and 5")


@pytest.mark.parametrize("changes", [{"for_each": "evaluations"}, {"key": "strategies"}])
def test_a_ranking_is_not_a_candidate(changes: dict[str, object]) -> None:
    place, reason = fault(**changes)
    assert place == ()
    assert "`key` differs from `for_each`" in reason


# The plugin.


def test_the_plugin_offers_the_suggestor_and_its_payload() -> None:
    manager = pluggy.PluginManager("converge")
    manager.add_hookspecs(hookspec)
    manager.register(scoring)
    manager.check_pending()
    catalog, payloads = Catalog[Suggestor]("suggestor"), PayloadRegistry()
    manager.hook.converge_register_suggestors(catalog=catalog)
    manager.hook.converge_register_payloads(registry=payloads)
    assert [(entry.name, entry.config) for entry in catalog] == [("score.weighted", ScoringConfig)]
    assert payloads.families()["converge.score.ranked"] is Ranked
