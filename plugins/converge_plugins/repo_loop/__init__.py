"""The repository loop: may this state of a repository be promoted? Phases look, a receipt concludes, a human decides.

Every phase is a suggestor over one repository (the port ``repository``), and an intent names those it wants::

    suggestors:
      - use: repo.inventory          # opens and closes the ticks: always there
      - use: repo.secrets
      - use: repo.validation
        name: tests
        with: {commands: [{run: [python, -m, pytest, -q]}]}
      - use: repo.receipt            # the verdict, once
      - use: repo.promotion          # a proposal under `strategies`, where a human gate belongs

A run goes in ticks. In the first cycle everybody declares what it looks at. The inventory surveys the repository, which
opens a tick; the phases of stage 0 look at their files, those of later stages at what was reported; the inventory
surveys again. As long as something has changed there is another tick, and nobody whose inputs are the same is run again
in it. Then there is one receipt, whatever the way out was, and one verdict. A run that is stopped from outside, by a
budget or a person, has neither, and promotes nothing.

The table below is all there is to a phase beside the function that looks. Nothing here writes to the repository: fixes
are proposals. What may write is a command that the intent names.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from converge_core import Catalog, ContextKey, PayloadRegistry, Suggestor, hookimpl
from converge_core.invariants import InvariantCheck
from converge_core.suggestors.catalog import NoConfig, Site
from converge_plugins.repo_loop import commands, contents, release, secrets, summing
from converge_plugins.repo_loop.globs import ALL
from converge_plugins.repo_loop.inventory import Inventory, InventoryConfig
from converge_plugins.repo_loop.memory import Memory
from converge_plugins.repo_loop.payloads import PAYLOADS
from converge_plugins.repo_loop.phase import Phase, PhaseConfig, PhaseKind, all_paths, control, earlier_reports
from converge_plugins.repo_loop.receipt import Promoter, PromotionConfig, Recorder, promoted_by_a_human

_PROSE = ("README*", "*.md", "docs/**/*.md", "**/README.md")
_MARKED = tuple(f"{at}{name}/**" for name in ("deprecated", "legacy", "retired", "attic", "old") for at in ("", "**/"))

PHASES: tuple[PhaseKind[Any], ...] = (
    PhaseKind(
        "sources",
        "What version control says of the files.",
        (ALL,),
        contents.sources,
        contents.SourcesConfig,
        also=control,
    ),
    PhaseKind("manifests", "The manifests can be read.", contents.MANIFESTS, contents.manifests, PhaseConfig),
    PhaseKind("objective", "It is said what this is for.", ("README*",), contents.objective, contents.ObjectiveConfig),
    PhaseKind(
        "retired", "What must be gone is gone.", _MARKED, contents.retired, contents.RetiredConfig, also=all_paths
    ),
    PhaseKind(
        "evidence", "Earlier evidence, and the last receipt.", (ALL,), contents.evidence, contents.EvidenceConfig
    ),
    PhaseKind("boundaries", "No file says what it must not.", (ALL,), contents.boundaries, contents.BoundariesConfig),
    PhaseKind(
        "grounding",
        "The files that everything rests on are there.",
        (ALL,),
        contents.grounding,
        contents.GroundingConfig,
    ),
    PhaseKind(
        "benchmarks",
        "Measurements are within their limits.",
        ("bench/**/*.json",),
        contents.benchmarks,
        contents.BenchmarksConfig,
    ),
    PhaseKind("validation", "The commands of the intent pass.", (ALL,), commands.look, commands.ValidationConfig),
    PhaseKind("secrets", "No value gives access to anything.", (ALL,), secrets.look, secrets.SecretsConfig),
    PhaseKind(
        "licences",
        "Dependencies are under licences that are allowed.",
        ("pyproject.toml",),
        release.licences,
        release.LicencesConfig,
    ),
    PhaseKind(
        "version",
        "There is one version, wherever it is said.",
        contents.MANIFESTS,
        release.version,
        release.VersionConfig,
    ),
    PhaseKind(
        "changelog",
        "The changelog tells of the version.",
        ("CHANGELOG*", "CHANGES*", "HISTORY*", "NEWS*", *contents.MANIFESTS),
        release.changelog,
        release.ChangelogConfig,
    ),
    PhaseKind("docs", "Links in the documentation lead somewhere.", _PROSE, release.docs, PhaseConfig, also=all_paths),
    PhaseKind(
        "claims",
        "States what the intent says must hold, for a validation ring.",
        (ALL,),
        summing.claims,
        summing.ClaimsConfig,
    ),
    PhaseKind(
        "ring",
        "The validation ring has validated the claims.",
        (),
        summing.ring,
        summing.RingConfig,
        stage=1,
        also=summing.outcomes,
    ),
    PhaseKind(
        "status_cube",
        "How each part of the repository stands.",
        (ALL,),
        summing.status_cube,
        PhaseConfig,
        stage=2,
        also=summing.standing,
    ),
    PhaseKind(
        "beliefs",
        "How likely each phase is to pass, by all that was seen of it.",
        (),
        summing.beliefs,
        PhaseConfig,
        stage=2,
        also=earlier_reports,
        writes=(ContextKey.HYPOTHESES,),
    ),
    PhaseKind(
        "fixes",
        "Proposes what would mend the issues.",
        (),
        summing.fixes,
        PhaseConfig,
        stage=2,
        also=earlier_reports,
        writes=(ContextKey.PROPOSALS,),
    ),
)


@hookimpl
def converge_register_suggestors(catalog: Catalog[Suggestor]) -> None:
    """Offer the phases, and who opens and concludes them. They share one memory."""
    memory = Memory()
    catalog.add(
        "repo.inventory", partial(Inventory, memory), InventoryConfig, "Surveys the repository; opens the ticks."
    )
    for kind in PHASES:
        catalog.add(f"repo.{kind.name}", partial(Phase, kind, memory), kind.config, kind.summary)
    catalog.add("repo.receipt", Recorder, NoConfig, "Concludes the loop: one receipt, one verdict.")
    catalog.add("repo.promotion", Promoter, PromotionConfig, "Asks for promotion, where the receipt is for it.")


@hookimpl
def converge_register_invariants(registry: Catalog[InvariantCheck]) -> None:
    """Offer ``repo.promoted_by_a_human``."""

    def made(config: NoConfig, site: Site) -> InvariantCheck:
        return promoted_by_a_human

    registry.add("repo.promoted_by_a_human", made, summary="Whoever lets a promotion pass is a human.")


@hookimpl
def converge_register_payloads(registry: PayloadRegistry) -> None:
    """Register what the loop says, for ledgers to be read with."""
    for payload in PAYLOADS:
        registry.register(payload)
