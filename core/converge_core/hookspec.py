"""The plugin contract, on one screen.

A plugin is a module or object that implements some of these hooks with ``hookimpl`` and is announced under the
entry-point group ``converge``. Each hook is given a registry to register with, and returns nothing. Order never
matters: what runs in which order is the intent's affair.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from converge_core.context.payloads import PayloadRegistry
    from converge_core.context.tensions import TensionDetector
    from converge_core.evals import Eval
    from converge_core.gates.flow import FlowGateAuthorizer
    from converge_core.gates.promotion import Check
    from converge_core.intent.criteria import CriterionEvaluator
    from converge_core.intent.truths import TruthCatalog
    from converge_core.invariants import InvariantCheck
    from converge_core.llm.backend import Backend
    from converge_core.ports import Command, Executor, Ledger, Observer
    from converge_core.suggestors.catalog import Catalog
    from converge_core.suggestors.contract import Suggestor
    from converge_core.validation import Validator

hookspec = pluggy.HookspecMarker("converge")
hookimpl = pluggy.HookimplMarker("converge")


@hookspec
def converge_register_suggestors(catalog: Catalog[Suggestor]) -> None:
    """Offer suggestors that an intent can ``use``."""


@hookspec
def converge_register_invariants(registry: Catalog[InvariantCheck]) -> None:
    """Offer invariants."""


@hookspec
def converge_register_gates(registry: Catalog[Check]) -> None:
    """Offer validation checks that a policy can require."""


@hookspec
def converge_register_payloads(registry: PayloadRegistry) -> None:
    """Register payload classes and the upcasters from their older versions."""


@hookspec
def converge_register_criteria(registry: Catalog[CriterionEvaluator]) -> None:
    """Offer evaluators of success criteria."""


@hookspec
def converge_register_evals(registry: Catalog[Eval]) -> None:
    """Offer evals, by which `converge eval` grades runs that have stopped."""


@hookspec
def converge_register_truths(registry: TruthCatalog) -> None:
    """Offer truths that an intent can uphold by name; see `TruthCatalog.define`."""


@hookspec
def converge_register_authorizers(registry: Catalog[FlowGateAuthorizer]) -> None:
    """Offer authorizers for a flow gate."""


@hookspec
def converge_register_detectors(registry: Catalog[TensionDetector]) -> None:
    """Offer detectors of tensions between facts."""


@hookspec
def converge_register_validators(registry: Catalog[Validator]) -> None:
    """Offer validators, which hold claims against the world, each with the strategy by which it looks."""


@hookspec
def converge_register_backends(registry: Catalog[Backend]) -> None:
    """Offer backends: language models that can be asked. The name of the site is the id of the backend's profile."""


@hookspec
def converge_register_ledgers(registry: Catalog[Ledger]) -> None:
    """Offer ledger stores, each named by the scheme of its URLs. The name of the site is the URL."""


@hookspec
def converge_register_executors(registry: Catalog[Executor]) -> None:
    """Offer executors for ``--executor``; a configuration may have the fields ``concurrency`` and ``time_limit_ms``."""


@hookspec
def converge_register_observers(registry: Catalog[Observer]) -> None:
    """Offer observers, which are told of every entry that ``converge run``, ``resume`` and ``fork`` record."""


@hookspec
def converge_register_commands(group: Catalog[Command]) -> None:
    """Add commands to ``converge``, each made by its factory: a click command. Built-in names are taken."""
