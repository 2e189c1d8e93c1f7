"""The effect journal: a call that has finished is never made again, even if the process dies in the next moment.

The outcomes of a cycle enter the ledger together, when the last one is there. Until then the journal keeps those that
would be costly or different a second time, each from the moment it is known; a resumed run takes them from there
instead of calling again. What failed is not kept: a resumed run tries it anew.

An executor performs calls and knows of none of this, so a call that is to be journaled is still a `Call`, one that
writes its outcome down before it returns it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from anyio import CancelScope

from converge_core.context.payloads import PayloadRegistry
from converge_core.engine.calls import Call, Outcome
from converge_core.errors import LedgerError, MisuseError, PayloadError
from converge_core.ledger.events import EffectReceived, read_event
from converge_core.ports import Executor, Ledger
from converge_core.suggestors.contract import Replayability, Suggestor


def journals(suggestor: Suggestor) -> bool:
    """Whether the effects of a suggestor are written down as they arrive: as it says, or unless it is deterministic."""
    if suggestor.journal is None:
        return suggestor.replayability is not Replayability.DETERMINISTIC
    return suggestor.journal


class JournalingExecutor:
    """Implements the port `Executor` with another one, for one run: what the journal holds is not performed again.

    `execute` raises what the ledger raises: an effect that cannot be kept must not be acted on. The calls that are
    under way come to their end before.
    """

    def __init__(self, inner: Executor, ledger: Ledger, run_id: str, payloads: PayloadRegistry) -> None:
        self._inner, self._ledger, self._run_id, self._payloads = inner, ledger, run_id, payloads

    async def execute(self, calls: Sequence[Call]) -> Sequence[Outcome]:
        """Return the outcomes, recalled ones first. Raises LedgerError, and PayloadError for an unknown payload."""
        if not any(journals(call.suggestor) for call in calls):
            return await self._inner.execute(calls)
        bodies = await self._ledger.recorded_effects(self._run_id, calls[0].cycle)
        journal = _Journal(self._ledger, self._run_id)
        recalled, pending = [], []
        for call in calls:
            if not journals(call.suggestor):
                pending.append(call)
            elif call.name in bodies:
                recalled.append(self._recall(call, bodies[call.name]))
            else:
                pending.append(_journaled(call, journal))
        performed = await self._inner.execute(pending) if pending else ()
        if journal.error is not None:
            raise journal.error
        return (*recalled, *performed)

    def _recall(self, call: Call, body: str) -> Outcome:
        try:
            event = read_event(body)
            if not isinstance(event, EffectReceived) or (event.cycle, event.suggestor) != (call.cycle, call.name):
                raise ValueError("it is the outcome of another call")
            return Outcome.from_event(event, self._payloads)
        except PayloadError:
            raise
        except (ValueError, TypeError, KeyError, MisuseError) as error:
            raise LedgerError(
                f"run {self._run_id!r}: the journaled outcome of {call.name!r} in cycle {call.cycle} cannot be read:"
                f" {error}"
            ) from error


class _Journal:
    """Where the calls of one batch write, and the first error that this met."""

    def __init__(self, ledger: Ledger, run_id: str) -> None:
        self._ledger, self._run_id = ledger, run_id
        self.error: Exception | None = None

    async def keep(self, outcome: Outcome) -> None:
        try:
            with CancelScope(shield=True):  # it has finished, so no time limit and no Ctrl-C may lose it
                await self._ledger.record_effect(self._run_id, outcome.cycle, outcome.suggestor, outcome.body())
        except Exception as error:  # kept for the batch: an executor relies on calls that do not raise
            self.error = self.error or error


@dataclass(frozen=True, slots=True)
class _JournaledCall(Call):
    journal: _Journal

    async def perform(self) -> Outcome:
        outcome = await Call.perform(self)  # super() does not find the class: slots=True makes it anew
        if outcome.failure is None:
            await self.journal.keep(outcome)
        return outcome


def _journaled(call: Call, journal: _Journal) -> Call:
    return _JournaledCall(call.cycle, call.suggestor, call.context, call.payloads, call.max_payload_bytes, journal)
