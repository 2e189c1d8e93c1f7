"""What the SQLite store promises beyond the port: append-only tables, a flat cost, errors that say what is wrong."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from converge_adapters.ledgers import sqlite as store
from converge_adapters.ledgers.migrations import MIGRATIONS
from converge_adapters.ledgers.sqlite import SqliteLedger
from converge_adapters.testing.ledgers import head_of, note, notes, raised
from converge_core.errors import LedgerConflict, LedgerCorrupt, LedgerError, MisuseError
from converge_core.ledger.events import Entry
from converge_core.ledger.merkle import leaf_hash, root_of

FILLED = 3
"""Entries of the run in the ledger that `filled` makes."""

FIRST = 1 << 32
"""The id of the first entry of the first run."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def filled(path: Path) -> Path:
    """A closed ledger: a run of three entries, one journaled effect."""

    async def fill(ledger: SqliteLedger) -> None:
        await ledger.create_run("run")
        await ledger.append("run", 0, notes(0, FILLED))
        await ledger.record_effect("run", 1, "ask", "{}")

    use(path, fill)
    return path


def use(path: Path, task: Callable[[SqliteLedger], Awaitable[None]], *, read_only: bool = False) -> None:
    """Open the ledger, do something with it, and close it."""

    async def run() -> None:
        ledger = SqliteLedger(path, read_only=read_only)
        try:
            await task(ledger)
        finally:
            await ledger.close()

    anyio.run(run)


def plain(path: Path) -> closing[sqlite3.Connection]:
    """The file as any program sees it."""
    return closing(sqlite3.connect(path, isolation_level=None))


def tamper(path: Path, *statements: str) -> None:
    """Change the file as its owner can: without the triggers."""
    with plain(path) as database:
        for (trigger,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f"DROP TRIGGER {trigger}")
        for statement in statements:
            database.execute(statement)


def connection(ledger: SqliteLedger) -> sqlite3.Connection:
    return ledger._connection


# --- append-only ----------------------------------------------------------------------------------------------------

REFUSED = [
    "UPDATE entries SET body = '{}' WHERE seq = 1",
    "UPDATE OR REPLACE entries SET id = id - 1 WHERE seq = 2",
    "DELETE FROM entries WHERE seq = 2",
    "DELETE FROM entries",
    f"INSERT OR REPLACE INTO entries VALUES ({FIRST + 1}, 'run', 1, 'note', '{{}}', zeroblob(32), 'now', NULL)",
    f"REPLACE INTO entries VALUES ({FIRST + 2}, 'run', 2, 'note', '{{}}', zeroblob(32), 'now', NULL)",
    f"REPLACE INTO entries VALUES ({FIRST + 2}, 'run', 3, 'note', '{{}}', zeroblob(32), 'now', NULL)",
    "INSERT INTO entries SELECT * FROM entries WHERE seq = 1 ON CONFLICT DO UPDATE SET body = ''",
    f"INSERT INTO entries VALUES ({FIRST + 4}, 'run', 4, 'note', '{{}}', zeroblob(32), 'now', NULL)",
    f"INSERT INTO entries VALUES ({FIRST + 3}, 'run', 4, 'note', '{{}}', zeroblob(32), 'now', NULL)",
    f"INSERT INTO entries VALUES ({FIRST - 1}, 'run', -1, 'note', '{{}}', zeroblob(32), 'now', NULL)",
    f"INSERT INTO entries VALUES ({FIRST + 3}, 'none', 3, 'note', '{{}}', zeroblob(32), 'now', NULL)",
    f"INSERT INTO entries VALUES ({2 * FIRST}, 'none', 0, 'note', '{{}}', zeroblob(32), 'now', NULL)",
    "INSERT INTO entries VALUES (NULL, 'run', 3, 'note', '{}', zeroblob(32), 'now', NULL)",
    "UPDATE runs SET created_at = 'then'",
    "DELETE FROM runs",
    "REPLACE INTO runs (run_id, created_at) VALUES ('run', 'then')",
    "REPLACE INTO runs (number, run_id, created_at) VALUES (1, 'other', 'then')",
    "UPDATE journal SET body = 'else'",
    "DELETE FROM journal",
    "REPLACE INTO journal VALUES ('run', 1, 'ask', 'else', 'now')",
]


