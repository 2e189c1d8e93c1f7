from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from converge_core import (
    Actor,
    Context,
    ContextState,
    FactPayload,
    MisuseError,
    PayloadRegistry,
    PromotionGate,
    ProposedFact,
    RootIntent,
    Scope,
    ValidatedProposal,
    ValidationPolicy,
)
from converge_core.gates.checks import evidence_exists, has_evidence
from converge_core.gates.drafts import Draft, draft
from converge_core.gates.promotion import Rejection
from converge_core.ledger.merkle import leaf_hash
from tests.core.stage import SEEDS, SIGNALS, data, engine_of, play, refs, seeded, text

AnyProposal = ProposedFact[FactPayload]


def drafted(proposal: AnyProposal) -> Draft:
    found = draft(proposal, "rule", PayloadRegistry())
    assert isinstance(found, Draft)
    return found


def said(**more: Any) -> AnyProposal:
    return text(**{"id": "s1", "provenance": "rule", **more})


def never(proposal: AnyProposal, ctx: Context) -> str | None:
    return "never"


def always(proposal: AnyProposal, ctx: Context) -> str | None:
    return None


def breaks(proposal: AnyProposal, ctx: Context) -> str | None:
    raise RuntimeError("no answer")


# --- the gate by itself -----------------------------------------------------------------------------------------------


def test_a_proposal_that_passes_is_promoted_with_the_record_of_who_let_it_in() -> None:
    gate, found = PromotionGate(), drafted(said())
    validated = gate.validate(found, ContextState())
    assert isinstance(validated, ValidatedProposal)

    fact, body = gate.promote(validated, Actor("ann"), "grant:boss", cycle=3, lamport=7, gate_id="human-approval")

    assert (fact.payload, fact.proposer) == (found.proposal.payload, "rule")
    assert (fact.promotion.approver, fact.promotion.authority) == (Actor("ann"), "grant:boss")
    assert (fact.promotion.cycle, fact.promotion.lamport, fact.promotion.gate_id) == (3, 7, "human-approval")
    assert (fact.promotion.proposal_hash, fact.promotion.policy_hash) == (found.hash, gate.policy_hash)
    assert fact.hash == leaf_hash(body.encode())


@pytest.mark.parametrize("words", ["", " ", "\n\t ", "\u2003"])
def test_blank_text_is_rejected(words: str) -> None:
    rejection = PromotionGate().validate(drafted(said(words=words)), ContextState())
    assert rejection == Rejection("blank_text", "content cannot be empty")


def test_the_first_check_that_fails_decides_and_the_others_are_not_run() -> None:
    gate = PromotionGate(
        ValidationPolicy(("always", "never", "breaks")), {"always": always, "never": never, "breaks": breaks}
    )
    assert gate.validate(drafted(said()), ContextState()) == Rejection("check_failed", "never: never")


def test_a_check_that_raises_has_failed() -> None:
    gate = PromotionGate(ValidationPolicy(("breaks",)), {"breaks": breaks})
    assert gate.validate(drafted(said()), ContextState()) == Rejection(
        "check_failed", "breaks: the check raised RuntimeError"
    )


def test_a_check_that_answers_with_anything_but_none_has_failed() -> None:
    gate = PromotionGate(ValidationPolicy(("odd",)), {"odd": lambda proposal, ctx: False})  # type: ignore[dict-item, return-value]
    assert isinstance(gate.validate(drafted(said()), ContextState()), Rejection)


def test_a_gate_that_requires_an_unknown_check_is_not_built() -> None:
    with pytest.raises(MisuseError, match="unknown required check: schema, spelling"):
        PromotionGate(ValidationPolicy(("schema", "always", "spelling")), {"always": always})


@pytest.mark.parametrize(
    "other",
    [
        PromotionGate(ValidationPolicy(("ab", "c")), {"ab": always, "c": always}),
        PromotionGate(ValidationPolicy(("a", "bc")), {"a": always, "bc": always}),
        PromotionGate(ValidationPolicy(max_payload_bytes=10)),
        PromotionGate(scope=Scope((("product", "expenses"),))),
    ],
)
def test_every_policy_has_a_hash_of_its_own(other: PromotionGate) -> None:
    hashes = {PromotionGate().policy_hash, PromotionGate(ValidationPolicy(("a",)), {"a": always}).policy_hash}
    assert other.policy_hash not in hashes
    assert len(other.policy_hash) == 64


def test_equal_policies_have_equal_hashes() -> None:
    one = PromotionGate(ValidationPolicy(("a",)), {"a": always})
    assert one.policy_hash == PromotionGate(ValidationPolicy(("a",)), {"a": never}).policy_hash


class Even(FactPayload):
    """A payload that objects to odd company."""

    family: ClassVar[str] = "test.even"
    n: int

    def objection(self, ctx: Context) -> str | None:
        if self.n < 0:
            raise ArithmeticError("below zero")
        return f"there are {ctx.version} facts" if (ctx.version + self.n) % 2 else None


