"""``recall.lexical``: what past runs say about each new fact, as proposals with provenance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pluggy
import pytest
from pydantic import ValidationError

from converge_core import (
    Catalog,
    ContextKey,
    DataPayload,
    HitlPolicy,
    ProposedFact,
    Replayability,
    Site,
    Suggestor,
    hookspec,
)
from converge_core.gates.stop import SuggestorFailed
from converge_core.ports import CLOCK, RECALL, Clock
from converge_core.recall.payloads import (
    RecalledItem,
    RecallExecuted,
    RecallStop,
    ReplayabilityDowngradeReason,
)
from converge_core.recall.policy import DecisionStep, RecallPolicy
from converge_core.suggestors.catalog import Ports
from converge_plugins import recall
from converge_plugins.recall import RecallConfig, RecallSuggestor
from tests.core.recall.found import FakeRecall, found
from tests.core.stage import HYPOTHESES, SEEDS, Played, advance, engine_of, gates_of, play, seeded
from tests.fakes.clock import FakeClock

DIAGNOSTIC = ContextKey.DIAGNOSTIC
NOT_PINNED = ReplayabilityDowngradeReason.RECALL_CORPUS_NOT_PINNED
HEAD = f"3:{'ab' * 32}"
PRECEDENT = found(0.9, "paid before", 4, run_id="past", subject="strategies/pay", confidence=0.7)


def no_code(text: str) -> Callable[..., object]:
    raise LookupError(text)


def config(**changes: Any) -> RecallConfig:
    return RecallConfig.model_validate({"for_each": "seeds", "key": "hypotheses", **changes})


def recalls(source: FakeRecall, took: int = 0, **changes: Any) -> RecallSuggestor:
    """A recall over a source whose searches take so many milliseconds."""
    clock: Clock = FakeClock(range(0, 10_000, took) if took else [0])
    ports = Ports().offer(RECALL, source).offer(CLOCK, clock)
    return RecallSuggestor(config(**changes), Site("precedents", no_code, ports))


def played(source: FakeRecall, *ids: str, took: int = 0, **changes: Any) -> Played:
    return play(engine_of(recalls(source, took, **changes)), seeded(*ids or ("s",)))


# --- what it proposes -------------------------------------------------------------------------------------------------


def test_a_recalled_item_is_proposed_with_its_provenance_and_the_confidence_of_the_memory() -> None:
    context = played(FakeRecall(PRECEDENT)).result.context
    item = context.find(HYPOTHESES, "precedents:s:1", RecalledItem)
    assert item is not None
    assert (item.payload.text, item.payload.run, item.payload.score) == ("paid before", "past", 0.9)
    assert (item.provenance, item.confidence) == ("recall:past:strategies/pay", 0.7)


def test_an_item_rests_on_what_asked_and_on_the_search() -> None:
    item = played(FakeRecall(PRECEDENT)).result.context.find(HYPOTHESES, "precedents:s:1")
    assert item is not None
    assert item.evidence == ("seeds/s", "diagnostic/precedents:s")


def test_the_search_is_recorded_beside_the_items() -> None:
    context = played(FakeRecall(PRECEDENT)).result.context
    executed = context.find(DIAGNOSTIC, "precedents:s", RecallExecuted)
    assert executed is not None
    assert (executed.payload.query, executed.payload.searched) == ("s", 1)
    assert [one.id for one in executed.payload.candidates] == ["past/4"]


def test_a_search_that_finds_nothing_is_recorded_and_nothing_is_proposed() -> None:
    context = played(FakeRecall()).result.context
    assert context.find(DIAGNOSTIC, "precedents:s") is not None
    assert not context.has(HYPOTHESES)


def test_a_recalled_item_is_judged_by_the_gates_before_it_is_a_fact() -> None:
    engine = engine_of(recalls(FakeRecall(PRECEDENT)), hitl_policy=HitlPolicy(gated_keys=(HYPOTHESES,)))
    run = engine.begin(seeded("s"))
    assert set(gates_of(advance(run))) == {"hypotheses/precedents:s:1"}
    assert not run.result().context.has(HYPOTHESES)


def test_there_is_one_search_for_each_new_fact() -> None:
    source = FakeRecall(PRECEDENT)
    context = played(source, "a", "b").result.context
    assert [query.text for query in source.queries] == ["a", "b"]
    assert {fact.id for fact in context.get(HYPOTHESES)} == {"precedents:a:1", "precedents:b:1"}


def test_items_are_told_best_first() -> None:
    better, worse = found(0.9, "better", 1), found(0.6, "worse", 2)
    context = played(FakeRecall(better, worse)).result.context
    assert [(fact.id, fact.payload.text) for fact in context.get(RecalledItem)] == [
        ("precedents:s:1", "better"),
        ("precedents:s:2", "worse"),
    ]


# --- what it asks -----------------------------------------------------------------------------------------------------


def test_the_query_is_told_how_many_at_which_step_and_whose() -> None:
    source = FakeRecall(tenant="acme")
    played(source, top_k=3, step="planning")
    [query] = source.queries
    assert (query.top_k, query.step, query.tenant) == (3, DecisionStep.PLANNING, "acme")


def test_the_policy_is_applied() -> None:
    source = FakeRecall(found(0.9, "first", 1), found(0.8, "second", 2))
    context = played(source, policy={"max_k_total": 1}).result.context
    assert [fact.payload.text for fact in context.get(RecalledItem)] == ["first"]


def test_who_asks_by_name_wants_some_unless_the_policy_says_otherwise() -> None:
    assert config().policy.enabled
    source = FakeRecall(PRECEDENT)
    context = played(source, policy={"enabled": False}).result.context
    assert (source.calls, context.has(HYPOTHESES)) == ([], False)
    [executed] = context.get(RecallExecuted)
    assert executed.payload.stop_reason is RecallStop.DISABLED


def test_the_policy_of_who_asks_is_named_by_the_same_hash() -> None:
    assert config().policy.stable_hash() == RecallPolicy(enabled=True).stable_hash()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ([], "memo: late fee, terms: note: net 30, n: 1"),
        (["memo"], "late fee"),
        (["terms.note", "memo"], "net 30 late fee"),
        (["terms"], "note: net 30"),
        (["nothing", "memo.deeper"], ""),
    ],
)
def test_the_words_of_some_fields_are_searched_for_or_of_all(fields: list[str], words: str) -> None:
    source = FakeRecall()
    payload = DataPayload(data={"memo": "late fee", "terms": {"note": "net 30"}, "n": 1})
    context = seeded().add_proposal(ProposedFact(SEEDS, "s", payload))
    play(engine_of(recalls(source, fields=fields)), context)
    assert [query.text for query in source.queries] == [words]


# --- replayability ----------------------------------------------------------------------------------------------------


def test_over_a_past_that_grows_it_is_best_effort_and_every_record_says_why() -> None:
    source = FakeRecall(PRECEDENT, downgrades=(NOT_PINNED,))
    assert recalls(source).replayability is Replayability.BEST_EFFORT
    [executed] = played(source).result.context.get(RecallExecuted)
    assert executed.payload.downgrade_reasons == (NOT_PINNED,)


def test_over_pinned_runs_it_is_deterministic_and_sees_no_other_run() -> None:
    source = FakeRecall(PRECEDENT, found(0.8, "elsewhere", run_id="other"), downgrades=(NOT_PINNED,))
    pinned = recalls(source, runs={"past": HEAD})
    assert pinned.replayability is Replayability.DETERMINISTIC
    context = play(engine_of(pinned), seeded("s")).result.context
    assert [fact.payload.run for fact in context.get(RecalledItem)] == ["past"]


def test_a_search_that_takes_too_long_comes_to_nothing_and_says_so() -> None:
    context = played(FakeRecall(PRECEDENT, downgrades=(NOT_PINNED,)), took=101).result.context
    [executed] = context.get(RecallExecuted)
    assert (executed.payload.stop_reason, executed.payload.replayability) == (RecallStop.TOO_LATE, Replayability.NONE)
    assert not context.has(HYPOTHESES)


def test_where_it_is_deterministic_no_clock_decides_what_it_says() -> None:
    result = played(FakeRecall(PRECEDENT), took=101).result
    assert isinstance(result.stop_reason, SuggestorFailed)
    assert "no answer for seeds/s within 100 ms" in str(result.stop_reason)


# --- what it refuses --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"key": "seeds"}, "`key` differs from `for_each`"),
        ({"key": "diagnostic"}, "where searches are recorded"),
        ({"for_each": "diagnostic"}, "where searches are recorded"),
        ({"top_k": 0}, "top_k"),
        ({"runs": {"past": "3:beef"}}, "size:root"),
        ({"policy": {"max_tokens": 3}}, "max_tokens"),
        ({"query": "words"}, "query"),
    ],
)
def test_a_configuration_that_cannot_be_meant_is_refused(changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        config(**changes)


def test_where_no_past_is_offered_it_cannot_be_used() -> None:
    with pytest.raises(LookupError, match="the port 'recall' is not offered"):
        RecallSuggestor(config(), Site("precedents", no_code))


def test_it_declares_what_it_reads_and_writes() -> None:
    suggestor = recalls(FakeRecall())
    assert (suggestor.dependencies, suggestor.writes) == ((SEEDS,), (HYPOTHESES, DIAGNOSTIC))


def test_it_is_offered_as_recall_lexical() -> None:
    manager = pluggy.PluginManager("converge")
    manager.add_hookspecs(hookspec)
    manager.register(recall)
    catalog = Catalog[Suggestor]("suggestor")
    manager.hook.converge_register_suggestors(catalog=catalog)
    assert [(entry.name, entry.config) for entry in catalog] == [("recall.lexical", RecallConfig)]
