from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_core import (
    Actor,
    AgentEffect,
    Budget,
    ConflictPolicy,
    Context,
    ContextState,
    Criterion,
    CriterionResult,
    Engine,
    Entry,
    HitlPolicy,
    LedgerCorrupt,
    PayloadError,
    ReplayDifference,
    RootIntent,
    Unmet,
    ValidationPolicy,
    canonical,
    replay,
    structural,
)
from converge_core.engine.changes import SetupChanged
from converge_core.ledger.events import EVENTS
from converge_core.ledger.replay import changes
from tests.core.counting import counted
from tests.core.scenarios import SCRIPTS, Everything, Model, Script, with_invariants
from tests.core.stage import SEEDS, SIGNALS, Says, bodies, engine_of, play, seeded, text

each_script = pytest.mark.parametrize("name", SCRIPTS)


@cache
def appends_of(name: str) -> tuple[tuple[Entry, ...], ...]:
    return tuple(tuple(append) for append in SCRIPTS[name].play())


def log_of(name: str) -> list[Entry]:
    return [entry for append in appends_of(name) for entry in append]


def with_body(entry: Entry, **changes: Any) -> Entry:
    """The entry with other fields, consistent in itself."""
    return Entry.of(canonical({**json.loads(entry.body), **changes}))


# --- equal ------------------------------------------------------------------------------------------------------------


@each_script
def test_a_run_replays_to_the_same_bytes_on_another_engine(name: str) -> None:
    run = replay(SCRIPTS[name].engine(), log_of(name))
    assert run.drain() == []


@each_script
def test_a_replay_calls_nobody(name: str) -> None:
    engine = SCRIPTS[name].engine()
    asked: list[int] = []

    def execute(ctx: Context) -> AgentEffect:
        asked.append(ctx.version)
        return AgentEffect()

    for registration in engine._suggestors:
        registration.suggestor.execute = execute  # type: ignore[method-assign]
    replay(engine, log_of(name))
    assert asked == []


@each_script
def test_a_run_broken_off_at_any_append_is_driven_on_to_the_same_bytes(name: str) -> None:
    appends, whole = appends_of(name), bodies(log_of(name))
    for end in range(1, len(appends) + 1):
        prefix = [entry for append in appends[:end] for entry in append]
        assert bodies(SCRIPTS[name].play_from(prefix)) == whole


@each_script
def test_the_result_of_a_replay_is_the_result_of_the_run(name: str) -> None:
    script = SCRIPTS[name]
    run = script.begin()
    script.play_on(run)
    live, again = run.next(), replay(script.engine(), log_of(name)).next()
    for attribute in ("cycles", "stop_reason", "integrity", "usage", "criteria_outcomes", "converged"):
        one, other = getattr(live, "result", run.result()), getattr(again, "result", run.result())
        assert getattr(one, attribute) == getattr(other, attribute)
        assert list(one.context.facts()) == list(other.context.facts())


def test_a_run_that_starts_from_another_needs_no_other_ledger() -> None:
    first = play(engine_of(Says("a", text("x", key=SIGNALS), reads=[SEEDS])), seeded("s"))
    second = play(engine_of(), first.result.context, run_id="second")
    assert second.kinds.count("fact_carried") == 2
    assert second.result.integrity == first.result.integrity
    replay(engine_of(), second.log)


# --- the first difference ---------------------------------------------------------------------------------------------


def difference(engine: Engine, log: list[Entry]) -> ReplayDifference:
    with pytest.raises(ReplayDifference) as found:
        replay(engine, log)
    assert found.value.expected == (log[found.value.sequence].body)
    assert found.value.expected != found.value.found
    return found.value


def replay_fault(engine: Engine, log: list[Entry]) -> int:
    """The place at which a replay fails, however it does."""
    try:
        replay(engine, log)
    except (ReplayDifference, LedgerCorrupt) as error:
        return error.sequence
    raise AssertionError("it replays")


class Chooses(Says):
    """Accepts what it is told to accept."""

    def __init__(self, accepts: Callable[[Context], bool]) -> None:
        super().__init__("rule", text("x", key=SIGNALS), reads=[SEEDS])
        self._accepts = accepts

    def accepts(self, ctx: Context) -> bool:
        return self._accepts(ctx)


def test_a_suggestor_that_no_longer_accepts_is_found_where_its_effect_stands() -> None:
    log = play(engine_of(Chooses(lambda ctx: True)), seeded("s")).log
    found = difference(engine_of(Chooses(lambda ctx: False)), log)
    assert json.loads(found.expected)["kind"] == "effect_received"
    assert json.loads(found.found)["kind"] == "run_stopped"


