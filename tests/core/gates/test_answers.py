"""Answers: what somebody's word does to a gate, as a pure function."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_core import (
    Actor,
    ActorKind,
    ContextKey,
    FactPayload,
    GateDecision,
    GateRequest,
    PayloadRegistry,
    ProposedFact,
    TextPayload,
    TimeoutAction,
    TimeoutPolicy,
    Verdict,
)
from converge_core.gates.answers import Gate, Refused, answer, authority_of, owns
from converge_core.gates.authority import ApprovalPolicy, AuthorityGrant, AuthorityScope
from converge_core.gates.drafts import Draft, draft

SEEDS, STRATEGIES = ContextKey.SEEDS, ContextKey.STRATEGIES
POLICY = Actor("timeout-policy", ActorKind.SYSTEM)
NOON, EVENING = "2026-10-31T12:00:00Z", "2026-10-31T18:00:00Z"


def drafted(proposer: str = "rule", provenance: str = "rule") -> Draft:
    proposal: ProposedFact[FactPayload] = ProposedFact(
        STRATEGIES, "s", TextPayload(text="words"), provenance=provenance, confidence=0.4
    )
    made = draft(proposal, proposer, PayloadRegistry())
    assert isinstance(made, Draft)
    return made


def gate(timeout: TimeoutPolicy | None = None, **more: Any) -> Gate:
    made = drafted(**more)
    return Gate(made, GateRequest.of(made, "gate-1", 1, "gated_key", timeout or TimeoutPolicy()))


def policy(*grants: AuthorityGrant, needs: int = 1) -> ApprovalPolicy:
    return ApprovalPolicy(grants, needs)


def grant(name: str, keys: tuple[ContextKey, ...] = (), until: str | None = None, level: int = 1) -> AuthorityGrant:
    return AuthorityGrant(f"grant-of-{name}", (name,), AuthorityScope(keys, until), level)


def approve(by: str = "ann") -> GateDecision:
    return GateDecision.approve("gate-1", by)


def decided(found: Gate | Refused) -> Gate:
    assert isinstance(found, Gate), found
    assert found.decision is not None
    return found


def code(found: Gate | Refused) -> str:
    assert isinstance(found, Refused), found
    return found.code


# --- who may --------------------------------------------------------------------------------------------------------


def test_without_grants_any_person_may_decide() -> None:
    found = decided(answer(gate(), approve(), policy(), ""))
    assert (found.decision, found.authority) == (approve(), "anyone")


def test_a_grant_lets_its_member_decide_and_is_named() -> None:
    assert decided(answer(gate(), approve(), policy(grant("ann")), "")).authority == "grant:grant-of-ann"


def test_nobody_else_may_decide_then() -> None:
    found = answer(gate(), approve("bob"), policy(grant("ann")), "")
    assert found == Refused("no_authority", "human:bob is no approver for strategies")


def test_a_grant_covers_its_keys_alone() -> None:
    assert decided(answer(gate(), approve(), policy(grant("ann", keys=(STRATEGIES,))), ""))
    assert code(answer(gate(), approve(), policy(grant("ann", keys=(SEEDS,))), "")) == "no_authority"


@pytest.mark.parametrize("verdict", [Verdict.APPROVE, Verdict.REJECT, Verdict.EDIT])
def test_outside_the_grant_nothing_is_decided(verdict: Verdict) -> None:
    decision = GateDecision("gate-1", verdict, Actor("bob"))
    assert code(answer(gate(), decision, policy(grant("ann")), "")) == "no_authority"


def test_a_grant_lasts_to_its_last_second_and_not_longer() -> None:
    held = policy(grant("ann", until=NOON))
    assert decided(answer(gate(), approve(), held, NOON))
    found = answer(gate(), approve(), held, "2026-10-31T12:00:01Z")
    assert found == Refused("authority_expired", f"the authority of human:ann ended at {NOON}")


def test_a_grant_that_ends_needs_to_know_the_time() -> None:
    assert code(answer(gate(), approve(), policy(grant("ann", until=NOON)), "")) == "no_time"
    assert decided(answer(gate(), approve(), policy(grant("ann")), ""))


def test_of_two_grants_the_one_that_still_holds_counts() -> None:
    held = policy(grant("ann", until=NOON), AuthorityGrant("board", ("ann", "bob")))
    assert decided(answer(gate(), approve(), held, EVENING)).authority == "grant:board"


def test_the_next_level_is_asked_when_the_gate_is_escalated() -> None:
    held = policy(grant("ann"), grant("eve", level=2))
    assert code(answer(gate(), approve("eve"), held, "")) == "not_escalated"
    escalated = answer(gate(TimeoutPolicy(1, TimeoutAction.ESCALATE)), by_policy(Verdict.ESCALATE), held, "")
    assert isinstance(escalated, Gate)
    assert decided(answer(escalated, approve("eve"), held, ""))
    assert decided(answer(escalated, approve("ann"), held, "")), "those who were asked first still may"


@pytest.mark.parametrize("kind", [ActorKind.SUGGESTOR, ActorKind.SYSTEM])
def test_a_machine_has_no_authority(kind: ActorKind) -> None:
    found = authority_of(Actor("ann", kind), STRATEGIES, policy(grant("ann")), 1, "")
    assert isinstance(found, Refused)
    assert found.code == "no_authority"


# --- one's own ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("proposer", "provenance"),
    [
        ("human:ann", "human:ann"),
        ("ann", "elsewhere"),
        ("rule", "ann"),
        ("input", "admission:human:ann:mail"),
        ("input", "admission:human:ann:mail:truth:t"),
    ],
)
def test_nobody_decides_about_what_is_their_own(proposer: str, provenance: str) -> None:
    own = gate(proposer=proposer, provenance=provenance)
    assert code(answer(own, approve("ann"), policy(grant("ann")), "")) == "own_proposal"
    assert code(answer(own, GateDecision.reject("gate-1", "ann"), policy(), "")) == "own_proposal"
    assert decided(answer(own, approve("bob"), policy(), ""))


def test_a_name_within_another_is_another() -> None:
    assert not owns(Actor("ann"), "anna", "admission:human:anna:mail")


# --- how many -------------------------------------------------------------------------------------------------------

TWO = policy(needs=2)


def test_two_people_have_to_approve_where_two_are_needed() -> None:
    one = answer(gate(), approve("ann"), TWO, "")
    assert isinstance(one, Gate)
    assert (one.decision, one.approvals) == (None, (Actor("ann"),))
    both = decided(answer(one, approve("bob"), TWO, ""))
    assert both.approvals == (Actor("ann"), Actor("bob"))
    assert both.authority == "anyone (human:ann, human:bob)"


def test_one_person_does_not_count_twice() -> None:
    one = answer(gate(), approve("ann"), TWO, "")
    assert isinstance(one, Gate)
    assert code(answer(one, approve("ann"), TWO, "")) == "same_approver"


def test_one_rejection_is_enough_and_may_be_ones_second_thought() -> None:
    one = answer(gate(), approve("ann"), TWO, "")
    assert isinstance(one, Gate)
    assert decided(answer(one, GateDecision.reject("gate-1", "ann"), TWO, ""))


def test_two_people_cannot_agree_on_what_one_of_them_has_rewritten() -> None:
    edit = GateDecision.edit("gate-1", "ann", TextPayload(text="better"))
    assert code(answer(gate(), edit, TWO, "")) == "edit_needs_one"


@given(st.lists(st.sampled_from(["ann", "bob", "cyd", "dan"]), max_size=12), st.integers(1, 4))
def test_a_gate_opens_with_the_last_of_the_different_people_it_needs(names: list[str], needs: int) -> None:
    standing = gate()
    for name in names:
        found = answer(standing, approve(name), policy(needs=needs), "")
        standing = found if isinstance(found, Gate) else standing
    assert (standing.decision is not None) == (len(set(names)) >= needs)
    assert len(standing.approvals) == min(needs, len(set(names)))


# --- time-outs ------------------------------------------------------------------------------------------------------


def by_policy(verdict: Verdict) -> GateDecision:
    return GateDecision("gate-1", verdict, POLICY, "no answer")


@pytest.mark.parametrize("verdict", [Verdict.APPROVE, Verdict.REJECT, Verdict.EDIT, Verdict.ESCALATE])
@pytest.mark.parametrize("action", list(TimeoutAction))
def test_the_system_decides_what_the_policy_of_the_gate_says_and_nothing_else(
    action: TimeoutAction, verdict: Verdict
) -> None:
    held = policy(grant("ann"), grant("eve", level=2))
    found = answer(gate(TimeoutPolicy(60, action)), by_policy(verdict), held, "")
    if verdict.value != action.value:
        assert code(found) == "no_authority"
    elif verdict is Verdict.ESCALATE:
        assert isinstance(found, Gate)
        assert (found.decision, found.level) == (None, 2)
    else:
        assert decided(found).authority == f"timeout:{action}"


def test_after_the_last_level_there_is_only_a_no() -> None:
    held = policy(grant("ann"), grant("eve", level=2))
    last = gate(TimeoutPolicy(60, TimeoutAction.ESCALATE))
    last = Gate(last.draft, last.request, level=2)
    assert code(answer(last, by_policy(Verdict.ESCALATE), held, "")) == "no_authority"
    assert decided(answer(last, by_policy(Verdict.REJECT), held, "")).authority == "timeout:escalate"


def test_a_person_does_not_escalate() -> None:
    decision = GateDecision("gate-1", Verdict.ESCALATE, Actor("ann"))
    escalating = gate(TimeoutPolicy(60, TimeoutAction.ESCALATE))
    assert code(answer(escalating, decision, policy(grant("ann"), grant("eve", level=2)), "")) == "no_authority"


# --- the same gate twice --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [approve(), GateDecision.reject("gate-1", "ann"), by_policy(Verdict.REJECT)])
@pytest.mark.parametrize(
    "second", [approve("bob"), GateDecision.reject("gate-1", "bob"), GateDecision.defer("gate-1", "bob")]
)
def test_a_decided_gate_stays_decided(first: GateDecision, second: GateDecision) -> None:
    found = answer(gate(), first, policy(), "")
    assert answer(decided(found), second, policy(), "") == Refused("already_decided", f"decided by {first.by}")


def test_to_defer_leaves_the_gate_as_it_is() -> None:
    standing = gate()
    assert answer(standing, GateDecision.defer("gate-1", "stranger"), policy(grant("ann")), "") is standing
