"""Budgets are never overshot: what would exceed one is not done."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_core import (
    Actor,
    AgentEffect,
    Budget,
    BudgetRefused,
    Context,
    FactPayload,
    MisuseError,
    ProposedFact,
    RootIntent,
    Stopped,
    Suggestor,
    Usage,
    replay,
    suggestor,
)
from converge_core.gates.stop import (
    Converged,
    CostBudgetExhausted,
    CycleBudgetExhausted,
    FactBudgetExhausted,
    TimeBudgetExhausted,
    TokenBudgetExhausted,
)
from tests.core.stage import SEEDS, SIGNALS, Says, advance, engine_of, perform, play, refs, seeded, text
from tests.fakes.clock import FakeClock
from tests.fakes.executor import FakeExecutor


class Spends(Suggestor):
    """Reserves, spends, and says so, once for each seed that is not answered yet."""

    def __init__(self, name: str, most: int, spent: int | None = None, *, optional: bool = False) -> None:
        self.name = name
        self.most = most
        self.spent = most if spent is None else spent
        self.optional = optional
        self.calls = 0

    def accepts(self, ctx: Context) -> bool:
        return ctx.find(SIGNALS, f"{self.name}{ctx.version}") is None and ctx.version < 20

    def execute(self, ctx: Context) -> AgentEffect:
        reservation = ctx.allowance.reserve(tokens=self.most)
        self.calls += 1
        usage = Usage(input_tokens=self.spent)
        reservation.settle(usage)
        return AgentEffect.with_proposal(text(f"{self.name}{ctx.version}", key=SIGNALS), usage)


# --- facts ------------------------------------------------------------------------------------------------------------


@given(st.integers(0, 12), st.integers(0, 12))
def test_no_run_ever_holds_more_facts_than_allowed(limit: int, wanted: int) -> None:
    says = Says("a", *(text(f"s{i}") for i in range(wanted)))
    result = play(engine_of(says, budget=Budget(max_facts=limit))).result
    assert len(result.context.facts()) == min(limit, wanted)
    assert result.stop_reason == (Converged() if wanted <= limit else FactBudgetExhausted(limit, limit))


def test_what_a_fact_budget_leaves_unjudged_is_counted() -> None:
    played = play(engine_of(budget=Budget(max_facts=1)), seeded("a", "b", "c"))
    assert played.bodies("run_stopped")[0]["held"] == 2


def test_a_duplicate_and_a_rejected_proposal_cost_nothing() -> None:
    says = Says("a", text("s"), text("blank", " "), text("s"), text("t"))
    result = play(engine_of(says, budget=Budget(max_facts=2))).result
    assert refs(result) == ["seeds/s", "seeds/t"]
    assert result.converged


def test_the_engines_own_statements_are_not_allowed_to_overshoot_either() -> None:
    @suggestor(reads=SEEDS)
    def fails(ctx: Context) -> None:
        raise ValueError("broken")

    played = play(engine_of(fails, budget=Budget(max_facts=1)), seeded("a"))
    assert refs(played.result) == ["seeds/a"]
    assert [(body["key"], body["code"]) for body in played.bodies("proposal_rejected")] == [
        ("diagnostic", "fact_budget")
    ]


# --- tokens and money -------------------------------------------------------------------------------------------------


def test_usage_is_counted() -> None:
    result = play(engine_of(Spends("a", 10), budget=Budget(max_cycles=3))).result
    assert result.usage == Usage(input_tokens=30)


@pytest.mark.parametrize(("limit", "calls"), [(0, 0), (9, 0), (10, 1), (29, 2), (30, 3)])
def test_a_call_that_may_exceed_the_token_budget_is_not_made(limit: int, calls: int) -> None:
    spender = Spends("a", 10)
    result = play(engine_of(spender, budget=Budget(max_tokens=limit))).result
    assert spender.calls == calls
    assert result.stop_reason == TokenBudgetExhausted(10 * calls, limit)
    assert result.usage.tokens <= limit


@pytest.mark.parametrize("resource", ["tokens", "cost_microusd"])
def test_after_the_last_of_it_not_even_one_more_is_spent(resource: str) -> None:
    calls = []

    @suggestor(accepts=lambda ctx: ctx.version < 9)
    def sips(ctx: Context) -> AgentEffect:
        usage = Usage(1) if resource == "tokens" else Usage(cost_microusd=1)
        ctx.allowance.reserve(**{resource: 1}).settle(usage)
        calls.append(ctx.version)
        return AgentEffect.with_proposal(text(f"s{ctx.version}"), usage)

    result = play(engine_of(sips, budget=Budget(max_tokens=3, max_cost_usd=0.000003))).result
    assert calls == [0, 1, 2]
    assert result.stop_reason in (TokenBudgetExhausted(3, 3), CostBudgetExhausted(3, 3))


def test_what_was_reserved_and_not_used_is_left_for_the_next_call() -> None:
    spender = Spends("a", 10, spent=1)
    play(engine_of(spender, budget=Budget(max_tokens=14)))
    assert spender.calls == 5


@given(
    st.lists(st.tuples(st.integers(0, 30), st.floats(0, 1)), min_size=1, max_size=5),
    st.integers(0, 100),
    st.permutations(range(5)),
)
def test_whoever_reserves_never_overspends_together_with_others(
    spenders: list[tuple[int, float]], limit: int, order: list[int]
) -> None:
    engine = engine_of(budget=Budget(max_tokens=limit, max_cycles=5))
    for place, (most, part) in enumerate(spenders):
        engine.register_suggestor(Spends(f"s{place}", most, int(most * part), optional=place % 2 == 0))
    result = play(engine, executor=FakeExecutor(order)).result
    assert result.usage.tokens <= limit


def test_the_calls_of_one_cycle_share_one_allowance() -> None:
    first, second = Spends("a", 10), Spends("b", 10)
    played = play(engine_of(first, second, budget=Budget(max_tokens=15)))
    assert (first.calls, second.calls) == (1, 0)
    assert played.result.stop_reason == TokenBudgetExhausted(10, 15)
    assert [(body["suggestor"], body["code"]) for body in played.bodies("suggestor_failed")] == [("b", "tokens_budget")]
    assert played.result.context.has(SIGNALS), "the others of the cycle are merged"


def test_the_allowance_tells_the_executor_what_is_left() -> None:
    run = engine_of(Spends("a", 10), budget=Budget(max_tokens=25, max_cost_usd=0.5)).begin(seeded())
    first = run.next()
    assert (first.allowance.tokens, first.allowance.cost_microusd) == (25, 500_000)  # type: ignore[union-attr]
    run.receive(perform(first))
    second = run.next()
    assert second.allowance.tokens == 15  # type: ignore[union-attr]


def test_without_limits_the_allowance_has_none() -> None:
    step = engine_of(Spends("a", 10)).begin(seeded()).next()
    assert (step.allowance.tokens, step.allowance.cost_microusd) == (None, None)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("usage", "reason"),
    [
        (Usage(input_tokens=101), TokenBudgetExhausted(101, 100)),
        (Usage(output_tokens=101), TokenBudgetExhausted(101, 100)),
        (Usage(cost_microusd=1_000_001), CostBudgetExhausted(1_000_001, 1_000_000)),
    ],
)
def test_usage_that_was_never_reserved_is_spent_and_stops_the_run(usage: Usage, reason: object) -> None:
    @suggestor
    def careless(ctx: Context) -> AgentEffect:
        return AgentEffect.with_proposal(text("s"), usage)

    result = play(engine_of(careless, budget=Budget(max_tokens=100, max_cost_usd=1))).result
    assert result.stop_reason == reason
    assert refs(result) == ["seeds/s"], "what was paid for is kept"


def test_usage_that_exactly_meets_the_budget_is_allowed() -> None:
    @suggestor(reads=SEEDS)
    def exact(ctx: Context) -> AgentEffect:
        return AgentEffect(usage=Usage(100, 0, 1_000_000))

    assert play(engine_of(exact, budget=Budget(max_tokens=100, max_cost_usd=1)), seeded("s")).result.converged


def test_money_is_reserved_like_tokens() -> None:
    @suggestor(reads=SEEDS)
    def asks(ctx: Context) -> None:
        ctx.allowance.reserve(cost_microusd=1_000_001)

    played = play(engine_of(asks, budget=Budget(max_cost_usd=1)), seeded("s"))
    assert played.result.stop_reason == CostBudgetExhausted(0, 1_000_000)
    assert played.bodies("suggestor_failed")[0]["reason"] == "cost: 1000001 asked, 1000000 left"


def spends_and_breaks(ctx: Context) -> None:
    ctx.allowance.reserve(tokens=100).settle(Usage(60, 20))
    raise ValueError("after the call")


def holds_and_breaks(ctx: Context) -> None:
    ctx.allowance.reserve(tokens=80)
    raise ValueError("in the middle of the call")


def refuses_after_paying(ctx: Context) -> list[ProposedFact[FactPayload]]:
    ctx.allowance.reserve(tokens=100).settle(Usage(80))
    return [7]  # type: ignore[list-item]


def hides_what_it_spends(ctx: Context) -> AgentEffect:
    ctx.allowance.reserve(tokens=100).settle(Usage(80))
    return AgentEffect(usage=Usage(1))


@pytest.mark.parametrize("function", [spends_and_breaks, holds_and_breaks, refuses_after_paying, hides_what_it_spends])
def test_what_a_call_has_spent_counts_however_it_ends(function: Callable[[Context], AgentEffect]) -> None:
    rule = suggestor(name="rule", reads=SEEDS, optional=True)(function)
    played = play(engine_of(rule, budget=Budget(max_tokens=100)), seeded("s"))
    assert played.result.usage.tokens == 80
    assert played.bodies("effect_received")[0]["usage"].get("input_tokens", 0) >= 60


def test_a_call_that_breaks_cannot_spend_the_budget_over_and_over() -> None:
    calls = []

    @suggestor(optional=True)
    def breaks(ctx: Context) -> None:
        ctx.allowance.reserve(tokens=40).settle(Usage(40))
        calls.append(ctx.version)
        raise ValueError(f"attempt {len(calls)}")

    result = play(engine_of(breaks, budget=Budget(max_tokens=100))).result
    assert len(calls) == 2
    assert result.usage == Usage(80)


def test_a_budget_error_can_be_handled_by_the_suggestor_itself() -> None:
    @suggestor(reads=SEEDS)
    def frugal(ctx: Context) -> ProposedFact[FactPayload]:
        try:
            ctx.allowance.reserve(tokens=1_000)
        except BudgetRefused as refused:
            return text("cheap", f"only {refused.left} left", SIGNALS)
        return text("dear", key=SIGNALS)

    result = play(engine_of(frugal, budget=Budget(max_tokens=10)), seeded("s")).result
    assert refs(result) == ["seeds/s", "signals/cheap"]


# --- time -------------------------------------------------------------------------------------------------------------


def test_no_cycle_is_started_after_the_time_limit() -> None:
    endless = Spends("a", 0)
    engine = engine_of(endless, budget=Budget(time_limit_ms=100))
    result = play(engine, clock=FakeClock([0, 40, 99, 100])).result
    assert result.stop_reason == TimeBudgetExhausted(100, 100)
    assert (result.cycles, endless.calls) == (3, 3)


def test_a_run_without_time_does_not_begin() -> None:
    played = play(engine_of(Says("a", text("s")), budget=Budget(time_limit_ms=0)))
    assert (played.result.cycles, played.result.stop_reason) == (0, TimeBudgetExhausted(0, 0))


def test_time_is_recorded_only_where_it_is_limited_and_only_when_it_has_grown() -> None:
    limited = engine_of(Spends("a", 0), budget=Budget(time_limit_ms=100, max_cycles=3))
    readings = [body["elapsed_ms"] for body in play(limited, clock=FakeClock([0, 10, 10, 30])).bodies("time_observed")]
    assert readings == [10, 30]

    free = engine_of(Spends("a", 0), budget=Budget(max_cycles=3))
    assert "time_observed" not in play(free, clock=FakeClock([0, 10, 20])).kinds


# --- suggestors per cycle ---------------------------------------------------------------------------------------------


def test_no_cycle_asks_more_suggestors_than_allowed() -> None:
    executor = FakeExecutor()
    engine = engine_of(*(Says(n, text(n)) for n in "abcde"), budget=Budget(max_suggestors_per_cycle=2))
    played = play(engine, executor=executor)
    assert executor.batches == [("a", "b"), ("c", "d"), ("e",)]
    assert refs(played.result) == [f"seeds/{n}" for n in "abcde"]
    assert played.result.converged
    assert [(body["cycle"], body["suggestor"]) for body in played.bodies("suggestor_skipped")] == [
        (1, "c"),
        (1, "d"),
        (1, "e"),
        (2, "e"),
    ]


def test_whoever_had_to_wait_is_asked_before_those_who_did_not() -> None:
    executor = FakeExecutor()

    @suggestor
    def greedy(ctx: Context) -> Iterable[ProposedFact[FactPayload]]:
        if ctx.version < 3:
            yield text(f"g{ctx.version}")

    engine = engine_of(greedy, Says("a", text("a")), Says("b", text("b")), budget=Budget(max_suggestors_per_cycle=1))
    result = play(engine, executor=executor).result
    assert executor.batches[:4] == [("greedy",), ("a",), ("greedy",), ("b",)]
    assert result.converged


def test_those_who_waited_are_merged_in_registration_order() -> None:
    """In the second cycle ``c`` has waited and ``a`` has not; both are asked, and ``a`` is merged first."""
    a = Says("a", text("a2"), reads=[SEEDS])
    engine = engine_of(
        a, Says("b", text("b")), Says("c", text("c"), reads=[SEEDS]), budget=Budget(max_suggestors_per_cycle=2)
    )
    executor = FakeExecutor()
    play(engine, seeded("s"), executor=executor)
    assert executor.batches[0] == ("a", "b")
    assert executor.batches[1] == ("a", "c")


def test_one_who_has_read_everything_does_not_keep_the_run_from_ending() -> None:
    silent = [suggestor(name=name)(lambda ctx: None) for name in "abc"]
    result = play(engine_of(*silent, budget=Budget(max_suggestors_per_cycle=1))).result
    assert (result.cycles, result.stop_reason) == (3, Converged())


@given(st.integers(1, 4), st.lists(st.integers(0, 2), min_size=1, max_size=6))
def test_a_limit_on_suggestors_changes_the_cycles_and_not_the_facts(limit: int, says: list[int]) -> None:
    def cast() -> list[Says]:
        return [Says(f"r{i}", *(text(f"{i}.{j}") for j in range(n))) for i, n in enumerate(says)]

    free = play(engine_of(*cast())).result
    limited = play(engine_of(*cast(), budget=Budget(max_suggestors_per_cycle=limit))).result
    assert limited.converged
    assert sorted(refs(limited)) == sorted(refs(free))


# --- going on under another budget ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("small", "large"),
    [
        (Budget(max_facts=2), Budget()),
        (Budget(max_cycles=1), Budget()),
        (Budget(max_cycles=1, max_facts=1), Budget()),
    ],
    ids=["facts", "cycles", "both"],
)
def test_a_run_that_its_budget_stopped_goes_on_where_it_was(small: Budget, large: Budget) -> None:
    run = engine_of(Spends("a", 10), budget=small).begin(seeded("s"))
    assert isinstance(advance(run), Stopped)
    run.reopen(large)
    reopened = advance(run)
    assert isinstance(reopened, Stopped)

    whole = play(engine_of(Spends("a", 10), budget=large), seeded("s")).result
    assert reopened.result.converged
    assert (refs(reopened.result), reopened.result.integrity) == (refs(whole), whole.integrity)


def test_whoever_lacked_the_tokens_is_asked_again_when_there_are_more() -> None:
    spender = Spends("a", 10)
    run = engine_of(spender, budget=Budget(max_tokens=15)).begin(seeded("s"))
    advance(run)
    assert spender.calls == 1
    run.reopen(Budget(max_tokens=20))
    advance(run)
    assert spender.calls == 2
    assert run.usage == Usage(20)


def test_a_run_reopened_under_the_same_budget_stops_again() -> None:
    run = engine_of(Says("a", text("s")), budget=Budget(max_cycles=0)).begin(seeded())
    advance(run)
    run.reopen()
    again = advance(run)
    assert isinstance(again, Stopped)
    assert again.result.stop_reason == CycleBudgetExhausted(0, 0)


def test_the_budget_of_the_intent_holds_before_the_engines() -> None:
    engine = engine_of(Says("a", text("s")), budget=Budget(max_cycles=0))
    assert play(engine, intent=RootIntent("i", budget=Budget())).result.converged
    assert not play(engine, intent=RootIntent("i")).result.converged


def test_a_reopened_run_is_replayed_with_the_budget_it_was_given() -> None:
    engine = engine_of(Spends("a", 10), budget=Budget(max_cycles=1))
    run = engine.begin(seeded("s"))
    log = []
    advance(run)
    run.reopen(Budget(max_cycles=3, max_cost_usd=1.25))
    advance(run)
    log += run.drain()

    again = replay(engine, log)
    assert again.budget == Budget(max_cycles=3, max_cost_usd=1.25)
    assert again.drain() == []


def test_only_a_stopped_run_that_violates_nothing_is_reopened() -> None:
    run = engine_of(Says("a", text("s"))).begin(seeded())
    with pytest.raises(MisuseError, match="only a run that has stopped"):
        run.reopen()
    run.next()
    with pytest.raises(MisuseError):
        run.reopen()
    advance(run)
    run.reopen()
    with pytest.raises(MisuseError):
        run.reopen()


def test_an_actor_can_cancel_a_reopened_run() -> None:
    run = engine_of(Says("a", text("s")), budget=Budget(max_cycles=0)).begin(seeded())
    advance(run)
    run.reopen(Budget())
    run.cancel("enough", Actor("ann"))
    step = run.next()
    assert isinstance(step, Stopped)
    assert str(step.result.stop_reason) == "Cancelled by human:ann: enough"
