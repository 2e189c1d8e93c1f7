"""A phase: a row of the table of phases, made a suggestor.

A row says which files a phase looks at, at which stage it is asked, and how it looks. Everything else is here, and the
same for all of them: in its first call a phase declares itself, so that the others know who takes part; then it reports
once in every tick. What it looks at is hashed anew in each tick, as it was surveyed when the tick began, and a phase
that has seen exactly that is not run again: its report says that it is reused.

A phase never raises. What cannot be read, or goes wrong in it, is a report that fails, so that a receipt follows in
every case.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from converge_core import AgentEffect, Context, ContextKey, ProposedFact, Replayability, Site, Suggestor, canonical
from converge_core.context.facts import AnyProposal, Fact
from converge_core.ledger.canonical import JsonValue
from converge_core.ledger.events import printable
from converge_core.ledger.hashes import ContentHash
from converge_core.ports import CLOCK, RUN_ID
from converge_core.repository import REPOSITORY, FileEntry, Repository, RepositoryError
from converge_plugins.repo_loop.globs import matcher
from converge_plugins.repo_loop.memory import Memory
from converge_plugins.repo_loop.payloads import PAYLOADS, Closed, Declared, Issue, Report, Snapshot, Status, Waiting
from converge_plugins.repo_loop.survey import Survey, survey, told

MAX_ISSUES = 100
MAX_EVIDENCE = 500_000
"""How much evidence a report may hold, in characters."""
PATIENCE = 12
"""How often a phase may say that it waits for the same thing, before it says that nobody came."""


class PhaseConfig(BaseModel):
    """What every phase can be told."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    inputs: tuple[str, ...] | None = Field(
        default=None, description="The files it looks at, as globs such as `src/**/*.py`; its own, if absent."
    )
    exclude: tuple[str, ...] = Field(default=(), description="Files that it does not look at.")
    required: bool = Field(default=True, description="Whether nothing is promoted unless it passes.")
    drops: bool = Field(default=False, description="Whether the run is given up when it fails.")

    def more_inputs(self) -> tuple[str, ...]:
        """Return files that the rest of the configuration makes it look at."""
        return ()

    def more_writes(self) -> tuple[ContextKey, ...]:
        """Return keys that the configuration makes it propose for."""
        return ()


C = TypeVar("C", bound=PhaseConfig)


class NotYet(Exception):
    """Raised by a phase that waits for what others will say."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a phase found: what it ``did``, the issues (it passes without any), and by what it shows that.

    ``proposals`` are what it has to say beside its report; the same finding makes the same proposals.
    """

    did: str
    evidence: Mapping[str, JsonValue] = field(default_factory=dict)
    issues: tuple[Issue, ...] = ()
    proposals: tuple[AnyProposal, ...] = ()

    @classmethod
    def failed(cls, did: str, message: str, path: str | None = None, remedy: str | None = None) -> Finding:
        """Return a finding of one issue."""
        return cls(did, {}, (Issue(message=printable(message), path=path, remedy=remedy),))


@dataclass(frozen=True)
class View:
    """What a phase is given to look at: the files it has asked for, as they were when the tick began.

    ``reports`` are those of the stages before its own, in this tick.
    """

    repository: Repository
    survey: Survey
    files: tuple[FileEntry, ...]
    tick: int
    reports: tuple[Fact[Report], ...]
    ctx: Context
    site: Site

    @cached_property
    def paths(self) -> tuple[str, ...]:
        """The paths of its files."""
        return tuple(entry.path for entry in self.files)

    async def text(self, path: str, max_bytes: int = 1_000_000) -> str:
        """Return the beginning of a file as text. Raises RepositoryError."""
        return (await self.repository.read(path, max_bytes)).decode(errors="replace")

    async def search(
        self, find: Callable[[str, bytes], Iterable[Issue]], max_bytes: int = 1_000_000
    ) -> tuple[Issue, ...]:
        """Return the issues that a function finds in its files; one that cannot be read is an issue itself."""
        readable = [path for path in self.paths if path in self.survey.digests]
        lost = [
            Issue(message="cannot be read", path=told(path)) for path in self.paths if path not in self.survey.digests
        ]
        found = await self.repository.search(readable, lambda path, content: tuple(find(path, content)), max_bytes)
        return (*lost, *(issue for issues in found for issue in issues))


def nothing_else(view: View) -> JsonValue:
    """Say that a phase depends on its files alone."""
    return None


