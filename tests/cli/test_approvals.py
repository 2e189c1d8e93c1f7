"""Approval from elsewhere: what waits is listed, and decided gate by gate, by several people, under a policy."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner

from converge_cli.main import main
from tests.cli.desk import RULE, SEED, Desk, intent

Waiting = Callable[..., tuple[str, list[str]]]
THREE = {**SEED, "items": [{"n": 1}, {"n": 2}, {"n": 3}]}


@pytest.fixture
def waiting(desk: Desk) -> Waiting:
    """Return what begins a run with three open gates, under these settings of its human gates."""

    def begin(**hitl: object) -> tuple[str, list[str]]:
        gates = {"hitl": {"keys": ["signals"], **hitl}}
        paused = desk.finished(intent(gates=gates, inputs=[THREE]), code=6)
        return paused["run_id"], [request["gate_id"] for request in paused["pending"]]

    return begin


def rows(desk: Desk, *args: object, code: int = 0, **environment: str) -> list[dict[str, Any]]:
    """Return the objects that a command prints with `--json`."""
    return [json.loads(line) for line in desk.call(*args, "--json", code=code, **environment).stdout.splitlines()]


def approvals(desk: Desk) -> list[str]:
    return [row["gate_id"] for row in rows(desk, "approvals")]


def gates_of(desk: Desk, run_id: str) -> list[tuple[str | None, str | None, str | None]]:
    return [(gate["verdict"], gate["actor"], gate["authority"]) for gate in desk.json("show", run_id)["gates"]]


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Put the clock that time-outs are measured by ahead, or back."""
    monkeypatch.setattr("converge_adapters.timeouts.utc_now", lambda: datetime.now(UTC) + timedelta(seconds=seconds))


# --- what waits -----------------------------------------------------------------------------------------------------


def test_what_waits_is_listed_with_what_it_says_and_the_time_that_is_left(desk: Desk, waiting: Waiting) -> None:
    run_id, gates = waiting(timeout={"seconds": 7200, "action": "approve"})
    first = rows(desk, "approvals")[0]
    assert 7100 < first.pop("seconds_left") <= 7200
    assert first.pop("since").startswith("20")
    assert first == {
        "run_id": run_id,
        "gate_id": gates[0],
        "fact": "signals/x:s:1",
        "proposer": "rule",
        "confidence": 1,
        "code": "gated_key",
        "payload": {"n": 1},
        "evidence": ["seeds/s:1"],
        "approved_by": [],
        "action": "approve",
    }
    told = desk.call("approvals").stdout
    assert "signals/x:s:1" in told
    assert "approve in 2 h" in told or "approve in 1 h 59 min" in told


def test_the_oldest_gates_of_all_runs_come_first(desk: Desk, waiting: Waiting) -> None:
    _, first = waiting()
    _, second = waiting()
    assert approvals(desk) == first + second
    desk.call("approve", rows(desk, "approvals")[0]["run_id"], first[0])
    assert approvals(desk) == first[1:] + second


def test_where_nothing_waits_that_is_said(desk: Desk) -> None:
    assert "nothing waits for a human" in desk.call("approvals").stderr
    desk.run(intent())
    result = desk.call("approvals")
    assert (result.stdout, result.stderr) == ("", "nothing waits for a human\n")


def test_what_has_stopped_otherwise_waits_for_nobody(desk: Desk, waiting: Waiting) -> None:
    run_id, gates = waiting()
    desk.call("approve", run_id, "--all")
    desk.call("resume", run_id)
    desk.call("approve", run_id, gates[0], code=1)
    assert approvals(desk) == []
    assert [row["status"] for row in rows(desk, "runs")] == ["converged"], "a refused answer does not reopen it"


# --- one, several, all ----------------------------------------------------------------------------------------------


