"""The events of a run: what came in (*inputs*), and what followed from it (*derived*).

A run is its ledger. Feeding the recorded inputs to a new machine gives the same run again, and every derived event of
it, byte by byte; that is resume, replay and audit at once. An event's body is one canonical JSON object (RFC 8785) that
names its ``kind``; a proposal's payload stands in the input that brought it and nowhere else, later events name it by
the SHA-256 of the proposal. Wall-clock time is no part of an event: it is metadata of the store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, ClassVar, NamedTuple, Self, cast

from converge_core.ledger.canonical import JsonValue, canonical, parse, quote
from converge_core.ledger.merkle import leaf_hash

FORMAT = 1
"""The version of the event bodies; it stands in ``run_started``."""

MAX_REASON = 500
"""Characters of a reason that are kept."""


def printable(text: str) -> str:
    """Return a message as one line that is safe to store and to show, cut to `MAX_REASON` characters."""
    line = " ".join(text.split()).encode(errors="replace").decode()
    return "".join(character if character.isprintable() else "?" for character in line[:MAX_REASON])


class Entry(NamedTuple):
    """A line of the ledger: kind, canonical JSON body, and the body's RFC 6962 leaf hash (32 bytes)."""

    kind: str
    body: str
    leaf: bytes

    @classmethod
    def written(cls, kind: str, body: str) -> Entry:
        """Return the entry of a body that an event of this kind has."""
        return cls(kind, body, leaf_hash(body.encode()))

    @classmethod
    def of(cls, body: str) -> Entry:
        """Return the entry of a body that was written before. Raises ValueError when it is no event's."""
        value = parse(body)
        if not isinstance(value, Mapping) or value.get("kind") not in EVENTS:
            raise ValueError(f"not the body of an event: {body[:80]!r}")
        return cls.written(str(value["kind"]), body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """The base of all events. Fields hold JSON values; a field that is None is left out of the body."""

    kind: ClassVar[str]
    is_input: ClassVar[bool] = False

    def body(self) -> str:
        """Return the canonical JSON of the event."""
        return canonical({"kind": self.kind} | self.to_json())

    def to_json(self) -> dict[str, JsonValue]:
        """Return the fields that have a value, without the kind."""
        return {name: value for name in _names(self.kind) if (value := getattr(self, name)) is not None}

    def entry(self) -> Entry:
        """Return the event as a line of the ledger."""
        return Entry.written(self.kind, self.body())

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read the event back from its parsed body. Raises TypeError for fields that are missing, unknown or wrong."""
        event = cls(**{name: item for name, item in value.items() if name != "kind"})
        for name, types in _plain_fields(cls.kind):
            if type(getattr(event, name)) not in types:
                raise TypeError(f"{name} is a {type(getattr(event, name)).__name__}")
        return event


@cache
def _names(kind: str) -> tuple[str, ...]:
    """Return the names of an event's fields."""
    return tuple([field.name for field in fields(EVENTS[kind])])


_PLAIN: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "bool": (bool,),
    "str | None": (str, type(None)),
    "int | None": (int, type(None)),
}


@cache
def _plain_fields(kind: str) -> tuple[tuple[str, tuple[type, ...]], ...]:
    """Return the fields that hold one plain value, and the types that it may have."""
    return tuple((field.name, _PLAIN[str(field.type)]) for field in fields(EVENTS[kind]) if field.type in _PLAIN)


def _text(proposal: str | Mapping[str, JsonValue]) -> str:
    """Return a proposal's canonical JSON, which the machine has made already and a reader has not."""
    return proposal if isinstance(proposal, str) else canonical(proposal)


