"""``evals``: grade a run as it goes on. The outcomes are facts under ``evaluations``.

    use: evals
    with:
      evals:
        - {name: all-decided, cel: "size(strategies) >= size(seeds)"}
        - {name: sure, cel: "true", score: "double(strategies.filter(s, s.sure).size()) / double(size(strategies))"}

An eval is asked at the beginning, and again when something that it reads is new; what it says is proposed where it is
not what it said last: the last outcome of an eval is the one that counts. Outcomes are judged by the gates as every
proposal is, and seen by whoever reads ``evaluations``. To grade a run without touching it, there is ``converge eval``.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from converge_core import (
    Catalog,
    EvalRegistry,
    EvalSuggestor,
    IntentError,
    MisuseError,
    Problem,
    Site,
    Suggestor,
    hookimpl,
)
from converge_core.intent.sections import EvalSection
from converge_core.ports import EVALS


class EvalsConfig(BaseModel):
    """Which evals, in the order of their outcomes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    evals: tuple[EvalSection, ...] = Field(min_length=1, description="The evals, as in the intent's own `evals`.")


def evals_suggestor(config: EvalsConfig, site: Site) -> EvalSuggestor:
    """Return the suggestor of these evals. Raises IntentError for one that cannot be made."""
    make, registry, problems = site.port(EVALS), EvalRegistry(), []
    for place, section in enumerate(config.evals):
        try:
            registry.register(make(section))
        except IntentError as error:
            problems += [problem._replace(path=f"evals.{place}.{problem.path}") for problem in error.problems]
        except MisuseError as error:
            problems.append(Problem(f"evals.{place}.name", str(error)))
    if problems:
        raise IntentError(tuple(problems))
    return EvalSuggestor(registry, site.name, config.model_dump(mode="json", by_alias=True))


@hookimpl
def converge_register_suggestors(catalog: Catalog[Suggestor]) -> None:
    """Offer ``evals``."""
    catalog.add("evals", evals_suggestor, EvalsConfig, "Grades a run as it goes on, by evals.")
