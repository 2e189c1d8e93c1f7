"""The example: which issue is proposed, what a person does about it, and what a second run does meanwhile."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.examples.running import EXAMPLES, Converge

FOLDER = EXAMPLES / "work_suggester"
INTENT = FOLDER / "intent.yaml"
ISSUES: list[dict[str, Any]] = json.loads((FOLDER / "issues.json").read_text(encoding="utf-8"))


@pytest.fixture
def converge(tmp_path: Path) -> Converge:
    """The command line with a ledger for each test, as a proposal of one would be in the way of the next."""
    return Converge(tmp_path / "home")


def facts(converge: Converge, run: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """The payloads of a key."""
    shown = converge.json("show", run["run_id"])
    return [fact["payload"] for fact in shown["facts"] if fact["key"] == key]


def test_the_best_issue_with_the_label_is_proposed_and_waits_for_a_person(converge: Converge) -> None:
    waiting = converge.json("run", INTENT, "--no-input", code=6)
    [gate] = waiting["pending"]
    body = gate["proposal"]["payload"]["body"]
    assert (body["number"], body["title"]) == (41, ISSUES[0]["title"])
    assert "python -m pytest tests/test_receipt.py" in body["spec"]
    labelled = [issue["number"] for issue in ISSUES if {"name": "agent-task"} in issue["labels"]]
    assert [seed["number"] for seed in facts(converge, waiting, "seeds")] == labelled == [41, 12, 38, 40]


def test_the_readme_has_the_scores_of_the_run(converge: Converge) -> None:
    done = converge.json("run", INTENT, "--yes")
    table = re.findall(r"^\| (\d+) .*\| ([\d.]+) \|$", (FOLDER / "README.md").read_text(encoding="utf-8"), re.M)
    scores = sorted(facts(converge, done, "evaluations"), key=lambda fact: -float(fact["score"]))
    assert [(str(fact["number"]), f"{fact['score']:.4f}") for fact in scores] == table


def test_an_accepted_spec_is_a_fact(converge: Converge) -> None:
    done = converge.json("run", INTENT, "--yes")
    assert done["criteria"] == {"proposed": "met"}
    assert [fact["number"] for fact in facts(converge, done, "proposals")] == [41]
    assert converge.json("replay", done["run_id"])["equal"] is True


def test_s010_a_second_run_with_a_pending_proposal_does_not_create_another(converge: Converge) -> None:
    waiting = converge.json("run", INTENT, "--no-input", code=6)
    second = converge.json("run", INTENT, "--no-input")
    assert (second["pending"], second["criteria"]) == ([], {"proposed": "unmet"})
    assert f"run {waiting['run_id']} has proposed work" in facts(converge, second, "diagnostic")[-1]["message"]


def test_a_refusal_in_another_process_lets_the_next_issue_have_its_turn(converge: Converge) -> None:
    waiting = converge.json("run", INTENT, "--no-input", code=6)
    converge.json("reject", waiting["run_id"], waiting["pending"][0]["gate_id"], "--reason", "not now")
    converge.json("resume", waiting["run_id"])
    third = converge.json("run", INTENT, "--no-input", code=6)
    assert [gate["proposal"]["id"] for gate in third["pending"]] == ["suggest:12"]


def test_td008_a_run_makes_one_proposal_and_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    converge = Converge(home)
    planned = converge.json("run", INTENT, "--dry-run")
    assert planned["suggestors"] == ["issues", "vectorise", "score", "suggest"]
    assert not home.exists()
    waiting = converge.json("run", INTENT, "--no-input", code=6)
    with closing(sqlite3.connect(home / "ledger.db")) as db:
        gated = db.execute("SELECT count(*) FROM entries WHERE kind = 'proposal_gated'").fetchone()
    assert (gated, len(waiting["pending"])) == ((1,), 1)


def test_s010_without_a_source_the_run_fails_with_a_clear_error_and_goes_on_once_there_is_one(
    converge: Converge, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(FOLDER, folder)
    (folder / "issues.json").rename(folder / "elsewhere.json")
    failed = converge.json("run", folder / "intent.yaml", "--no-input", code=9)
    assert failed["stop_reason"]["suggestor"] == "issues"
    assert "(no_source): issues.json: No such file or directory" in failed["stop_reason"]["message"]
    (folder / "elsewhere.json").rename(folder / "issues.json")
    assert len(converge.json("resume", failed["run_id"], "--no-input", code=6)["pending"]) == 1


def test_a_stage_can_be_used_alone(converge: Converge, tmp_path: Path) -> None:
    rows = [{"number": 1, "title": "one", "text": "replay"}, {"number": 2, "title": "two", "text": "a page"}]
    intent = {
        "intent": {"id": "alone"},
        "inputs": [{"key": "seeds", "items": rows, "payload": "converge.work.issue", "id": "issue:{number}"}],
        "suggestors": [{"use": "work.score", "with": {"method": "bm25", "query": "replay"}}],
    }
    (tmp_path / "intent.yaml").write_text(json.dumps(intent))
    done = converge.json("run", tmp_path / "intent.yaml")
    assert [(fact["number"], fact["score"]) for fact in facts(converge, done, "evaluations")] == [(1, 0.2), (2, 0)]
