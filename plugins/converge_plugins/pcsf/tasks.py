"""The contract of one task: where it may run, what it needs, and what must be shown before it counts as done.

`decide` holds every model that could do the task to the request, and says of each one that may not what is in the way.
It knows no clock and no registry: who can be asked now is the chain that it is given. What comes back names the request
by its content, the fallbacks in their order, and, where nobody may do the task, what would have to change: a
capability, the budget, a policy, a provider that can be asked, the approval of a human.

`assess_evidence` holds a receipt to the evidence that was agreed on beforehand. A model's word that it is done is none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from types import MappingProxyType

from converge_core import MisuseError
from converge_core.ledger.canonical import JsonValue, canonical
from converge_core.ledger.hashes import ContentHash
from converge_core.llm.capability import Capability, CapabilityKind, RequiredCapabilities
from converge_core.llm.routing import DataClassification

_COMPLETION = frozenset({CapabilityKind.COMPLETION})
_DONE = frozenset({"completed", "succeeded"})


class ExecutionBoundary(StrEnum):
    """Where a model runs, and how far a task may go: here, partly here, or in a cloud that was approved."""

    LOCAL = "local"
    HYBRID = "hybrid"
    CLOUD_APPROVED = "cloud-approved"


class RouteStatus(StrEnum):
    """What became of a request."""

    ALLOWED = "allowed"
    BLOCKED = "blocked"
    ESCALATION_REQUIRED = "escalation-required"


class FailureClass(StrEnum):
    """What would have to change, for the task to be allowed."""

    POLICY_DENIED = "policy_denied"
    NO_ROUTABLE_PROVIDER = "no_routable_provider"
    MISSING_CAPABILITY = "missing_capability"
    BUDGET_EXCEEDED = "budget_exceeded"
    CLOUD_APPROVAL_REQUIRED = "cloud_approval_required"
    SECRET_SCAN_REQUIRED = "secret_scan_required"  # noqa: S105  # the name of a failure
    VERIFICATION_PLAN_REQUIRED = "verification_plan_required"


@dataclass(frozen=True, slots=True)
class ProviderCapability:
    """A model of a provider: where it runs, what it can do, and what the task would cost there.

    Without ``context_window`` its size is not known, and then nothing is known to fit. One that is not ``enabled``
    counts as not there. Raises MisuseError for a negative cost.
    """

    provider_id: str
    model_id: str
    boundary: ExecutionBoundary
    capabilities: Set[Capability] = _COMPLETION
    estimated_cost_microusd: int = 0
    context_window: int | None = None
    enabled: bool = True

    def __post_init__(self) -> None:
        if self.estimated_cost_microusd < 0:
            raise MisuseError(f"{self.name}: a cost is not negative, unlike {self.estimated_cost_microusd}")
        object.__setattr__(self, "capabilities", frozenset(self.capabilities))

    @property
    def name(self) -> str:
        """The provider and its model."""
        return f"{self.provider_id}/{self.model_id}"


@dataclass(frozen=True, slots=True)
class EvidenceContract:
    """What must be shown before a task counts as done: artifacts by name, checks by name, an exit code of zero.

    One that asks for nothing is a plan only where ``allow_unverified_completion`` says that this is meant.
    """

    required_artifacts: tuple[str, ...] = ()
    required_checks: tuple[str, ...] = ()
    require_exit_code_zero: bool = False
    allow_unverified_completion: bool = False

    @property
    def is_actionable(self) -> bool:
        """Whether it says anything."""
        return bool(
            self.required_artifacts
            or self.required_checks
            or self.require_exit_code_zero
            or self.allow_unverified_completion
        )


@dataclass(frozen=True, slots=True)
class RouteRequest:
    """A task that is to be done by somebody.

    ``required`` is what the model must be able to do, and the tokens that must fit. ``max_cost_microusd`` is the most
    that it may cost, None without a limit. ``preferred_providers`` come first, in their order. A task leaves these
    premises only if ``boundary`` is not local, somebody approved the cloud, and a scan has found no secret in it.
    """

    task_id: str
    intent: str
    boundary: ExecutionBoundary = ExecutionBoundary.LOCAL
    required: RequiredCapabilities = RequiredCapabilities(_COMPLETION)
    input_classification: DataClassification = DataClassification.INTERNAL
    max_cost_microusd: int | None = None
    cloud_approved: bool = False
    secret_scan_passed: bool = False
    verification: EvidenceContract = EvidenceContract()
    preferred_providers: tuple[str, ...] = ()

    def to_json(self) -> dict[str, JsonValue]:
        """Return all that is asked, as JSON: no word of a prompt is in it."""
        return {
            "task_id": self.task_id,
            "intent": self.intent,
            "boundary": self.boundary,
            "required_capabilities": sorted(self.required.all_of),
            "estimated_input_tokens": self.required.context_tokens,
            "input_classification": self.input_classification,
            "max_cost_microusd": self.max_cost_microusd,
            "cloud_approved": self.cloud_approved,
            "secret_scan_passed": self.secret_scan_passed,
            "verification": asdict(self.verification),
            "preferred_providers": self.preferred_providers,
        }

    @property
    def context_hash(self) -> ContentHash:
        """The hash of the canonical JSON of all that is asked: equal requests have equal ones, in every process."""
        return ContentHash.of(canonical(self.to_json()))


@dataclass(frozen=True, slots=True)
class RouteDecision:
    """Who is to do a task, and who instead if that fails; or else why nobody may.

    ``reasons`` has a line for each model that may not, or for the request itself.
    """

    status: RouteStatus
    request_hash: ContentHash
    evidence_contract: EvidenceContract
    selected: ProviderCapability | None = None
    fallbacks: tuple[ProviderCapability, ...] = ()
    reasons: tuple[str, ...] = ()
    failure_class: FailureClass | None = None


@dataclass(frozen=True, slots=True)
class ExecutionReceipt:
    """What is there to show of a task that was done. ``artifact_hashes`` and ``checks`` are by name."""

    task_id: str
    route: RouteDecision
    status: str
    exit_code: int | None = None
    artifact_hashes: Mapping[str, ContentHash] = field(default_factory=dict)
    checks: Mapping[str, bool] = field(default_factory=dict)
    stdout_hash: ContentHash | None = None
    stderr_hash: ContentHash | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "artifact_hashes", MappingProxyType(dict(self.artifact_hashes)))
        object.__setattr__(self, "checks", MappingProxyType(dict(self.checks)))


@dataclass(frozen=True, slots=True)
class EvidenceAssessment:
    """What is missing of the evidence; where nothing is, the task is done."""

    reasons: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether the task counts as done."""
        return not self.reasons


