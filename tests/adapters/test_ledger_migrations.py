"""A ledger of an earlier version: it opens, reads as it did, and goes on. ``ledger_m001.sql`` is a dump of one."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from converge_adapters.ledgers.sqlite import SqliteLedger
from converge_adapters.testing.ledgers import head_of, note, notes, raised
from converge_core.errors import LedgerConflict, LedgerCorrupt, LedgerError
from converge_core.ledger.verify import verify
from converge_core.ports import RunInfo, StoredEntry
from tests.cli.desk import PATHS

DUMP = Path(__file__).with_name("ledger_m001.sql")
SIZES = {"zoo": 3, "run": 8, "empty": 0}
"""The runs of the dump, oldest first: notes, a run of the engine of two cycles, and nothing."""

Task = Callable[[SqliteLedger], Awaitable[None]]


@pytest.fixture
def early(tmp_path: Path) -> Path:
    """A ledger as the first version left it."""
    path = tmp_path / "ledger.db"
    changed(path, "PRAGMA journal_mode = WAL", DUMP.read_text("utf-8"))
    return path


def changed(path: Path, *scripts: str) -> None:
    """Change the file as its owner can."""
    with closing(sqlite3.connect(path)) as database:
        for script in scripts:
            database.executescript(script)


def untriggered(path: Path, *statements: str) -> None:
    """Change the entries without the triggers in the way."""
    changed(path, "DROP TRIGGER entries_update; DROP TRIGGER entries_delete", *statements)


def rows(path: Path, table: str) -> list[tuple[object, ...]]:
    """What plain SQLite reads in the columns that there have always been."""
    columns = {"entries": "run_id, seq, kind, body, leaf_hash, recorded_at, root", "runs": "run_id, created_at"}
    with closing(sqlite3.connect(path)) as database:
        return database.execute(f"SELECT {columns[table]} FROM {table} ORDER BY 1, 2").fetchall()


def use(path: Path, *tasks: Task, read_only: bool = False) -> None:
    """Open the ledger, do something with it, and close it."""

    async def run() -> None:
        ledger = SqliteLedger(path, read_only=read_only)
        try:
            for task in tasks:
                await task(ledger)
        finally:
            await ledger.close()

    anyio.run(run)


async def reads_as_it_was_written(ledger: SqliteLedger) -> None:
    infos: Sequence[RunInfo] = await ledger.runs()
    assert {info.run_id: info.size for info in infos} == SIZES
    assert [info.run_id for info in infos] == list(SIZES)
    for run_id, size in SIZES.items():
        stored: Sequence[StoredEntry] = await ledger.read(run_id)
        assert [entry.sequence for entry in stored] == list(range(size))
        assert await ledger.head(run_id) == head_of([note(0)._replace(leaf=entry.leaf) for entry in stored])
    assert [entry[1:4] for entry in await ledger.read("zoo")] == notes(0, 3)
    assert await ledger.recorded_effects("zoo", 1) == {"ask": '{"said":"déjà vu"}'}
    stored = await ledger.read("run")
    assert verify("run", stored) == await ledger.head("run")
    assert stored[0].recorded_at == "2026-10-31T12:00:03.000Z"


def test_an_early_ledger_reads_as_it_was_written(early: Path) -> None:
    before = [rows(early, table) for table in ("runs", "entries")]
    use(early, reads_as_it_was_written)
    assert [rows(early, table) for table in ("runs", "entries")] == before


def test_an_early_ledger_goes_on(early: Path) -> None:
    async def go_on(ledger: SqliteLedger) -> None:
        await raised(LedgerConflict, ledger.append("zoo", 2, notes(2, 3)))
        assert await ledger.append("zoo", 3, notes(3, 5)) == head_of(notes(0, 5))
        await raised(LedgerConflict, ledger.create_run("empty"))
        assert await ledger.append("empty", 0, notes(0, 1)) == head_of(notes(0, 1))
        await ledger.create_run("new")
        assert await ledger.append("new", 0, notes(0, 2)) == head_of(notes(0, 2))
        await ledger.record_effect("zoo", 2, "ask", "{}")
        assert [info.run_id for info in await ledger.runs()] == [*SIZES, "new"]

    use(early, go_on)


@pytest.mark.parametrize(
    "statement", ["UPDATE entries SET body = ''", "DELETE FROM entries", "DELETE FROM runs", "DELETE FROM journal"]
)
def test_an_early_ledger_stays_append_only(statement: str, early: Path) -> None:
    use(early)
    with pytest.raises(sqlite3.IntegrityError, match=r"^append-only$"):
        changed(early, statement)


def test_an_early_ledger_that_is_opened_to_read_is_not_changed(early: Path) -> None:
    async def refuse(ledger: SqliteLedger) -> None:
        for attempt in (ledger.create_run("new"), ledger.append("zoo", 3, notes(3, 4))):
            assert "the file may only be read" in str(await raised(LedgerError, attempt))

    before = early.read_bytes()
    use(early, reads_as_it_was_written, refuse, read_only=True)
    assert early.read_bytes() == before


KILLED_AT = """
import os, signal, sqlite3, sys
from converge_adapters.ledgers.sqlite import SqliteLedger

