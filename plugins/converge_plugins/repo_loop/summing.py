"""The phases that look at what the others have found: status, beliefs, fixes, claims and what became of them."""

from __future__ import annotations

from collections import Counter

from pydantic import BaseModel, ConfigDict, Field

from converge_core import ContextKey, ProposedFact
from converge_core.context.facts import AnyProposal, Fact, fact_ref
from converge_core.governance import beliefs as governance
from converge_core.governance.status_cube import ENOUGH, Standing
from converge_core.ledger.canonical import JsonValue
from converge_core.ledger.hashes import ContentHash
from converge_core.repository import RECEIPTS
from converge_core.validation import SHA256, Claim, Severity, ValidationOutcome, ValidationStatus
from converge_plugins.repo_loop.globs import matcher
from converge_plugins.repo_loop.payloads import Belief, Fix, Issue, Observation, Receipt, Report, Status
from converge_plugins.repo_loop.phase import Finding, NotYet, PhaseConfig, View, control, earlier_reports
from converge_plugins.repo_loop.survey import told

SHOWN = 40
MAX_FIXES = 100
MAX_OBSERVATIONS = 100
"""How many are told apart by dimension; a receipt must not grow with the number of runs."""
_MARK = 12


def standing(view: View) -> JsonValue:
    """Say that a phase depends on the reports, and on what version control says."""
    return [earlier_reports(view), control(view)]


async def status_cube(view: View, config: PhaseConfig) -> Finding:
    """Say of each part of the repository how it stands.

    It is held where somebody has found an issue in it, and proven where enough phases pass and nobody has.
    """
    sizes: Counter[str] = Counter()
    for path in view.paths:
        sizes[_part(path)] += 1
    changed = Counter(_part(path) for path in (view.survey.revision.changed if view.survey.revision else ()))
    issues = Counter(_part(issue.path) for fact in view.reports for issue in fact.payload.issues if issue.path)
    passing = sum(fact.payload.status is Status.PASS for fact in view.reports)
    otherwise = Standing.PROVEN if passing >= ENOUGH else Standing.CANDIDATE
    cells: dict[str, JsonValue] = {
        told(part): {
            "changed": changed[part],
            "files": count,
            "issues": issues[part],
            "standing": Standing.HELD if issues[part] else otherwise,
        }
        for part, count in sizes.most_common(SHOWN)
    }
    return Finding(
        f"placed {len(view.files)} files in {len(sizes)} parts", {"parts": cells, "reports": len(view.reports)}
    )


def _part(path: str) -> str:
    """Return the part of the repository that a path is in: its first folder."""
    first, slash, _ = path.partition("/")
    return first if slash else "."


async def fixes(view: View, config: PhaseConfig) -> Finding:
    """Propose what would mend the issues that were found, as far as those who found them know."""
    found = [(fact, issue) for fact in view.reports for issue in fact.payload.issues if issue.remedy is not None]
    proposals = tuple(_fix(fact, issue) for fact, issue in found[:MAX_FIXES])
    total = sum(len(fact.payload.issues) for fact in view.reports)
    evidence: dict[str, JsonValue] = {"issues": total, "proposed": len(proposals), "reports": len(view.reports)}
    return Finding(f"proposed {len(proposals)} fixes for {total} issues", evidence, proposals=proposals)


def _fix(fact: Fact[Report], issue: Issue) -> AnyProposal:
    name = f"fix:{fact.payload.phase}:{_mark(issue.model_dump_json())}"
    return ProposedFact(ContextKey.PROPOSALS, name, Fix(phase=fact.payload.phase, issue=issue))


def _mark(text: str) -> str:
    return str(ContentHash.of(text))[:_MARK]


async def beliefs(view: View, config: PhaseConfig) -> Finding:
    """Learn from how each phase has ended; what was believed before is in the receipt of the run before this one."""
    past = await view.site.port(RECEIPTS).newest(Receipt.family, {"repository": view.repository.root})
    held: dict[str, Belief] = {}
    if past is not None:
        held = {belief.dimension: belief for belief in Receipt.model_validate(past.body).beliefs}
    learned = [updated(held.get(fact.payload.phase), fact.payload) for fact in view.reports]
    proposals = tuple(
        ProposedFact(ContextKey.HYPOTHESES, f"belief:{one.dimension}:{_mark(one.model_dump_json())}", one)
        for one in learned
    )
    means: dict[str, JsonValue] = {one.dimension: round(one.mean, 4) for one in learned}
    return Finding(f"learned from {len(learned)} reports", {"means": means}, proposals=proposals)


