"""What the tests of experience share: runs in which people did things, played by hand and put into a store."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from converge_core import Convergence, Engine, Entry, GateDecision, MerkleLog, StoredEntry
from converge_core.experience.records import ExperienceRecord, RunExperience
from converge_core.ledger.canonical import JsonValue
from converge_core.ledger.events import CorrectionEvent
from converge_core.recall.memories import Memory, memories_of
from tests.core.stage import SEEDS, SIGNALS, Says, advance, engine_of, gates_of, seeded, text

AT = "2026-11-20T12:00:00.000Z"
LABELS = {"tenant": "acme", "correlation": "order-7"}


def stored(entries: Sequence[Entry], at: str = AT) -> list[StoredEntry]:
    """Return entries as a store holds them that got them in one append."""
    log = MerkleLog(entry.leaf for entry in entries)
    last = len(entries) - 1
    return [
        StoredEntry(place, *entry, log.root() if place == last else None, at) for place, entry in enumerate(entries)
    ]


def told(run: Convergence) -> RunExperience:
    """Return the experience in a run so far."""
    return RunExperience(run.run_id, stored(run.drain()))


def records(run: Convergence) -> list[ExperienceRecord]:
    """Return every record of a run so far."""
    experience = told(run)
    return [experience.record(place) for place in range(len(experience.stored))]


def record(run: Convergence, kind: str) -> ExperienceRecord:
    """Return the one record of a kind."""
    [one] = [one for one in records(run) if one.kind == kind]
    return one


def remembered(run: Convergence) -> list[Memory]:
    """Return what of a run that has stopped may be recalled."""
    experience = told(run)
    return list(memories_of(experience, MerkleLog(entry.leaf for entry in experience.stored).head))


def begun(engine: Engine | None = None, *ids: str, run_id: str = "past") -> Convergence:
    """A run with labels and these seeds; without an engine, `echo` says a signal."""
    engine = engine or engine_of(Says("echo", text("x", "an echo", SIGNALS), reads=[SEEDS]))
    return engine.begin(seeded(*ids or ("s",)), run_id=run_id, labels=LABELS)


def ended(engine: Engine | None = None, *ids: str, run_id: str = "past") -> Convergence:
    """A run that has come to its end."""
    run = begun(engine, *ids, run_id=run_id)
    advance(run)
    return run


def answered(engine: Engine, *answers: Callable[[str], GateDecision]) -> Convergence:
    """A run whose one gate was given these answers."""
    run = begun(engine)
    [request] = gates_of(advance(run)).values()
    run.decide([answer(request.gate_id) for answer in answers])
    advance(run)
    return run


def correction(words: str, fact: str = "seeds/s", by: str = "human:ann", reason: str = "a typo") -> CorrectionEvent:
    """Another text in the place of a fact."""
    payload: dict[str, JsonValue] = {"family": "converge.text", "version": 1, "body": {"text": words}}
    return CorrectionEvent(fact=fact, actor=by, reason_code="data_error", reason=reason, payload=payload)
