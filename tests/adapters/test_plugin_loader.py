"""Loading plugins: each by itself, in the order of names; a broken one costs itself and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import BaseModel

from converge_adapters.plugin_loader import LoadedPlugin, Offers, load_plugins
from converge_core import Catalog, FactPayload, PayloadRegistry, PluginError, Site, Suggestor, hookimpl, hookspec
from converge_core.hookspec import hookspec as hookspec_marker
from converge_core.suggestors import SeedSuggestor


def _seed(config: BaseModel, site: Site) -> Suggestor:
    return SeedSuggestor(site.name, "seed")


class Offering:
    """A plugin that offers one suggestor."""

    def __init__(self, name: str) -> None:
        self._name = name

    @hookimpl
    def converge_register_suggestors(self, catalog: Catalog[Suggestor]) -> None:
        catalog.add(self._name, _seed)


class Raising(Offering):
    """A plugin that fails when it has offered something already."""

    def __init__(self, name: str, error: BaseException) -> None:
        super().__init__(name)
        self._error = error

    @hookimpl
    def converge_register_suggestors(self, catalog: Catalog[Suggestor]) -> None:
        super().converge_register_suggestors(catalog)
        raise self._error


class Mistyped:
    """A plugin for a hook that there is not."""

    @hookimpl
    def converge_register_suggesters(self, catalog: Catalog[Suggestor]) -> None:
        raise AssertionError("nobody calls it")


class Misnaming:
    """A plugin with an argument that its hook does not give."""

    @hookimpl
    def converge_register_suggestors(self, registry: Catalog[Suggestor]) -> None:
        raise AssertionError("nobody calls it")


def _load(**plugins: object) -> Offers:
    return load_plugins({name: partial(_same, plugin) for name, plugin in plugins.items()}, installed=())


def _same(plugin: object) -> object:
    return plugin


def _names(offers: Offers) -> list[str]:
    return [entry.name for entry in offers.suggestors]


def test_a_plugin_is_loaded_with_what_it_offers() -> None:
    offers = _load(acme=Offering("acme.seed"))
    assert offers.plugins == [LoadedPlugin("acme", "built-in", ("converge_register_suggestors",), "loaded")]
    assert [(entry.name, entry.plugin) for entry in offers.suggestors] == [("acme.seed", "acme")]


@pytest.mark.parametrize(
    ("plugin", "reason"),
    [
        (Raising("bad.seed", RuntimeError("no")), "RuntimeError: no"),
        (Raising("bad.seed", SystemExit(3)), "SystemExit: 3"),
        (Raising("bad.seed", PluginError("another", "a reason")), "a reason"),
        (Offering("good.seed"), "suggestor 'good.seed' is offered already, by good"),
        (Mistyped(), "unknown hook 'converge_register_suggesters'"),
        (Misnaming(), "Argument(s) {'registry'} are declared in the hookimpl but can not be found in the hookspec"),
        (object(), "implements no hook of Converge"),
    ],
)
def test_a_broken_plugin_is_reported_and_costs_nothing_else(plugin: object, reason: str) -> None:
    offers = _load(good=Offering("good.seed"), bad=plugin, late=Offering("late.seed"))
    good, bad, late = offers.plugins
    assert (good.state, bad.name, bad.state, late.state) == ("loaded", "bad", "failed", "loaded")
    assert reason in str(bad.error)
    assert _names(offers) == ["good.seed", "late.seed"]


def test_a_plugin_that_cannot_be_imported_is_reported() -> None:
    def get() -> object:
        raise ImportError("no module named 'gone'")

    [plugin] = load_plugins({"gone": get}, installed=()).plugins
    assert (plugin.state, plugin.error) == ("failed", "ImportError: no module named 'gone'")


def test_strictly_the_first_failure_is_raised_under_the_name_of_the_plugin() -> None:
    with pytest.raises(PluginError, match=r"^plugin 'bad': RuntimeError: no$"):
        load_plugins({"bad": lambda: Raising("x", RuntimeError("no"))}, installed=(), strict=True)


def test_an_interrupt_is_nobodys_fault() -> None:
    with pytest.raises(KeyboardInterrupt):
        _load(slow=Raising("x", KeyboardInterrupt()))


def test_every_hook_has_a_registry() -> None:
    offers = Offers()
    hooks = [name for name, hook in vars(hookspec).items() if hasattr(hook, f"{hookspec_marker.project_name}_spec")]
    assert len(hooks) > 5
    assert all(offers.registry_of(hook) is not None for hook in hooks)


def test_the_checks_of_the_core_are_on_offer_and_their_names_taken() -> None:
    class Checks:
        @hookimpl
        def converge_register_gates(self, registry: Catalog[object]) -> None:
            registry.add("has_evidence", lambda config, site: None)

    [plugin] = (offers := _load(checks=Checks())).plugins
    assert plugin.error == "check 'has_evidence' is offered already, by converge"
    assert [entry.name for entry in offers.gates] == ["has_evidence", "evidence_exists"]


def test_a_plugin_registers_payloads() -> None:
    class Invoice(FactPayload):
        family: ClassVar[str] = "acme.invoice"
        amount: int

    class Payloads:
        @hookimpl
        def converge_register_payloads(self, registry: PayloadRegistry) -> None:
            registry.register(Invoice)

    assert _load(acme=Payloads()).payloads.families()["acme.invoice"] is Invoice


# Installed plugins.

MODULE = """\
from converge_core import hookimpl
from converge_core.suggestors import SeedSuggestor

