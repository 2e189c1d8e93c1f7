"""The solvers as a plugin: what it offers, and a run from an intent's words to a plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pluggy
import pytest
from pydantic import ValidationError

from converge_core import (
    Catalog,
    ContextKey,
    ContextState,
    Engine,
    FactPayload,
    PayloadRegistry,
    ProposedFact,
    Replayability,
    Site,
    Suggestor,
    hookspec,
)
from converge_core.gates.stop import SuggestorFailed
from converge_core.packs import PackInput, PackOutcome
from converge_plugins import solvers
from converge_plugins.solvers.assignment import AssignmentPlan, AssignmentProblem, Pair
from converge_plugins.solvers.jobs import Job, SchedulePlan, ScheduleProblem
from converge_plugins.solvers.knapsack import KnapsackItem, KnapsackPlan, KnapsackProblem
from tests.core.stage import play

PAIRING = AssignmentProblem(lefts=("a",), rights=("v",), pairs=(Pair("a", "v", 3),))
CHOICE = KnapsackProblem(items=(KnapsackItem(id="a", value=3),), limits={})
WORK = ScheduleProblem(machines=("m",), jobs=(Job(id="a", duration=3),))


def no_code(text: str) -> Callable[..., object]:
    raise LookupError(text)


def suggestor(use: str, config: Mapping[str, object]) -> Suggestor:
    """What an intent gets for ``use`` and ``with``."""
    catalog: Catalog[Suggestor] = Catalog("suggestor")
    solvers.converge_register_suggestors(catalog)
    entry = catalog.find(use)
    return entry.factory(entry.config.model_validate(config), Site("solver", no_code))


def stage(payload: FactPayload, key: ContextKey = ContextKey.SEEDS) -> ContextState:
    return ContextState().add_proposal(ProposedFact(key, "p", payload))


def engine(one: Suggestor) -> Engine:
    made = Engine()
    made.register_suggestor(one)
    return made


def test_the_hooks_are_those_of_the_contract() -> None:
    manager = pluggy.PluginManager("converge")
    manager.add_hookspecs(hookspec)
    manager.register(solvers)
    manager.check_pending()


def test_problems_plans_and_outcomes_can_be_read_from_a_ledger() -> None:
    registry = PayloadRegistry()
    solvers.converge_register_payloads(registry)
    known = set(registry.families().values())
    assert known >= {
        *(PackInput, PackOutcome),
        *(AssignmentProblem, AssignmentPlan),
        *(KnapsackProblem, KnapsackPlan),
        *(ScheduleProblem, SchedulePlan),
    }


@pytest.mark.parametrize(
    ("use", "problem", "plan"),
    [
        ("solve.assignment", PAIRING, AssignmentPlan),
        ("solve.knapsack", CHOICE, KnapsackPlan),
        ("solve.schedule", WORK, SchedulePlan),
    ],
)
def test_a_problem_becomes_a_plan(use: str, problem: FactPayload, plan: type[FactPayload]) -> None:
    result = play(engine(suggestor(use, {})), stage(problem)).result
    (fact,) = result.context.get(ContextKey.STRATEGIES, plan)
    assert (fact.id, fact.confidence, fact.evidence) == ("solver:p", 1.0, ("seeds/p",))


@pytest.mark.parametrize("use", ["solve.assignment", "solve.knapsack", "solve.schedule"])
def test_the_configuration_says_where_from_where_to_and_how_long(use: str) -> None:
    config = {
        "for_each": "signals",
        "key": "proposals",
        "outcomes": "diagnostic",
        "budgets": {"time_limit": 2.5, "candidate_cap": 7},
    }
    made = suggestor(use, config)
    assert {key for key, _ in made.dependencies} == {ContextKey.SIGNALS}  # type: ignore[misc]  # pairs, as these are
    assert set(made.writes) == {ContextKey.PROPOSALS, ContextKey.DIAGNOSTIC}
    assert isinstance(made.config, dict)
    assert made.config["pack"] == use
    assert made.config["budgets"] == {"time_limit": 2.5, "iteration_limit": 100_000, "candidate_cap": 7}
    assert made.config["settings"]["for_each"] == "signals"


@pytest.mark.parametrize("config", [{"seed": 3}, {"budgets": {"time_limit": 0}}, {"max_gap": -1}])
def test_a_configuration_that_makes_no_sense_is_refused(config: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        suggestor("solve.knapsack", config)


def test_only_what_no_time_limit_can_change_is_executed_again_by_a_replay() -> None:
    made = {use: suggestor(use, {}).replayability for use in ("solve.assignment", "solve.knapsack", "solve.schedule")}
    assert made == {
        "solve.assignment": Replayability.DETERMINISTIC,
        "solve.knapsack": Replayability.BEST_EFFORT,
        "solve.schedule": Replayability.BEST_EFFORT,
    }


def test_a_problem_stated_as_free_json_that_is_none_fails_visibly() -> None:
    stated = PackInput(pack="solve.assignment", inputs={"lefts": ["a"]})
    reason = play(engine(suggestor("solve.assignment", {})), stage(stated)).result.stop_reason
    assert isinstance(reason, SuggestorFailed)
    assert "rights: Field required; pairs: Field required" in reason.message


def test_the_same_facts_follow_from_problems_with_their_rows_in_another_order() -> None:
    def plan_of(lefts: str, rights: str) -> FactPayload:
        pairs = tuple(Pair(left, right, 1) for left in lefts for right in rights)
        stated = AssignmentProblem(lefts=tuple(lefts), rights=tuple(rights), pairs=pairs)
        result = play(engine(suggestor("solve.assignment", {})), stage(stated)).result
        return result.context.get(ContextKey.STRATEGIES)[0].payload

    assert plan_of("abc", "vwx").model_dump_json() == plan_of("cba", "xvw").model_dump_json()
