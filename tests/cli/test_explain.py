"""``converge explain``: why is this a fact?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from converge_adapters.ledgers.sqlite import SqliteLedger
from converge_cli.session import Session
from converge_core import Engine, HitlPolicy, TextPayload
from converge_core.ledger.canonical import JsonValue
from converge_core.ledger.events import CorrectionEvent
from tests.cli.audited import Audited
from tests.cli.storied import PICK, RUN, SOURCE, storied
from tests.core.stage import HYPOTHESES, Says, advance, edit, engine_of, finish, play, seeded, text
from tests.fakes.approver import FakeApprover


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Audited:
    return storied(tmp_path_factory.mktemp("story"))


def test_a_fact_is_explained_as_a_tree_down_to_the_inputs(story: Audited) -> None:
    shown = story.out("explain", RUN, PICK)
    gate = shown.partition("(gate-")[2].partition(")")[0]
    assert shown == (
        "strategies/pick  pick <script>alert(1)</script>\n"
        "│  proposed by choose in cycle 2, confidence 0.5\n"
        f"│  a human was asked, as everything under this key needs a human (gate-{gate})\n"
        "│  approved by human:ann, on the authority of anyone\n"
        "├─ hypotheses/weighed  note <script>alert(1)</script> · weight 2\n"
        "│  │  proposed by weigh in cycle 1, confidence 1; promoted by policy\n"
        "│  ├─ seeds/<b>bold</b>  <script>alert(1)</script> red �[31malert� �gnorw\n"
        "│  │     an input; promoted by policy\n"
        "│  ├─ seeds/plain  plain\n"
        "│  │     an input; promoted by policy\n"
        f"│  └─ {SOURCE}  (no fact of this run)\n"
        "└─ seeds/plain  ↑\n"
    )


def test_depth_says_what_it_leaves_out(story: Audited) -> None:
    lines = story.out("explain", RUN, PICK, "--depth", 1).splitlines()
    assert lines[4:7] == [
        "├─ hypotheses/weighed  note <script>alert(1)</script> · weight 2",
        "│     proposed by weigh in cycle 1, confidence 1; promoted by policy",
        "│     rests on 3 more: --depth goes further",
    ]


def test_json_has_each_fact_once_with_the_names_of_what_it_cites(story: Audited) -> None:
    told = story.json("explain", RUN, PICK, "--json")
    assert told == json.loads(story.out("explain", RUN, PICK, "--format", "json"))
    assert {fact["fact"]: fact["evidence"] for fact in told["facts"]} == {
        PICK: ["hypotheses/weighed", "seeds/plain"],
        "hypotheses/weighed": ["seeds/<b>bold</b>", "seeds/plain", SOURCE],
        "seeds/<b>bold</b>": [],
        "seeds/plain": [],
    }
    assert (told["fact"], told["sources"], told["cut"]) == (PICK, [SOURCE], [])


def test_json_tells_the_gate_and_who_decided(story: Audited) -> None:
    pick = story.json("explain", RUN, PICK, "--json")["facts"][0]
    assert (pick["origin"], pick["proposer"], pick["confidence"]) == ("suggestor", "choose", 0.5)
    assert pick["promotion"]["approver"] == "human:ann"
    assert pick["human_gate"]["decision"]["verdict"] == "approve"
    assert pick["human_gate"]["asked_because"] == "gated_key"


def test_mermaid_points_from_the_evidence_to_the_fact(story: Audited) -> None:
    lines = story.out("explain", RUN, PICK, "--format", "mermaid").splitlines()
    assert lines[0] == "flowchart LR"
    assert lines[1].startswith('  f0["strategies/pick<br/>')
    assert lines[1].endswith('"]:::human')
    assert [line for line in lines if "-->" in line] == [
        "  f1 --> f0",
        "  f2 --> f1",
        "  f3 --> f1",
        "  s4 --> f1",
        "  f3 --> f0",
    ]


def test_an_unknown_fact_is_an_error_that_names_the_nearest(story: Audited) -> None:
    result = story.call("explain", RUN, "hypothesis/weighd")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "has no fact 'hypothesis/weighd'; did you mean hypotheses/weighed" in result.stderr


def test_an_id_without_its_key_is_found(story: Audited) -> None:
    assert f"did you mean {PICK}" in story.call("explain", RUN, "pick").stderr


def test_nothing_is_suggested_for_what_resembles_nothing(story: Audited) -> None:
    assert "did you mean" not in story.call("explain", RUN, "0000").stderr


def test_a_run_is_explained_without_any_plugin(story: Audited, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Session) -> None:
        raise AssertionError("plugins were loaded")

    monkeypatch.setattr(Session, "offers", property(fail))
    assert story.out("explain", RUN, PICK)


def test_an_edited_fact_shows_what_had_been_proposed(tmp_path: Path) -> None:
    engine = engine_of(
        Says("guesses", text("x", "rough", key=HYPOTHESES, confidence=0.5)),
        hitl_policy=HitlPolicy(gated_keys=(HYPOTHESES,)),
    )
    ledger = SqliteLedger(tmp_path / "ledger.db")
    play(engine, ledger=ledger, approver=FakeApprover({"hypotheses/x": edit(TextPayload(text="fine"))}))
    finish(ledger.close())
    lines = Audited(tmp_path).out("explain", "run", "hypotheses/x").splitlines()
    assert lines[:2] == [
        "hypotheses/x  fine",
        "   edited by human:ann in cycle 1; guesses had proposed, confidence 0.5: rough",
    ]
    assert lines[3] == "   edited by human:ann, on the authority of anyone"


@pytest.fixture
def corrected(tmp_path: Path) -> Audited:
    run = Engine().begin(seeded("a"), run_id="run")
    advance(run)
    run.reopen()
    payload: dict[str, JsonValue] = {"body": {"text": "right"}, "family": "converge.text", "version": 1}
    run.correct(
        CorrectionEvent(fact="seeds/a", actor="human:ann", reason_code="data_error", reason="a\ntypo", payload=payload)
    )
    advance(run)
    audited = Audited(tmp_path)
    audited.holds(run.drain(), "run")
    return audited


def test_a_correction_says_what_it_corrects_and_why(corrected: Audited) -> None:
    assert corrected.out("explain", "run", "seeds/a~2").splitlines() == [
        "seeds/a~2  right",
        "│  corrects seeds/a, says human:ann (data_error): a typo",
        "│  let in by human:ann, on the authority of anyone",
        "└─ seeds/a  a  (superseded by seeds/a~2)",
        "      an input; promoted by policy",
    ]


def test_a_corrected_fact_names_what_stands_in_its_place(corrected: Audited) -> None:
    assert corrected.json("explain", "run", "seeds/a", "--json")["superseded_by"] == "seeds/a~2"


def test_a_run_that_is_not_intact_is_not_explained(tmp_path: Path) -> None:
    story = storied(tmp_path)
    entries = [entry for entry in play(Engine(), seeded("a")).log if entry.kind != "fact_promoted"]
    story.holds(entries, "run")
    assert "entry 2" in story.refused("explain", "run", "seeds/a")
