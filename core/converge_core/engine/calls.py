"""A call of a suggestor, and what comes back from it.

The machine hands out `Call` objects and takes `Outcome` objects. How many calls run at once, on which event loop and
under which time limit is the executor's affair; `Call.perform` is the one place where a suggestor is executed and
where whatever it does wrong becomes a failure with a reason code. An outcome is encoded when it is made, so that it can
be journaled as it arrives and enter the ledger as the same bytes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import cast

from converge_core.context.allowance import NOTHING, BudgetRefused, Usage
from converge_core.context.facts import ProposedFact
from converge_core.context.payloads import PayloadRegistry
from converge_core.context.state import Context
from converge_core.gates.drafts import Draft, Malformed, draft, read_draft
from converge_core.ledger.canonical import JsonValue, parse
from converge_core.ledger.events import EffectReceived, effect_body, printable
from converge_core.suggestors.contract import AgentEffect, Refusal, Suggestor, as_effect


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a call gave no effect. Codes: raised, timed_out, refused, invalid_output, tokens_budget, cost_budget."""

    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one call: encoded proposals and usage, or a failure, and what the call noted of itself."""

    cycle: int
    suggestor: str
    drafts: tuple[Draft | Malformed, ...] = ()
    usage: Usage = NOTHING
    failure: Failure | None = None
    trace: tuple[Mapping[str, JsonValue], ...] = ()

    def body(self) -> str:
        """Return the body of the input event as which the outcome enters the ledger."""
        failure = self.failure
        return effect_body(
            self.cycle,
            self.suggestor,
            ",".join([draft.text for draft in self.drafts]),
            None if self.usage is NOTHING else self.usage.to_json(),
            None if failure is None else {"code": failure.code, "reason": failure.reason},
            self.trace,
        )

    def event(self) -> EffectReceived:
        """Return that event."""
        return EffectReceived.from_json(cast("Mapping[str, JsonValue]", parse(self.body())))

    @classmethod
    def from_event(cls, event: EffectReceived, payloads: PayloadRegistry) -> Outcome:
        """Read an outcome back from the ledger or the journal. Raises PayloadError for an unknown payload."""
        return cls(
            event.cycle,
            event.suggestor,
            tuple(
                read_draft(value, event.suggestor, payloads) for value in event.proposals if not isinstance(value, str)
            ),
            Usage(**event.usage) if event.usage else NOTHING,
            Failure(**event.failure) if event.failure else None,
            tuple(event.trace),
        )


@dataclass(frozen=True, slots=True)
class Call:
    """One suggestor to execute on one frozen context."""

    cycle: int
    suggestor: Suggestor
    context: Context
    payloads: PayloadRegistry
    max_payload_bytes: int

    @property
    def name(self) -> str:
        """The suggestor's name, unique within the batch."""
        return self.suggestor.name

    async def perform(self) -> Outcome:
        """Execute the suggestor. Whatever it raises (but no BaseException) becomes a failure of this call alone."""
        try:
            said = self.suggestor.execute(self.context)
            if not isinstance(said, AgentEffect):
                said = as_effect(await said if isinstance(said, Awaitable) else said)
            return self._encoded(said)
        except Exception as error:
            return self._failed_by(error)

    def failed(self, code: str, reason: str) -> Outcome:
        """Return the outcome of a call that gave no effect, as when an executor's time limit has passed.

        What it has spent is spent, and what it had set aside may be.
        """
        usage, trace = self.context.used, self.context.notes
        return Outcome(self.cycle, self.name, usage=usage, failure=Failure(code, printable(reason)), trace=trace)

    def _encoded(self, effect: AgentEffect) -> Outcome:
        by, usage, ctx = self.suggestor.name, effect.usage, self.context
        payloads, limit, provenance = self.payloads, self.max_payload_bytes, self.suggestor.provenance
        drafts = []
        for proposal in effect.proposals:
            if not isinstance(proposal, ProposedFact):
                return self._no_effect()
            drafts.append(draft(proposal, by, payloads, limit, provenance))
        if usage is not NOTHING and not isinstance(usage, Usage):
            return self._no_effect()
        used = ctx.used
        if used is not NOTHING:
            usage = usage.at_least(used)
        return Outcome(self.cycle, by, tuple(drafts), usage, None, ctx.notes)

    def _no_effect(self) -> Outcome:
        return self.failed("invalid_output", "an effect holds proposals (ProposedFact) and a Usage, nothing else")

    def _failed_by(self, error: Exception) -> Outcome:
        if isinstance(error, BudgetRefused):
            return self.failed(f"{error.resource}_budget", str(error))
        if isinstance(error, Refusal):
            return self.failed("refused", str(error))
        return self.failed("raised", f"{type(error).__name__}: {error}")
