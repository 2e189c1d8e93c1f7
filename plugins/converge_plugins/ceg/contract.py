"""The contract of an execution: what it must be able to do, within which limits; and what is planned to keep it.

All of it is honoured, or the plan says what is in the way. A constraint of the graph is a predicate by its id, with
arguments, held against the contract and what was observed; the predicates are callables, and an intent may bring its
own. What follows is a matter of severity alone: soft warns, hard blocks, critical aborts. A predicate that nobody
knows, or that cannot say, does not hold; so unknown is unsatisfied where it matters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from converge_core.governance.ranking import CostTerms
from converge_core.governance.resources import Feature, Live
from converge_core.ledger.canonical import canonical
from converge_core.ledger.hashes import ContentHash
from converge_core.llm.capacity import DreamerTier
from converge_plugins.ceg.nodes import ConstraintNode, IdentityScope, MemoryAccess, Severity


class ExternalIO(StrEnum):
    """Whether data may leave the premises: yes, no, or yes with a trace that says so."""

    ALLOW = "allow"
    AUDIT = "audit"
    BLOCK = "block"


class ExecutionConstraints(BaseModel):
    """The limits of an execution."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    max_cost: float = Field(default=0.05, ge=0, description="The most that a thousand tokens may cost, in US dollars.")
    max_latency_ms: float = Field(default=10_000.0, gt=0, description="The longest that it may take.")
    determinism: bool = Field(default=False, description="Whether the same request must have the same answer.")
    memory_policy: MemoryAccess = Field(
        default=MemoryAccess.INTERNAL, description="The most closed memory that may be read."
    )
    external_io_policy: ExternalIO = Field(default=ExternalIO.ALLOW, description="Whether data may leave the premises.")


class ExecutionContract(BaseModel):
    """What is to be executed: with which capabilities, within which limits, on whose authority, about which data.

    ``allowed`` (none: everybody) and ``forbidden`` name resources or providers, ``labels`` the classes of the data.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    capabilities: tuple[str, ...] = Field(default=(), description="What the resource must be able to do.")
    constraints: ExecutionConstraints = Field(default=ExecutionConstraints(), description="The limits.")
    allowed: tuple[str, ...] = Field(default=(), description="Resources, or providers, that may be used; all.")
    forbidden: tuple[str, ...] = Field(default=(), description="Resources, or providers, that may not be used.")
    labels: tuple[str, ...] = Field(default=(), description="The classes of the data, such as `pii.email`.")
    authority: IdentityScope = Field(default=IdentityScope.USER, description="On whose authority it is done.")
    tier: DreamerTier = Field(default=DreamerTier.WANDERER, description="Whose request it is, by entitlement.")
    max_ticks: int = Field(default=20, ge=1, le=1000, description="How often it is looked at and tried at most.")

    @property
    def id(self) -> str:
        """The SHA-256 (hex) of what it says."""
        return digest_of(self.model_dump(mode="json"))


class Question(NamedTuple):
    """What a predicate is asked: about its arguments, the contract, and what was observed."""

    arguments: Mapping[str, Any]
    contract: ExecutionContract
    live: Live


Predicate = Callable[[Question], bool | None]
"""Says whether a constraint holds; None where it cannot say."""


def _no_pii(question: Question) -> bool | None:
    """Nobody has said what the data is, or it is nothing personal."""
    labels = question.contract.labels
    return not any(label.partition(".")[0] == "pii" for label in labels) if labels else None


def _max_cost(question: Question) -> bool | None:
    limit = question.arguments.get("usd")
    return question.contract.constraints.max_cost <= limit if isinstance(limit, int | float) else None


def _max_latency(question: Question) -> bool | None:
    limit = question.arguments.get("ms")
    return question.contract.constraints.max_latency_ms <= limit if isinstance(limit, int | float) else None


def _deterministic(question: Question) -> bool | None:
    return question.contract.constraints.determinism


def _on_the_premises(question: Question) -> bool | None:
    return question.contract.constraints.external_io_policy is ExternalIO.BLOCK


def _healthy(question: Question) -> bool | None:
    resource, least = question.arguments.get("resource"), question.arguments.get("min_health")
    seen = question.live.get(str(resource))
    if seen is None or seen.health is None or not isinstance(least, int | float):
        return None
    return Feature("healthy", str(resource), float(least)).evaluate(question.live).active


PREDICATES: Mapping[str, Predicate] = MappingProxyType(
    {
        "no_pii": _no_pii,
        "max_cost": _max_cost,
        "max_latency": _max_latency,
        "deterministic": _deterministic,
        "on_the_premises": _on_the_premises,
        "healthy": _healthy,
    }
)
"""The predicates that come with the house, by id.