def decide(
    request: RouteRequest,
    models: Iterable[ProviderCapability],
    chain: Sequence[str],
    denied: Collection[str] = (),
) -> RouteDecision:
    """Decide who is to do a task.

    ``chain`` are the providers that can be asked now, best first; ``denied`` those that a policy denies for it. Models
    are ordered by the request's preference, the chain, cost and name. What is named as the failure is what is in the
    way of the model that came furthest: it is missing a capability only if no model has them all.
    """
    contract = request.verification
    if not contract.is_actionable:
        reason = "nothing says what must be shown before the task counts as done"
        failure = FailureClass.VERIFICATION_PLAN_REQUIRED
        return RouteDecision(RouteStatus.BLOCKED, request.context_hash, contract, None, (), (reason,), failure)

    def order(model: ProviderCapability) -> tuple[int, int, int, str]:
        preferred, place = _place(model.provider_id, request.preferred_providers), _place(model.provider_id, chain)
        return preferred, place, model.estimated_cost_microusd, model.name

    eligible, found = [], dict[FailureClass, list[str]]()
    for model in sorted((model for model in models if model.enabled), key=order):
        obstacle = next(_obstacles(request, model, chain, denied), None)
        if obstacle is None:
            eligible.append(model)
        else:
            found.setdefault(obstacle[0], []).append(f"{model.name}: {obstacle[1]}")
    reasons = tuple(reason for failure in found.values() for reason in failure)
    if eligible:
        first, *rest = eligible
        return RouteDecision(RouteStatus.ALLOWED, request.context_hash, contract, first, tuple(rest), reasons)
    failure = next((failure for failure in _FURTHEST if failure in found), FailureClass.NO_ROUTABLE_PROVIDER)
    escalates = failure is FailureClass.CLOUD_APPROVAL_REQUIRED
    status = RouteStatus.ESCALATION_REQUIRED if escalates else RouteStatus.BLOCKED
    return RouteDecision(status, request.context_hash, contract, None, (), reasons, failure)


