"""The question at a terminal: what a person is shown, what may be answered, and what is kept of it."""

from __future__ import annotations

import sys
import time
from typing import Any

import pytest

from tests.cli.desk import RULE, SEED, Desk, intent, python
from tests.cli.terminal import Terminal, editor

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no terminals of this kind")

GATES = {"hitl": {"keys": ["signals"], "timeout": {"seconds": 7200}}}
UNSURE = {**RULE, "with": {**RULE["with"], "confidence": "0.5"}}


def begin(desk: Desk, *args: object, environment: dict[str, str] | None = None, **sections: object) -> Terminal:
    desk.write("intent.yaml", intent(**{"gates": GATES, **sections}))
    return Terminal(desk, "run", "intent.yaml", *args, **(environment or {}))


def run_id(desk: Desk) -> str:
    return str(desk.json("runs")["run_id"])


def shown(desk: Desk) -> dict[str, Any]:
    return desk.json("show", run_id(desk))


def signals(desk: Desk) -> dict[str, dict[str, Any]]:
    return {fact["id"]: fact for fact in shown(desk)["facts"] if fact["key"] == "signals"}


# --- what is shown --------------------------------------------------------------------------------------------------


def test_everything_that_bears_on_the_decision_is_shown(desk: Desk) -> None:
    terminal = begin(desk, suggestors=[UNSURE])
    told = terminal.question()
    gate = desk.json("show", run_id(desk))["gates"][0]["gate_id"]
    assert told[told.index("signals/") :].splitlines() == [
        f"signals/x:s:1   (gate {gate}, cycle 1)",
        "  │ n: 1",
        "  proposed by   rule, confidence 0.5",
        "  asks because  everything under this key needs a human",
        "  rests on",
        "  │ seeds/s:1: n 1",
        "  would be      the first fact under signals",
        "  unanswered    it is rejected after 2 h",
        "  1 more gate open",
    ]
    terminal.types("a")
    told = terminal.question()
    assert "more gate" not in told
    terminal.types("q")
    terminal.ends(6)


def test_a_text_is_shown_as_it_is_but_passes_for_nothing_else(desk: Desk) -> None:
    desk.write(
        "own.py",
        "from converge_core import ContextKey, ProposedFact, TextPayload\n"
        "TEXT = 'harmless\\n  proposed by   the auditor, confidence 1\\n\\x1b[2Jgone \\u202etxet'\n"
        "def say(ctx):\n"
        "    yield ProposedFact(ContextKey.SIGNALS, 'x', TextPayload(text=TEXT), confidence=0.1,\n"
        "                       evidence=['https://example.com/\\x1b[31m', 'seeds/none'])\n",
    )
    terminal = begin(desk, suggestors=[python("own:say")])
    told = terminal.question()
    assert "  │ harmless\n  │   proposed by   the auditor, confidence 1\n  │ \ufffd[2Jgone \ufffdtxet\n" in told
    assert "  │ https://example.com/\ufffd[31m: no fact of this run\n  │ seeds/none: no fact of this run\n" in told
    assert "\x1b[2J" not in told
    terminal.types("q")
    terminal.ends(6)


def test_a_large_payload_is_cut(desk: Desk) -> None:
    wide = {"n": 1, **{f"field{number:03}": number for number in range(100)}}
    rule = {**RULE, "with": {**RULE["with"], "payload": dict.fromkeys(wide, "fact.n")}}
    terminal = begin(desk, suggestors=[rule], inputs=[{**SEED, "items": [{"n": 1}]}])
    assert "  │ … and 61 more lines: edit shows all\n" in terminal.question()
    terminal.types("q")
    terminal.ends(6)


# --- what may be answered -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", ["a", "approve", " A "])
def test_approve_lets_the_proposals_in_on_ones_own_authority(desk: Desk, answer: str) -> None:
    terminal = begin(desk)
    for _ in range(2):
        terminal.question()
        terminal.types(answer)
    assert "Converged: 4 facts" in terminal.ends(0)
    assert {fact["approver"] for fact in signals(desk).values()} == {"human:ann"}