``max_cost`` (``usd``) and ``max_latency`` (``ms``) hold a contract to no more than that; ``healthy`` asks for a
``min_health`` of a ``resource``.
"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a predicate has said of a constraint: that it holds or not, or (None) that nobody knows."""

    constraint: str
    predicate: str
    severity: Severity
    held: bool | None
    detail: str = ""

    @property
    def violated(self) -> bool:
        """Whether the constraint is not known to hold."""
        return self.held is not True

    def __str__(self) -> str:
        how = "does not hold" if self.held is False else "is not known to hold"
        return f"{self.severity} constraint {self.predicate!r} {how}{f': {self.detail}' if self.detail else ''}"


def judge(
    constraint: ConstraintNode, predicates: Mapping[str, Predicate], contract: ExecutionContract, live: Live
) -> Verdict:
    """Ask the predicate of a constraint. One that is not there, or raises, has not said that it holds."""
    held, detail = None, ""
    predicate = predicates.get(constraint.predicate)
    if predicate is None:
        detail = "there is no such predicate"
    else:
        try:
            held = predicate(Question(constraint.arguments, contract, live))
        except Exception as error:  # an intent may bring its own, and one that fails has not said yes
            detail = f"it raised {type(error).__name__}"
    if held is not None and not isinstance(held, bool):
        held, detail = None, f"it said {type(held).__name__}, which is neither yes nor no"
    return Verdict(constraint.id, constraint.predicate, constraint.severity, held, detail)


class Rule(StrEnum):
    """What a candidate is held to, in this order."""

    ALLOWED = "allowed"
    INTENT = "intent"
    CAPABILITIES = "capabilities"
    DETERMINISM = "determinism"
    EXTERNAL_IO = "external_io"
    MEMORY = "memory"
    AUTHORITY = "authority"
    GATES = "gates"
    CONSTRAINTS = "constraints"
    BLOCKS = "blocks"
    HEALTH = "health"
    REQUIRES = "requires"
    COST = "cost"
    LATENCY = "latency"


class Rejection(NamedTuple):
    """Why a candidate is not used: the rule, and what is against it."""

    rule: Rule
    detail: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A resource as it was judged.

    ``price`` is that of a thousand tokens in US dollars, ``health`` None where nobody knows, ``terms`` are its own, and
    ``cost`` is that of everything in ``steps``: what it requires, and itself at the end.
    """

    resource: str
    provider: str
    dilation: float
    health: float | None
    latency_ms: float
    dilated_latency_ms: float
    price: float
    terms: CostTerms
    cost: float
    steps: tuple[str, ...]
    rejections: tuple[Rejection, ...] = ()

    @property
    def accepted(self) -> bool:
        """Whether nothing is against it."""
        return not self.rejections


@dataclass(frozen=True, slots=True)
class ExecutionStep:
    """One resource that is to be executed. ``audited`` says that a trace is to tell of data that leaves."""

    resource: str
    price: float
    latency_ms: float
    dilated_latency_ms: float
    audited: bool = False


@dataclass(frozen=True, slots=True)
class ExecutionPlan:
    """What is to be executed, one step after the other, and how that was decided.

    ``contract``, ``graph``, ``state`` and ``field`` are digests of what it was decided by. ``candidates`` are all there
    were, the accepted ones first and best first. Without steps it is infeasible for ``reasons``, or ``aborted``.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    contract: str
    graph: str
    state: str
    field: str
    candidates: tuple[Candidate, ...] = ()
    steps: tuple[ExecutionStep, ...] = ()
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    aborted: bool = False

    @property
    def feasible(self) -> bool:
        """Whether there is anything to be executed."""
        return bool(self.steps)

    @property
    def order(self) -> tuple[str, ...]:
        """The accepted resources, best first."""
        return tuple(candidate.resource for candidate in self.candidates if candidate.accepted)

    @property
    def total_cost(self) -> float:
        """What a thousand tokens cost in every step, in US dollars."""
        return sum(step.price for step in self.steps)

    @property
    def total_latency_ms(self) -> float:
        """How long the steps take one after the other, with their dilation."""
        return sum(step.dilated_latency_ms for step in self.steps)

    @property
    def decision(self) -> str:
        """The SHA-256 (hex) of what is to be done and why, whatever it costs: costs drift, and nothing comes of it."""
        against = {each.resource: [list(rejection) for rejection in each.rejections] for each in self.candidates}
        return digest_of([self.contract, self.graph, list(self.order), against, list(self.reasons), self.aborted])

    @property
    def id(self) -> str:
        """The SHA-256 (hex) of the plan."""
        return digest_of(_PLAN.dump_python(self, mode="json"))


_PLAN: TypeAdapter[ExecutionPlan] = TypeAdapter(ExecutionPlan)


def digest_of(value: Any) -> str:
    """Return the SHA-256 (hex) of a value's canonical JSON."""
    return str(ContentHash.of(canonical(value)))
