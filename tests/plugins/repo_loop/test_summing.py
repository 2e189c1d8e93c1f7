"""The phases that look at what the others have found: status, beliefs, fixes, and the validation ring."""

from __future__ import annotations

from typing import Any

import pytest

from converge_core import AgentEffect, Context, ContextKey, ProposedFact, Suggestor
from converge_core.validation import Claim, Severity, ValidationOutcome, ValidationStatus
from converge_plugins.repo_loop.payloads import Belief, Fix, Receipt, Report, Status, Waiting
from converge_plugins.repo_loop.summing import MAX_OBSERVATIONS, updated
from tests.fakes.repository import FakeRepository
from tests.plugins.repo_loop.loop import README, Past, facts, receipt, reports, run, told, verdict

BELIEFS = {"use": "repo.beliefs", "name": "beliefs"}
GROUND = {"use": "repo.grounding", "name": "ground"}


def a_report(fingerprint: int, status: Status = Status.PASS) -> Report:
    said: dict[str, Any] = {"evidence": {"it": 1}} if status is Status.PASS else {"issues": ({"message": "no"},)}
    return Report(tick=1, phase="p", kind="k", status=status, did="it", fingerprint=f"{fingerprint:064x}"[::-1], **said)


def test_status_says_how_each_part_stands() -> None:
    files = {"src/a.py": b"", "docs/b.md": b"[x](nowhere.md)", "README.md": b"# R"}

    result = run(FakeRepository(files), {"use": "repo.docs"}, GROUND, {"use": "repo.status_cube", "name": "status"})

    parts = reports(result, "status")[0].evidence["parts"]
    assert {part: cell["standing"] for part, cell in parts.items()} == {"src": "proven", "docs": "held", ".": "proven"}


def test_what_would_mend_an_issue_is_proposed_and_nothing_is_touched() -> None:
    folder = FakeRepository({"README.md": b"[x](b.md)", "docs/b.md": b""})

    result = run(folder, {"use": "repo.docs", "name": "docs"}, {"use": "repo.fixes"})

    (fix,) = facts(result, Fix)
    assert fix.key is ContextKey.PROPOSALS
    assert (fix.payload.phase, fix.payload.issue.remedy) == ("docs", "link to docs/b.md")
    assert folder.files["README.md"] == b"[x](b.md)"


def test_cr005_a_belief_follows_what_was_seen() -> None:
    held: Belief | None = None
    means = []
    for number in range(3):
        held = updated(held, a_report(number))
        means.append(round(held.mean, 4))

    assert means == [0.6667, 0.75, 0.8]
    assert held is not None
    assert round(updated(held, a_report(9, Status.FAIL)).mean, 4) == 0.6667
    assert updated(held, a_report(2)) == held  # seen before: it changes nothing


def test_cr005_confidence_grows_with_what_was_seen() -> None:
    one = updated(None, a_report(1))
    two = updated(one, a_report(2))

    assert 0 < one.confidence < two.confidence < 1


def test_cr005_what_is_told_apart_is_bounded_and_nothing_is_lost_for_it() -> None:
    held: Belief | None = None
    for number in range(MAX_OBSERVATIONS + 50):
        held = updated(held, a_report(number))

    assert held is not None
    assert (len(held.evidence), held.older_passed) == (MAX_OBSERVATIONS, 50)
    assert held.mean == pytest.approx((MAX_OBSERVATIONS + 51) / (MAX_OBSERVATIONS + 52))


def test_cr005_beliefs_live_on_in_the_receipts() -> None:
    past, means = Past(), []
    for number in range(3):
        files = {**README, "a": str(number).encode()}
        result = run(FakeRepository(files), GROUND, BELIEFS, past=past, run_id=f"run-{number}")
        past.keep(result)
        means.append({one.dimension: round(one.mean, 4) for one in receipt(result).payload.beliefs}["ground"])
    again = run(FakeRepository(files), GROUND, BELIEFS, past=past, run_id="again")

    assert means == [0.6667, 0.75, 0.8]
    assert receipt(again).payload.beliefs == receipt(result).payload.beliefs


