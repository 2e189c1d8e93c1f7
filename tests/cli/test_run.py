"""``converge run``: how a run ends, what is printed of it where, and where it is kept."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from tests.cli.desk import RULE, SEED, Desk, intent, python

OWN = """\
from converge_core import ContextKey, ProposedFact, TextPayload

def say(ctx):
    print("noise of a suggestor")
    for seed in ctx.fresh(ContextKey.SEEDS):
        yield ProposedFact(ContextKey.SIGNALS, f"said:{seed.id}", TextPayload(text="\\x1b[31mred\\x9b2J"))

def fail(ctx):
    raise RuntimeError("\\x1b[31mno")

def contradict(ctx):
    for seed in ctx.fresh(ContextKey.SEEDS):
        yield ProposedFact(ContextKey.SIGNALS, "same", TextPayload(text=seed.id))

def count(ctx):
    yield ProposedFact(ContextKey.SIGNALS, f"n:{ctx.count(ContextKey.SIGNALS)}", TextPayload(text="more"))

def misname(ctx):
    for seed in ctx.fresh(ContextKey.SEEDS):
        yield ProposedFact(ContextKey.SIGNALS, "\\x1b[31mred", TextPayload(text="x"))
"""

RESULT = {
    "run_id",
    "status",
    "stop_reason",
    "converged",
    "cycles",
    "facts",
    "merkle_root",
    "ledger_head",
    "usage",
    "criteria",
    "pending",
}

NEVER = "size(votes) > 0"
GATES = {"hitl": {"keys": ["signals"]}}


@pytest.fixture
def own(desk: Desk) -> Desk:
    """Return a folder with suggestors in it."""
    desk.write("own.py", OWN)
    return desk


def test_a_run_that_converges_exits_with_0(desk: Desk) -> None:
    finished = desk.finished(intent())
    assert (finished["status"], finished["converged"], finished["facts"]) == ("converged", True, 4)


def test_a_suggestor_without_a_fixed_point_exits_with_5(own: Desk) -> None:
    endless = {"use": "python", "name": "own", "with": {"callable": "own:count"}}
    finished = own.finished(intent(suggestors=[endless], budget={"cycles": 3}), code=5)
    assert (finished["stop_reason"]["reason"], finished["cycles"]) == ("cycle_budget_exhausted", 3)


def test_a_violated_invariant_exits_with_4(desk: Desk) -> None:
    section = {"name": "never", "class": "acceptance", "cel": NEVER}
    finished = desk.finished(intent(invariants=[section]), code=4)
    assert (finished["status"], finished["stop_reason"]["invariant"]) == ("stopped", "never")


def test_a_conflict_exits_with_4(own: Desk) -> None:
    finished = own.finished(intent(suggestors=[python("own:contradict")]), code=4)
    assert finished["stop_reason"] == {"reason": "conflict_detected", "fact": "signals/same", "proposer": "own"}


def test_a_human_gate_exits_with_6_and_says_how_to_decide_it(desk: Desk) -> None:
    result = desk.run(intent(gates=GATES), code=6)
    assert "2 gate(s) wait for a human" in result.stderr
    assert "converge approve t-" in result.stderr
    assert "converge approve" not in result.stdout


def test_a_criterion_that_is_not_met_exits_with_8(desk: Desk) -> None:
    finished = desk.finished(intent(success=[{"id": "never", "cel": NEVER}]), code=8)
    assert (finished["status"], finished["criteria"]) == ("converged", {"never": "unmet"})


def test_an_optional_criterion_that_is_not_met_exits_with_0(desk: Desk) -> None:
    desk.run(intent(success=[{"id": "never", "cel": NEVER, "required": False}]))


def test_a_suggestor_that_fails_exits_with_9(own: Desk) -> None:
    finished = own.finished(intent(suggestors=[python("own:fail")]), code=9)
    assert finished["stop_reason"]["code"] == "raised"


def test_an_optional_suggestor_that_fails_exits_with_0(own: Desk) -> None:
    own.run(intent(suggestors=[python("own:fail") | {"optional": True}, RULE]))


def test_a_ledger_that_cannot_be_written_exits_with_1(desk: Desk) -> None:
    desk.write("file", "")
    result = desk.run(intent(), "--ledger", "file/ledger.db", code=1)
    assert result.stderr.startswith("converge: ledger file/ledger.db: its folder cannot be made")


@pytest.mark.parametrize(
    "args",
    [["--nothing"], ["--yes", "--no-input"], ["--concurrency", "0"], ["--time-limit", "0"], ["--executor", "none"]],
)
def test_wrong_usage_exits_with_2_and_leaves_nothing(desk: Desk, args: list[str]) -> None:
    result = desk.run(intent(), *args, code=2)
    assert "Error: " in result.stderr
    assert (result.stdout, desk.home.exists()) == ("", False)


@pytest.mark.parametrize(
    ("sections", "code"),
    [
        ({}, 0),
        ({"gates": GATES}, 6),
        ({"success": [{"id": "never", "cel": NEVER}]}, 8),
        ({"invariants": [{"name": "never", "class": "semantic", "cel": NEVER}]}, 4),
        ({"budget": {"cycles": 0}}, 5),
        ({"suggestors": [python("own:fail")]}, 9),
    ],
)
def test_json_is_one_object_with_the_documented_fields(own: Desk, sections: dict[str, object], code: int) -> None:
    assert set(own.finished(intent(**sections), code=code)) == RESULT


def test_a_pending_gate_is_told_with_its_id_and_its_proposal(desk: Desk) -> None:
    [first, second] = desk.finished(intent(gates=GATES), code=6)["pending"]
    assert first["gate_id"] != second["gate_id"]
    assert first["proposal"]["payload"]["body"] == {"n": 1}


def test_the_result_for_people_tells_facts_stop_and_proof(desk: Desk) -> None:
    finished = desk.finished(intent())
    told = desk.run(intent()).stdout
    assert "Converged: 4 facts in 2 cycles" in told
    assert f"merkle root  {finished['merkle_root']}" in told
    assert "\x1b" not in told


def test_what_a_suggestor_prints_stays_out_of_the_data(own: Desk) -> None:
    own.write("intent.yaml", intent(suggestors=[python("own:say")]))
    done = own.process("run", "intent.yaml", "--json")
    assert set(json.loads(done.stdout)) == RESULT
    assert done.stderr == "noise of a suggestor\n"


def test_what_a_module_prints_on_import_stays_out_of_the_data(desk: Desk) -> None:
    desk.write("own.py", f"print('noise of a module')\n{OWN}")
    desk.write("intent.yaml", intent(suggestors=[python("own:count")], budget={"cycles": 1}))
    done = desk.process("run", "intent.yaml", "--json", code=5)
    assert set(json.loads(done.stdout)) == RESULT
    assert done.stderr == "noise of a module\n"


def test_rejected_proposals_are_told_of(own: Desk) -> None:
    result = own.run(intent(suggestors=[python("own:misname")]))
    assert "2 proposals rejected: `converge show t-" in result.stderr


def test_a_run_without_rejections_says_nothing_of_them(desk: Desk) -> None:
    assert desk.run(intent()).stderr == ""


@pytest.mark.parametrize("callable", ["own:say", "own:fail", "own:misname"])
@pytest.mark.parametrize("json_flag", [[], ["--json"]])
def test_no_control_character_of_a_run_reaches_the_terminal(own: Desk, callable: str, json_flag: list[str]) -> None:
    code = 9 if callable == "own:fail" else 0
    gates = {"hitl": {"keys": ["signals"]}} if callable == "own:say" else {}
    result = own.run(intent(suggestors=[python(callable)], gates=gates), *json_flag, code=6 if gates else code)
    assert all(c.isprintable() or c in "\n\t" for c in result.output), result.output


def test_a_dry_run_prints_the_plan_and_writes_nothing(desk: Desk) -> None:
    result = desk.run(intent(), "--dry-run")
    assert result.stdout == "intent.yaml is valid: 2 inputs, 1 suggestor (rule). Nothing was written.\n"
    assert not desk.home.exists()


def test_a_dry_run_prints_the_plan_as_json(desk: Desk) -> None:
    plan = desk.finished(intent(), "--dry-run")
    assert (plan["valid"], plan["inputs"], plan["suggestors"], plan["intent"]["id"]) == (True, 2, ["rule"], "t")
    assert not desk.home.exists()


def test_runs_are_kept_in_the_home_that_the_environment_names(desk: Desk) -> None:
    desk.run(intent())
    desk.call("run", "intent.yaml", CONVERGE_HOME=str(desk.folder / "other"))
    assert (desk.home / "ledger.db").exists()
    assert (desk.folder / "other" / "ledger.db").exists()


@pytest.mark.parametrize("url", ["kept.db", "sqlite:///kept.db", "deep/er/kept.db"])
def test_a_ledger_is_named_by_a_path_or_url(desk: Desk, url: str) -> None:
    run_id = desk.finished(intent(), "--ledger", url)["run_id"]
    assert desk.json("verify", run_id, "--ledger", url)["verified"]
    assert (desk.folder / url.removeprefix("sqlite:///")).exists()
    assert not desk.home.exists()


def test_a_ledger_is_named_by_the_environment(desk: Desk) -> None:
    desk.write("intent.yaml", intent())
    desk.call("run", "intent.yaml", CONVERGE_LEDGER="kept.db")
    assert (desk.folder / "kept.db").exists()


def test_a_ledger_in_memory_leaves_nothing(desk: Desk) -> None:
    desk.run(intent(), "--ledger", "memory:")
    assert [path.name for path in desk.folder.iterdir()] == ["intent.yaml"]


@pytest.mark.parametrize("url", ["postgres://host/db", "http:there"])
def test_a_ledger_of_an_unknown_scheme_is_refused_in_one_line(desk: Desk, url: str) -> None:
    desk.write("intent.yaml", intent())
    result = desk.call("run", "intent.yaml", "--ledger", url, code=2 if "://" in url else 1)
    assert url in result.stderr.splitlines()[-1]
    assert "fault of Converge" not in result.stderr


def test_a_run_is_named_after_its_intent_as_far_as_that_can_be_typed(desk: Desk) -> None:
    run_id = desk.finished(intent(intent={"id": "Q3 / \x1b[31mbudget"}))["run_id"]
    assert run_id.rpartition("-")[0] == "Q3-31mbudget"


def test_two_runs_of_one_intent_have_two_names_and_one_root(desk: Desk) -> None:
    first, second = desk.finished(intent()), desk.finished(intent())
    assert first["run_id"] != second["run_id"]
    assert first["merkle_root"] == second["merkle_root"]


def test_yes_approves_and_says_so(desk: Desk) -> None:
    assert "--yes approved 2 gates in the name of ann" in desk.run(intent(gates=GATES), "--yes").stdout


LATE = """\
import asyncio
from converge_core import ContextKey, ProposedFact, TextPayload

