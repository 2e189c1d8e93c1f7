"""``converge experience``: what happened in past runs, and what people did; and the labels by which runs are found."""

from __future__ import annotations

import json
from typing import Any

import pytest

from converge_cli.commands import experience
from converge_core.ledger.events import FactPromoted, RunStarted, RunStopped
from tests.cli.desk import Desk, intent

HELD = {"hitl": {"keys": ["signals"]}}
STARTS = ("--kind", RunStarted.kind)


def ran(desk: Desk, *options: object, code: int = 0, **sections: object) -> str:
    run_id: str = desk.finished(intent(**sections), *options, code=code)["run_id"]
    return run_id


def told(desk: Desk, *args: object) -> list[dict[str, Any]]:
    return [json.loads(line) for line in desk.call("experience", *args, "--json").stdout.splitlines()]


def runs(desk: Desk, *args: object) -> list[str]:
    """The runs that were told of, by their first entries."""
    return [one["run_id"] for one in told(desk, *STARTS, *args)]


def started(desk: Desk, run_id: str) -> dict[str, Any]:
    first = desk.call("export", run_id).stdout.splitlines()[1]
    value: dict[str, Any] = json.loads(json.loads(first)["body"])
    return value


# --- what is told -----------------------------------------------------------------------------------------------------


def test_a_record_is_told_as_json(desk: Desk) -> None:
    run_id = ran(desk, "--tenant", "acme", "--correlation", "c7")
    [one] = told(desk, "--kind", RunStopped.kind, "--tenant", "acme")
    assert {name: one[name] for name in ("run_id", "kind", "entry", "tenant", "correlation")} == {
        "run_id": run_id,
        "kind": "run_stopped",
        "entry": "run_stopped",
        "tenant": "acme",
        "correlation": "c7",
    }
    assert one["id"] == f"{run_id}/{one['sequence']}"
    assert one["data"]["stop"] == {"reason": "converged"}


def test_records_are_told_to_people(desk: Desk) -> None:
    run_id = ran(desk)
    lines = desk.call("experience", "--kind", FactPromoted.kind).stdout.splitlines()
    assert lines[0].split() == ["recorded_at", "record", "kind", "about", "by", "reason"]
    assert lines[2].split()[1:4] == [f"{run_id}/3", "fact_promoted", "seeds/s:1"]


def test_people_are_told_the_newest_records_and_that_there_are_older_ones(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experience, "NEWEST", 2)
    ran(desk)
    everything = told(desk)
    done = desk.call("experience")
    assert [line.split()[1] for line in done.stdout.splitlines()[2:]] == [one["id"] for one in everything[-2:]]
    assert done.stderr == "these are the newest 2; --limit N shows more of them, and --json all\n"
    done = desk.call("experience", "--limit", len(everything))
    assert [line.split()[1] for line in done.stdout.splitlines()[2:]] == [one["id"] for one in everything]
    assert done.stderr == ""
    monkeypatch.setattr(experience, "NEWEST", len(everything))
    assert desk.call("experience").stderr == ""


def test_what_people_did_is_told_with_who_and_why(desk: Desk) -> None:
    waiting = desk.finished(intent(gates=HELD), code=6)
    gates = {row["proposal"]["id"]: row["gate_id"] for row in waiting["pending"]}
    desk.call("approve", waiting["run_id"], gates["x:s:1"], "--reason", "fine")
    desk.call("reject", waiting["run_id"], gates["x:s:2"], "--reason", "no", "--as", "eve")
    granted, rejected = told(desk, "--kind", "user_approval_granted", "--kind", "user_approval_rejected")
    assert (granted["subject"], granted["data"]["actor"], granted["data"]["reason"]) == (
        "signals/x:s:1",
        "human:ann",
        "fine",
    )
    assert (rejected["subject"], rejected["data"]["actor"], rejected["data"]["reason"]) == (
        "signals/x:s:2",
        "human:eve",
        "no",
    )


def test_a_budget_that_somebody_raised_is_told(desk: Desk) -> None:
    run_id = ran(desk, budget={"cycles": 1}, code=5)
    desk.call("resume", run_id, "--budget", "cycles=9")
    [one] = told(desk, "--kind", "user_boundary_adjusted")
    assert one["data"]["previous_value"]["max_cycles"] == 1
    assert one["data"]["new_value"]["max_cycles"] == 9


def test_where_nothing_is_asked_for_nothing_is_told(desk: Desk) -> None:
    ran(desk)
    result = desk.call("experience", "--kind", "user_correction")
    assert result.stdout == ""
    assert result.stderr.startswith("nothing")


def test_without_a_ledger_nothing_has_happened(desk: Desk) -> None:
    result = desk.call("experience")
    assert (result.stdout, result.stderr[:9]) == ("", "nothing: ")
    assert not desk.home.exists()


# --- what is asked ----------------------------------------------------------------------------------------------------


def test_the_newest_are_told_oldest_first(desk: Desk) -> None:
    everything = [ran(desk) for _ in range(3)]
    assert runs(desk) == everything
    assert runs(desk, "--limit", 2) == everything[-2:]


def test_one_run_is_told_of(desk: Desk) -> None:
    first, _ = ran(desk), ran(desk)
    assert runs(desk, "--run", first) == [first]


def test_a_run_that_is_not_there_is_named_with_the_one_that_may_be_meant(desk: Desk) -> None:
    run_id = ran(desk)
    said = desk.call("experience", "--run", run_id[:-1], code=1).stderr
    assert run_id in said


