"""Actions (AAPF): what an agent did, on whose claim, past which gates, and how it ended; as a fact like any other.

An `ActionRecord` is the payload of a proposal, so everything else is the ledger's: its place in time, its hash over the
one before, and the chain of causes, which is the evidence that the proposal cites. Nothing is hashed here, and nothing
can be changed afterwards.

An action passes five gates, in one order, and the record holds the trace of it:

    dcf   classification: may this data be used at all, by this tenant
    nap   negative authority: does anybody deny it
    ccf   capability: is somebody able to do it, and known to be
    pcsf  capacity: who can be asked now
    aapf  the record, of every action, whatever became of it

Who is turned away by a gate does not come to the next one but the last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import islice
from typing import Annotated, ClassVar, NamedTuple, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from converge_core.context.facts import AnyFact, Fact, ProposedFact
from converge_core.context.keys import ContextKey
from converge_core.context.payloads import FactPayload, FrozenDict, FrozenObject, PayloadRegistry
from converge_core.context.state import Context
from converge_core.errors import MisuseError
from converge_core.experience.records import ExperienceRecord
from converge_core.governance.terms import Boundary
from converge_core.ledger.canonical import canonical
from converge_core.ledger.events import FactCarried, FactPromoted
from converge_core.llm.capacity import DreamerTier

MAX_SUMMARY = 200


class Gate(StrEnum):
    """The gates that an action passes. The order of declaration is the order in which they are passed."""

    CLASSIFICATION = "dcf"
    NEGATIVE_AUTHORITY = "nap"
    CAPABILITY = "ccf"
    CAPACITY = "pcsf"
    RECORD = "aapf"


class ActionType(StrEnum):
    """What sort of action it is."""

    CHAT = "chat"
    SAVE = "save"
    DISPATCH = "dispatch"
    GATE_CHECK = "gate_check"
    BOUNDARY_CROSS = "boundary_cross"


class ActionStatus(StrEnum):
    """How it ended."""

    OK = "ok"
    ERROR = "error"
    DENIED = "denied"
    TIMEOUT = "timeout"


class ConsentState(StrEnum):
    """Whether somebody agreed to it."""

    EXPLICIT = "explicit"
    IMPLICIT = "implicit"
    DENIED = "denied"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class GatePassage(_Part):
    """That an action came to a gate; ``denial`` is why it was turned away, None where it was not."""

    gate: Gate
    denial: str | None = None


@dataclass(frozen=True, slots=True)
class GateTrace:
    """The gates that an action has come to, kept to their one order.

    >>> trace = GateTrace().after(Gate.CLASSIFICATION).after(Gate.NEGATIVE_AUTHORITY, "we do not trade")
    """

    passages: tuple[GatePassage, ...] = ()

    def after(self, gate: Gate, denial: str | None = None) -> GateTrace:
        """Return the trace after a gate that let the action pass, or that had something against it.

        Raises MisuseError where it is another gate's turn.
        """
        if gate is not self.due:
            raise MisuseError(f"gate {gate} is not due: {'nothing' if self.due is None else self.due} is")
        return replace(self, passages=(*self.passages, GatePassage(gate=gate, denial=denial)))

    @property
    def denial(self) -> GatePassage | None:
        """Where the action was turned away, if it was."""
        return next((each for each in self.passages if each.denial is not None), None)

    @property
    def due(self) -> Gate | None:
        """The gate that the action comes to next; None after the last."""
        if self.passages and self.passages[-1].gate is Gate.RECORD:
            return None
        return Gate.RECORD if self.denial is not None else list(Gate)[len(self.passages)]

    @property
    def granted(self) -> bool:
        """Whether the action may be done: every gate before the record has let it pass."""
        return self.due is Gate.RECORD and self.denial is None


def pass_gates(objections: Mapping[Gate, Callable[[], str | None]]) -> GateTrace:
    """Ask every gate but the record, in their order, what it has against an action, and stop at the first that has.

    In what order they are given makes no difference. Raises MisuseError where one is missing, or too many.
    """
    asked = [gate for gate in Gate if gate is not Gate.RECORD]
    if set(objections) != set(asked):
        raise MisuseError(f"an action passes the gates {', '.join(asked)}; no other, and none is left out")
    trace = GateTrace()
    for gate in asked:
        trace = trace.after(gate, objections[gate]())
        if trace.denial is not None:
            break
    return trace


class AgentActor(_Part):
    """Who acted: an agent, through a model of a provider if it was asked."""

    agent_id: str = Field(min_length=1)
    provider_id: str = ""
    model: str = ""


def _cut(text: str) -> str:
    return text if len(text) <= MAX_SUMMARY else f"{text[: MAX_SUMMARY - 1]}…"


Summary = Annotated[str, AfterValidator(_cut)]
"""A text of which the first `MAX_SUMMARY` characters are kept."""


class ActionRecord(FactPayload):
    """One action of an agent.

    ``capability_claim``, ``nap_profile``, ``dcf_ref`` and ``plan`` are the ids of what it was allowed or denied by;
    ``gates`` is the trace of its gates, the record itself included. An action that a gate has turned away is denied;
    one that is denied has come to nothing: no provider, no output.
    """

    family: ClassVar[str] = "converge.action"

    action_type: ActionType
    actor: AgentActor
    status: ActionStatus
    gates: tuple[GatePassage, ...]
    input_summary: Summary = ""
    output_summary: Summary = ""
    capability_claim: str = ""
    nap_profile: str = ""
    dcf_ref: str = ""
    plan: str = ""
    tier: DreamerTier = DreamerTier.WANDERER
    consent: ConsentState = ConsentState.IMPLICIT
    data_classes: tuple[str, ...] = ()
    boundary: Boundary = Boundary.LOCAL
    latency_ms: int = Field(default=0, ge=0)
    error: Summary = ""
    metadata: FrozenObject = Field(default_factory=FrozenDict)

    @model_validator(mode="after")
    def _tells_one_story(self) -> ActionRecord:
        trace = GateTrace()
        try:
            for each in self.gates:
                trace = trace.after(each.gate, each.denial)
        except MisuseError as error:
            raise ValueError(str(error)) from error
        if trace.due is not None:
            raise ValueError(f"the trace ends before gate {trace.due}")
        if (trace.denial is not None) != (self.status is ActionStatus.DENIED):
            raise ValueError("an action is denied where a gate has turned it away, and only there")
        if self.status is ActionStatus.DENIED and (self.actor.provider_id or self.output_summary):
            raise ValueError("an action that was denied has asked no provider and has no output")
        return self

    @property
    def denial(self) -> GatePassage | None:
        """The gate that has turned the action away, if one has."""
        return GateTrace(self.gates).denial

    def summary(self) -> str:
        why = self.denial.denial if self.denial is not None else self.error
        return f"{self.actor.agent_id}: {self.action_type} {self.status}{f', {why}' if why else ''}"


def action_proposal(
    action_id: str,
    record: ActionRecord,
    causes: Iterable[AnyFact | str] = (),
    key: ContextKey = ContextKey.EVALUATIONS,
) -> ProposedFact[ActionRecord]:
    """Return an action as a proposal that cites what caused it: the facts themselves, or ``key/id``."""
    return ProposedFact(key, action_id, record, evidence=tuple(causes))


@dataclass(frozen=True, slots=True)
class ActionQuery:
    """Which actions: those that meet every condition given, and of these the last ``limit``."""

    agent: str | None = None
    action_type: ActionType | None = None
    status: ActionStatus | None = None
    limit: int = 100

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise MisuseError(f"a limit is at least 1, not {self.limit}")

    def wants(self, record: ActionRecord) -> bool:
        """Say whether a record meets the conditions."""
        return (
            self.agent in (None, record.actor.agent_id)
            and self.action_type in (None, record.action_type)
            and self.status in (None, record.status)
        )


class ToldAction(NamedTuple):
    """An action of a past run, and the entry of the ledger that tells of it."""

    entry: ExperienceRecord
    record: ActionRecord


EVERY_ACTION = ActionQuery()
_FACTS = (FactPromoted.kind, FactCarried.kind)


def actions_in(ctx: Context, query: ActionQuery = EVERY_ACTION) -> tuple[Fact[ActionRecord], ...]:
    """Return the actions of a run that a query asks for, oldest first."""
    found = (fact for fact in reversed(ctx.get(ActionRecord)) if query.wants(fact.payload))
    return tuple(islice(found, query.limit))[::-1]


def actions_told(entries: Iterable[ExperienceRecord], query: ActionQuery = EVERY_ACTION) -> tuple[ToldAction, ...]:
    """Return the actions among what happened in past runs, in the order of the entries.

    An action counts once it is a fact; what was proposed and turned away is none. Raises PayloadError for a record that
    is newer than this program.
    """
    return tuple(told for told in _told(entries) if query.wants(told.record))[-query.limit :]


def _told(entries: Iterable[ExperienceRecord]) -> Iterator[ToldAction]:
    payloads = PayloadRegistry()
    payloads.register(ActionRecord)
    for entry in entries:
        content = entry.content
        if content is None or entry.entry not in _FACTS:
            continue
        if content.get("family") == ActionRecord.family:
            record = payloads.decode(ActionRecord.family, cast("int", content["version"]), canonical(content["body"]))
            yield ToldAction(entry, cast("ActionRecord", record))


def count_by_status(records: Iterable[ActionRecord]) -> Mapping[ActionStatus, int]:
    """Return how many actions ended in each way; 0 for those in which none did."""
    counts = Counter(record.status for record in records)
    return {status: counts[status] for status in ActionStatus}


def causal_chain(ctx: Context, ref: str) -> tuple[AnyFact, ...]:
    """Return the facts behind a fact (``key/id``) and the fact itself, causes first, each once.

    What is cited and is no fact of this run is left out; so is a fact that nobody knows.
    """
    chain: dict[str, AnyFact] = {}
    stack = [ref]
    while stack:
        fact = ctx.resolve(stack.pop())
        if fact is not None and fact.ref not in chain:
            chain[fact.ref] = fact
            stack += fact.evidence
    return tuple(sorted(chain.values(), key=lambda fact: fact.lamport))