def test_one_gate_is_decided_by_its_id_or_the_beginning_of_it(desk: Desk, waiting: Waiting) -> None:
    run_id, gates = waiting()
    assert rows(desk, "approve", run_id, gates[0], "--reason", "fine") == [
        {
            "run_id": run_id,
            "gate_id": gates[0],
            "verdict": "approve",
            "actor": "human:ann",
            "accepted": True,
            "reason": "fine",
        }
    ]
    desk.call("reject", run_id, gates[1][:-3], "--reason", "no")
    assert gates_of(desk, run_id) == [
        ("approve", "human:ann", "anyone"),
        ("reject", "human:ann", "anyone"),
        (None, None, None),
    ]


def test_a_beginning_that_fits_several_gates_decides_none(desk: Desk, waiting: Waiting) -> None:
    run_id, gates = waiting()
    assert "fits 3 gates" in desk.call("approve", run_id, "gate-", code=2).stderr
    assert approvals(desk) == gates


@pytest.mark.parametrize("spelling", ["RUN --all", "--all --run RUN", "GATES", "--run RUN GATES"])
def test_several_gates_are_decided_at_once(desk: Desk, waiting: Waiting, spelling: str) -> None:
    run_id, gates = waiting()
    words = {"RUN": [run_id], "GATES": gates if "RUN" in spelling else [run_id, *gates]}
    args = [part for word in spelling.split() for part in words.get(word, [word])]
    assert [row["gate_id"] for row in rows(desk, "approve", *args)] == gates
    assert desk.json("resume", run_id)["facts"] == 6


def test_a_gate_that_is_named_twice_is_decided_once(desk: Desk, waiting: Waiting) -> None:
    run_id, gates = waiting()
    assert len(rows(desk, "approve", run_id, gates[0], gates[0][:-1])) == 1


@pytest.mark.parametrize("args", [[], ["RUN"], ["RUN", "gate-1", "--all"], ["--run", "RUN"], ["--all"]])
def test_neither_gates_nor_all_and_both_are_wrong_usage(desk: Desk, waiting: Waiting, args: list[str]) -> None:
    run_id, gates = waiting()
    desk.call("approve", *(run_id if arg == "RUN" else arg for arg in args), code=2)
    assert approvals(desk) == gates


def test_all_of_none_is_told(desk: Desk) -> None:
    run_id = desk.finished(intent())["run_id"]
    assert f"no gate of {run_id} is open" in desk.call("approve", run_id, "--all").stderr


def test_edit_takes_several_gates_too(desk: Desk, waiting: Waiting) -> None:
    run_id, gates = waiting()
    desk.call("edit", "--all", "--run", run_id, "--payload", "{n: 9}")
    desk.call("resume", run_id)
    facts = [fact for fact in desk.json("show", run_id)["facts"] if fact["key"] == "signals"]
    assert [(fact["payload"], fact["proposer"]) for fact in facts] == [({"n": 9}, "human:ann")] * 3
    assert len(gates) == 3


@pytest.mark.parametrize("given", ["@new.yaml", "-"])
def test_an_edit_may_come_from_a_file_or_from_standard_input(desk: Desk, waiting: Waiting, given: str) -> None:
    run_id, gates = waiting()
    desk.write("new.yaml", "n: 8\n")
    args = ["edit", run_id, gates[0], "--payload", given]
    done = CliRunner().invoke(main, args, env=desk.environment, input="n: 8\n")
    assert f"{gates[0]}: edit by human:ann" in done.stdout


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ("n: [", "payload:"),
        ("just words", "should be a valid dictionary"),
        ("[1, 2]", "should be a valid dictionary"),
        ("{n: 1, n: 2}", "n"),
        ("{n: .nan}", ""),
        ("&a [*a]", ""),
        ("!!python/object/apply:os.system ['touch hacked']", ""),
        ("[" * 5000, ""),
        ("{n: 1}\n---\n{n: 2}", ""),
        ("@missing.yaml", "missing.yaml"),
    ],
)
def test_a_hostile_payload_is_wrong_usage_and_changes_nothing(
    desk: Desk, waiting: Waiting, payload: str, reason: str
) -> None:
    run_id, gates = waiting()
    result = desk.call("edit", run_id, gates[0], "--payload", payload, code=2)
    assert "Error: " in result.stderr
    assert reason in result.stderr
    assert len(result.stderr) < 2000
    assert approvals(desk) == gates
    assert not (desk.folder / "hacked").exists()


