"""Loading plugins, one by one, so that a broken one costs itself and nothing else.

pluggy's own loader dies of the first bad entry point, and calls hooks in an order of its own; here each plugin is
loaded, validated and asked by itself, in the order of names, and whatever it does wrong is reported under its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from inspect import cleandoc
from typing import Any

import pluggy

from converge_core import hookspec
from converge_core.context.payloads import PayloadRegistry
from converge_core.context.tensions import TensionDetector
from converge_core.errors import PluginError
from converge_core.evals import Eval
from converge_core.gates.checks import BUILTIN_CHECKS
from converge_core.gates.flow import (
    AllowAllFlowGateAuthorizer,
    FlowGateAuthorizer,
    RejectAllFlowGateAuthorizer,
)
from converge_core.gates.promotion import Check
from converge_core.intent.criteria import CriterionEvaluator
from converge_core.intent.truths import TruthCatalog
from converge_core.invariants import InvariantCheck
from converge_core.llm.backend import Backend
from converge_core.ports import Command, Executor, Ledger, Observer
from converge_core.suggestors.catalog import Catalog
from converge_core.suggestors.contract import Suggestor
from converge_core.validation import Validator

GROUP = "converge"


def _checks() -> Catalog[Check]:
    """Return the catalog of checks with those of the core, which every policy can require."""
    catalog: Catalog[Check] = Catalog("check")
    for name, check in BUILTIN_CHECKS.items():
        catalog.add(name, lambda _config, _site, check=check: check, summary=cleandoc(check.__doc__ or ""))
    return catalog


def _authorizers() -> Catalog[FlowGateAuthorizer]:
    """Return the catalog of authorizers with those of the core."""
    catalog: Catalog[FlowGateAuthorizer] = Catalog("authorizer")
    for made in (AllowAllFlowGateAuthorizer, RejectAllFlowGateAuthorizer):
        catalog.add(made.name, lambda _config, _site, made=made: made(), summary=cleandoc(made.__doc__ or ""))
    return catalog


@dataclass(frozen=True, slots=True)
class LoadedPlugin:
    """A plugin and how it fared: ``state`` is ``loaded``, ``failed`` or ``blocked``; ``error`` says why it failed."""

    name: str
    version: str
    hooks: tuple[str, ...]
    state: str
    error: str | None = None


@dataclass(slots=True)
class Offers:
    """Everything that the loaded plugins offer."""

    suggestors: Catalog[Suggestor] = field(default_factory=lambda: Catalog("suggestor"))
    invariants: Catalog[InvariantCheck] = field(default_factory=lambda: Catalog("invariant"))
    gates: Catalog[Check] = field(default_factory=_checks)
    criteria: Catalog[CriterionEvaluator] = field(default_factory=lambda: Catalog("criterion"))
    evals: Catalog[Eval] = field(default_factory=lambda: Catalog("eval"))
    truths: TruthCatalog = field(default_factory=TruthCatalog)
    authorizers: Catalog[FlowGateAuthorizer] = field(default_factory=_authorizers)
    detectors: Catalog[TensionDetector] = field(default_factory=lambda: Catalog("detector"))
    validators: Catalog[Validator] = field(default_factory=lambda: Catalog("validator"))
    backends: Catalog[Backend] = field(default_factory=lambda: Catalog("backend"))
    ledgers: Catalog[Ledger] = field(default_factory=lambda: Catalog("ledger"))
    executors: Catalog[Executor] = field(default_factory=lambda: Catalog("executor"))
    observers: Catalog[Observer] = field(default_factory=lambda: Catalog("observer"))
    commands: Catalog[Command] = field(default_factory=lambda: Catalog("command"))
    payloads: PayloadRegistry = field(default_factory=PayloadRegistry)
    plugins: list[LoadedPlugin] = field(default_factory=list)

    def catalogs(self) -> tuple[Catalog[Any], ...]:
        """Return the catalogs, without the payload registry."""
        return (
            self.suggestors,
            self.invariants,
            self.gates,
            self.criteria,
            self.evals,
            self.truths,
            self.authorizers,
            self.detectors,
            self.validators,
            self.backends,
            self.ledgers,
            self.executors,
            self.observers,
            self.commands,
        )

    def registry_of(self, hook: str) -> object:
        """Return what a hook registers with."""
        return getattr(self, hook.removeprefix("converge_register_"))


def load_plugins(
    builtin: Mapping[str, Callable[[], object]],
    *,
    installed: Iterable[EntryPoint] | None = None,
    only: frozenset[str] | None = None,
    strict: bool = False,
) -> Offers:
    """Load the built-in plugins and the installed ones; a failure is kept in ``Offers.plugins``.

    ``installed`` are the entry points to load (None: all of the group ``converge``), of which ``only`` restricts the
    names. With ``strict``, the first failure raises PluginError.
    """
    offers = Offers()
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspec)
    for name, get in builtin.items():
        _load(manager, offers, name, "built-in", get, strict)
    found = entry_points(group=GROUP) if installed is None else installed
    for point in sorted(found, key=lambda point: point.name):
        version = _version(point)
        if only is not None and point.name not in only:
            offers.plugins.append(LoadedPlugin(point.name, version, (), "blocked"))
        else:
            _load(manager, offers, point.name, version, point.load, strict)
    return offers


def _version(point: EntryPoint) -> str:
    """Return the version of the distribution that announces an entry point; what has lost its metadata has none."""
    try:
        return str(point.dist.version) if point.dist is not None else "?"
    except Exception:
        return "?"


def _load(
    manager: pluggy.PluginManager, offers: Offers, name: str, version: str, get: Callable[[], object], strict: bool
) -> None:
    hooks: tuple[str, ...] = ()
    taken = manager.has_plugin(name)
    try:
        if taken:
            raise PluginError(name, "another plugin of this name is loaded already")
        plugin = get()
        manager.register(plugin, name)
        manager.check_pending()
        hooks = tuple(sorted(caller.name for caller in manager.get_hookcallers(plugin) or ()))
        if not hooks:
            raise PluginError(name, "implements no hook of Converge")
        for hook in hooks:
            _register(manager, offers, name, hook)
    except (Exception, SystemExit) as error:  # whatever a plugin does when it is loaded stays with it
        if not taken:
            _withdraw(manager, offers, name)
        reason = error.reason if isinstance(error, PluginError) else f"{type(error).__name__}: {error}"
        if strict:
            raise PluginError(name, reason) from error
        offers.plugins.append(LoadedPlugin(name, version, hooks, "failed", reason))
    else:
        offers.plugins.append(LoadedPlugin(name, version, hooks, "loaded"))


def _withdraw(manager: pluggy.PluginManager, offers: Offers, name: str) -> None:
    if manager.has_plugin(name):
        manager.unregister(name=name)
    for catalog in offers.catalogs():
        catalog.withdraw(name)


def _register(manager: pluggy.PluginManager, offers: Offers, name: str, hook: str) -> None:
    """Call one plugin's implementation of one hook, with the registry it asks for."""
    registry = offers.registry_of(hook)
    if isinstance(registry, Catalog):
        registry.plugin = name
    for implementation in getattr(manager.hook, hook).get_hookimpls():
        if implementation.plugin_name == name:
            implementation.function(*[registry for _ in implementation.argnames])
