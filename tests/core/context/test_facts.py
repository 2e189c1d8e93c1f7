from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import pytest

from converge_core import (
    Actor,
    ActorKind,
    AuthorityError,
    ContextKey,
    DataPayload,
    Fact,
    FactPayload,
    PromotionGate,
    PromotionRecord,
    ProposedFact,
    SubjectRef,
    TextPayload,
    ValidatedProposal,
)
from converge_core.context.facts import AnyFact
from converge_core.context.keys import KIND_OF_KEY
from converge_core.context.payloads import PayloadRegistry
from converge_core.gates.drafts import Draft, draft
from tests.core.stage import SEEDS, data, engine_of, play, seeded, text


@pytest.fixture
def fact() -> AnyFact:
    context = seeded().add_proposal(
        text("s1", confidence=0.5, subject=SubjectRef("erp://invoice/7"), evidence=["mail:1"])
    )
    return play(engine_of(), context).result.context.get(SEEDS)[0]


# --- proposals --------------------------------------------------------------------------------------------------------


def test_a_proposal_is_sure_and_cites_nothing_unless_it_says_so() -> None:
    proposal = ProposedFact(SEEDS, "s1", TextPayload(text="words"))
    assert (proposal.confidence, proposal.provenance, proposal.subject, proposal.evidence) == (1.0, None, None, ())


def test_evidence_cites_facts_by_key_and_id_and_other_sources_by_name(fact: AnyFact) -> None:
    assert text("s2", evidence=(piece for piece in [fact, "https://example.com"])).evidence == (
        "seeds/s1",
        "https://example.com",
    )


def test_a_lone_text_as_evidence_is_one_source_and_not_its_letters() -> None:
    assert text("s2", evidence="seeds/s1").evidence == ("seeds/s1",)


@pytest.mark.parametrize("nothing", [[], iter(()), seeded().get(SEEDS)], ids=["list", "iterator", "view"])
def test_evidence_is_a_tuple_even_when_nothing_is_cited(nothing: Iterable[str]) -> None:
    assert text("s2", evidence=nothing).evidence == ()
    assert type(text("s2", evidence=nothing).evidence) is tuple


def test_a_proposal_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        text("s1").confidence = 0.5  # type: ignore[misc]


# --- what a fact keeps ------------------------------------------------------------------------------------------------


def test_a_fact_keeps_everything_its_proposal_said(fact: AnyFact) -> None:
    assert (fact.key, fact.id, fact.payload) == (SEEDS, "s1", TextPayload(text="words"))
    assert (fact.confidence, fact.provenance, fact.subject) == (0.5, "context-input", "erp://invoice/7")
    assert (fact.evidence, fact.proposer) == (("mail:1",), "input")


def test_a_fact_says_who_let_it_in_when_and_by_which_policy(fact: AnyFact) -> None:
    record = fact.promotion
    assert (record.gate_id, record.approver, record.authority) == (
        "engine-promotion",
        Actor("converge-engine", ActorKind.SYSTEM),
        "policy",
    )
    assert (record.cycle, record.lamport, fact.lamport) == (0, 1, 1)
    assert record.policy_hash == PromotionGate().policy_hash


def test_a_fact_cannot_be_changed(fact: AnyFact) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        fact.id = "s2"  # type: ignore[misc]


class Other(FactPayload):
    family: ClassVar[str] = "test.other"
    text: str


@pytest.mark.parametrize(
    ("proposal", "same"),
    [
        (text("s1", confidence=0.1, provenance="elsewhere", subject=SubjectRef("erp://invoice/7")), True),
        (text("s1"), False),
        (text("s1", "other words", subject=SubjectRef("erp://invoice/7")), False),
        (ProposedFact(SEEDS, "s1", Other(text="words"), subject=SubjectRef("erp://invoice/7")), False),
    ],
    ids=["surer", "of nobody", "other words", "other class"],
)
def test_the_same_content_is_the_same_payload_about_the_same_subject(
    fact: AnyFact, proposal: ProposedFact[FactPayload], same: bool
) -> None:
    assert fact.same_content(proposal) is same


def test_true_and_one_are_not_the_same_content() -> None:
    fact = play(engine_of(), seeded().add_proposal(data("s1", n=1))).result.context.get(SEEDS)[0]
    assert not fact.same_content(data("s1", n=True))
    assert fact.same_content(data("s1", n=1.0))


# --- nobody forges one ------------------------------------------------------------------------------------------------


def said(id: str) -> Draft:
    found = draft(text(id, provenance="me"), "me", PayloadRegistry())
    assert isinstance(found, Draft)
    return found


def direct(fact: AnyFact) -> object:
    return Fact(**{field.name: getattr(fact, field.name) for field in dataclasses.fields(fact)})


@pytest.mark.parametrize(
    "forge",
    [
        direct,
        lambda fact: dataclasses.replace(fact, id="s2"),
        lambda fact: dataclasses.replace(fact, id="s2", seal=object()),
        lambda fact: dataclasses.replace(fact, payload=DataPayload(data={})),
    ],
    ids=["constructor", "replace", "another seal", "another payload"],
)
def test_a_fact_is_made_by_the_gate_alone(fact: AnyFact, forge: Callable[[AnyFact], object]) -> None:
    with pytest.raises(AuthorityError, match="facts are made by the promotion gate alone"):
        forge(fact)


@pytest.mark.parametrize("seal", [None, True, object()])
def test_a_proposal_is_validated_by_the_gate_alone(seal: object) -> None:
    drafted = said("s1")
    with pytest.raises(AuthorityError, match="a proposal is validated by the promotion gate alone"):
        ValidatedProposal(drafted, seal)


def test_a_validated_proposal_cannot_be_given_another_draft() -> None:
    validated = PromotionGate().validate(said("s1"), seeded())
    assert isinstance(validated, ValidatedProposal)
    with pytest.raises(AuthorityError):
        dataclasses.replace(validated, draft=said("s2"))


def test_a_copy_of_a_fact_is_the_same_fact(fact: AnyFact) -> None:
    assert copy.deepcopy(fact) == fact


# --- actors and records -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("actor", [Actor("ann"), Actor("ann:b", ActorKind.SYSTEM), Actor("llm", ActorKind.SUGGESTOR)])
def test_an_actor_is_read_back_from_its_text(actor: Actor) -> None:
    assert Actor.parse(str(actor)) == actor


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a" * 257, "\ud800"])
def test_a_name_that_nobody_can_read_names_no_actor(name: str) -> None:
    with pytest.raises(ValueError, match="names no actor"):
        Actor(name)


@pytest.mark.parametrize("written", ["ann", "boss:ann", "human:"])
def test_what_was_never_written_is_no_actor(written: str) -> None:
    with pytest.raises(ValueError, match=r"actor|ActorKind"):
        Actor.parse(written)


def test_a_promotion_record_is_read_back_from_its_entry(fact: AnyFact) -> None:
    entry: dict[str, Any] = json.loads(fact.promotion.entry_body(fact.key, fact.id, fact.proposer))
    assert PromotionRecord.from_entry(entry) == fact.promotion


def test_the_hash_of_a_fact_is_the_leaf_of_the_entry_that_promoted_it() -> None:
    played = play(engine_of(), seeded("a", "b"))
    promoted = [entry.leaf for entry in played.log if entry.kind == "fact_promoted"]
    assert [fact.hash for fact in played.result.context.facts()] == promoted


def test_every_key_has_a_kind_of_statement() -> None:
    assert list(KIND_OF_KEY) == list(ContextKey)
