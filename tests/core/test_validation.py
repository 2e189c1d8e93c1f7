"""Votes of validators, and what a quorum makes of them."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from converge_core import MisuseError
from converge_core.context.payloads import PayloadRegistry
from converge_core.deadlines import DeadlinePassed
from converge_core.ledger.canonical import canonical
from converge_core.validation import (
    Abstained,
    CannotSay,
    Claim,
    Count,
    Finding,
    Quorum,
    Severity,
    ValidationOutcome,
    ValidationStatus,
    ValidationVote,
    ValidatorSection,
    digest_of,
)
from converge_core.votes import Decision

YES, NO, ABSTAIN = Decision.YES, Decision.NO, Decision.ABSTAIN
VALIDATED, DISPUTED, REJECTED = ValidationStatus.VALIDATED, ValidationStatus.DISPUTED, ValidationStatus.REJECTED
SAID: dict[Decision, Finding | Exception] = {
    YES: Finding(True, {}),
    NO: Finding(False, {}),
    ABSTAIN: CannotSay("nothing to look at"),
}
NAMES = ("file", "version_control", "hash")


def vote(decision: Decision, strategy: str = "file", voter: str | None = None) -> ValidationVote:
    return ValidationVote.of("constraints/c", voter or strategy, strategy, SAID[decision])


def status(needed: int, *decisions: Decision) -> ValidationStatus:
    """What one vote of each of so many strategies comes to."""
    names = tuple(f"way-{number}" for number in range(len(decisions)))
    votes = [vote(decision, name) for decision, name in zip(decisions, names, strict=True)]
    return Quorum(needed, names).count(votes).status(needed)


# --- votes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("holds", "decision"), [(True, YES), (False, NO)])
def test_a_finding_is_a_vote_with_the_digest_of_what_was_seen(holds: bool, decision: Decision) -> None:
    made = ValidationVote.of("constraints/c", "v", "file", Finding(holds, {"size": 3}, "because"))
    assert (made.decision, made.reason, made.abstained) == (decision, "because", None)
    assert made.saw == {"size": 3}
    assert made.evidence == digest_of({"size": 3}) != digest_of({"size": 4})


def test_a_validator_that_is_late_abstains_with_a_timeout() -> None:
    made = ValidationVote.of("constraints/c", "v", "file", DeadlinePassed(200))
    assert (made.decision, made.abstained, made.reason) == (ABSTAIN, Abstained.TIMEOUT, "no answer within 200 ms")


def test_a_validator_that_raises_abstains_with_an_error() -> None:
    made = ValidationVote.of("constraints/c", "v", "file", OSError("disk\nis gone"))
    assert (made.decision, made.abstained, made.reason) == (ABSTAIN, Abstained.ERROR, "OSError: disk is gone")


def test_a_timeout_of_the_validators_own_is_an_error_and_not_the_deadline() -> None:
    assert ValidationVote.of("constraints/c", "v", "file", TimeoutError()).abstained is Abstained.ERROR


def test_what_was_seen_must_be_json_or_the_vote_is_an_abstention() -> None:
    made = ValidationVote.of("constraints/c", "v", "file", Finding(True, {"size": float("nan")}))
    assert (made.decision, made.abstained) == (ABSTAIN, Abstained.ERROR)


@pytest.mark.parametrize(
    "changes",
    [{"evidence": digest_of({"size": 4})}, {"abstained": "timeout"}, {"decision": "abstain"}],
    ids=["another digest", "abstains and says yes", "abstains without a reason"],
)
def test_a_vote_that_contradicts_itself_is_none(changes: dict[str, str]) -> None:
    body = {"topic": "t", "voter": "v", "decision": "yes", "strategy": "s", "saw": {"size": 3}}
    ValidationVote.model_validate(body | {"evidence": digest_of({"size": 3})})
    with pytest.raises(ValidationError):
        ValidationVote.model_validate(body | {"evidence": digest_of({"size": 3})} | changes)


@pytest.mark.parametrize("said", SAID.values())
def test_a_vote_comes_back_from_the_ledger_as_it_was(said: Finding | Exception) -> None:
    made = ValidationVote.of("constraints/c", "v", "file", said)
    registry = PayloadRegistry()
    registry.register(ValidationVote)
    assert registry.decode(ValidationVote.family, 1, canonical(made.body())) == made


# --- the quorum -------------------------------------------------------------------------------------------------------


def test_x18_two_of_three_are_two_of_three() -> None:
    assert status(2, YES, YES, NO) is VALIDATED
    assert status(3, YES, YES, NO) is DISPUTED


@pytest.mark.parametrize(
    ("decisions", "expected"),
    [
        ((YES, YES, YES), VALIDATED),
        ((YES, YES, ABSTAIN), VALIDATED),
        ((YES, NO, NO), DISPUTED),
        ((YES, ABSTAIN, ABSTAIN), DISPUTED),
        ((NO, NO, NO), REJECTED),
        ((NO, ABSTAIN, ABSTAIN), REJECTED),
        ((ABSTAIN, ABSTAIN, ABSTAIN), DISPUTED),
    ],
)
def test_the_table_of_statuses_holds(decisions: tuple[Decision, ...], expected: ValidationStatus) -> None:
    assert all(status(2, *order) is expected for order in itertools.permutations(decisions))


@pytest.mark.parametrize("needed", [2, 3])
def test_td006_one_strategy_three_times_is_no_quorum(needed: int) -> None:
    with pytest.raises(MisuseError, match=rf"a quorum of {needed} needs as many different strategies; there are 1: s"):
        Quorum(needed, ("s", "s", "s"))


@pytest.mark.parametrize("needed", [1, 0, -1])
def test_a_quorum_of_one_is_none(needed: int) -> None:
    with pytest.raises(MisuseError, match="nobody validates alone"):
        Quorum(needed, NAMES)


@given(st.integers(2, 4), st.lists(st.sampled_from([NO, ABSTAIN]), min_size=3, max_size=6), st.integers(1, 5))
def test_td006_one_strategy_that_always_says_yes_cannot_flip_a_rejected_claim(
    needed: int, decisions: list[Decision], copies: int
) -> None:
    names = [f"way-{number}" for number in range(len(decisions) + 1)]
    rejected = [vote(NO, names[0]), *(vote(*cast) for cast in zip(decisions, names[1:], strict=True))]
    flipped = [vote(YES, names[0], f"copy-{number}") for number in range(copies)]
    quorum = Quorum(needed, tuple(names))
    assert quorum.count(rejected).status(needed) is REJECTED
    assert quorum.count(flipped + rejected[1:]).status(needed) is DISPUTED
    assert quorum.count(flipped + rejected).status(needed) is REJECTED


def test_of_two_validators_with_one_strategy_the_no_outweighs_the_yes() -> None:
    quorum = Quorum(2, NAMES)
    votes = [vote(YES, "file", "a"), vote(NO, "file", "b"), vote(YES, "hash")]
    assert quorum.count(votes) == Count(("hash",), ("file",), ("version_control",))


def test_a_strategy_says_yes_only_if_nobody_of_it_abstains() -> None:
    votes = [vote(YES, "file", "a"), vote(ABSTAIN, "file", "b")]
    assert Quorum(2, NAMES).count(votes).abstain == ("file", "hash", "version_control")


def test_the_vote_of_a_stranger_is_refused() -> None:
    with pytest.raises(MisuseError, match="'tarot' is not part of this quorum"):
        Quorum(2, NAMES).count([vote(YES, "tarot")])


@given(st.integers(2, 5), st.lists(st.sampled_from(Decision), min_size=5, max_size=9))
def test_a_claim_is_validated_by_k_strategies_and_by_nothing_less(needed: int, decisions: list[Decision]) -> None:
    assert (status(needed, *decisions) is VALIDATED) == (decisions.count(YES) >= needed)


# --- outcomes, claims and sections ------------------------------------------------------------------------------------


def test_an_outcome_names_strategies_and_the_digests_of_all_votes() -> None:
    votes = [vote(YES, "hash"), vote(NO, "file"), vote(ABSTAIN, "version_control")]
    made = Quorum(2, NAMES).outcome("constraints/c", Severity.HIGH, votes)
    assert (made.yes, made.no, made.abstain) == (("hash",), ("file",), ("version_control",))
    assert (made.status, made.needed, made.severity) == (DISPUTED, 2, Severity.HIGH)
    assert made.evidence == tuple(cast.evidence for cast in votes)


def test_an_outcome_with_another_status_than_its_count_is_refused() -> None:
    made = Quorum(2, NAMES).outcome("constraints/c", Severity.HIGH, [vote(YES, "hash"), vote(NO, "file")])
    with pytest.raises(ValidationError, match="the count says disputed, not validated"):
        ValidationOutcome.model_validate(made.model_dump() | {"status": "validated"})


def test_severities_rank_from_critical_to_low() -> None:
    assert [severity.value for severity in sorted(Severity, key=lambda one: one.rank)] == [
        "critical",
        "high",
        "medium",
        "low",
    ]


@pytest.mark.parametrize("changes", [{"sha256": "ABC"}, {"severity": "fatal"}, {"path": ""}, {"claim": ""}])
def test_a_claim_that_makes_no_sense_is_none(changes: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        Claim.model_validate({"claim": "it is there", "path": "a.txt"} | changes)


def test_the_name_of_a_validator_is_a_section() -> None:
    assert ValidatorSection.model_validate("hash") == ValidatorSection(use="hash")
    assert ValidatorSection(use="hash").voter == "hash"
    assert ValidatorSection(use="hash", name="twice").voter == "twice"
