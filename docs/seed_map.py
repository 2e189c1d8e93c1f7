"""Where every name that the original exports lives here, or why there is no such thing.

``seed-names.txt`` is the original's list of exports: modules, re-exports, structs, enums and traits. A name stands in
exactly one of `SAME` (it has the same name here, in the module it is listed under), `RENAMED` and `ABSENT` (by reason).
A dotted path is one that can be imported, also where a reason has it. `DEFECTS` are those of the original of which
``tests/core/test_original_defects.py`` says nothing: the part that had them does not exist here, or the tests of that
part show them absent, and are named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

NAMES = tuple((Path(__file__).parent / "seed-names.txt").read_text(encoding="utf-8").split())

SAME: Mapping[str, str] = {
    "converge_core": """
        Actor ActorKind AdmissionActorKind AdmissionError AdmissionReceipt AdmissionRequest AgentEffect
        AllowAllFlowGateAuthorizer AuthorityGrant AuthorityLevel AuthorityScope Budget ConstraintSeverity ContentHash
        Context ContextKey ContextState ConvergeError ConvergeResult Criterion CriterionEvaluator CriterionOutcome
        CriterionResult DeliberatedFormation Engine Eval EvalOutcome EvalRegistry EvalResult Executor ExperienceRecord
        ExperienceStore FlowAction FlowGateAuthorizer FlowGateDecision
        FlowGateInput FlowGateOutcome FlowGatePrincipal FlowGateResource FlowPhase Formation FormationDecision
        FormationKind FormationOutcome HitlPause IntegrityProof IntentConstraint IntentKind Invariant InvariantClass
        LamportClock MerkleRoot OpenClawFormation PromotionGate PromotionRecord ProposalKind ProposedFact
        RejectAllFlowGateAuthorizer Replayability RiskPosture RootIntent Scope ScoredFormation ScoringWeights
        StaticFormation StopReason Suggestor Tension TensionResolution TruthCatalog TruthDefinition TruthKind
        ValidatedProposal ValidationPolicy Violation""",
    "converge_core.context.artifacts": """
        GovernedArtifactState InvalidStateTransition LifecycleEvent RollbackImpact RollbackSeverity
        validate_transition""",
    "converge_core.context.hypotheses": "Hypothesis HypothesisOutcome",
    "converge_core.context.tensions": "ConflictType TensionSide",
    "converge_core.experience.query": "TimeRange",
    "converge_core.gates.corrections": "CorrectionReason",
    "converge_core.intent.frames": "Frame",
    "converge_core.ledger.events": "CorrectionEvent",
    "converge_core.llm.backend": "BackendBudgets BackendRequest BackendResponse ContractReport ContractResult "
    "ContractSpec Message MessageRole",
    "converge_core.llm.capability": "BackendCapability CapabilityKind Modality RequiredCapabilities",
    "converge_core.llm.errors": "BackendError",
    "converge_core.llm.policies": "BackoffStrategy CircuitBreakerConfig CircuitState RetryPolicy",
    "converge_core.llm.profiles": "ComplianceLevel CostClass CostTier DataSovereignty Jurisdiction LatencyClass "
    "TaskComplexity",
    "converge_core.llm.prompt": "AgentPrompt AgentRole Constraint OutputContract OutputFormat OutputKind PromptContext "
    "PromptFormat",
    "converge_core.llm.routing": "DataClassification RiskTier RoutingPolicy",
    "converge_core.llm.selection": "SelectionCriteria",
    "converge_core.recall.policy": "DecisionStep",
}

RENAMED: Mapping[str, str] = {
    "admission": "converge_core.context.admission",
    "backend": "converge_core.llm.backend",
    "capability": "converge_core.llm.capability",
    "eval": "converge_core.evals",
    "experience_store": "converge_core.experience",
    "formation": "converge_core.formations",
    "gates": "converge_core.gates",
    "governed_artifact": "converge_core.context.artifacts",
    "integrity": "converge_core.ledger",
    "invariant": "converge_core.invariants",
    "kernel_boundary": "converge_core.llm",
    "model_selection": "converge_core.llm.selection",
    "prompt": "converge_core.llm.prompt",
    "recall": "converge_core.recall",
    "root_intent": "converge_core.intent.root",
    "suggestors": "converge_core.suggestors",
    "traits": "converge_core.ports",
    "truth": "converge_core.intent.truths",
    "types": "converge_core.context",
    "validation": "converge_core.gates.promotion",
    "BackendRecallPolicy": "converge_core.RecallPolicy",
    "BackendUsage": "converge_core.Usage",
    "BackendContractResult": "converge_core.llm.backend.ContractResult",
    "ContextFact": "converge_core.Fact",
    "ContextSnapshot": "converge_core.snapshot",
    "CorrectionError": "converge_core.ledger.events.CorrectionRefused",
    "EngineHitlPolicy": "converge_core.HitlPolicy",
    "Embedding": "converge_core.Embedder",
    "EventQuery": "converge_core.ExperienceQuery",
    "ExperienceEvent": "converge_core.Event",
    "ExperienceEventEnvelope": "converge_core.StoredEntry",
    "ExperienceEventKind": "converge_core.ledger.events.EVENTS",
    "ExperienceEventObserver": "converge_core.Observer",
    "ExperienceStoreError": "converge_core.LedgerError",
    "FactContent": "converge_core.FactPayload",
    "GatesValidationError": "converge_core.gates.promotion.Rejection",
    "IntentValidationError": "converge_core.IntentError",
    "InvariantError": "converge_core.gates.stop.InvariantViolated",
    "KernelContextFact": "converge_core.llm.prompt.PromptFact",
    "LocalReplayTrace": "converge_core.Replayability.DETERMINISTIC",
    "ModelSelectorTrait": "converge_core.llm.selection.select",
    "Observation": "converge_core.AdmissionRequest",
    "ObservationError": "converge_core.AdmissionError",
    "PolicySnapshot": "converge_core.ledger.events.RunStarted",
    "PromotionError": "converge_core.ledger.events.ProposalRejected",
    "Proposal": "converge_core.ProposedFact",
    "ProposedContent": "converge_core.FactPayload",
    "RemoteReplayTrace": "converge_core.Replayability.NONE",
    "TrackedContext": "converge_core.engine.judge.Judge",
    "TypeError": "converge_core.PayloadError",
    "TypesConstraintSeverity": "converge_core.ConstraintSeverity",
    "TypesFact": "converge_core.Fact",
    "TypesIntentConstraint": "converge_core.IntentConstraint",
    "TypesIntentKind": "converge_core.IntentKind",
    "TypesProposedContent": "converge_core.FactPayload",
    "TypesContextKey": "converge_core.ContextKey",
    "TypesBudgets": "converge_core.Budget",
    "TypesRootIntent": "converge_core.RootIntent",
    "TypesContextSnapshot": "converge_core.snapshot",
    "TypesValidationError": "converge_core.gates.promotion.Rejection",
    "RecallTrace": "converge_core.recall.payloads.RecallExecuted",
    "VectorMatch": "converge_core.recall.answers.RecallCandidate",
    "VectorQuery": "converge_core.RecallQuery",
    "VectorRecall": "converge_adapters.recall.vectors.VectorRecall",
    "UserExperienceEvent": "converge_core.experience.query.UserExperience",
    "ValidationError": "converge_core.gates.promotion.Rejection",
    "BackendPrompt": "converge_core.llm.backend.Message",
    "Validated": "converge_core.ValidatedProposal",
    "Draft": "converge_core.gates.drafts.Draft",
    "Budgets": "converge_core.Budget",
}

ABSENT: Mapping[str, str] = {
    "An id is a plain `str`, checked where it comes in: by the gate, or when it is registered": """
        ApprovalId ApprovalPointId ArtifactId BackendId ConstraintName ConstraintValue CriterionId EvalId FactId
        FrameId GateId IntentId ObservationId PackId PolicyId ProposalId SuggestorId TensionId TruthId
        TypesIntentId""",
    "A run has one id, a plain `str`; a label of `converge_core.ledger.events.RunStarted` correlates runs": """
        ChainId CorrelationId""",
    "A label of `converge_core.ledger.events.RunStarted`, a plain `str`": "TenantId",
    "A record's id is its run and its place there: `converge_core.ExperienceRecord.id`": "EventId",
    "Only the store has a clock; a moment is an ISO 8601 `str` in `converge_core.StoredEntry`": "Timestamp",
    "A `float`, refused by the gate outside 0 to 1": "UnitInterval",
    "Python returns a value or raises; there is no alias for either": "BackendResult ExperienceStoreResult",
    "Merged into `converge_core.AdmissionRequest`, as its fields": """
        AdmissionActor AdmissionContent AdmissionSource CaptureContext ObservationProvenance ProviderIdentity""",
    "Replaced by `converge_core.ContextKey`: where an observation is admitted to says what it is": "ObservationKind",
    "Merged into `converge_core.ConvergeResult`: a pause is one of its stops, not a result of another type": """
        RunResult""",
    "A violation is the one result; an invariant that holds returns none: `converge_core.Violation`": "InvariantResult",
    "Merged into `converge_core.Budget`, which the engine enforces": """
        BackendAdapterPolicy CycleBudget ExecutionBudget FactBudget TokenBudget""",
    "Each budget is a stop reason of its own in `converge_core.gates.stop`": "BudgetResource",
    'Replaced by `converge_core.StopClass`: no stop says only "error"': "ErrorCategory",
    "Merged into `converge_core.PromotionGate`, whose `validate` and `promote` are the only life a proposal has": """
        ProposalLifecycle SimpleIntent""",
    "Merged into `converge_core.gates.promotion.Rejection`: a check passes, or says why not": """
        CheckResult ValidationReport ValidationSummary""",
    "A check is given the proposal and the `converge_core.Context`, and needs no third thing": "ValidationContext",
    "Merged into `converge_core.AuthorityGrant`: the policy grants it": "AuthorityGrantor",
    "Merged into `converge_core.FlowGateInput`, as its fields": "FlowGateContext",
    "An authorizer that raises has rejected: `converge_core.gates.flow.consult`": "FlowGateError",
    "A criterion is judged in the run itself; hooks are arguments of `converge_core.Engine.run`": "TypesRunHooks",
    "Replaced by `converge_core.Observer`, which is told the entries after they are durable": "StreamingCallback",
    "Staging is `converge_core.ContextState.add_input`; nobody else builds a context": "ContextBuilder",
    "A store keeps runs, not contexts: `converge_core.Ledger`, and `converge_core.replay` gives the context": """
        ContextStore""",
    "Randomness is an input: a seed in the configuration of whoever needs one, as in "
    "`converge_core.packs.limits.DeterminismSpec`": "Randomness",
    "One hash serves all: `converge_core.ContentHash` over `converge_core.canonical` bytes": "Fingerprint",
    "Hashing bytes cannot fail; what has no canonical bytes is a `converge_core.CanonicalError`": "FingerprintError",
    "The family of a payload says its kind: `converge_core.FactPayload`": """
        ContentKind FactContentKind ProposedContentKind""",
    "Evidence is a list of `key/id` of facts, which the ledger resolves: `converge_core.ledger.lineage.lineage`": """
        EvidenceRef""",
    "The ledger is the trace: every call, proposal and decision is an entry "
    "(`converge_core.ledger.history.History`)": """
        AdapterTrace LocalTrace RemoteRef ReplayTrace TraceLinkId TypesTraceLink""",
    "A correction supersedes one fact of one run; what holds for a tenant is that tenant's runs": "CorrectionScope",
    "Merged into `converge_core.ExperienceRecord`, as `subject` and `data`": """
        BoundaryKind BoundaryTarget CorrectionTarget OverrideTarget""",
    "One store holds what the machine and what people did, under one envelope: `converge_core.StoredEntry`": """
        UserExperienceEventEnvelope""",
    "Merged into `converge_core.llm.backend.ContractResult`, which is a frozen value already": "ContractResultSnapshot",
    "An artifact's name says what it is; its life has the same table for all kinds "
    "(`converge_core.context.artifacts.LIFE`)": "ArtifactKind",
    "Nothing ever asked it: no trait of the original takes it": "ArtifactQuery",
    "Merged into `converge_core.context.artifacts.LifecycleEvent`, which a roll-back is one of": "RollbackRecord",
    "The gate refuses the use itself: `converge_core.context.artifacts.ArtifactUse`": "ReplayIntegrityViolation",
    "A resolution names its side as `converge_core.context.tensions.TensionSide`": "ChosenSide",
    "Constraints are fields of `converge_core.Scope`, open to any name": "ScopeConstraint ConstraintKind",
    "Merged into `converge_core.intent.frames.Frame`: a frame narrows by its scope": "FrameConstraint",
    "The text `objective` of `converge_core.RootIntent`: nothing is decided by its parts": "Objective TypesObjective",
    "A tuple of `converge_core.Criterion` in `converge_core.RootIntent`": "SuccessCriteria SuccessCriterion",
    "Merged into `converge_core.llm.backend.BackendRequest`; there is one way to ask a model": "KernelIntent",
    "Merged into `converge_core.llm.prompt.PromptContext`, which is made from the run's context": "KernelContext",
    "Split into `converge_core.HitlPolicy` and `converge_core.RecallPolicy`, which are enforced": """
        KernelPolicy""",
    "Where and how a backend samples is the configuration of who calls it: `converge_core.Suggestor`": """
        ExecutionEnv SamplerParams""",
    "An answer is a `converge_core.ProposedFact` like any other, with the one path to become a fact": "KernelProposal",
    "Merged into `converge_core.llm.selection.SelectionCriteria`: one vocabulary, not two": "AgentRequirements",
    "Merged into `converge_core.llm.errors.BackendError` and its subclasses": "CapabilityError CapabilityErrorKind",
    "Merged into `converge_core.llm.profiles.ProviderProfile`, which selection reads": "CapabilityMetadata",
    "Nobody would implement it: recall ranks what it has found itself": """
        RankedItem RerankRequest RerankResponse Reranking""",
    "Nobody would implement it: the graph of facts is the ledger, walked by `converge_core.ledger.lineage.lineage`": """
        GraphEdge GraphNode GraphQuery GraphRecall GraphResult""",
    "Merged into `converge_core.Embedder`: texts in, vectors out": "EmbedInput EmbedRequest EmbedResponse",
    "A `converge_core.recall.memories.Memory` and its vector, side by side": "VectorRecord",
}

DEFECTS: Mapping[str, str] = {
    "A structured output is asked for without a schema": "A contract has one: `converge_core.llm.backend.ContractSpec`",
    "`ValidationAgent` sees no proposals in a run": "Validation is the gate's: `converge_core.ValidationPolicy`",
    "Formations and providers dedupe by a fact id's suffix, and emit by request id": "No code looks into an id",
    "The pruning phase of the execution model is absent": "Facts are never removed; nothing here claims a pruning",
    "`ValidationContext` and `allow_warnings` are never read": "A check is given the context, and passes or not",
    "`StopReason::PromotionRejected` is never produced": "A rejection stops no run: `converge_core.gates.stop`",
    "`EvalRegistry` is not called by the engine": "A run asks it: "
    "`tests/core/test_evals.py::test_the_outcomes_of_evals_are_facts_under_evaluations`",
    "`RecallPolicy` budgets and uses are not applied": "`tests/core/recall/test_rationing.py"
    "::test_whatever_is_found_no_limit_is_exceeded_and_all_is_accounted_for`",
    "Recall ignores the text of the query": "`converge_adapters.testing.recall.RecallConformance` of every recall",
    "The wiki differs from the code": "The reference is written from the code, and compared with it by a test",
}


def lives() -> dict[str, str]:
    """Return the dotted path of every name that lives here."""
    return {name: f"{module}.{name}" for module, names in SAME.items() for name in names.split()} | dict(RENAMED)


def reasons() -> dict[str, str]:
    """Return why there is no such thing, by name."""
    return {name: reason for reason, names in ABSENT.items() for name in names.split()}


def rows() -> Iterator[str]:
    """Yield the rows of the table of names."""
    paths, why = lives(), reasons()
    for name in NAMES:
        yield f"| `{name}` | `{paths[name]}` | |" if name in paths else f"| `{name}` | | {why[name]} |"