async def say(ctx, after, words):
    await asyncio.sleep(after)
    said = TextPayload(text=words)
    return [ProposedFact(ContextKey.SIGNALS, f"{words}:{seed.id}", said) for seed in ctx.fresh(ContextKey.SEEDS)]
"""


def _rule(name: str, for_each: str, key: str, **payload: str) -> dict[str, object]:
    config = {"for_each": for_each, "reads": ["seeds"], "key": key, "id": f"{name}:{{fact.id}}", "payload": payload}
    return {"use": "rules.cel", "name": name, "with": config}


def _late(name: str, after: float) -> dict[str, object]:
    return python("late:say", **{"with": {"after": after, "words": name}}) | {"name": name}


WIDE = intent(
    inputs=[SEED | {"items": [{"n": number, "of": str(number % 7)} for number in range(40)]}],
    suggestors=[
        _late("slow", 0.03),
        *(
            _rule(f"rule-{number}", "seeds", "signals", n="fact.n", same="seeds.filter(s, s.of == fact.of)")
            for number in range(9)
        ),
        _late("quick", 0.0),
        _late("middling", 0.01),
        _rule("after", "signals", "evaluations", all="size(seeds)"),
    ],
)


def test_one_root_whatever_the_hash_seed_and_the_concurrency(desk: Desk) -> None:
    desk.write("intent.yaml", WIDE)
    desk.write("late.py", LATE)
    entries: dict[str, list[tuple[str, str]]] = {}
    roots = set()
    for seed in ("0", "1", "2"):
        for concurrency in ("1", "8"):
            done = desk.process(
                *("run", "intent.yaml", "--json", "--ledger", f"{seed}-{concurrency}.db", "--concurrency", concurrency),
                environment={"PYTHONHASHSEED": seed},
            )
            finished = json.loads(done.stdout)
            assert finished["facts"] == 40 + 2 * 40 * 12
            roots.add(finished["merkle_root"])
            entries[f"{seed}-{concurrency}"] = _entries(desk.folder / f"{seed}-{concurrency}.db", finished["run_id"])
    assert len(roots) == 1
    assert len({json.dumps(bodies) for bodies in entries.values()}) == 1


def _entries(ledger: Path, run_id: str) -> list[tuple[str, str]]:
    """Return kinds and bodies of a run, without its name."""
    rows = sqlite3.connect(ledger).execute("SELECT kind, body FROM entries ORDER BY seq").fetchall()
    return [(kind, body.replace(run_id, "RUN")) for kind, body in rows]
