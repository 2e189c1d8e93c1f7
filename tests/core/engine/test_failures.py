"""A failing suggestor is an event and a diagnostic fact; the others of its cycle are merged, and then the run stops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from converge_core import (
    ActorKind,
    AgentEffect,
    Budget,
    Call,
    Context,
    ContextKey,
    ContextState,
    Engine,
    FactPayload,
    Outcome,
    ProposedFact,
    Refusal,
    StopClass,
    Stopped,
    Suggestor,
    Usage,
    replay,
    suggestor,
)
from converge_core.gates.stop import Converged, SuggestorFailed
from tests.core.stage import SEEDS, SIGNALS, Played, Raises, Says, advance, engine_of, play, refs, seeded, text
from tests.fakes.executor import FakeExecutor

AnyProposal = ProposedFact[FactPayload]


def failing(function: Callable[[Context], Any], **settings: Any) -> Suggestor:
    return suggestor(name="rule", reads=SEEDS, **settings)(function)


def raises(ctx: Context) -> None:
    raise KeyError("amount")


async def raises_in_time(ctx: Context) -> None:
    raise KeyError("amount")


def raises_midway(ctx: Context) -> Any:
    yield text("a", key=SIGNALS)
    raise KeyError("amount")


def refuses(ctx: Context) -> None:
    raise Refusal("not my business")


def returns_a_number(ctx: Context) -> Any:
    return 7


def returns_words(ctx: Context) -> Any:
    return ["a", "b"]


def returns_a_mixture(ctx: Context) -> Any:
    return [text("a", key=SIGNALS), {"id": "b"}]


def returns_odd_usage(ctx: Context) -> Any:
    return AgentEffect((text("a", key=SIGNALS),), {"tokens": 7})  # type: ignore[arg-type]


def shouts(ctx: Context) -> None:
    raise ValueError("a\nb\x00\ud800" + "x" * 1_000)


FAILURES = [
    (raises, "raised", "KeyError: 'amount'"),
    (raises_in_time, "raised", "KeyError: 'amount'"),
    (raises_midway, "raised", "KeyError: 'amount'"),
    (refuses, "refused", "not my business"),
    (returns_a_number, "raised", "TypeError: 'int' object is not iterable"),
    (returns_words, "invalid_output", "an effect holds proposals (ProposedFact) and a Usage, nothing else"),
    (returns_a_mixture, "invalid_output", "an effect holds proposals (ProposedFact) and a Usage, nothing else"),
    (returns_odd_usage, "invalid_output", "an effect holds proposals (ProposedFact) and a Usage, nothing else"),
    (shouts, "raised", "ValueError: a b??" + "x" * 483),
]
each_failure = pytest.mark.parametrize(
    ("function", "code", "reason"), FAILURES, ids=[function.__name__ for function, _, _ in FAILURES]
)


@each_failure
def test_whatever_a_suggestor_does_wrong_has_a_code_and_a_reason(
    function: Callable[[Context], Any], code: str, reason: str
) -> None:
    played = play(engine_of(failing(function)), seeded("s"))

    stopped = played.result.stop_reason
    assert isinstance(stopped, SuggestorFailed)
    assert (stopped.suggestor, stopped.code) == ("rule", code)
    assert stopped.message == reason
    assert stopped.message.isprintable()
    assert stopped.stop_class is StopClass.FAILURE
    assert not played.result.converged
    (event,) = played.bodies("suggestor_failed")
    assert event == {
        "kind": "suggestor_failed",
        "cycle": 1,
        "suggestor": "rule",
        "code": code,
        "reason": stopped.message,
        "optional": False,
    }


@each_failure
def test_an_optional_suggestor_may_fail_and_the_run_goes_on(
    function: Callable[[Context], Any], code: str, reason: str
) -> None:
    after = Says("after", text("d"), reads=[ContextKey.DIAGNOSTIC])
    played = play(engine_of(failing(function, optional=True), after), seeded("s"))
    assert played.result.stop_reason == Converged()
    assert after.runs == 1, "the failure is a fact that others may react to"
    event = played.bodies("suggestor_failed")[0]
    assert (event["code"], event["optional"]) == (code, True)


@each_failure
def test_a_failed_run_is_replayed_byte_by_byte(function: Callable[[Context], Any], code: str, reason: str) -> None:
    engine = engine_of(failing(function), Says("other", text("o", key=SIGNALS), reads=[SEEDS]))
    replay(engine, play(engine, seeded("s")).log)


def test_the_failure_is_stated_by_the_engine_itself() -> None:
    result = play(engine_of(failing(raises)), seeded("s")).result
    (statement,) = result.context.get(ContextKey.DIAGNOSTIC)
    assert statement.payload.summary() == "rule failed (raised): KeyError: 'amount'"
    assert (statement.proposer, statement.promotion.approver.kind) == ("converge-engine", ActorKind.SYSTEM)
    assert statement.id.startswith("suggestor-failed:")


def test_the_others_of_the_cycle_are_merged_before_the_run_stops() -> None:
    engine = engine_of(
        Says("before", text("b", key=SIGNALS), reads=[SEEDS]),
        failing(raises),
        Says("after", text("a", key=SIGNALS), reads=[SEEDS]),
    )
    result = play(engine, seeded("s")).result
    assert refs(result)[:3] == ["seeds/s", "signals/b", "signals/a"]
    assert result.cycles == 1


def test_what_was_yielded_before_a_failure_is_not_kept() -> None:
    assert not play(engine_of(failing(raises_midway)), seeded("s")).result.context.has(SIGNALS)


def test_every_failure_of_a_cycle_is_stated_and_the_first_is_the_reason() -> None:
    engine = engine_of(Raises("one", ValueError("1")), Raises("two", ValueError("2")))
    played = play(engine, seeded("s"))
    assert [body["suggestor"] for body in played.bodies("suggestor_failed")] == ["one", "two"]
    assert played.result.context.count(ContextKey.DIAGNOSTIC) == 2
    assert played.result.stop_reason == SuggestorFailed("one", "raised", "ValueError: 1")


def test_an_optional_failure_does_not_hide_one_that_is_not() -> None:
    engine = engine_of(Raises("one", ValueError("1"), optional=True), Raises("two", ValueError("2")))
    assert play(engine, seeded("s")).result.stop_reason == SuggestorFailed("two", "raised", "ValueError: 2")


def test_the_same_optional_failure_again_is_a_repetition_and_not_an_endless_run() -> None:
    @suggestor(optional=True)
    def always(ctx: Context) -> None:
        raise ValueError("again")

    played = play(engine_of(always))
    assert (played.result.cycles, played.result.stop_reason) == (2, Converged())
    assert played.result.context.count(ContextKey.DIAGNOSTIC) == 1


def test_an_error_that_no_program_should_catch_is_not_caught() -> None:
    def interrupted(ctx: Context) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        play(engine_of(failing(interrupted)), seeded("s"))


# --- accepts ----------------------------------------------------------------------------------------------------------


def cannot_say(ctx: Context) -> bool:
    raise LookupError("who knows")


@pytest.mark.parametrize("alone", [True, False])
def test_one_who_cannot_say_whether_it_wants_to_run_has_failed(alone: bool) -> None:
    engine = engine_of(failing(raises, accepts=cannot_say))
    if not alone:
        engine.register_suggestor(Says("other", text("o", key=SIGNALS), reads=[SEEDS]))
    played = play(engine, seeded("s"))
    assert played.result.stop_reason == SuggestorFailed("rule", "accepts_raised", "LookupError: who knows")
    assert played.result.context.has(SIGNALS) is not alone
    assert played.result.context.has(ContextKey.DIAGNOSTIC)


def test_an_optional_suggestor_that_cannot_say_is_passed_over() -> None:
    result = play(engine_of(failing(raises, accepts=cannot_say, optional=True)), seeded("s")).result
    assert result.stop_reason == Converged()


# --- executors --------------------------------------------------------------------------------------------------------


class Impatient:
    """An executor that lets some calls run out of time."""

    def __init__(self, *names: str) -> None:
        self._names = names

    async def execute(self, calls: Sequence[Call]) -> Sequence[Outcome]:
        return [
            call.failed("timed_out", "no answer within 5 s") if call.name in self._names else await call.perform()
            for call in calls
        ]


def test_a_call_that_runs_out_of_time_is_a_failure_like_any_other() -> None:
    engine = engine_of(Says("slow", text("a", key=SIGNALS), reads=[SEEDS]), Says("quick", text("q"), reads=[SEEDS]))
    played = play(engine, seeded("s"), executor=Impatient("slow"))
    assert played.result.stop_reason == SuggestorFailed("slow", "timed_out", "no answer within 5 s")
    assert refs(played.result)[:2] == ["seeds/s", "seeds/q"]


# --- going on ---------------------------------------------------------------------------------------------------------


def stopped_by(rule: Raises) -> tuple[Engine, Any]:
    engine = engine_of(rule, Says("other", text("o", key=SIGNALS), reads=[SEEDS]))
    run = engine.begin(seeded("s"))
    step = advance(run)
    assert isinstance(step, Stopped)
    assert isinstance(step.result.stop_reason, SuggestorFailed)
    return engine, run


def test_a_reopened_run_asks_whoever_failed_again() -> None:
    rule = Raises("rule", ValueError("broken"), text("r", key=SIGNALS))
    engine, run = stopped_by(rule)
    rule.error = None

    run.reopen()
    step = advance(run)

    assert isinstance(step, Stopped)
    assert step.result.converged
    assert rule.runs == 2
    assert step.result.context.find(SIGNALS, "r") is not None
    replay(engine, run.drain())


def test_whoever_failed_reads_what_it_has_not_read_yet() -> None:
    fresh: list[list[str]] = []

    class Learns(Raises):
        def execute(self, ctx: Context) -> AgentEffect:
            fresh.append([fact.id for fact in ctx.fresh(SEEDS)])
            return super().execute(ctx)

    rule = Learns("rule", ValueError("broken"))
    _, run = stopped_by(rule)
    rule.error = None
    run.reopen()
    advance(run)
    assert fresh == [["s"], ["s"]]


def test_a_reopened_run_that_fails_again_stops_again() -> None:
    _, run = stopped_by(Raises("rule", ValueError("broken")))
    run.reopen()
    step = advance(run)
    assert isinstance(step, Stopped)
    assert step.result.stop_reason == SuggestorFailed("rule", "raised", "ValueError: broken")
    assert step.result.context.count(ContextKey.DIAGNOSTIC) == 1


def test_an_optional_suggestor_is_not_asked_again_without_a_reason() -> None:
    rule = Raises("rule", ValueError("broken"), optional=True)
    play(engine_of(rule), seeded("s"))
    assert rule.runs == 1


# --- bad proposals among good ones ------------------------------------------------------------------------------------


def told(*proposals: AnyProposal) -> Played:
    return play(engine_of(Says("rule", text("before"), *proposals, text("after"), reads=[SIGNALS])), signalled())


def signalled() -> ContextState:
    return ContextState().add_input(SIGNALS, "go", "words")


@pytest.mark.parametrize(
    ("proposal", "code"),
    [
        (text("x" * 257), "invalid_id"),
        (text("a\nb"), "invalid_id"),
        (text("a\ud800"), "invalid_id"),
        (text("a", "x" * (1 << 20)), "payload_too_large"),
        (text("a", provenance=" "), "blank_provenance"),
        (text("a", confidence=float("nan")), "invalid_confidence"),
        (text("a", confidence=float("inf")), "invalid_confidence"),
        (text("a", confidence=True), "invalid_confidence"),
        (text("a", evidence=["\ud800"]), "invalid_evidence"),
        (text("a", key="seeds"), "unknown_key"),  # type: ignore[arg-type]
        (ProposedFact(SEEDS, "a", "words"), "invalid_payload"),  # type: ignore[type-var]
        (text("a", " "), "blank_text"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_one_bad_proposal_is_turned_away_and_the_rest_of_the_run_goes_on(proposal: AnyProposal, code: str) -> None:
    played = told(proposal)
    assert refs(played.result) == ["signals/go", "seeds/before", "seeds/after"]
    assert played.result.converged
    (rejected,) = played.bodies("proposal_rejected")
    assert (rejected["code"], rejected["proposer"], rejected["cycle"]) == (code, "rule", 1)


def test_bad_inputs_are_turned_away_like_bad_proposals() -> None:
    context = seeded("a", "").add_proposal(text("b", provenance=" ")).add_input(SEEDS, "c", " ")
    played = play(engine_of(), context)
    assert refs(played.result) == ["seeds/a"]
    assert [(body["code"], body["proposer"]) for body in played.bodies("proposal_rejected")] == [
        ("invalid_id", "input"),
        ("blank_provenance", "input"),
        ("blank_text", "input"),
    ]


def test_a_proposal_from_a_generator_is_not_lost() -> None:
    @suggestor(reads=SEEDS)
    def lazy(ctx: Context) -> AgentEffect:
        return AgentEffect((text(name, key=SIGNALS) for name in "ab"), Usage(1))  # type: ignore[arg-type]

    assert refs(play(engine_of(lazy), seeded("s")).result) == ["seeds/s", "signals/a", "signals/b"]


def test_usage_that_no_budget_can_hold_is_a_failure_of_the_suggestor() -> None:
    def boasts(ctx: Context) -> AgentEffect:
        return AgentEffect(usage=Usage(2**60))

    result = play(engine_of(failing(boasts), budget=Budget(max_tokens=10)), seeded("s")).result
    assert isinstance(result.stop_reason, SuggestorFailed)


def test_the_outcomes_of_a_cycle_may_arrive_in_any_order() -> None:
    def engine() -> Engine:
        return engine_of(failing(raises), *(Says(name, text(name, key=SIGNALS), reads=[SEEDS]) for name in "abc"))

    one = play(engine(), seeded("s"))
    other = play(engine(), seeded("s"), executor=FakeExecutor((3, 1, 2, 0)))
    assert [entry.body for entry in one.log] == [entry.body for entry in other.log]
