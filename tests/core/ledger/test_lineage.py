"""Lineage: what a fact rests on, each piece once, whatever the ledger says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_core import ContextState, Engine, Entry, GateDecision, HitlPolicy, MisuseError, TextPayload, canonical
from converge_core.ledger.canonical import JsonValue
from converge_core.ledger.events import FORMAT, CorrectionEvent, FactPromoted, InputAdmitted, ProposalMade, RunStarted
from converge_core.ledger.hashes import ContentHash
from converge_core.ledger.history import History
from converge_core.ledger.lineage import Origin, Sight, Step, lineage, origin_of
from tests.core.stage import (
    HYPOTHESES,
    SEEDS,
    SIGNALS,
    Raises,
    Says,
    advance,
    edit,
    engine_of,
    play,
    refs,
    seeded,
    text,
)
from tests.fakes.approver import FakeApprover


def history_of(citations: Mapping[str, Sequence[str]]) -> History:
    """A ledger as nobody but its author has checked it: inputs under SEEDS, and what each of them cites."""
    start = RunStarted(format=FORMAT, run_id="run", budget={}, gates={}, suggestors=(), invariants=())
    brought, promoted = [start.entry()], list[Entry]()
    for place, (id, cited) in enumerate(citations.items(), 1):
        payload: dict[str, JsonValue] = {"body": {"text": id}, "family": "converge.text", "version": 1}
        proposal: dict[str, JsonValue] = {
            "confidence": 1,
            "id": id,
            "key": "seeds",
            "payload": payload,
            "provenance": "x",
        }
        if cited:
            proposal["evidence"] = list(cited)
        brought.append(InputAdmitted(proposer="input", proposal=proposal).entry())
        promoted.append(_promotion(id, place, str(ContentHash.of(canonical(proposal)))))
    return History.of([*brought, *promoted], "run")


def _promotion(id: str, place: int, proposal: str, proposer: str = "input") -> Entry:
    return FactPromoted(
        cycle=0,
        key="seeds",
        id=id,
        proposal=proposal,
        proposer=proposer,
        lamport=place,
        gate="engine-promotion",
        policy="0" * 64,
        approver="system:converge-engine",
        authority="policy",
    ).entry()


def shown(steps: Sequence[Step]) -> list[tuple[int, str, str]]:
    """Depth, name and sight of each step."""
    return [(step.depth, step.ref.removeprefix("seeds/"), step.sight.value) for step in steps]


def behind(citations: Mapping[str, Sequence[str]], id: str, depth: int | None = None) -> list[tuple[int, str, str]]:
    return shown(list(lineage(history_of(citations), f"seeds/{id}", depth)))


def test_a_fact_leads_through_its_evidence_to_the_inputs() -> None:
    engine = engine_of(
        Says("first", text("guess", key=HYPOTHESES, evidence=["seeds/a", "seeds/b"]), reads=[SEEDS]),
        Says("second", text("sign", key=SIGNALS, evidence=["hypotheses/guess"]), reads=[HYPOTHESES]),
    )
    history = History.of(play(engine, seeded("a", "b")).log)
    steps = list(lineage(history, "signals/sign"))
    assert [(step.depth, step.ref, step.parent, step.last) for step in steps] == [
        (0, "signals/sign", None, True),
        (1, "hypotheses/guess", "signals/sign", True),
        (2, "seeds/a", "hypotheses/guess", False),
        (2, "seeds/b", "hypotheses/guess", True),
    ]
    assert {step.sight for step in steps} == {Sight.FACT}


def test_evidence_that_is_shared_is_followed_once_and_referred_to_afterwards() -> None:
    graph = {"root": ["seeds/left", "seeds/right"], "left": ["seeds/base"], "right": ["seeds/base"], "base": []}
    assert behind(graph, "root") == [
        (0, "root", "fact"),
        (1, "left", "fact"),
        (2, "base", "fact"),
        (1, "right", "fact"),
        (2, "base", "again"),
    ]


def test_facts_that_cite_each_other_are_followed_once() -> None:
    assert behind({"a": ["seeds/b"], "b": ["seeds/a", "seeds/b"]}, "a") == [
        (0, "a", "fact"),
        (1, "b", "fact"),
        (2, "a", "again"),
        (2, "b", "again"),
    ]


def test_evidence_that_is_no_fact_of_the_run_is_a_leaf() -> None:
    assert behind({"a": ["https://example.com/x", "seeds/unheard-of"]}, "a") == [
        (0, "a", "fact"),
        (1, "https://example.com/x", "source"),
        (1, "unheard-of", "source"),
    ]


def test_evidence_that_is_cited_twice_by_one_fact_stands_once() -> None:
    assert behind({"a": ["seeds/b", "seeds/b"], "b": []}, "a") == [(0, "a", "fact"), (1, "b", "fact")]


def test_at_the_greatest_depth_what_a_fact_rests_on_is_left_out() -> None:
    graph = {"a": ["seeds/b", "seeds/d"], "b": ["seeds/c"], "c": [], "d": []}
    assert behind(graph, "a", depth=1) == [(0, "a", "fact"), (1, "b", "cut"), (1, "d", "fact")]


def test_a_fact_that_was_cut_is_followed_where_it_is_met_nearer_to_the_root() -> None:
    graph = {"a": ["seeds/b", "seeds/c"], "b": ["seeds/c"], "c": ["seeds/d"], "d": []}
    assert behind(graph, "a", depth=2) == [
        (0, "a", "fact"),
        (1, "b", "fact"),
        (2, "c", "cut"),
        (1, "c", "fact"),
        (2, "d", "fact"),
    ]


def test_a_chain_deeper_than_the_stack_of_python_is_walked_to_its_end() -> None:
    links = 3_000
    graph = {f"{link}": [f"seeds/{link + 1}"] for link in range(links)}
    assert behind(graph, "0")[-1] == (links, f"{links}", "source")


@given(st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdefg"), max_size=5), min_size=1))
def test_every_fact_behind_is_followed_once_and_every_citation_stands_once(graph: dict[str, list[str]]) -> None:
    graph = {id: [f"seeds/{cited}" for cited in dict.fromkeys(cited)] for id, cited in graph.items()}
    root = min(graph)
    steps = list(lineage(history_of(graph), f"seeds/{root}"))
    followed = [step.ref for step in steps if step.sight is Sight.FACT]
    assert len(followed) == len(set(followed))
    citations = [(step.parent, step.ref) for step in steps[1:]]
    expected = [(ref, cited) for ref in followed for cited in graph[ref.removeprefix("seeds/")]]
    assert sorted(citations, key=str) == sorted(expected, key=str)


def test_a_fact_that_the_run_has_not_is_refused_before_the_walk() -> None:
    with pytest.raises(MisuseError, match="no fact 'seeds/b'"):
        lineage(history_of({"a": []}), "seeds/b")


# --- origins --------------------------------------------------------------------------------------------------------


def origin(entries: Sequence[Entry], ref: str) -> Origin:
    return origin_of(History.of(entries).facts[ref])


def test_inputs_suggestors_and_the_engine_are_told_apart() -> None:
    policy = HitlPolicy(gated_keys=(SIGNALS,))
    engine = engine_of(Says("guesses", text("x", key=HYPOTHESES), text("y", key=SIGNALS)), hitl_policy=policy)
    approver = FakeApprover({"signals/y": lambda gate: GateDecision.reject(gate, "ann", "no")})
    played = play(engine, seeded("a"), approver=approver)
    [diagnostic] = [ref for ref in refs(played.result) if ref.startswith("diagnostic/")]
    assert origin(played.log, "seeds/a") is Origin.INPUT
    assert origin(played.log, "hypotheses/x") is Origin.SUGGESTOR
    assert origin(played.log, diagnostic) is Origin.ENGINE


def test_what_a_human_put_in_the_place_of_a_proposal_is_an_edit() -> None:
    engine = engine_of(Says("guesses", text("x", key=HYPOTHESES)), hitl_policy=HitlPolicy(gated_keys=(HYPOTHESES,)))
    played = play(engine, approver=FakeApprover({"hypotheses/x": edit(TextPayload(text="better"))}))
    assert origin(played.log, "hypotheses/x") is Origin.EDIT


def test_what_the_machine_restates_for_a_suggestor_is_the_suggestors() -> None:
    payload: dict[str, JsonValue] = {"body": {"text": "x"}, "family": "converge.text", "version": 1}
    proposal: dict[str, JsonValue] = {
        "confidence": 1,
        "id": "x~2",
        "key": "seeds",
        "payload": payload,
        "provenance": "x",
    }
    made = ProposalMade(cycle=1, proposer="guesses", proposal=proposal).entry()
    promoted = _promotion("x~2", 1, str(ContentHash.of(canonical(proposal))), proposer="guesses")
    assert origin([made, promoted], "seeds/x~2") is Origin.SUGGESTOR


def test_a_fact_of_an_earlier_run_is_carried_whoever_proposed_it_there() -> None:
    context = play(engine_of(Raises("fails", ValueError(), optional=True)), seeded("a")).result.context
    log = play(Engine(), context, run_id="next").log
    assert {origin(log, fact.ref) for fact in context.facts()} == {Origin.CARRIED}


def test_a_correction_rests_on_what_it_corrects() -> None:
    run = Engine().begin(seeded("a"), run_id="run")
    advance(run)
    payload: dict[str, JsonValue] = {"body": {"text": "right"}, "family": "converge.text", "version": 1}
    run.reopen()
    run.correct(
        CorrectionEvent(fact="seeds/a", actor="human:ann", reason_code="data_error", reason="typo", payload=payload)
    )
    advance(run)
    history = History.of(run.drain())
    assert origin_of(history.facts["seeds/a~2"]) is Origin.CORRECTION
    assert shown(list(lineage(history, "seeds/a~2"))) == [(0, "a~2", "fact"), (1, "a", "fact")]


def test_an_empty_context_has_no_lineage_to_tell() -> None:
    with pytest.raises(MisuseError):
        lineage(History.of(play(Engine(), ContextState()).log), "seeds/a")
