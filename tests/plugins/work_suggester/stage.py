"""What the tests of the work suggester share: issues, stages, and a world of files, commands, time and leases."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from converge_adapters.leases import MemoryLeases
from converge_core import ContextKey, ContextState, ConvergeResult, Engine, HitlPolicy, ProposedFact, Site, Suggestor
from converge_core.leases import LEASES, Leases
from converge_core.ports import FILES, RUN_ID, TIME_OF_DAY
from converge_core.repository import REPOSITORY
from converge_core.suggestors.catalog import Ports
from converge_plugins.work_suggester.issues import Issue, IssuesConfig, IssueSource
from converge_plugins.work_suggester.scores import IssueScore, Scorer, ScoresConfig
from converge_plugins.work_suggester.specs import SpecsConfig, WorkSuggestor
from converge_plugins.work_suggester.vectors import Vectoriser, VectorsConfig
from tests.core.stage import finish
from tests.fakes.approver import FakeApprover
from tests.fakes.repository import FakeRepository

TODAY = "2026-10-31T09:00:00Z"
TODAY_MS = 1_793_437_200_000
Made = Callable[..., Suggestor]


def no_code(text: str) -> Callable[..., object]:
    raise LookupError(text)


def site(
    name: str,
    *,
    files: Mapping[str, str] | None = None,
    repository: FakeRepository | None = None,
    leases: Leases | None = None,
    run_id: str = "run",
) -> Site:
    """The site of a stage, in a world that has these things."""

    def read(path: str) -> str:
        try:
            return (files or {})[path]
        except KeyError:
            raise LookupError(f"{path}: No such file or directory") from None

    ports = (
        Ports()
        .offer(FILES, read)
        .offer(REPOSITORY, repository or FakeRepository())
        .offer(TIME_OF_DAY, lambda: TODAY_MS)
    )
    ports.offer(LEASES, leases or MemoryLeases()).offer(RUN_ID, run_id)
    return Site(name, no_code, ports)


def source(config: Mapping[str, Any], **world: Any) -> IssueSource:
    return IssueSource(IssuesConfig.model_validate(config), site("issues", **world))


def vectoriser(**config: Any) -> Vectoriser:
    return Vectoriser(VectorsConfig.model_validate(config), site("vectorise"))


def scorer(**config: Any) -> Scorer:
    return Scorer(ScoresConfig.model_validate(config), site("score"))


def suggestor(config: Mapping[str, Any] | None = None, **world: Any) -> WorkSuggestor:
    return WorkSuggestor(SpecsConfig.model_validate(config or {}), site("suggest", **world))


def issue(number: int = 1, **fields: Any) -> Issue:
    return Issue.model_validate({"number": number, "title": f"Issue {number}", "seen_at": TODAY} | fields)


def opened(*issues: Issue) -> ContextState:
    """Issues that are there from the start."""
    context = ContextState()
    for one in issues:
        context.add_proposal(ProposedFact(ContextKey.SEEDS, f"issue:{one.number}", one))
    return context


def scored(*scores: float, context: ContextState | None = None) -> ContextState:
    """Issues 1, 2, ... with these scores."""
    context = context or opened(*(issue(number) for number, _ in enumerate(scores, 1)))
    for number, score in enumerate(scores, 1):
        made = IssueScore(
            number=number,
            issue=f"seeds/issue:{number}",
            method="formula",
            score=score,
            urgency=0,
            importance=0,
            similarity=0,
            recency=0,
        )
        context.add_proposal(ProposedFact(ContextKey.EVALUATIONS, f"score:{number}", made))
    return context


def run(
    context: ContextState, *stages: Suggestor, approver: FakeApprover | None = None, gated: bool = False
) -> ConvergeResult:
    policy = HitlPolicy(gated_keys=(ContextKey.PROPOSALS,)) if gated or approver else None
    engine = Engine(hitl_policy=policy)
    for stage in stages:
        engine.register_suggestor(stage)
    return finish(engine.run(context, run_id="run", approver=approver))


def scores(result: ConvergeResult) -> dict[int, float]:
    """The scores by issue."""
    assert result.converged, result.stop_reason
    return {fact.payload.number: fact.payload.score for fact in result.context.get(IssueScore)}
