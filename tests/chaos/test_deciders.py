"""Several people decide about the gates of one run at the same time, from processes of their own."""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.nursery import RUN, Nursery, until

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="there is no fork"),
    pytest.mark.timeout(120),
]

PEOPLE = ("ann", "bob", "cyd", "dan")
GATES = 9

RULE = {
    "use": "rules.cel",
    "name": "rule",
    "with": {"for_each": "seeds", "key": "signals", "id": "x:{fact.id}", "payload": {"n": "fact.n"}},
}
INTENT: dict[str, Any] = {
    "intent": {"id": "t"},
    "inputs": [{"key": "seeds", "id": "s:{n}", "items": [{"n": number} for number in range(GATES)]}],
    "suggestors": [RULE],
    "gates": {"hitl": {"keys": ["signals"]}},
}

SLOW = """\
import time
from pathlib import Path
from converge_core import ContextKey, ProposedFact, Replayability, TextPayload, suggestor

@suggestor(reads=ContextKey.SEEDS, writes=ContextKey.HYPOTHESES, replayability=Replayability.NONE)
def slow(ctx):
    with Path("calls").open("a") as calls:
        calls.write("at work\\n")
    while not Path("go").exists():
        time.sleep(0.005)
    return ProposedFact(ContextKey.HYPOTHESES, "h", TextPayload(text="words"))
"""


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[Nursery]:
    (tmp_path / "slow.py").write_text(SLOW, encoding="utf-8")
    with Nursery(tmp_path) as nursery:
        yield nursery


def begin(tmp_path: Path, **sections: object) -> list[object]:
    (tmp_path / "intent.yaml").write_text(json.dumps({**INTENT, **sections}), encoding="utf-8")
    return ["run", "intent.yaml", "--no-input"]


def waiting(nursery: Nursery) -> list[str]:
    return [row["gate_id"] for row in nursery.converge("approvals")]


def recorded(nursery: Nursery) -> Counter[str]:
    """Return how many entries of each kind the run has."""
    child = nursery.bear(["export", RUN])
    assert child.wait() == 0
    return Counter(json.loads(line["body"])["kind"] for line in child.told()[1:])


def test_of_many_answers_to_each_gate_one_counts_and_none_is_lost(nursery: Nursery, tmp_path: Path) -> None:
    nursery.converge(*begin(tmp_path), code=6)
    gates, shuffled = waiting(nursery), random.Random(1)
    assert len(gates) == GATES
    people = []
    for name in PEOPLE:
        order = shuffled.sample(gates, GATES)
        verbs = [["approve"] if shuffled.random() < 0.5 else ["reject", "--reason", "no"] for _ in order]
        calls = [[*verb, "--run", RUN, gate, "--as", name, "--json"] for verb, gate in zip(verbs, order, strict=True)]
        people.append(nursery.bear(*calls))
    for person in people:
        assert person.wait() in (0, 1)

    answers = [answer for person in people for answer in person.told()]
    accepted = [answer for answer in answers if answer["accepted"]]
    refused = [answer for answer in answers if not answer["accepted"]]
    assert Counter(answer["gate_id"] for answer in accepted) == dict.fromkeys(gates, 1)
    assert len(refused) == GATES * (len(PEOPLE) - 1)
    first = {answer["gate_id"]: answer["actor"] for answer in accepted}
    assert all(answer["reason"] == f"decided by {first[answer['gate_id']]}" for answer in refused)

    kinds = recorded(nursery)
    assert (kinds["decision_received"], kinds["gate_decided"]) == (len(answers), GATES)
    assert kinds["decision_refused"] == len(refused)
    [finished] = nursery.converge("resume", RUN)
    assert finished["status"] == "converged"
    assert nursery.converge("replay", RUN)[0]["equal"]
    [shown] = nursery.converge("show", RUN)
    assert {gate["gate_id"]: gate["actor"] for gate in shown["gates"]} == first


def test_two_people_are_enough_for_two_approvals_whoever_comes_first(nursery: Nursery, tmp_path: Path) -> None:
    nursery.converge(*begin(tmp_path, gates={"hitl": {"keys": ["signals"], "needs": 2}}), code=6)
    people = [nursery.bear(["approve", RUN, "--all", "--as", name, "--json"]) for name in PEOPLE]
    for person in people:
        assert person.wait() in (0, 1)
    answers = [answer for person in people for answer in person.told()]
    assert Counter(answer["gate_id"] for answer in answers if answer["accepted"]).most_common()[-1][1] == 2
    kinds = recorded(nursery)
    assert (kinds["approval_counted"], kinds["gate_decided"]) == (GATES, GATES)
    assert nursery.converge("resume", RUN)[0]["facts"] == 2 * GATES


def test_two_corrections_at_once_are_one_correction_and_a_refusal(nursery: Nursery, tmp_path: Path) -> None:
    nursery.converge(*begin(tmp_path, gates={}))
    words = ["correct", RUN, "seeds/s:1", "--reason", "typo", "--json", "--payload"]
    people = [nursery.bear([*words, f"{{n: {100 + place}}}", "--as", name]) for place, name in enumerate(PEOPLE)]
    assert sorted(person.wait() for person in people) == [0, 1, 1, 1]
    [accepted] = [row for person in people for row in person.told() if row["accepted"]]
    assert accepted["by"] == "seeds/s:1~2"
    kinds = recorded(nursery)
    assert (kinds["correction_received"], kinds["correction_refused"]) == (4, 3)


def test_an_answer_does_not_break_a_run_that_is_at_work(nursery: Nursery, tmp_path: Path) -> None:
    own = {"use": "python", "name": "slow", "with": {"callable": "slow:slow"}}
    run = nursery.bear([*begin(tmp_path, gates={}, suggestors=[RULE, own]), "--json"])
    until(tmp_path / "calls", "at work")
    [refused] = nursery.converge("approve", RUN, "gate-none", code=1)
    [corrected] = nursery.converge("correct", RUN, "seeds/s:1", "--payload", "{n: 7}", "--reason", "typo")
    assert (corrected["accepted"], corrected["by"]) == (True, None), "it waits for those who are at work"
    (tmp_path / "go").touch()

    assert run.wait() == 0
    [finished] = run.told()
    assert finished["status"] == "converged"
    [shown] = nursery.converge("show", RUN)
    assert {fact["id"]: fact["payload"] for fact in shown["facts"]}["x:s:1~2"] == {"n": 7}
    assert refused["reason"] == "no such gate is open in this run"
    assert nursery.converge("replay", RUN)[0]["equal"]


def test_of_two_that_drive_one_run_the_second_to_record_gives_way(nursery: Nursery, tmp_path: Path) -> None:
    own = {"use": "python", "name": "slow", "with": {"callable": "slow:slow"}}
    first = nursery.bear([*begin(tmp_path, gates={}, suggestors=[own]), "--json"])
    until(tmp_path / "calls", "at work")
    second = nursery.bear(["resume", RUN, "--json"])
    until(tmp_path / "calls", "at work\nat work")
    (tmp_path / "go").touch()

    assert sorted([first.wait(), second.wait()]) == [0, 1]
    told = "".join(child.out.with_suffix(".err").read_text(encoding="utf-8") for child in (first, second))
    assert "another process is driving it" in told
    [finished] = nursery.converge("resume", RUN)
    assert finished["status"] == "converged"
    assert recorded(nursery)["effect_received"] == 1
