"""``formation:`` in an intent: who is asked, how that is gated, and what is wrong with one, with its place."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.desk import RULE, Desk, intent


def rule(name: str, **section: object) -> dict[str, object]:
    """A rule that states ``signals/{name}:…`` for each seed."""
    settings = {"for_each": "seeds", "key": "signals", "id": f"{name}:{{fact.id}}", "payload": {"n": "fact.n"}}
    return {"use": "rules.cel", "name": name, "with": settings, **section}


RULES = [rule("a", profile={"confidence": 0.9}), rule("b", profile={"roles": ["planning"], "cost": "low"}), rule("c")]
OPEN = {"kind": "open", "variants": [["a"], ["b"], ["c"]], "max_extra_loops": 1}


def of(formation: dict[str, Any], **sections: object) -> str:
    return intent(suggestors=RULES, formation=formation, **sections)


def met_by(name: str) -> list[dict[str, str]]:
    return [{"id": "done", "cel": f"signals.exists(s, s.id == '{name}:s:1')"}]


def speakers(desk: Desk, run: dict[str, Any]) -> set[str]:
    """Whoever has stated something under ``signals``."""
    facts = desk.json("show", run["run_id"])["facts"]
    return {fact["proposer"] for fact in facts if fact["key"] == "signals"}


def decision(desk: Desk, run: dict[str, Any]) -> dict[str, Any]:
    """The last decision of a run."""
    facts = desk.json("show", run["run_id"])["facts"]
    last: dict[str, Any] = [fact for fact in facts if fact["proposer"] == "formation"][-1]
    return last


@pytest.mark.parametrize(
    ("formation", "expected"),
    [
        ({"kind": "static", "names": ["c", "a"]}, {"a", "c"}),
        ({"kind": "static", "names": ["c"], "candidates": ["b", "c"]}, {"a", "c"}),
        ({"kind": "scored", "top_n": 1, "weights": {"cost": 0, "latency": 0, "role_coverage": 0}}, {"a"}),
        ({"kind": "scored", "top_n": 1, "roles": ["planning"]}, {"b"}),
        ({"kind": "deliberated", "huddle_max_cycles": 1}, {"a", "b", "c"}),
    ],
)
def test_a_formation_says_who_is_asked(desk: Desk, formation: dict[str, Any], expected: set[str]) -> None:
    assert speakers(desk, desk.finished(of(formation))) == expected


def test_a_decision_holds_the_roles_the_scores_and_the_reasons(desk: Desk) -> None:
    run = desk.finished(of({"kind": "scored", "top_n": 1, "roles": ["planning", "meta"], "capabilities": []}))
    body = decision(desk, run)["payload"]
    assert body["assignments"] == [{"role": "planning", "suggestor": "b"}]
    assert (body["unmatched_roles"], body["coverage"]) == (["meta"], 0.5)
    assert [each["suggestor"] for each in body["scores"]] == ["b", "a", "c"]


def test_a_person_is_asked_about_a_formation_and_may_let_it_in(desk: Desk) -> None:
    run = desk.finished(of({"kind": "static", "names": ["b"]}, gates={"hitl": {"suggestors": ["formation"]}}), code=6)
    [gate] = run["pending"]
    desk.call("approve", run["run_id"], gate["gate_id"])
    assert speakers(desk, desk.json("resume", run["run_id"])) == {"b"}
    assert decision(desk, run)["approver"] == "human:ann"


def test_a_formation_that_a_person_rejects_lets_nobody_in(desk: Desk) -> None:
    run = desk.finished(of({"kind": "static", "names": ["b"]}, gates={"hitl": {"suggestors": ["formation"]}}), code=6)
    [gate] = run["pending"]
    desk.call("reject", run["run_id"], gate["gate_id"], "--reason", "not these")
    assert speakers(desk, desk.json("resume", run["run_id"])) == set()


def test_a_formation_is_gated_only_where_there_is_one(desk: Desk) -> None:
    [line] = desk.refused(intent(gates={"hitl": {"suggestors": ["formation"]}}))
    assert "gates.hitl.suggestors[0]: no suggestor 'formation'" in line


def test_an_open_formation_goes_on_until_the_criteria_are_met(desk: Desk) -> None:
    run = desk.finished(of(OPEN, success=met_by("b")))
    assert run["status"] == "converged"
    assert speakers(desk, run) == {"a", "b"}
    assert decision(desk, run)["payload"]["rationale"] == "variant 2 of 3"


def test_an_open_formation_ends_unmet_when_its_loops_are_used_up(desk: Desk) -> None:
    run = desk.finished(of(OPEN, success=met_by("c")), code=8)
    assert speakers(desk, run) == {"a", "b"}


@pytest.mark.parametrize(
    "formation",
    [{"kind": "scored", "top_n": 1}, {"kind": "deliberated"}, {**OPEN, "max_extra_loops": 5}],
    ids=lambda formation: str(formation["kind"]),
)
def test_a_run_under_a_formation_replays_in_another_process(desk: Desk, formation: dict[str, Any]) -> None:
    run = desk.finished(of(formation, success=met_by("c")), code=0 if formation["kind"] != "scored" else 8)
    desk.process("replay", run["run_id"])


def test_a_fork_may_have_another_formation(desk: Desk) -> None:
    run = desk.finished(of({"kind": "static", "names": ["a"]}))
    fork = desk.json("fork", run["run_id"], "--cycle", "1", "--set", 'formation={"kind":"static","names":["c"]}')
    assert speakers(desk, fork) == {"a", "c"}


def test_a_profile_in_the_intent_leaves_the_rest_of_the_suggestors_own(desk: Desk) -> None:
    desk.write(
        "own.py",
        "from converge_core import suggestor\n"
        "from converge_core.formations.profiles import SuggestorProfile\n"
        "@suggestor(reads=(), profile=SuggestorProfile(roles=('planning',), capabilities=('analytics',)))\n"
        "def own(ctx):\n"
        "    return None\n",
    )
    own = {"use": "python", "name": "own", "with": {"callable": "own:own"}, "profile": {"roles": ["meta"]}}
    formation = {"kind": "static", "names": ["own"], "roles": ["meta"], "capabilities": ["analytics"]}
    run = desk.finished(intent(suggestors=[RULE, own], formation=formation))
    body = decision(desk, run)["payload"]
    assert body["assignments"] == [{"role": "meta", "suggestor": "own"}]


SEED_LINE = '{key: seeds, id: "s:{n}", items: [{n: 1}]}'
FAULTY = """\
intent: {id: t}
inputs: [%s]
suggestors:
  - use: rules.cel
    name: rule
    profile: %s
    with: {for_each: seeds, key: signals, id: "x:{fact.id}", payload: {n: "fact.n"}}
