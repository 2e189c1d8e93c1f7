"""``python``: suggestors of one's own, found through the site and run by a real engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pluggy
import pytest
from pydantic import ValidationError

from converge_core import (
    AgentEffect,
    Catalog,
    Context,
    ContextKey,
    ContextState,
    DataPayload,
    Engine,
    IntentError,
    ProposedFact,
    Site,
    Suggestor,
    TextPayload,
    hookspec,
    suggestor,
)
from converge_core.ports import SOURCE_DIGEST
from converge_core.suggestors.catalog import Ports
from converge_plugins import python_code
from converge_plugins.python_code import PythonConfig, python_suggestor


class Echo(Suggestor):
    """A suggestor class with arguments."""

    dependencies = (ContextKey.SEEDS,)

    def __init__(self, prefix: str, times: int = 1) -> None:
        if times < 1:
            raise ValueError("an echo is heard at least once")
        self.name = "a name of its own"
        self.text = prefix * times

    def execute(self, ctx: Context) -> AgentEffect:
        return AgentEffect.with_proposal(ProposedFact(ContextKey.SIGNALS, self.name, TextPayload(text=self.text)))


class Stubborn(Suggestor):
    """A suggestor whose name cannot be set."""

    @property
    def name(self) -> str:  # type: ignore[override]  # the contract that this class breaks
        return "stubborn"


class NoSuggestor:
    """A class, but none to use here."""


@suggestor(reads=ContextKey.SEEDS, writes=ContextKey.SIGNALS)
def decorated(ctx: Context) -> ProposedFact[TextPayload]:
    return ProposedFact(ContextKey.SIGNALS, "decorated", TextPayload(text="decorated"))


def plain(ctx: Context) -> Iterator[ProposedFact[DataPayload]]:
    for fact in ctx.fresh(ContextKey.SEEDS):
        yield ProposedFact(ContextKey.SIGNALS, fact.id, DataPayload(data={"seen": fact.id}))


async def asynchronous(ctx: Context) -> AsyncIterator[ProposedFact[TextPayload]]:
    yield ProposedFact(ContextKey.SIGNALS, "asynchronous", TextPayload(text="asynchronous"))


def with_limit(ctx: Context, limit: int, label: str = "limit") -> ProposedFact[DataPayload]:
    return ProposedFact(ContextKey.SIGNALS, label, DataPayload(data={"limit": limit}))


NAMES: dict[str, Any] = {
    "own:Echo": Echo,
    "own:Stubborn": Stubborn,
    "own:NoSuggestor": NoSuggestor,
    "own:decorated": decorated,
    "own:plain": plain,
    "own:asynchronous": asynchronous,
    "own:with_limit": with_limit,
    "own:number": 3,
}


def load(text: str) -> Callable[..., Any]:
    """What the composition root does: find code by its name."""
    if text not in NAMES:
        raise LookupError(f"no {text.partition(':')[2]!r} in own.py")
    return NAMES[text]  # type: ignore[no-any-return]


def made(name: str, site: str = "mine", /, **config: object) -> Suggestor:
    return python_suggestor(PythonConfig.model_validate({"callable": name, **config}), Site(site, load))


def signals(*suggestors: Suggestor) -> dict[str, object]:
    """Run the suggestors on one seed; return the signals they lead to."""
    engine = Engine()
    for one in suggestors:
        engine.register_suggestor(one)
    result = asyncio.run(engine.run(ContextState().add_input(ContextKey.SEEDS, "s1", "a seed")))
    assert result.converged, result.stop_reason
    return {fact.id: fact.payload.body() for fact in result.context.get(ContextKey.SIGNALS)}


def fault(name: str, **config: object) -> tuple[str, str]:
    with pytest.raises(IntentError) as caught:
        made(name, "mine", **config)
    (problem,) = caught.value.problems
    return problem.path, problem.message


# What can be named.


def test_a_class_is_made_with_its_arguments() -> None:
    assert signals(made("own:Echo", "mine", **{"with": {"prefix": "ha", "times": 2}})) == {"mine": {"text": "haha"}}


def test_a_suggestor_is_taken_as_it_is() -> None:
    one = made("own:decorated")
    assert one.writes == (ContextKey.SIGNALS,)
    assert signals(one) == {"decorated": {"text": "decorated"}}


def test_a_suggestor_may_be_used_under_two_names() -> None:
    names = [made("own:decorated", site).name for site in ("one", "two")]
    assert names == ["one", "two"]
    assert decorated.name == "decorated"


def test_a_function_is_called_with_the_context() -> None:
    assert signals(made("own:plain", reads=["seeds"])) == {"s1": {"seen": "s1"}}


def test_a_function_may_be_asynchronous() -> None:
    assert signals(made("own:asynchronous", reads=["seeds"])) == {"asynchronous": {"text": "asynchronous"}}


def test_a_function_is_given_its_arguments() -> None:
    one = made("own:with_limit", "mine", **{"reads": ["seeds"], "with": {"limit": 5}})
    assert signals(one) == {"limit": {"limit": 5}}


def test_reads_say_what_wakes_a_function() -> None:
    assert signals(made("own:plain", reads=["votes"])) == {}


def test_writes_say_where_a_function_may_propose() -> None:
    assert signals(made("own:plain", reads=["seeds"], writes=["votes"])) == {}


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("own:Echo", {"with": {"prefix": "a"}}),
        ("own:decorated", {}),
        ("own:plain", {}),
        ("own:with_limit", {"with": {"limit": 1}}),
    ],
)
def test_whatever_it_is_it_has_the_name_and_the_configuration_of_its_site(name: str, config: dict[str, object]) -> None:
    one = made(name, "here", **config)
    assert one.name == one.provenance == "here"
    assert one.config == {"callable": name, "with": {}, "reads": [], "writes": [], **config}


def test_its_version_is_marked_with_a_hash_of_its_source() -> None:
    asked: list[str] = []

    def digest(reference: str) -> str:
        asked.append(reference)
        return "0123456789abcdef" * 4

    site = Site("here", load, Ports().offer(SOURCE_DIGEST, digest))
    config = PythonConfig.model_validate({"callable": "own:plain"})
    assert python_suggestor(config, site).version == "1+0123456789ab"
    assert asked == ["own:plain"]


def test_where_nobody_tells_the_source_the_version_is_the_declared_one() -> None:
    assert made("own:plain").version == "1"


# What cannot.


def test_a_name_that_is_not_there_is_refused() -> None:
    assert fault("own:missing") == ("callable", "no 'missing' in own.py")


def test_a_class_that_is_no_suggestor_is_refused() -> None:
    assert fault("own:NoSuggestor") == ("callable", "own:NoSuggestor is the class NoSuggestor, which is no Suggestor")


def test_what_cannot_be_called_is_refused() -> None:
    assert fault("own:number") == ("callable", "own:number is neither a Suggestor nor a function, but 3")


def test_a_suggestor_that_cannot_be_named_is_refused() -> None:
    place, message = fault("own:Stubborn")
    assert place == "callable"
    assert message.startswith("own:Stubborn: `name`, `config` and `version` of a suggestor are set")


@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("own:Echo", {}, "does not take these keyword arguments: missing a required argument: 'prefix'"),
        ("own:Echo", {"prefix": "a", "loud": True}, "does not take these keyword arguments: got an unexpected"),
        ("own:with_limit", {}, "does not take the context and these keyword arguments: missing a required"),
        ("own:plain", {"limit": 1}, "does not take the context and these keyword arguments: got an unexpected"),
        ("own:with_limit", {"limit": 1, "ctx": 2}, "multiple values for argument 'ctx'"),
        ("own:Echo", {"prefix": "a", "times": 0}, "cannot be made: ValueError: an echo is heard at least once"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_at_once(name: str, arguments: dict[str, object], reason: str) -> None:
    place, message = fault(name, **{"with": arguments})
    assert place == "with"
    assert reason in message


@pytest.mark.parametrize(
    ("name", "config", "option"),
    [
        ("own:decorated", {"with": {"limit": 1}}, "with"),
        ("own:decorated", {"reads": ["seeds"]}, "reads"),
        ("own:decorated", {"writes": ["seeds"]}, "writes"),
        ("own:Echo", {"with": {"prefix": "a"}, "reads": ["seeds"]}, "reads"),
        ("own:Echo", {"with": {"prefix": "a"}, "writes": ["seeds"]}, "writes"),
    ],
)
def test_an_option_without_effect_is_refused(name: str, config: dict[str, object], option: str) -> None:
    place, message = fault(name, **config)
    assert place == option
    assert f"takes no `{option}`" in message


@pytest.mark.parametrize("name", ["own", "own:", ":plain", "own:plain:again"])
def test_code_is_named_by_module_and_name(name: str) -> None:
    with pytest.raises(ValidationError) as caught:
        made(name)
    assert [fault["loc"] for fault in caught.value.errors()] == [("callable",)]


# The plugin.


def test_the_plugin_offers_the_suggestor() -> None:
    manager = pluggy.PluginManager("converge")
    manager.add_hookspecs(hookspec)
    manager.register(python_code)
    manager.check_pending()
    catalog = Catalog[Suggestor]("suggestor")
    manager.hook.converge_register_suggestors(catalog=catalog)
    assert [(entry.name, entry.config) for entry in catalog] == [("python", PythonConfig)]