# --- inputs: what a replay is fed with ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    """The constitution of the run: everything that was fixed before the first cycle."""

    kind: ClassVar[str] = "run_started"
    is_input: ClassVar[bool] = True
    format: int
    run_id: str
    intent: Mapping[str, JsonValue] | None = None
    budget: Mapping[str, JsonValue]
    gates: Mapping[str, JsonValue]
    suggestors: tuple[str, ...] | tuple[Mapping[str, JsonValue], ...]
    invariants: tuple[Mapping[str, JsonValue], ...]
    packs: tuple[str, ...] | None = None
    source: Mapping[str, JsonValue] | None = None
    parent: Mapping[str, JsonValue] | None = None
    labels: Mapping[str, str] | None = None

    def body(self) -> str:
        return started_body(self.around_run_id(), self.run_id)

    def around_run_id(self) -> tuple[str, str]:
        """Return the body up to the run's id and from there on: what all runs of one setup have in common."""
        value = {"kind": self.kind} | self.to_json()
        before = {name: item for name, item in value.items() if name < "run_id"}
        source = "" if self.source is None else f",{canonical({'source': self.source})[1:-1]}"
        suggestors = ",".join(map(_text, self.suggestors))  # encoded already; their name is the last in order
        return canonical(before)[:-1], f'{source},"suggestors":[{suggestors}]}}'


def started_body(around: tuple[str, str], run_id: str) -> str:
    """Return the body of a ``run_started`` from what stands around the run's id."""
    before, after = around
    return f"{before},{canonical({'run_id': run_id})[1:-1]}{after}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FactCarried(Event):
    """A fact of an earlier run with which this one starts: its proposal, and the entry that promoted it there."""

    kind: ClassVar[str] = "fact_carried"
    is_input: ClassVar[bool] = True
    proposal: Mapping[str, JsonValue]
    promotion: Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True, kw_only=True)
