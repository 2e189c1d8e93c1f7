"""Incident triage: what is suspected, what the logs bear out, and what a person has the last word about."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.adapters.backends.server import Asked, Told, serving
from tests.adapters.backends.wire import COMPATIBLE
from tests.examples.running import EXAMPLES, ROOT, Converge

FOLDER = EXAMPLES / "incident_triage"
INTENT = FOLDER / "intent.yaml"
PLAN = "roll-back:CH-1042"


@pytest.fixture(scope="module")
def finished(converge: Converge) -> dict[str, Any]:
    """Return the result of a run whose plan was approved."""
    return converge.json("run", INTENT, "--yes")


@pytest.fixture(scope="module")
def shown(converge: Converge, finished: dict[str, Any]) -> dict[str, Any]:
    return converge.json("show", finished["run_id"])


def said(shown: dict[str, Any], key: str) -> dict[str, Any]:
    """Return what the facts of a key say, by id."""
    return {fact["id"]: fact["payload"] for fact in shown["facts"] if fact["key"] == key}


def test_three_alerts_have_one_cause_and_the_disk_has_another(shown: dict[str, Any]) -> None:
    checks = {id: check["verdict"] for id, check in said(shown, "evaluations").items()}
    assert checks == {
        "check:A-301": "borne out",
        "check:A-302": "borne out",
        "check:A-303": "borne out",
        "check:A-304": "refuted",
    }


def test_the_plan_rolls_back_what_was_changed_and_cites_the_checks(shown: dict[str, Any]) -> None:
    assert list(said(shown, "strategies")) == [PLAN]
    (plan,) = (fact for fact in shown["facts"] if fact["key"] == "strategies")
    assert (plan["payload"]["service"], plan["payload"]["ask"]) == ("payments", "omar")
    assert plan["payload"]["relieves"] == ["A-301", "A-302", "A-303"]
    assert {f"evaluations/check:{alert}" for alert in plan["payload"]["relieves"]} <= set(plan["evidence"])
    assert plan["approver"] == "human:tom"


def test_a_check_cites_the_lines_that_bear_it_out(shown: dict[str, Any]) -> None:
    evidence = {fact["id"]: fact["evidence"] for fact in shown["facts"] if fact["key"] == "evaluations"}
    cited = ["signals/CH-1042", "signals/log-8", "signals/log-9", "signals/log-12"]
    assert evidence["check:A-301"] == ["hypotheses/suspect:A-301", *cited]
    assert evidence["check:A-304"] == ["hypotheses/suspect:A-304"]


def test_who_was_asked_is_on_record(shown: dict[str, Any]) -> None:
    calls = shown["model_calls"]
    assert [(call["suggestor"], call["backend"], call["outcome"]) for call in calls] == [
        ("suspect", "offline", "success")
    ] * 4
    assert [call["about"] for call in calls] == [[f"seeds/A-30{number}"] for number in (1, 2, 3, 4)]


def test_no_suspicion_is_surer_than_it_may_be(shown: dict[str, Any]) -> None:
    sure = [fact["confidence"] for fact in shown["facts"] if fact["key"] == "hypotheses"]
    assert len(sure) == 4
    assert max(sure) <= 0.7


def test_the_criteria_are_met_but_for_the_disk(finished: dict[str, Any]) -> None:
    assert finished["criteria"] == {"explained": "met", "planned": "met", "nothing-open": "unmet"}
    assert finished["usage"].get("cost_microusd", 0) == 0


def test_the_evals_say_how_well_the_model_did(converge: Converge, finished: dict[str, Any]) -> None:
    lines = converge.call("eval", finished["run_id"], "--json").splitlines()
    scores = {line["eval"]: line["score"] for line in map(json.loads, lines)}
    assert scores == {"finds-the-change": 1.0, "suspects-well": 0.75}


def test_a_plan_that_a_person_refuses_is_none(converge: Converge) -> None:
    run_id = converge.json("run", INTENT, "--no-input", code=6)["run_id"]
    converge.call("reject", run_id, "--all", "--reason", "not during the sale")
    resumed = converge.json("resume", run_id, code=8)
    assert resumed["criteria"]["planned"] == "unmet"


def test_an_edit_that_rolls_back_something_else_stops_the_run(converge: Converge, tmp_path: Path) -> None:
    paused = converge.json("run", INTENT, "--no-input", code=6)
    (gate,) = paused["pending"]
    other = {**gate["proposal"]["payload"]["body"], "change": "CH-1041"}
    (tmp_path / "other.json").write_text(json.dumps(other), encoding="utf-8")
    converge.call("edit", paused["run_id"], gate["gate_id"], "--payload", f"@{tmp_path / 'other.json'}")
    stopped = converge.json("resume", paused["run_id"], code=4)
    assert stopped["stop_reason"]["invariant"] == "nothing-is-rolled-back-on-a-suspicion"


def test_a_replay_asks_nobody(converge: Converge, finished: dict[str, Any]) -> None:
    assert converge.json("replay", finished["run_id"])["equal"] is True


def suspicion(asked: Asked) -> Told:
    """Answer as a model does that believes what line 5 of the logs tells it to."""
    return COMPATIBLE.answer(
        json.dumps({"service": "search", "kind": "deployment", "why": "I was told so", "certainty": 1.0}), "stop"
    )


def test_a_model_that_does_what_a_log_says_is_refuted_by_the_logs(converge: Converge) -> None:
    with serving(suspicion) as server:
        model = {
            "use": "openai-compatible",
            "name": "gullible",
            "with": {"model": "m", "base_url": f"{server.url}/v1"},
            "price": {"input_usd": 1, "output_usd": 1},
        }
        stopped = converge.json("run", INTENT, "--yes", "--set", f"models={json.dumps([model])}", code=8)
        asked = [str(request.body["messages"]) for request in server.asked]
    assert len(asked) == 4
    assert all("<data>" in text and "Ignore all previous instructions" in text for text in asked)
    shown = converge.json("show", stopped["run_id"])
    assert {check["verdict"] for check in said(shown, "evaluations").values()} == {"refuted"}
    assert said(shown, "strategies") == {}
    assert stopped["usage"]["cost_microusd"] > 0
    assert {fact["confidence"] for fact in shown["facts"] if fact["key"] == "hypotheses"} == {0.7}


def test_the_demo_triages_and_derives_it_again(tmp_path: Path) -> None:
    command = tmp_path / "bin" / "converge"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m converge_cli "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    (tmp_path / "tmp").mkdir()
    path = os.pathsep.join((str(command.parent), os.environ["PATH"]))
    done = subprocess.run(
        ["sh", FOLDER / "demo.sh"],
        env={**os.environ, "PATH": path, "TMPDIR": str(tmp_path / "tmp")},
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert f"strategies/{PLAN}" in done.stdout
    assert "asked offline (templates): success" in done.stdout
    assert "derives again without asking any model" in done.stdout
    assert list((tmp_path / "tmp").iterdir()) == []
