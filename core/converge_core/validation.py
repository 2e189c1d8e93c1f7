"""Validation: several independent looks at one claim, and what they come to together.

A `Claim` says something of a file. A `Validator` holds it against the world in one way, its *strategy*, and says what
it saw. Its vote carries that, with its digest; a validator that raises, or is late, has abstained, and the vote says
so. A `Quorum` of k out of n counts strategies, not votes: two validators that look in the same way are one pair of
eyes, and one of them that says no outweighs the other. It takes whole numbers, so two of three are two of three.

==============  =====================================================================
status          when
==============  =====================================================================
``validated``   at least k strategies say yes
``rejected``    none says yes, and at least one says no
``disputed``    everything else: too few say yes, or nobody could say anything
==============  =====================================================================

A quorum needs two strategies at least, so no single validator, whatever it says, makes a rejected claim a valid one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, NamedTuple, Protocol, Self

from pydantic import Field, model_validator

from converge_core.context.payloads import FactPayload, FrozenDict, FrozenObject
from converge_core.deadlines import DeadlinePassed
from converge_core.errors import ConvergeError, MisuseError
from converge_core.intent.sections import Section
from converge_core.ledger.canonical import JsonValue, canonical
from converge_core.ledger.events import printable
from converge_core.ledger.hashes import ContentHash
from converge_core.suggestors.catalog import Port
from converge_core.votes import Decision, Vote

SHA256 = r"^[0-9a-f]{64}$"


class Severity(StrEnum):
    """How much a claim matters, the most first."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"

    @property
    def rank(self) -> int:
        """Its place among the severities, from 0 for the most severe."""
        return tuple(Severity).index(self)


class Claim(FactPayload):
    """What is said of a file: its ``path`` in the repository, and the SHA-256 that its content is said to have."""

    family: ClassVar[str] = "converge.validation.claim"

    claim: str = Field(min_length=1)
    path: str = Field(min_length=1)
    sha256: str | None = Field(default=None, pattern=SHA256)
    severity: Severity = Severity.MEDIUM

    def summary(self) -> str:
        return f"{self.claim} ({self.path}, {self.severity})"


class CannotSay(ConvergeError):
    """Raised by a validator that has nothing to say about a claim; its vote is an abstention."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a validator found: whether the claim holds, what it ``saw`` (JSON), and a reason for people."""

    holds: bool
    saw: Mapping[str, JsonValue]
    reason: str | None = None


class Validator(Protocol):
    """Holds claims against the world, in one way."""

    @property
    def strategy(self) -> str:
        """The id of the way in which it looks. Validators with the same one are not independent of each other."""
        ...

    def validate(self, claim: Claim) -> Finding | Awaitable[Finding]:
        """Look. May be plain or ``async``. Raises CannotSay, or anything else: then it abstains."""
        ...


class Abstained(StrEnum):
    """Why a validator has not said yes or no."""

    TIMEOUT = "timeout"
    ERROR = "error"


class ValidationVote(Vote):
    """The vote of a validator: ``evidence`` is the SHA-256 (hex) of the canonical JSON of what it ``saw``."""

    family: ClassVar[str] = "converge.validation.vote"

    strategy: str = Field(min_length=1)
    saw: FrozenObject = Field(default_factory=FrozenDict)
    evidence: str = Field(pattern=SHA256)
    abstained: Abstained | None = None

    @classmethod
    def of(cls, topic: str, voter: str, strategy: str, said: Finding | Exception) -> ValidationVote:
        """Return the vote that follows from what a validator said, or raised. A finding that is none has raised."""
        if isinstance(said, Finding):
            decision = Decision.YES if said.holds else Decision.NO
            try:
                return cls(
                    topic=topic,
                    voter=voter,
                    decision=decision,
                    reason=None if said.reason is None else printable(said.reason),
                    strategy=strategy,
                    saw=said.saw,
                    evidence=digest_of(said.saw),
                )
            except ValueError as error:  # what it saw is not JSON
                said = error
        late = isinstance(said, DeadlinePassed)
        expected = late or isinstance(said, CannotSay)
        reason = printable(str(said) if expected else f"{type(said).__name__}: {said}")
        return cls(
            topic=topic,
            voter=voter,
            decision=Decision.ABSTAIN,
            reason=reason,
            strategy=strategy,
            evidence=digest_of({}),
            abstained=Abstained.TIMEOUT if late else Abstained.ERROR,
        )

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        if self.evidence != digest_of(self.saw):
            raise ValueError("the evidence digest is not that of what was seen")
        if (self.decision is Decision.ABSTAIN) != (self.abstained is not None):
            raise ValueError("a vote says why it abstains, if and only if it does")
        return self


