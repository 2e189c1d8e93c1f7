"""``converge verify``: whatever is changed in the file of a ledger, the run and the entry are named."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from tests.cli.desk import Desk, intent

ROW = "WHERE run_id = :run AND seq = :seq"
MOVE = "UPDATE entries SET seq = :to WHERE run_id = :run AND seq = :from"


@pytest.fixture
def kept(desk: Desk) -> str:
    """Return a run that the ledger holds."""
    run_id: str = desk.finished(intent())["run_id"]
    return run_id


class Forger:
    """Somebody who can write into the file of a ledger, past its triggers."""

    def __init__(self, desk: Desk, run_id: str) -> None:
        self._database = sqlite3.connect(desk.home / "ledger.db", isolation_level=None)
        self._run_id = run_id
        for (trigger,) in self._database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            self._database.execute(f"DROP TRIGGER {trigger}")

    def does(self, sql: str, **values: object) -> None:
        """Change the file."""
        self._database.execute(sql, {"run": self._run_id, **values})

    def column(self, name: str, seq: int) -> Any:
        """Return what a column of an entry holds."""
        return self._database.execute(
            f"SELECT {name} FROM entries {ROW}", {"run": self._run_id, "seq": seq}
        ).fetchone()[0]

    def size(self) -> int:
        """Return the number of entries."""
        count: int = self._database.execute("SELECT count(*) FROM entries").fetchone()[0]
        return count

    def moves(self, begin: int, end: int) -> None:
        """Give an entry another place."""
        self.does(MOVE, **{"from": begin, "to": end})


@pytest.fixture
def forger(desk: Desk, kept: str) -> Forger:
    return Forger(desk, kept)


def corrupt(desk: Desk, run_id: str, *args: str) -> int:
    """Verify a run, which has to fail in both forms, and return the number of the entry that is named."""
    [line] = desk.call("verify", run_id, *args, code=7).stderr.splitlines()
    told = desk.json("verify", run_id, *args, code=7)
    assert set(told) == {"run_id", "verified", "sequence", "expected", "found"}
    assert (told["run_id"], told["verified"]) == (run_id, False)
    assert line.startswith(f"converge: run {run_id!r}, entry {told['sequence']}: expected ")
    sequence: int = told["sequence"]
    return sequence


def test_a_run_that_is_whole_is_told_with_its_head(desk: Desk, kept: str) -> None:
    verified = desk.json("verify", kept)
    assert set(verified) == {"run_id", "verified", "entries", "ledger_head", "signed_by"}
    told = desk.call("verify", kept).stdout
    assert told == f"{kept}: {verified['entries']} entries intact\nledger head {verified['ledger_head']}\n"


@pytest.mark.parametrize("column", ["kind", "body"])
@pytest.mark.parametrize("seq", [0, 3, 5])
def test_one_changed_character_is_found_at_its_entry(
    desk: Desk, kept: str, forger: Forger, column: str, seq: int
) -> None:
    text: str = forger.column(column, seq)
    forger.does(
        f"UPDATE entries SET {column} = :text {ROW}", seq=seq, text=text[:9] + chr(ord(text[9]) ^ 1) + text[10:]
    )
    assert corrupt(desk, kept) == seq


@pytest.mark.parametrize("seq", [0, 3, 5])
def test_one_changed_byte_of_a_leaf_hash_is_found_at_its_entry(desk: Desk, kept: str, forger: Forger, seq: int) -> None:
    leaf: bytes = forger.column("leaf_hash", seq)
    forger.does(f"UPDATE entries SET leaf_hash = :leaf {ROW}", seq=seq, leaf=bytes([leaf[0] ^ 1]) + leaf[1:])
    assert corrupt(desk, kept) == seq


def test_one_changed_byte_of_a_root_is_found_where_its_append_began(desk: Desk, kept: str, forger: Forger) -> None:
    last = forger.size() - 1
    root: bytes = forger.column("root", last)
    forger.does(f"UPDATE entries SET root = :root {ROW}", seq=last, root=root[:-1] + bytes([root[-1] ^ 128]))
    assert 0 < corrupt(desk, kept) <= last


def test_a_changed_body_with_a_leaf_hash_to_match_is_found_by_the_root(desk: Desk, kept: str, forger: Forger) -> None:
    forger.does(
        f"UPDATE entries SET (kind, body, leaf_hash) = (SELECT kind, body, leaf_hash FROM entries {ROW} - 1) {ROW}",
        seq=2,
    )
    assert corrupt(desk, kept) <= 2


def test_a_changed_run_id_is_found_where_the_entry_is_missed(desk: Desk, kept: str, forger: Forger) -> None:
    forger.does(f"UPDATE entries SET run_id = 'another' {ROW}", seq=3)
    assert corrupt(desk, kept) == 3


def test_a_changed_sequence_number_is_found_where_the_entry_is_missed(desk: Desk, kept: str, forger: Forger) -> None:
    forger.moves(3, 1000)
    assert corrupt(desk, kept) == 3


@pytest.mark.parametrize("seq", [0, 3])
def test_a_dropped_entry_is_found(desk: Desk, kept: str, forger: Forger, seq: int) -> None:
    forger.does(f"DELETE FROM entries {ROW}", seq=seq)
    assert corrupt(desk, kept) == seq


def test_a_dropped_entry_over_which_the_others_were_closed_is_found(desk: Desk, kept: str, forger: Forger) -> None:
    forger.does(f"DELETE FROM entries {ROW}", seq=3)
    for seq in range(3, forger.size()):
        forger.moves(seq + 1, seq)
    assert corrupt(desk, kept) <= 3


def test_two_entries_that_changed_places_are_found(desk: Desk, kept: str, forger: Forger) -> None:
    for begin, end in ((2, 1000), (3, 2), (1000, 3)):
        forger.moves(begin, end)
    assert corrupt(desk, kept) <= 3


def test_a_repeated_entry_is_found(desk: Desk, kept: str, forger: Forger) -> None:
    for seq in reversed(range(4, forger.size())):
        forger.moves(seq, seq + 1)
    forger.does(
        "INSERT INTO entries (run_id, seq, kind, body, leaf_hash, recorded_at, root)"
        f" SELECT run_id, 4, kind, body, leaf_hash, recorded_at, root FROM entries {ROW}",
        seq=3,
    )
    assert corrupt(desk, kept) <= 4


def test_a_history_that_was_cut_in_an_append_is_found(desk: Desk, kept: str, forger: Forger) -> None:
    forger.does("DELETE FROM entries WHERE run_id = :run AND seq >= :seq", seq=forger.size() - 1)
    assert 0 < corrupt(desk, kept) < forger.size()


def test_a_history_that_was_cut_between_appends_is_found_by_a_head_kept_elsewhere(
    desk: Desk, kept: str, forger: Forger
) -> None:
    head = desk.json("verify", kept)["ledger_head"]
    ends = [seq for seq in range(forger.size() - 1) if forger.column("root", seq) is not None]
    forger.does("DELETE FROM entries WHERE run_id = :run AND seq > :seq", seq=ends[-1])
    assert desk.json("verify", kept)["verified"]  # the limit that the README tells
    assert corrupt(desk, kept, "--head", head) == ends[-1] + 1


def test_a_run_that_has_grown_from_a_head_still_holds_it(desk: Desk) -> None:
    gates = {"hitl": {"keys": ["signals"]}}
    paused = desk.finished(intent(gates=gates), code=6)
    desk.call("approve", paused["run_id"], "--all")
    assert desk.json("verify", paused["run_id"], "--head", paused["ledger_head"])["verified"]


def test_bytes_that_are_no_text_are_found_at_their_entry(desk: Desk, kept: str, forger: Forger) -> None:
    forger.does(f"UPDATE entries SET body = CAST(x'ff' AS TEXT) {ROW}", seq=3)
    assert corrupt(desk, kept) == 3


@pytest.mark.parametrize("command", ["show", "replay", "explain"])
def test_who_reads_a_run_verifies_it_first(desk: Desk, kept: str, forger: Forger, command: str) -> None:
    forger.does(f"DELETE FROM entries {ROW}", seq=3)
    rest = ["seeds/s:1"] if command == "explain" else []
    result = desk.call(command, kept, *rest, code=7)
    assert (result.stdout, "entry 3" in result.stderr) == ("", True)


def test_a_head_that_is_none_is_wrong_usage(desk: Desk, kept: str) -> None:
    assert "no file" in desk.call("verify", kept, "--head", "12:abc", code=2).stderr
