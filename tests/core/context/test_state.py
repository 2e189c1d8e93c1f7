from __future__ import annotations

from typing import ClassVar, SupportsIndex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_core import (
    Context,
    ContextKey,
    ContextState,
    DataPayload,
    FactPayload,
    FactView,
    MisuseError,
    ProposedFact,
    SubjectRef,
    TextPayload,
)
from converge_core.context.facts import AnyFact
from converge_core.context.state import FactLog, Selector
from tests.core.stage import HYPOTHESES, SEEDS, SIGNALS, data, engine_of, play, seeded, text


class Note(FactPayload):
    family: ClassVar[str] = "test.note"
    words: str


def facts_of(*proposals: ProposedFact[FactPayload]) -> tuple[AnyFact, ...]:
    context = ContextState()
    for proposal in proposals:
        context.add_proposal(proposal)
    return tuple(play(engine_of(), context).result.context.facts())


MIXED = facts_of(
    text("a"),
    data("b", n=1),
    text("c", key=SIGNALS, subject=SubjectRef("erp://invoice/7")),
    ProposedFact(SEEDS, "d", Note(words="note")),
    text("e"),
)


def ids(facts: FactView[FactPayload] | FactView[TextPayload] | FactView[Note]) -> list[str]:
    return [fact.id for fact in facts]


def view(version: int, since: int = 0) -> Context:
    log = FactLog()
    for fact in MIXED:
        log.append(fact)
    return Context(log, version, since)


# --- reading ----------------------------------------------------------------------------------------------------------


def test_facts_are_found_by_key_by_class_and_by_both() -> None:
    ctx = view(5)
    assert ids(ctx.get(SEEDS)) == ["a", "b", "d", "e"]
    assert ids(ctx.get(TextPayload)) == ["a", "c", "e"]
    assert ids(ctx.get(SEEDS, TextPayload)) == ["a", "e"]
    assert ids(ctx.get(HYPOTHESES)) == []


def test_a_view_ends_where_it_was_taken() -> None:
    ctx = view(2)
    assert ids(ctx.facts()) == ["a", "b"]
    assert ids(ctx.get(SEEDS)) == ["a", "b"]
    assert (ctx.count(SEEDS), ctx.count(Note), ctx.version) == (2, 0, 2)
    assert (ctx.has(SEEDS), ctx.has(SIGNALS), ctx.has(Note)) == (True, False, False)


def test_only_what_is_new_is_fresh() -> None:
    ctx = view(5, since=1)
    assert ids(ctx.fresh(SEEDS)) == ["b", "d", "e"]
    assert ids(ctx.fresh(TextPayload)) == ["c", "e"]
    assert ids(ctx.fresh(SEEDS, Note)) == ["d"]


def test_a_fact_is_found_by_its_key_and_id_or_by_its_reference() -> None:
    ctx = view(5)
    assert ctx.find(SEEDS, "a") == ctx.resolve("seeds/a") == MIXED[0]
    assert ctx.find(SIGNALS, "a") is None
    assert ctx.resolve("seeds/z") is None


def test_a_fact_of_another_class_is_not_the_one_that_was_looked_for() -> None:
    ctx = view(5)
    assert ctx.find(SEEDS, "a", TextPayload) == MIXED[0]
    assert ctx.find(SEEDS, "a", Note) is None
    assert ctx.find(SEEDS, "z", Note) is None


def test_a_fact_of_the_future_is_not_found() -> None:
    ctx = view(4)
    assert ctx.find(SEEDS, "e") is None
    assert ctx.resolve("seeds/e") is None


def test_facts_are_found_by_their_subject() -> None:
    assert [fact.id for fact in view(5).about(SubjectRef("ERP://Invoice/7"))] == ["c"]
    assert view(2).about(SubjectRef("erp://invoice/7")) == ()


@given(st.integers(0, 5), st.integers(0, 5))
def test_a_view_shows_exactly_the_facts_between_its_two_times(version: int, since: int) -> None:
    ctx = view(version, since)
    selectors: list[Selector] = [SEEDS, SIGNALS, TextPayload, DataPayload, Note, (SEEDS, TextPayload)]
    for selector in selectors:
        fits = [
            fact
            for fact in MIXED[:version]
            if selector in (fact.key, type(fact.payload), (fact.key, type(fact.payload)))
        ]
        assert list(ctx._window(selector, 0)) == fits
        assert list(ctx._window(selector, since)) == [fact for fact in fits if fact.lamport > since]


