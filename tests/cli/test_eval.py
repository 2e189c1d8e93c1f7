"""``converge eval``: how good was a run? It is read, and stays as it is."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from tests.cli.desk import RULE, Desk, intent, python

ALL: dict[str, Any] = {"name": "all", "cel": "size(signals) == size(seeds)"}
HALF: dict[str, Any] = {
    "name": "half",
    "cel": "signals.exists(s, s.n > 1)",
    "score": "double(signals.filter(s, s.n > 1).size()) / double(size(signals))",
    "evidence": "signals.filter(s, s.n > 1).map(s, 'signals/' + s.id)",
}
NEVER: dict[str, Any] = {"name": "never", "cel": "size(votes) > 0"}
COUNTING = """\
from converge_core import EvalOutcome, EvalResult, hookimpl

class Count:
    description, dependencies = "how many facts", ()

    def __init__(self, config, site):
        self.name = site.name

    def evaluate(self, ctx):
        return EvalResult(self.name, EvalOutcome.PASS, 0.25, f"{len(ctx.facts())} facts")

@hookimpl
def converge_register_evals(registry):
    registry.add("count", Count)
"""
OWN = """\
from typing import ClassVar
from converge_core import ContextKey, FactPayload, ProposedFact

class Weight(FactPayload):
    family: ClassVar[str] = "own.weight"
    grams: int

def weigh(ctx):
    for seed in ctx.fresh(ContextKey.SEEDS):
        yield ProposedFact(ContextKey.SIGNALS, f"w:{seed.id}", Weight(grams=5))
