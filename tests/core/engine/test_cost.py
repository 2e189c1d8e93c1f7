"""Cost follows the change, not the size. Nothing here is timed: calls are counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from converge_core import (
    AgentEffect,
    Budget,
    Context,
    ContextState,
    Convergence,
    Engine,
    Execute,
    FactPayload,
    HitlPolicy,
    ProposedFact,
    Stopped,
    Suggestor,
    suggestor,
)
from tests.core.counting import counted
from tests.core.stage import SEEDS, SIGNALS, Says, advance, engine_of, perform, play, seeded, text


class Watcher(Suggestor):
    """Waits for a selector, and counts how often it is considered."""

    def __init__(self, name: str, *reads: Any) -> None:
        self.name = name
        self.dependencies = reads
        self.considered = 0

    def accepts(self, ctx: Context) -> bool:
        self.considered += 1
        return True

    def execute(self, ctx: Context) -> AgentEffect:
        return AgentEffect.empty()


class Rare(FactPayload):
    family: ClassVar[str] = "test.rare"
    n: int


# --- who is considered ------------------------------------------------------------------------------------------------


def test_only_those_whom_a_change_wakes_are_considered() -> None:
    woken = [Watcher(f"woken{i}", SEEDS) for i in range(10)]
    asleep = [Watcher(f"asleep{i}", [SIGNALS, Rare, (SEEDS, Rare)][i % 3]) for i in range(990)]
    play(engine_of(*asleep[:500], *woken, *asleep[500:]), seeded("s"))
    assert [watcher.considered for watcher in woken] == [1] * 10
    assert sum(watcher.considered for watcher in asleep) == 0


def test_a_payload_class_wakes_more_finely_than_a_key() -> None:
    by_key, by_class, by_pair, by_other = (
        Watcher("key", SEEDS),
        Watcher("class", Rare),
        Watcher("pair", (SEEDS, Rare)),
        Watcher("other", (SIGNALS, Rare)),
    )
    context = seeded("s").add_proposal(ProposedFact(SEEDS, "r", Rare(n=1)))
    engine = engine_of(by_key, by_class, by_pair, by_other, Says("later", text("t"), reads=[Rare]))
    play(engine, context)
    assert [w.considered for w in (by_key, by_class, by_pair, by_other)] == [2, 1, 1, 0]


def cycle_of(engine: Engine, context: ContextState) -> Counter[str]:
    """The calls of one cycle of one call and one fact, between two `Execute` steps."""
    run = engine.begin(context)
    for _ in range(3):  # the first cycles have everything to catch up on
        run.receive(perform(run.next()))
    step = run.next()
    assert isinstance(step, Execute)
    with counted() as calls:
        run.receive(perform(step))
        run.next()
    return calls


@suggestor(writes=SIGNALS)
def one_more(ctx: Context) -> ProposedFact[FactPayload]:
    return text(f"t{ctx.version}", key=SIGNALS)


@suggestor(reads=SIGNALS, writes=SIGNALS)
def answers(ctx: Context) -> ProposedFact[FactPayload]:
    return text(f"{ctx.fresh(SIGNALS)[-1].id}.", key=SIGNALS)


def test_a_cycle_costs_the_same_however_many_suggestors_sleep() -> None:
    def engine(sleepers: int) -> Engine:
        return engine_of(one_more, *(Watcher(f"w{i}", Rare) for i in range(sleepers)))

    assert cycle_of(engine(1_000), ContextState()) == cycle_of(engine(10), ContextState())


@pytest.mark.parametrize("rule", [one_more, answers], ids=["always", "woken"])
def test_a_cycle_costs_the_same_however_many_facts_there_are(rule: Suggestor) -> None:
    def context(size: int) -> ContextState:
        start = seeded(*map(str, range(size))).add_input(SIGNALS, "t", "go")
        return play(engine_of(), start).result.context

    # The Merkle log folds log n peaks into a root, and appending merges as many as n has trailing ones.
    little, much = cycle_of(engine_of(rule), context(1 << 6)), cycle_of(engine_of(rule), context(1 << 12))
    for calls in (little, much):
        for name in ("node_hash", "openssl_sha256", "pop", "digest"):
            calls.pop(name, None)
    assert much == little


# --- what is computed -------------------------------------------------------------------------------------------------


def hashes(make: Callable[[int], Convergence], size: int) -> int:
    run = make(size)
    with counted() as calls:
        assert isinstance(advance(run), Stopped)
    return calls["openssl_sha256"]


def suggested(size: int) -> Convergence:
    return engine_of(Says("rule", *(text(f"s{i}") for i in range(size)))).begin(ContextState())


def test_a_suggested_fact_is_hashed_three_times() -> None:
    """Once as a proposal, once as the leaf of its promotion, and once, on average, as a node above that leaf."""
    some, more = hashes(suggested, 256), hashes(suggested, 512)
    assert more - some == 3 * 256


def test_a_big_result_is_not_hashed_again_at_the_end() -> None:
    run = suggested(2_000)
    run.receive(perform(run.next()))
    run.next()
    with counted() as calls:
        run.receive(perform(run.next())) if isinstance(run.next(), Execute) else None
        result = run.result()
        assert result.integrity.fact_count == 2_000
    assert calls["openssl_sha256"] < 40


def test_asking_at_many_gates_costs_as_much_as_there_are_gates() -> None:
    def calls_for(gates: int) -> int:
        says = Says("rule", *(text(f"s{i}", key=SIGNALS) for i in range(gates)))
        run = engine_of(says, hitl_policy=HitlPolicy(gated_keys=(SIGNALS,))).begin(ContextState())
        run.receive(perform(run.next()))
        with counted() as calls:
            run.next()
        return sum(calls.values())

    assert calls_for(200) < 2.2 * calls_for(100)


# --- what is shared ---------------------------------------------------------------------------------------------------


def test_all_views_of_a_run_share_the_lists_of_its_facts() -> None:
    run = engine_of(one_more, Says("other", text("x"), text("y"))).begin(seeded("a"))
    step = run.next()
    assert isinstance(step, Execute)
    views = [call.context for call in step.batch]
    before = [view.get(SEEDS)._facts for view in views]
    run.receive(perform(step))
    later = run.next()
    assert isinstance(later, Execute)
    assert all(facts is before[0] for facts in [*before, later.batch[0].context.get(SEEDS)._facts])
    assert [len(view.get(SEEDS)) for view in views] == [1, 1], "and yet nobody sees more than at the beginning"


def test_a_result_shares_the_facts_of_its_run() -> None:
    run = engine_of().begin(seeded("a"))
    step = advance(run)
    assert isinstance(step, Stopped)
    assert step.result.context.facts()._facts is run.result().context.facts()._facts


def test_runs_that_bring_nothing_of_their_own_share_one_setup() -> None:
    engine = engine_of(one_more)
    first, second = engine.begin(ContextState(), run_id="first"), engine.begin(ContextState(), run_id="second")
    assert first.setup is second.setup
    with counted() as calls:
        engine.begin(ContextState(), run_id="third")
    assert calls["RunStarted.around_run_id"] == 0, "nor is its constitution written down again"


def test_a_shared_setup_names_each_run_by_its_own_id() -> None:
    engine = engine_of(one_more)
    for run_id in ("first", 'se"cond'):
        run = engine.begin(ContextState(), run_id=run_id)
        assert run.drain()[0] == run.setup.run_started(run_id).entry()


@pytest.mark.parametrize(
    "change",
    [
        lambda engine: engine.register_suggestor(Watcher("late", SEEDS)),
        lambda engine: engine.register_check("late", lambda proposal, ctx: None),
        lambda engine: engine.set_active_packs(["late"]),
        lambda engine: setattr(engine, "budget", Budget(max_cycles=7)),
        lambda engine: setattr(engine, "hitl_policy", HitlPolicy()),
    ],
    ids=["suggestor", "check", "packs", "budget", "policy"],
)
def test_whatever_changes_an_engine_gives_its_next_run_a_setup_of_its_own(change: Callable[[Engine], None]) -> None:
    engine = engine_of(one_more)
    before = engine.begin(ContextState()).setup
    change(engine)
    assert engine.begin(ContextState()).setup is not before


def test_a_run_with_a_source_or_labels_has_a_setup_of_its_own() -> None:
    engine = engine_of(one_more)
    plain = engine.begin(ContextState()).setup
    assert engine.begin(ContextState(), source={"file": "a"}).setup.source == {"file": "a"}
    assert engine.begin(ContextState(), labels={"tenant": "a"}).setup.labels == {"tenant": "a"}
    assert engine.begin(ContextState()).setup is plain
