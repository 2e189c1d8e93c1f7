"""``converge resume``: on from a pause, a failure, a stop, a crash; with the code of then, or with another."""

from __future__ import annotations

import json
import os
import sqlite3
from typing import Any

import pytest

from tests.cli.desk import PATHS, RULE, Desk, intent

GATES = {"hitl": {"keys": ["signals"]}}
OWN = """\
from pathlib import Path
from converge_core import ContextKey, ProposedFact, Replayability, TextPayload, suggestor

def count(name):
    with Path("calls").open("a") as calls:
        calls.write(name + "\\n")

@suggestor(reads=ContextKey.SEEDS, writes=ContextKey.SIGNALS, replayability=Replayability.NONE)
def costly(ctx):
    count("costly")
    for seed in ctx.fresh(ContextKey.SEEDS):
        yield ProposedFact(ContextKey.SIGNALS, f"c:{seed.id}", TextPayload(text="WORDS"))

@suggestor(reads=ContextKey.SEEDS, writes=ContextKey.SIGNALS)
def fails_once(ctx):
    count("fails-once")
    if not Path("mended").exists():
        raise RuntimeError("not yet")
    for seed in ctx.fresh(ContextKey.SEEDS):
        yield ProposedFact(ContextKey.SIGNALS, f"f:{seed.id}", TextPayload(text="mended"))
"""


def own(name: str) -> dict[str, Any]:
    return {"use": "python", "name": name, "with": {"callable": f"own:{name}"}}


@pytest.fixture
def mine(desk: Desk) -> Desk:
    """Return a folder with suggestors of one's own, who count how often they are called."""
    desk.write("own.py", OWN)
    return desk


def calls(desk: Desk) -> list[str]:
    path = desk.folder / "calls"
    return path.read_text().split() if path.exists() else []


def entries(desk: Desk, run_id: str) -> list[dict[str, Any]]:
    lines = desk.call("export", run_id).stdout.splitlines()
    return [json.loads(json.loads(line)["body"]) for line in lines[1:]]


# --- after a pause --------------------------------------------------------------------------------------------------


def test_after_the_decisions_the_run_goes_on_and_calls_nobody_again(mine: Desk) -> None:
    run_id = mine.finished(intent(gates=GATES, suggestors=[own("costly"), RULE]), code=6)["run_id"]
    mine.call("approve", run_id, "--all")
    resumed = mine.json("resume", run_id)
    assert (resumed["status"], resumed["facts"]) == ("converged", 6)
    assert calls(mine) == ["costly"]


def test_a_run_that_still_waits_waits_and_nothing_is_recorded(desk: Desk) -> None:
    paused = desk.finished(intent(gates=GATES, budget={"seconds": 60}), code=6)
    resumed = desk.json("resume", paused["run_id"], code=6)
    assert resumed["ledger_head"] == paused["ledger_head"]
    assert [row["gate_id"] for row in resumed["pending"]] == [row["gate_id"] for row in paused["pending"]]


@pytest.mark.parametrize("budget", [{}, {"seconds": 60}])
def test_a_run_that_has_converged_stays_as_it_is(desk: Desk, budget: dict[str, int]) -> None:
    finished = desk.finished(intent(budget=budget))
    assert desk.json("resume", finished["run_id"]) == finished


def test_a_run_that_violates_something_stays_where_it_is(desk: Desk) -> None:
    never = {"name": "never", "class": "semantic", "cel": "size(votes) > 0"}
    finished = desk.finished(intent(invariants=[never]), code=4)
    assert desk.json("resume", finished["run_id"], "--budget", "cycles=+5", code=4) == finished


# --- after a failure ------------------------------------------------------------------------------------------------


def test_a_suggestor_that_failed_is_asked_again_and_the_others_are_not(mine: Desk) -> None:
    run_id = mine.finished(intent(suggestors=[own("costly"), own("fails_once")]), code=9)["run_id"]
    assert calls(mine) == ["costly", "fails-once"]
    assert mine.json("resume", run_id, code=9)["stop_reason"]["suggestor"] == "fails_once"
    mine.write("mended", "")
    resumed = mine.json("resume", run_id)
    assert (resumed["status"], calls(mine)) == ("converged", ["costly", *["fails-once"] * 3])


# --- after a budget stop --------------------------------------------------------------------------------------------

CHAIN = {
    "use": "rules.cel",
    "name": "chain",
    "with": {"for_each": "signals", "key": "evaluations", "id": "y:{fact.id}", "payload": {"n": "fact.n"}},
}


