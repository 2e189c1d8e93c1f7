"""``repo.inventory``: what there is, and whether it is still there when all have looked.

It opens a tick with a survey of the repository. When everybody has reported it surveys again: a repository that is as
it was has been looked at, and the loop is closed; one that has changed meanwhile (a command wrote a file, somebody is
at work in it) gets another tick, in which only those phases are run whose inputs have changed, until the ticks are used
up.
"""

from __future__ import annotations

from pydantic import Field

from converge_core import AgentEffect, Context, ContextKey, ProposedFact, Site
from converge_core.context.facts import AnyProposal
from converge_core.ledger.events import printable
from converge_core.ledger.hashes import ContentHash
from converge_core.repository import MAX_DEPTH, MAX_FILES, RepositoryError
from converge_plugins.repo_loop.globs import ALL
from converge_plugins.repo_loop.memory import Memory
from converge_plugins.repo_loop.payloads import Closed, Declared, Issue, Outcome, Report, Snapshot, Status
from converge_plugins.repo_loop.phase import Finding, PhaseConfig, Reporter, current, is_over, reports_of
from converge_plugins.repo_loop.survey import Survey, survey, told

SHOWN = 20


class InventoryConfig(PhaseConfig):
    """How much is looked at, and how often."""

    max_files: int = Field(default=MAX_FILES, ge=1, description="The most files; with more the inventory fails.")
    max_depth: int = Field(default=MAX_DEPTH, ge=1, description="How many folders deep.")
    max_ticks: int = Field(default=3, ge=1, description="How often it begins anew because something has changed.")


class Inventory(Reporter):
    """Opens every tick, and closes the last one."""

    def __init__(self, memory: Memory, config: InventoryConfig, site: Site) -> None:
        super().__init__("inventory", "1", config, site)
        self._memory, self._bounds = memory, config

    def accepts(self, ctx: Context) -> bool:
        if not self.has_declared(ctx) or ctx.has(Closed):
            return not ctx.has(Closed)
        snapshot = current(ctx)
        reports = reports_of(ctx, 1 if snapshot is None else snapshot.payload.tick)
        if snapshot is None or is_over(ctx, reports):
            return True
        return all(fact.payload.phase in reports for fact in ctx.get(Declared))

    async def execute(self, ctx: Context) -> AgentEffect:
        if not self.has_declared(ctx):
            return self.declared(0, (ALL,))
        snapshot = current(ctx)
        last = None if snapshot is None else snapshot.payload
        reports = reports_of(ctx, 1 if last is None else last.tick)
        dropped = [fact.payload.phase for fact in reports.values() if fact.payload.status is Status.DROP]
        if dropped:
            tick, digest = (1, None) if last is None else (last.tick, last.digest)
            return AgentEffect.with_proposal(_closed(tick, Outcome.DROPPED, digest, f"{', '.join(dropped)} failed"))
        try:
            seen = await survey(self._repository, self._bounds.max_files, self._bounds.max_depth)
        except RepositoryError as error:
            return AgentEffect.with_proposals(self._lost(last, str(error)))
        if last is not None and seen.digest == last.digest:
            why = "the repository is as it was when the tick began"
            return AgentEffect.with_proposal(_closed(last.tick, Outcome.SETTLED, last.digest, why))
        if last is not None and last.tick >= self._bounds.max_ticks:
            why = f"it still changes after {last.tick} ticks"
            return AgentEffect.with_proposal(_closed(last.tick, Outcome.EXHAUSTED, last.digest, why))
        return AgentEffect.with_proposals(self._opened(1 if last is None else last.tick + 1, seen))

    def _opened(self, tick: int, seen: Survey) -> list[AnyProposal]:
        self._memory.surveys.keep((self._repository.root, seen.digest), seen)
        walk, revision = seen.walk, seen.revision
        snapshot = Snapshot(
            tick=tick,
            digest=seen.digest,
            files=len(walk.files),
            bytes=sum(entry.size for entry in walk.files),
            directories=walk.directories,
            links=len(walk.links),
            unreadable=len(seen.unreadable),
            truncated=walk.truncated,
            max_files=self._bounds.max_files,
            max_depth=self._bounds.max_depth,
            commit=None if revision is None else revision.commit,
            changed=0 if revision is None else len(revision.changed),
        )
        issues = [Issue(message="cannot be read", path=told(path)) for path in seen.unreadable]
        if walk.truncated:
            bounds = f"{self._bounds.max_files} files, {self._bounds.max_depth} folders deep"
            issues.insert(0, Issue(message=f"there is more than was looked at ({bounds})", remedy="raise the bounds"))
        evidence = snapshot.model_dump(mode="json", exclude={"tick"}) | {"some_links": [*map(told, walk.links[:SHOWN])]}
        did = f"walked {walk.directories} folders and hashed {len(seen.digests)} of {len(walk.files)} files"
        report = self.report(tick, Finding(did, evidence, tuple(issues)), seen.digest)
        return [ProposedFact(ContextKey.SIGNALS, f"snapshot:{tick}", snapshot), report]

    def _lost(self, last: Snapshot | None, reason: str) -> list[AnyProposal]:
        """Close a loop that has nothing, or nothing any more, to look at."""
        if last is not None:
            return [_closed(last.tick, Outcome.DROPPED, last.digest, reason)]
        finding = Finding.failed("could not look at the repository", reason)
        report: ProposedFact[Report] = self.report(1, finding, str(ContentHash.of(printable(reason))))
        return [report, _closed(1, Outcome.DROPPED, None, reason)]


def _closed(tick: int, outcome: Outcome, digest: str | None, reason: str) -> AnyProposal:
    says = Closed(tick=tick, outcome=outcome, digest=digest, reason=printable(reason))
    return ProposedFact(ContextKey.SIGNALS, "closed", says)
