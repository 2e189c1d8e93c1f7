"""Votes: who said what on a topic, whether it passes, and who disagreed.

``votes.consensus`` counts the facts under ``votes``: `Vote` payloads, or rows of data with the same fields, as they
come from a file. Of a voter the last vote counts. The rules take the number of *eligible* voters, not of votes cast,
so silence is not consent: a majority of five takes three.

=================  ============================================
rule               passes when
=================  ============================================
``majority``       more than half of the eligible say yes
``supermajority``  at least two thirds of them do
``unanimous``      all of them do
``lead_decides``   anyone of them does: name the leads alone
``advisory_only``  always; the votes are only heard
=================  ============================================

Votes of others are left out of the count, and an outcome names them. A vote that comes after an outcome, or corrects
another vote, leads to a new outcome. Those of a topic are numbered from 1, ``consensus:{topic}:{number}``, so none
contradicts another; the last one counts, and `outcome_of` returns it. A corrected vote keeps its place among the votes
of its voter: it is not a later one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from enum import StrEnum
from functools import partial
from typing import Any, ClassVar, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from converge_core import (
    AgentEffect,
    Catalog,
    Context,
    ContextKey,
    DataPayload,
    Fact,
    FactPayload,
    MisuseError,
    PayloadRegistry,
    ProposedFact,
    Site,
    Suggestor,
    SuggestorError,
    hookimpl,
)
from converge_core.context.facts import AnyFact, AnyProposal
from converge_core.context.payloads import one_line
from converge_core.votes import Decision, Vote


class Tally(NamedTuple):
    """Votes by what they say; each voter counts once."""

    yes: int
    no: int
    abstain: int

    @classmethod
    def of(cls, votes: Iterable[Vote]) -> Self:
        """Count votes, of which each voter has one."""
        count = Counter(vote.decision for vote in votes)
        return cls(count[Decision.YES], count[Decision.NO], count[Decision.ABSTAIN])


class ConsensusRule(StrEnum):
    """When a topic passes."""

    MAJORITY = "majority"
    SUPERMAJORITY = "supermajority"
    UNANIMOUS = "unanimous"
    LEAD_DECIDES = "lead_decides"
    ADVISORY_ONLY = "advisory_only"

    def passes(self, tally: Tally, eligible: int) -> bool:
        """Say whether a tally passes with so many eligible voters; more votes than voters never pass.

        Raises MisuseError when nobody is eligible.
        """
        if eligible < 1:
            raise MisuseError("a consensus needs at least one eligible voter")
        if sum(tally) > eligible:
            return False
        match self:
            case ConsensusRule.MAJORITY:
                return tally.yes * 2 > eligible
            case ConsensusRule.SUPERMAJORITY:
                return tally.yes * 3 >= eligible * 2
            case ConsensusRule.UNANIMOUS:
                return tally.yes == eligible
            case ConsensusRule.LEAD_DECIDES:
                return tally.yes >= 1
            case ConsensusRule.ADVISORY_ONLY:
                return True


class Disagreement(FactPayload):
    """Somebody whose no was outvoted."""

    family: ClassVar[str] = "converge.governance.disagreement"

    topic: str
    dissenter: str
    reason: str | None = None


class ConsensusOutcome(FactPayload):
    """How the vote on a topic stands. Whoever makes one, ``passes`` is what the rule says of the votes.

    ``ignored`` are the votes (``key/id``) of those who may not vote.
    """

    family: ClassVar[str] = "converge.governance.consensus_outcome"

    topic: str
    rule: ConsensusRule
    yes_votes: int = Field(ge=0)
    no_votes: int = Field(ge=0)
    abstain_votes: int = Field(ge=0)
    total_voters: int = Field(ge=1)
    passes: bool
    ignored: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, topic: str, rule: ConsensusRule, tally: Tally, total_voters: int, ignored: Iterable[str] = ()
    ) -> ConsensusOutcome:
        """Return the outcome of a tally. Raises pydantic's ValidationError for more votes than voters."""
        return cls(
            topic=topic,
            rule=rule,
            yes_votes=tally.yes,
            no_votes=tally.no,
            abstain_votes=tally.abstain,
            total_voters=total_voters,
            passes=rule.passes(tally, total_voters),
            ignored=tuple(ignored),
        )

    @model_validator(mode="after")
    def _recount(self) -> Self:
        tally = Tally(self.yes_votes, self.no_votes, self.abstain_votes)
        if sum(tally) > self.total_voters:
            raise ValueError(f"{sum(tally)} votes are more than the {self.total_voters} eligible voters have")
        expected = self.rule.passes(tally, self.total_voters)
        if self.passes != expected:
            raise ValueError(f"serialized consensus outcome pass flag mismatch: expected {expected}, got {self.passes}")
        return self