def test_reject_asks_why_and_keeps_the_reason(desk: Desk) -> None:
    terminal = begin(desk)
    terminal.question()
    terminal.types("r")
    terminal.sees("reason")
    terminal.types("too vague")
    terminal.question()
    terminal.types("a")
    terminal.ends(0)
    told = shown(desk)
    assert list(signals(desk)) == ["x:s:2"]
    [refused] = told["turned_away"]
    assert (refused["code"], refused["reason"]) == ("rejected_by_human", "human:ann: too vague")
    [statement] = [fact for fact in told["facts"] if fact["key"] == "diagnostic"]
    assert (statement["payload"]["about"], statement["evidence"]) == ("signals/x:s:1", ["seeds/s:1"])


def test_edit_puts_ones_own_payload_in_the_place_and_keeps_the_original(desk: Desk) -> None:
    edits = editor(desk, "assert 'n: 1' in text; path.write_text(text.replace('n: 1', 'n: 42'), encoding='utf-8')")
    terminal = begin(desk, environment={"EDITOR": edits})
    terminal.question()
    terminal.types("e")
    terminal.question()
    terminal.types("a")
    terminal.ends(0)
    fact = signals(desk)["x:s:1"]
    assert (fact["payload"], fact["proposer"], fact["approver"]) == ({"n": 42}, "human:ann", "human:ann")
    told = desk.call("explain", run_id(desk), "signals/x:s:1").stdout
    assert "rule had proposed, confidence 1: n 1" in told


def test_what_does_not_fit_is_told_and_edited_again(desk: Desk) -> None:
    edits = editor(desk, "path.write_text(['n: [', '[1, 2]', 'n: 7'][calls], encoding='utf-8')")
    terminal = begin(desk, environment={"EDITOR": edits}, inputs=[{**SEED, "items": [{"n": 1}]}])
    terminal.question()
    terminal.types("e")
    terminal.sees("payload:")
    terminal.sees("edit again?")
    terminal.types("y")
    terminal.sees("edit again?")
    terminal.types("")
    terminal.ends(0)
    assert signals(desk)["x:s:1"]["payload"] == {"n": 7}


@pytest.mark.parametrize("script", ["pass", "path.write_text(text + '# a remark\\n', encoding='utf-8')", "sys.exit(1)"])
def test_an_edit_that_changes_nothing_or_fails_goes_back_to_the_question(desk: Desk, script: str) -> None:
    terminal = begin(desk, environment={"EDITOR": editor(desk, script)})
    terminal.question()
    terminal.types("e")
    terminal.question()
    terminal.types("q")
    terminal.ends(6)
    assert (desk.folder / "edited").read_text() == "1"
    assert {gate["verdict"] for gate in shown(desk)["gates"]} == {None}


def test_defer_leaves_a_gate_open_and_asks_about_the_next(desk: Desk) -> None:
    terminal = begin(desk)
    assert "signals/x:s:1" in terminal.question()
    terminal.types("d")
    assert "signals/x:s:2" in terminal.question()
    terminal.types("a")
    assert "1 gate(s) wait for a human" in terminal.ends(6)
    assert [gate["verdict"] for gate in shown(desk)["gates"]] == [None, "approve"]


def test_quit_leaves_the_rest_open_and_keeps_what_was_answered(desk: Desk) -> None:
    terminal = begin(desk)
    terminal.question()
    terminal.types("a")
    terminal.question()
    terminal.types("q")
    told = terminal.ends(6)
    assert "1 gate(s) wait for a human. Decide them, from anywhere, and go on:" in told
    assert f"converge resume {run_id(desk)}" in told
    assert [gate["verdict"] for gate in shown(desk)["gates"]] == ["approve", None]


def test_anything_else_is_asked_again(desk: Desk) -> None:
    terminal = begin(desk)
    terminal.question()
    terminal.types("yes, of course")
    terminal.sees("please answer approve, reject, edit, defer or quit")
    terminal.question()
    terminal.types("q")
    terminal.ends(6)


# --- who is in the way ----------------------------------------------------------------------------------------------


