"""The example: a request that converges offline, with a swap that a person agrees to, or does not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.examples.running import EXAMPLES, Converge

FOLDER = EXAMPLES / "execution_graph"
INTENT = FOLDER / "intent.yaml"


@pytest.fixture
def converge(tmp_path: Path) -> Converge:
    """The command line with a home for each test, as providers are remembered there."""
    return Converge(tmp_path / "home")


def graph(converge: Converge, run: dict[str, Any]) -> dict[str, Any]:
    return converge.json("ceg", "show", run["run_id"])


def test_nothing_is_planned_before_somebody_agrees_to_the_swap(converge: Converge) -> None:
    waiting = converge.json("run", INTENT, "--no-input", code=6)
    [gate] = waiting["pending"]
    swap = gate["proposal"]["payload"]["body"]["swap"]
    assert (swap["old"], swap["new"], swap["trigger"]) == ("large", "small", "cost_spike")
    assert graph(converge, waiting)["plan"] is None


def test_once_somebody_agrees_the_other_model_answers_with_the_tool_it_requires(converge: Converge) -> None:
    waiting = converge.json("run", INTENT, "--no-input", code=6)
    converge.json("approve", waiting["run_id"], waiting["pending"][0]["gate_id"])
    done = converge.json("resume", waiting["run_id"])
    shown = graph(converge, done)
    assert (done["criteria"], shown["outcome"], shown["tick"]) == ({"answered": "met"}, "completed", 1)
    assert [step["resource"] for step in shown["plan"]["steps"]] == ["queue-log", "small"]
    facts = converge.json("show", done["run_id"], "--key", "hypotheses")["facts"]
    tool, model = facts[0]["payload"]["activations"]
    assert tool["output"] == {"output": {"waiting": 48, "too_many_at": [8, 9, 10]}}
    assert "Why is the queue of the press full" in model["output"]["text"]
    assert converge.json("replay", done["run_id"])["equal"] is True


def test_when_they_do_not_there_is_no_plan_and_the_reason_is_told(converge: Converge) -> None:
    waiting = converge.json("run", INTENT, "--no-input", code=6)
    converge.json("reject", waiting["run_id"], waiting["pending"][0]["gate_id"], "--reason", "not that one")
    done = converge.json("resume", waiting["run_id"], code=8)
    shown = graph(converge, done)
    assert shown["outcome"] == "infeasible"
    assert "large: cost: 0.05 USD > 0.01 USD" in shown["reason"]


def test_the_readme_has_the_cost_of_the_plan(converge: Converge) -> None:
    done = converge.json("run", INTENT, "--yes")
    best = graph(converge, done)["plan"]["candidates"][0]
    told = re.search(r"`queue-log` then `small`, at ([\d.]+);", (FOLDER / "README.md").read_text(encoding="utf-8"))
    assert told is not None
    assert told[1] == f"{best['cost']:.4f}"


def test_the_answer_is_shown(converge: Converge) -> None:
    done = converge.json("run", INTENT, "--yes")
    facts = converge.json("show", done["run_id"], "--key", "evaluations")["facts"]
    [trace] = [fact["payload"] for fact in facts if fact["id"].startswith("trace:")]
    assert [(each["node"], each["state"]) for each in trace["projections"]] == [("answer-panel", "active")]
