"""``work.suggest``: a spec of the work that wants to be done next, one at a time, for a person to accept.

    use: work.suggest
    with: {key: proposals}

Of the issues that are scored the best becomes a spec under ``key``, and that is all that a run proposes. Let a human
gate hold that key: the spec is a text, and nothing is done about it before, or after, somebody says yes.

Nobody wants a new spec every hour while the last one waits for an answer. So who proposes has claimed the *desk*, a
slot that is shared by all runs on one ledger, and another run that finds it taken proposes nothing and says why. It is
free again when the proposal is decided, or when ``pending_seconds`` have passed, if it never is. An issue that was
proposed has a slot of its own besides, for ``again_seconds``: until then other issues have their turn, whatever was
decided. Slots are claimed by the run, so one that goes on after a crash finds what it has claimed itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from converge_core import (
    AgentEffect,
    Context,
    ContextKey,
    DiagnosticPayload,
    Fact,
    FactPayload,
    ProposedFact,
    Replayability,
    Site,
    Suggestor,
)
from converge_core.leases import LEASES, LeaseHeld
from converge_core.ports import RUN_ID
from converge_plugins.work_suggester.issues import Issue
from converge_plugins.work_suggester.markdown import spec_of
from converge_plugins.work_suggester.scores import IssueScore

DAY = 24 * 60 * 60


class WorkSpec(FactPayload):
    """What is to be done about an issue, as a text in Markdown."""

    family: ClassVar[str] = "converge.work.spec"

    number: int
    title: str
    url: str
    score: float = Field(ge=0, le=1)
    spec: str

    def summary(self) -> str:
        return f"#{self.number} {self.title} ({self.score:.4f})"


class SpecsConfig(BaseModel):
    """Where specs go, and how long one stands in the way of the next."""

    # The pattern takes 10 ms to compile, which only who uses it should wait for.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    key: Literal[ContextKey.PROPOSALS, ContextKey.STRATEGIES] = Field(
        default=ContextKey.PROPOSALS, description="Where the spec is proposed."
    )
    slot: str = Field(default="work", pattern=r"^[\w.-]{1,64}$", description="The desk; runs that share it take turns.")
    pending_seconds: int = Field(default=DAY, ge=1, description="How long a spec waits before another may be proposed.")
    again_seconds: int = Field(default=DAY, ge=1, description="How long an issue is not proposed again.")


class WorkSuggestor(Suggestor):
    """Proposes one spec. Raises LookupError where no leases are offered."""

    dependencies = (IssueScore, WorkSpec, DiagnosticPayload)
    payloads = (WorkSpec,)
    replayability = Replayability.BEST_EFFORT

    def __init__(self, config: SpecsConfig, site: Site) -> None:
        self.name = site.name
        self.writes = (config.key, ContextKey.DIAGNOSTIC)
        self.config = config.model_dump(mode="json")
        self._specs, self._site = config, site
        self._leases = site.port(LEASES)

    def accepts(self, ctx: Context) -> bool:
        """Say whether there is something new to choose from, or a decision about what was proposed."""
        return bool(ctx.fresh(IssueScore)) or self._decided(ctx, fresh=True)

    async def execute(self, ctx: Context) -> AgentEffect:
        """Return the spec of the best issue, or why there is none; after a decision, free the desk."""
        run_id = self._site.port(RUN_ID)
        if self._decided(ctx):
            await self._free_desk(run_id)
            return AgentEffect.empty()
        try:
            await self._claim(self._specs.slot, run_id, self._specs.pending_seconds)
        except LeaseHeld as held:
            return self._told("pending", f"run {held.lease.owner} has proposed work that waits to be decided on")
        for score in sorted(ctx.get(IssueScore), key=lambda fact: (-fact.payload.score, fact.payload.number)):
            issue = ctx.resolve(score.payload.issue)
            if issue is None or not isinstance(issue.payload, Issue):
                continue
            try:
                await self._claim(f"{self._specs.slot}/{issue.payload.number}", run_id, self._specs.again_seconds)
            except LeaseHeld:
                continue
            return AgentEffect.with_proposal(self._proposal(issue.payload, score, issue.ref))
        await self._free_desk(run_id)
        return self._told("nothing", "every issue has been proposed a short while ago")

    def _proposal(self, issue: Issue, score: Fact[IssueScore], ref: str) -> ProposedFact[WorkSpec]:
        spec = WorkSpec(
            number=issue.number,
            title=issue.title,
            url=issue.url,
            score=score.payload.score,
            spec=spec_of(issue, score.payload),
        )
        return ProposedFact(
            self._specs.key,
            self._spec_id(issue.number),
            spec,
            confidence=score.payload.score,
            evidence=[score.ref, ref],
        )

    async def _claim(self, slot: str, run_id: str, seconds: int) -> None:
        """Claim a slot, unless this run has it already. Raises LeaseHeld."""
        try:
            await self._leases.claim(slot, run_id, seconds * 1000)
        except LeaseHeld as held:
            if held.lease.owner != run_id:
                raise

    async def _free_desk(self, run_id: str) -> None:
        for lease in await self._leases.active(self._specs.slot):
            if (lease.slot, lease.owner) == (self._specs.slot, run_id):
                await self._leases.release(lease)

    def _decided(self, ctx: Context, *, fresh: bool = False) -> bool:
        """Say whether a person has accepted or refused what this suggestor has proposed."""
        look = ctx.fresh if fresh else ctx.get
        accepted: Iterable[Fact[WorkSpec]] = look(WorkSpec)
        refused: Iterable[Fact[DiagnosticPayload]] = look(DiagnosticPayload)
        ours = f"{self._specs.key}/{self._spec_id('')}"
        return any(fact.ref.startswith(ours) for fact in accepted) or any(
            (fact.payload.about or "").startswith(ours) for fact in refused
        )

    def _spec_id(self, number: int | str) -> str:
        return f"{self.name}:{number}"

    def _told(self, what: str, message: str) -> AgentEffect:
        diagnostic = DiagnosticPayload(source=self.name, message=message)
        return AgentEffect.with_proposal(ProposedFact(ContextKey.DIAGNOSTIC, f"{self.name}:{what}", diagnostic))
