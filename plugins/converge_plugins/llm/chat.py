"""``chat``: each message is routed to a model, and every one of them leaves one record, whatever became of it.

    suggestors:
      - use: chat
        with: {for_each: seeds, agent: lantern, kind: note, tier: wanderer}

It proposes the record (`converge_core.governance.actions.ActionRecord`) under ``evaluations``, and the answer, if there
is one, as a text under ``proposals``. What happens on the way is in `converge_core.llm.chat`. A message that is denied
or fails is no failure of the suggestor: it is what the record says.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from converge_core import (
    AgentEffect,
    Context,
    ContextKey,
    ProposedFact,
    Replayability,
    Site,
    Suggestor,
    TextPayload,
)
from converge_core.context.facts import AnyFact, AnyProposal
from converge_core.governance.actions import ActionRecord, action_proposal
from converge_core.governance.claims import CapacityVerifier, EnvironmentVerifier, VerificationMethod
from converge_core.ledger.canonical import JsonValue, canonical
from converge_core.llm.backend import BackendBudgets
from converge_core.llm.capacity import DreamerTier
from converge_core.llm.chat import AGENTS, Chat, ChatRequest, chain_order, claims_of
from converge_core.llm.router import as_declared
from converge_core.llm.trace import ABOUT
from converge_core.ports import LINE, MODELS, QUOTAS, TIME_OF_DAY
from converge_plugins.llm.config import LlmSection, Recorded

Name = Annotated[str, Field(min_length=1, max_length=128)]


class Order(StrEnum):
    """In which order the models are asked."""

    DECLARED = "declared"
    CHAIN = "chain"


class ChatConfig(LlmSection):
    """The configuration of a suggestor that routes messages."""

    for_each: ContextKey = Field(default=ContextKey.SEEDS, description="Each new fact under this key is a message.")
    agent: Name = Field(default="auto", description="The agent that the messages are for.")
    agents: tuple[Name, ...] = Field(default=AGENTS, description="The agents that claim to be able to chat.")
    kind: Name = Field(default="dream", description="What the messages are, such as `dream`, `note` or `lore`.")
    user: Name = Field(default="dreamer", description="Whose quota they are counted against.")
    system: str = Field(default="", description="Who the model is to be.")
    tier: DreamerTier = Field(default=DreamerTier.WANDERER, description="What the user is entitled to.")
    order: Order = Field(
        default=Order.DECLARED, description="`chain`: by the providers' chain for the tier, not as declared."
    )
    max_tokens: int = Field(default=1024, ge=1, description="The longest answer, in tokens.")
    timeout_ms: int = Field(default=60_000, ge=1, description="How long one attempt may take.")
    record: Recorded = Field(default=Recorded.DIGEST, description="`full` keeps the words beside the ledger.")


class ChatSuggestor(Suggestor):
    """Routes messages, in their order."""

    replayability = Replayability.NONE
    writes = (ContextKey.EVALUATIONS, ContextKey.PROPOSALS)
    payloads = (ActionRecord,)

    def __init__(self, config: ChatConfig, site: Site) -> None:
        self.name = site.name
        self.dependencies = (config.for_each,)
        self.config = config.model_dump(mode="json")
        self._asks = config
        self._line = site.port(LINE) if site.ports.offers(LINE) else None
        models = site.port(MODELS)
        self._chat = Chat(
            models,
            site.port(QUOTAS),
            site.port(TIME_OF_DAY),
            claims_of(config.agents),
            {
                VerificationMethod.ENV_CHECK: EnvironmentVerifier({}, bool),
                VerificationMethod.HEALTH_PROBE: CapacityVerifier(models.capacity),
            },
            ordering=as_declared if config.order is Order.DECLARED else chain_order(models.capacity),
            budgets=BackendBudgets(config.max_tokens, latency_ceiling_ms=config.timeout_ms),
            keep_exchange=config.record is Recorded.FULL,
        )
        models.router(keep_exchange=config.record is Recorded.FULL)  # which says now if it cannot be

    async def execute(self, ctx: Context) -> AgentEffect:
        """Return the records, and the answers."""
        proposals: list[AnyProposal] = []
        for fact in ctx.fresh(self._asks.for_each):
            proposals += await self._routed(ctx, fact)
        return AgentEffect.with_proposals(proposals)

    async def _routed(self, ctx: Context, fact: AnyFact) -> list[AnyProposal]:
        name, asks = f"{self.name}:{fact.id}", self._asks
        asked = ChatRequest(name, _words(fact), asks.agent, asks.kind, asks.user, asks.system, asks.tier)

        def note(record: Mapping[str, JsonValue]) -> None:
            ctx.note({**record, ABOUT: [fact.ref]})

        record, response = await self._chat.route(asked, ctx.allowance, note, self._line)
        told: list[AnyProposal] = [action_proposal(name, record, [fact])]
        if response is not None:
            told.append(
                ProposedFact(
                    ContextKey.PROPOSALS,
                    name,
                    TextPayload(text=response.text),
                    provenance=f"{self.name}:{response.backend}/{response.model}",
                    evidence=(fact,),
                )
            )
        return told


def _words(fact: AnyFact) -> str:
    """Return what a fact says: a text as it is, anything else as JSON."""
    return fact.payload.text if isinstance(fact.payload, TextPayload) else canonical(fact.payload.body())