@hookimpl
def converge_register_suggestors(catalog):
    catalog.add("NAME", lambda config, site: SeedSuggestor(site.name, "seed"))
"""

Install = Callable[[str, str], EntryPoint]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Return a way to write a module and the entry point that announces it."""
    monkeypatch.syspath_prepend(tmp_path)
    modules: list[str] = []

    def write(name: str, source: str) -> EntryPoint:
        module = f"loader_test_{len(modules)}_{tmp_path.name.replace('-', '_')}"
        (tmp_path / f"{module}.py").write_text(source, encoding="utf-8")
        modules.append(module)
        return EntryPoint(name, module, "converge")

    yield write
    for module in modules:
        sys.modules.pop(module, None)


def test_installed_plugins_are_loaded_in_the_order_of_their_names(install: Install) -> None:
    points = [install(name, MODULE.replace("NAME", name)) for name in ("zeta", "alpha")]
    offers = load_plugins({"own": lambda: Offering("own")}, installed=points)
    assert _names(offers) == ["own", "alpha", "zeta"]
    assert [plugin.version for plugin in offers.plugins] == ["built-in", "?", "?"]


def test_only_the_plugins_that_are_named_are_loaded(install: Install) -> None:
    points = [install(name, MODULE.replace("NAME", name)) for name in ("alpha", "beta")]
    offers = load_plugins({}, installed=points, only=frozenset({"beta"}))
    assert [(plugin.name, plugin.state) for plugin in offers.plugins] == [("alpha", "blocked"), ("beta", "loaded")]
    assert _names(offers) == ["beta"]


def test_a_plugin_that_is_blocked_is_not_even_imported(install: Install) -> None:
    point = install("loud", "raise RuntimeError('imported')")
    [plugin] = load_plugins({}, installed=[point], only=frozenset()).plugins
    assert (plugin.state, plugin.error) == ("blocked", None)


@pytest.mark.parametrize("source", ["raise SystemExit(3)", "def broken(:", "import no_such_module"])
def test_a_module_that_cannot_be_imported_costs_itself(install: Install, source: str) -> None:
    points = [install("bad", source), install("good", MODULE.replace("NAME", "good"))]
    offers = load_plugins({}, installed=points)
    assert [(plugin.name, plugin.state) for plugin in offers.plugins] == [("bad", "failed"), ("good", "loaded")]


def test_of_two_plugins_of_one_name_the_first_stays(install: Install) -> None:
    points = [install("acme", MODULE.replace("NAME", "first")), install("acme", MODULE.replace("NAME", "second"))]
    offers = load_plugins({}, installed=points)
    assert [plugin.state for plugin in offers.plugins] == ["loaded", "failed"]
    assert offers.plugins[1].error == "another plugin of this name is loaded already"
    assert _names(offers) == ["first"]


def test_a_plugin_cannot_take_the_place_of_a_built_in_one(install: Install) -> None:
    point = install("own", MODULE.replace("NAME", "intruder"))
    assert _names(load_plugins({"own": lambda: Offering("own")}, installed=[point])) == ["own"]