_FURTHEST = (
    FailureClass.SECRET_SCAN_REQUIRED,
    FailureClass.CLOUD_APPROVAL_REQUIRED,
    FailureClass.NO_ROUTABLE_PROVIDER,
    FailureClass.POLICY_DENIED,
    FailureClass.BUDGET_EXCEEDED,
    FailureClass.MISSING_CAPABILITY,
)
"""The obstacles, the last one of a model's way first."""


def _obstacles(
    request: RouteRequest, model: ProviderCapability, chain: Sequence[str], denied: Collection[str]
) -> Iterator[tuple[FailureClass, str]]:
    """Yield what is in the way of a model, in the order in which it is met."""
    if missing := request.required.missing(model.capabilities):
        yield FailureClass.MISSING_CAPABILITY, f"lacks {', '.join(missing)}"
    if request.required.context_tokens > (model.context_window or 0):
        room = "an unknown number" if model.context_window is None else model.context_window
        yield FailureClass.MISSING_CAPABILITY, f"{request.required.context_tokens} tokens are needed, {room} fit"
    cost, most = model.estimated_cost_microusd, request.max_cost_microusd
    if most is not None and cost > most:
        yield FailureClass.BUDGET_EXCEEDED, f"costs {cost} micro-dollars, {most} are allowed"
    if model.provider_id in denied:
        yield FailureClass.POLICY_DENIED, "is denied by policy"
    remote = model.boundary is not ExecutionBoundary.LOCAL
    if remote and request.boundary is ExecutionBoundary.LOCAL:
        yield FailureClass.NO_ROUTABLE_PROVIDER, "is not local, and the task is"
    if model.provider_id not in chain:
        yield FailureClass.NO_ROUTABLE_PROVIDER, "cannot be asked now"
    if remote and not request.cloud_approved:
        yield FailureClass.CLOUD_APPROVAL_REQUIRED, "is in the cloud, which nobody approved"
    if remote and not request.secret_scan_passed:
        yield FailureClass.SECRET_SCAN_REQUIRED, "is in the cloud, and no scan for secrets has passed"


def assess_evidence(contract: EvidenceContract, receipt: ExecutionReceipt) -> EvidenceAssessment:
    """Hold a receipt to what was agreed on."""
    return EvidenceAssessment(tuple(_missing(contract, receipt)))


def _missing(contract: EvidenceContract, receipt: ExecutionReceipt) -> Iterator[str]:
    if contract.require_exit_code_zero and receipt.exit_code != 0:
        yield "no exit code" if receipt.exit_code is None else f"exit code {receipt.exit_code}"
    for name in contract.required_artifacts:
        if name not in receipt.artifact_hashes:
            yield f"artifact {name!r} is missing"
    for name in contract.required_checks:
        if receipt.checks.get(name) is not True:
            yield f"check {name!r} {'has failed' if name in receipt.checks else 'is missing'}"
    if receipt.status not in _DONE and not contract.allow_unverified_completion:
        yield f"its status is {receipt.status!r}"


def _place(name: str, names: Sequence[str]) -> int:
    """Return the place of a name; who is not among the names comes after all who are."""
    return names.index(name) if name in names else len(names)
