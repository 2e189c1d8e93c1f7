"""The experience in one run: each of its entries as a record that says what happened, to what, and by whom.

What an entry is *about* stands elsewhere in the run: a decision names a gate, a promotion the hash of a proposal. To
find it, the run is read as its `History`, which takes the parsing of every entry; so `RunExperience` does that only
when a record is asked for, and tells the kinds of all entries without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from converge_core.context.facts import ActorKind
from converge_core.errors import LedgerCorrupt
from converge_core.experience.query import CORRELATION, TENANT, UserExperience
from converge_core.ledger import events
from converge_core.ledger.canonical import JsonValue
from converge_core.ledger.events import Entry, Event, read_event
from converge_core.ledger.history import History
from converge_core.ledger.merkle import leaf_hash

if TYPE_CHECKING:
    from converge_core.ports import StoredEntry

_VERDICTS = {
    "approve": UserExperience.APPROVAL_GRANTED.value,
    "reject": UserExperience.APPROVAL_REJECTED.value,
    "edit": UserExperience.CORRECTION.value,
}
_DEEDS = {
    events.ApprovalCounted.kind: UserExperience.APPROVAL_GRANTED.value,
    events.CancelRequested.kind: UserExperience.OVERRIDE_ISSUED.value,
    events.ChangesAccepted.kind: UserExperience.OVERRIDE_ISSUED.value,
    events.CorrectionEvent.kind: UserExperience.CORRECTION.value,
}
_MAY_BE_USER = {*_DEEDS, events.GateDecided.kind, events.RunReopened.kind}


@dataclass(frozen=True, slots=True)
class ExperienceRecord:
    """One thing that happened in a run.

    ``kind`` is the most telling name of it, ``entry`` the kind of the ledger's entry, which stands at ``sequence``
    (from 0). ``recorded_at`` is the store's clock: UTC, ISO 8601. ``subject`` is the fact or proposal (``key/id``) that
    it is about, ``content`` what that says: a payload with family, version and body. ``data`` are the fields of the
    entry, or, where a person acted, who and why.
    """

    run_id: str
    sequence: int
    kind: str
    entry: str
    recorded_at: str
    labels: Mapping[str, str]
    data: Mapping[str, JsonValue]
    subject: str | None = None
    content: Mapping[str, JsonValue] | None = None

    @property
    def id(self) -> str:
        """``run/sequence``: no two records share it, in whatever store and process they were written."""
        return f"{self.run_id}/{self.sequence}"

    @property
    def tenant(self) -> str | None:
        """Whose run it was, if it was somebody's."""
        return self.labels.get(TENANT)

    @property
    def actor(self) -> str | None:
        """Who did it, where somebody did."""
        return _text(self.data.get("actor"))

    @property
    def reason(self) -> str | None:
        """Why, where a reason was given."""
        return _text(self.data.get("reason"))

    def to_json(self) -> dict[str, JsonValue]:
        """Return the record as JSON; what it does not have is left out."""
        told: dict[str, JsonValue] = {
            "id": self.id,
            "run_id": self.run_id,
            "sequence": self.sequence,
            "kind": self.kind,
            "entry": self.entry,
            "recorded_at": self.recorded_at,
            "tenant": self.tenant,
            "correlation": self.labels.get(CORRELATION),
            "subject": self.subject,
            "content": self.content,
            "data": self.data,
        }
        return {name: value for name, value in told.items() if value is not None}