# --- what a view is ---------------------------------------------------------------------------------------------------


def test_a_view_is_a_sequence() -> None:
    facts = view(5).get(SEEDS)
    assert len(facts) == 4
    assert (facts[0].id, facts[-1].id) == ("a", "e")
    assert ids(facts[1:3]) == ["b", "d"]
    assert MIXED[3] in facts
    assert facts == [fact for fact in MIXED if fact.key == SEEDS]
    assert facts != []
    assert facts != 7
    assert repr(facts) == "FactView(['seeds/a', 'seeds/b', 'seeds/d', 'seeds/e'])"


@pytest.mark.parametrize("index", [4, -5])
def test_a_place_outside_of_a_view_is_an_index_error(index: int) -> None:
    with pytest.raises(IndexError):
        view(5).get(SEEDS)[index]


def test_a_view_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        view(5).get(SEEDS)[0] = MIXED[1]  # type: ignore[index]


def test_a_view_does_not_see_what_comes_after_it() -> None:
    log = FactLog()
    log.append(MIXED[0])
    ctx = Context(log, 1)
    before = ctx.get(SEEDS)
    log.append(MIXED[1])
    assert ids(before) == ids(ctx.get(SEEDS)) == ids(ctx.facts()) == ["a"]


class Watched(list[AnyFact]):
    """A list that counts how often its items are looked at."""

    looks = 0

    def __getitem__(self, index: SupportsIndex | slice) -> AnyFact:  # type: ignore[override]
        self.looks += 1
        return super().__getitem__(index)  # type: ignore[return-value]

    def __iter__(self):  # type: ignore[no-untyped-def]
        self.looks += len(self)
        return super().__iter__()


def test_taking_a_view_of_a_big_context_does_not_touch_its_facts() -> None:
    log = FactLog()
    for fact in play(engine_of(), seeded(*map(str, range(2_000)))).result.context.facts():
        log.append(fact)
    watched = Watched(log.all)
    log.all = watched
    log.by_selector = dict.fromkeys(log.by_selector, watched)

    ctx = Context(log, 2_000, since=1_990)
    assert (ctx.count(SEEDS), len(ctx.get(SEEDS)), len(ctx.facts())) == (2_000, 2_000, 2_000)
    assert watched.looks <= 2, "the length of a list and a look at its end are enough"

    assert len(ctx.fresh(SEEDS)) == 10
    assert watched.looks <= 20, "the new facts are found by bisection"


def test_views_of_one_log_share_its_lists() -> None:
    log = FactLog()
    for fact in MIXED:
        log.append(fact)
    assert Context(log, 5).get(SEEDS)._facts is Context(log, 3).get(SEEDS)._facts is log.by_selector[SEEDS]


# --- staging ----------------------------------------------------------------------------------------------------------


def test_staging_decides_nothing() -> None:
    context = seeded("a")
    assert not context.has(SEEDS)
    assert [proposal.id for proposal in context.proposals(SEEDS)] == ["a"]
    assert context.proposals(SIGNALS) == ()


def test_inputs_are_staged_in_order_and_say_where_they_come_from() -> None:
    context = ContextState().add_input(SIGNALS, "z", "words").add_input(SEEDS, "a", "words", provenance="mail")
    assert [(p.id, p.provenance) for p in context.staged] == [("z", "context-input"), ("a", "mail")]


def test_a_run_leaves_the_context_it_began_with_as_it_was() -> None:
    context = seeded("a")
    play(engine_of(), context)
    assert (len(context.staged), context.version) == (1, 0)


@pytest.mark.parametrize(
    "facts", [MIXED[::-1], MIXED[1:], (*MIXED, MIXED[0])], ids=["turned around", "without the first", "one twice"]
)
def test_a_context_is_not_made_of_facts_picked_at_will(facts: tuple[AnyFact, ...]) -> None:
    with pytest.raises(MisuseError, match="does not stand at place"):
        ContextState(facts)


def test_a_context_can_be_made_of_the_beginning_of_a_run() -> None:
    assert ids(ContextState(MIXED[:2]).facts()) == ["a", "b"]


def test_the_keys_are_twelve_in_order() -> None:
    assert [str(key) for key in ContextKey] == [
        "seeds",
        "hypotheses",
        "strategies",
        "constraints",
        "signals",
        "competitors",
        "evaluations",
        "proposals",
        "diagnostic",
        "votes",
        "disagreements",
        "consensus_outcomes",
    ]