"""


def finished(desk: Desk, *evals: dict[str, Any], **sections: object) -> str:
    """Run an intent with these evals to its end, and return the name of the run."""
    run_id: str = desk.finished(intent(**({"evals": list(evals)} if evals else {}), **sections))["run_id"]
    return run_id


def results(desk: Desk, *args: object, code: int = 0) -> list[dict[str, Any]]:
    return [json.loads(line) for line in desk.call("eval", *args, "--json", code=code).stdout.splitlines()]


def names(told: list[dict[str, Any]]) -> list[str]:
    return [one["eval"] for one in told]


# --- what is told -----------------------------------------------------------------------------------------------------


def test_a_run_is_graded_by_the_evals_of_its_intent_in_their_order(desk: Desk) -> None:
    run_id = finished(desk, HALF, ALL)
    assert results(desk, run_id) == [
        {
            "run_id": run_id,
            "eval": "half",
            "outcome": "pass",
            "score": 0.5,
            "rationale": "`signals.exists(s, s.n > 1)` is true",
            "facts": ["signals/x:s:2"],
            "metadata": {},
        },
        {
            "run_id": run_id,
            "eval": "all",
            "outcome": "pass",
            "score": 1,
            "rationale": "`size(signals) == size(seeds)` is true",
            "facts": [],
            "metadata": {},
        },
    ]


def test_a_grade_is_told_to_people(desk: Desk) -> None:
    lines = desk.call("eval", finished(desk, HALF)).stdout.splitlines()
    assert lines[0].split() == ["eval", "outcome", "score", "rationale"]
    assert lines[2].split()[:3] == ["half", "pass", "0.50"]


def test_an_eval_that_does_not_pass_is_exit_8(desk: Desk) -> None:
    told = results(desk, finished(desk, ALL, NEVER), code=8)
    assert [one["outcome"] for one in told] == ["pass", "fail"]


def test_an_eval_that_cannot_say_is_exit_8_with_the_reason(desk: Desk) -> None:
    [one] = results(desk, finished(desk, {"name": "odd", "cel": "size(seeds)"}), code=8)
    assert one["outcome"] == "indeterminate"
    assert "a condition is true or false" in one["rationale"]


def test_an_eval_that_fails_keeps_the_run_from_nothing(desk: Desk) -> None:
    assert desk.finished(intent(evals=[NEVER]))["status"] == "converged"


def test_only_the_evals_that_are_named_are_asked(desk: Desk) -> None:
    run_id = finished(desk, NEVER, ALL, HALF)
    assert names(results(desk, run_id, "--eval", "half", "--eval", "all")) == ["all", "half"]


def test_an_eval_that_is_not_there_is_named_with_the_one_that_may_be_meant(desk: Desk) -> None:
    assert "no eval 'hafl'" in desk.call("eval", finished(desk, HALF), "--eval", "hafl", code=2).stderr
    assert "half" in desk.call("eval", finished(desk, HALF), "--eval", "hafl", code=2).stderr


def test_a_run_is_graded_by_a_file_thought_of_later(desk: Desk) -> None:
    run_id = finished(desk)
    desk.write("evals.yaml", json.dumps({"evals": [ALL]}))
    assert names(results(desk, run_id, "--file", "evals.yaml")) == ["all"]


def test_a_file_takes_the_place_of_the_evals_of_the_intent(desk: Desk) -> None:
    run_id = finished(desk, NEVER)
    desk.write("evals.yaml", json.dumps({"evals": [ALL]}))
    assert names(results(desk, run_id, "--file", "evals.yaml")) == ["all"]


def test_a_run_that_did_not_succeed_is_graded_too(desk: Desk) -> None:
    run_id = desk.finished(intent(evals=[ALL], budget={"cycles": 1}), code=5)["run_id"]
    assert names(results(desk, run_id)) == ["all"]


def test_a_grade_says_nothing_of_facts_that_were_corrected(desk: Desk) -> None:
    run_id = finished(desk, {"name": "right", "cel": "seeds.all(s, s.n != 1)"})
    assert results(desk, run_id, code=8)[0]["outcome"] == "fail"
    correction = ["--payload", "{n: 3}", "--code", "data_error", "--reason", "a typo"]
    desk.call("correct", run_id, "seeds/s:1", *correction)
    desk.call("resume", run_id)
    assert results(desk, run_id)[0]["outcome"] == "pass"


def test_a_run_with_payloads_of_its_own_is_graded(desk: Desk) -> None:
    desk.write("own.py", OWN)
    heavy = {"name": "heavy", "cel": "signals.all(s, s.grams == 5)"}
    assert results(desk, finished(desk, heavy, suggestors=[python("own:weigh")]))[0]["outcome"] == "pass"


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_run_that_has_not_stopped_is_not_graded(desk: Desk) -> None:
    held = {"hitl": {"keys": ["signals"]}}
    run_id = desk.finished(intent(evals=[ALL], gates=held), code=6)["run_id"]
    assert "has not stopped: what it comes to is not known yet" in desk.call("eval", run_id, code=1).stderr


def test_a_run_without_evals_asks_for_a_file(desk: Desk) -> None:
    assert "there are no evals" in desk.call("eval", finished(desk), code=2).stderr


def test_a_run_that_is_not_there_is_named(desk: Desk) -> None:
    finished(desk, ALL)
    assert "'nobody'" in desk.call("eval", "nobody", code=1).stderr


def test_a_ledger_that_was_changed_is_not_graded(desk: Desk) -> None:
    run_id = finished(desk, ALL)
    with closing(sqlite3.connect(desk.home / "ledger.db", isolation_level=None)) as db:
        for (trigger,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            db.execute(f"DROP TRIGGER {trigger}")
        db.execute("UPDATE entries SET body = replace(body, '\"n\":1', '\"n\":9')")
    desk.call("eval", run_id, code=7)


@pytest.mark.parametrize(
    ("evals", "faults"),
    [
        ([ALL, ALL], ["an eval 'all' stands above already"]),
        ([{"name": "a", "cel": "size(sedes)"}], ["sedes"]),
        ([{"name": "a", "cel": "true", "score": "1 +"}, {"name": "b", "use": "cell"}], ["score", "cell"]),
        ([{"name": "a"}], ["give either `cel` or `use`"]),
        ([{"name": "a", "use": "cel", "score": "1.0"}], ["`score` and `evidence` belong to `cel`"]),
    ],
)
def test_the_faults_of_evals_are_told_before_anything_runs(
    desk: Desk, evals: list[dict[str, Any]], faults: list[str]
) -> None:
    told = desk.refused(intent(evals=evals))
    for fault in faults:
        assert any(fault in line for line in told), told


@pytest.mark.parametrize(
    ("content", "fault"),
    [("evals: []", "evals"), ("{}", "evals"), ("evals: [{name: a, cel: 'size(sedes)'}]", "sedes"), ("- a", "a.yaml")],
)
def test_the_faults_of_a_file_of_evals_are_told_with_their_place(desk: Desk, content: str, fault: str) -> None:
    run_id = finished(desk)
    desk.write("a.yaml", content)
    assert fault in desk.call("eval", run_id, "--file", "a.yaml", code=3).stderr


# --- what is written --------------------------------------------------------------------------------------------------


def test_a_grade_writes_nothing(desk: Desk) -> None:
    run_id = finished(desk, ALL)
    before = desk.call("runs", "--json").stdout
    desk.call("eval", run_id)
    assert desk.call("runs", "--json").stdout == before


def test_a_grade_that_is_recorded_is_a_child_of_the_run_which_stays_as_it_is(desk: Desk) -> None:
    run_id = finished(desk, ALL)
    head = desk.json("show", run_id)["ledger_head"]
    [one] = results(desk, run_id, "--record")
    child = one["recorded"]
    assert child.startswith(f"eval-{run_id}")
    assert desk.json("show", run_id)["ledger_head"] == head
    first = json.loads(json.loads(desk.call("export", child).stdout.splitlines()[1])["body"])
    assert (first["parent"]["run_id"], first["parent"]["head"]) == (run_id, head)


def test_a_recorded_grade_is_a_fact_that_says_the_same(desk: Desk) -> None:
    run_id = finished(desk, HALF, NEVER)
    told = results(desk, run_id, "--record", code=8)
    shown = desk.json("show", told[0]["recorded"], "--key", "evaluations")["facts"]
    assert [fact["payload"] for fact in shown] == [
        {name: value for name, value in one.items() if name not in ("run_id", "recorded")} for one in told
    ]


def test_a_recorded_grade_is_verified_and_replayed_as_every_run_is(desk: Desk) -> None:
    [one] = results(desk, finished(desk, ALL), "--record")
    desk.call("verify", one["recorded"])
    assert desk.json("replay", one["recorded"], "--live")["equal"]


def test_a_recorded_grade_belongs_to_the_tenant_of_the_run(desk: Desk) -> None:
    desk.write("intent.yaml", intent(evals=[ALL]))
    run_id = desk.json("run", "intent.yaml", "--tenant", "acme", "--correlation", "c7")["run_id"]
    child = results(desk, run_id, "--record")[0]["recorded"]
    first = json.loads(json.loads(desk.call("export", child).stdout.splitlines()[1])["body"])
    assert first["labels"] == {"tenant": "acme", "correlation": "c7"}


def test_the_grade_of_what_concluded_nothing_is_told_and_not_recorded(desk: Desk) -> None:
    run_id = finished(desk, ALL, inputs=[])
    assert names(results(desk, run_id)) == ["all"]
    assert "has concluded nothing" in desk.call("eval", run_id, "--record", code=1).stderr


def test_a_grade_by_what_the_run_never_spoke_of_is_recorded_too(desk: Desk) -> None:
    [one] = results(desk, finished(desk, NEVER), "--record", code=8)
    shown = desk.json("show", one["recorded"], "--key", "evaluations")["facts"]
    assert [fact["payload"]["outcome"] for fact in shown] == ["fail"]


def test_where_it_is_recorded_is_told_to_people(desk: Desk) -> None:
    assert "\nrecorded as eval-t-" in desk.call("eval", finished(desk, ALL), "--record").stdout


def test_a_large_run_is_graded_and_recorded_within_its_budget(desk: Desk) -> None:
    seeds = {"key": "seeds", "id": "s:{n}", "items": [{"n": n} for n in range(60)]}
    run_id = finished(desk, ALL, HALF, inputs=[seeds], budget={"facts": 120})
    assert len(results(desk, run_id, "--record")) == 2


# --- in a run ---------------------------------------------------------------------------------------------------------


def test_a_run_is_graded_as_it_goes_on(desk: Desk) -> None:
    run_id = finished(desk, suggestors=[RULE, {"use": "evals", "with": {"evals": [ALL]}}])
    shown = desk.json("show", run_id, "--key", "evaluations")["facts"]
    assert [fact["payload"]["outcome"] for fact in shown] == ["fail", "pass"]
    assert desk.json("replay", run_id, "--live")["equal"]


def test_the_faults_of_evals_in_a_suggestor_are_told_with_their_place(desk: Desk) -> None:
    broken = {"use": "evals", "with": {"evals": [ALL, {"name": "b", "cel": "size(sedes)"}]}}
    told = desk.refused(intent(suggestors=[broken]))
    assert any("suggestors[0].with.evals[1].cel" in line and "sedes" in line for line in told), told


# --- evals of plugins -------------------------------------------------------------------------------------------------


@pytest.fixture
def plugin(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Return a folder beside which a plugin is installed that offers the eval `count`."""
    desk.write(
        "site/counting.py",
        COUNTING,
    )
    desk.write("site/counting-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: counting\nVersion: 1.0\n")
    desk.write("site/counting-1.0.dist-info/entry_points.txt", "[converge]\ncounting = counting\n")
    monkeypatch.syspath_prepend(str(desk.folder / "site"))
    return desk


def test_a_run_without_evals_of_its_own_is_graded_by_those_that_plugins_offer(plugin: Desk) -> None:
    assert names(results(plugin, finished(plugin))) == ["count"]


def test_evals_that_plugins_offer_are_asked_after_those_of_the_intent(plugin: Desk) -> None:
    told = results(plugin, finished(plugin, ALL))
    assert [(one["eval"], one["rationale"], one["score"]) for one in told[1:]] == [("count", "4 facts", 0.25)]


def test_an_eval_of_the_intent_hides_one_of_a_plugin_with_its_name(plugin: Desk) -> None:
    assert names(results(plugin, finished(plugin, {**ALL, "name": "count"}))) == ["count"]


def test_an_intent_may_use_the_eval_of_a_plugin_under_a_name_of_its_own(plugin: Desk) -> None:
    told = results(plugin, finished(plugin, {"name": "mine", "use": "count"}), "--eval", "mine")
    assert [one["rationale"] for one in told] == ["4 facts"]