class InputAdmitted(Event):
    """An input at the door: a proposal that no suggestor made. ``cycle`` is there when the run had begun already.

    ``content_hash`` is there for an observation: the SHA-256 of what was observed, as its receipt has it.
    """

    kind: ClassVar[str] = "input_admitted"
    is_input: ClassVar[bool] = True
    proposer: str
    proposal: str | Mapping[str, JsonValue]
    cycle: int | None = None
    content_hash: str | None = None

    @property
    def parsed(self) -> Mapping[str, JsonValue]:
        """The proposal as JSON."""
        return cast(
            "Mapping[str, JsonValue]", parse(self.proposal) if isinstance(self.proposal, str) else self.proposal
        )

    def body(self) -> str:
        said = "" if self.content_hash is None else f'"content_hash":{canonical(self.content_hash)},'
        cycle = "" if self.cycle is None else f'"cycle":{self.cycle},'
        return (
            f'{{{said}{cycle}"kind":"input_admitted","proposal":{_text(self.proposal)},'
            f'"proposer":{canonical(self.proposer)}}}'
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectReceived(Event):
    """What one call of a suggestor returned: proposals and usage, or the failure that stands in their place.

    ``proposals`` are canonical JSON texts when the machine writes the event, parsed objects when it is read. ``trace``
    is what the call noted of itself on the way, see `Context.note`.
    """

    kind: ClassVar[str] = "effect_received"
    is_input: ClassVar[bool] = True
    cycle: int
    suggestor: str
    proposals: tuple[str, ...] | tuple[Mapping[str, JsonValue], ...] = ()
    usage: Mapping[str, int] | None = None
    failure: Mapping[str, str] | None = None
    trace: tuple[Mapping[str, JsonValue], ...] = ()

    def body(self) -> str:
        proposals = ",".join(map(_text, self.proposals))
        return effect_body(self.cycle, self.suggestor, proposals, self.usage, self.failure, self.trace)


def effect_body(
    cycle: int,
    suggestor: str,
    proposals: str,
    usage: Mapping[str, int] | None,
    failure: Mapping[str, str] | None,
    trace: tuple[Mapping[str, JsonValue], ...],
) -> str:
    """Return the body of an ``effect_received`` around the texts of its ``proposals``, which are encoded already."""
    failed = f'"failure":{canonical(failure)},' if failure else ""
    noted = f',"trace":{canonical(trace)}' if trace else ""
    used = f',"usage":{canonical(usage)}' if usage else ""
    return (
        f'{{"cycle":{cycle},{failed}"kind":"effect_received","proposals":[{proposals}],'
        f'"suggestor":{quote(suggestor)}{noted}{used}}}'
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionReceived(Event):
    """Somebody's answer at a human gate, and when (``at``). ``payload`` is an edited one (family, version, body)."""

    kind: ClassVar[str] = "decision_received"
    is_input: ClassVar[bool] = True
    gate: str
    verdict: str
    actor: str
    reason: str | None = None
    payload: Mapping[str, JsonValue] | None = None
    at: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeObserved(Event):
    """The driver's clock: working time of the run so far. Recorded only for a run with a time limit."""

    kind: ClassVar[str] = "time_observed"
    is_input: ClassVar[bool] = True
    cycle: int
    elapsed_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequested(Event):
    """Somebody called the run off."""

    kind: ClassVar[str] = "cancel_requested"
    is_input: ClassVar[bool] = True
    cycle: int
    actor: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReopened(Event):
    """A run that had stopped goes on, under this budget."""

    kind: ClassVar[str] = "run_reopened"
    is_input: ClassVar[bool] = True
    budget: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangesAccepted(Event):
    """Somebody let a run go on with a changed engine, which derives the past as it is; ``setup`` is the new one."""

    kind: ClassVar[str] = "changes_accepted"
    is_input: ClassVar[bool] = True
    actor: str
    setup: Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectionEvent(Event):
    """Somebody corrects a fact (``key/id``): another payload (family, version, body) is to supersede it.

    ``cycle`` is when the machine took it; the machine fills it in.
    """

    kind: ClassVar[str] = "correction_received"
    is_input: ClassVar[bool] = True
    cycle: int = 0
    fact: str
    actor: str
    reason_code: str
    reason: str
    payload: Mapping[str, JsonValue]
    at: str | None = None


# --- derived: what a replay must give again -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SuggestorSkipped(Event):
    """A suggestor that a change woke was not asked.

    Its pack is not active, a formation does not select it, or the cycle's budget is used up.
    """

    kind: ClassVar[str] = "suggestor_skipped"
    cycle: int
    suggestor: str
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SuggestorFailedEvent(Event):
    """A suggestor raised, timed out, refused, or broke its contract."""

    kind: ClassVar[str] = "suggestor_failed"
    cycle: int
    suggestor: str
    code: str
    reason: str
    optional: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalMade(Event):
    """A proposal that no input brought as it is.

    The engine's own statement; what a human's edit or correction makes of another; a conclusion that is to take the
    place of one that rests on a corrected fact.
    """

    kind: ClassVar[str] = "proposal_made"
    cycle: int
    proposer: str
    proposal: str | Mapping[str, JsonValue]

    def body(self) -> str:
        return (
            f'{{"cycle":{self.cycle},"kind":"proposal_made","proposal":{_text(self.proposal)},'
            f'"proposer":{canonical(self.proposer)}}}'
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalRejected(Event):
    """A proposal was turned away. ``proposal`` is its hash, absent where it had no form to be hashed."""

    kind: ClassVar[str] = "proposal_rejected"
    cycle: int
    proposer: str
    key: str
    id: str
    code: str
    reason: str
    proposal: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalDuplicate(Event):
    """A proposal says what a fact, or a proposal at a gate, already says. Nothing changes."""

    kind: ClassVar[str] = "proposal_duplicate"
    cycle: int
    proposer: str
    key: str
    id: str
    proposal: str
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalConflicted(Event):
    """A proposal contradicts the fact of the same key and id, whose proposal hash is ``fact``."""

    kind: ClassVar[str] = "proposal_conflicted"
    cycle: int
    proposer: str
    key: str
    id: str
    proposal: str
    fact: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalGated(Event):
    """A proposal waits for a human. ``gate`` is the approval's id, ``code`` why a human is asked.

    ``reason`` is what the flow gate said that asks for one, where it does.
    """

    kind: ClassVar[str] = "proposal_gated"
    cycle: int
    proposer: str
    key: str
    id: str
    proposal: str
    gate: str
    code: str
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRefused(Event):
    """An answer that does not count: unknown gate, decided already, no authority, a payload that does not fit."""

    kind: ClassVar[str] = "decision_refused"
    gate: str
    actor: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalCounted(Event):
    """An approval that is not yet enough: ``have`` of the ``needs`` different people have approved."""

    kind: ClassVar[str] = "approval_counted"
    gate: str
    actor: str
    authority: str
    have: int
    needs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GateDecided(Event):
    """The answer just given decides a gate: whose it was, and the authority it used."""

    kind: ClassVar[str] = "gate_decided"
    gate: str
    verdict: str
    actor: str
    authority: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FactPromoted(Event):
    """A proposal became a fact. The leaf hash of this entry is the hash of the fact.

    ``supersedes`` names the fact in whose place readers see it: one that was corrected, or rested on what was.
    """

    kind: ClassVar[str] = "fact_promoted"
    cycle: int
    key: str
    id: str
    proposal: str
    proposer: str
    lamport: int
    gate: str
    policy: str
    approver: str
    authority: str
    supersedes: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectionRefused(Event):
    """A correction that does not count: unknown fact, superseded already, no authority, a payload that does not fit."""

    kind: ClassVar[str] = "correction_refused"
    fact: str
    actor: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InvariantViolatedEvent(Event):
    """An invariant does not hold. ``facts`` are the ones it names."""

    kind: ClassVar[str] = "invariant_violated"
    cycle: int
    invariant: str
    invariant_class: str
    reason: str
    facts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CriterionEvaluated(Event):
    """A success criterion at the fixed point: met, unmet, blocked or indeterminate."""

    kind: ClassVar[str] = "criterion_evaluated"
    criterion: str
    required: bool
    result: str
    reason: str | None = None
    evidence: tuple[str, ...] = ()
    approval_ref: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPaused(Event):
    """The run waits for people: so many gates are open."""

    kind: ClassVar[str] = "run_paused"
    cycle: int
    waiting: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStopped(Event):
    """The end: why, and what was concluded. ``held`` counts proposals that a stop left unjudged."""

    kind: ClassVar[str] = "run_stopped"
    stop: Mapping[str, JsonValue]
    cycles: int
    facts: int
    merkle_root: str
    usage: Mapping[str, int]
    held: int = 0

    def body(self) -> str:
        return (
            f'{{"cycles":{self.cycles},"facts":{self.facts},"held":{self.held},"kind":"run_stopped",'
            f'"merkle_root":{quote(self.merkle_root)},"stop":{canonical(self.stop)},"usage":{canonical(self.usage)}}}'
        )


EVENTS: dict[str, type[Event]] = {
    event.kind: event
    for event in (
        RunStarted,
        FactCarried,
        InputAdmitted,
        EffectReceived,
        DecisionReceived,
        TimeObserved,
        CancelRequested,
        RunReopened,
        ChangesAccepted,
        CorrectionEvent,
        SuggestorSkipped,
        SuggestorFailedEvent,
        ProposalMade,
        ProposalRejected,
        ProposalDuplicate,
        ProposalConflicted,
        ProposalGated,
        DecisionRefused,
        ApprovalCounted,
        GateDecided,
        FactPromoted,
        CorrectionRefused,
        InvariantViolatedEvent,
        CriterionEvaluated,
        RunPaused,
        RunStopped,
    )
}
"""Every event by its kind, in the order in which this page tells of them."""


def read_event(body: str, parse: Callable[[str], JsonValue] = parse) -> Event:
    """Read an event back from its body. Raises ValueError for an unknown kind or fields that do not fit."""
    value = parse(body)
    kind = value.get("kind") if isinstance(value, Mapping) else None
    event = EVENTS.get(str(kind))
    if event is None:
        raise ValueError(f"unknown kind of event: {kind!r}")
    try:
        return event.from_json(value)  # type: ignore[arg-type]  # checked to be a Mapping above
    except TypeError as error:
        raise ValueError(f"{kind}: {error}") from error
