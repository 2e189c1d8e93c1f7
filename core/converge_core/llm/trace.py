"""What the ledger tells of the models that a run has asked: the records that routed calls leave, read back.

`converge_core.llm.router` writes a record for each call, and it enters the ledger with the effect of whoever asked.
Here it is read without any plugin, for whatever shows or explains a run. What is noted by others, or has not the form
of such a record, is no model call, and stays where it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from converge_core.context.allowance import NOTHING, Usage
from converge_core.errors import MisuseError
from converge_core.ledger.canonical import JsonValue, canonical
from converge_core.ledger.history import Noted, RecordedFact

MODEL_CALL = "model_call"
"""The kind of the record that a routed call leaves."""


ABOUT = "about"
"""Under this a record names the facts that a call is about, as ``key/id``, where they are not all that there are."""


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class _Used(_Told):
    input_tokens: int = Field(default=0, ge=0)
    output_tokens: int = Field(default=0, ge=0)
    cost_microusd: int = Field(default=0, ge=0)


class _Skipped(_Told):
    backend: str
    gate: str
    reason: str


class _Attempted(_Told):
    backend: str
    model: str
    outcome: str
    latency_ms: int = Field(ge=0)
    usage: _Used
    detail: str = ""
    repair: bool = False


class _Record(_Told):
    considered: tuple[str, ...]
    skipped: tuple[_Skipped, ...]
    attempts: tuple[_Attempted, ...]
    outcome: str
    about: tuple[str, ...] = ()


class Considered(NamedTuple):
    """One line of a call: somebody who was asked and how that ended, or was passed over, and by which gate.

    ``outcome`` is that of the attempt, or ``skipped``; ``note`` is the reason, where there is one to give.
    """

    backend: str
    model: str
    outcome: str
    latency_ms: int | None
    usage: Usage
    note: str


SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One routed call: who asked for it, in which cycle, and everybody who was considered, in their order.

    ``sequence`` is the entry that tells of it, ``record`` all that it says; ``about`` are the facts that it is about,
    where it says so.
    """

    sequence: int
    cycle: int
    suggestor: str
    outcome: str
    considered: tuple[Considered, ...]
    record: Mapping[str, JsonValue]
    about: tuple[str, ...] = ()

    def led_to(self, fact: RecordedFact) -> bool:
        """Say whether a fact was proposed by the effect of this call, and cites what the call was about."""
        return self.sequence == fact.proposed_at and not set(self.about).difference(fact.evidence)

    @property
    def usage(self) -> Usage:
        """What all its attempts have used together."""
        return sum((each.usage for each in self.considered), NOTHING)


def model_calls(notes: Iterable[Noted]) -> Iterator[ModelCall]:
    """Yield the model calls among what calls have noted of themselves (`History.notes`), in their order."""
    for noted in notes:
        if noted.record.get("kind") == MODEL_CALL and (call := _call(noted)) is not None:
            yield call


def _call(noted: Noted) -> ModelCall | None:
    try:
        told = _Record.model_validate_json(canonical(noted.record))
        considered = tuple(_considered(told))
    except (ValidationError, MisuseError):  # an amount that is none
        return None
    return ModelCall(noted.sequence, noted.cycle, noted.suggestor, told.outcome, considered, noted.record, told.about)


def _considered(told: _Record) -> Iterator[Considered]:
    """Yield everybody who was considered: attempts first, as one may be passed over before the next attempt."""
    for backend in dict.fromkeys(told.considered):
        for attempt in told.attempts:
            if attempt.backend == backend:
                usage = Usage(**attempt.usage.model_dump())
                note = "; ".join(filter(None, ("asked again for the shape" if attempt.repair else "", attempt.detail)))
                yield Considered(backend, attempt.model, attempt.outcome, attempt.latency_ms, usage, note)
        for skip in told.skipped:
            if skip.backend == backend:
                yield Considered(backend, "", SKIPPED, None, NOTHING, f"{skip.gate}: {skip.reason}")
