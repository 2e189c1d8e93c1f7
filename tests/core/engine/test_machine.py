"""The machine by hand: what a driver may do with it, in which order, and what it must not be able to do."""

from __future__ import annotations

import itertools

import pytest

from converge_core import (
    Actor,
    ActorKind,
    AwaitDecision,
    Budget,
    ContextState,
    Convergence,
    Engine,
    Entry,
    Execute,
    GateDecision,
    HitlPolicy,
    MisuseError,
    Outcome,
    Stopped,
    read_event,
    replay,
    semantic,
    structural,
)
from converge_core.gates.stop import TimeBudgetExhausted, UserCancelled
from tests.core.stage import (
    SEEDS,
    SIGNALS,
    Says,
    advance,
    approve,
    bodies,
    engine_of,
    gates_of,
    perform,
    play,
    refs,
    seeded,
    text,
)

ANN = Actor("ann")
NAMES = ("a", "b", "c")


def trio() -> Engine:
    return engine_of(*(Says(name, text(name)) for name in NAMES))


def gated() -> Engine:
    says = Says("rule", text("a", key=SIGNALS), text("b", key=SIGNALS))
    return engine_of(says, hitl_policy=HitlPolicy(gated_keys=(SIGNALS,)))


def kinds(entries: list[Entry]) -> list[str]:
    return [entry.kind for entry in entries]


def stopped(run: Convergence) -> Stopped:
    step = advance(run)
    assert isinstance(step, Stopped)
    return step


# --- next -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", [trio, gated], ids=["calls", "gates"])
def test_asking_again_gives_the_same_step_and_records_nothing(engine: object) -> None:
    run = engine().begin(ContextState())  # type: ignore[operator]
    step = advance(run) if engine is gated else run.next()
    run.drain()
    assert run.next() is step
    assert run.drain() == []


def test_a_stopped_run_stays_stopped() -> None:
    run = engine_of().begin(ContextState())
    assert run.next() is not None
    run.drain()
    assert run.next() == run.next()
    assert run.drain() == []


def test_beginning_does_nothing_but_record_the_constitution_and_the_inputs() -> None:
    run = engine_of(Says("a", text("x"), reads=[SEEDS])).begin(seeded("s"))
    assert kinds(run.drain()) == ["run_started", "input_admitted"]
    assert run.cycles == 0


def test_entries_can_be_drained_in_parts() -> None:
    run = engine_of().begin(seeded("s", "t"))
    assert run.pending == 3
    assert kinds(run.drain(2)) == ["run_started", "input_admitted"]
    assert run.pending == 1
    assert len(run.drain(5)) == 1
    assert run.drain(1) == []


# --- receive ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "one by one"])
def test_outcomes_come_in_any_order_and_in_parts(order: tuple[int, ...], at_once: bool) -> None:
    run = trio().begin(ContextState())
    outcomes = perform(run.next())
    arriving = [outcomes[place] for place in order]
    for part in [arriving] if at_once else [[outcome] for outcome in arriving]:
        run.receive(part)
    stopped(run)
    assert bodies(run.drain()) == bodies(play(trio()).log)


def test_nothing_of_a_cycle_is_recorded_before_all_of_it_is_there() -> None:
    run = trio().begin(ContextState())
    step = run.next()
    run.drain()
    outcomes = perform(step)
    run.receive(outcomes[:2])
    assert run.drain() == []
    assert run.next() is step
    assert [run.awaits(1, name) for name in NAMES] == [False, False, True]
    run.receive(outcomes[2:])
    assert kinds(run.drain()) == ["effect_received"] * 3


def test_an_outcome_is_taken_once() -> None:
    run = trio().begin(ContextState())
    outcomes = perform(run.next())
    run.receive(outcomes[:1])
    with pytest.raises(MisuseError, match="nobody asked 'a' in cycle 1, or it has answered"):
        run.receive(outcomes[:1])
    with pytest.raises(MisuseError):
        run.receive([outcomes[1], outcomes[1]])


@pytest.mark.parametrize("stranger", [Outcome(1, "stranger"), Outcome(2, "a"), Outcome(0, "a")], ids=str)
def test_an_outcome_that_nobody_waits_for_is_refused_and_none_beside_it_is_taken(stranger: Outcome) -> None:
    run = trio().begin(ContextState())
    outcomes = perform(run.next())
    with pytest.raises(MisuseError):
        run.receive([*outcomes, stranger])
    assert all(run.awaits(1, name) for name in NAMES)
    run.receive(outcomes)
    assert stopped(run).result.converged


def test_an_outcome_is_refused_before_and_after_its_cycle() -> None:
    run = trio().begin(ContextState())
    with pytest.raises(MisuseError):
        run.receive([Outcome(0, "a")])
    outcomes = perform(run.next())
    run.receive(outcomes)
    run.next()
    with pytest.raises(MisuseError):
        run.receive(outcomes[:1])