def test_a_suggestor_that_now_accepts_is_found_where_its_call_was_not() -> None:
    log = play(engine_of(Chooses(lambda ctx: False)), seeded("s")).log
    found = difference(engine_of(Chooses(lambda ctx: True)), log)
    assert json.loads(found.expected)["kind"] == "run_stopped"
    assert found.found == "nothing: rule would have to answer in cycle 1"


def test_an_invariant_that_changed_is_found_where_it_was_violated() -> None:
    log = play(with_invariants("semantic"), seeded("s")).log
    found = difference(with_invariants(), log)
    assert json.loads(found.expected)["kind"] == "invariant_violated"


def test_an_invariant_that_is_now_violated_is_found_at_once() -> None:
    log = play(with_invariants(), seeded("s")).log
    found = difference(with_invariants("structural"), log)
    assert json.loads(found.found)["kind"] == "invariant_violated"


def test_an_evaluator_that_changed_is_found_where_the_criterion_was_judged() -> None:
    class Never:
        def evaluate(self, criterion: Criterion, ctx: Context) -> CriterionResult:
            return Unmet("never")

    intent = RootIntent("i", success=(Criterion("met"),))
    log = play(engine_of(evaluator=Everything()), seeded("s"), intent).log
    assert json.loads(difference(engine_of(evaluator=Never()), log).expected)["kind"] == "criterion_evaluated"


def test_a_check_that_changed_is_found_where_it_let_something_pass() -> None:
    def checked(fault: str | None) -> Engine:
        engine = engine_of(validation=ValidationPolicy(("check",)))
        engine.register_check("check", lambda proposal, ctx: fault)
        return engine

    log = play(checked(None), seeded("s")).log
    found = difference(checked("no longer"), log)
    assert (json.loads(found.expected)["kind"], json.loads(found.found)["kind"]) == (
        "fact_promoted",
        "proposal_rejected",
    )


# --- another setup ----------------------------------------------------------------------------------------------------


def rule(**settings: Any) -> Engine:
    return engine_of(Says("rule", text("x", key=SIGNALS), reads=[SEEDS]), **settings)


def versioned() -> Engine:
    says = Says("rule", text("x", key=SIGNALS), reads=[SEEDS])
    says.version = "2"
    return engine_of(says)


def configured() -> Engine:
    says = Says("rule", text("x", key=SIGNALS), reads=[SEEDS])
    says.config = {"limit": 1}
    return engine_of(says)


def guarded() -> Engine:
    engine = rule()
    engine.register_invariant(structural(lambda ctx: None))
    return engine


def packed() -> Engine:
    engine = rule()
    engine.set_active_packs(["basics"])
    return engine


@pytest.mark.parametrize(
    "other",
    [
        engine_of,
        lambda: engine_of(Says("other", text("x", key=SIGNALS), reads=[SEEDS])),
        lambda: rule(budget=Budget(max_cycles=7)),
        lambda: rule(hitl_policy=HitlPolicy()),
        lambda: rule(conflict_policy=ConflictPolicy.REJECT),
        lambda: rule(validation=ValidationPolicy(("has_evidence",))),
        versioned,
        configured,
        guarded,
        packed,
    ],
    ids=["none", "other", "budget", "gates", "conflict", "checks", "version", "config", "invariants", "packs"],
)
def test_an_engine_of_another_setup_is_refused_before_anything_is_compared(other: Callable[[], Engine]) -> None:
    log = play(rule(), seeded("s")).log
    with pytest.raises(SetupChanged) as refused:
        replay(other(), log)
    assert refused.value.differences


def test_a_run_that_went_on_with_a_changed_engine_is_that_engines() -> None:
    log = play(rule(), seeded("s")).log
    other = rule(budget=Budget(max_cycles=7))
    run = replay(other, log, accept_changes=True)
    run.accept_changes(Actor("ann"))
    log = [*log, *run.drain()]
    assert changes(log, replay(other, log)) == ()
    with pytest.raises(SetupChanged, match="max_cycles 7"):
        replay(rule(), log)


def test_a_setup_that_is_written_as_it_was_need_not_be_compared_part_by_part() -> None:
    log, engine = play(rule(), seeded("s")).log, rule()
    replay(engine, log)
    with counted() as calls:
        replay(engine, log)
    assert (calls["differences"], calls["Setup.run_started"]) == (0, 0)


# --- altered entries --------------------------------------------------------------------------------------------------

DERIVED = {kind for kind, event in EVENTS.items() if not event.is_input}


