"""The seven kinds of node of an execution graph, and the nine ways in which two of them can be connected.

A node is a frozen value. Its id is given to it, so that edges can name it, or else it is derived from what the node
says: the same content, the same id, whoever makes it and whenever. What is not stated of a resource counts against it:
it is taken to be reached over a network, and not to answer the same twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Literal, cast

from pydantic import ConfigDict, Field, TypeAdapter

from converge_core import ConvergeError, FrozenObject, MisuseError
from converge_core.context.payloads import FrozenDict, freeze
from converge_core.governance.resources import Resource
from converge_core.ledger.canonical import JsonValue, canonical
from converge_core.ledger.hashes import ContentHash

ID_DIGITS = 12


class GraphError(ConvergeError, ValueError):
    """A graph, or a part of one, cannot be as it is said to be."""


class NodeKind(StrEnum):
    """What a node is."""

    INTENT = "intent"
    RESOURCE = "resource"
    CONSTRAINT = "constraint"
    AUTHORITY = "authority"
    MEMORY = "memory"
    TRACE = "trace"
    PROJECTION = "projection"


class EdgeKind(StrEnum):
    """How one node is connected with another."""

    REQUIRES = "requires"
    ENABLES = "enables"
    BLOCKS = "blocks"
    EXECUTES_ON = "executes_on"
    TRANSFORMS_INTO = "transforms_into"
    OBSERVES = "observes"
    DERIVES_FROM = "derives_from"
    PROJECTS_TO = "projects_to"
    SWAPS_TO = "swaps_to"


class ResourceKind(StrEnum):
    """What sort of resource it is. An ``llm`` is asked, and every other one is run."""

    LLM = "llm"
    VM = "vm"
    TOOL = "tool"
    AGENT = "agent"


class Severity(StrEnum):
    """What follows where a constraint does not hold. Nothing else decides about that."""

    SOFT = "soft"
    HARD = "hard"
    CRITICAL = "critical"

    @property
    def blocks(self) -> bool:
        """Whether nothing is done that the constraint does not allow."""
        return self is not Severity.SOFT


class Scope(StrEnum):
    """For whom a constraint is meant: for its own request, or for every request of the run, which is a session.

    What is global holds for every run whose intent states it, and in each of them like what is meant for the session.
    """

    GLOBAL = "global"
    SESSION = "session"
    REQUEST = "request"


class IdentityScope(StrEnum):
    """On whose authority something is done, from anybody's to the operator's."""

    PUBLIC = "public"
    AGENT = "agent"
    USER = "user"
    OPERATOR = "operator"

    def covers(self, needed: IdentityScope) -> bool:
        """Say whether this authority is the needed one or a higher one."""
        order = list(IdentityScope)
        return order.index(self) >= order.index(needed)


class MemoryAccess(StrEnum):
    """Whose a memory is, from everybody's to nobody's outside of here."""

    PUBLIC = "public"
    OPERATOR = "operator"
    INTERNAL = "internal"

    def covers(self, needed: MemoryAccess) -> bool:
        """Say whether who may read memories of this access may read one of that."""
        order = list(MemoryAccess)
        return order.index(self) >= order.index(needed)


class TraceEvent(StrEnum):
    """What has happened to a node."""

    ACTIVATED = "activated"
    COMPLETED = "completed"
    FAILED = "failed"
    ROLLED_BACK = "rolled_back"
    AUDITED = "audited"
    SWAPPED = "swapped"
    SWAP_REFUSED = "swap_refused"
    INFEASIBLE = "infeasible"
    ABORTED = "aborted"


class View(StrEnum):
    """Where a projection is shown."""

    PANEL = "panel"
    COCKPIT = "cockpit"
    DEBUG = "debug"
    COMPACT = "compact"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Node:
    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    kind: NodeKind
    id: str = ""
    label: str = ""

    def __post_init__(self) -> None:
        if not self.id:
            object.__setattr__(self, "id", _content_id(cast("Node", self)))
        if not self.id.isprintable() or self.id != self.id.strip():
            raise GraphError(f"{self.id!r:.80} is no id of a node")


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentNode(_Node):
    """What is wanted: the request, in words."""

    kind: Literal[NodeKind.INTENT] = NodeKind.INTENT
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceNode(_Node):
    """What it can be done with. An ``llm`` is the model of its id.

    ``role`` is the place that it fills, its id where none is named; others of the same role can take its place. Among
    equals the lowest ``priority`` goes first. ``deterministic`` says that the same request has the same answer,
    ``external`` that data leaves the premises. Raises GraphError for what no resource can be.
    """

    kind: Literal[NodeKind.RESOURCE] = NodeKind.RESOURCE
    resource_kind: ResourceKind = ResourceKind.LLM
    role: str = ""
    provider: str = ""
    capabilities: tuple[str, ...] = ()
    cost_per_token: float = 0.0
    latency_target_ms: float = 2_000.0
    deterministic: bool = False
    external: bool = True
    priority: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "capabilities", tuple(sorted(set(self.capabilities))))
        _Node.__post_init__(self)
        try:
            _ = self.resource
        except MisuseError as error:
            raise GraphError(str(error)) from error

    @property
    def place(self) -> str:
        """The role that it fills."""
        return self.role or self.id

    @property
    def resource(self) -> Resource:
        """The resource, as it is compared and swapped."""
        return Resource(
            self.id, self.provider, frozenset(self.capabilities), self.cost_per_token, self.latency_target_ms
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ConstraintNode(_Node):
    """What must hold: a predicate by its id, with its arguments."""

    kind: Literal[NodeKind.CONSTRAINT] = NodeKind.CONSTRAINT
    predicate: str
    arguments: FrozenObject = field(default_factory=FrozenDict)
    scope: Scope = Scope.REQUEST
    severity: Severity = Severity.HARD

    def __post_init__(self) -> None:
        object.__setattr__(self, "arguments", freeze(cast("JsonValue", self.arguments)))
        _Node.__post_init__(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorityNode(_Node):
    """Who may: the lowest authority that is enough, and the profiles of denials that hold whatever it is."""

    kind: Literal[NodeKind.AUTHORITY] = NodeKind.AUTHORITY
    identity_scope: IdentityScope = IdentityScope.OPERATOR
    policies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryNode(_Node):
    """What is remembered, where it comes from, and who may read it."""

    kind: Literal[NodeKind.MEMORY] = NodeKind.MEMORY
    content: str = ""
    provenance: str = ""
    access: MemoryAccess = MemoryAccess.INTERNAL


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceNode(_Node):
    """What has happened: to which node (``actor``), at which tick, and after which other trace (``cause``)."""

    kind: Literal[NodeKind.TRACE] = NodeKind.TRACE
    event: TraceEvent
    actor: str = ""
    tick: int = 0
    cause: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectionNode(_Node):
    """What people are shown of the nodes that project to it, while these have at least ``min_health``."""

    kind: Literal[NodeKind.PROJECTION] = NodeKind.PROJECTION
    view: View = View.PANEL
    min_health: float | None = None


Node = Annotated[
    IntentNode | ResourceNode | ConstraintNode | AuthorityNode | MemoryNode | TraceNode | ProjectionNode,
    Field(discriminator="kind"),
]
_NODE: TypeAdapter[Node] = TypeAdapter(Node, config=ConfigDict(defer_build=True))


def node_json(node: Node) -> dict[str, Any]:
    """Return a node as JSON."""
    return cast("dict[str, Any]", _NODE.dump_python(node, mode="json"))


def read_node(value: Mapping[str, Any]) -> Node:
    """Read what `node_json` has written. Raises pydantic's ValidationError."""
    return _NODE.validate_python(value)


def _content_id(node: Node) -> str:
    said = {name: value for name, value in node_json(node).items() if name != "id"}
    return f"{node.kind}:{str(ContentHash.of(canonical(said)))[:ID_DIGITS]}"
