"""Converge: a suggestor runtime. Suggestors propose, gates decide, a ledger remembers.

This page is the public API; whatever is not on it may change without notice. A name's room is entered when the name is
first asked for (PEP 562), so a program that only checks a proof, say, loads no engine and no pydantic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from converge_core.context.admission import AdmissionActorKind, AdmissionReceipt, AdmissionRequest
    from converge_core.context.allowance import Allowance, BudgetRefused, Reservation, Usage
    from converge_core.context.authority import AuthorityLevel
    from converge_core.context.facts import Actor, ActorKind, Fact, PromotionRecord, ProposedFact
    from converge_core.context.keys import ContextKey, ProposalKind
    from converge_core.context.payloads import (
        DataPayload,
        DiagnosticPayload,
        FactPayload,
        FrozenObject,
        PayloadRegistry,
        TextPayload,
    )
    from converge_core.context.snapshot import restore, snapshot
    from converge_core.context.state import Context, ContextState, FactView
    from converge_core.context.subjects import SubjectRef
    from converge_core.context.tensions import Tension, TensionDetector, TensionResolution
    from converge_core.engine.calls import Call, Outcome
    from converge_core.engine.changes import SetupChanged
    from converge_core.engine.convergence import Convergence
    from converge_core.engine.drive import SequentialExecutor, drive
    from converge_core.engine.engine import Engine
    from converge_core.engine.result import ConvergeResult, StoppedEarly
    from converge_core.engine.setup import ConflictPolicy
    from converge_core.engine.steps import AwaitDecision, Execute, Step, Stopped
    from converge_core.errors import (
        AdmissionError,
        AuthorityError,
        CanonicalError,
        ConvergeError,
        IntentError,
        LedgerConflict,
        LedgerCorrupt,
        LedgerError,
        MisuseError,
        PayloadError,
        PluginError,
        Problem,
        ReplayDifference,
        SnapshotError,
        SuggestorError,
        UnknownRun,
    )
    from converge_core.evals import Eval, EvalOutcome, EvalRegistry, EvalResult, EvalSuggestor
    from converge_core.experience.query import ExperienceQuery
    from converge_core.experience.records import ExperienceRecord
    from converge_core.formations.decision import FormationDecision, FormationOutcome
    from converge_core.formations.kinds import (
        DeliberatedFormation,
        Formation,
        FormationKind,
        OpenClawFormation,
        ScoredFormation,
        ScoringWeights,
        StaticFormation,
    )
    from converge_core.formations.profiles import SuggestorProfile
    from converge_core.gates.authority import ApprovalPolicy, AuthorityGrant, AuthorityScope
    from converge_core.gates.budgets import Budget
    from converge_core.gates.corrections import CorrectionReason
    from converge_core.gates.flow import (
        AllowAllFlowGateAuthorizer,
        FlowAction,
        FlowGateAuthorizer,
        FlowGateDecision,
        FlowGateInput,
        FlowGateOutcome,
        FlowGatePrincipal,
        FlowGateResource,
        FlowPhase,
        PhasePayload,
        RejectAllFlowGateAuthorizer,
        current_phase,
    )
    from converge_core.gates.hitl import (
        GateDecision,
        GateRequest,
        HitlPause,
        HitlPolicy,
        TimeoutAction,
        TimeoutPolicy,
        Verdict,
    )
    from converge_core.gates.promotion import Check, PromotionGate, ValidatedProposal, ValidationPolicy
    from converge_core.gates.stop import StopClass, StopReason
    from converge_core.hookspec import hookimpl
    from converge_core.intent.criteria import (
        Blocked,
        Criterion,
        CriterionEvaluator,
        CriterionOutcome,
        CriterionResult,
        Indeterminate,
        Met,
        Unmet,
    )
    from converge_core.intent.document import IntentDocument
    from converge_core.intent.root import (
        ConstraintPayload,
        ConstraintSeverity,
        IntentConstraint,
        IntentKind,
        RiskPosture,
        RootIntent,
        StopWhen,
    )
    from converge_core.intent.scope import Scope, TimeWindow
    from converge_core.intent.truths import TruthCatalog, TruthDefinition, TruthKind, uphold
    from converge_core.invariants import Invariant, InvariantClass, Violation, acceptance, semantic, structural
    from converge_core.ledger.canonical import canonical
    from converge_core.ledger.events import Entry, Event, read_event
    from converge_core.ledger.hashes import ContentHash, IntegrityProof, LamportClock, MerkleRoot
    from converge_core.ledger.merkle import Head, MerkleLog, verify_consistency, verify_inclusion
    from converge_core.ledger.replay import replay, replay_live, until_cycle
    from converge_core.ledger.verify import verify
    from converge_core.ports import (
        Approver,
        Embedder,
        Executor,
        ExperienceStore,
        Ledger,
        Observer,
        Recall,
        RunInfo,
        StoredEntry,
    )
    from converge_core.recall.policy import RecallPolicy, RecallQuery
    from converge_core.suggestors.catalog import Catalog, CatalogEntry, NoConfig, Site
    from converge_core.suggestors.contract import AgentEffect, Refusal, Replayability, Suggestor, suggestor

else:

    def __getattr__(name: str) -> object:
        for room in _rooms() if name in __all__ else ():
            if hasattr(room, name):
                globals()[name] = found = getattr(room, name)
                return found
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})

    def _rooms() -> Iterator[ModuleType]:
        """Yield the rooms, each after those that it stands on, and the rarely entered ones at last."""
        from converge_core import errors

        yield errors
        from converge_core.ledger import canonical, events, hashes, merkle, verify

        yield from (canonical, hashes, merkle, events, verify)
        from converge_core.context import allowance, authority, keys, subjects
        from converge_core.gates import stop

        yield from (allowance, authority, keys, subjects, stop)
        from converge_core.context import admission, facts, payloads, snapshot, state

        yield from (payloads, facts, admission, state, snapshot)
        from converge_core import ports
        from converge_core.suggestors import catalog, contract

        yield from (contract, catalog, ports)
        from converge_core import invariants
        from converge_core.gates import authority as authorities
        from converge_core.gates import budgets, corrections, flow, hitl, promotion
        from converge_core.intent import criteria, root, scope

        yield from (budgets, authorities, hitl, flow, corrections, promotion, scope, criteria, root, invariants)
        from converge_core.engine import calls, changes, convergence, drive, engine, result, setup, steps
        from converge_core.ledger import replay

        yield from (calls, changes, setup, steps, result, convergence, drive, engine, replay)
        from converge_core.formations import decision, kinds, profiles

        yield from (profiles, kinds, decision)
        from converge_core import hookspec

        yield hookspec
        from converge_core import evals
        from converge_core.context import tensions
        from converge_core.experience import query, records
        from converge_core.intent import document, truths
        from converge_core.recall import policy

        yield from (tensions, evals, query, records, policy, truths, document)


__all__ = [
    "Actor",
    "ActorKind",
    "AdmissionActorKind",
    "AdmissionError",
    "AdmissionReceipt",
    "AdmissionRequest",
    "AgentEffect",
    "AllowAllFlowGateAuthorizer",
    "Allowance",
    "ApprovalPolicy",
    "Approver",
    "AuthorityError",
    "AuthorityGrant",
    "AuthorityLevel",
    "AuthorityScope",
    "AwaitDecision",
    "Blocked",
    "Budget",
    "BudgetRefused",
    "Call",
    "CanonicalError",
    "Catalog",
    "CatalogEntry",
    "Check",
    "ConflictPolicy",
    "ConstraintPayload",
    "ConstraintSeverity",
    "ContentHash",
    "Context",
    "ContextKey",
    "ContextState",
    "ConvergeError",
    "ConvergeResult",
    "Convergence",
    "CorrectionReason",
    "Criterion",
    "CriterionEvaluator",
    "CriterionOutcome",
    "CriterionResult",
    "DataPayload",
    "DeliberatedFormation",
    "DiagnosticPayload",
    "Embedder",
    "Engine",
    "Entry",
    "Eval",
    "EvalOutcome",
    "EvalRegistry",
    "EvalResult",
    "EvalSuggestor",
    "Event",
    "Execute",
    "Executor",
    "ExperienceQuery",
    "ExperienceRecord",
    "ExperienceStore",
    "Fact",
    "FactPayload",
    "FactView",
    "FlowAction",
    "FlowGateAuthorizer",
    "FlowGateDecision",
    "FlowGateInput",
    "FlowGateOutcome",
    "FlowGatePrincipal",
    "FlowGateResource",
    "FlowPhase",
    "Formation",
    "FormationDecision",
    "FormationKind",
    "FormationOutcome",
    "FrozenObject",
    "GateDecision",
    "GateRequest",
    "Head",
    "HitlPause",
    "HitlPolicy",
    "Indeterminate",
    "IntegrityProof",
    "IntentConstraint",
    "IntentDocument",
    "IntentError",
    "IntentKind",
    "Invariant",
    "InvariantClass",
    "LamportClock",
    "Ledger",
    "LedgerConflict",
    "LedgerCorrupt",
    "LedgerError",
    "MerkleLog",
    "MerkleRoot",
    "Met",
    "MisuseError",
    "NoConfig",
    "Observer",
    "OpenClawFormation",
    "Outcome",
    "PayloadError",
    "PayloadRegistry",
    "PhasePayload",
    "PluginError",
    "Problem",
    "PromotionGate",
    "PromotionRecord",
    "ProposalKind",
    "ProposedFact",
    "Recall",
    "RecallPolicy",
    "RecallQuery",
    "Refusal",
    "RejectAllFlowGateAuthorizer",
    "ReplayDifference",
    "Replayability",
    "Reservation",
    "RiskPosture",
    "RootIntent",
    "RunInfo",
    "Scope",
    "ScoredFormation",
    "ScoringWeights",
    "SequentialExecutor",
    "SetupChanged",
    "Site",
    "SnapshotError",
    "StaticFormation",
    "Step",
    "StopClass",
    "StopReason",
    "StopWhen",
    "Stopped",
    "StoppedEarly",
    "StoredEntry",
    "SubjectRef",
    "Suggestor",
    "SuggestorError",
    "SuggestorProfile",
    "Tension",
    "TensionDetector",
    "TensionResolution",
    "TextPayload",
    "TimeWindow",
    "TimeoutAction",
    "TimeoutPolicy",
    "TruthCatalog",
    "TruthDefinition",
    "TruthKind",
    "UnknownRun",
    "Unmet",
    "Usage",
    "ValidatedProposal",
    "ValidationPolicy",
    "Verdict",
    "Violation",
    "acceptance",
    "canonical",
    "current_phase",
    "drive",
    "hookimpl",
    "read_event",
    "replay",
    "replay_live",
    "restore",
    "semantic",
    "snapshot",
    "structural",
    "suggestor",
    "until_cycle",
    "uphold",
    "verify",
    "verify_consistency",
    "verify_inclusion",
]