def test_a_payload_over_the_limit_is_refused_and_the_gate_stays_open(desk: Desk) -> None:
    gates = {"hitl": {"keys": ["signals"]}, "validation": {"max_payload_bytes": 40}}
    paused = desk.finished(intent(gates=gates, inputs=[THREE]), code=6)
    run_id, gate = paused["run_id"], paused["pending"][0]["gate_id"]
    [row] = rows(desk, "edit", run_id, gate, "--payload", f"{{n: {'x' * 50}}}", code=1)
    assert (row["accepted"], row["reason"]) == (False, "58 bytes where 40 are allowed")
    assert gate in approvals(desk)


# --- who ------------------------------------------------------------------------------------------------------------


def test_whoever_decides_is_named_or_in_the_environment_or_the_user_of_the_system(
    desk: Desk, waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id, gates = waiting()
    monkeypatch.setattr("getpass.getuser", lambda: "root")
    actors = [
        rows(desk, "approve", run_id, gates[0], "--as", "bob")[0]["actor"],
        rows(desk, "approve", run_id, gates[1])[0]["actor"],
        rows(desk, "approve", run_id, gates[2], CONVERGE_ACTOR="")[0]["actor"],
    ]
    assert actors == ["human:bob", "human:ann", "human:root"]


@pytest.mark.parametrize("name", ["  ", "\x1b[31mann", "a" * 257])
def test_what_is_no_name_decides_nothing(desk: Desk, waiting: Waiting, name: str) -> None:
    run_id, gates = waiting()
    assert "say who decides" in desk.call("approve", run_id, "--all", "--as", name, code=2).stderr
    assert approvals(desk) == gates


def test_where_the_system_knows_no_user_one_has_to_say_it(
    desk: Desk, waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown() -> str:
        raise KeyError("getpwuid(): uid not found: 4711")

    run_id, _ = waiting()
    monkeypatch.setattr("getpass.getuser", unknown)
    assert "say who decides" in desk.call("approve", run_id, "--all", code=2, CONVERGE_ACTOR="").stderr


APPROVERS = [
    {"actor": "lead", "keys": ["strategies"]},
    {"role": "finance", "members": ["bob", "cyd"], "keys": ["signals"]},
    {"actor": "temp", "keys": ["signals"], "until": "2020-01-01"},
]


@pytest.mark.parametrize(
    ("actor", "reason"),
    [
        ("ann", "human:ann is no approver for signals"),
        ("lead", "human:lead is no approver for signals"),
        ("temp", "the authority of human:temp ended at 2020-01-01T23:59:59Z"),
        ("Bob", "human:Bob is no approver for signals"),
    ],
)
def test_outside_the_grant_a_decision_is_refused_and_recorded(
    desk: Desk, waiting: Waiting, actor: str, reason: str
) -> None:
    run_id, gates = waiting(approvers=APPROVERS)
    before = desk.json("verify", run_id)["ledger_head"]
    [row] = rows(desk, "approve", run_id, gates[0], "--as", actor, code=1)
    assert (row["accepted"], row["reason"]) == (False, reason)
    assert approvals(desk) == gates
    exported = desk.call("export", run_id).stdout
    assert reason in exported
    assert desk.json("verify", run_id)["ledger_head"] != before
    assert [row["status"] for row in rows(desk, "runs")] == ["waiting"]


def test_within_the_grant_the_authority_is_recorded(desk: Desk, waiting: Waiting) -> None:
    run_id, gates = waiting(approvers=APPROVERS)
    desk.call("approve", run_id, gates[0], "--as", "bob")
    desk.call("reject", run_id, gates[1], "--as", "cyd", "--reason", "no")
    assert gates_of(desk, run_id)[:2] == [
        ("approve", "human:bob", "grant:finance"),
        ("reject", "human:cyd", "grant:finance"),
    ]


def test_two_people_are_two(desk: Desk, waiting: Waiting) -> None:
    run_id, gates = waiting(needs=2, approvers=[{"role": "board", "members": ["ann", "bob", "cyd"]}])
    desk.call("approve", run_id, gates[0])
    [again] = rows(desk, "approve", run_id, gates[0], code=1)
    assert again["reason"] == "human:ann has approved already; another person is needed"
    assert rows(desk, "approvals")[0]["approved_by"] == ["human:ann"]
    desk.call("approve", run_id, gates[0], "--as", "bob")
    assert gates_of(desk, run_id)[0] == ("approve", "human:bob", "grant:board (human:ann, human:bob)")


def test_a_proposer_does_not_approve_itself(desk: Desk, waiting: Waiting) -> None:
    run_id, gates = waiting()
    [row] = rows(desk, "approve", run_id, gates[0], "--as", "rule", code=1)
    assert row["reason"] == "human:rule proposed it, and may not decide about it"


# --- what does not count --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", [["approve"], ["reject", "--reason", "no"], ["edit", "--payload", "{n: 3}"]])
def test_a_decided_gate_is_not_decided_again(desk: Desk, waiting: Waiting, verb: list[str]) -> None:
    run_id, gates = waiting()
    desk.call("approve", run_id, gates[0], "--as", "bob")
    [row] = rows(desk, *verb, "--run", run_id, gates[0], code=1)
    assert (row["accepted"], row["reason"]) == (False, "decided by human:bob")
    desk.call("approve", run_id, "--all")
    desk.call("resume", run_id)
    [row] = rows(desk, *verb, "--run", run_id, gates[0], code=1)
    assert row["reason"] == "decided by human:bob", "and not when the run has gone on either"
    assert gates_of(desk, run_id)[0] == ("approve", "human:bob", "anyone")


@pytest.mark.parametrize("verb", [["approve"], ["reject", "--reason", "no"], ["edit", "--payload", "{n: 3}"]])
def test_a_gate_of_nobody_or_of_another_run_is_refused(desk: Desk, waiting: Waiting, verb: list[str]) -> None:
    run_id, gates = waiting()
    _, theirs = waiting()
    for gate in ("gate-0000000000000000", theirs[0]):
        [row] = rows(desk, *verb, "--run", run_id, gate, code=1)
        assert (row["accepted"], row["reason"]) == (False, "no such gate is open in this run")
    assert approvals(desk) == gates + theirs
    assert desk.json("replay", run_id)["equal"]


def test_of_several_answers_those_that_count_count(desk: Desk, waiting: Waiting) -> None:
    run_id, gates = waiting()
    answers = rows(desk, "approve", run_id, gates[0], "gate-none", gates[1], code=1)
    assert [row["accepted"] for row in answers] == [True, False, True]
    assert approvals(desk) == gates[2:]


def test_a_run_that_is_not_there_is_told(desk: Desk, waiting: Waiting) -> None:
    run_id, _ = waiting()
    assert f"did you mean '{run_id}'?" in desk.call("approve", f"{run_id}x", "gate-1", code=1).stderr


# --- time-outs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("action", "facts"), [("reject", 6), ("approve", 6)])
def test_when_the_time_is_up_the_policy_decides_in_its_own_name(
    desk: Desk, waiting: Waiting, monkeypatch: pytest.MonkeyPatch, action: str, facts: int
) -> None:
    run_id, gates = waiting(timeout={"seconds": 3600, "action": action})
    assert "no gate's time is up" in desk.call("approvals", "expire").stderr
    later(monkeypatch, 3601)
    assert "its time is up" in desk.call("approvals").stdout
    decided = rows(desk, "approvals", "expire")
    assert [(row["gate_id"], row["verdict"], row["actor"]) for row in decided] == [
        (gate, action, "system:timeout-policy") for gate in gates
    ]
    assert {row["reason"] for row in decided} == {f"no answer within 3600 s; the policy is to {action}"}
    assert gates_of(desk, run_id) == [(action, "system:timeout-policy", f"timeout:{action}")] * 3
    assert desk.json("resume", run_id)["facts"] == facts


def test_a_resume_applies_the_policy_and_says_so(desk: Desk, waiting: Waiting, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id, gates = waiting(timeout={"seconds": 60, "action": "approve"})
    later(monkeypatch, 61)
    told = desk.call("resume", run_id).stderr
    assert f"{gates[0]}: approve by system:timeout-policy (no answer within 60 s; the policy is to approve)" in told


def test_an_answer_that_comes_too_late_is_refused(
    desk: Desk, waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id, gates = waiting(timeout={"seconds": 60, "action": "reject"})
    later(monkeypatch, 61)
    answers = rows(desk, "approve", run_id, gates[0], code=1)
    assert [row["verdict"] for row in answers] == ["reject"] * 3 + ["approve"]
    assert answers[-1]["reason"] == "decided by system:timeout-policy"


def test_a_gate_is_escalated_level_by_level_and_rejected_after_the_last(
    desk: Desk, waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels = [{"actor": "ann"}, {"actor": "eve", "level": 2}]
    run_id, gates = waiting(timeout={"seconds": 60, "action": "escalate"}, approvers=levels)
    assert "is asked when the gate is escalated" in desk.call("approve", run_id, gates[0], "--as", "eve", code=1).stdout
    later(monkeypatch, 61)
    assert {row["verdict"] for row in rows(desk, "approvals", "expire")} == {"escalate"}
    later(monkeypatch, 0)
    assert desk.call("approve", run_id, gates[0], "--as", "eve").exit_code == 0
    later(monkeypatch, 61)
    decided = rows(desk, "approvals", "expire")
    assert [(row["gate_id"], row["verdict"]) for row in decided] == [(gate, "reject") for gate in gates[1:]]
    assert {row["reason"] for row in decided} == {
        "no answer within 60 s; the policy is to escalate, and nobody is left to be asked"
    }


def test_a_clock_that_jumps_back_gives_nobody_more_time_and_takes_none(
    desk: Desk, waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id, gates = waiting(timeout={"seconds": 60, "action": "reject"})
    later(monkeypatch, -86_400)
    assert {row["seconds_left"] for row in rows(desk, "approvals")} == {60}
    assert desk.call("approve", run_id, gates[0]).exit_code == 0
    assert rows(desk, "approvals", "expire") == []


def test_authority_that_has_ended_does_not_come_back_with_the_clock(
    desk: Desk, waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    until = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    run_id, gates = waiting(approvers=[{"actor": "ann", "until": until}, {"actor": "bob"}], timeout={"seconds": 10**6})
    later(monkeypatch, 172_800)
    desk.call("approve", run_id, gates[0], "--as", "bob")
    later(monkeypatch, 0)
    [row] = rows(desk, "approve", run_id, gates[1], code=1)
    assert row["reason"] == f"the authority of human:ann ended at {until}"


def test_a_run_that_cannot_be_moved_does_not_keep_the_others_from_it(
    desk: Desk, waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.write("own.py", "def say(ctx):\n    return None\n")
    broken = {"use": "python", "name": "own", "with": {"callable": "own:say"}}
    gates = {"hitl": {"keys": ["signals"]}}
    stuck = desk.finished(intent(gates=gates, suggestors=[RULE, broken]), code=6)["run_id"]
    run_id, opened = waiting()
    (desk.folder / "own.py").unlink()
    later(monkeypatch, 3600)
    result = desk.call("approvals", "expire", "--json", code=1)
    assert [json.loads(line)["gate_id"] for line in result.stdout.splitlines()] == opened
    assert stuck in result.stderr
    assert "'own' is neither in the intent's folder nor in an installed package" in result.stderr
    assert gates_of(desk, run_id)[0][0] == "reject"