class ConsensusConfig(BaseModel):
    """The configuration of a count."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: ConsensusRule = Field(description="When a topic passes.")
    eligible_voters: tuple[str, ...] = Field(description="Who may vote, at least one.")
    quorum: Literal["all", "none"] = Field(
        "all", description="`all` waits until everyone has voted on a topic; `none` counts whenever there are votes."
    )

    @field_validator("eligible_voters")
    @classmethod
    def _check_voters(cls, voters: tuple[str, ...]) -> tuple[str, ...]:
        if not voters:
            raise ValueError("somebody has to vote")
        if twice := [voter for voter, times in Counter(voters).items() if times > 1]:
            raise ValueError(f"nobody votes twice: {', '.join(twice)}")
        return voters


class _Cast(NamedTuple):
    """A vote, and the fact that it is."""

    vote: Vote
    fact: AnyFact


class Consensus(Suggestor):
    """Counts the votes on each topic that has new ones. Deterministic."""

    dependencies = (ContextKey.VOTES,)
    writes = (ContextKey.CONSENSUS_OUTCOMES, ContextKey.DISAGREEMENTS)

    def __init__(self, config: ConsensusConfig, site: Site) -> None:
        self.name = site.name
        self.config = config.model_dump(mode="json")
        self._rule = config.rule
        self._voters = frozenset(config.eligible_voters)
        self._waits = config.quorum == "all"

    def execute(self, ctx: Context) -> AgentEffect:
        """Return the outcomes, each with the disagreements it overrides. Raises SuggestorError for what is no vote."""
        # A dict, as an ordered set: topics in the order of their first new vote.
        by_topic: dict[str, list[_Cast]] = {topic: [] for topic in self._touched(ctx)}
        for fact in sorted(ctx.get(ContextKey.VOTES), key=partial(_first_said, ctx)):
            vote = self._read(fact)
            if vote.topic in by_topic:
                by_topic[vote.topic].append(_Cast(vote, fact))
        return AgentEffect.with_proposals(
            proposal for topic, casts in by_topic.items() for proposal in self._count(topic, casts, ctx)
        )

    def _touched(self, ctx: Context) -> Iterator[str]:
        """Yield the topics of the new votes, and those from which a correction has taken a vote."""
        for fact in ctx.fresh(ContextKey.VOTES):
            yield self._read(fact).topic
            for corrected in ctx.history(fact.key, fact.id)[:-1]:
                with suppress(SuggestorError):  # it may have been corrected for being no vote
                    yield self._read(corrected).topic

    def _count(self, topic: str, casts: list[_Cast], ctx: Context) -> Iterator[AnyProposal]:
        last = {cast.vote.voter: cast for cast in casts if cast.vote.voter in self._voters}
        earlier = len(_outcomes(ctx, topic))
        if self._waits and not earlier and len(last) < len(self._voters):
            return
        tally = Tally.of(cast.vote for cast in last.values())
        ignored = [cast.fact.ref for cast in casts if cast.vote.voter not in self._voters]
        outcome = ConsensusOutcome.of(topic, self._rule, tally, len(self._voters), ignored)
        yield ProposedFact(
            ContextKey.CONSENSUS_OUTCOMES,
            f"consensus:{topic}:{earlier + 1}",
            outcome,
            evidence=[cast.fact for cast in last.values()],
        )
        for vote, fact in last.values():
            fact_id = f"disagreement:{fact.id}"
            # Another outcome may have stated it before: it is about this vote, whatever else was counted.
            stated = ctx.find(ContextKey.DISAGREEMENTS, fact_id) is not None
            if outcome.passes and vote.decision is Decision.NO and not stated:
                dissent = Disagreement(topic=topic, dissenter=vote.voter, reason=vote.reason)
                yield ProposedFact(ContextKey.DISAGREEMENTS, fact_id, dissent, evidence=[fact])

    def _read(self, fact: AnyFact) -> Vote:
        payload = fact.payload
        if isinstance(payload, Vote):
            return payload
        if not isinstance(payload, DataPayload):
            raise self._refused(fact, f"it is a {payload.family}")
        try:
            return Vote.model_validate({name: payload[name] for name in Vote.model_fields if name in payload.data})
        except ValidationError as error:
            raise self._refused(fact, one_line(error)) from error

    def _refused(self, fact: AnyFact, reason: str) -> SuggestorError:
        return SuggestorError(self.name, "invalid_input", f"fact {fact.ref} is not a vote: {reason}")


def outcome_of(ctx: Context, topic: str) -> Fact[ConsensusOutcome] | None:
    """Return how the vote on a topic stands: its last outcome, or None when nobody has counted yet."""
    return max(_outcomes(ctx, topic), key=partial(_first_said, ctx), default=None)


def _outcomes(ctx: Context, topic: str) -> list[Fact[ConsensusOutcome]]:
    found = ctx.get(ContextKey.CONSENSUS_OUTCOMES, ConsensusOutcome)
    return [fact for fact in found if fact.payload.topic == topic]


def _first_said(ctx: Context, fact: Fact[Any]) -> int:
    """Return when a fact was first stated: a correction stands where the corrected one stood."""
    return fact.lamport if fact.supersedes is None else ctx.history(fact.key, fact.id)[0].lamport


@hookimpl
def converge_register_suggestors(catalog: Catalog[Suggestor]) -> None:
    """Offer ``votes.consensus``."""
    catalog.add("votes.consensus", Consensus, ConsensusConfig, "Counts the votes on each topic, by a consensus rule.")


@hookimpl
def converge_register_payloads(registry: PayloadRegistry) -> None:
    """Register votes, disagreements and outcomes."""
    for payload in (Vote, Disagreement, ConsensusOutcome):
        registry.register(payload)