@pytest.mark.parametrize("limit", ["cycles=+1", "cycles=9", "cycles=+1.0"])
def test_a_stop_for_the_budget_goes_on_with_a_larger_one(desk: Desk, limit: str) -> None:
    text = intent(suggestors=[RULE, CHAIN], budget={"cycles": 2})
    stopped = desk.finished(text, code=5)
    assert stopped["cycles"] == 2
    same = desk.call("resume", stopped["run_id"], code=5)
    assert f"converge resume {stopped['run_id']} --budget cycles=+20" in same.stderr
    resumed = desk.json("resume", stopped["run_id"], "--budget", limit)
    assert (resumed["status"], resumed["cycles"], resumed["facts"]) == ("converged", 3, 6)


def test_a_stop_for_too_many_facts_loses_none(desk: Desk) -> None:
    stopped = desk.finished(intent(budget={"facts": 3}), code=5)
    assert (stopped["facts"], stopped["stop_reason"]["reason"]) == (3, "fact_budget_exhausted")
    assert desk.json("resume", stopped["run_id"], "--budget", "facts=+10")["facts"] == 4


def test_several_limits_are_raised_at_once(desk: Desk) -> None:
    stopped = desk.finished(intent(suggestors=[RULE, CHAIN], budget={"cycles": 2, "facts": 4}), code=5)
    resumed = desk.json("resume", stopped["run_id"], "--budget", "cycles=+5", "--budget", "facts=99")
    assert resumed["facts"] == 6


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("cycles", "could not convert"),
        ("cycles=", "could not convert"),
        ("cycles=many", "could not convert"),
        ("cycles=-1", "'-1' is no amount"),
        ("cycles=nan", "'nan' is no amount"),
        ("cycles=inf", "'inf' is no amount"),
        ("cycles=1.5", "'1.5' is no whole number"),
        ("luck=1", "there is no limit 'luck'"),
        ("tokens=+5", "tokens has no limit to add to"),
        ("suggestors_per_cycle=0", "at least 1"),
    ],
)
def test_a_limit_that_is_none_is_wrong_usage(desk: Desk, setting: str, reason: str) -> None:
    run_id = desk.finished(intent(suggestors=[RULE, CHAIN], budget={"cycles": 2}), code=5)["run_id"]
    assert reason in desk.call("resume", run_id, "--budget", setting, code=2).stderr


def test_a_limit_is_for_a_run_that_has_stopped(desk: Desk) -> None:
    run_id = desk.finished(intent(gates=GATES), code=6)["run_id"]
    assert "for a run that has stopped" in desk.call("resume", run_id, "--budget", "cycles=+1", code=2).stderr


# --- with other code ------------------------------------------------------------------------------------------------


def waiting_for_people(desk: Desk, source: str = OWN, **sections: object) -> str:
    desk.write("own.py", source)
    return str(desk.finished(intent(gates=GATES, suggestors=[own("costly"), RULE], **sections), code=6)["run_id"])


@pytest.mark.parametrize(
    "words",
    [
        ["resume", "--no-input", "RUN"],
        ["approve", "--all", "--run", "RUN"],
        ["correct", "--reason", "x", "--payload", "{n: 3}", "RUN", "seeds/s:1"],
    ],
    ids=lambda words: words[0],
)
def test_changed_code_stops_with_what_has_changed_and_what_to_do(desk: Desk, words: list[str]) -> None:
    run_id = waiting_for_people(desk)
    before = desk.json("verify", run_id)["ledger_head"]
    desk.write("own.py", OWN.replace("WORDS", "other words"))
    told = desk.process(*(run_id if word == "RUN" else word for word in words), code=1).stderr
    assert f"run {run_id!r} was recorded with another setup: suggestor 'costly' changed: version 1+" in told
    assert f"converge resume {run_id} --accept-changes" in told
    assert desk.json("verify", run_id)["ledger_head"] == before


def test_an_accepted_change_is_recorded_and_the_run_goes_on(desk: Desk) -> None:
    run_id = waiting_for_people(desk)
    desk.write("own.py", OWN.replace("WORDS", "other words"))
    told = desk.process("resume", run_id, "--accept-changes", "--no-input", code=6).stderr
    assert "accepted: suggestor 'costly' changed: version 1+" in told
    [accepted] = [entry for entry in entries(desk, run_id) if entry["kind"] == "changes_accepted"]
    assert accepted["actor"] == "human:ann"
    desk.process("approve", run_id, "--all")
    done = desk.process("resume", run_id, "--json")
    assert json.loads(done.stdout)["status"] == "converged"
    assert desk.process("replay", run_id).stdout.startswith(f"{run_id}: ")
    assert calls(desk) == ["costly"], "what was called is not called again, whatever it would say now"


def test_what_is_as_it_was_needs_no_acceptance(desk: Desk) -> None:
    run_id = waiting_for_people(desk)
    desk.process("resume", run_id, "--accept-changes", "--no-input", code=6)
    assert not [entry for entry in entries(desk, run_id) if entry["kind"] == "changes_accepted"]