@each_script
def test_an_altered_derived_entry_is_the_first_difference(name: str) -> None:
    log = log_of(name)
    for place, entry in enumerate(log):
        if entry.kind in DERIVED:
            altered = [*log]
            altered[place] = with_body(entry, cycle=99)
            assert difference(SCRIPTS[name].engine(), altered).sequence == place


@each_script
def test_a_derived_entry_that_is_missing_is_a_difference_at_its_place(name: str) -> None:
    log = log_of(name)
    for place, entry in enumerate(log[:-1]):
        if entry.kind in DERIVED and log[place + 1].body != entry.body:
            assert replay_fault(SCRIPTS[name].engine(), log[:place] + log[place + 1 :]) >= place


def test_an_altered_input_is_found_where_something_else_follows_from_it() -> None:
    log = log_of("quick start")
    place = next(i for i, entry in enumerate(log) if entry.kind == "effect_received")
    effect = json.loads(log[place].body)
    effect["proposals"][0]["payload"]["body"]["text"] = "forged"
    altered = [*log]
    altered[place] = Entry.of(canonical(effect))
    found = difference(SCRIPTS["quick start"].engine(), altered)
    assert (found.sequence, json.loads(found.expected)["kind"]) == (place + 1, "fact_promoted")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"proposals": 7}, "effect_received that fits"),
        ({"usage": {"hours": 1}}, "effect_received that fits"),
        ({"usage": {"input_tokens": -1}}, "effect_received that fits"),
        ({"failure": {"why": "x"}}, "effect_received that fits"),
        ({"cycle": 0}, "effect_received that fits"),
        ({"suggestor": "nobody"}, "effect_received that fits"),
        ({"more": 1}, "a effect_received"),
    ],
    ids=str,
)
def test_an_input_that_makes_no_sense_is_corruption_at_its_place(change: dict[str, Any], why: str) -> None:
    log = log_of("quick start")
    place = next(i for i, entry in enumerate(log) if entry.kind == "effect_received")
    log[place] = with_body(log[place], **change)
    with pytest.raises(LedgerCorrupt, match=why) as corrupt:
        replay(SCRIPTS["quick start"].engine(), log)
    assert corrupt.value.sequence == place


def respelled(body: str, how: str) -> str:
    """An input that says the same in other letters, or nearly so."""
    match how:
        case "a key twice":
            return body.replace("{", '{"kind":"x",', 1)
        case "a key twice, deep down":
            return body.replace('"id":', '"id":"x","id":')
        case "white space":
            return body.replace(",", ", ", 1)
        case "another order":
            return (
                canonical({"kind": json.loads(body)["kind"]})[:-1]
                + ","
                + body[1:].replace('"kind":"effect_received",', "")
            )
        case "escapes":
            return body.replace('"kind"', '"\\u006bind"')
        case "another number":
            return body.replace('"confidence":1', '"confidence":1.0')
        case _:
            raise AssertionError(how)


@pytest.mark.parametrize(
    "how", ["a key twice", "a key twice, deep down", "white space", "another order", "escapes", "another number"]
)
def test_an_input_in_other_letters_than_the_machine_would_write_is_the_first_difference(how: str) -> None:
    log = log_of("quick start")
    for place, entry in enumerate(log):
        if entry.kind == "effect_received":
            altered = [*log]
            altered[place] = entry._replace(body=respelled(entry.body, how))
            assert altered[place] != entry
            assert difference(SCRIPTS["quick start"].engine(), altered).sequence == place


@pytest.mark.parametrize(
    "said",
    ['"\\ud800"', '"\ud800"', "[" * 120 + "]" * 120, "NaN", "100000000000000000001"],
    ids=["half a pair, escaped", "half a pair", "too deep", "NaN", "inexact"],
)
def test_what_has_no_canonical_form_is_corruption_at_its_place(said: str) -> None:
    log = log_of("quick start")
    place = next(i for i, entry in enumerate(log) if entry.kind == "effect_received")
    log[place] = log[place]._replace(body=f'{log[place].body[:-1]},"trace":[{{"said":{said}}}]}}')
    with pytest.raises(LedgerCorrupt) as corrupt:
        replay(SCRIPTS["quick start"].engine(), log)
    assert corrupt.value.sequence == place


def test_an_unknown_payload_is_not_called_corruption_unless_the_text_around_it_is_corrupt() -> None:
    log, engine = log_of("quick start"), SCRIPTS["quick start"].engine()
    place = next(i for i, entry in enumerate(log) if entry.kind == "effect_received")
    unknown = log[place].body.replace("converge.text", "test.unknown")
    log[place] = log[place]._replace(body=unknown)
    with pytest.raises(PayloadError):
        replay(engine, log)
    log[place] = log[place]._replace(body=respelled(unknown, "a key twice"))
    with pytest.raises(LedgerCorrupt, match="appears 2 times") as corrupt:
        replay(engine, log)
    assert corrupt.value.sequence == place


