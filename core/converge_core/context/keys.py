"""The twelve namespaces of a context, and the kind of statement each of them holds (seed 002)."""

from __future__ import annotations

from enum import StrEnum


class ContextKey(StrEnum):
    """Where a fact lives. Declaration order is iteration order."""

    SEEDS = "seeds"
    HYPOTHESES = "hypotheses"
    STRATEGIES = "strategies"
    CONSTRAINTS = "constraints"
    SIGNALS = "signals"
    COMPETITORS = "competitors"
    EVALUATIONS = "evaluations"
    PROPOSALS = "proposals"
    DIAGNOSTIC = "diagnostic"
    VOTES = "votes"
    DISAGREEMENTS = "disagreements"
    CONSENSUS_OUTCOMES = "consensus_outcomes"


class ProposalKind(StrEnum):
    """What sort of statement a proposal makes; a human gate may name kinds instead of keys."""

    CLAIM = "claim"
    PLAN = "plan"
    CLASSIFICATION = "classification"
    EVALUATION = "evaluation"
    DRAFT = "draft"


KIND_OF_KEY: dict[ContextKey, ProposalKind] = {
    ContextKey.SEEDS: ProposalKind.CLAIM,
    ContextKey.HYPOTHESES: ProposalKind.CLAIM,
    ContextKey.STRATEGIES: ProposalKind.PLAN,
    ContextKey.CONSTRAINTS: ProposalKind.CLASSIFICATION,
    ContextKey.SIGNALS: ProposalKind.CLAIM,
    ContextKey.COMPETITORS: ProposalKind.CLASSIFICATION,
    ContextKey.EVALUATIONS: ProposalKind.EVALUATION,
    ContextKey.PROPOSALS: ProposalKind.DRAFT,
    ContextKey.DIAGNOSTIC: ProposalKind.CLAIM,
    ContextKey.VOTES: ProposalKind.CLASSIFICATION,
    ContextKey.DISAGREEMENTS: ProposalKind.CLAIM,
    ContextKey.CONSENSUS_OUTCOMES: ProposalKind.EVALUATION,
}
