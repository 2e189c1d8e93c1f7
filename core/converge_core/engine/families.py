"""What the core itself can say: the families that every engine reads, whoever depends on them.

A ledger may hold any of them though nobody has registered it, but most runs meet few. So an engine keeps their names
free, and enters the rooms that define them when the first is met (`PayloadRegistry.reserve`).
"""

from __future__ import annotations

from converge_core.context.payloads import FactPayload

CORE_FAMILIES = (
    "converge.action",
    "converge.artifact.lifecycle",
    "converge.artifact.use",
    "converge.eval.outcome",
    "converge.flow.commitment",
    "converge.flow.phase",
    "converge.formation.decision",
    "converge.frame",
    "converge.governance.vote",
    "converge.hypothesis",
    "converge.hypothesis.resolution",
    "converge.intent.constraint",
    "converge.llm.selection",
    "converge.recall.executed",
    "converge.recall.item",
    "converge.tension",
    "converge.tension.resolution",
    "converge.validation.claim",
    "converge.validation.outcome",
    "converge.validation.vote",
)


def core_payloads() -> tuple[type[FactPayload], ...]:
    """Return the classes of these families."""
    from converge_core.context.artifacts import ArtifactUse, LifecycleEvent
    from converge_core.context.hypotheses import Hypothesis, HypothesisResolution
    from converge_core.context.tensions import Tension, TensionResolution
    from converge_core.evals import EvalFact
    from converge_core.formations.decision import FormationDecision
    from converge_core.gates.flow import CommitmentPayload, PhasePayload
    from converge_core.governance.actions import ActionRecord
    from converge_core.intent.frames import Frame
    from converge_core.intent.root import ConstraintPayload
    from converge_core.llm.selection import SelectionPayload
    from converge_core.recall.payloads import RecalledItem, RecallExecuted
    from converge_core.validation import Claim, ValidationOutcome, ValidationVote
    from converge_core.votes import Vote

    return (
        ActionRecord,
        ArtifactUse,
        Claim,
        CommitmentPayload,
        ConstraintPayload,
        EvalFact,
        FormationDecision,
        Frame,
        Hypothesis,
        HypothesisResolution,
        LifecycleEvent,
        PhasePayload,
        RecalledItem,
        RecallExecuted,
        SelectionPayload,
        Tension,
        TensionResolution,
        ValidationOutcome,
        ValidationVote,
        Vote,
    )
