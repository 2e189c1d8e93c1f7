"""Optimisation packs: solvers as suggestors, whose plans are checked before anybody relies on them.

A `Pack` knows one class of problems: the payload that states one, the payload of a plan, a solver, and the invariants
by which a plan is judged without asking the solver. A `PackSuggestor` puts it to work. Nothing about a solve is lost:
infeasible, cut off by a limit, turned away by an invariant: each is a fact with its reason code.
"""

from converge_core.packs.contract import (
    Pack,
    PlanEvaluation,
    PlanInvariant,
    PlanVerdict,
    default_gate_evaluation,
    examine_plan,
)
from converge_core.packs.limits import DeterminismSpec, SolveBudgets
from converge_core.packs.payloads import (
    GAP_DIGITS,
    Finding,
    PackInput,
    PackOutcome,
    PackPlan,
    Severity,
    SolverReport,
    SolverStop,
)
from converge_core.packs.suggestor import PackSuggestor

__all__ = [
    "GAP_DIGITS",
    "DeterminismSpec",
    "Finding",
    "Pack",
    "PackInput",
    "PackOutcome",
    "PackPlan",
    "PackSuggestor",
    "PlanEvaluation",
    "PlanInvariant",
    "PlanVerdict",
    "Severity",
    "SolveBudgets",
    "SolverReport",
    "SolverStop",
    "default_gate_evaluation",
    "examine_plan",
]