def updated(held: Belief | None, report: Report) -> Belief:
    """Return what is believed after a report; one that was made of the same inputs, and says the same, adds nothing."""
    passed = report.status is Status.PASS
    seen = Observation(id=f"{report.fingerprint[:16]}:{'passed' if passed else 'failed'}", passed=passed)
    held = held or Belief(dimension=report.phase, mean=0, confidence=0)
    evidence = held.evidence if seen in held.evidence else (*held.evidence, seen)
    older, evidence = evidence[:-MAX_OBSERVATIONS], evidence[-MAX_OBSERVATIONS:]
    before = Counter(one.passed for one in older)
    won, lost = held.older_passed + before[True], held.older_failed + before[False]
    pieces = [governance.Evidence(one.id, one.passed) for one in evidence]
    pieces += [
        governance.Evidence(f"older:{said}", said, count) for said, count in ((True, won), (False, lost)) if count
    ]
    belief = governance.NOTHING_SEEN.observe(pieces)
    return Belief(
        dimension=report.phase,
        mean=belief.mean,
        confidence=belief.confidence,
        evidence=evidence,
        older_passed=won,
        older_failed=lost,
    )


class Stated(BaseModel):
    """Something that must hold of a file, or of each file that a glob means."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    claim: str = Field(default="is there", min_length=1, description="What is claimed, for people.")
    files: str = Field(min_length=1, description="Of which file, or of which files, as a glob.")
    sha256: str | None = Field(
        default=None, pattern=SHA256, description="What its content hashes to; as now, if absent."
    )
    severity: Severity = Field(default=Severity.MEDIUM, description="How much it matters.")


class ClaimsConfig(PhaseConfig):
    """What must hold, for a validation ring to judge."""

    claims: tuple[Stated, ...] = Field(min_length=1, description="What must hold.")
    key: ContextKey = Field(
        default=ContextKey.CONSTRAINTS, description="Where the claims go: where the ring reads them."
    )

    def more_writes(self) -> tuple[ContextKey, ...]:
        return (self.key,)


async def claims(view: View, config: ClaimsConfig) -> Finding:
    """State the claims, each with the digest that its file has now unless the intent says which it must have."""
    proposals: list[AnyProposal] = []
    issues = []
    for stated in config.claims:
        means = matcher((stated.files,))
        found = [path for path in view.paths if means(path)]
        if not found:
            issues.append(Issue(message=f"claims something of {stated.files}, and there is no such file"))
        for path in found:
            digest = stated.sha256 or view.survey.digests.get(path)
            says = Claim(claim=stated.claim, path=told(path), sha256=digest, severity=stated.severity)
            name = f"claim:{told(path)}:{_mark(says.model_dump_json())}"
            proposals.append(ProposedFact(config.key, name, says))
    evidence: dict[str, JsonValue] = {"claims": [fact_ref(config.key, one.id) for one in proposals]}
    return Finding(f"stated {len(proposals)} claims", evidence, tuple(issues), tuple(proposals))


class RingConfig(PhaseConfig):
    """How severe a claim must be for its failing to matter."""

    severities: tuple[Severity, ...] = Field(
        default=(Severity.CRITICAL, Severity.HIGH),
        description="The claims that must be validated; of the others it is told.",
    )


def outcomes(view: View) -> JsonValue:
    """Say that a phase depends on what the ring has said of the claims of this tick."""
    said = _said(view)
    return [[topic, said[topic].hash.hex() if topic in said else None] for topic in _topics(view)]


def _topics(view: View) -> list[str]:
    """Return the claims that were stated in this tick, as ``key/id``."""
    stated = (fact.payload.evidence.get("claims", ()) for fact in view.reports if fact.payload.kind == "claims")
    return [str(topic) for topics in stated for topic in topics]


def _said(view: View) -> dict[str, Fact[ValidationOutcome]]:
    """Return the newest that was said of each claim."""
    return {fact.payload.topic: fact for fact in view.ctx.get(ContextKey.CONSENSUS_OUTCOMES, ValidationOutcome)}


async def ring(view: View, config: RingConfig) -> Finding:
    """Wait until the validation ring has spoken of every claim, and take it at its word."""
    topics, said = _topics(view), _said(view)
    if silent := [topic for topic in topics if topic not in said]:
        raise NotYet(f"the validation ring has not spoken of {len(silent)} claims, such as {silent[0]}")
    if not topics:
        return Finding.failed("looked for claims", "nothing is claimed: `repo.claims` states what must hold")
    counts = Counter(str(said[topic].payload.status) for topic in topics)
    issues = tuple(
        Issue(message=said[topic].payload.summary())
        for topic in topics
        if said[topic].payload.status is not ValidationStatus.VALIDATED
        and said[topic].payload.severity in config.severities
    )
    return Finding(f"took the word of the ring on {len(topics)} claims", {"outcomes": dict(counts)}, issues)
