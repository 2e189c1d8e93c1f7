"""Which records of a past run are worth recalling, and how sure one may be of them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_core import (
    Actor,
    ApprovalPolicy,
    Budget,
    Convergence,
    Engine,
    FactPayload,
    GateDecision,
    HitlPolicy,
    LedgerCorrupt,
    MerkleLog,
    ProposedFact,
    RootIntent,
    TextPayload,
    canonical,
)
from converge_core.experience.records import RunExperience
from converge_core.ledger.canonical import JsonValue
from converge_core.ledger.merkle import leaf_hash
from converge_core.recall.memories import Memory, memories_of, words_of
from converge_core.recall.payloads import RECALLED, RecalledItem, RecallExecuted
from tests.core.experience.told import AT, LABELS, answered, begun, correction, ended, remembered, stored, told
from tests.core.recall.found import found, memory
from tests.core.stage import (
    HYPOTHESES,
    SEEDS,
    SIGNALS,
    Raises,
    Says,
    advance,
    approve,
    edit,
    engine_of,
    reject,
    seeded,
    text,
)

GATED = HitlPolicy(gated_keys=(SIGNALS,))
ECHO = Says("echo", text("x", "an echo", SIGNALS), reads=[SEEDS])


def gated(needs: int = 1) -> Engine:
    return engine_of(ECHO, hitl_policy=replace(GATED, approval=ApprovalPolicy(needs=needs)))


def spoken(run: Convergence) -> list[Memory]:
    """What people said, and how it ended."""
    return [one for one in remembered(run) if one.summary != "fact"]


def row(one: Memory) -> tuple[str, float, str]:
    return one.summary, one.confidence, one.source_type.value


# --- the table of the original ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("reason", "summary"), [("good", "user approval: good"), (None, "user approval: granted")])
def test_an_approval_is_a_success(reason: str | None, summary: str) -> None:
    [one] = spoken(answered(gated(), lambda gate: GateDecision.approve(gate, "ann", reason)))
    assert row(one) == (summary, 0.7, "similar_success")


@pytest.mark.parametrize(("reason", "summary"), [("bad", "user rejection: bad"), (None, "user rejection: declined")])
def test_a_rejection_is_an_anti_pattern(reason: str | None, summary: str) -> None:
    [one] = spoken(answered(gated(), reject("ann", reason)))
    assert row(one) == (summary, 0.7, "anti_pattern")
    assert one.text == f"{summary} | signals/x: an echo"


def test_an_edited_proposal_is_a_runbook_with_what_was_put_in_its_place() -> None:
    [one] = spoken(answered(gated(), edit(TextPayload(text="better"))))
    assert row(one) == ("correction (proposal): unspecified", 0.85, "runbook")
    assert one.detail == "better"


def test_a_corrected_fact_is_a_runbook() -> None:
    run = ended()
    run.correct(correction("right"))
    run.reopen()
    advance(run)
    [one] = spoken(run)
    assert row(one) == ("correction (fact): a typo", 0.85, "runbook")
    assert one.text == "correction (fact): a typo | seeds/s: right"


def test_an_override_is_an_anti_pattern() -> None:
    run = begun()
    run.next()
    run.cancel("enough", Actor("ann"))
    advance(run)
    assert row(spoken(run)[0]) == ("user override: enough", 0.9, "anti_pattern")


def test_an_override_without_a_reason_says_so() -> None:
    run = ended()
    run.accept_changes(Actor("ann"))
    run.reopen()
    advance(run)
    assert row(spoken(run)[0]) == ("user override: unspecified", 0.9, "anti_pattern")


def test_an_adjusted_boundary_is_a_runbook_with_what_has_changed() -> None:
    run = engine_of(ECHO).begin(seeded("s"), RootIntent("hire"), "past")
    advance(run)
    run.reopen(Budget(max_cycles=99))
    advance(run)
    [one] = spoken(run)
    assert row(one) == ("budget boundary adjusted on intent:hire: unspecified", 0.8, "runbook")
    assert one.detail == f"max_cycles: {Budget().max_cycles} -> 99"


def test_an_unsuccessful_end_is_a_failure_with_its_reason() -> None:
    run = ended(engine_of(Raises("broken", ValueError("no money left"))))
    [one] = spoken(run)
    assert row(one)[1:] == (0.6, "similar_failure")
    assert one.summary.startswith("outcome failed: ")
    assert "no money left" in one.summary


def test_a_successful_end_is_nothing_to_recall() -> None:
    assert spoken(ended()) == []


def test_an_end_after_which_the_run_went_on_is_none() -> None:
    broken = Raises("broken", ValueError("no"), text("h", key=HYPOTHESES))
    run = ended(engine_of(broken))
    broken.error = None
    run.reopen()
    advance(run)
    assert spoken(run) == []


def test_of_two_unsuccessful_ends_only_the_last_is_one() -> None:
    run = ended(engine_of(Raises("broken", ValueError("no"))))
    run.reopen()
    advance(run)
    assert [row(one)[1] for one in spoken(run)] == [0.6]


# --- facts ------------------------------------------------------------------------------------------------------------


def test_a_fact_of_a_run_that_succeeded_is_a_success() -> None:
    one = remembered(ended())[-1]
    assert row(one) == ("fact", 0.5, "similar_success")
    assert one.text == "fact | signals/x: an echo"


def test_a_fact_of_a_run_that_failed_is_a_failure() -> None:
    facts = [one for one in remembered(ended(engine_of(Raises("broken", ValueError("no"))))) if one.summary == "fact"]
    assert [row(one) for one in facts] == [("fact", 0.5, "similar_failure")]


def test_a_fact_that_a_person_has_spoken_about_is_not_told_twice() -> None:
    assert [one.subject for one in remembered(answered(gated(), approve()))] == ["seeds/s", "signals/x"]


def test_what_a_corrected_fact_had_said_is_not_recalled() -> None:
    run = ended()
    run.correct(correction("right"))
    run.reopen()
    advance(run)
    texts = [one.text for one in remembered(run)]
    assert "fact | seeds/s: s" not in texts
    assert "correction (fact): a typo | seeds/s: right" in texts


class Rumour(FactPayload):
    family: ClassVar[str] = f"{RECALLED}rumour"
    text: str


def test_what_a_run_has_itself_recalled_is_never_recalled() -> None:
    rumour = ProposedFact(SIGNALS, "r", Rumour(text="they say"))
    run = ended(engine_of(Says("gossip", rumour, reads=[SEEDS])))
    assert [one.subject for one in remembered(run)] == ["seeds/s"]


def test_a_recalled_item_that_a_person_has_approved_is_not_recalled_either() -> None:
    engine = engine_of(Says("gossip", ProposedFact(SIGNALS, "x", Rumour(text="it")), reads=[SEEDS]), hitl_policy=GATED)
    assert [one.subject for one in remembered(answered(engine, approve()))] == ["seeds/s"]


@pytest.mark.parametrize("payload", [RecalledItem, RecallExecuted])
def test_the_payloads_of_recall_are_those_that_are_not_recalled(payload: type[FactPayload]) -> None:
    assert payload.family.startswith(RECALLED)


def test_what_the_engine_says_about_itself_is_not_recalled() -> None:
    run = ended(engine_of(Raises("broken", ValueError("no"), optional=True)))
    assert [one.subject for one in remembered(run)] == ["seeds/s"]


# --- what a memory says -----------------------------------------------------------------------------------------------


def test_a_memory_says_of_which_run_at_which_head_it_is() -> None:
    run = ended()
    entries = run.drain()
    head = MerkleLog(entry.leaf for entry in entries).head
    one = list(memories_of(RunExperience("past", stored(entries)), head))[-1]
    assert (one.run_id, one.corpus_version, one.recorded_at, one.tenant) == ("past", str(head), AT, LABELS["tenant"])
    assert entries[one.sequence].kind == "fact_promoted"


def test_memories_are_told_oldest_first() -> None:
    places = [one.sequence for one in remembered(ended(None, "a", "b", "c"))]
    assert places == sorted(places)


def test_the_provenance_names_run_and_fact() -> None:
    assert memory(run_id="run", subject="seeds/s").provenance == "recall:run:seeds/s"


def test_the_provenance_of_what_is_about_no_fact_names_the_record() -> None:
    assert memory(run_id="run", sequence=7).provenance == "recall:run:#7"


def test_a_memory_with_no_detail_is_its_summary() -> None:
    assert memory("user override: enough").text == "user override: enough"
    assert found(1, "so").memory.text == "so"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"text": "just words"}, "just words"),
        ({"text": "words", "by": "ann"}, "text: words, by: ann"),
        ({"data": {"n": 1, "to": ["a", None, True]}}, "data: n: 1, to: a, , True"),
        ("two\nlines\t and  gaps", "two lines and gaps"),
        (None, ""),
        ({}, ""),
    ],
)
def test_a_body_is_told_in_one_line(body: JsonValue, words: str) -> None:
    assert words_of(body) == words


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(JSON)
def test_whatever_a_body_is_it_is_one_line(body: JsonValue) -> None:
    assert len(words_of(body).splitlines()) <= 1


# --- ledgers that are not what was written ----------------------------------------------------------------------------


def test_a_run_that_does_not_say_why_it_stopped_is_no_past() -> None:
    entries = stored(ended().drain())
    body = canonical({**json.loads(entries[-1].body), "stop": {"reason": "boredom"}})
    entries[-1] = entries[-1]._replace(body=body, leaf=leaf_hash(body.encode()))
    head = MerkleLog(entry.leaf for entry in entries).head
    with pytest.raises(LedgerCorrupt, match="why the run stopped"):
        list(memories_of(RunExperience("past", entries), head))


def test_a_run_that_has_not_stopped_is_no_past() -> None:
    run = begun()
    run.next()
    experience = told(run)
    with pytest.raises(LedgerCorrupt, match="why the run stopped"):
        list(memories_of(experience, MerkleLog(entry.leaf for entry in experience.stored).head))
