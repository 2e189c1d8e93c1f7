"""``converge ceg show``: the execution graphs of a run."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.cli.desk import Desk, intent

PHASES = ("compile", "observe", "constrain", "dilate", "swap", "plan", "execute", "trace")


def requests(*rows: dict[str, Any], **sections: object) -> str:
    """An intent of requests, q1, q2, ..., to a model that answers from templates."""
    return intent(
        models=[{"use": "offline", "with": {"kind": "note"}}],
        inputs=[
            {"key": "seeds", "payload": "ceg.request", "id": f"q{number}", "items": [row]}
            for number, row in enumerate(rows, 1)
        ],
        suggestors=[{"use": f"ceg.{name}"} for name in PHASES],
        **sections,
    )


def test_a_graph_is_a_flowchart_with_its_traces(desk: Desk) -> None:
    run = desk.finished(requests({"text": "Why?"}))
    lines = desk.call("ceg", "show", run["run_id"]).stdout.splitlines()
    assert lines[:2] == ["%% q1, tick 0: completed", "flowchart LR"]
    assert any(line.endswith('["offline<br/>llm of offline"]:::completed') for line in lines)
    assert sum("executes_on" in line for line in lines) == 1
    assert any("activated at tick 0" in line for line in lines)


def test_a_text_of_a_request_cannot_end_its_label(desk: Desk) -> None:
    run = desk.finished(requests({"text": 'x"] --> evil["y'}))
    chart = desk.call("ceg", "show", run["run_id"]).stdout
    assert re.search(r'\(\["x#34;#93; --#62; evil#91;#34;y"\]\)', chart)


def test_json_has_the_graph_its_digest_and_every_candidate_of_the_plan(desk: Desk) -> None:
    run = desk.finished(requests({"text": "Why?"}))
    shown = desk.json("ceg", "show", run["run_id"])
    assert (shown["request"], shown["tick"], shown["outcome"], shown["reason"]) == ("q1", 0, "completed", "")
    assert len(shown["digest"]) == 64
    [candidate] = shown["plan"]["candidates"]
    assert (candidate["resource"], candidate["dilation"], candidate["rejections"]) == ("offline", 1, [])
    assert {node["kind"] for node in shown["graph"]["nodes"]} == {"intent", "resource", "trace"}


def test_each_request_has_a_line_and_one_can_be_asked_for(desk: Desk) -> None:
    run = desk.finished(requests({"text": "Why?"}, {"text": "How?"}))
    told = [json.loads(line) for line in desk.call("ceg", "show", run["run_id"], "--json").stdout.splitlines()]
    assert [each["request"] for each in told] == ["q1", "q2"]
    assert desk.json("ceg", "show", run["run_id"], "--request", "q2")["request"] == "q2"


def test_why_there_is_no_plan_is_told_beside_the_chart(desk: Desk) -> None:
    row = {"text": "Why?", "contract": {"capabilities": ["image"]}}
    run = desk.finished(requests(row))
    shown = desk.call("ceg", "show", run["run_id"])
    assert shown.stdout.startswith("%% q1, tick 1: infeasible\n")
    assert "offline: capabilities: it lacks image" in shown.stderr


@pytest.mark.parametrize(("options", "about"), [((), ""), (("--request", "q9"), " of 'q9'")])
def test_a_run_without_an_execution_graph_says_so(desk: Desk, options: tuple[str, ...], about: str) -> None:
    run = desk.finished(intent() if not options else requests({"text": "Why?"}))
    result = desk.call("ceg", "show", run["run_id"], *options, code=1)
    assert f"run '{run['run_id']}' has no execution graph{about}" in result.stderr


def test_a_request_that_cannot_be_read_is_refused_before_the_run(desk: Desk) -> None:
    row = {"text": "Why?", "nodes": [{"kind": "resource", "id": "a", "cost_per_token": -1}]}
    [line] = desk.refused(requests(row))
    assert "a cost is not negative" in line