@pytest.mark.parametrize("statement", REFUSED)
def test_the_database_itself_refuses_what_is_no_addition(statement: str, filled: Path) -> None:
    with plain(filled) as database:
        before = list(database.iterdump())
        with pytest.raises(sqlite3.IntegrityError, match=r"^append-only$"):
            database.execute(statement)
        assert list(database.iterdump()) == before


def test_no_table_has_a_rowid_to_replace_by_but_the_keys_that_the_triggers_know(filled: Path) -> None:
    with plain(filled) as database:
        assert database.execute("SELECT rowid - number FROM runs").fetchall() == [(0,)]
        assert database.execute("SELECT rowid - id FROM entries").fetchall() == [(0,)] * FILLED
        with pytest.raises(sqlite3.OperationalError, match="no such column: rowid"):
            database.execute("SELECT rowid FROM journal")


@pytest.mark.parametrize(
    "statement",
    [
        f"INSERT INTO entries VALUES ({FIRST + 3}, 'run', 3, 'note', x'7b7d', zeroblob(32), 'now', NULL)",
        f"INSERT INTO entries VALUES ({FIRST + 3}, 'run', 3, 'note', '{{}}', zeroblob(31), 'now', NULL)",
        f"INSERT INTO entries VALUES ({FIRST + 3}, 'run', 3, 'note', '{{}}', zeroblob(32), 'now', zeroblob(31))",
        "INSERT INTO journal VALUES ('run', 'one', 'ask', '{}', 'now')",
        "INSERT INTO runs (number, run_id, created_at) VALUES (2147483648, 'new', 'now')",
    ],
)
def test_a_column_takes_its_own_type_only(statement: str, filled: Path) -> None:
    with plain(filled) as database, pytest.raises(sqlite3.IntegrityError, match=r"cannot store|CHECK"):
        database.execute(statement)


def test_the_ledger_can_be_read_with_plain_sqlite(filled: Path) -> None:
    with plain(filled) as database:
        rows = database.execute("SELECT run_id, seq, kind, body, leaf_hash FROM entries ORDER BY seq").fetchall()
        roots = database.execute("SELECT root FROM entries ORDER BY seq").fetchall()
    assert rows == [("run", seq, *entry) for seq, entry in enumerate(notes(0, FILLED))]
    assert roots == [(None,), (None,), (head_of(notes(0, FILLED)).root,)]


def test_the_entries_of_each_run_have_ids_of_their_own(path: Path) -> None:
    async def fill(ledger: SqliteLedger) -> None:
        for run_id in "ab":
            await ledger.create_run(run_id)
        for size in range(FILLED):
            for run_id in "ab":
                await ledger.append(run_id, size, notes(size, size + 1))

    use(path, fill)
    with plain(path) as database:
        rows = database.execute("SELECT run_id, id, first_id, last_id FROM runs JOIN entries USING (run_id)").fetchall()
    assert rows == [
        (run_id, n * FIRST + seq, n * FIRST, (n + 1) * FIRST - 1)
        for n, run_id in enumerate("ab", 1)
        for seq in range(FILLED)
    ]


# --- cost -----------------------------------------------------------------------------------------------------------


def statements(ledger: SqliteLedger) -> list[str]:
    """Return a list that takes the first word of each statement; those of a trigger repeat what fired it."""
    words: list[str] = []
    connection(ledger).set_trace_callback(lambda statement: words.append(statement.split()[0]))
    return words