class RunExperience:
    """A run's entries, to be asked for records. Raises LedgerCorrupt for an entry that is not what was written."""

    def __init__(self, run_id: str, stored: Sequence[StoredEntry]) -> None:
        self.run_id = run_id
        self.stored = stored

    @cached_property
    def labels(self) -> Mapping[str, str]:
        """What the run is found by."""
        return labels_of(self.run_id, self.stored[0]) if self.stored else {}

    @cached_property
    def history(self) -> History:
        """The run as a whole."""
        return History.of([Entry(entry.kind, entry.body, entry.leaf) for entry in self.stored], self.run_id)

    def kind(self, sequence: int) -> str:
        """Return the most telling kind of an entry."""
        kind = self.stored[sequence].kind
        return self._user_kind(sequence) or kind if kind in _MAY_BE_USER else kind

    def record(self, sequence: int) -> ExperienceRecord:
        """Return an entry as a record."""
        stored, kind = self.stored[sequence], self.kind(sequence)
        subject, content = self._about(sequence)
        data = self._event(sequence).to_json() if kind == stored.kind else self._told(sequence, content)
        return ExperienceRecord(
            self.run_id, sequence, kind, stored.kind, stored.recorded_at, self.labels, data, subject, content
        )

    def _event(self, sequence: int) -> Event:
        return read_stored(self.run_id, self.stored[sequence])

    def _user_kind(self, sequence: int) -> str | None:
        """Return what a person did, if this was a person, and it counted."""
        match event := self._event(sequence):
            case events.RunReopened():
                return UserExperience.BOUNDARY_ADJUSTED if self._budget_before(sequence) != event.budget else None
            case events.CorrectionEvent() if self._follows(sequence, events.CorrectionRefused.kind):
                return None
        if not str(getattr(event, "actor", "")).startswith(f"{ActorKind.HUMAN}:"):
            return None
        return _VERDICTS.get(event.verdict) if isinstance(event, events.GateDecided) else _DEEDS[event.kind]

    def _told(self, sequence: int, content: Mapping[str, JsonValue] | None) -> dict[str, JsonValue]:
        """Return what a person did, in the terms of `UserExperience`: who, why, and to what."""
        event = self._event(sequence)
        told: dict[str, Any] = {"actor": getattr(event, "actor", None), "reason": getattr(event, "reason", None)}
        match event:
            case events.GateDecided() | events.ApprovalCounted():
                answer, gate = self._answer(sequence), self.history.gates[event.gate]
                told |= {"authority": event.authority, "gate_request_id": event.gate, "reason": answer.reason}
                if answer.payload is not None:
                    told |= {"target": "proposal", "original_content": gate.proposal_hash, "corrected_content": content}
            case events.CorrectionEvent():
                fact = self.history.facts.get(event.fact)
                original = None if fact is None else fact.promotion["proposal"]
                told |= {"target": "fact", "original_content": original, "corrected_content": content}
            case events.RunReopened():
                intent = None if self.history.started is None else self.history.started.intent
                told |= {"boundary": "budget", "target": "global" if intent is None else f"intent:{intent['id']}"}
                told |= {"previous_value": self._budget_before(sequence), "new_value": event.budget}
            case _:
                told["target"] = "run" if isinstance(event, events.CancelRequested) else "setup"
        return {name: value for name, value in told.items() if value is not None}

    def _about(self, sequence: int) -> tuple[str | None, Mapping[str, JsonValue] | None]:
        """Return the fact or proposal that an entry is about, and what that says."""
        event, history = self._event(sequence), self.history
        match event:
            case events.CorrectionEvent():
                return event.fact, event.payload
            case events.CorrectionRefused():
                return event.fact, None
            case events.DecisionReceived() | events.DecisionRefused() | events.ApprovalCounted() | events.GateDecided():
                gate = history.gates.get(event.gate)
                if gate is None:
                    return None, None
                edited = self._answer(sequence).payload if isinstance(event, events.GateDecided) else None
                return gate.ref, edited or gate.proposal["payload"]
            case events.FactCarried(promotion=promotion, proposal=proposal):
                return f"{promotion['key']}/{promotion['id']}", cast("Mapping[str, JsonValue]", proposal["payload"])
            case (
                events.FactPromoted()
                | events.ProposalGated()
                | events.ProposalRejected()
                | events.ProposalDuplicate()
                | events.ProposalConflicted()
            ):
                said = history.proposal(event.proposer, event.proposal)
                return f"{event.key}/{event.id}", None if said is None else said["payload"]
        return None, None

    def _answer(self, sequence: int) -> events.DecisionReceived:
        """Return the answer that decided a gate, or counted: the machine writes the one right after the other."""
        answer = self._event(sequence - 1) if sequence else None
        if not isinstance(answer, events.DecisionReceived):
            raise LedgerCorrupt(self.run_id, sequence, "an answer at the gate before it", "none")
        return answer

    def _follows(self, sequence: int, kind: str) -> bool:
        return sequence + 1 < len(self.stored) and self.stored[sequence + 1].kind == kind

    def _budget_before(self, sequence: int) -> Mapping[str, JsonValue] | None:
        """Return the budget under which the run stood until an entry."""
        for place in range(sequence - 1, -1, -1):
            if self.stored[place].kind in (events.RunReopened.kind, events.RunStarted.kind):
                return cast("events.RunReopened | events.RunStarted", self._event(place)).budget
        return None


def labels_of(run_id: str, first: StoredEntry) -> Mapping[str, str]:
    """Return the labels of a run from its first entry. Raises LedgerCorrupt."""
    started = read_stored(run_id, first)
    labels = started.labels if isinstance(started, events.RunStarted) else None
    if labels is not None and not isinstance(labels, Mapping):
        raise LedgerCorrupt(run_id, first.sequence, "labels by name", repr(labels)[:80])
    return labels or {}


def read_stored(run_id: str, stored: StoredEntry) -> Event:
    """Read a stored entry, checked against its leaf hash. Raises LedgerCorrupt."""
    found = leaf_hash(stored.body.encode(errors="surrogatepass"))
    if found != stored.leaf:
        raise LedgerCorrupt(run_id, stored.sequence, f"a body with the leaf hash {stored.leaf.hex()}", found.hex())
    try:
        return read_event(stored.body)
    except ValueError as error:
        raise LedgerCorrupt(run_id, stored.sequence, "an event", str(error)) from error


def _text(value: JsonValue) -> str | None:
    return value if isinstance(value, str) else None