def test_receiving_nothing_is_harmless_at_any_time() -> None:
    run = gated().begin(ContextState())
    run.receive([])
    outcomes = perform(run.next())
    run.receive([])
    run.receive(outcomes)
    run.receive([])
    step = run.next()
    run.drain()
    run.receive([])
    assert run.next() is step
    assert run.drain() == []


# --- cancel -----------------------------------------------------------------------------------------------------------


def at_start() -> tuple[Engine, Convergence]:
    return trio(), trio().begin(ContextState())


def at_calls() -> tuple[Engine, Convergence]:
    run = trio().begin(ContextState())
    run.next()
    return trio(), run


def half_answered() -> tuple[Engine, Convergence]:
    run = trio().begin(ContextState())
    run.receive(perform(run.next())[:1])
    return trio(), run


def answered() -> tuple[Engine, Convergence]:
    run = trio().begin(ContextState())
    run.receive(perform(run.next()))
    return trio(), run


def at_gates() -> tuple[Engine, Convergence]:
    run = gated().begin(ContextState())
    advance(run)
    return gated(), run


def half_decided() -> tuple[Engine, Convergence]:
    run = gated().begin(ContextState())
    gate = gates_of(advance(run))["signals/a"].gate_id
    run.decide([GateDecision.approve(gate, "ann")])
    return gated(), run


MOMENTS = pytest.mark.parametrize(
    "moment", [at_start, at_calls, half_answered, answered, at_gates, half_decided], ids=lambda f: f.__name__
)


def to_the_end(run: Convergence) -> Stopped:
    """Drive a run to its end; people approve of everything."""
    step = advance(run)
    while isinstance(step, AwaitDecision):
        run.decide([GateDecision.approve(request.gate_id, "ann") for request in step.requests])
        step = advance(run)
    assert isinstance(step, Stopped)
    return step


@MOMENTS
def test_a_run_can_be_called_off_at_any_moment(moment: object) -> None:
    _, run = moment()  # type: ignore[operator]
    run.cancel("enough", ANN)
    step = run.next()
    assert isinstance(step, Stopped)
    assert step.result.stop_reason == UserCancelled("human:ann", "enough")
    assert not step.result.converged
    assert run.drain()[-1].kind == "run_stopped"


@MOMENTS
def test_a_cancelled_run_is_replayed_byte_by_byte(moment: object) -> None:
    engine, run = moment()  # type: ignore[operator]
    run.cancel("enough", ANN)
    run.next()
    log = run.drain()
    again = replay(engine, log)
    assert isinstance(again.next(), Stopped)
    assert again.drain() == []


@MOMENTS
def test_a_cancelled_run_goes_on_where_it_was_when_it_is_reopened(moment: object) -> None:
    engine, run = moment()  # type: ignore[operator]
    run.cancel("enough", ANN)
    run.next()
    run.reopen()
    result = to_the_end(run).result
    log = run.drain()

    assert result.converged
    straight = to_the_end(engine.begin(ContextState())).result
    assert (refs(result), result.integrity, result.cycles) == (refs(straight), straight.integrity, straight.cycles)
    replay(engine, log)


@MOMENTS
def test_a_cancelled_run_goes_on_from_its_ledger_alone(moment: object) -> None:
    engine, run = moment()  # type: ignore[operator]
    run.cancel("enough", ANN)
    run.next()
    log = run.drain()
    again = replay(engine, log)
    again.reopen()
    assert to_the_end(again).result.converged
    replay(engine, log + again.drain())


def test_what_comes_in_after_a_cancellation_is_recorded_and_counts_when_the_run_is_reopened() -> None:
    engine, run = at_calls()
    outcomes = perform(run.next())
    run.cancel("enough", ANN)
    run.receive(outcomes)
    step = run.next()
    assert isinstance(step, Stopped)
    run.reopen()
    assert refs(to_the_end(run).result) == ["seeds/a", "seeds/b", "seeds/c"]
    log = run.drain()
    assert kinds(log).count("effect_received") == 3
    replay(engine, log)


def test_only_the_missing_calls_are_asked_for_again() -> None:
    _, run = half_answered()
    run.cancel("enough", ANN)
    run.next()
    run.reopen()
    step = run.next()
    assert isinstance(step, Execute)
    assert [call.name for call in step.batch] == ["b", "c"]


def test_answers_given_to_a_cancelled_run_count_when_it_is_reopened() -> None:
    engine, run = at_gates()
    gates = gates_of(run.next())
    run.cancel("enough", ANN)
    run.next()
    assert run.decide([approve()(request.gate_id) for request in gates.values()]) == ()
    assert isinstance(run.next(), Stopped)
    run.reopen()
    result = stopped(run).result
    assert refs(result) == ["signals/a", "signals/b"]
    replay(engine, run.drain())