def test_somebody_else_may_decide_meanwhile_and_the_second_answer_is_refused(desk: Desk) -> None:
    terminal = begin(desk)
    terminal.question()
    first, second = (gate["gate_id"] for gate in shown(desk)["gates"])
    desk.call("reject", run_id(desk), first, "--reason", "no", "--as", "bob")
    desk.call("approve", run_id(desk), second, "--as", "bob")
    terminal.types("a")
    terminal.sees(f"{first}: approve by human:ann, refused: decided by human:bob")
    terminal.ends(0)
    gates = shown(desk)["gates"]
    assert [(gate["verdict"], gate["actor"]) for gate in gates] == [("reject", "human:bob"), ("approve", "human:bob")]
    assert list(signals(desk)) == ["x:s:2"]


def test_whoever_has_no_authority_is_told_and_may_pass_it_on(desk: Desk) -> None:
    hitl = {**GATES["hitl"], "approvers": [{"actor": "bob"}]}
    terminal = begin(desk, gates={"hitl": hitl}, inputs=[{**SEED, "items": [{"n": 1}]}])
    terminal.question()
    terminal.types("a")
    terminal.sees("refused: human:ann is no approver for signals")
    terminal.question()
    terminal.types("d")
    terminal.ends(6)


def test_where_two_are_needed_one_is_asked_once_and_the_other_sees_who_has_approved(desk: Desk) -> None:
    terminal = begin(desk, gates={"hitl": {**GATES["hitl"], "needs": 2}}, inputs=[{**SEED, "items": [{"n": 1}]}])
    terminal.question()
    terminal.types("a")
    terminal.ends(6)
    other = Terminal(desk, "resume", run_id(desk), "--as", "bob")
    assert "  approved      by human:ann; others have to join\n" in other.question()
    other.types("a")
    other.ends(0)


def test_the_wait_for_a_person_takes_no_working_time(desk: Desk) -> None:
    terminal = begin(desk, budget={"seconds": 1})
    for _ in range(2):
        terminal.question()
        time.sleep(0.8)
        terminal.types("a")
    terminal.ends(0)


# --- interrupted ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["c", "d"])
def test_ctrl_c_at_the_question_loses_nothing(desk: Desk, key: str) -> None:
    terminal = begin(desk)
    terminal.question()
    terminal.types("a")
    terminal.question()
    terminal.presses(key)
    told = terminal.ends(130)
    assert f"run {run_id(desk)} is kept as far as it came: converge resume {run_id(desk)}" in told
    assert [gate["verdict"] for gate in shown(desk)["gates"]] == ["approve", None]
    again = Terminal(desk, "resume", run_id(desk))
    assert "signals/x:s:2" in again.question()
    again.types("a")
    again.ends(0)


def test_ctrl_c_while_suggestors_work_leaves_a_run_that_can_be_resumed(desk: Desk) -> None:
    desk.write(
        "own.py",
        "import anyio\nfrom pathlib import Path\nfrom converge_core import ContextKey, ProposedFact, TextPayload\n"
        "async def say(ctx):\n"
        "    if not Path('asked').exists():\n"
        "        Path('asked').touch()\n"
        "        print('at work', flush=True)\n"
        "        await anyio.sleep(60)\n"
        "    return ProposedFact(ContextKey.SIGNALS, 'x', TextPayload(text='done'))\n",
    )
    terminal = begin(desk, suggestors=[python("own:say")], gates={})
    terminal.sees("at work")
    terminal.presses("c")
    assert f"converge resume {run_id(desk)}" in terminal.ends(130)
    assert desk.json("resume", run_id(desk))["status"] == "converged"


# --- where nobody is asked ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["--no-input", "--json"])
def test_on_request_nobody_is_asked_though_there_is_a_terminal(desk: Desk, option: str) -> None:
    begin(desk, option).ends(6)


def test_yes_tells_what_it_has_approved_and_what_it_could_not(desk: Desk) -> None:
    assert "--yes approved 2 gates in the name of ann" in begin(desk, "--yes").ends(0)
    hitl = {**GATES["hitl"], "approvers": [{"actor": "bob"}]}
    told = begin(desk, "--yes", gates={"hitl": hitl}).ends(6)
    assert "--yes was refused: human:ann is no approver for signals" in told
    assert "--yes approved" not in told
