from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Iterable
from typing import Any, ClassVar

import pytest

from converge_core import (
    AgentEffect,
    Context,
    ContextKey,
    ContextState,
    FactPayload,
    MisuseError,
    ProposedFact,
    Replayability,
    Suggestor,
    TextPayload,
    Usage,
    suggestor,
)
from converge_core.suggestors.contract import as_effect, is_selector
from tests.core.stage import SEEDS, SIGNALS, engine_of, finish, play, refs, seeded, text

AnyProposal = ProposedFact[FactPayload]


class Invoice(FactPayload):
    family: ClassVar[str] = "test.invoice"
    cents: int


# --- functions as suggestors ------------------------------------------------------------------------------------------


@suggestor
def plain(ctx: Context) -> AnyProposal:
    return text("one")


@suggestor
def yields(ctx: Context) -> Iterable[AnyProposal]:
    yield text("one")
    yield text("two")


@suggestor
def returns_effect(ctx: Context) -> AgentEffect:
    return AgentEffect.with_proposal(text("one"), Usage(7))


@suggestor
def says_nothing(ctx: Context) -> None:
    return None


@suggestor
async def awaits(ctx: Context) -> list[AnyProposal]:
    return [text("one"), text("two")]


@suggestor
async def yields_in_time(ctx: Context) -> AsyncIterator[AnyProposal]:
    yield text("one")
    yield text("two")


