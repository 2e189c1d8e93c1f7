"""`PackSuggestor`: a pack at work in a run.

It solves every new problem, each by itself, and says what came of each:

==================================  ====================================================================
the pack                            the proposal
==================================  ====================================================================
has a plan, and its gate promotes   the plan, with the plan's confidence
has a plan, and its gate escalates  the plan, with its findings and no confidence: every human gate asks
has a plan, and its gate rejects    a `PackOutcome` with the findings and what was turned away
has no plan                         a `PackOutcome` with the solver's report
raises                              none: the suggestor fails, and the run says so
==================================  ====================================================================

The id of a proposal is the suggestor's name and the id of the problem, so two suggestors with the same pack do not
contradict each other, and nor do two problems.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic

from pydantic import ValidationError

from converge_core.context.facts import AnyFact, AnyProposal, ProposedFact
from converge_core.context.keys import ContextKey
from converge_core.context.payloads import one_line
from converge_core.context.state import Context
from converge_core.errors import MisuseError, SuggestorError
from converge_core.ledger.canonical import JsonValue, canonical
from converge_core.packs.contract import P, Pack, PlanVerdict, S, examine_plan
from converge_core.packs.limits import DeterminismSpec, SolveBudgets
from converge_core.packs.payloads import Finding, PackInput, PackOutcome, PackPlan, SolverReport
from converge_core.suggestors.contract import AgentEffect, Suggestor

DEFAULT_BUDGETS = SolveBudgets()
DEFAULT_DETERMINISM = DeterminismSpec()

UNSURE = 0.0
"""The confidence of a plan that a human is to decide: at or below any threshold."""


class PackSuggestor(Suggestor, Generic[P, S]):
    """Solves the problems of one pack that stand under ``reads``.

    A problem is a fact with the pack's own payload class, or a `PackInput` that names the pack. Plans go to
    ``writes``, outcomes without a plan to ``outcomes``. ``config`` is what identifies the pack's settings in the
    ledger, beside its name, the limits and the seed.
    """

    def __init__(
        self,
        pack: Pack[P, S],
        *,
        name: str | None = None,
        reads: ContextKey = ContextKey.SEEDS,
        writes: ContextKey = ContextKey.STRATEGIES,
        outcomes: ContextKey = ContextKey.EVALUATIONS,
        budgets: SolveBudgets = DEFAULT_BUDGETS,
        determinism: DeterminismSpec = DEFAULT_DETERMINISM,
        config: JsonValue = None,
    ) -> None:
        if issubclass(pack.problem, PackInput):
            raise MisuseError(f"the pack {pack.name!r} needs a payload class of its own for its problems")
        self.name = name or pack.name
        self.version = pack.version
        self.replayability = pack.replayability
        self.dependencies = ((reads, pack.problem), (reads, PackInput))
        self.writes = (writes, outcomes)
        self.config = {
            "budgets": budgets.model_dump(mode="json"),
            "determinism": determinism.model_dump(mode="json"),
            "pack": pack.name,
            "settings": config,
        }
        self._pack = pack
        self._reads, self._writes, self._outcomes = reads, writes, outcomes
        self._budgets, self._determinism = budgets, determinism

    def execute(self, ctx: Context) -> AgentEffect:
        """Return a proposal for each new problem, in the order in which they were stated.

        Raises SuggestorError for a `PackInput` that is no problem of the pack, and for an answer that is none; whatever
        the pack raises goes through.
        """
        return AgentEffect.with_proposals(self._answer(fact, problem) for fact, problem in self._problems(ctx))

    def _problems(self, ctx: Context) -> Iterator[tuple[AnyFact, P]]:
        pack = self._pack
        for fact in ctx.fresh(self._reads):
            payload = fact.payload
            if type(payload) is pack.problem:
                yield fact, payload
            elif isinstance(payload, PackInput) and payload.pack == pack.name:
                yield fact, self._read(fact, payload)

    def _read(self, fact: AnyFact, given: PackInput) -> P:
        try:
            return self._pack.problem.from_text(canonical(given.inputs))
        except ValidationError as error:
            reason = f"fact {fact.ref} is no problem of {self._pack.name}: {one_line(error)}"
            raise SuggestorError(self.name, "invalid_input", reason) from error

    def _answer(self, fact: AnyFact, problem: P) -> AnyProposal:
        pack = self._pack
        found = pack.solve(problem, self._budgets, self._determinism)
        if isinstance(found, SolverReport) and found.objective is None:
            return self._outcome(fact, found, str(found))
        if not isinstance(found, pack.plan):
            reason = f"fact {fact.ref}: {pack.name} answers with a plan, or with the report that there is none"
            raise SuggestorError(self.name, "invalid_output", f"{reason}, not with {found!r:.80}")
        findings = examine_plan(pack.invariants, problem, found)
        evaluation = pack.evaluate_gate(findings)
        if evaluation.verdict is PlanVerdict.REJECT:
            return self._outcome(fact, found.report, evaluation.rationale, findings, found)
        confidence = found.confidence if evaluation.verdict is PlanVerdict.PROMOTE else UNSURE
        stated = found.model_copy(update={"confidence": confidence, "findings": findings})
        return self._proposal(self._writes, fact, stated, confidence)

    def _outcome(
        self,
        fact: AnyFact,
        report: SolverReport,
        rationale: str,
        findings: tuple[Finding, ...] = (),
        turned_away: PackPlan | None = None,
    ) -> AnyProposal:
        outcome = PackOutcome(
            pack=self._pack.name,
            problem=fact.ref,
            report=report,
            rationale=rationale,
            findings=findings,
            plan=None if turned_away is None else turned_away.model_dump(mode="json"),
        )
        return self._proposal(self._outcomes, fact, outcome, 1.0)

    def _proposal(
        self, key: ContextKey, fact: AnyFact, payload: PackPlan | PackOutcome, confidence: float
    ) -> AnyProposal:
        fact_id = f"{self.name}:{fact.id}"
        return ProposedFact(key, fact_id, payload, confidence=confidence, subject=fact.subject, evidence=(fact,))
