"""``converge correct``: a new fact in the place of a wrong one, and what follows when the run goes on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.desk import RULE, Desk, intent
from tests.cli.terminal import Terminal, editor

CHAIN = {
    "use": "rules.cel",
    "name": "chain",
    "with": {"for_each": "signals", "key": "evaluations", "id": "y:{fact.n}", "payload": {"n": "fact.n"}},
}
BY_NUMBER = {**RULE, "with": {**RULE["with"], "id": "x:{fact.n > 1.0 ? 'two' : 'one'}", "payload": {"n": "fact.n"}}}


def correct(desk: Desk, run_id: str, ref: str, payload: str, *args: object, code: int = 0) -> dict[str, Any]:
    return desk.json("correct", run_id, ref, "--payload", payload, "--reason", "a typo", *args, code=code)


def facts(desk: Desk, run_id: str, *args: object) -> dict[str, dict[str, Any]]:
    return {f"{fact['key']}/{fact['id']}": fact for fact in desk.json("show", run_id, *args)["facts"]}


def test_a_correction_supersedes_and_both_stay_in_the_ledger(desk: Desk) -> None:
    run_id = desk.finished(intent())["run_id"]
    assert correct(desk, run_id, "seeds/s:1", "{n: 10}") == {
        "run_id": run_id,
        "fact": "seeds/s:1",
        "accepted": True,
        "by": "seeds/s:1~2",
        "reason": None,
    }
    now = facts(desk, run_id)
    assert "seeds/s:1" not in now
    assert (now["seeds/s:1~2"]["payload"], now["seeds/s:1~2"]["approver"]) == ({"n": 10}, "human:ann")
    history = facts(desk, run_id, "--history")
    assert history["seeds/s:1"]["superseded_by"] == "seeds/s:1~2"
    assert history["seeds/s:1~2"]["supersedes"] == "seeds/s:1"
    assert desk.json("replay", run_id)["equal"]


def test_show_marks_what_is_superseded_and_what_rests_on_it(desk: Desk) -> None:
    run_id = desk.finished(intent())["run_id"]
    correct(desk, run_id, "seeds/s:1", "{n: 10}")
    told = {line.split()[0]: line for line in desk.call("show", run_id, "--history").stdout.splitlines() if "/" in line}
    assert told["seeds/s:1"].rstrip().endswith("superseded by seeds/s:1~2")
    assert told["seeds/s:1~2"].rstrip().endswith("in the place of seeds/s:1")
    assert told["signals/x:s:1"].rstrip().endswith("rests on what was corrected since")
    assert told["signals/x:s:2"].rstrip().endswith("system:converge-engine")
    assert "superseded by" not in desk.call("show", run_id).stdout


def test_whoever_depends_on_it_concludes_anew_when_the_run_goes_on(desk: Desk) -> None:
    run_id = desk.finished(intent(suggestors=[BY_NUMBER, CHAIN]))["run_id"]
    assert {ref for ref in facts(desk, run_id) if "seeds" not in ref} == {
        *("signals/x:one", "signals/x:two"),
        *("evaluations/y:1", "evaluations/y:2"),
    }
    correct(desk, run_id, "seeds/s:2", "{n: 7}")
    resumed = desk.json("resume", run_id)
    assert resumed["status"] == "converged"
    now = facts(desk, run_id)
    assert now["signals/x:two~2"]["payload"] == {"n": 7}
    assert "signals/x:two" not in now
    assert now["evaluations/y:7"]["evidence"] == ["signals/x:two~2"]
    assert now["evaluations/y:2"]["stale"], "nobody has said it again, and nobody has taken it back"
    assert not now["evaluations/y:7"]["stale"]


def test_a_conclusion_that_a_person_has_let_in_is_put_to_a_person_again(desk: Desk) -> None:
    gates = {"hitl": {"keys": ["signals"]}}
    run_id = desk.finished(intent(suggestors=[BY_NUMBER], gates=gates), "--yes")["run_id"]
    correct(desk, run_id, "seeds/s:2", "{n: 7}", "--as", "bob")
    [request] = desk.json("resume", run_id, code=6)["pending"]
    assert (request["code"], request["supersedes"]) == ("overrules_human", "signals/x:two")
    told = desk.call("resume", run_id, code=6).stderr
    assert "it would take the place of what a human has let in" in told
    assert "would be      what readers see instead of signals/x:two: n 2" in told


def test_a_correction_of_a_run_that_waits_is_taken_when_it_goes_on(desk: Desk) -> None:
    paused = desk.finished(intent(gates={"hitl": {"keys": ["signals"]}}), code=6)
    run_id = paused["run_id"]
    assert correct(desk, run_id, "seeds/s:1", "{n: 10}")["by"] is None
    told = desk.call("correct", run_id, "seeds/s:2", "--payload", "{n: 20}", "--reason", "typo")
    assert "seeds/s:2 will be superseded when the run goes on" in told.stdout
    assert [json.loads(line)["status"] for line in desk.call("runs", "--json").stdout.splitlines()] == ["waiting"]
    [again] = [correct(desk, run_id, "seeds/s:1", "{n: 11}", code=1)]
    assert again["reason"] == "another correction of seeds/s:1 came first"
    desk.call("approve", run_id, "--all")
    desk.call("resume", run_id, "--yes")
    assert facts(desk, run_id)["seeds/s:1~2"]["payload"] == {"n": 10}


def test_the_cycle_that_a_correction_takes_has_to_be_in_the_budget(desk: Desk) -> None:
    run_id = desk.finished(intent(budget={"cycles": 2}))["run_id"]
    assert correct(desk, run_id, "seeds/s:1", "{n: 10}")["by"] is None
    assert desk.json("resume", run_id, code=5)["stop_reason"]["reason"] == "cycle_budget_exhausted"
    desk.call("resume", run_id, "--budget", "cycles=+5")
    assert facts(desk, run_id)["seeds/s:1~2"]["payload"] == {"n": 10}


APPROVERS = [{"actor": "lead", "keys": ["seeds"]}, {"actor": "temp", "until": "2020-01-01"}]


@pytest.mark.parametrize(
    ("actor", "reason"),
    [
        ("ann", "human:ann is no approver for seeds"),
        ("temp", "the authority of human:temp ended at 2020-01-01T23:59:59Z"),
    ],
)
def test_without_authority_nothing_is_corrected_and_the_attempt_is_recorded(
    desk: Desk, actor: str, reason: str
) -> None:
    run_id = desk.finished(intent(gates={"hitl": {"approvers": APPROVERS}}))["run_id"]
    before = desk.json("verify", run_id)["ledger_head"]
    refused = correct(desk, run_id, "seeds/s:1", "{n: 10}", "--as", actor, code=1)
    assert (refused["accepted"], refused["by"], refused["reason"]) == (False, None, reason)
    assert "seeds/s:1" in facts(desk, run_id)
    assert reason in desk.call("export", run_id).stdout
    assert desk.json("verify", run_id)["ledger_head"] != before
    assert [json.loads(line)["status"] for line in desk.call("runs", "--json").stdout.splitlines()] == ["converged"]


def test_with_authority_it_is_recorded_which(desk: Desk) -> None:
    run_id = desk.finished(intent(gates={"hitl": {"approvers": APPROVERS}}))["run_id"]
    correct(desk, run_id, "seeds/s:1", "{n: 10}", "--as", "lead")
    assert facts(desk, run_id)["seeds/s:1~2"]["authority"] == "grant:lead"
    told = desk.call("explain", run_id, "seeds/s:1~2").stdout
    assert "human:lead" in told
    assert "a typo" in told


def test_what_the_gates_turn_away_corrects_nothing(desk: Desk) -> None:
    run_id = desk.finished(intent(gates={"validation": {"max_payload_bytes": 20}}))["run_id"]
    refused = correct(desk, run_id, "seeds/s:1", "{n: '" + "x" * 40 + "'}", code=1)
    assert refused["reason"] == "48 bytes where 20 are allowed"
    assert "seeds/s:1" in facts(desk, run_id)


@pytest.mark.parametrize(
    ("ref", "payload", "code", "reason"),
    [
        ("seeds/s:9", "{n: 1}", 1, "did you mean 'seeds/s:"),
        ("nonsense", "{n: 1}", 1, "has no fact 'nonsense'"),
        ("seeds/s:1", "[1]", 2, "should be a valid dictionary"),
        ("seeds/s:1", "{n: [", 2, "payload:"),
        ("seeds/s:1", "{n: 1}", 1, "seeds/s:1 says that already"),
    ],
)
def test_what_makes_no_sense_is_told(desk: Desk, ref: str, payload: str, code: int, reason: str) -> None:
    run_id = desk.finished(intent())["run_id"]
    result = desk.call("correct", run_id, ref, "--payload", payload, "--reason", "x", code=code)
    assert reason in result.output


def test_an_old_version_is_not_corrected(desk: Desk) -> None:
    run_id = desk.finished(intent())["run_id"]
    correct(desk, run_id, "seeds/s:1", "{n: 10}")
    refused = correct(desk, run_id, "seeds/s:1", "{n: 11}", code=1)
    assert refused["reason"] == "seeds/s:1 is superseded by seeds/s:1~2"
    desk.call("resume", run_id)
    assert correct(desk, run_id, "seeds/s:1~2", "{n: 11}")["by"] == "seeds/s:1~3"


def test_a_run_that_violates_something_is_not_corrected_but_forked(desk: Desk) -> None:
    never = {"name": "never", "class": "semantic", "cel": "size(votes) > 0"}
    run_id = desk.finished(intent(invariants=[never]), code=4)["run_id"]
    before = desk.json("verify", run_id)["ledger_head"]
    told = desk.call("correct", run_id, "seeds/s:1", "--payload", "{n: 3}", "--reason", "x", code=1).stderr
    assert "has stopped for good" in told
    assert "fork it" in told
    assert desk.json("verify", run_id)["ledger_head"] == before


@pytest.mark.skipif("sys.platform == 'win32'")
def test_without_a_payload_the_editor_opens_on_the_fact(desk: Desk) -> None:
    run_id = desk.finished(intent())["run_id"]
    edits = editor(desk, "assert text.splitlines()[-1] == 'n: 1'; path.write_text('n: 5', encoding='utf-8')")
    Terminal(desk, "correct", run_id, "seeds/s:1", "--reason", "typo", EDITOR=edits).ends(0)
    assert facts(desk, run_id)["seeds/s:1~2"]["payload"] == {"n": 5}
    untouched = Terminal(desk, "correct", run_id, "seeds/s:2", "--reason", "typo", EDITOR=editor(desk, "pass"))
    assert "nothing was changed" in untouched.ends(0)
