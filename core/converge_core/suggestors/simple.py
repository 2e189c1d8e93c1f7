"""The two suggestors of the quick start: small, pure, and useful in every test."""

from __future__ import annotations

from converge_core.context.facts import ProposedFact
from converge_core.context.keys import ContextKey
from converge_core.context.payloads import TextPayload
from converge_core.context.state import Context, Selector
from converge_core.suggestors.contract import AgentEffect, Suggestor


class SeedSuggestor(Suggestor):
    """Proposes one text, once."""

    def __init__(self, id: str, text: str, key: ContextKey = ContextKey.SEEDS) -> None:
        self.name = f"seed:{id}"
        self.writes = (key,)
        self.config = {"id": id, "text": text}
        self._proposal = ProposedFact(key, id, TextPayload(text=text))

    def accepts(self, ctx: Context) -> bool:
        return ctx.find(self._proposal.key, self._proposal.id) is None

    def execute(self, ctx: Context) -> AgentEffect:
        return AgentEffect.with_proposal(self._proposal)


class ReactOnceSuggestor(SeedSuggestor):
    """Proposes one text, once, when a key has its first fact; it cites what woke it."""

    def __init__(
        self,
        id: str,
        text: str,
        reads: ContextKey = ContextKey.SEEDS,
        key: ContextKey = ContextKey.HYPOTHESES,
    ) -> None:
        super().__init__(id, text, key)
        self.name = f"react:{id}"
        self.dependencies: tuple[Selector, ...] = (reads,)
        self._reads = reads

    def accepts(self, ctx: Context) -> bool:
        return ctx.has(self._reads) and super().accepts(ctx)

    def execute(self, ctx: Context) -> AgentEffect:
        said = self._proposal
        return AgentEffect.with_proposal(ProposedFact(said.key, said.id, said.payload, evidence=ctx.fresh(self._reads)))