formation: %s
"""


@pytest.mark.parametrize(
    ("formation", "said"),
    [
        ("{kind: scored}", "8:12: formation.top_n: Field required"),
        ("{kind: nope}", "8:12: formation: no kind 'nope'; there are 'static', 'scored', 'deliberated', 'open'"),
        ("{names: [rule]}", "8:12: formation: a `kind` is needed"),
        ("3", "8:12: formation: expected a mapping"),
        ("{kind: static, names: [rule], top_n: 2}", "8:42: formation.top_n: unknown field"),
        (
            "{kind: scored, top_n: 1, weigths: {}}",
            "8:37: formation.weigths: unknown field; did you mean 'weights'?",
        ),
        (
            "{kind: scored, top_n: 1, weights: {csot: 1}}",
            "8:47: formation.weights.csot: unknown field; did you mean 'cost'?",
        ),
        (
            "{kind: static, names: [rul]}",
            "8:35: formation.names[0]: no suggestor 'rul'; did you mean 'rule'?",
        ),
        ("{kind: static, names: [rule, rule]}", "8:34: formation.names: 'rule' stands there twice"),
        (
            "{kind: open, variants: [[rule], [ruler]]}",
            "8:45: formation.variants[1][0]: no suggestor 'ruler'; did you mean 'rule'?",
        ),
    ],
)
def test_a_formation_at_fault_is_refused_with_its_place(desk: Desk, formation: str, said: str) -> None:
    [line] = desk.refused(FAULTY % (SEED_LINE, "{}", formation))
    assert line == f"intent.yaml:{said}"


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        ("{cots: low}", "6:15: suggestors[0].profile.cots: unknown field; did you mean 'cost'?"),
        (
            "{backend: [reasonin]}",
            "6:25: suggestors[0].profile.backend[0]: no backend has a capability 'reasonin'; did you mean 'reasoning'?",
        ),
    ],
)
def test_a_profile_at_fault_is_refused_with_its_place(desk: Desk, profile: str, said: str) -> None:
    [line] = desk.refused(FAULTY % (SEED_LINE, profile, "{kind: scored, top_n: 1}"))
    assert line == f"intent.yaml:{said}"


def test_an_open_formation_needs_something_to_try_for(desk: Desk) -> None:
    [line] = desk.refused(of({"kind": "open", "variants": [["a"]]}))
    assert line.endswith(": formation: an open one needs a required success criterion to try for")