connect, (path, moment) = sqlite3.connect, sys.argv[1:]

def watched(*args, **kwargs):
    connection = connect(*args, **kwargs)
    connection.set_trace_callback(lambda said: moment in said and os.kill(os.getpid(), signal.SIGKILL))
    return connection

sqlite3.connect = watched
SqliteLedger(path)
"""


@pytest.mark.parametrize(
    "moment", ["CREATE TEMP TABLE old_runs", "DROP TABLE entries", "INSERT INTO entries", "COMMIT"]
)
def test_a_process_that_is_killed_while_it_brings_a_ledger_up_to_date_loses_nothing(moment: str, early: Path) -> None:
    before = rows(early, "entries")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(PATHS)}
    killed = subprocess.run([sys.executable, "-c", KILLED_AT, early, moment], env=environment)
    assert killed.returncode == -signal.SIGKILL
    assert rows(early, "entries") == before
    use(early, reads_as_it_was_written)


def test_two_that_open_an_early_ledger_share_one_new_one(early: Path) -> None:
    async def run() -> None:
        one, other = SqliteLedger(early), SqliteLedger(early)
        await one.append("zoo", 3, notes(3, 4))
        assert await other.append("zoo", 4, notes(4, 5)) == head_of(notes(0, 5))
        await one.close()
        await other.close()

    anyio.run(run)


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize(
    ("statement", "sequence"),
    [
        ("DELETE FROM entries WHERE run_id = 'run' AND seq = 2", 2),
        ("UPDATE entries SET seq = -1 WHERE run_id = 'run' AND seq = 0", 0),
        ("UPDATE entries SET seq = 1000000000000 WHERE run_id = 'run' AND seq = 4", 4),
        ("UPDATE entries SET run_id = 'another' WHERE run_id = 'run' AND seq = 3", 3),
    ],
)
def test_what_was_changed_before_is_found_afterwards(
    statement: str, sequence: int, read_only: bool, early: Path
) -> None:
    async def find(ledger: SqliteLedger) -> None:
        assert (await raised(LedgerCorrupt, ledger.head("run"))).sequence == sequence
        with pytest.raises(LedgerCorrupt) as caught:
            verify("run", await ledger.read("run"))
        assert caught.value.sequence == sequence
        assert (await ledger.head("zoo")).size == SIZES["zoo"]

    untriggered(early, statement)
    before = rows(early, "entries")
    use(early, find, read_only=read_only)
    assert rows(early, "entries") == before


def test_entries_of_no_run_are_kept_where_no_run_is(early: Path) -> None:
    untriggered(early, "UPDATE entries SET run_id = 'another' WHERE run_id = 'run' AND seq >= 3")
    use(early)
    with closing(sqlite3.connect(early)) as database:
        ids = database.execute("SELECT id FROM entries WHERE run_id = 'another' ORDER BY seq").fetchall()
        [(first,)] = database.execute("SELECT min(first_id) FROM runs").fetchall()
    assert len(ids) == SIZES["run"] - 3
    assert all(place < first for (place,) in ids)


def test_the_runs_of_an_early_ledger_are_numbered_by_age(early: Path) -> None:
    use(early)
    with closing(sqlite3.connect(early)) as database:
        assert database.execute("SELECT number, run_id FROM runs ORDER BY number").fetchall() == [*enumerate(SIZES, 1)]


def test_what_is_no_entry_keeps_an_early_ledger_as_it_is(early: Path) -> None:
    untriggered(early, "PRAGMA ignore_check_constraints = ON; UPDATE entries SET leaf_hash = x'00' WHERE seq = 1")
    before = early.read_bytes()
    with pytest.raises(LedgerError, match=r"ledger\.db: CHECK constraint failed"):
        SqliteLedger(early)
    assert early.read_bytes() == before