def change_leaf(value: Any, pick: int) -> Any:
    """The JSON value with one of its leaves replaced by something of another type."""
    if isinstance(value, dict) and value:
        name = sorted(value)[pick % len(value)]
        return {**value, name: change_leaf(value[name], pick // len(value))}
    if isinstance(value, list) and value:
        place = pick % len(value)
        return [*value[:place], change_leaf(value[place], pick // len(value)), *value[place + 1 :]]
    return 7 if isinstance(value, str) else "seven"


@given(st.sampled_from(sorted(SCRIPTS)), st.integers(0, 10**6), st.integers(0, 10**9))
def test_whatever_is_altered_the_error_is_one_of_ours(name: str, where: int, pick: int) -> None:
    """It may also go unnoticed: a reason that somebody gave has no consequences. `verify` finds that."""
    log = log_of(name)
    place = where % len(log)
    body = change_leaf(json.loads(log[place].body), pick)
    log[place] = Entry(log[place].kind, canonical(body), log[place].leaf)
    with suppress(ReplayDifference, LedgerCorrupt, PayloadError, SetupChanged):
        replay(SCRIPTS[name].engine(), log)


@pytest.mark.parametrize(
    "log",
    [
        [],
        [Entry.of('{"kind":"run_stopped"}')],
        [Entry.of('{"kind":"run_started"}')],
        [Entry("run_started", "not JSON", b"")],
    ],
    ids=["empty", "no beginning", "half a beginning", "no JSON"],
)
def test_what_does_not_begin_a_run_is_corruption(log: list[Entry]) -> None:
    with pytest.raises(LedgerCorrupt) as corrupt:
        replay(engine_of(), log)
    assert corrupt.value.sequence == 0


def test_a_ledger_of_another_format_is_refused() -> None:
    log = log_of("nothing at all")
    with pytest.raises(LedgerCorrupt, match="events of format 1, found format 2"):
        replay(engine_of(), [with_body(log[0], format=2), *log[1:]])


def test_a_second_beginning_is_corruption() -> None:
    log = log_of("nothing at all")
    with pytest.raises(LedgerCorrupt):
        replay(engine_of(), [*log, log[0]])


def test_a_carried_fact_that_was_altered_is_corruption_at_its_place() -> None:
    log = log_of("carried facts")
    promotion = json.loads(log[1].body)["promotion"]
    log[1] = with_body(log[1], promotion={**promotion, "id": "other"})
    with pytest.raises(LedgerCorrupt) as corrupt:
        replay(SCRIPTS["carried facts"].engine(), log)
    assert corrupt.value.sequence == 1


def test_a_payload_that_no_loaded_class_reads_is_not_called_corruption() -> None:
    with pytest.raises(PayloadError, match=r"test\.invoice v1: unknown family"):
        replay(Script(engine_of).engine(), log_of("messy inputs"))


# --- suggestors that answer otherwise the next time -------------------------------------------------------------------


def test_a_call_that_was_answered_is_not_made_again() -> None:
    appends = appends_of("a model")
    calls: list[int] = []

    class Counted(Model):
        def execute(self, ctx: Context):  # type: ignore[no-untyped-def]
            calls.append(ctx.version)
            return super().execute(ctx)

    script = Script(lambda: engine_of(Counted(), budget=Budget(max_tokens=500)), lambda: seeded("s", "t"))
    for end in range(2, len(appends) + 1):
        script.play_from([entry for append in appends[:end] for entry in append])
    assert calls == []


def test_a_replay_leaves_a_machine_that_stands_where_the_ledger_ends() -> None:
    appends = appends_of("quick start")
    run = replay(SCRIPTS["quick start"].engine(), [entry for append in appends[:2] for entry in append])
    assert (run.cycles, run.drain()) == (2, [])
    assert [fact.ref for fact in run.result().context.facts()] == ["seeds/seed-1"]


def test_a_replay_of_half_an_append_leaves_the_other_half_to_be_drained() -> None:
    log = log_of("quick start")
    halves = 0
    for end in range(1, len(log)):
        rest = replay(SCRIPTS["quick start"].engine(), log[:end]).drain()
        assert rest == log[end : end + len(rest)]
        halves += bool(rest)
    assert halves


def test_an_empty_context_replays_as_such() -> None:
    log = play(engine_of(), ContextState()).log
    assert replay(engine_of(), log).result().context.version == 0
