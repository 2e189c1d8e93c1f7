"""``converge show``: a run as its ledger tells it, for people and for programs."""

from __future__ import annotations

import pytest

from tests.cli.desk import RULE, SEED, Desk, intent, python

GATES = {"hitl": {"keys": ["signals"]}}
FIELDS = {
    "run_id",
    "status",
    "stop_reason",
    "reason",
    "cycles",
    "ledger_head",
    "merkle_root",
    "intent",
    "facts",
    "gates",
    "turned_away",
    "criteria",
    "model_calls",
}
FACT_FIELDS = {
    *("key", "id", "payload", "cycle", "lamport", "proposer", "approver", "authority", "confidence", "evidence"),
    *("provenance", "supersedes", "superseded_by", "stale"),
}
HOSTILE = """\
from converge_core import ContextKey, ProposedFact, TextPayload
ESC = "\\x1b[31mred\\x07\\x9b2J\\u202e\\U000e0001\\r\\n"
def say(ctx):
    for seed in ctx.fresh(ContextKey.SEEDS):
        yield ProposedFact(ContextKey.SIGNALS, f"s:{seed.id}", TextPayload(text=ESC), confidence=0.5, provenance=ESC)
        yield ProposedFact(ContextKey.SIGNALS, f"t:{seed.id}{ESC}", TextPayload(text=ESC), evidence=[ESC])
"""


def test_json_has_the_documented_fields(desk: Desk) -> None:
    run_id = desk.finished(intent(success=[{"id": "all", "cel": "size(signals) == 2"}]))["run_id"]
    shown = desk.json("show", run_id)
    assert set(shown) == FIELDS
    assert all(set(fact) == FACT_FIELDS for fact in shown["facts"])
    assert (shown["status"], shown["reason"], shown["criteria"]) == ("converged", "Criteria met: all", {"all": "met"})


def test_facts_are_told_with_who_proposed_and_who_approved_them(desk: Desk) -> None:
    run_id = desk.finished(intent(gates=GATES), "--yes")["run_id"]
    signal = desk.json("show", run_id, "--key", "signals")["facts"][0]
    assert (signal["id"], signal["payload"], signal["proposer"]) == ("x:s:1", {"n": 1}, "rule")
    assert (signal["approver"], signal["evidence"]) == ("human:ann", ["seeds/s:1"])
    told = desk.call("show", run_id).stdout
    assert "signals/x:s:1" in told
    assert "human:ann" in told


def test_a_run_that_waits_shows_its_open_gates(desk: Desk) -> None:
    paused = desk.finished(intent(gates=GATES), code=6)
    shown = desk.json("show", paused["run_id"])
    assert (shown["status"], shown["reason"], shown["stop_reason"]) == ("waiting", "2 gate(s) open", None)
    assert [gate["gate_id"] for gate in shown["gates"]] == [request["gate_id"] for request in paused["pending"]]
    assert {gate["verdict"] for gate in shown["gates"]} == {None}


def test_only_the_facts_of_a_key_are_shown_on_request(desk: Desk) -> None:
    run_id = desk.finished(intent())["run_id"]
    assert {fact["key"] for fact in desk.json("show", run_id, "--key", "seeds")["facts"]} == {"seeds"}
    assert "signals/" not in desk.call("show", run_id, "--key", "seeds").stdout


def test_more_facts_than_a_person_reads_are_counted(desk: Desk) -> None:
    seeds = SEED | {"items": [{"n": number} for number in range(25)]}
    run_id = desk.finished(intent(inputs=[seeds]))["run_id"]
    told = desk.call("show", run_id).stdout
    assert "5 more under seeds: --key seeds" in told
    assert "seeds/s:24" not in told
    assert "seeds/s:24" in desk.call("show", run_id, "--all").stdout
    assert "seeds/s:24" in desk.call("show", run_id, "--key", "seeds").stdout


def test_what_was_turned_away_is_counted_and_listed_in_json(desk: Desk) -> None:
    desk.write("own.py", HOSTILE)
    run_id = desk.finished(intent(suggestors=[python("own:say")]))["run_id"]
    assert "\n2 proposals turned away as duplicate, conflicting or rejected: --json" in desk.call("show", run_id).stdout
    assert {event["kind"] for event in desk.json("show", run_id)["turned_away"]} == {"proposal_rejected"}


@pytest.mark.parametrize("flags", [[], ["--json"], ["--all"]])
@pytest.mark.parametrize("gates", [{}, GATES])
def test_no_control_character_of_a_run_reaches_the_terminal(desk: Desk, flags: list[str], gates: object) -> None:
    desk.write("own.py", HOSTILE)
    seeds = SEED | {"items": [{"n": 1, "text": "\x1b[31mred\x9b2J"}]}
    run = intent(inputs=[seeds], suggestors=[python("own:say"), RULE], gates=gates)
    run_id = desk.finished(run, code=6 if gates else 0)["run_id"]
    shown = desk.call("show", run_id, *flags).output
    assert all(c.isprintable() or c == "\n" for c in shown), [c for c in shown if not c.isprintable()]


def test_json_keeps_what_a_terminal_may_not_see(desk: Desk) -> None:
    desk.write("own.py", HOSTILE)
    run_id = desk.finished(intent(suggestors=[python("own:say")]))["run_id"]
    [signal, _] = desk.json("show", run_id, "--key", "signals")["facts"]
    assert signal["payload"]["text"] == "\x1b[31mred\x07\x9b2J\u202e\U000e0001\r\n"


def test_a_locale_that_knows_no_umlauts_stops_nothing(desk: Desk) -> None:
    desk.write("own.py", HOSTILE.replace("red", "rød"))
    run_id = desk.finished(intent(suggestors=[python("own:say")]))["run_id"]
    done = desk.process("show", run_id, environment={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"})
    assert "signals/" in done.stdout
