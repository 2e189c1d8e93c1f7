"""``recall.lexical``: what past runs have to say about each new fact, as proposals.

    use: recall.lexical
    name: precedents
    with:
      for_each: seeds
      fields: [vendor, memo]
      key: hypotheses
      policy: {max_k_total: 3, min_score_threshold: 0.4}

For every new fact under ``for_each`` a search is made for its words, and two sorts of proposals follow. The items,
under ``key``, each say where they come from: their provenance is ``recall:run:fact``, and their payload has the text
that the policy lets through. And one `RecallExecuted` under ``diagnostic`` tells of the search itself: the hashes of
query, policy and corpus, what was found, what was left out, and how replayable that is. Both are judged by the gates
like any proposal; a recalled item is no fact of the run by itself, and is as sure as the memory was, not as the match.

The past grows with every run, so asking again may give another answer: the suggestor's replayability is
``best_effort``, and every record says so. With ``runs`` the past is pinned to these runs, each at a head (``converge
show`` prints it). Then the corpus is addressed by its content, and the suggestor is deterministic; a search that takes
too long comes to nothing otherwise, but here it fails, as a clock may not decide what a deterministic suggestor says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from converge_core import (
    AgentEffect,
    Catalog,
    Context,
    ContextKey,
    Head,
    ProposedFact,
    Replayability,
    Site,
    Suggestor,
    SuggestorError,
    hookimpl,
)
from converge_core.context.facts import AnyFact, AnyProposal, fact_ref
from converge_core.ports import CLOCK, RECALL
from converge_core.recall.memories import words_of
from converge_core.recall.payloads import RecallStop, replayability_of
from converge_core.recall.policy import DecisionStep, RecallPolicy, RecallQuery
from converge_core.recall.rationing import Recollection, recall


class EnabledPolicy(RecallPolicy):
    """The policy of who asks for recall by name, and so wants some."""

    enabled: bool = Field(default=True, description="Whether anything is recalled.")


def _head(value: object) -> str:
    """Check the text of a head, as a configuration holds it."""
    return str(Head.parse(str(value)))


class RecallConfig(BaseModel):
    """The configuration of a recall."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    for_each: ContextKey = Field(description="What asks: each new fact under this key.")
    fields: tuple[str, ...] = Field(
        default=(),
        description="The payload's fields whose words are searched for, such as `memo` or `terms.note`; all.",
    )
    key: ContextKey = Field(description="Where the items are proposed.")
    top_k: int = Field(default=5, ge=1, le=1000, description="The most items for one fact; the policy may allow fewer.")
    step: DecisionStep | None = Field(default=None, description="At which step of a decision this is.")
    policy: EnabledPolicy = Field(default=EnabledPolicy(), description="How much may be used, for each fact.")
    runs: dict[str, Annotated[str, BeforeValidator(_head)]] = Field(
        default_factory=dict, description="Only these runs, each at its head `size:root`; without it, all of the past."
    )

    @model_validator(mode="after")
    def _asks_no_answers(self) -> Self:
        if self.key == self.for_each:
            raise ValueError(f"`key` differs from `for_each`: else an item under {self.key} asks in its turn")
        if ContextKey.DIAGNOSTIC in (self.key, self.for_each):
            raise ValueError(f"{ContextKey.DIAGNOSTIC} is where searches are recorded: name another key")
        return self


class RecallSuggestor(Suggestor):
    """Recalls for each new fact. Raises LookupError where no past is offered."""

    def __init__(self, config: RecallConfig, site: Site) -> None:
        self.name = site.name
        self.dependencies = (config.for_each,)
        self.writes = (config.key, ContextKey.DIAGNOSTIC)
        self.config = config.model_dump(mode="json")
        past = site.port(RECALL)
        heads = {run_id: Head.parse(head) for run_id, head in config.runs.items()}
        self._past = past.within(heads) if heads else past
        self._clock = site.port(CLOCK)
        self._asks = config
        self.replayability = replayability_of(self._past.downgrades)

    async def execute(self, ctx: Context) -> AgentEffect:
        """Return the items for each new fact, and the record of each search. Raises SuggestorError, LedgerError."""
        proposals: list[AnyProposal] = []
        for fact in ctx.fresh(self._asks.for_each):
            asks = self._asks
            query = RecallQuery(_words(fact, asks.fields), asks.top_k, asks.step, self._past.tenant)
            found = await recall(self._past, query, asks.policy, self._clock)
            if found.executed.stop_reason is RecallStop.TOO_LATE and self.replayability is Replayability.DETERMINISTIC:
                limit = asks.policy.budgets.max_latency_ms
                raise SuggestorError(self.name, "timed_out", f"no answer for {fact.ref} within {limit} ms")
            proposals += self._proposals(fact, found)
        return AgentEffect.with_proposals(proposals)

    def _proposals(self, fact: AnyFact, found: Recollection) -> Iterator[AnyProposal]:
        search = f"{self.name}:{fact.id}"
        yield ProposedFact(ContextKey.DIAGNOSTIC, search, found.executed, evidence=(fact,))
        for place, recalled in enumerate(found.recalled, 1):
            yield ProposedFact(
                self._asks.key,
                f"{search}:{place}",
                recalled.item,
                confidence=recalled.confidence,
                provenance=recalled.provenance,
                evidence=(fact.ref, fact_ref(ContextKey.DIAGNOSTIC, search)),
            )


def _words(fact: AnyFact, fields: tuple[str, ...]) -> str:
    """Return the words of a fact, or of some fields of it; one that it does not have says nothing."""
    body = fact.payload.body()
    if not fields:
        return words_of(body)
    said = []
    for field in fields:
        value = body
        for name in field.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        said.append(words_of(value))
    return " ".join(filter(None, said))


@hookimpl
def converge_register_suggestors(catalog: Catalog[Suggestor]) -> None:
    """Offer ``recall.lexical``."""
    catalog.add("recall.lexical", RecallSuggestor, RecallConfig, "Proposes what past runs say about each new fact.")
