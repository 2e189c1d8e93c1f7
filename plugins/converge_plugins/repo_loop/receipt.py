"""The end of the loop, whatever the way out: one receipt, one verdict, and, if that is good, the question to a human.

The receipt covers every phase that took part, as the final tick left it: one that was never asked, because another
dropped the run, is there as skipped. It names the receipt before it by hash, and says what has changed since; so
receipts make a chain, and drift is never measured against the receipt itself. The gate refuses a second one, one that
leaves out a phase, and a promotion that does not rest on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from converge_core import (
    AgentEffect,
    Context,
    ContextKey,
    ConvergeError,
    NoConfig,
    ProposedFact,
    Replayability,
    Site,
)
from converge_core.context.facts import ActorKind, Fact
from converge_core.ledger.events import printable
from converge_core.ports import RUN_ID
from converge_core.repository import RECEIPTS, PastReceipt
from converge_plugins.repo_loop.payloads import (
    Belief,
    Closed,
    Declared,
    Drift,
    Outcome,
    PhaseResult,
    Previous,
    Promotion,
    Receipt,
    Status,
    Verdict,
)
from converge_plugins.repo_loop.phase import Member, current, reports_of


class Recorder(Member):
    """``repo.receipt``: writes the receipt, once, when the loop is closed."""

    writes = (ContextKey.CONSENSUS_OUTCOMES,)

    def __init__(self, config: NoConfig, site: Site) -> None:
        super().__init__(config, site)
        self._past = site.port(RECEIPTS)

    def accepts(self, ctx: Context) -> bool:
        return ctx.has(Closed) and not ctx.has(Receipt)

    async def execute(self, ctx: Context) -> AgentEffect:
        closed, snapshot = ctx.get(Closed)[0], current(ctx)
        results = tuple(_results(ctx, closed.payload.tick))
        reasons = tuple(_against(closed.payload, results))
        past = None
        try:
            past = await self._past.newest(Receipt.family, {"repository": self._repository.root})
        except ConvergeError as error:  # there is a receipt all the same
            reasons = (*reasons, printable(f"the receipt before this one cannot be read: {error}"))
        before = None if past is None else _read(past)
        digest = closed.payload.digest
        receipt = Receipt(
            repository=self._repository.root,
            run_id=self._site.port(RUN_ID),
            tick=closed.payload.tick,
            outcome=closed.payload.outcome,
            input_digest=digest,
            commit=None if snapshot is None else snapshot.payload.commit,
            verdict=Verdict.HOLD if reasons else Verdict.PROMOTE,
            reasons=reasons,
            phases=results,
            previous=None if past is None or before is None else _named(past, before),
            drift=Drift() if before is None else _drift(before, results, digest),
            beliefs=_beliefs(ctx, before),
        )
        evidence: list[Fact[Any]] = [*reports_of(ctx, closed.payload.tick).values(), closed]
        proposal = ProposedFact(ContextKey.CONSENSUS_OUTCOMES, "receipt", receipt, evidence=evidence)
        return AgentEffect.with_proposal(proposal)


def _read(past: PastReceipt) -> Receipt | None:
    """Return an earlier receipt, None where it is of a shape that is not known here."""
    try:
        return Receipt.model_validate(past.body)
    except ValidationError:
        return None


def _named(past: PastReceipt, before: Receipt) -> Previous:
    return Previous(run_id=past.run_id, hash=past.hash, verdict=before.verdict)


def _results(ctx: Context, tick: int) -> Iterator[PhaseResult]:
    """Yield how every phase stands at the end of a tick."""
    reports = reports_of(ctx, tick)
    for declared in ctx.get(Declared):
        phase, required = declared.payload.phase, declared.payload.required
        fact = reports.get(phase)
        if fact is None:
            yield PhaseResult(phase=phase, status=Status.SKIPPED, required=required)
        else:
            said = fact.payload
            yield PhaseResult(
                phase=phase,
                status=said.status,
                required=required,
                issues=len(said.issues),
                fingerprint=said.fingerprint,
                report=fact.hash.hex(),
            )


def _against(closed: Closed, results: tuple[PhaseResult, ...]) -> Iterator[str]:
    """Yield what speaks against promotion."""
    if closed.outcome is not Outcome.SETTLED:
        yield f"{closed.outcome}: {closed.reason}"
    if closed.digest is None:
        yield "there is nothing that could be promoted"
    words = {Status.FAIL: "failed", Status.DROP: "failed, and dropped the run", Status.SKIPPED: "was not asked"}
    for result in results:
        if result.required and result.status is not Status.PASS:
            issues = f" ({result.issues} issue{'s' * (result.issues != 1)})" if result.issues else ""
            yield f"{result.phase} {words[result.status]}{issues}"


def _drift(before: Receipt, results: tuple[PhaseResult, ...], digest: str | None) -> Drift:
    """Return what is different from an earlier receipt."""
    then = {result.phase: result.status is Status.PASS for result in before.phases}
    now = {result.phase: result.status is Status.PASS for result in results}
    return Drift(
        first_run=False,
        input_changed=before.input_digest != digest,
        regressed=tuple(phase for phase, passes in now.items() if not passes and then.get(phase)),
        recovered=tuple(phase for phase, passes in now.items() if passes and then.get(phase) is False),
        appeared=tuple(phase for phase in now if phase not in then),
        gone=tuple(phase for phase in then if phase not in now),
    )


def _beliefs(ctx: Context, before: Receipt | None) -> tuple[Belief, ...]:
    """Return what is believed now: as of this run, and, of what it has not spoken of, as it was."""
    held: dict[str, Belief] = {} if before is None else {belief.dimension: belief for belief in before.beliefs}
    held |= {fact.payload.dimension: fact.payload for fact in ctx.get(Belief)}
    return tuple(held[dimension] for dimension in sorted(held))


class PromotionConfig(BaseModel):
    """What is promoted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    objective: str = Field(default="release it", min_length=1, description="What promotion means, for whoever decides.")


class Promoter(Member):
    """``repo.promotion``: asks for promotion where the receipt says so, and says nothing where it does not."""

    writes = (ContextKey.STRATEGIES,)
    replayability = Replayability.DETERMINISTIC

    def __init__(self, config: PromotionConfig, site: Site) -> None:
        super().__init__(config, site)
        self._objective = config.objective

    def accepts(self, ctx: Context) -> bool:
        if ctx.has(Promotion):
            return False
        return any(fact.payload.verdict is Verdict.PROMOTE for fact in ctx.fresh(Receipt))

    def execute(self, ctx: Context) -> AgentEffect:
        receipt = ctx.get(Receipt)[0]
        said = receipt.payload
        promotion = Promotion(
            repository=said.repository,
            commit=said.commit,
            input_digest=said.input_digest or "",
            receipt=receipt.hash.hex(),
            objective=self._objective,
        )
        return AgentEffect.with_proposal(
            ProposedFact(ContextKey.STRATEGIES, "promotion", promotion, evidence=(receipt,))
        )


def promoted_by_a_human(ctx: Context) -> str | None:
    """Demand that whoever let a promotion pass was a human: the gate that asks one was not forgotten."""
    for fact in ctx.get(Promotion):
        if fact.promotion.approver.kind is not ActorKind.HUMAN:
            return f"{fact.promotion.approver} let {fact.ref} pass: name `{fact.key}` under the `keys` of `gates: hitl`"
    return None
