"""The rules as a plugin: what it offers, and what loading it costs."""

from __future__ import annotations

import subprocess
import sys

import pluggy
import pytest

from converge_core import Catalog, CriterionEvaluator, Suggestor, hookspec
from converge_core.invariants import InvariantCheck
from converge_plugins import rules
from converge_plugins.rules.conditions import CriterionConfig, InvariantConfig
from converge_plugins.rules.suggestor import RuleConfig


@pytest.fixture
def plugins() -> pluggy.PluginManager:
    manager = pluggy.PluginManager("converge")
    manager.add_hookspecs(hookspec)
    manager.register(rules)
    manager.check_pending()
    return manager


def test_it_offers_a_suggestor(plugins: pluggy.PluginManager) -> None:
    catalog = Catalog[Suggestor]("suggestor")
    plugins.hook.converge_register_suggestors(catalog=catalog)
    assert [(entry.name, entry.config) for entry in catalog] == [("rules.cel", RuleConfig)]


def test_it_offers_an_invariant(plugins: pluggy.PluginManager) -> None:
    registry = Catalog[InvariantCheck]("invariant")
    plugins.hook.converge_register_invariants(registry=registry)
    assert [(entry.name, entry.config) for entry in registry] == [("cel", InvariantConfig)]


def test_it_offers_a_criterion(plugins: pluggy.PluginManager) -> None:
    registry = Catalog[CriterionEvaluator]("criterion")
    plugins.hook.converge_register_criteria(registry=registry)
    assert [(entry.name, entry.config) for entry in registry] == [("cel", CriterionConfig)]


def test_loading_it_does_not_load_the_library() -> None:
    code = (
        "import sys; sys.path[:] = sys.argv[1].split('|'); import converge_plugins.rules; print('cel' in sys.modules)"
    )
    command = [sys.executable, "-c", code, "|".join(sys.path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"
