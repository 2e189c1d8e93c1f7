"""What of a past run is worth recalling: what people decided about it, how it failed, and what it concluded.

Each memory is one record of the run's ledger, and says so: `Memory.provenance` names run and fact. Which records those
are, what they are for, and how sure one may be of them is a table, that of the original:

======================  ===================================  ==========  ================
record                  summary                              confidence  source
======================  ===================================  ==========  ================
override issued         ``user override: why``               0.9         anti-pattern
approval granted        ``user approval: why``               0.7         similar success
approval rejected       ``user rejection: why``              0.7         anti-pattern
correction              ``correction (fact): why``           0.85        runbook
boundary adjusted       ``budget boundary adjusted on ...``  0.8         runbook
stopped unsuccessfully  ``outcome failed: stop reason``      0.6         similar failure
======================  ===================================  ==========  ================

and one line of our own, the facts that no person has spoken about: ``fact``, 0.5, a similar success or failure as the
run was one. A fact that was corrected is none, nor is what a run has itself recalled: a rumour does not become true by
being retold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from converge_core.context.facts import ENGINE, ActorKind
from converge_core.errors import LedgerCorrupt
from converge_core.experience.query import UserExperience
from converge_core.experience.records import ExperienceRecord, RunExperience
from converge_core.gates.stop import StopClass, StopReason
from converge_core.ledger.canonical import JsonValue
from converge_core.ledger.events import FactPromoted, RunStopped
from converge_core.ledger.merkle import Head
from converge_core.recall.payloads import RECALLED, CandidateSourceType

DEFAULT_CONFIDENCE = 0.5


@dataclass(frozen=True, slots=True)
class Memory:
    """One thing of a past run, as it may be recalled.

    ``summary`` says what it is in a line, ``detail`` what the fact or proposal says that it is about, ``subject``
    (``key/id``). ``corpus_version`` is the head of the run's ledger, ``recorded_at`` when the run stopped by the
    store's clock: UTC, ISO 8601.
    """

    run_id: str
    sequence: int
    summary: str
    detail: str
    source_type: CandidateSourceType
    confidence: float
    corpus_version: str
    subject: str | None = None
    recorded_at: str = ""
    tenant: str | None = None

    @property
    def id(self) -> str:
        """``run/sequence``, the place of its record."""
        return f"{self.run_id}/{self.sequence}"

    @property
    def provenance(self) -> str:
        """``recall:run:fact``, or ``recall:run:#sequence`` for what is about no fact."""
        return f"recall:{self.run_id}:{self.subject or f'#{self.sequence}'}"

    @property
    def text(self) -> str:
        """The line that is searched, and that whoever recalls it reads."""
        about = f"{self.subject}: " if self.subject is not None else ""
        return f"{self.summary} | {about}{self.detail}" if self.detail else self.summary


class _Row(NamedTuple):
    source_type: CandidateSourceType
    confidence: float
    summary: str
    reason: str = "unspecified"


_TABLE: Mapping[str, _Row] = {
    UserExperience.OVERRIDE_ISSUED: _Row(CandidateSourceType.ANTI_PATTERN, 0.9, "user override: {reason}"),
    UserExperience.APPROVAL_GRANTED: _Row(
        CandidateSourceType.SIMILAR_SUCCESS, 0.7, "user approval: {reason}", "granted"
    ),
    UserExperience.APPROVAL_REJECTED: _Row(
        CandidateSourceType.ANTI_PATTERN, 0.7, "user rejection: {reason}", "declined"
    ),
    UserExperience.CORRECTION: _Row(CandidateSourceType.RUNBOOK, 0.85, "correction ({target}): {reason}"),
    UserExperience.BOUNDARY_ADJUSTED: _Row(
        CandidateSourceType.RUNBOOK, 0.8, "{boundary} boundary adjusted on {target}: {reason}"
    ),
}
_KINDS = {*_TABLE, RunStopped.kind, FactPromoted.kind}


def memories_of(run: RunExperience, head: Head) -> Iterator[Memory]:
    """Yield the memories of a run that has stopped, oldest first; ``head`` is that of its entries.

    Raises LedgerCorrupt for entries that are not what was written.
    """
    end = len(run.stored) - 1
    reason = _stop_reason(run)
    for sequence in range(len(run.stored)):
        if run.kind(sequence) not in _KINDS or (run.stored[sequence].kind == RunStopped.kind and sequence != end):
            continue
        record = run.record(sequence)
        row = _row(record, run, reason)
        if row is not None:
            yield Memory(
                run_id=run.run_id,
                sequence=sequence,
                summary=row.summary,
                detail=_detail(record),
                source_type=row.source_type,
                confidence=row.confidence,
                corpus_version=str(head),
                subject=record.subject,
                recorded_at=run.stored[end].recorded_at,
                tenant=record.tenant,
            )


def _stop_reason(run: RunExperience) -> StopReason:
    """Return why a run stopped. Raises LedgerCorrupt where its last entry does not say so."""
    stop = run.history.stop
    try:
        return StopReason.from_json(dict(stop.stop))  # type: ignore[union-attr]  # an AttributeError is told below
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise LedgerCorrupt(run.run_id, len(run.stored) - 1, "why the run stopped", "nothing of the kind") from error


def _row(record: ExperienceRecord, run: RunExperience, reason: StopReason) -> _Row | None:
    """Return the row of the table for a record, its summary filled in; None for what is not worth recalling."""
    if record.content is not None and str(record.content.get("family")).startswith(RECALLED):
        return None
    row = _TABLE.get(record.kind)
    if row is not None:
        named = {"target": record.data.get("target"), "boundary": record.data.get("boundary")}
        return row._replace(summary=row.summary.format(reason=record.reason or row.reason, **named))
    succeeded = reason.stop_class is StopClass.SUCCESS
    if record.kind == RunStopped.kind:
        failure = _Row(CandidateSourceType.SIMILAR_FAILURE, 0.6, f"outcome failed: {reason}")
        return None if succeeded else failure
    spoken_for = str(record.data["approver"]).startswith(f"{ActorKind.HUMAN}:")
    if spoken_for or record.data["proposer"] == ENGINE.id or record.subject in run.history.superseded:
        return None
    source = CandidateSourceType.SIMILAR_SUCCESS if succeeded else CandidateSourceType.SIMILAR_FAILURE
    return _Row(source, DEFAULT_CONFIDENCE, "fact")


def _detail(record: ExperienceRecord) -> str:
    """Return what the fact or proposal says, or, of an adjusted boundary, what has changed."""
    if record.content is not None:
        return words_of(record.content.get("body"))
    before, after = record.data.get("previous_value"), record.data.get("new_value")
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        return ""
    return ", ".join(
        f"{name}: {words_of(before.get(name))} -> {words_of(after.get(name))}"
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    )


def words_of(body: JsonValue) -> str:
    """Return what a payload's body says as one line: values, each after its name."""
    match body:
        case {"text": str(words), **rest} if not rest:
            line = words
        case Mapping():
            line = ", ".join(f"{name}: {words_of(value)}" for name, value in body.items())
        case list() | tuple():
            line = ", ".join(map(words_of, body))
        case _:
            line = "" if body is None else str(body)
    return " ".join(line.split())