def test_an_append_is_one_transaction_whatever_the_size_of_the_run(path: Path) -> None:
    async def run(ledger: SqliteLedger) -> None:
        await ledger.create_run("run")
        await ledger.append("run", 0, notes(0, 2))
        size, work = 2, []
        for more in (3, 5_000, 3):
            words = statements(ledger)
            await ledger.append("run", size, notes(size, size + more))
            size += more
            assert list(dict.fromkeys(words)) == ["BEGIN", "INSERT", "COMMIT"]
            assert [words.count(word) for word in ("BEGIN", "COMMIT")] == [1, 1]
            work.append(words)
        assert work[0] == work[2]

    use(path, run)


def steps(ledger: SqliteLedger) -> Iterator[int]:
    """Count the instructions that SQLite has executed since it was asked the last time."""
    count = 0

    def step() -> int:
        nonlocal count
        count += 1
        return 0

    connection(ledger).set_progress_handler(step, 1)
    while True:
        count = 0
        yield 0
        yield count


def test_an_append_and_a_list_of_runs_do_the_same_work_on_a_long_run_as_on_a_short_one(path: Path) -> None:
    async def run(ledger: SqliteLedger) -> None:
        await ledger.create_run("run")
        size = 2
        await ledger.append("run", 0, notes(0, size))
        counter = steps(ledger)
        work = []
        for more in (3, 5_000, 3):
            next(counter)
            await ledger.append("run", size, notes(size, size + more))
            appending = next(counter)
            next(counter)
            await ledger.runs()
            work.append((appending, next(counter)))
            size += more
        assert work[0] == work[2]
        assert work[0][0] > 0

    use(path, run)


def test_reading_a_run_is_the_same_work_however_many_others_there_are(path: Path) -> None:
    async def run(ledger: SqliteLedger) -> None:
        work = []
        for run_ids, size in (("abc", 10), ("defg", 1_000)):
            for run_id in run_ids:
                await ledger.create_run(run_id)
                await ledger.append(run_id, 0, notes(0, size))
            counter = steps(ledger)
            next(counter)
            assert [entry.sequence for entry in await ledger.read("b", 7)] == [7, 8, 9]
            assert (await ledger.head("b")).size == 10
            work.append(next(counter))
        assert work[0] == work[1]

    use(path, run)


def test_the_journal_is_written_with_one_commit(filled: Path) -> None:
    async def run(ledger: SqliteLedger) -> None:
        words = statements(ledger)
        await ledger.record_effect("run", 2, "ask", "{}")
        assert list(dict.fromkeys(words)) == ["BEGIN", "SELECT", "INSERT", "COMMIT"]
        assert words.count("COMMIT") == 1

    use(filled, run)


