"""Human gates: which proposals wait for a person, what the person is shown, and what the person may answer.

An approval's id is derived from the run, the cycle and the hash of the proposal, so an answer can only ever belong to
the one proposal it was given for. A pause is data: it holds the run's ledger so far, so answering it is feeding those
inputs and the decisions to a new machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self, cast

from converge_core.context.facts import Actor, ActorKind
from converge_core.context.keys import KIND_OF_KEY, ContextKey, ProposalKind
from converge_core.context.payloads import FactPayload, freeze
from converge_core.errors import MisuseError
from converge_core.gates.authority import ApprovalPolicy, instant
from converge_core.gates.drafts import Draft
from converge_core.ledger.canonical import JsonValue, canonical, parse
from converge_core.ledger.events import DecisionReceived, Entry
from converge_core.ledger.hashes import ContentHash

MAX_SUMMARY = 500
"""Characters of a proposal's summary in a gate request."""


class TimeoutAction(StrEnum):
    """What happens to a gate that nobody answers in time."""

    REJECT = "reject"
    APPROVE = "approve"
    ESCALATE = "escalate"


@dataclass(frozen=True, slots=True)
class TimeoutPolicy:
    """How long a gate waits, by the driver's clock, and what follows."""

    seconds: int = 1800
    action: TimeoutAction = TimeoutAction.REJECT

    def to_json(self) -> dict[str, JsonValue]:
        """Return the policy as it stands in the ledger."""
        return {"action": self.action.value, "seconds": self.seconds}


@dataclass(frozen=True, slots=True)
class HitlPolicy:
    """Which proposals a human must decide. The threshold is inclusive: a confidence equal to it is gated."""

    confidence_threshold: float | None = None
    gated_keys: tuple[ContextKey, ...] = ()
    gated_kinds: tuple[ProposalKind, ...] = ()
    gated_suggestors: tuple[str, ...] = ()
    timeout: TimeoutPolicy = TimeoutPolicy()
    approval: ApprovalPolicy = ApprovalPolicy()

    def __post_init__(self) -> None:
        threshold = self.confidence_threshold
        if threshold is not None and not 0.0 <= threshold <= 1.0:
            raise MisuseError(f"the confidence threshold must be within 0.0 and 1.0, not {threshold!r}")

    def reason_to_ask(self, draft: Draft) -> str | None:
        """Return the reason code for which a human must decide, or None."""
        proposal = draft.proposal
        if proposal.key in self.gated_keys:
            return "gated_key"
        if KIND_OF_KEY[proposal.key] in self.gated_kinds:
            return "gated_kind"
        if draft.proposer in self.gated_suggestors:
            return "gated_suggestor"
        if self.confidence_threshold is not None and proposal.confidence <= self.confidence_threshold:
            return "low_confidence"
        return None

    def to_json(self) -> dict[str, JsonValue]:
        """Return the policy as it stands in the ledger."""
        return {
            "approval": self.approval.to_json(),
            "confidence_threshold": self.confidence_threshold,
            "gated_keys": [key.value for key in self.gated_keys],
            "gated_kinds": [kind.value for kind in self.gated_kinds],
            "gated_suggestors": self.gated_suggestors,
            "timeout": self.timeout.to_json(),
        }


def approval_id(run_id: str, cycle: int, proposal_hash: str) -> str:
    """Return the id of the approval that one proposal of one cycle of one run needs."""
    return f"gate-{str(ContentHash.of(canonical([run_id, cycle, proposal_hash])))[:16]}"