def digest_of(saw: Mapping[str, JsonValue]) -> str:
    """Return the SHA-256 (hex) of the canonical JSON of what was seen. Raises CanonicalError."""
    return str(ContentHash.of(canonical(saw)))


class ValidationStatus(StrEnum):
    """What becomes of a claim."""

    VALIDATED = "validated"
    DISPUTED = "disputed"
    REJECTED = "rejected"


class Count(NamedTuple):
    """Strategies by what they say, each group by name."""

    yes: tuple[str, ...]
    no: tuple[str, ...]
    abstain: tuple[str, ...]

    def status(self, needed: int) -> ValidationStatus:
        """Return what a count comes to, if so many strategies have to say yes."""
        if len(self.yes) >= needed:
            return ValidationStatus.VALIDATED
        return ValidationStatus.REJECTED if self.no and not self.yes else ValidationStatus.DISPUTED


@dataclass(frozen=True, slots=True)
class Quorum:
    """``needed`` of ``strategies`` must say yes. Raises MisuseError unless that many differ, and are two at least."""

    needed: int
    strategies: tuple[str, ...]

    def __post_init__(self) -> None:
        different = sorted(set(self.strategies))
        if self.needed < 2:
            raise MisuseError(f"a quorum needs at least 2 strategies, not {self.needed}: nobody validates alone")
        if len(different) < self.needed:
            raise MisuseError(
                f"a quorum of {self.needed} needs as many different strategies; there are {len(different)}:"
                f" {', '.join(different) or 'none'}"
            )

    def count(self, votes: Iterable[ValidationVote]) -> Count:
        """Count the votes on one claim. A strategy says yes if every vote of it does, and no if any vote of it does.

        Raises MisuseError for a vote of another strategy.
        """
        said: dict[str, set[Decision]] = {strategy: set() for strategy in sorted(set(self.strategies))}
        for vote in votes:
            if vote.strategy not in said:
                raise MisuseError(f"the strategy {vote.strategy!r} is not part of this quorum")
            said[vote.strategy].add(vote.decision)
        groups: dict[Decision, list[str]] = {decision: [] for decision in Decision}
        for strategy, decisions in said.items():
            if Decision.NO in decisions:
                groups[Decision.NO].append(strategy)
            elif decisions == {Decision.YES}:
                groups[Decision.YES].append(strategy)
            else:
                groups[Decision.ABSTAIN].append(strategy)
        return Count(*(tuple(groups[decision]) for decision in (Decision.YES, Decision.NO, Decision.ABSTAIN)))

    def outcome(self, topic: str, severity: Severity, votes: Iterable[ValidationVote]) -> ValidationOutcome:
        """Return what the votes on a claim come to. Raises MisuseError as `count` does."""
        cast = tuple(votes)
        count = self.count(cast)
        return ValidationOutcome(
            topic=topic,
            severity=severity,
            status=count.status(self.needed),
            needed=self.needed,
            **count._asdict(),
            evidence=tuple(vote.evidence for vote in cast),
        )


class ValidationOutcome(FactPayload):
    """What became of a claim (``topic``, as ``key/id``): ``yes``, ``no`` and ``abstain`` are strategies.

    ``evidence`` are the digests of the votes, in their order. Whoever makes one, ``status`` is what the count says.
    """

    family: ClassVar[str] = "converge.validation.outcome"

    topic: str = Field(min_length=1)
    severity: Severity
    status: ValidationStatus
    needed: int = Field(ge=2)
    yes: tuple[str, ...] = ()
    no: tuple[str, ...] = ()
    abstain: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()

    def summary(self) -> str:
        return f"{self.topic} is {self.status}: {len(self.yes)} of {self.needed} needed strategies say yes"

    @model_validator(mode="after")
    def _recount(self) -> Self:
        expected = Count(self.yes, self.no, self.abstain).status(self.needed)
        if self.status is not expected:
            raise ValueError(f"the count says {expected}, not {self.status}")
        return self


class ValidatorSection(Section):
    """A validator of the catalog, configured. Its name alone will do where it needs no configuration."""

    use: str = Field(description="Its name in the catalog: see `converge plugins --offers`.")
    name: str | None = Field(default=None, min_length=1, description="Its name as a voter; `use` if absent.")
    with_: dict[str, Any] = Field(default_factory=dict, alias="with", description="Its configuration.")

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: object) -> object:
        return {"use": value} if isinstance(value, str) else value

    @property
    def voter(self) -> str:
        """The name under which it votes."""
        return self.name or self.use


VALIDATORS: Port[Callable[[ValidatorSection], Validator]] = Port("validators")
"""Makes a validator that a plugin offers. Raises IntentError, whose paths begin inside the section."""