@pytest.mark.parametrize(
    ("said", "ids", "usage"),
    [
        (plain, ["one"], Usage()),
        (yields, ["one", "two"], Usage()),
        (returns_effect, ["one"], Usage(7)),
        (says_nothing, [], Usage()),
        (awaits, ["one", "two"], Usage()),
        (yields_in_time, ["one", "two"], Usage()),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_a_function_may_return_yield_or_await_proposals(said: Suggestor, ids: list[str], usage: Usage) -> None:
    result = play(engine_of(said)).result
    assert refs(result) == [f"seeds/{id}" for id in ids]
    assert (result.cycles, result.usage) == (2 if ids else 1, usage + usage if ids else usage)


def test_the_name_is_the_functions_with_dashes() -> None:
    assert yields_in_time.name == "yields-in-time"


def test_a_callable_without_a_name_is_named_after_its_class() -> None:
    class Rule:
        def __call__(self, ctx: Context) -> AnyProposal:
            return text("one")

    assert suggestor(Rule()).name == "Rule"


def test_a_decorated_function_can_still_be_called() -> None:
    assert plain(ContextState()) == text("one")


def test_the_decorator_sets_what_a_class_would_declare() -> None:
    @suggestor(
        reads=[SEEDS, Invoice, (SIGNALS, Invoice)],
        writes=[SIGNALS, ContextKey.VOTES],
        name="rule",
        version="3",
        optional=True,
        replayability=Replayability.NONE,
        journal=False,
        accepts=lambda ctx: ctx.has(SEEDS),
    )
    def rule(ctx: Context) -> None:
        return None

    assert rule.dependencies == (SEEDS, Invoice, (SIGNALS, Invoice))
    assert rule.writes == (SIGNALS, ContextKey.VOTES)
    assert (rule.name, rule.version, rule.optional, rule.replayability, rule.journal) == (
        "rule",
        "3",
        True,
        "none",
        False,
    )
    assert rule.accepts(ContextState()) is False


@pytest.mark.parametrize("reads", [SEEDS, Invoice, (SEEDS, Invoice)], ids=["key", "class", "pair"])
def test_a_lone_selector_needs_no_brackets(reads: Any) -> None:
    assert suggestor(reads=reads)(lambda ctx: None).dependencies == (reads,)


@pytest.mark.parametrize(
    ("thing", "fits"),
    [
        (SEEDS, True),
        (Invoice, True),
        ((SEEDS, Invoice), True),
        ("seeds", False),
        (int, False),
        (FactPayload, False),
        ((Invoice, SEEDS), False),
        ((SEEDS, SIGNALS), False),
        ((SEEDS,), False),
        (None, False),
    ],
    ids=str,
)
def test_a_selector_is_a_key_a_payload_class_or_a_pair_of_both(thing: object, fits: bool) -> None:
    assert is_selector(thing) is fits


# --- effects ----------------------------------------------------------------------------------------------------------


def test_an_effect_holds_proposals_in_order_and_what_they_cost() -> None:
    assert AgentEffect.empty() == AgentEffect((), Usage())
    assert AgentEffect.with_proposal(text("a"), Usage(1)).proposals == (text("a"),)
    assert AgentEffect.with_proposals(iter([text("a"), text("b")])).proposals == (text("a"), text("b"))


@pytest.mark.parametrize(
    ("said", "proposals"), [(None, ()), (text("a"), (text("a"),)), ([text("a")], (text("a"),)), (AgentEffect(), ())]
)
def test_what_a_function_says_is_turned_into_an_effect(said: Any, proposals: tuple[AnyProposal, ...]) -> None:
    assert as_effect(said).proposals == proposals


# --- classes as suggestors --------------------------------------------------------------------------------------------


class Declared(Suggestor):
    name = "declared"
    dependencies = (SEEDS,)

    async def execute(self, ctx: Context) -> AgentEffect:
        return AgentEffect.with_proposals(text(fact.id, key=SIGNALS, evidence=[fact]) for fact in ctx.fresh(SEEDS))


def test_a_class_may_execute_asynchronously() -> None:
    result = play(engine_of(Declared()), seeded("a", "b")).result
    assert refs(result) == ["seeds/a", "seeds/b", "signals/a", "signals/b"]


def test_proposals_without_provenance_are_stamped_with_the_suggestors() -> None:
    class Model(Suggestor):
        name = "model"

        @property
        def provenance(self) -> str:
            return "model:large"

        def accepts(self, ctx: Context) -> bool:
            return ctx.version == 0

        def execute(self, ctx: Context) -> AgentEffect:
            return AgentEffect.with_proposals([text("a"), text("b", provenance="book:7")])

    facts = play(engine_of(Model())).result.context.get(SEEDS)
    assert [(fact.provenance, fact.proposer) for fact in facts] == [("model:large", "model"), ("book:7", "model")]


def test_a_suggestor_without_execute_fails_in_its_own_name() -> None:
    class Lazy(Suggestor):
        name = "lazy"

    result = play(engine_of(Lazy())).result
    assert str(result.stop_reason) == "Suggestor 'lazy' failed (raised): MisuseError: Lazy does not define execute()"


# --- registration -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", " ", None, 7, "a\nb", "x" * 129, "é" * 65, "\ud800"])
def test_a_suggestor_needs_a_name_that_can_be_shown(name: Any) -> None:
    rule = suggestor(lambda ctx: None)
    rule.name = name
    with pytest.raises(MisuseError, match="needs a name of 1 to 128 bytes"):
        engine_of(rule)


def test_a_name_is_taken_once() -> None:
    with pytest.raises(MisuseError, match="'plain' is registered already"):
        engine_of(plain, plain)


@pytest.mark.parametrize("name", ["input", "converge-engine", "human:ann", "system:clock", "suggestor:x"])
def test_nobody_may_pass_for_the_engine_the_inputs_or_a_person(name: str) -> None:
    with pytest.raises(MisuseError, match="reserved"):
        engine_of(suggestor(name=name)(lambda ctx: None))


@pytest.mark.parametrize("dependencies", [SEEDS, ["seeds"], [(SEEDS, SIGNALS)], [int], [Invoice, None]], ids=str)
def test_a_dependency_that_nothing_can_wake_is_refused(dependencies: Any) -> None:
    rule = Declared()
    rule.dependencies = dependencies
    engine = engine_of()
    with pytest.raises(MisuseError, match="'declared' depends on"):
        engine.register_suggestor(rule)
    assert play(engine, seeded("a")).result.cycles == 1, "nothing of it was registered"


def test_a_payload_class_that_is_read_is_known_to_the_engine() -> None:
    engine = engine_of(suggestor(reads=Invoice, name="a")(lambda ctx: None))
    assert engine.payloads.families()["test.invoice"] is Invoice


def test_a_configuration_that_is_not_json_is_refused() -> None:
    rule = Declared()
    rule.config = {"limit": object()}
    with pytest.raises(ValueError, match="object has no JSON form"):
        engine_of(rule)


def test_a_suggestor_writes_only_where_it_declares_to() -> None:
    @suggestor(reads=SEEDS, writes=SIGNALS)
    def rule(ctx: Context) -> Iterable[AnyProposal]:
        yield text("a", key=SIGNALS)
        yield text("b", key=ContextKey.VOTES)

    played = play(engine_of(rule), seeded("s"))
    assert refs(played.result) == ["seeds/s", "signals/a"]
    assert [(body["id"], body["code"]) for body in played.bodies("proposal_rejected")] == [("b", "undeclared_key")]


def test_a_suggestor_that_declares_nothing_may_write_anywhere() -> None:
    @suggestor(reads=SEEDS)
    def rule(ctx: Context) -> AnyProposal:
        return text("b", key=ContextKey.VOTES)

    assert play(engine_of(rule), seeded("s")).result.context.has(ContextKey.VOTES)


def test_execute_may_be_awaited_by_hand() -> None:
    said = Declared().execute(ContextState())
    assert isinstance(said, Awaitable)
    assert finish(said) == AgentEffect()


def test_text_payloads_need_no_registration() -> None:
    assert play(engine_of(plain)).result.context.get(TextPayload)[0].payload.text == "words"