@dataclass(frozen=True, slots=True)
class GateRequest:
    """What a human is asked. ``proposal`` is the whole proposal as JSON; ``code`` says why a human is asked.

    ``reason`` is what the flow gate said that asks for a human, where it does. ``supersedes`` names the fact
    (``key/id``) whose place the proposal is to take, if there is one.
    """

    gate_id: str
    cycle: int
    proposer: str
    code: str
    summary: str
    proposal: Mapping[str, JsonValue]
    timeout: TimeoutPolicy
    supersedes: str | None = None
    reason: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "proposal", freeze(self.proposal))

    @classmethod
    def of(
        cls, draft: Draft, gate_id: str, cycle: int, code: str, timeout: TimeoutPolicy, reason: str | None = None
    ) -> Self:
        """Return the question that a gated proposal raises."""
        summary = draft.proposal.payload.summary()[:MAX_SUMMARY]
        value = cast("Mapping[str, JsonValue]", parse(draft.text))
        old = None if draft.supersedes is None else draft.supersedes.ref
        return cls(gate_id, cycle, draft.proposer, code, summary, value, timeout, old, reason)

    @property
    def confidence(self) -> float:
        """How sure the proposer is, from 0.0 to 1.0."""
        return float(str(self.proposal["confidence"]))

    @property
    def evidence(self) -> tuple[str, ...]:
        """What the proposer cites."""
        cited = self.proposal.get("evidence", ())
        return tuple(map(str, cited)) if isinstance(cited, list | tuple) else ()

    @property
    def ref(self) -> str:
        """``key/id`` of the fact that an approval would make."""
        return f"{self.proposal['key']}/{self.proposal['id']}"

    def to_json(self) -> dict[str, JsonValue]:
        """Return the request as JSON."""
        return {
            "code": self.code,
            "cycle": self.cycle,
            "gate_id": self.gate_id,
            "proposal": self.proposal,
            "proposer": self.proposer,
            "reason": self.reason,
            "summary": self.summary,
            "supersedes": self.supersedes,
            "timeout": self.timeout.to_json(),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read a request back."""
        timeout = TimeoutPolicy(value["timeout"]["seconds"], TimeoutAction(value["timeout"]["action"]))
        return cls(**{**value, "timeout": timeout})


class Verdict(StrEnum):
    """What may be answered at a gate; ``escalate`` is a time-out's alone."""

    APPROVE = "approve"
    REJECT = "reject"
    EDIT = "edit"
    DEFER = "defer"
    ESCALATE = "escalate"


@dataclass(frozen=True, slots=True)
class GateDecision:
    """An answer to one gate, by name. Make it with `approve`, `reject`, `edit` or `defer`.

    ``at`` is when it was given, by the driver's clock (UTC, ``2026-10-31T18:00:00Z``); it is needed where an approver's
    authority ends one day. Raises MisuseError for another form.
    """

    gate_id: str
    verdict: Verdict
    by: Actor
    reason: str | None = None
    payload: Mapping[str, JsonValue] | None = None
    at: str | None = None

    def __post_init__(self) -> None:
        if self.at is not None:
            instant(self.at)
        if self.payload is not None:
            object.__setattr__(self, "payload", freeze(self.payload))

    @classmethod
    def approve(cls, gate_id: str, by: str | Actor, reason: str | None = None, *, at: str | None = None) -> Self:
        """Let the proposal become a fact, on the authority of ``by``."""
        return cls(gate_id, Verdict.APPROVE, _actor(by), reason, at=at)

    @classmethod
    def reject(cls, gate_id: str, by: str | Actor, reason: str | None = None, *, at: str | None = None) -> Self:
        """Turn the proposal away. The same content does not ask again in this run."""
        return cls(gate_id, Verdict.REJECT, _actor(by), reason, at=at)

    @classmethod
    def edit(
        cls, gate_id: str, by: str | Actor, payload: FactPayload, reason: str | None = None, *, at: str | None = None
    ) -> Self:
        """Put another payload in its place: a new proposal of the human's, which passes the gates."""
        wire = {"body": payload.body(), "family": payload.family, "version": payload.version}
        return cls(gate_id, Verdict.EDIT, _actor(by), reason, wire, at)

    @classmethod
    def defer(cls, gate_id: str, by: str | Actor, reason: str | None = None, *, at: str | None = None) -> Self:
        """Leave the gate open, and say so."""
        return cls(gate_id, Verdict.DEFER, _actor(by), reason, at=at)

    def event(self) -> DecisionReceived:
        """Return the answer as the input event that enters the ledger."""
        return DecisionReceived(
            gate=self.gate_id,
            verdict=self.verdict.value,
            actor=str(self.by),
            reason=self.reason,
            payload=self.payload,
            at=self.at,
        )

    @classmethod
    def from_event(cls, event: DecisionReceived) -> Self:
        """Read the answer back. Raises ValueError."""
        return cls(event.gate, Verdict(event.verdict), Actor.parse(event.actor), event.reason, event.payload, event.at)


def _actor(by: str | Actor) -> Actor:
    return by if isinstance(by, Actor) else Actor(by, ActorKind.HUMAN)


@dataclass(frozen=True, slots=True)
class HitlPause:
    """A run that waits for people: what is asked, and the ledger that leads to it. Round-trips through JSON."""

    run_id: str
    cycle: int
    requests: tuple[GateRequest, ...]
    log: tuple[Entry, ...]

    def to_json(self) -> str:
        """Return the pause as one JSON text, complete enough to go on from in another process."""
        return canonical(
            {
                "cycle": self.cycle,
                "log": [entry.body for entry in self.log],
                "requests": [request.to_json() for request in self.requests],
                "run_id": self.run_id,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a pause back. Raises ValueError for what is not one; the log is checked when the run is resumed."""
        value: Any = parse(text)
        try:
            log = tuple(Entry.of(body) for body in value["log"])
            requests = tuple(map(GateRequest.from_json, value["requests"]))
            return cls(value["run_id"], value["cycle"], requests, log)
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a pause of a run: {error}") from error
