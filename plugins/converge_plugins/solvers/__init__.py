"""Solvers on scipy (the extra ``solvers``): assignment, budget allocation, scheduling, as packs of the core.

Quantities are whole numbers, so sums are exact and a tie is a tie; ties are broken by name, so the order of a problem's
rows does not matter; and what a solver answers is checked again by invariants that do not know how it was found.
"""

from __future__ import annotations

from converge_core import Catalog, PayloadRegistry, Suggestor, hookimpl
from converge_core.packs import PackInput, PackOutcome
from converge_plugins.solvers.assignment import AssignmentConfig, AssignmentPack, assignment_suggestor
from converge_plugins.solvers.knapsack import KnapsackConfig, KnapsackPack, knapsack_suggestor
from converge_plugins.solvers.schedule import ScheduleConfig, SchedulePack, schedule_suggestor


@hookimpl
def converge_register_suggestors(catalog: Catalog[Suggestor]) -> None:
    """Offer ``solve.assignment``, ``solve.knapsack`` and ``solve.schedule``."""
    catalog.add("solve.assignment", assignment_suggestor, AssignmentConfig, "Pairs two sides at the least cost.")
    catalog.add("solve.knapsack", knapsack_suggestor, KnapsackConfig, "Chooses the most valuable items within limits.")
    catalog.add("solve.schedule", schedule_suggestor, ScheduleConfig, "Schedules jobs on machines that are alike.")


@hookimpl
def converge_register_payloads(registry: PayloadRegistry) -> None:
    """Register problems, plans and outcomes."""
    registry.register(PackInput)
    registry.register(PackOutcome)
    for pack in (AssignmentPack, KnapsackPack, SchedulePack):
        registry.register(pack.problem)
        registry.register(pack.plan)
