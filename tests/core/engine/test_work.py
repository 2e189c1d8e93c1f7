"""How much work a run is: every kind of it is counted and its growth asserted, and nothing is timed.

`test_cost` looks at one cycle. Here whole runs are looked at, in the shapes of the benchmark: a chain (each suggestor
is woken by the fact of the one before), a fan-out with a join, a few awake among many, and staged inputs.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import pytest

from converge_core import (
    AgentEffect,
    Budget,
    Context,
    ContextState,
    Convergence,
    Engine,
    Entry,
    Execute,
    FactPayload,
    ProposedFact,
    Stopped,
    StoredEntry,
    Suggestor,
    replay,
    suggestor,
    verify,
)
from converge_core.ledger.canonical import JsonValue
from converge_core.ledger.merkle import MerkleLog
from tests.core.counting import counted
from tests.core.stage import HYPOTHESES, SEEDS, SIGNALS, advance, engine_of, perform, play, seeded, text


class Tally(FactPayload):
    """A payload that counts how often it is asked for its JSON, and how often it is read back."""

    family: ClassVar[str] = "test.tally"
    encoded: ClassVar[int] = 0
    decoded: ClassVar[int] = 0
    words: str

    def body(self) -> JsonValue:
        Tally.encoded += 1
        return super().body()

    @classmethod
    def from_text(cls, text: str) -> Tally:
        Tally.decoded += 1
        return super().from_text(text)


def topic(number: int) -> type[FactPayload]:
    """Return a payload class to be woken by."""
    return type(f"Topic{number}", (Tally,), {"family": f"test.topic{number}", "__module__": __name__})


TOPICS = [topic(number) for number in range(600)]


class Link(Suggestor):
    """Woken by one topic, says one fact of another; counts how often it is considered."""

    def __init__(self, name: str, reads: int, writes: int, awaited: int = 1) -> None:
        self.name = name
        self.dependencies = (TOPICS[reads],)
        self._reads, self._writes, self._awaited = TOPICS[reads], TOPICS[writes], awaited
        self.considered = 0

    def accepts(self, ctx: Context) -> bool:
        self.considered += 1
        return ctx.count(self._reads) >= self._awaited

    def execute(self, ctx: Context) -> AgentEffect:
        return AgentEffect.with_proposal(said(self._writes, self.name))


def said(payload: type[FactPayload], name: str) -> ProposedFact[FactPayload]:
    return ProposedFact(HYPOTHESES, name, payload.model_validate({"words": name}))


def begun() -> ContextState:
    return ContextState().add_proposal(said(TOPICS[0], "start"))


def chain(length: int) -> list[Link]:
    return [Link(f"s{number}", number, number + 1) for number in range(length)]


def fan(width: int) -> list[Link]:
    return [*(Link(f"s{number}", 0, 1) for number in range(width)), Link("join", 1, 2, awaited=width)]


def engine_for(suggestors: Iterable[Suggestor]) -> Engine:
    return engine_of(*suggestors, budget=Budget(max_cycles=1_000, max_facts=10_000))


def finished(run: Convergence) -> Convergence:
    """Play a run to its fixed point by hand."""
    step = advance(run)
    assert isinstance(step, Stopped)
    assert step.result.converged
    return run


def work(measure: Callable[[], int], suggestors: Iterable[Suggestor], context: ContextState) -> int:
    """Return by how much a measure grows in a run."""
    engine = engine_for(suggestors)
    before = measure()
    finished(engine.begin(context))
    return measure() - before


def encodings() -> int:
    return Tally.encoded


def decodings() -> int:
    return Tally.decoded


def hashes_of(suggestors: Iterable[Suggestor], context: ContextState) -> int:
    run = engine_for(suggestors).begin(context)
    with counted() as calls:
        finished(run)
    return calls["openssl_sha256"]


def inputs(size: int) -> ContextState:
    context = ContextState()
    for number in range(size):
        context.add_proposal(said(TOPICS[0], f"i{number}"))
    return context


# --- accepts() --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [10, 100, 500])
def test_in_a_chain_everybody_is_considered_once(length: int) -> None:
    links = chain(length)
    finished(engine_for(links).begin(begun()))
    assert [link.considered for link in links] == [1] * length


@pytest.mark.parametrize("width", [10, 100])
def test_a_join_is_considered_once_a_cycle_however_many_it_waits_for(width: int) -> None:
    *spokes, join = links = fan(width)
    finished(engine_for(links).begin(begun()))
    assert ([spoke.considered for spoke in spokes], join.considered) == ([1] * width, 1)


@pytest.mark.parametrize("asleep", [0, 100, 1_000])
def test_whoever_is_registered_and_sleeps_is_never_considered(asleep: int) -> None:
    awake = chain(20)
    others = [Link(f"other{number}", 100 + number % 400, 599) for number in range(asleep)]
    run = finished(engine_for([*others[::2], *awake, *others[1::2]]).begin(begun()))
    assert sum(link.considered for link in awake) == 20
    assert sum(link.considered for link in others) == 0
    assert run.cycles == 21


# --- hashes and encodings ---------------------------------------------------------------------------------------------


def test_a_step_of_a_chain_hashes_the_same_however_long_the_chain_is() -> None:
    short, middle, long = (hashes_of(chain(length), begun()) for length in (64, 128, 256))
    # The root of a log of n entries is folded from its peaks, of which there are log n at most.
    assert (long - middle) / 128 <= (middle - short) / 64 + 4


def test_a_run_hashes_the_same_however_many_are_registered() -> None:
    asleep = [Link(f"other{number}", 100 + number % 400, 599) for number in range(1_000)]
    assert hashes_of([*chain(10), *asleep], begun()) - hashes_of(chain(10), begun()) <= 1


@pytest.mark.parametrize("make", [chain, fan])
@pytest.mark.parametrize("size", [10, 100])
def test_every_payload_is_encoded_once(make: Callable[[int], list[Link]], size: int) -> None:
    links = make(size)
    assert work(encodings, links, begun()) == len(links) + 1


@pytest.mark.parametrize("size", [10, 100])
def test_every_payload_is_read_back_once_at_most_to_see_that_it_can_be(size: int) -> None:
    assert work(decodings, chain(size), begun()) <= size + 1


@pytest.mark.parametrize("size", [10, 1_000])
def test_every_input_is_encoded_once(size: int) -> None:
    assert work(encodings, [], inputs(size)) == size


@pytest.mark.parametrize("make", [chain, fan])
def test_a_replay_hashes_no_more_than_the_run_and_an_entry_each(make: Callable[[int], list[Link]]) -> None:
    engine = engine_for(make(100))
    run = engine.begin(begun())
    with counted() as first:
        finished(run)
    log = run.drain()
    with counted() as again:
        replay(engine, log)
    assert again["openssl_sha256"] <= first["openssl_sha256"] + len(log)


def recorded(size: int) -> tuple[Engine, list[Entry]]:
    """Return what a chain has recorded: the start of the run, an input, an effect and a promotion a link, the stop."""
    engine = engine_for(chain(size))
    return engine, finished(engine.begin(begun())).drain()


def test_a_replay_reads_every_input_once_and_nothing_that_it_derives() -> None:
    engine, log = recorded(100)
    with counted() as calls:
        replay(engine, log)
    assert calls["JSONDecoder.decode"] == 1 + 1 + 100


def test_a_replay_reads_and_encodes_every_payload_once() -> None:
    engine, log = recorded(100)
    before = decodings(), encodings()
    with counted() as calls:
        replay(engine, log)
    assert (decodings(), encodings()) == (before[0] + 101, before[1])
    assert calls["canonical"] <= 101 + 10, "a body each, and the stop"


def stored(log: list[Entry]) -> list[StoredEntry]:
    """Return entries as a store has them that were appended all at once."""
    ends = {len(log) - 1: MerkleLog([entry.leaf for entry in log]).root()}
    return [StoredEntry(place, *entry, ends.get(place), "") for place, entry in enumerate(log)]


def test_a_verify_reads_no_promotion() -> None:
    store = stored(recorded(100)[1])
    with counted() as calls:
        verify("run", store)
    assert calls["JSONDecoder.decode"] == 1 + 1 + 100 + 1


def test_a_verify_hashes_every_entry_and_every_node_once() -> None:
    def hashes(size: int) -> int:
        store = stored(recorded(size)[1])
        with counted() as calls:
            verify("run", store)
        return calls["openssl_sha256"]

    # An effect and a promotion a link are two leaves and two nodes above them, and another one over the facts.
    assert hashes(256) - hashes(128) <= 5 * 128 + 8


# --- the whole of a run -----------------------------------------------------------------------------------------------


def calls_of(suggestors: Iterable[Suggestor], context: ContextState) -> int:
    """Return how many functions are called in a run, of Python and of C."""
    run = engine_for(suggestors).begin(context)
    with counted() as calls:
        finished(run)
    return sum(calls.values())


@pytest.mark.parametrize("make", [chain, fan])
def test_twice_the_suggestors_are_twice_the_work(make: Callable[[int], list[Link]]) -> None:
    assert calls_of(make(200), begun()) <= 2.1 * calls_of(make(100), begun())


def test_nine_times_the_inputs_are_nine_times_the_work() -> None:
    assert calls_of([], inputs(900)) <= 9 * 1.05 * calls_of([], inputs(100))


def test_a_replay_of_twice_the_run_is_twice_the_work() -> None:
    def calls(length: int) -> int:
        engine = engine_for(chain(length))
        log = finished(engine.begin(begun())).drain()
        with counted() as made:
            replay(engine, log)
        return sum(made.values())

    assert calls(200) <= 2.1 * calls(100)


# --- copies -----------------------------------------------------------------------------------------------------------


@suggestor(writes=SIGNALS)
def one_more(ctx: Context) -> ProposedFact[FactPayload]:
    return text(f"t{ctx.version}", key=SIGNALS)


@suggestor(reads=SEEDS, writes=SIGNALS)
def looks(ctx: Context) -> Iterable[ProposedFact[Any]]:
    assert len(ctx.get(SEEDS)) + len(ctx.facts()) > len(ctx.fresh(SEEDS))
    return ()


def memory_of_a_cycle(engine: Engine, context: ContextState) -> int:
    """Return the bytes that a cycle of one fact needs at its height: the least of five cycles.

    Every list grows by an eighth at a time, and that cycle may be one of the five; a copy would be in each of them.
    """
    run = engine.begin(context)
    for _ in range(3):
        run.receive(perform(run.next()))
    run.drain()
    heights = []
    tracemalloc.start()
    try:
        for _ in range(5):
            step = run.next()
            assert isinstance(step, Execute)
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            run.receive(perform(step))
            run.next()
            run.drain()
            heights.append(tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()
    return min(heights)


def test_a_cycle_makes_no_copy_of_the_context() -> None:
    little = play(engine_of(), seeded("s")).result.context
    much = play(engine_of(), seeded(*map(str, range(8_192)))).result.context
    engine = engine_of(one_more, looks)
    pointers = 8 * len(much.facts())
    assert memory_of_a_cycle(engine, much) - memory_of_a_cycle(engine, little) < pointers / 4


def test_a_run_makes_no_copy_of_the_context_that_it_returns() -> None:
    run = finished(engine_of().begin(seeded(*map(str, range(8_192)))))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        result = run.result()
        height = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert len(result.context.facts()) == 8_192
    assert height < 8_192