def test_cr005_what_a_run_does_not_speak_of_is_believed_as_before() -> None:
    past = Past()
    first = run(FakeRepository(README), GROUND, BELIEFS, past=past)
    past.keep(first)

    without = run(FakeRepository(README), {"use": "repo.docs"}, past=past, run_id="run-2")

    assert receipt(without).payload.beliefs == receipt(first).payload.beliefs


def test_x28_without_anything_seen_nothing_is_believed() -> None:
    assert receipt(run(FakeRepository(README), GROUND)).payload.beliefs == ()


SAID: dict[ValidationStatus, tuple[tuple[str, ...], tuple[str, ...]]] = {
    ValidationStatus.VALIDATED: (("a", "b"), ()),
    ValidationStatus.DISPUTED: (("a",), ("b",)),
    ValidationStatus.REJECTED: ((), ("a", "b")),
}


class Verifier(Suggestor):
    """Speaks of every claim as a validation ring does."""

    name = "verifier"
    payloads = (ValidationOutcome,)
    writes = (ContextKey.CONSENSUS_OUTCOMES,)
    dependencies = (Claim,)

    def __init__(self, status: ValidationStatus) -> None:
        self._status = status

    def execute(self, ctx: Context) -> AgentEffect:
        yes, no = SAID[self._status]
        outcomes = [
            ValidationOutcome(
                topic=fact.ref, severity=fact.payload.severity, status=self._status, needed=2, yes=yes, no=no
            )
            for fact in ctx.fresh(Claim)
        ]
        return AgentEffect.with_proposals(
            ProposedFact(ContextKey.CONSENSUS_OUTCOMES, f"outcome:{one.topic}", one) for one in outcomes
        )


def claiming(severity: Severity = Severity.HIGH) -> tuple[dict[str, Any], ...]:
    stated = {"claim": "says what this is", "files": "README.md", "severity": severity}
    return {"use": "repo.claims", "name": "claims", "with": {"claims": [stated]}}, {"use": "repo.ring", "name": "ring"}


def test_claims_are_stated_with_the_digest_that_a_file_has() -> None:
    folder = FakeRepository(README)

    result = run(folder, *claiming())

    (claim,) = facts(result, Claim)
    assert (claim.key, claim.payload.path, claim.payload.severity) == (ContextKey.CONSTRAINTS, "README.md", "high")
    assert claim.payload.sha256 is not None


def test_a_claim_about_no_file_fails() -> None:
    stated = {"claims": [{"files": "absent/*"}]}

    result = run(FakeRepository(README), {"use": "repo.claims", "name": "claims", "with": stated})

    assert told(reports(result, "claims")[0]) == ["claims something of absent/*, and there is no such file"]


@pytest.mark.parametrize(
    ("status", "severity", "expected"),
    [
        (ValidationStatus.VALIDATED, Severity.CRITICAL, "promote"),
        (ValidationStatus.DISPUTED, Severity.CRITICAL, "hold"),
        (ValidationStatus.REJECTED, Severity.HIGH, "hold"),
        (ValidationStatus.REJECTED, Severity.MEDIUM, "promote"),
    ],
)
def test_x26_the_ring_is_taken_at_its_word(status: ValidationStatus, severity: Severity, expected: str) -> None:
    result = run(FakeRepository(README), *claiming(severity), also=[Verifier(status)])

    assert verdict(result) == expected
    assert reports(result, "ring")[0].did == "took the word of the ring on 1 claims"


def test_x26_a_ring_that_never_speaks_fails_and_there_is_a_receipt() -> None:
    result = run(FakeRepository(README), *claiming())

    assert verdict(result) == "hold"
    assert "has not spoken of 1 claims" in told(reports(result, "ring")[0])[0]
    assert facts(result, Waiting)
    assert len(facts(result, Receipt)) == 1


def test_a_ring_without_claims_fails() -> None:
    result = run(FakeRepository(README), {"use": "repo.ring", "name": "ring"})

    assert told(reports(result, "ring")[0]) == ["nothing is claimed: `repo.claims` states what must hold"]
