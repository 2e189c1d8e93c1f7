"""``evals``: a run that is graded as it goes on, by evals that plugins offer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pluggy
import pytest
from pydantic import ValidationError

from converge_core import (
    Catalog,
    ContextKey,
    Eval,
    EvalSuggestor,
    IntentError,
    Problem,
    Site,
    Suggestor,
    hookspec,
)
from converge_core.evals import EvalFact
from converge_core.intent.sections import EvalSection
from converge_core.ports import EVALS
from converge_core.suggestors.catalog import Ports
from converge_plugins import evals
from converge_plugins.evals import EvalsConfig, evals_suggestor
from converge_plugins.rules.conditions import CelEval, EvalConfig
from tests.core.stage import SEEDS, SIGNALS, Says, engine_of, play, seeded, text

ALL = {"name": "all", "cel": "size(signals) >= size(seeds)"}
SHARE = {
    "name": "share",
    "cel": "true",
    "score": "double(signals.filter(s, s.text == 'sure').size()) / double(size(seeds))",
}


def no_code(text: str) -> Callable[..., object]:
    raise LookupError(text)


def make(section: EvalSection) -> Eval:
    """Make an eval in CEL, as the command line does."""
    if section.cel == "bad":
        raise IntentError((Problem("cel", "no such thing"), Problem("score", "nor this")))
    config = EvalConfig.model_validate({"expression": section.cel, "score": section.score})
    return CelEval(config, Site(section.name, no_code))


def suggestor(*sections: dict[str, Any], ports: Ports | None = None) -> EvalSuggestor:
    config = EvalsConfig.model_validate({"evals": sections})
    return evals_suggestor(config, Site("grades", no_code, ports or Ports().offer(EVALS, make)))


def test_a_run_is_graded_as_it_goes_on_and_the_outcomes_are_its_facts() -> None:
    echo = Says("echo", text("x", "sure", SIGNALS), reads=[SEEDS])
    context = play(engine_of(echo, suggestor(ALL, SHARE)), seeded("s")).result.context
    told = [(fact.payload.eval, fact.payload.outcome.value, fact.payload.score) for fact in context.get(EvalFact)]
    assert told == [("all", "fail", 0.0), ("share", "pass", 0.0), ("all", "pass", 1.0), ("share", "pass", 1.0)]


def test_it_bears_the_name_it_is_given_and_writes_evaluations() -> None:
    grades = suggestor(ALL)
    assert (grades.name, grades.writes) == ("grades", (ContextKey.EVALUATIONS,))


def test_its_configuration_is_part_of_what_the_ledger_keeps() -> None:
    config = suggestor(ALL).config
    assert isinstance(config, dict)
    assert config != suggestor({**ALL, "cel": "true"}).config
    assert "cel" in str(config)


def test_every_fault_of_every_eval_is_told_with_its_place() -> None:
    with pytest.raises(IntentError) as caught:
        suggestor({"name": "a", "cel": "bad"}, ALL, ALL, {"name": "b", "cel": "bad"})
    told = [(problem.path, problem.message) for problem in caught.value.problems]
    assert [path for path, _ in told] == [
        "evals.0.cel",
        "evals.0.score",
        "evals.2.name",
        "evals.3.cel",
        "evals.3.score",
    ]
    assert "registered already" in told[2][1]


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"evals": []},
        {"evals": [{"name": "a"}]},
        {"evals": [{"cel": "true"}]},
        {"evals": [{"name": "a", "cel": "true", "use": "cel"}]},
        {"evals": [{"name": "a", "use": "cel", "score": "1.0"}]},
        {"evals": [{"name": "a", "use": "cel", "evidence": "[]"}]},
        {"evals": [{"name": "a", "cel": "true", "with": {"x": 1}}]},
        {"evals": [ALL], "when": "later"},
    ],
)
def test_a_configuration_that_grades_nothing_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        EvalsConfig.model_validate(config)


def test_where_no_evals_can_be_made_it_cannot_be_used() -> None:
    with pytest.raises(LookupError, match="the port 'evals' is not offered"):
        suggestor(ALL, ports=Ports())


def test_it_is_offered_as_evals() -> None:
    manager = pluggy.PluginManager("converge")
    manager.add_hookspecs(hookspec)
    manager.register(evals)
    catalog = Catalog[Suggestor]("suggestor")
    manager.hook.converge_register_suggestors(catalog=catalog)
    assert [(entry.name, entry.config) for entry in catalog] == [("evals", EvalsConfig)]
