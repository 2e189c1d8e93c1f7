"""The loop: who is asked when, how cycles are counted, and what a fixed point is.

The first part holds the engine to what the original does (its specification, section 1.3), except where the house
decides otherwise: a budget stop is a result, facts are never overshot, a repetition is a no-op, inputs pass the gates.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from converge_core import (
    AgentEffect,
    Budget,
    Context,
    ContextKey,
    ContextState,
    ConvergeResult,
    FactPayload,
    ProposedFact,
    RootIntent,
    StoppedEarly,
    StopReason,
    Suggestor,
    acceptance,
    semantic,
    structural,
    suggestor,
)
from converge_core.gates.stop import Converged, CycleBudgetExhausted, FactBudgetExhausted
from converge_core.ledger.merkle import EMPTY_ROOT
from tests.core.stage import (
    HYPOTHESES,
    SEEDS,
    SIGNALS,
    Says,
    engine_of,
    play,
    refs,
    seeded,
    text,
)


class Counts(Suggestor):
    """Proposes so many facts each cycle, up to a last one."""

    name = "counts"

    def __init__(self, each: int, last: int) -> None:
        self.each, self.last = each, last

    def accepts(self, ctx: Context) -> bool:
        return ctx.version < self.last

    def execute(self, ctx: Context) -> AgentEffect:
        return AgentEffect.with_proposals(text(f"s{ctx.version + i}") for i in range(self.each))


def outcome(result: ConvergeResult) -> tuple[int, int, StopReason]:
    assert result.integrity.fact_count == result.integrity.clock_time == len(result.context.facts())
    return result.cycles, result.integrity.fact_count, result.stop_reason


# --- what the original does, with its counts --------------------------------------------------------------------------


def test_an_empty_engine_converges_in_one_cycle_and_concludes_nothing() -> None:
    result = play(engine_of()).result
    assert outcome(result) == (1, 0, Converged())
    assert result.integrity.merkle_root == EMPTY_ROOT


def test_one_seed_takes_two_cycles_for_the_second_finds_nobody_eligible() -> None:
    assert outcome(play(engine_of(Says("a", text("s")))).result) == (2, 1, Converged())


def test_a_chain_of_two_takes_three_cycles() -> None:
    chain = engine_of(Says("a", text("s")), Says("b", text("h", key=HYPOTHESES), reads=[SEEDS]))
    assert outcome(play(chain).result) == (3, 2, Converged())


def test_one_who_always_accepts_and_never_says_anything_takes_one_cycle() -> None:
    @suggestor
    def silent(ctx: Context) -> None:
        return None

    assert outcome(play(engine_of(silent)).result) == (1, 0, Converged())


def test_one_who_waits_for_what_never_comes_is_never_asked() -> None:
    waiting = Says("a", text("h", key=HYPOTHESES), reads=[SIGNALS])
    assert outcome(play(engine_of(waiting), seeded("s")).result) == (1, 1, Converged())
    assert waiting.runs == 0


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (0, (0, 0, CycleBudgetExhausted(0, 0))),
        (1, (1, 1, CycleBudgetExhausted(1, 1))),
        (2, (2, 1, Converged())),
    ],
)
def test_the_cycle_that_discovers_the_fixed_point_counts(limit: int, expected: tuple[int, int, StopReason]) -> None:
    engine = engine_of(Says("a", text("s")), budget=Budget(max_cycles=limit))
    assert outcome(play(engine).result) == expected


def test_an_endless_producer_stops_after_the_last_cycle_that_is_allowed() -> None:
    producer = Counts(1, 10**9)
    result = play(engine_of(producer, budget=Budget(max_cycles=2))).result
    assert outcome(result) == (2, 2, CycleBudgetExhausted(2, 2))


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (9, (1, 9, FactBudgetExhausted(9, 9))),
        (10, (2, 10, FactBudgetExhausted(10, 10))),
        (20, (3, 20, Converged())),
    ],
)
def test_ten_facts_a_cycle_never_overshoot_the_fact_budget(limit: int, expected: tuple[int, int, StopReason]) -> None:
    engine = engine_of(Counts(10, 20), budget=Budget(max_facts=limit))
    assert outcome(play(engine).result) == expected


def test_inputs_alone_take_one_cycle() -> None:
    assert outcome(play(engine_of(), seeded("a", "b")).result) == (1, 2, Converged())


def test_inputs_count_against_the_fact_budget_like_any_fact() -> None:
    engine = engine_of(budget=Budget(max_facts=1))
    assert outcome(play(engine, seeded("a", "b", "c", "d")).result) == (0, 1, FactBudgetExhausted(1, 1))


def test_the_facts_of_an_earlier_run_wake_whoever_depends_on_them() -> None:
    earlier = play(engine_of(), seeded("s")).result.context
    reaction = Says("b", text("h", key=HYPOTHESES), reads=[SEEDS])
    assert refs(play(engine_of(reaction), earlier).result) == ["seeds/s", "hypotheses/h"]


def test_a_context_that_an_earlier_run_returned_wakes_all_its_keys_again() -> None:
    first = engine_of(Says("a", text("s")), Says("b", text("h", key=HYPOTHESES), reads=[SEEDS]))
    result = play(first).result
    on_seeds, on_hypotheses = Says("c", text("c"), reads=[SEEDS]), Says("d", text("d"), reads=[HYPOTHESES])

    play(engine_of(on_seeds, on_hypotheses), result.context)

    assert (on_seeds.runs, on_hypotheses.runs) == (2, 1), "once for what was there, and once for the new seeds"


def test_saying_the_same_again_changes_nothing_and_is_shown() -> None:
    repeats = Says("a", text("s"), reads=[SEEDS])
    played = play(engine_of(repeats), seeded().add_proposal(text("s")))
    assert outcome(played.result) == (1, 1, Converged())
    assert [(body["proposer"], body["code"]) for body in played.bodies("proposal_duplicate")] == [("a", "fact")]


def test_two_who_say_the_same_in_one_cycle_make_one_fact() -> None:
    played = play(engine_of(Says("a", text("s")), Says("b", text("s", confidence=0.5))))
    assert outcome(played.result) == (2, 1, Converged())
    assert played.result.context.facts()[0].proposer == "a"
    assert [body["proposer"] for body in played.bodies("proposal_duplicate")] == ["b"]


# --- who is asked -----------------------------------------------------------------------------------------------------


def test_all_of_a_cycle_see_the_same_context() -> None:
    seen: list[tuple[str, int]] = []

    def looker(name: str) -> Suggestor:
        def look(ctx: Context) -> ProposedFact[FactPayload]:
            seen.append((name, ctx.version))
            return text(name)

        return suggestor(name=name, accepts=lambda ctx: ctx.find(SEEDS, name) is None)(look)

    play(engine_of(looker("a"), looker("b"), looker("c")))
    assert seen == [("a", 0), ("b", 0), ("c", 0)]


def test_merge_order_is_registration_order() -> None:
    engine = engine_of(*(Says(name, text(name)) for name in ("z", "m", "a")))
    assert refs(play(engine).result) == ["seeds/z", "seeds/m", "seeds/a"]


def test_a_suggestor_reads_only_what_is_new_since_it_last_ran() -> None:
    fresh: list[list[str]] = []

    @suggestor(reads=SEEDS)
    def reader(ctx: Context) -> None:
        fresh.append([fact.id for fact in ctx.fresh(SEEDS)])

    play(engine_of(reader, Counts(1, 4)), seeded("a", "b"))
    assert fresh == [["a", "b"], ["s2"], ["s3"]]


def test_what_a_suggestor_itself_added_is_new_to_it() -> None:
    fresh: list[list[str]] = []

    @suggestor(reads=SEEDS)
    def echo(ctx: Context) -> Iterable[ProposedFact[FactPayload]]:
        fresh.append([fact.id for fact in ctx.fresh(SEEDS)])
        yield text("echo")

    play(engine_of(echo), seeded("a"))
    assert fresh == [["a"], ["echo"]]


def test_one_that_depends_on_two_changed_keys_is_asked_once() -> None:
    both = Says("both", text("b", key=HYPOTHESES), reads=[SEEDS, SIGNALS, SEEDS])
    play(engine_of(both), seeded("s").add_input(SIGNALS, "t", "words"))
    assert both.runs == 1


def test_a_suggestor_that_does_not_accept_is_not_asked() -> None:
    @suggestor(reads=SEEDS, accepts=lambda ctx: ctx.count(SEEDS) > 1)
    def picky(ctx: Context) -> ProposedFact[FactPayload]:
        return text("p", key=HYPOTHESES)

    assert refs(play(engine_of(picky), seeded("a")).result) == ["seeds/a"]
    assert refs(play(engine_of(picky), seeded("a", "b")).result) == ["seeds/a", "seeds/b", "hypotheses/p"]


# --- packs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("packs", "asked", "skipped"),
    [
        (None, ["free", "one", "two"], []),
        ([], ["free", "one", "two"], []),
        (["one"], ["free", "one"], ["two"]),
        (["none"], ["free"], ["one", "two"]),
    ],
)
@pytest.mark.parametrize("by_intent", [False, True], ids=["engine", "intent"])
def test_only_active_packs_and_those_of_no_pack_are_asked(
    packs: list[str] | None, asked: list[str], skipped: list[str], by_intent: bool
) -> None:
    engine = engine_of(Says("free", text("free")))
    for name in ("one", "two"):
        engine.register_suggestor(Says(name, text(name)), pack=name)
    if not by_intent:
        engine.set_active_packs(packs)
    intent = RootIntent("i", active_packs=tuple(packs or ())) if by_intent else None

    played = play(engine, intent=intent)

    assert refs(played.result) == [f"seeds/{name}" for name in asked]
    first_cycle = [body for body in played.bodies("suggestor_skipped") if body["cycle"] == 1]
    assert [(body["suggestor"], body["code"]) for body in first_cycle] == [(name, "pack_inactive") for name in skipped]


# --- what is checked when ---------------------------------------------------------------------------------------------


def checked(context: ContextState | None = None, *suggestors: Suggestor) -> list[str]:
    """The invariants in the order in which they are checked, each with the version of the context."""
    trace: list[str] = []

    def st(ctx: Context) -> None:
        trace.append(f"st@{ctx.version}")

    def se(ctx: Context) -> None:
        trace.append(f"se@{ctx.version}")

    def ac(ctx: Context) -> None:
        trace.append(f"ac@{ctx.version}")

    engine = engine_of(*suggestors)
    for invariant in (structural(st), semantic(se), acceptance(ac)):
        engine.register_invariant(invariant)
    play(engine, context)
    return trace


def test_a_chain_of_two_is_checked_after_each_merge_and_at_the_end() -> None:
    chain = Says("a", text("s")), Says("b", text("h", key=HYPOTHESES), reads=[SEEDS])
    assert checked(None, *chain) == ["st@1", "se@1", "st@2", "se@2", "ac@2"]


def test_a_cycle_that_changes_nothing_is_checked_for_structure_and_acceptance() -> None:
    assert checked(None, suggestor(name="silent")(lambda ctx: None)) == ["st@0", "ac@0"]


def test_an_empty_engine_is_checked_for_acceptance_alone() -> None:
    assert checked() == ["ac@0"]


def test_inputs_are_checked_like_any_merge() -> None:
    assert checked(seeded("a", "b")) == ["st@2", "se@2", "ac@2"]


def test_the_facts_of_an_earlier_run_are_checked_for_structure() -> None:
    assert checked(play(engine_of(), seeded("a")).result.context) == ["st@1", "ac@1"]


def test_a_result_that_converged_is_returned_by_raise_for_stop() -> None:
    result = play(engine_of()).result
    assert result.raise_for_stop() is result


def test_a_result_that_did_not_converge_is_raised_by_raise_for_stop() -> None:
    result = play(engine_of(budget=Budget(max_cycles=0))).result
    with pytest.raises(StoppedEarly, match="Cycle budget exhausted: 0/0") as early:
        result.raise_for_stop()
    assert early.value.reason == CycleBudgetExhausted(0, 0)


def test_every_key_can_hold_facts() -> None:
    context = ContextState()
    for key in ContextKey:
        context.add_input(key, "a", "words")
    assert refs(play(engine_of(), context).result) == [f"{key}/a" for key in ContextKey]