def test_a_second_cancellation_changes_nothing() -> None:
    _, run = at_calls()
    run.cancel("enough", ANN)
    run.cancel("really", Actor("bob"))
    run.next()
    run.cancel("still", Actor("bob"))
    assert kinds(run.drain()).count("cancel_requested") == 1
    run.reopen()
    assert to_the_end(run).result.converged


def test_a_run_that_has_stopped_cannot_be_cancelled() -> None:
    run = engine_of().begin(ContextState())
    stopped(run)
    run.drain()
    run.cancel("too late", ANN)
    assert stopped(run).result.converged
    assert run.drain() == []


def test_a_reason_is_made_printable_before_it_is_recorded() -> None:
    _, run = at_calls()
    run.cancel("a\nb\ud800", Actor("watchdog", ActorKind.SYSTEM))
    reason = stopped(run).result.stop_reason
    assert reason == UserCancelled("system:watchdog", "a b?")


# --- time -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before the call", "during the call", "after the call"])
def test_time_may_be_observed_at_any_moment_and_is_replayed(when: str) -> None:
    engine = engine_of(Says("a", text("a")), budget=Budget(time_limit_ms=100))
    run = engine.begin(ContextState())
    if when == "before the call":
        run.observe_time(100)
    else:
        outcomes = perform(run.next())
        if when == "during the call":
            run.observe_time(100)
        run.receive(outcomes)
        if when == "after the call":
            run.observe_time(100)

    result = stopped(run).result
    assert result.stop_reason == TimeBudgetExhausted(100, 100)
    assert refs(result) == ([] if when == "before the call" else ["seeds/a"])
    replay(engine, run.drain())


def test_time_that_goes_backwards_is_not_heard() -> None:
    run = engine_of(budget=Budget(time_limit_ms=100)).begin(ContextState())
    run.observe_time(50)
    run.observe_time(40)
    run.observe_time(50)
    assert run.elapsed_ms == 50
    assert kinds(run.drain()) == ["run_started", "time_observed"]


# --- what a run was set up with stays ---------------------------------------------------------------------------------


def test_a_run_that_has_begun_does_not_see_later_registrations() -> None:
    engine = engine_of(Says("early", text("e")))
    run = engine.begin(ContextState())
    engine.register_suggestor(Says("late", text("l")))
    assert refs(to_the_end(run).result) == ["seeds/e"]
    assert refs(play(engine).result) == ["seeds/e", "seeds/l"]


def test_a_run_that_has_begun_does_not_see_later_invariants() -> None:
    engine = engine_of(Says("early", text("e")))
    run = engine.begin(ContextState())
    engine.register_invariant(structural(lambda ctx: "always violated"))
    assert to_the_end(run).result.converged
    assert not play(engine).result.converged


def test_two_runs_of_one_engine_do_not_see_each_other() -> None:
    engine = trio()
    one, other = engine.begin(ContextState()), engine.begin(ContextState(), run_id="other")
    outcomes = perform(one.next())
    other.next()
    one.receive(outcomes)
    assert refs(to_the_end(one).result) == ["seeds/a", "seeds/b", "seeds/c"]
    assert other.result().context.version == 0


def test_the_first_entry_tells_what_the_run_was_set_up_with() -> None:
    engine = engine_of(budget=Budget(max_cycles=7), hitl_policy=HitlPolicy(0.5))
    engine.register_suggestor(Says("rule", text("a")), pack="basics")
    engine.register_invariant(semantic(lambda ctx: None))
    (started, *_) = play(engine, run_id="r1").bodies("run_started")
    assert (started["run_id"], started["format"], started["budget"]["max_cycles"]) == ("r1", 1, 7)
    assert started["suggestors"] == [{"name": "rule", "pack": "basics", "version": "1"}]
    assert started["invariants"] == [{"class": "semantic", "name": "<lambda>"}]
    assert started["gates"]["hitl"]["confidence_threshold"] == 0.5


def test_only_recorded_inputs_can_be_fed() -> None:
    run = engine_of().begin(seeded("s"))
    to_the_end(run)
    for entry in run.drain():
        event = read_event(entry.body)
        with pytest.raises(MisuseError, match="is not an input of a running machine"):
            run.feed(event)


def test_the_result_of_a_run_that_goes_on_is_not_changed_by_it() -> None:
    run = engine_of(Says("a", text("a"), text("b")), budget=Budget(max_facts=1)).begin(ContextState())
    first = stopped(run).result
    run.reopen(Budget())
    second = stopped(run).result
    assert (refs(first), len(first.context.get(SEEDS))) == (["seeds/a"], 1)
    assert refs(second) == ["seeds/a", "seeds/b"]
