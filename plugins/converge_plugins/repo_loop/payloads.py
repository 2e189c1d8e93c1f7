"""What the loop says: the payloads of the family ``repo``, and what each of them demands of the facts there are.

====================  ==============  =====================================================================
payload               under           says
====================  ==============  =====================================================================
`Declared`            signals         a phase takes part, and what it looks at
`Snapshot`            signals         what the repository was when a tick began
`Waiting`             signals         a phase waits for somebody who is not part of the loop
`Report`              evaluations     what a phase has found in a tick, and by what it shows it
`Belief`              hypotheses      how likely a phase is to pass, by all that was ever seen of it
`Fix`                 proposals       what would mend an issue; nobody applies it
`Closed`              signals         why no further tick follows
`Receipt`             consensus_…     the verdict, with everything that it rests on
`Promotion`           strategies      that this state of the repository be released: for a human to decide
====================  ==============  =====================================================================
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from converge_core import Context, ContextKey, FactPayload
from converge_core.context.payloads import FrozenDict, FrozenObject

SHA256 = r"^[0-9a-f]{64}$"


class Status(StrEnum):
    """How a phase has ended. One that drops has failed in a way after which nothing else is worth finding out."""

    PASS = "pass"  # noqa: S105  # nobody gets in by it
    FAIL = "fail"
    DROP = "drop"
    SKIPPED = "skipped"


class Outcome(StrEnum):
    """Why no further tick follows: the repository held still, the ticks are used up, or a phase dropped the run."""

    SETTLED = "settled"
    EXHAUSTED = "exhausted"
    DROPPED = "dropped"


class Verdict(StrEnum):
    """What the loop concludes."""

    PROMOTE = "promote"
    HOLD = "hold"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Issue(_Part):
    """Something that is wrong, where, and what would mend it."""

    message: str = Field(min_length=1)
    path: str | None = None
    line: int | None = Field(default=None, ge=1)
    remedy: str | None = None

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.path, self.line) if part is not None)
        return f"{place}: {self.message}" if place else self.message


class Declared(FactPayload):
    """A phase takes part in the run, under its name there. It looks at the files that ``inputs`` (globs) mean."""

    family: ClassVar[str] = "repo.declared"
    phase: str
    kind: str
    edition: str
    stage: int
    inputs: tuple[str, ...]
    required: bool


class Snapshot(FactPayload):
    """The repository as a tick found it. ``digest`` covers paths, contents, modes, and what version control says."""

    family: ClassVar[str] = "repo.snapshot"
    tick: int = Field(ge=1)
    digest: str = Field(pattern=SHA256)
    files: int
    bytes: int
    directories: int
    links: int
    unreadable: int
    truncated: bool
    max_files: int
    max_depth: int
    commit: str | None
    changed: int

    def summary(self) -> str:
        return f"tick {self.tick}: {self.files} files, {self.digest[:12]}"


class Waiting(FactPayload):
    """A phase waits, for the ``turn``-th time in a tick."""

    family: ClassVar[str] = "repo.waiting"
    tick: int
    phase: str
    turn: int
    reason: str


class Report(FactPayload):
    """What a phase has done and found in a tick. Its ``fingerprint`` is that of everything it has looked at.

    ``reused`` says that all of that was as it had been, and the phase was not run again. Whoever passes shows by what.
    """

    family: ClassVar[str] = "repo.report"
    tick: int = Field(ge=1)
    phase: str
    kind: str
    status: Status
    did: str = Field(min_length=1)
    issues: tuple[Issue, ...] = ()
    evidence: FrozenObject = Field(default_factory=FrozenDict)
    fingerprint: str = Field(pattern=SHA256)
    reused: bool = False

    @model_validator(mode="after")
    def _shows_by_what(self) -> Self:
        if self.status is Status.PASS and not self.evidence:
            raise ValueError("a pass needs evidence")
        if self.status is Status.PASS and self.issues:
            raise ValueError("what has issues has not passed")
        if self.status is not Status.PASS and not self.issues:
            raise ValueError("what has not passed says why")
        return self

    def summary(self) -> str:
        return f"{self.phase}: {self.status}, {self.did}"


class Observation(_Part):
    """That a phase has passed, or not, on exactly these inputs."""

    id: str
    passed: bool


class Belief(FactPayload):
    """How likely a phase (``dimension``) is to pass: the mean of a Beta distribution, and how sure that is.

    ``evidence`` is what was observed last, oldest first; what was observed before is only counted any more.
    """

    family: ClassVar[str] = "repo.belief"
    dimension: str
    mean: float = Field(ge=0, le=1)
    confidence: float = Field(ge=0, le=1)
    evidence: tuple[Observation, ...] = ()
    older_passed: int = Field(default=0, ge=0)
    older_failed: int = Field(default=0, ge=0)

    def summary(self) -> str:
        count = len(self.evidence) + self.older_passed + self.older_failed
        return f"{self.dimension}: {self.mean:.3f} after {count} observations"


class Fix(FactPayload):
    """What would mend an issue that a phase has found. A proposal: files are never touched."""

    family: ClassVar[str] = "repo.fix"
    phase: str
    issue: Issue

    def summary(self) -> str:
        return f"{self.issue}: {self.issue.remedy}"


class Closed(FactPayload):
    """The ticks are over."""

    family: ClassVar[str] = "repo.closed"
    tick: int
    outcome: Outcome
    digest: str | None = Field(default=None, pattern=SHA256)
    reason: str

    def summary(self) -> str:
        return f"{self.outcome} in tick {self.tick}: {self.reason}"


class PhaseResult(_Part):
    """One line of a receipt. ``report`` is the hash of the fact that says more, where the phase was run."""

    phase: str
    status: Status
    required: bool
    issues: int = 0
    fingerprint: str | None = None
    report: str | None = None


class Previous(_Part):
    """The receipt before this one: in which run, and the hash of that fact."""

    run_id: str
    hash: str = Field(pattern=SHA256)
    verdict: Verdict


class Drift(_Part):
    """What is different from the previous receipt: names of phases, and whether the repository is another."""

    first_run: bool = True
    input_changed: bool = False
    regressed: tuple[str, ...] = ()
    recovered: tuple[str, ...] = ()
    appeared: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()

    @property
    def trend(self) -> str:
        """Return where it goes: ``improving``, ``worsening``, ``mixed`` or ``steady``."""
        if self.regressed and self.recovered:
            return "mixed"
        return "worsening" if self.regressed else "improving" if self.recovered else "steady"


class Receipt(FactPayload):
    """What a run has come to, over all phases of its final tick. There is one, whatever the way out was."""

    family: ClassVar[str] = "repo.receipt"
    repository: str
    run_id: str
    tick: int
    outcome: Outcome
    input_digest: str | None = Field(default=None, pattern=SHA256)
    commit: str | None = None
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    phases: tuple[PhaseResult, ...]
    previous: Previous | None = None
    drift: Drift = Drift()
    beliefs: tuple[Belief, ...] = ()

    @model_validator(mode="after")
    def _follows(self) -> Self:
        if (self.verdict is Verdict.HOLD) != bool(self.reasons):
            raise ValueError("who holds says why, and who promotes has nothing to say against it")
        return self

    def summary(self) -> str:
        passed = sum(result.status is Status.PASS for result in self.phases)
        return f"{self.verdict}: {passed} of {len(self.phases)} phases passed in tick {self.tick} ({self.outcome})"

    def objection(self, ctx: Context) -> str | None:
        if any(fact.payload != self for fact in ctx.get(Receipt)):
            return "there is a receipt already"
        if {result.phase for result in self.phases} != {fact.payload.phase for fact in ctx.get(Declared)}:
            return "a receipt covers every phase that has declared itself"
        return None


class Promotion(FactPayload):
    """That a state of the repository be promoted, on the strength of a receipt (its hash)."""

    family: ClassVar[str] = "repo.promotion"
    repository: str
    commit: str | None
    input_digest: str = Field(pattern=SHA256)
    receipt: str = Field(pattern=SHA256)
    objective: str

    def summary(self) -> str:
        return f"promote {self.commit or self.input_digest[:12]}: {self.objective}"

    def objection(self, ctx: Context) -> str | None:
        for fact in ctx.get(ContextKey.CONSENSUS_OUTCOMES, Receipt):
            said = fact.payload
            if fact.hash.hex() == self.receipt and said.verdict is Verdict.PROMOTE:
                same = (said.repository, said.commit, said.input_digest)
                return (
                    None
                    if same == (self.repository, self.commit, self.input_digest)
                    else "the receipt is of another state"
                )
        return "no receipt of this run says so"


PAYLOADS: tuple[type[FactPayload], ...] = (
    Declared,
    Snapshot,
    Waiting,
    Report,
    Belief,
    Fix,
    Closed,
    Receipt,
    Promotion,
)
