"""``converge replay``: a run is derived again, and the first difference is shown."""

from __future__ import annotations

import pytest

from tests.cli.desk import RULE, Desk, intent, python

OWN = """\
from pathlib import Path
from converge_core import ContextKey, ProposedFact, TextPayload

def say(ctx):
    with Path("called").open("a") as calls:
        calls.write("x")
    for seed in ctx.fresh(ContextKey.SEEDS):
        yield ProposedFact(ContextKey.SIGNALS, f"said:{seed.id}", TextPayload(text="WORDS"))
"""
CHAIN = {
    "use": "rules.cel",
    "name": "chain",
    "with": {"for_each": "signals", "key": "evaluations", "id": "y:{fact.id}", "payload": {"n": "fact.n"}},
}
FIELDS = {"run_id", "equal", "live", "entries", "cycles", "merkle_root", "ledger_head", "changes"}


@pytest.fixture
def own(desk: Desk) -> Desk:
    desk.write("own.py", OWN)
    return desk


def test_a_run_is_derived_again_to_the_same_root(desk: Desk) -> None:
    finished = desk.finished(intent())
    replayed = desk.json("replay", finished["run_id"])
    assert set(replayed) == FIELDS
    assert replayed["equal"]
    assert {name: replayed[name] for name in ("merkle_root", "ledger_head", "cycles")} == {
        name: finished[name] for name in ("merkle_root", "ledger_head", "cycles")
    }


def test_a_replay_is_told_to_people(desk: Desk) -> None:
    finished = desk.finished(intent())
    told = desk.call("replay", finished["run_id"]).stdout
    assert "entries derived again, all equal\n" in told
    assert f"merkle root {finished['merkle_root']} over 4 facts" in told


def test_a_replay_executes_nobody_unless_it_is_live(own: Desk) -> None:
    run_id = own.finished(intent(suggestors=[python("own:say")]))["run_id"]
    own.call("replay", run_id)
    assert (own.folder / "called").read_text() == "x"
    assert own.json("replay", run_id, "--live")["live"]
    assert (own.folder / "called").read_text() == "xx"


def test_a_replay_writes_nothing(desk: Desk) -> None:
    finished = desk.finished(intent())
    desk.call("replay", finished["run_id"])
    assert desk.json("verify", finished["run_id"])["ledger_head"] == finished["ledger_head"]


def test_code_that_says_something_else_is_found_when_it_runs_live(own: Desk) -> None:
    finished = own.finished(intent(suggestors=[python("own:say")]))
    own.write("own.py", OWN.replace("WORDS", "OTHER"))
    done = own.process("replay", finished["run_id"], "--live", "--json", code=7)
    assert '"equal": false' in done.stdout
    told = own.process("replay", finished["run_id"], "--live", code=7)
    assert told.stdout == ""
    assert "the replay differs (- recorded, + replayed)" in told.stderr
    assert any(line.startswith("-") and "WORDS" in line for line in told.stderr.splitlines())
    assert any(line.startswith("+") and "OTHER" in line for line in told.stderr.splitlines())


def test_a_replay_until_a_cycle_shows_the_context_as_it_was(desk: Desk) -> None:
    run_id = desk.finished(intent(suggestors=[RULE, CHAIN]))["run_id"]
    assert len(desk.json("replay", run_id)["merkle_root"]) == 64
    after = [[fact["key"] for fact in desk.json("replay", run_id, "--until", f"cycle:{n}")["facts"]] for n in (0, 1, 2)]
    assert after == [
        ["seeds"] * 2,
        ["seeds"] * 2 + ["signals"] * 2,
        ["seeds"] * 2 + ["signals"] * 2 + ["evaluations"] * 2,
    ]


def test_the_last_cycle_which_found_nothing_to_do_can_be_named_too(desk: Desk) -> None:
    finished = desk.finished(intent())
    assert desk.json("replay", finished["run_id"], "--until", f"cycle:{finished['cycles']}")["equal"]
    desk.call("replay", finished["run_id"], "--until", f"cycle:{finished['cycles'] + 1}", code=2)


def test_what_has_changed_since_is_told_though_it_derives_the_same(own: Desk) -> None:
    run_id = own.finished(intent(suggestors=[python("own:say")]))["run_id"]
    assert own.json("replay", run_id)["changes"] == []
    own.write("own.py", OWN + "# a remark\n")
    for args in ([], ["--live"]):
        told = own.process("replay", run_id, *args)
        assert "all equal" in told.stdout
        assert "since the run was recorded, suggestor 'own' changed: version 1+" in told.stderr


@pytest.mark.parametrize("until", ["cycle:99", "soon"])
def test_a_cycle_that_was_not_is_wrong_usage(desk: Desk, until: str) -> None:
    run_id = desk.finished(intent())["run_id"]
    assert "Error: " in desk.call("replay", run_id, "--until", until, code=2).stderr


def test_what_a_suggestor_prints_stays_out_of_a_live_replay(own: Desk) -> None:
    own.write("own.py", OWN.replace("    with", "    print('noise')\n    with"))
    run_id = own.finished(intent(suggestors=[python("own:say")]))["run_id"]
    assert own.process("replay", run_id, "--live", "--json").stdout.startswith("{")


def test_code_that_is_gone_is_told_with_what_is_missing(own: Desk) -> None:
    run_id = own.finished(intent(suggestors=[python("own:say")]))["run_id"]
    (own.folder / "own.py").unlink()
    done = own.process("replay", run_id, code=3)
    assert "'own' is neither in the intent's folder nor in an installed package" in done.stderr
