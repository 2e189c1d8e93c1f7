"""The work suggester: from open issues to one work spec that a person accepts, stage by stage.

Each stage is a suggestor that works alone: it reads one class of payload and writes the next. Issues may as well come
from an input of the intent, with the payload ``converge.work.issue``; scores may come from elsewhere.

======================  ==================================  ==============================
stage                   reads                               writes
======================  ==================================  ==============================
``work.issues``         GitHub, or a JSON file              issues
``work.vectorise``      issues                              vectors of their words
``work.score``          vectors, or issues with ``bm25``    scores
``work.suggest``        scores                              a spec, for a person to accept
======================  ==================================  ==============================
"""

from __future__ import annotations

from converge_core import Catalog, PayloadRegistry, Suggestor, hookimpl
from converge_plugins.work_suggester.issues import Issue, IssuesConfig, IssueSource
from converge_plugins.work_suggester.scores import IssueScore, Scorer, ScoresConfig
from converge_plugins.work_suggester.specs import SpecsConfig, WorkSpec, WorkSuggestor
from converge_plugins.work_suggester.vectors import IssueVectors, Vectoriser, VectorsConfig


@hookimpl
def converge_register_suggestors(catalog: Catalog[Suggestor]) -> None:
    """Offer ``work.issues``, ``work.vectorise``, ``work.score`` and ``work.suggest``."""
    catalog.add("work.issues", IssueSource, IssuesConfig, "Reads open issues from GitHub or from a JSON file.")
    catalog.add("work.vectorise", Vectoriser, VectorsConfig, "Counts the words of each issue that matter here.")
    catalog.add("work.score", Scorer, ScoresConfig, "Says how much each issue wants to be done next.")
    catalog.add("work.suggest", WorkSuggestor, SpecsConfig, "Proposes a work spec for the best issue, one at a time.")


@hookimpl
def converge_register_payloads(registry: PayloadRegistry) -> None:
    """Register issues, vectors, scores and specs."""
    for payload in (Issue, IssueVectors, IssueScore, WorkSpec):
        registry.register(payload)
