"""``converge runs``, and what every command says of a ledger or a run that is not there."""

from __future__ import annotations

import json
import sqlite3

import pytest

from converge_cli.standing import STATUSES
from tests.cli.desk import Desk, intent

READERS = [
    ("show", "some-run"),
    ("verify", "some-run"),
    ("replay", "some-run"),
    ("explain", "some-run", "seeds/s:1"),
    ("export", "some-run", "--format", "jsonl", "--output", "run.jsonl"),
    ("prove", "some-run", "seeds/s:1"),
    ("head", "some-run"),
    ("resume", "some-run"),
    ("approve", "some-run", "--all"),
    ("fork", "some-run", "--cycle", "1"),
]
"""A call of every command that reads a run."""


def _ids(stdout: str) -> list[str]:
    return [json.loads(line)["run_id"] for line in stdout.splitlines()]


def test_runs_are_listed_oldest_first(desk: Desk) -> None:
    first, second = (desk.finished(intent())["run_id"] for _ in range(2))
    assert _ids(desk.call("runs", "--json").stdout) == [first, second]
    told = desk.call("runs").stdout
    assert told.index(first) < told.index(second)


def test_a_run_is_listed_with_these_fields(desk: Desk) -> None:
    run_id = desk.finished(intent())["run_id"]
    row = desk.json("runs")
    assert set(row) == {"run_id", "status", "stop_reason", "entries", "created_at", "updated_at"}
    assert (row["run_id"], row["status"], row["stop_reason"]) == (run_id, "converged", "Converged")


def test_runs_are_listed_by_status(desk: Desk) -> None:
    desk.finished(intent())
    waiting = desk.finished(intent(gates={"hitl": {"keys": ["signals"]}}), code=6)["run_id"]
    stopped = desk.finished(intent(budget={"cycles": 0}), code=5)["run_id"]
    assert _ids(desk.call("runs", "--status", "waiting", "--json").stdout) == [waiting]
    assert _ids(desk.call("runs", "--status", "stopped", "--json").stdout) == [stopped]
    assert desk.call("runs", "--status", "cancelled").stderr == "no runs\n"


def test_an_unknown_status_is_wrong_usage(desk: Desk) -> None:
    said = desk.call("runs", "--status", "done", code=2).stderr
    assert all(status in said for status in STATUSES)


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_without_a_ledger_there_are_no_runs_and_none_is_begun(desk: Desk, flags: list[str]) -> None:
    result = desk.call("runs", *flags)
    assert result.stdout == ""
    assert result.stderr == f"no runs: there is no ledger at {desk.home / 'ledger.db'} yet\n"
    assert not desk.home.exists()


@pytest.mark.parametrize("args", READERS, ids=lambda args: str(args[0]))
def test_without_a_ledger_a_reader_says_so_and_begins_none(desk: Desk, args: tuple[str, ...]) -> None:
    result = desk.call(*args, code=1)
    assert (result.stdout, result.stderr) == ("", f"converge: there is no ledger at {desk.home / 'ledger.db'} yet\n")
    assert not desk.home.exists()


@pytest.mark.parametrize("args", READERS, ids=lambda args: str(args[0]))
def test_an_unknown_run_is_told_with_the_nearest_name(desk: Desk, args: tuple[str, ...]) -> None:
    run_id = desk.finished(intent(intent={"id": "some"}))["run_id"]
    command, _, *rest = args
    result = desk.call(command, f"{run_id}x", *rest, code=1)
    said = f"converge: no run '{run_id}x' in this ledger; did you mean '{run_id}'?\n"
    assert (result.stdout, result.stderr) == ("", said)


def test_a_run_unlike_any_other_is_told_without_a_guess(desk: Desk) -> None:
    desk.run(intent())
    assert desk.call("show", "zzzzzz", code=1).stderr == "converge: no run 'zzzzzz' in this ledger\n"


@pytest.mark.parametrize("args", [("runs",), *READERS], ids=lambda args: str(args[0]))
@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_file_that_is_no_ledger_is_told_in_one_line(desk: Desk, args: tuple[str, ...], flags: list[str]) -> None:
    desk.write("noise.db", bytes(range(256)) * 20)
    result = desk.call(*args, "--ledger", "noise.db", *flags, code=1)
    [line] = result.stderr.splitlines()
    assert result.stdout == ""
    assert line.startswith("converge: ledger noise.db: the file is no SQLite database")
    assert (desk.folder / "noise.db").read_bytes() == bytes(range(256)) * 20


def test_a_database_of_something_else_is_told_and_left_alone(desk: Desk) -> None:
    with sqlite3.connect(desk.folder / "other.db") as database:
        database.execute("CREATE TABLE songs (title TEXT)")
    before = (desk.folder / "other.db").read_bytes()
    assert "converge: ledger other.db: the file is" in desk.call("runs", "--ledger", "other.db", code=1).stderr
    assert "converge: ledger other.db: the file is" in desk.run(intent(), "--ledger", "other.db", code=1).stderr
    assert (desk.folder / "other.db").read_bytes() == before