@pytest.mark.parametrize(
    ("n", "objection"),
    [(2, None), (1, "there are 0 facts"), (-1, "the payload raised ArithmeticError")],
    ids=["fits", "objects", "raises"],
)
def test_a_payload_may_object_to_the_context_it_would_be_said_in(n: int, objection: str | None) -> None:
    found = PromotionGate().validate(drafted(ProposedFact(SEEDS, "e", Even(n=n), provenance="rule")), ContextState())
    if objection is None:
        assert isinstance(found, ValidatedProposal)
    else:
        assert found == Rejection("objection", objection)


# --- required checks in a run -----------------------------------------------------------------------------------------


def test_a_required_check_really_runs_on_every_proposal() -> None:
    seen: list[str] = []

    def looks(proposal: AnyProposal, ctx: Context) -> str | None:
        seen.append(f"{proposal.id}@{ctx.version}")
        return "no" if proposal.id == "b" else None

    engine = engine_of(validation=ValidationPolicy(("looks",)))
    engine.register_check("looks", looks)
    played = play(engine, seeded("a", "b", "c"))

    assert seen == ["a@0", "b@1", "c@1"]
    assert refs(played.result) == ["seeds/a", "seeds/c"]
    assert [(body["id"], body["code"], body["reason"]) for body in played.bodies("proposal_rejected")] == [
        ("b", "check_failed", "looks: no")
    ]


def test_a_check_that_nobody_requires_does_not_run() -> None:
    engine = engine_of()
    engine.register_check("never", never)
    assert refs(play(engine, seeded("a")).result) == ["seeds/a"]


def test_a_run_that_requires_an_unknown_check_does_not_begin() -> None:
    engine = engine_of(validation=ValidationPolicy(("schema",)))
    with pytest.raises(MisuseError, match="unknown required check: schema"):
        engine.begin(ContextState())


def test_a_check_is_registered_once() -> None:
    engine = engine_of()
    with pytest.raises(MisuseError, match="'has_evidence' is registered already"):
        engine.register_check("has_evidence", always)


def test_a_reason_that_the_ledger_cannot_hold_is_made_printable() -> None:
    engine = engine_of(validation=ValidationPolicy(("odd",)))
    engine.register_check("odd", lambda proposal, ctx: "bad \ud800\nline" + "x" * 1_000)
    reason = play(engine, seeded("a")).bodies("proposal_rejected")[0]["reason"]
    assert reason.startswith("odd: bad ? linexxx")
    assert len(reason) == 500


# --- the checks that come with the runtime ----------------------------------------------------------------------------


def test_evidence_can_be_demanded() -> None:
    assert has_evidence(said(), ContextState()) == "cites no evidence"
    assert has_evidence(said(evidence=["mail:1"]), ContextState()) is None


@pytest.mark.parametrize(
    ("evidence", "fault"),
    [
        (("seeds/a",), None),
        (("https://example.com", "mail:1"), None),
        (("seeds/a", "seeds/z"), "cites 'seeds/z', which is no fact"),
        (("signals/a",), "cites 'signals/a', which is no fact"),
        (("seeds",), "cites 'seeds', which is no fact"),
    ],
)
def test_a_fact_that_is_cited_has_to_exist(evidence: tuple[str, ...], fault: str | None) -> None:
    context = play(engine_of(), seeded("a")).result.context
    assert evidence_exists(said(evidence=evidence), context) == fault


def test_evidence_may_be_a_fact_of_the_same_cycle_that_came_before() -> None:
    context = seeded("a").add_proposal(text("b", key=SIGNALS, evidence=["seeds/a"]))
    engine = engine_of(validation=ValidationPolicy(("evidence_exists",)))
    assert refs(play(engine, context).result) == ["seeds/a", "signals/b"]


# --- scope ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "rejected"),
    [
        (lambda: data("a", product="expenses"), False),
        (lambda: data("a", product="travel"), True),
        (lambda: data("a", product={"deep": 1}), True),
        (lambda: data("a", product=["expenses"]), True),
        (lambda: data("a", other="travel"), False),
        (lambda: text("a"), False),
    ],
    ids=["in scope", "another value", "an object", "a list", "another dimension", "no dimension"],
)
def test_the_scope_of_the_intent_holds_for_every_proposal(make: Callable[[], AnyProposal], rejected: bool) -> None:
    intent = RootIntent("i", scope=Scope((("product", "expenses"), ("product", "claims"))))
    played = play(engine_of(), ContextState().add_proposal(make()), intent)

    assert [body["code"] for body in played.bodies("proposal_rejected")] == ["out_of_scope"] * rejected
    assert played.result.context.has(SEEDS) is not rejected
