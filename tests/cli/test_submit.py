"""`converge submit`: observations for a run that has begun."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from click.testing import CliRunner

from converge_cli.main import main
from tests.cli.desk import Desk, intent

TEXT_SHA = hashlib.sha256(b"21 degrees").hexdigest()
REACTS: dict[str, Any] = {
    "use": "rules.cel",
    "name": "reacts",
    "with": {"for_each": "signals", "key": "hypotheses", "id": "h:{fact.id}", "text": "seen"},
}
SENSOR = ("--source", "plant", "--as", "sensor-7", "--actor-kind", "external")


def settled(desk: Desk, code: int = 0, **sections: object) -> str:
    """Run an intent to its end, and return the name of the run."""
    done = desk.finished(intent(**{"suggestors": [REACTS], **sections}), code=code)
    return str(done["run_id"])


def submit(desk: Desk, run: str, *args: object, id: str = "t1", code: int = 0) -> dict[str, Any]:
    return desk.json("submit", run, "--key", "signals", "--id", id, *SENSOR, *args, code=code)


def test_an_observation_is_admitted_judged_and_wakes_whom_it_concerns_on_resume(desk: Desk) -> None:
    run = settled(desk)
    receipt = submit(desk, run, "--text", "21 degrees", "--subject", "plant://room/1")
    assert receipt == {
        "run_id": run,
        "key": "signals",
        "id": "t1",
        "content_hash": TEXT_SHA,
        "subject": "plant://room/1",
        "truth": None,
        "staged": True,
        "outcome": "promoted",
        "reason": None,
    }
    resumed = desk.json("resume", run)
    assert resumed["facts"] == 4, "two seeds, the signal, and what follows from it"
    assert resumed["converged"]
    desk.call("replay", run)
    desk.call("verify", run)


def test_the_receipt_is_printed_for_people_too(desk: Desk) -> None:
    run = settled(desk)
    result = desk.call("submit", run, "--key", "signals", "--id", "t1", "--text", "21 degrees", "--source", "plant")
    assert result.stdout == f"signals/t1  sha256:{TEXT_SHA}\n"
    assert result.stderr == f"a fact now; go on with: converge resume {run}\n"


def test_the_ledger_says_who_brought_it_in_from_where_and_that_the_run_was_reopened(desk: Desk) -> None:
    run = settled(desk)
    submit(desk, run, "--text", "21 degrees")
    log = desk.call("export", run, "--format", "jsonl").stdout
    assert "admission:external:sensor-7:plant" in log
    assert TEXT_SHA in log
    assert log.index("input_admitted") < log.index("run_reopened")


def test_the_actor_is_the_user_unless_another_is_named(desk: Desk) -> None:
    run = settled(desk)
    desk.call("submit", run, "--key", "signals", "--id", "t1", "--text", "x", "--source", "desk")
    assert "admission:human:ann:desk" in desk.call("export", run, "--format", "jsonl").stdout


@pytest.mark.parametrize("value", ["{degrees: 21, exact: false}", "@reading.yaml", "-"])
def test_a_payload_is_given_as_yaml_in_a_file_or_on_stdin(desk: Desk, value: str) -> None:
    run = settled(desk)
    desk.write("reading.yaml", "{degrees: 21, exact: false}")
    args = ["submit", run, "--key", "signals", "--id", "t1", *SENSOR, "--payload", value, "--json"]
    result = CliRunner().invoke(main, args, input="{degrees: 21, exact: false}", env=desk.environment)
    assert result.exit_code == 0, result.output
    receipt = json.loads(result.stdout)
    assert receipt["content_hash"] == hashlib.sha256(b'{"degrees":21,"exact":false}').hexdigest()
    assert receipt["outcome"] == "promoted"


def test_the_same_observation_is_taken_once(desk: Desk) -> None:
    run = settled(desk)
    submit(desk, run, "--text", "21 degrees")
    before = desk.call("head", run).stdout
    again = submit(desk, run, "--text", "21 degrees")
    assert (again["staged"], again["outcome"]) == (False, "known")
    assert desk.call("head", run).stdout == before


def test_another_content_under_the_same_id_is_refused(desk: Desk) -> None:
    run = settled(desk)
    submit(desk, run, "--text", "21 degrees")
    args = ("submit", run, "--key", "signals", "--id", "t1", "--text", "22 degrees", "--source", "plant")
    result = desk.call(*args, code=1)
    assert result.stdout == ""
    assert result.stderr.startswith("converge: the run has other content under signals/t1")


def test_an_observation_out_of_scope_is_turned_away(desk: Desk) -> None:
    run = settled(desk, scope=[{"plant": "north"}])
    receipt = submit(desk, run, "--payload", "{plant: south}", code=1)
    assert (receipt["outcome"], receipt["reason"]) == ("rejected", "plant 'south' is not among north")


def test_an_observation_waits_at_a_human_gate(desk: Desk) -> None:
    run = settled(desk, gates={"hitl": {"keys": ["signals"]}})
    assert submit(desk, run, "--text", "21 degrees")["outcome"] == "gated"
    desk.call("approve", run, "--all", "--as", "bob")
    assert desk.json("resume", run)["facts"] == 4


def test_a_run_that_violates_something_admits_nothing(desk: Desk) -> None:
    never = [{"name": "never", "class": "acceptance", "cel": "false"}]
    run = settled(desk, code=4, invariants=never)
    before = desk.call("head", run).stdout
    args = ("submit", run, "--key", "signals", "--id", "t1", "--text", "x", "--source", "plant")
    result = desk.call(*args, code=1)
    assert result.stderr.startswith("converge: the run admits nothing any more: Acceptance invariant 'never' violated")
    assert desk.call("head", run).stdout == before


def test_a_run_that_ran_out_of_budget_judges_it_when_it_goes_on(desk: Desk) -> None:
    says = {**REACTS, "name": "says", "with": {**REACTS["with"], "for_each": "seeds", "key": "evaluations"}}
    run = settled(desk, code=5, budget={"cycles": 1}, suggestors=[REACTS, says])
    assert submit(desk, run, "--text", "21 degrees")["outcome"] == "pending"
    assert desk.json("resume", run, "--budget", "cycles=9")["facts"] == 6
    assert submit(desk, run, "--text", "21 degrees")["outcome"] == "known"


def test_an_observation_that_comes_while_people_are_asked_is_judged_after_them(desk: Desk) -> None:
    run = settled(desk, gates={"hitl": {"keys": ["seeds"]}}, code=6)
    assert submit(desk, run, "--text", "21 degrees")["outcome"] == "pending"
    desk.call("approve", run, "--all", "--as", "bob")
    assert desk.json("resume", run)["facts"] == 4


def test_an_observation_targets_a_truth_that_the_intent_upholds(desk: Desk) -> None:
    run = settled(desk, truths=[{"key": "comfort", "kind": "job"}])
    assert submit(desk, run, "--text", "x", "--truth", "comfort")["truth"] == "comfort"
    args = ("submit", run, "--key", "signals", "--id", "t2", "--text", "x", "--source", "plant", "--truth", "profit")
    assert "does not uphold a truth 'profit'; it upholds comfort" in desk.call(*args, code=1).stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "give either --text or --payload"),
        (("--text", "x", "--payload", "{}"), "give either --text or --payload"),
        (("--payload", "{a: 1, a: 2}"), "duplicate key"),
        (("--payload", "[1]"), "data: Input should be a valid"),
        (("--payload", "{}", "--family", "dota"), "unknown payload 'dota'"),
        (("--payload", "{}", "--family", "text"), "text: Field required"),
        (("--payload", "@no.yaml"), "no.yaml"),
        (("--text", "x", "--subject", "room"), "is not a subject of the form scheme://kind/id"),
    ],
)
def test_what_cannot_be_an_observation_is_wrong_usage(desk: Desk, args: tuple[str, ...], said: str) -> None:
    run = settled(desk)
    result = desk.call("submit", run, "--key", "signals", "--id", "t1", "--source", "plant", *args, code=2)
    assert said in result.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--id", " ", "--text", "x"), "admission id must not be empty"),
        (("--id", "t", "--text", " "), "admission content must not be empty"),
        (("--id", "t\nu", "--text", "x"), "invalid_id"),
    ],
)
def test_an_observation_without_a_form_is_refused(desk: Desk, args: tuple[str, ...], said: str) -> None:
    run = settled(desk)
    result = desk.call("submit", run, "--key", "signals", "--source", "plant", *args, code=1)
    assert said in result.stderr


def test_an_unknown_run_is_told_with_the_nearest(desk: Desk) -> None:
    run = settled(desk)
    result = desk.call("submit", f"{run}x", "--key", "signals", "--id", "t", "--text", "x", "--source", "plant", code=1)
    assert f"did you mean {run!r}?" in result.stderr