def test_more_runs_than_are_kept_at_hand_have_the_right_heads(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MAX_LOGS", 2)

    async def run(ledger: SqliteLedger) -> None:
        for run_id in "abcd":
            await ledger.create_run(run_id)
        for size in range(3):
            for run_id in "abcd":
                assert await ledger.append(run_id, size, notes(size, size + 1)) == head_of(notes(0, size + 1))
        assert len(ledger._open) == 2

    use(path, run)


def test_an_append_that_failed_is_forgotten_even_when_somebody_else_appends_as_much(path: Path) -> None:
    async def run(ledger: SqliteLedger) -> None:
        await ledger.create_run("run")
        await ledger.append("run", 0, notes(0, 1))
        no_text = Entry("note", b"{}", leaf_hash(b"{}"))  # type: ignore[arg-type]  # the table is strict
        await raised(LedgerError, ledger.append("run", 1, [*notes(7, 8), no_text]))
        other = SqliteLedger(path)
        await other.append("run", 1, notes(1, 3))
        await other.close()
        assert await ledger.append("run", 3, notes(3, 4)) == head_of(notes(0, 4))

    use(path, run)


def test_the_fence_holds_without_the_triggers_as_well(path: Path) -> None:
    async def run(ledger: SqliteLedger) -> None:
        await ledger.create_run("run")
        await ledger.append("run", 0, notes(0, 1))
        tamper(path)
        other = SqliteLedger(path)
        await other.append("run", 1, notes(1, 3))
        await other.close()
        assert (await raised(LedgerConflict, ledger.append("run", 1, notes(5, 6)))).found_size == 3
        assert await ledger.head("run") == head_of(notes(0, 3))

    use(path, run)


# --- opening --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("synchronous", "level"), [("NORMAL", 1), ("FULL", 2)])
def test_the_file_is_in_wal_mode_and_as_durable_as_asked(
    synchronous: store.Synchronous, level: int, path: Path
) -> None:
    ledger = SqliteLedger(path, synchronous=synchronous)
    modes = [connection(ledger).execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    anyio.run(ledger.close)
    assert modes == ["wal", level]


def test_an_unknown_degree_of_durability_is_refused(path: Path) -> None:
    with pytest.raises(MisuseError, match="NORMAL, FULL, not 'SOMETIMES'"):
        SqliteLedger(path, synchronous="SOMETIMES")  # type: ignore[arg-type]


def test_a_ledger_opens_while_another_process_writes(filled: Path) -> None:
    async def run(ledger: SqliteLedger) -> None:
        assert len(await ledger.read("run")) == FILLED

    with plain(filled) as database:
        database.execute("BEGIN IMMEDIATE")
        use(filled, run)


def test_a_lock_that_is_never_released_is_an_error_that_says_so(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BUSY_TIMEOUT_S", 0)

    async def run(ledger: SqliteLedger) -> None:
        error = await raised(LedgerError, ledger.append("run", FILLED, notes(3, 4)))
        assert f"{filled}: another process has kept it locked" in str(error)

    with plain(filled) as database:
        database.execute("BEGIN IMMEDIATE")
        use(filled, run)


def test_a_path_may_hold_what_has_a_meaning_in_urls(tmp_path: Path) -> None:
    path = tmp_path / "50% off?mode=ro#&.db"
    anyio.run(SqliteLedger(path).close)
    assert path.is_file()


def unopenable(path: Path, *, read_only: bool = False) -> str:
    """Return why a file is not opened, which the error says after the path."""
    with pytest.raises(LedgerError) as caught:
        SqliteLedger(path, read_only=read_only)
    start, reason = str(caught.value)[: len(f"ledger {path}: ")], str(caught.value)[len(f"ledger {path}: ") :]
    assert start == f"ledger {path}: "
    return reason


@pytest.mark.parametrize("read_only", [False, True])
def test_a_file_that_is_no_database_is_refused_and_left_alone(read_only: bool, path: Path) -> None:
    text = "not a database\n" * 100
    path.write_text(text)
    assert unopenable(path, read_only=read_only).startswith("the file is no SQLite database")
    assert path.read_text() == text


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("table", ["songs", "_sqlite_migrations", "entries"])
def test_a_database_of_something_else_is_refused_and_left_alone(table: str, read_only: bool, path: Path) -> None:
    with plain(path) as database:
        database.execute(f"CREATE TABLE {table} (title TEXT, migration_set TEXT)")
        database.execute(f"INSERT INTO {table} VALUES ('Money', 'converge')")
    before = path.read_bytes()
    assert unopenable(path, read_only=read_only) == "the file is a database of something else"
    assert path.read_bytes() == before


@pytest.mark.parametrize("read_only", [False, True])
def test_a_ledger_of_a_later_version_is_refused(read_only: bool, filled: Path) -> None:
    insert = "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('converge', 'm999_later', '')"
    tamper(filled, insert)
    assert unopenable(filled, read_only=read_only) == "the file is a ledger of a later version of Converge"


def test_a_damaged_file_is_refused(filled: Path) -> None:
    content = bytearray(filled.read_bytes())
    content[100:2000] = bytes(1900)
    filled.write_bytes(content)
    assert unopenable(filled).startswith("the file is damaged")


def test_what_a_damaged_file_makes_sqlite_say_need_not_be_text(filled: Path) -> None:
    filled.write_bytes(filled.read_bytes().replace(b"CREATE TABLE journal", b"CREATE \xffABLE journal"))
    assert unopenable(filled).startswith("the file is damaged")


def test_a_folder_is_no_ledger(tmp_path: Path) -> None:
    assert unopenable(tmp_path).startswith("the file cannot be opened")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert unopenable(tmp_path / "file" / "ledger.db").startswith("its folder cannot be made")


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="the open files of a process are not to be seen")
def test_a_file_that_was_refused_is_released_at_once(path: Path) -> None:
    path.write_text("not a database\n" * 100)
    opened = len(list(Path("/dev/fd").iterdir()))
    with pytest.raises(LedgerError) as caught:
        SqliteLedger(path)
    assert caught.tb is not None  # which keeps the connection from being collected
    assert len(list(Path("/dev/fd").iterdir())) == opened


def test_opening_to_read_creates_nothing(tmp_path: Path) -> None:
    assert unopenable(tmp_path / "new" / "ledger.db", read_only=True).startswith("the file cannot be opened")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_file_is_no_ledger_to_read_but_one_to_begin(path: Path) -> None:
    path.touch()
    assert unopenable(path, read_only=True) == "the file is no ledger yet"
    anyio.run(SqliteLedger(path).close)
    anyio.run(SqliteLedger(path, read_only=True).close)


def test_a_ledger_opened_to_read_can_be_read(filled: Path) -> None:
    async def run(ledger: SqliteLedger) -> None:
        assert len(await ledger.read("run")) == FILLED
        assert await ledger.head("run") == head_of(notes(0, FILLED))
        assert [info.size for info in await ledger.runs()] == [FILLED]
        assert await ledger.recorded_effects("run", 1) == {"ask": "{}"}

    use(filled, run, read_only=True)


def test_a_ledger_opened_to_read_refuses_to_be_written(filled: Path) -> None:
    async def run(ledger: SqliteLedger) -> None:
        for attempt in (
            ledger.create_run("new"),
            ledger.append("run", FILLED, notes(3, 4)),
            ledger.record_effect("run", 2, "ask", "{}"),
        ):
            assert "the file may only be read" in str(await raised(LedgerError, attempt))

    use(filled, run, read_only=True)


def test_every_migration_of_the_schema_is_applied_once(filled: Path) -> None:
    anyio.run(SqliteLedger(filled).close)
    with plain(filled) as database:
        applied = [name for (name,) in database.execute("SELECT name FROM _sqlite_migrations")]
    assert applied == ["m001_append_only_tables", "m002_entries_side_by_side"]
    assert MIGRATIONS.name == "converge"


def test_a_closed_ledger_can_be_closed_again_and_does_nothing_else(path: Path) -> None:
    async def run() -> None:
        ledger = SqliteLedger(path)
        await ledger.close()
        await ledger.close()
        for attempt in (ledger.create_run("run"), ledger.read("run"), ledger.runs()):
            assert "closed" in str(await raised(LedgerError, attempt))

    anyio.run(run)


# --- files that were tampered with ----------------------------------------------------------------------------------


def corrupt(path: Path, task: Callable[[SqliteLedger], Awaitable[object]]) -> LedgerCorrupt:
    """Return the error that a task meets in a ledger that is not what was written."""
    errors = []

    async def run(ledger: SqliteLedger) -> None:
        errors.append(await raised(LedgerCorrupt, task(ledger)))

    use(path, run)
    [error] = errors
    assert error.run_id == "run"
    return error


@pytest.mark.parametrize(
    "statement", ["DELETE FROM entries WHERE seq = 2", "UPDATE entries SET leaf_hash = zeroblob(32) WHERE seq = 2"]
)
def test_x20_a_run_whose_end_is_corrupt_is_not_begun_again(statement: str, filled: Path) -> None:
    async def begin_again(ledger: SqliteLedger) -> None:
        await raised(LedgerConflict, ledger.create_run("run"))
        await raised(LedgerConflict, ledger.append("run", 0, [note("genesis")]))

    tamper(filled, statement)
    use(filled, begin_again)


def test_td010_a_run_is_a_log_of_its_own_and_only_the_one_that_was_changed_is_corrupt(path: Path) -> None:
    runs = [f"run-{number}" for number in range(10)]

    async def fill(ledger: SqliteLedger) -> None:
        for run_id in runs:
            await ledger.create_run(run_id)
            await ledger.append(run_id, 0, notes(0, FILLED))

    async def check(ledger: SqliteLedger) -> None:
        for run_id in runs:
            if run_id == "run-7":
                error = await raised(LedgerCorrupt, ledger.head(run_id))
                assert (error.run_id, error.sequence) == (run_id, 1)
            else:
                assert (await ledger.head(run_id)).size == FILLED

    use(path, fill)
    tamper(
        path,
        "PRAGMA ignore_check_constraints = ON",
        "UPDATE entries SET leaf_hash = zeroblob(31) WHERE run_id = 'run-7' AND seq = 1",
    )
    use(path, check)


@pytest.mark.parametrize("column", ["kind", "body", "recorded_at"])
def test_bytes_that_are_no_text_are_found_by_their_entry(column: str, filled: Path) -> None:
    tamper(filled, f"UPDATE entries SET {column} = CAST(x'7bff7d' AS TEXT) WHERE seq = 1")
    error = corrupt(filled, lambda ledger: ledger.read("run"))
    assert (error.sequence, error.expected) == (1, "UTF-8 text")


def test_a_row_that_is_no_entry_is_found(filled: Path) -> None:
    tamper(
        filled,
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET sql = replace(sql, ') STRICT', ')') WHERE name = 'entries'",
        "PRAGMA writable_schema = RESET",
        "UPDATE entries SET body = x'7b7d' WHERE seq = 1",
    )
    error = corrupt(filled, lambda ledger: ledger.read("run"))
    assert (error.sequence, error.expected) == (1, "an entry")


@pytest.mark.parametrize(
    ("statement", "sequence"),
    [
        ("DELETE FROM entries WHERE seq = 1", 1),
        ("DELETE FROM entries WHERE seq = 0", 0),
        ("UPDATE entries SET seq = -1 WHERE seq = 0", 0),
    ],
)
def test_a_gap_is_found_by_its_place(statement: str, sequence: int, filled: Path) -> None:
    tamper(filled, statement)
    assert corrupt(filled, lambda ledger: ledger.head("run")).sequence == sequence
    assert corrupt(filled, lambda ledger: ledger.append("run", FILLED, [note("more")])).sequence == sequence


@pytest.mark.parametrize("seq", [0, FILLED - 1])
def test_an_entry_that_was_given_to_another_run_is_missed(seq: int, filled: Path) -> None:
    tamper(filled, f"UPDATE entries SET run_id = 'other' WHERE seq = {seq}")
    assert corrupt(filled, lambda ledger: ledger.head("run")).sequence == seq
    assert corrupt(filled, lambda ledger: ledger.append("run", FILLED, [note("more")])).sequence == seq


def test_a_leaf_that_is_no_hash_is_found(filled: Path) -> None:
    tamper(filled, "PRAGMA ignore_check_constraints = ON", "UPDATE entries SET leaf_hash = zeroblob(31) WHERE seq = 2")
    assert corrupt(filled, lambda ledger: ledger.head("run")).sequence == 2


def test_roots_that_were_stored_show_which_append_was_changed(path: Path) -> None:
    async def fill(ledger: SqliteLedger) -> None:
        await ledger.create_run("run")
        for size in range(0, 6, 2):
            await ledger.append("run", size, notes(size, size + 2))

    async def compare(ledger: SqliteLedger) -> None:
        stored = await ledger.read("run")
        leaves = [entry.leaf for entry in stored]
        whole = [entry.root == root_of(leaves[: entry.sequence + 1]) for entry in stored if entry.root]
        assert whole == [True, False, False]

    use(path, fill)
    tamper(
        path,
        "UPDATE entries SET id = -1 WHERE seq = 2",
        "UPDATE entries SET id = id - 1, seq = 2 WHERE seq = 3",
        f"UPDATE entries SET id = {FIRST + 3}, seq = 3 WHERE id = -1",
    )
    use(path, compare)
