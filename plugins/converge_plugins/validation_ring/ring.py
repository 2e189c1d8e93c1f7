"""``ring``: claims about files, validated by independent validators and a quorum.

    use: ring
    with:
      key: constraints
      needed: 2
      validators: [file, version_control, hash]
      deadline_ms: 5000

A claim is a fact under ``key`` that has a field ``claim``: what is said, with the ``path`` of the file that it is said
of, and its ``sha256`` and ``severity`` (``critical``, ``high``, ``medium``, ``low``) where they are known. Other facts
there are left alone. Each validator looks at each claim by itself, under a deadline of its own, and leaves a vote under
``votes``, whatever it comes to: one that is late or fails has abstained, and the vote says so. What the votes come to
is a fact under ``consensus_outcomes``: ``validated``, ``disputed`` or ``rejected``.

In one cycle at most ``max_jobs`` claims are looked at, the most severe first, and the others in the cycles after it;
those that are critical never wait. Nothing is left out. Nothing is locked, either, while validators look: votes and
outcomes enter the ledger when the cycle is merged, and the ledger is the chain that they are links of.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from converge_core import (
    AgentEffect,
    Context,
    ContextKey,
    DataPayload,
    IntentError,
    MisuseError,
    Problem,
    ProposedFact,
    Replayability,
    Site,
    Suggestor,
    SuggestorError,
)
from converge_core.context.facts import AnyFact, AnyProposal, fact_ref
from converge_core.context.payloads import one_line
from converge_core.deadlines import DEADLINES
from converge_core.validation import (
    VALIDATORS,
    Claim,
    Finding,
    Quorum,
    Severity,
    ValidationOutcome,
    ValidationVote,
    Validator,
    ValidatorSection,
)

_OWN = (ContextKey.VOTES, ContextKey.CONSENSUS_OUTCOMES)


class RingConfig(BaseModel):
    """The configuration of a ring."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: ContextKey = Field(description="Where the claims are.")
    needed: int = Field(default=2, ge=2, description="How many different strategies must say yes.")
    validators: tuple[ValidatorSection, ...] = Field(
        default=(
            ValidatorSection(use="file"),
            ValidatorSection(use="version_control"),
            ValidatorSection(use="hash"),
        ),
        description="Who looks, by name; or with `use`, `name` and `with`.",
    )
    deadline_ms: int = Field(default=10_000, ge=1, description="The most that one look at one claim may take.")
    max_jobs: int = Field(
        default=100, ge=1, description="The most claims in one cycle; critical ones are never put off."
    )

    @field_validator("key")
    @classmethod
    def _is_not_its_own(cls, key: ContextKey) -> ContextKey:
        if key in _OWN:
            raise ValueError("the ring writes there itself")
        return key


class _Job(NamedTuple):
    fact: AnyFact
    claim: Claim


class Ring(Suggestor):
    """Validates each new claim. Raises LookupError where no deadlines are offered, IntentError for no quorum."""

    writes = _OWN
    payloads = (Claim, ValidationVote, ValidationOutcome)
    replayability = Replayability.BEST_EFFORT

    def __init__(self, config: RingConfig, site: Site) -> None:
        self.name = site.name
        # A vote of its own wakes it as well: there may be claims that were put off.
        self.dependencies = (config.key, (ContextKey.VOTES, ValidationVote))
        self.config = config.model_dump(mode="json", by_alias=True)
        self._key, self._limit_ms, self._max_jobs = config.key, config.deadline_ms, config.max_jobs
        self._deadlines = site.port(DEADLINES)
        self._validators = _validators(config.validators, site.port(VALIDATORS))
        try:
            self._quorum = Quorum(config.needed, tuple(one.strategy for one in self._validators.values()))
        except MisuseError as error:
            raise IntentError((Problem("validators", str(error)),)) from error

    def accepts(self, ctx: Context) -> bool:
        """Say whether there are claims that nobody has voted on."""
        return next(self._open(ctx), None) is not None

    async def execute(self, ctx: Context) -> AgentEffect:
        """Return the votes and the outcome of each claim. Raises SuggestorError for a claim that is none."""
        jobs = sorted((self._job(fact) for fact in self._open(ctx)), key=lambda job: job.claim.severity.rank)
        critical = sum(job.claim.severity is Severity.CRITICAL for job in jobs)
        jobs = jobs[: max(critical, self._max_jobs)]
        looks: list[Callable[[], Finding | Awaitable[Finding]]] = [
            partial(validator.validate, job.claim) for job in jobs for validator in self._validators.values()
        ]
        said = iter(await self._deadlines.attempt(looks, self._limit_ms))
        return AgentEffect.with_proposals(
            proposal
            for job in jobs
            for proposal in self._proposals(
                job,
                [
                    ValidationVote.of(job.fact.ref, voter, validator.strategy, next(said))
                    for voter, validator in self._validators.items()
                ],
            )
        )

    def _proposals(self, job: _Job, votes: list[ValidationVote]) -> Iterator[AnyProposal]:
        ids = [self._vote_id(job.fact, vote.voter) for vote in votes]
        for fact_id, vote in zip(ids, votes, strict=True):
            yield ProposedFact(ContextKey.VOTES, fact_id, vote, evidence=[job.fact])
        yield ProposedFact(
            ContextKey.CONSENSUS_OUTCOMES,
            f"{self.name}:{job.fact.id}",
            self._quorum.outcome(job.fact.ref, job.claim.severity, votes),
            evidence=[fact_ref(ContextKey.VOTES, fact_id) for fact_id in ids],
        )

    def _open(self, ctx: Context) -> Iterator[AnyFact]:
        """Yield the claims that nobody has voted on. One that was corrected is another claim."""
        voter = next(iter(self._validators))
        for fact in ctx.get(self._key):
            claims = isinstance(fact.payload, Claim) or (
                isinstance(fact.payload, DataPayload) and "claim" in fact.payload.data
            )
            if claims and ctx.find(ContextKey.VOTES, self._vote_id(fact, voter)) is None:
                yield fact

    def _vote_id(self, fact: AnyFact, voter: str) -> str:
        return f"{self.name}:{fact.id}:{voter}"

    def _job(self, fact: AnyFact) -> _Job:
        payload = fact.payload
        if isinstance(payload, Claim):
            return _Job(fact, payload)
        body = payload.data if isinstance(payload, DataPayload) else {}
        try:
            return _Job(fact, Claim.model_validate({name: body[name] for name in Claim.model_fields if name in body}))
        except ValidationError as error:
            reason = f"fact {fact.ref} is not a claim: {one_line(error)}"
            raise SuggestorError(self.name, "invalid_input", reason) from error


def _validators(
    sections: tuple[ValidatorSection, ...], make: Callable[[ValidatorSection], Validator]
) -> dict[str, Validator]:
    """Return the validators by the names under which they vote. Raises IntentError with every fault."""
    made: dict[str, Validator] = {}
    problems: list[Problem] = []
    for place, section in enumerate(sections):
        if section.voter in made:
            problems.append(Problem(f"validators.{place}.name", f"a validator {section.voter!r} stands above already"))
            continue
        try:
            made[section.voter] = make(section)
        except IntentError as error:
            problems += [problem._replace(path=f"validators.{place}.{problem.path}") for problem in error.problems]
    if problems:
        raise IntentError(tuple(problems))
    return made