def test_tenants_are_kept_apart(desk: Desk) -> None:
    ours, theirs = ran(desk, "--tenant", "acme"), ran(desk, "--tenant", "other")
    free = ran(desk)
    assert runs(desk, "--tenant", "acme") == [ours]
    assert runs(desk) == [free]
    assert runs(desk, "--all-tenants") == [ours, theirs, free]


def test_that_runs_of_tenants_are_not_looked_at_is_said_where_nothing_is_found(desk: Desk) -> None:
    ran(desk, "--tenant", "acme")
    assert "runs of tenants are not looked at" in desk.call("experience").stderr
    assert "tenants" not in desk.call("experience", "--tenant", "other").stderr


def test_runs_are_found_by_their_correlation(desk: Desk) -> None:
    one, _, three = ran(desk, "--correlation", "7"), ran(desk), ran(desk, "--correlation", "7")
    assert runs(desk, "--correlation", "7") == [one, three]


@pytest.mark.parametrize(
    ("when", "found"),
    [
        (("--since", "1h"), 1),
        (("--until", "1h"), 0),
        (("--since", "2000-01-01"), 1),
        (("--until", "2000-01-01"), 0),
        (("--since", "2000-01-01T00:00+02:00", "--until", "2999-12-31"), 1),
        (("--since", "2999-12-31"), 0),
    ],
)
def test_records_are_found_by_when_they_were_kept(desk: Desk, when: tuple[str, ...], found: int) -> None:
    ran(desk)
    assert len(runs(desk, *when)) == found


def test_the_moment_of_a_record_finds_it_in_whatever_time_zone(desk: Desk) -> None:
    ran(desk)
    [one] = told(desk, "--kind", RunStopped.kind)
    at = one["recorded_at"]
    assert told(desk, "--kind", RunStopped.kind, "--since", at, "--until", at.replace("Z", "+00:00")) == [one]


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (("--kind", "rumour"), "rumour"),
        (("--limit", "0"), "--limit"),
        (("--since", "yesterday"), "is no moment such as 2026-10-31"),
        (("--since", "999999w"), "is no moment"),
        (("--since", "2026-10-31", "--until", "2026-10-30"), "ends before it starts"),
        (("--tenant", " "), "a label is 1 to 256 printable characters"),
        (("--tenant", "a", "--all-tenants"), "exclude each other"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_the_reason(desk: Desk, options: tuple[str, ...], fault: str) -> None:
    assert fault in desk.call("experience", *options, code=2).stderr


# --- labels -----------------------------------------------------------------------------------------------------------


def test_the_labels_of_a_run_are_kept_in_its_first_entry(desk: Desk) -> None:
    run_id = ran(desk, "--tenant", "acme", "--correlation", "c7")
    assert started(desk, run_id)["labels"] == {"tenant": "acme", "correlation": "c7"}


def test_a_run_without_labels_says_nothing_of_them(desk: Desk) -> None:
    assert "labels" not in started(desk, ran(desk))


@pytest.mark.parametrize("option", ["--tenant", "--correlation"])
@pytest.mark.parametrize("name", ["", "  ", "two\nlines", "x" * 257])
def test_a_label_that_nobody_could_read_is_refused(desk: Desk, option: str, name: str) -> None:
    desk.write("intent.yaml", intent())
    assert "a label is 1 to 256 printable characters" in desk.call("run", "intent.yaml", option, name, code=2).stderr
    assert not desk.home.exists()


def test_a_fork_is_of_the_same_tenant_and_correlation(desk: Desk) -> None:
    parent = ran(desk, "--tenant", "acme", "--correlation", "c7")
    child = desk.json("fork", parent, "--cycle", "1")["run_id"]
    assert started(desk, child)["labels"] == {"tenant": "acme", "correlation": "c7"}
    assert runs(desk, "--tenant", "acme") == [parent, child]


def test_a_run_that_is_resumed_stays_whose_it_was(desk: Desk) -> None:
    waiting = desk.finished(intent(gates=HELD), "--tenant", "acme", code=6)
    for row in waiting["pending"]:
        desk.call("approve", waiting["run_id"], row["gate_id"])
    desk.call("resume", waiting["run_id"])
    assert [one["run_id"] for one in told(desk, "--kind", RunStopped.kind, "--tenant", "acme")] == [waiting["run_id"]]


def test_a_run_that_is_resumed_recalls_the_past_of_its_own_tenant(desk: Desk) -> None:
    seed = {"key": "seeds", "id": "s", "items": [{"n": 1, "memo": "late fee"}]}
    recall = {"use": "recall.lexical", "name": "precedents", "with": {"for_each": "seeds", "key": "hypotheses"}}
    theirs, ours = (ran(desk, "--tenant", tenant, inputs=[seed]) for tenant in ("other", "acme"))
    held = intent(inputs=[seed], suggestors=[recall], gates={"hitl": {"keys": ["seeds"]}})
    waiting = desk.finished(held, "--tenant", "acme", code=6)
    desk.call("approve", waiting["run_id"], waiting["pending"][0]["gate_id"])
    desk.call("resume", waiting["run_id"])
    told_ = desk.json("show", waiting["run_id"], "--key", "hypotheses")["facts"]
    assert {fact["payload"]["run"] for fact in told_} == {ours} != {theirs}


def test_an_imported_run_keeps_its_labels(desk: Desk) -> None:
    run_id = ran(desk, "--tenant", "acme")
    desk.write("run.jsonl", desk.call("export", run_id).stdout)
    desk.call("import", "run.jsonl", "--ledger", "other.db")
    assert runs(desk, "--tenant", "acme", "--ledger", "other.db") == [run_id]
