"""``converge fork``: a child that begins where its parent was at the end of a cycle."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.desk import RULE, SEED, Desk, intent

GATES = {"hitl": {"keys": ["signals"]}}
CHAIN = {
    "use": "rules.cel",
    "name": "chain",
    "with": {"for_each": "signals", "key": "evaluations", "id": "y:{fact.id}", "payload": {"n": "fact.n"}},
}


def started(desk: Desk, run_id: str) -> dict[str, Any]:
    first = desk.call("export", run_id).stdout.splitlines()[1]
    value: dict[str, Any] = json.loads(json.loads(first)["body"])
    return value


def facts(desk: Desk, run_id: str) -> dict[str, dict[str, Any]]:
    return {f"{fact['key']}/{fact['id']}": fact for fact in desk.json("show", run_id)["facts"]}


def test_a_child_names_its_parent_and_comes_to_the_same_facts(desk: Desk) -> None:
    parent = desk.finished(intent(suggestors=[RULE, CHAIN]))
    child = desk.json("fork", parent["run_id"], "--cycle", "1")
    assert child["run_id"] != parent["run_id"]
    assert set(facts(desk, child["run_id"])) == set(facts(desk, parent["run_id"]))
    assert started(desk, child["run_id"])["parent"] == {
        "cycle": 1,
        "head": parent["ledger_head"],
        "run_id": parent["run_id"],
    }
    assert desk.json("replay", child["run_id"])["equal"]


def test_the_parent_stays_as_it_is(desk: Desk) -> None:
    parent = desk.finished(intent())
    desk.call("fork", parent["run_id"], "--cycle", "0")
    assert desk.json("verify", parent["run_id"])["ledger_head"] == parent["ledger_head"]


@pytest.mark.parametrize(("cycle", "carried"), [(0, 2), (1, 4), (2, 6)])
def test_a_child_begins_with_the_facts_of_a_cycle(desk: Desk, cycle: int, carried: int) -> None:
    parent = desk.finished(intent(suggestors=[RULE, CHAIN]))
    told = desk.call("fork", parent["run_id"], "--cycle", cycle).stderr
    assert f"goes on from {parent['run_id']} after cycle {cycle}, with {carried} facts" in told


def test_what_was_let_in_keeps_its_approver_and_its_hash(desk: Desk) -> None:
    parent = desk.finished(intent(gates=GATES), "--yes")
    child = desk.json("fork", parent["run_id"], "--cycle", "1", "--as", "bob")
    assert facts(desk, child["run_id"])["signals/x:s:1"]["approver"] == "human:ann"
    assert child["merkle_root"] == parent["merkle_root"]


def test_a_child_may_have_another_intent(desk: Desk) -> None:
    parent = desk.finished(intent(suggestors=[RULE, CHAIN]))
    child = desk.json(
        "fork",
        parent["run_id"],
        "--cycle",
        "1",
        "--set",
        "suggestors.1.with.payload.n=fact.n + 1.0",
        "--set",
        "intent.id=u",
    )
    assert child["run_id"].startswith("u-")
    found = facts(desk, child["run_id"])
    assert found["evaluations/y:x:s:1"]["payload"] == {"n": 2}
    assert found["signals/x:s:1"]["payload"] == {"n": 1}
    assert desk.json("resume", child["run_id"])["merkle_root"] == child["merkle_root"], "it is kept with the child"


def test_what_waits_at_a_gate_waits_in_the_child_too(desk: Desk) -> None:
    parent = desk.finished(intent(gates=GATES), code=6)
    child = desk.json("fork", parent["run_id"], "--cycle", "1", code=6)
    refs = [{(row["proposal"]["key"], row["proposal"]["id"]) for row in run["pending"]} for run in (parent, child)]
    assert refs[0] == refs[1]
    gates = [{row["gate_id"] for row in run["pending"]} for run in (parent, child)]
    assert not gates[0] & gates[1], "an answer to the one is none to the other"


def test_inputs_that_nobody_has_judged_are_not_lost(desk: Desk) -> None:
    waiting = desk.finished(intent(gates={"hitl": {"keys": ["seeds"]}}), code=6)
    child = desk.json("fork", waiting["run_id"], "--cycle", "0", "--yes")
    assert (child["status"], child["facts"]) == ("converged", 4)

    full = desk.finished(intent(budget={"facts": 1}), code=5)
    child = desk.json("fork", full["run_id"], "--cycle", "0", "--set", "budget.facts=9")
    assert (child["status"], child["facts"]) == ("converged", 4)


def test_inputs_that_were_turned_away_stay_away(desk: Desk) -> None:
    waiting = desk.finished(intent(gates={"hitl": {"keys": ["seeds"]}}), code=6)
    first, second = (row["gate_id"] for row in waiting["pending"])
    desk.call("reject", waiting["run_id"], first, "--reason", "no")
    desk.call("edit", waiting["run_id"], second, "--payload", "{n: 5}")
    desk.call("resume", waiting["run_id"])
    child = desk.json("fork", waiting["run_id"], "--cycle", "0")
    assert {ref for ref in facts(desk, child["run_id"]) if ref.startswith("seeds/")} == {"seeds/s:2"}


def test_a_corrected_fact_is_corrected_in_the_child(desk: Desk) -> None:
    parent = desk.finished(intent())["run_id"]
    desk.call("correct", parent, "seeds/s:1", "--payload", "{n: 10}", "--reason", "typo")
    done = desk.json("resume", parent)
    child = desk.json("fork", parent, "--cycle", done["cycles"])
    assert facts(desk, child["run_id"]).keys() == facts(desk, parent).keys()
    assert facts(desk, child["run_id"])["signals/x:s:1~2"]["payload"] == {"n": 10}


def test_a_fork_goes_on_with_the_code_of_today(desk: Desk) -> None:
    source = (
        "from converge_core import ContextKey, ProposedFact, TextPayload\n"
        "def say(ctx):\n"
        "    yield ProposedFact(ContextKey.SIGNALS, 'x', TextPayload(text='WORDS'))\n"
    )
    desk.write("own.py", source)
    suggestor = {"use": "python", "name": "own", "with": {"callable": "own:say", "reads": ["seeds"]}}
    parent = desk.finished(intent(suggestors=[suggestor]))["run_id"]
    desk.write("own.py", source.replace("WORDS", "other words"))
    child = json.loads(desk.process("fork", parent, "--cycle", "0", "--json").stdout)["run_id"]
    told = json.loads(desk.process("show", child, "--json", "--key", "signals").stdout)
    assert told["facts"][0]["payload"] == {"text": "other words"}


@pytest.mark.parametrize("cycle", ["99", "-1", "one"])
def test_a_cycle_that_was_not_is_wrong_usage(desk: Desk, cycle: str) -> None:
    run_id = desk.finished(intent())["run_id"]
    desk.call("fork", run_id, "--cycle", cycle, code=2)


def test_a_fork_of_a_fork_remembers_both(desk: Desk) -> None:
    parent = desk.finished(intent(inputs=[{**SEED, "items": [{"n": 1}]}]))
    child = desk.json("fork", parent["run_id"], "--cycle", "1")
    grandchild = desk.json("fork", child["run_id"], "--cycle", "0")
    assert started(desk, grandchild["run_id"])["parent"]["run_id"] == child["run_id"]
    assert grandchild["merkle_root"] == parent["merkle_root"]