GREEDY = """

@suggestor(reads=ContextKey.SEEDS, writes=ContextKey.SIGNALS)
def costly(ctx):
    return None

costly.accepts = lambda ctx: False
"""


def test_a_change_that_would_alter_the_past_is_refused_with_the_first_difference(desk: Desk) -> None:
    run_id = waiting_for_people(desk)
    before = desk.json("verify", run_id)["ledger_head"]
    desk.write("own.py", OWN + GREEDY)
    done = desk.process("resume", run_id, "--accept-changes", "--no-input", code=7)
    assert "the past would be another one with what has changed" in done.stderr
    assert "the replay differs (- recorded, + replayed)" in done.stderr
    assert '-   "suggestor": "costly"' in done.stderr
    assert "+ nothing: nobody asked 'costly'" in done.stderr
    assert desk.json("verify", run_id)["ledger_head"] == before


def test_code_that_is_gone_is_told_and_what_needs_no_code_still_works(desk: Desk) -> None:
    run_id = waiting_for_people(desk)
    (desk.folder / "own.py").unlink()
    told = desk.process("resume", run_id, code=3).stderr
    assert "'own' is neither in the intent's folder nor in an installed package" in told
    assert f"run {run_id!r} cannot be set up as it was; show, verify, explain and export do without" in told


# --- without a plugin -----------------------------------------------------------------------------------------------

PLUGIN = """\
from typing import ClassVar
from converge_core import ContextKey, FactPayload, ProposedFact, hookimpl, suggestor

class Greeting(FactPayload):
    family: ClassVar[str] = "acme.greeting"
    words: str

def greeter(config, site):
    @suggestor(reads=ContextKey.SEEDS, writes=ContextKey.SIGNALS, name=site.name)
    def greet(ctx):
        for seed in ctx.fresh(ContextKey.SEEDS):
            yield ProposedFact(ContextKey.SIGNALS, f"g:{seed.id}", Greeting(words="hello"), evidence=[seed])
    return greet

@hookimpl
def converge_register_suggestors(catalog):
    catalog.add("acme.greeter", greeter)

@hookimpl
def converge_register_payloads(registry):
    registry.register(Greeting)
"""


def test_a_run_whose_plugin_is_uninstalled_is_told_so_and_can_still_be_read(desk: Desk) -> None:
    desk.write("site/acme-1.2.dist-info/METADATA", "Metadata-Version: 2.1\nName: acme\nVersion: 1.2\n")
    desk.write("site/acme-1.2.dist-info/entry_points.txt", "[converge]\nacme = acme_plugin\n")
    desk.write("site/acme_plugin.py", PLUGIN)
    installed = {"PYTHONPATH": os.pathsep.join([*PATHS, str(desk.folder / "site")])}
    desk.write("intent.yaml", intent(suggestors=[{"use": "acme.greeter", "name": "greet"}], gates=GATES))
    ran = desk.process("run", "intent.yaml", "--no-input", "--json", code=6, environment=installed)
    run_id = json.loads(ran.stdout)["run_id"]
    gate = json.loads(ran.stdout)["pending"][0]["gate_id"]
    desk.process("approve", run_id, gate, environment=installed)

    for words in (["resume", run_id], ["approve", run_id, "--all"], ["replay", run_id]):
        told = desk.process(*words, code=3).stderr
        assert "unknown suggestor 'acme.greeter'" in told
        assert "show, verify, explain and export do without what is missing" in told
    assert json.loads(desk.process("show", run_id, "--json").stdout)["status"] == "waiting"
    assert json.loads(desk.process("approvals", "--json").stdout)["payload"] == {"words": "hello"}
    desk.process("verify", run_id)
    desk.process("export", run_id, "--format", "html", "--output", "page.html")
    assert "acme.greeting" in desk.process("export", run_id).stdout
    assert "no gate's time is up" in desk.process("approvals", "expire").stderr

    desk.process("approve", run_id, "--all", environment=installed)
    assert json.loads(desk.process("resume", run_id, "--json", environment=installed).stdout)["status"] == "converged"
    assert "hello" in desk.process("explain", run_id, "signals/g:s:1").stdout


def test_a_run_that_was_cut_off_before_its_first_entry_is_told_so(desk: Desk) -> None:
    run_id = desk.finished(intent())["run_id"]
    with sqlite3.connect(desk.home / "ledger.db") as ledger:
        ledger.execute("INSERT INTO runs (run_id, created_at) SELECT 'empty', created_at FROM runs")
    ledger.close()
    for words in (["resume", "empty"], ["approve", "empty", "--all"], ["fork", "empty", "--cycle", "0"]):
        assert "was cut off before its first entry" in desk.call(*words, code=1).stderr
    assert {line.split()[0] for line in desk.call("runs").stdout.splitlines()[2:]} == {run_id, "empty"}
