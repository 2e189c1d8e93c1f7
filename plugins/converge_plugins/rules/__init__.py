"""Rules as configuration, in CEL (https://cel.dev): suggestors, invariants, success criteria, evals, and detectors of
tensions.
"""

from __future__ import annotations

from converge_core import Catalog, CriterionEvaluator, Eval, Suggestor, hookimpl
from converge_core.context.tensions import TensionDetector
from converge_core.invariants import InvariantCheck
from converge_plugins.rules.conditions import (
    CelCriterion,
    CelEval,
    CelInvariant,
    CriterionConfig,
    EvalConfig,
    InvariantConfig,
)
from converge_plugins.rules.suggestor import CelRule, RuleConfig
from converge_plugins.rules.tensions import CelDetector, DetectorConfig


@hookimpl
def converge_register_suggestors(catalog: Catalog[Suggestor]) -> None:
    """Offer ``rules.cel``."""
    catalog.add("rules.cel", CelRule, RuleConfig, "Proposes for each new fact that meets a condition, in CEL.")


@hookimpl
def converge_register_invariants(registry: Catalog[InvariantCheck]) -> None:
    """Offer ``cel``."""
    registry.add("cel", CelInvariant, InvariantConfig, "A CEL expression that must be true.")


@hookimpl
def converge_register_criteria(registry: Catalog[CriterionEvaluator]) -> None:
    """Offer ``cel``."""
    registry.add("cel", CelCriterion, CriterionConfig, "A CEL expression that is true of a success.")


@hookimpl
def converge_register_evals(registry: Catalog[Eval]) -> None:
    """Offer ``cel``."""
    registry.add("cel", CelEval, EvalConfig, "A CEL expression that is true of a run that did well.")


@hookimpl
def converge_register_detectors(registry: Catalog[TensionDetector]) -> None:
    """Offer ``cel``."""
    registry.add("cel", CelDetector, DetectorConfig, "A CEL expression that is true of two facts in conflict.")