def all_paths(view: View) -> JsonValue:
    """Say that a phase depends on which files there are, whatever is in them."""
    walk = view.survey.walk
    digest = sha256()
    for path in (*view.survey.files, "", *walk.links):
        digest.update(f"{path}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()


def control(view: View) -> JsonValue:
    """Say that a phase depends on what version control says."""
    return view.survey.control


def earlier_reports(view: View) -> JsonValue:
    """Say that a phase depends on what those before it have reported."""
    return [[fact.payload.phase, fact.payload.status, fact.payload.fingerprint] for fact in view.reports]


@dataclass(frozen=True, slots=True)
class PhaseKind(Generic[C]):
    """A row of the table: a phase of this ``name`` looks at ``inputs``, and at what ``also`` returns, by ``look``.

    Those of a ``stage`` are asked when all those before it have reported. A new ``version`` looks in another way.
    """

    name: str
    summary: str
    inputs: tuple[str, ...]
    look: Callable[[View, C], Awaitable[Finding]]
    config: type[C]
    stage: int = 0
    also: Callable[[View], JsonValue] = nothing_else
    writes: tuple[ContextKey, ...] = ()
    version: str = "1"


class Member(Suggestor):
    """Anybody who takes part in the loop."""

    payloads = PAYLOADS
    replayability = Replayability.NONE

    def __init__(self, config: BaseModel, site: Site) -> None:
        self.name = site.name
        self.config = config.model_dump(mode="json")
        self._site, self._repository = site, site.port(REPOSITORY)


class Reporter(Member):
    """A member that reports in every tick, after it has declared itself."""

    writes: Iterable[ContextKey] = (ContextKey.SIGNALS, ContextKey.EVALUATIONS)

    def __init__(self, kind: str, version: str, config: PhaseConfig, site: Site) -> None:
        super().__init__(config, site)
        self.version = version
        self._kind_name, self._asked = kind, config

    def declared(self, stage: int, inputs: tuple[str, ...]) -> AgentEffect:
        """Return the declaration of this member."""
        asked = self._asked
        says = Declared(
            phase=self.name,
            kind=self._kind_name,
            edition=self.version,
            stage=stage,
            inputs=inputs,
            required=asked.required,
        )
        return AgentEffect.with_proposal(ProposedFact(ContextKey.SIGNALS, f"declared:{self.name}", says))

    def has_declared(self, ctx: Context) -> bool:
        """Say whether this member has said that it takes part."""
        return ctx.find(ContextKey.SIGNALS, f"declared:{self.name}") is not None

    def report(self, tick: int, finding: Finding, fingerprint: str, reused: bool = False) -> ProposedFact[Report]:
        """Return a finding as the report of a tick. One that has nothing to show for itself has failed."""
        issues, evidence = finding.issues, {**finding.evidence}
        if not issues and not evidence:
            issues = (Issue(message="it passed, and shows nothing for it"),)
        if len(issues) > MAX_ISSUES:
            evidence["issues"] = len(issues)
        bad = Status.DROP if self._asked.drops else Status.FAIL
        says = Report(
            tick=tick,
            phase=self.name,
            kind=self._kind_name,
            status=bad if issues else Status.PASS,
            did=printable(finding.did),
            issues=issues[:MAX_ISSUES],
            evidence=evidence,
            fingerprint=fingerprint,
            reused=reused,
        )
        return ProposedFact(ContextKey.EVALUATIONS, report_id(self.name, tick), says)


def report_id(phase: str, tick: int) -> str:
    """Return the id of what a phase reports in a tick."""
    return f"{phase}:{tick}"


def current(ctx: Context) -> Fact[Snapshot] | None:
    """Return the snapshot of the tick that is under way, None before the first one."""
    snapshots = ctx.get(ContextKey.SIGNALS, Snapshot)
    return max(snapshots, key=lambda fact: fact.payload.tick, default=None)


def reports_of(ctx: Context, tick: int) -> dict[str, Fact[Report]]:
    """Return the reports of a tick by phase."""
    found = ctx.get(ContextKey.EVALUATIONS, Report)
    return {fact.payload.phase: fact for fact in found if fact.payload.tick == tick}


def is_over(ctx: Context, reports: Mapping[str, Fact[Report]]) -> bool:
    """Say whether no phase is to be run any more."""
    return ctx.has(Closed) or any(fact.payload.status is Status.DROP for fact in reports.values())


class Phase(Reporter, Generic[C]):
    """A row of the table at work in a run."""

    def __init__(self, kind: PhaseKind[C], memory: Memory, config: C, site: Site) -> None:
        super().__init__(kind.name, kind.version, config, site)
        self.writes = (*Reporter.writes, *kind.writes, *config.more_writes())
        self._kind, self._memory, self._given = kind, memory, config
        self._inputs = (*(kind.inputs if config.inputs is None else config.inputs), *config.more_inputs())
        self._clock = site.port(CLOCK)

    def accepts(self, ctx: Context) -> bool:
        if not self.has_declared(ctx):
            return True
        snapshot = current(ctx)
        if snapshot is None:
            return False
        reports = reports_of(ctx, snapshot.payload.tick)
        if self.name in reports or is_over(ctx, reports):
            return False
        before = (fact.payload.phase for fact in ctx.get(Declared) if fact.payload.stage < self._kind.stage)
        return all(phase in reports for phase in before)

    async def execute(self, ctx: Context) -> AgentEffect:
        snapshot = current(ctx)
        if not self.has_declared(ctx) or snapshot is None:
            return self.declared(self._kind.stage, self._inputs)
        began = self._clock()
        proposals = await self._reported(ctx, snapshot)
        ctx.note({"elapsed_ms": self._clock() - began, "phase": self.name, "tick": snapshot.payload.tick})
        return AgentEffect.with_proposals(proposals)

    async def _reported(self, ctx: Context, snapshot: Fact[Snapshot]) -> list[AnyProposal]:
        tick = snapshot.payload.tick
        try:
            view = self._view(await self._surveyed(snapshot.payload), tick, ctx)
        except RepositoryError as error:
            finding = Finding.failed("could not look at the repository", str(error))
            return [self.report(tick, finding, str(ContentHash.of(printable(str(error)))))]
        fingerprint = self._fingerprint(view)
        key = self._site.port(RUN_ID), self.name, fingerprint
        known = self._memory.findings.recall(key)
        try:
            finding = known or await self._look(view)
        except NotYet as reason:
            said = [fact.payload for fact in ctx.get(Waiting)]
            waited = [one.reason for one in said if (one.phase, one.tick) == (self.name, tick)]
            turn, why = len(waited) + 1, printable(str(reason))
            if waited.count(why) < PATIENCE:
                waits = Waiting(tick=tick, phase=self.name, turn=turn, reason=why)
                return [ProposedFact(ContextKey.SIGNALS, f"waiting:{self.name}:{tick}:{turn}", waits)]
            finding = Finding.failed("waited, and nobody came", str(reason))
        else:
            if all(path in view.survey.digests for path in view.paths):  # what could not be read may be by now
                self._memory.findings.keep(key, finding)
        return [self.report(tick, finding, fingerprint, reused=known is not None), *finding.proposals]

    async def _look(self, view: View) -> Finding:
        try:
            finding = await self._kind.look(view, self._given)
            size = len(canonical(finding.evidence))
            if size > MAX_EVIDENCE:  # a report that the gate refuses would be missing from the receipt
                return Finding.failed("found too much to tell", f"its evidence has {size} characters")
            return finding
        except NotYet:
            raise
        except RepositoryError as error:
            return Finding.failed("could not look at everything", error.reason, told(error.path))
        except Exception as error:  # a slip in one phase must not cost the receipt of all
            return Finding.failed("broke off", f"{self._kind.name} raised {type(error).__name__}")

    async def _surveyed(self, snapshot: Snapshot) -> Survey:
        """Return the survey of the tick; a process that was not there when it was made looks for itself."""
        known = self._memory.surveys.recall((self._repository.root, snapshot.digest))
        if known is not None:
            return known
        made = await survey(self._repository, snapshot.max_files, snapshot.max_depth)
        self._memory.surveys.keep((self._repository.root, made.digest), made)
        return made

    def _view(self, seen: Survey, tick: int, ctx: Context) -> View:
        wanted, unwanted = matcher(self._inputs), matcher(self._asked.exclude)
        files = tuple(entry for entry in seen.walk.files if wanted(entry.path) and not unwanted(entry.path))
        stages = {fact.payload.phase: fact.payload.stage for fact in ctx.get(Declared)}
        reports = reports_of(ctx, tick)
        before = tuple(reports[phase] for phase in sorted(reports) if stages.get(phase, 0) < self._kind.stage)
        return View(self._repository, seen, files, tick, before, ctx, self._site)

    def _fingerprint(self, view: View) -> str:
        """Return the hash of everything that the phase depends on."""
        seen: dict[str, Any] = {
            "also": self._kind.also(view),
            "config": self.config,
            "files": view.survey.digest_of(view.files),
            "kind": self._kind.name,
            "truncated": view.survey.walk.truncated,
            "version": self._kind.version,
        }
        return str(ContentHash.of(canonical(seen)))
