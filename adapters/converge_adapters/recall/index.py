"""The index behind lexical recall: one SQLite file with the memories of one tenant's past, and an FTS5 table of words.

An index holds nothing that a ledger does not, and says of which run, at which head, it has what; so it is brought up to
date run by run, and made anew from nothing. Tenants have a file each: not even the statistics by which words are
weighed know of another's.
"""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, fields
from pathlib import Path

from converge_core.errors import LedgerError
from converge_core.recall.memories import Memory
from converge_core.recall.payloads import CandidateSourceType

VERSION = 1
"""The shape of the tables and the way words are cut; an index of another version is made anew."""
APPLICATION_ID = 0x43765263
BUSY_TIMEOUT_S = 30

_TABLES = (
    "CREATE TABLE about (tenant TEXT) STRICT",
    "CREATE TABLE runs (run_id TEXT NOT NULL PRIMARY KEY, head TEXT NOT NULL, stopped_at TEXT NOT NULL) STRICT",
    """
    CREATE TABLE memories (
        memory INTEGER PRIMARY KEY,
        run_id TEXT NOT NULL,
        sequence INTEGER NOT NULL,
        summary TEXT NOT NULL,
        detail TEXT NOT NULL,
        source_type TEXT NOT NULL,
        confidence REAL NOT NULL,
        corpus_version TEXT NOT NULL,
        subject TEXT,
        recorded_at TEXT NOT NULL,
        tenant TEXT
    ) STRICT
    """,
    "CREATE INDEX memories_of_run ON memories (run_id)",
    "CREATE VIRTUAL TABLE texts USING fts5(text, tokenize = 'porter unicode61 remove_diacritics 2')",
)
_COLUMNS = ", ".join(field.name for field in fields(Memory))
_INSERT = f"INSERT INTO memories ({_COLUMNS}) VALUES ({', '.join('?' * len(fields(Memory)))})"  # noqa: S608  # names only
_SELECT = f"SELECT {_COLUMNS} FROM memories WHERE memory = ?"  # noqa: S608  # names only


class RecallIndex:
    """An index in a file, or in memory without a path.

    Raises LedgerError, with the path in it, for a file that is no index, or one of another tenant, and for what SQLite
    cannot do.
    """

    def __init__(self, path: Path | None, tenant: str | None) -> None:
        self._path, self._tenant = path, tenant
        self._connection: sqlite3.Connection | None = None

    def runs(self) -> dict[str, tuple[str, str]]:
        """Return head and time of the end of every run that is in the index."""
        with self._used() as db:
            return {run_id: (head, at) for run_id, head, at in db.execute("SELECT run_id, head, stopped_at FROM runs")}

    def replace(self, gone: Iterable[str], added: Mapping[str, tuple[str, str, Sequence[Memory]]]) -> None:
        """Take runs out, and put runs in, each with its head, the time of its end and its memories; all or nothing."""
        with self._used() as db, _transaction(db):
            for run_id in {*gone, *added}:
                db.execute("DELETE FROM texts WHERE rowid IN (SELECT memory FROM memories WHERE run_id = ?)", (run_id,))
                db.execute("DELETE FROM memories WHERE run_id = ?", (run_id,))
                db.execute("DELETE FROM runs WHERE run_id = ?", (run_id,))
            for run_id, (head, stopped_at, memories) in added.items():
                db.execute("INSERT INTO runs VALUES (?, ?, ?)", (run_id, head, stopped_at))
                for memory in memories:
                    row = db.execute(_INSERT, astuple(memory)).lastrowid
                    db.execute("INSERT INTO texts (rowid, text) VALUES (?, ?)", (row, memory.text))

    @contextmanager
    def reading(self) -> Iterator[None]:
        """See the index as it is now until the end, whatever another process does with it."""
        with self._used() as db, _transaction(db, "DEFERRED"):
            yield

    def size(self) -> int:
        """Return how many memories there are."""
        with self._used() as db:
            return int(db.execute("SELECT count(*) FROM memories").fetchone()[0])

    def having(self, word: str) -> set[int]:
        """Return the memories, by number, that have a word."""
        with self._used() as db:
            return {row for (row,) in db.execute("SELECT rowid FROM texts WHERE texts MATCH ?", (_quoted(word),))}

    def scores(self, words: Iterable[str]) -> dict[int, float]:
        """Return the BM25 of every memory that has any of these words; more is better."""
        wanted = " OR ".join(map(_quoted, words))
        if not wanted:
            return {}
        with self._used() as db:
            return dict(db.execute("SELECT rowid, -bm25(texts) FROM texts WHERE texts MATCH ?", (wanted,)))

    def memory(self, number: int) -> Memory:
        """Return a memory."""
        with self._used() as db:
            values = dict(
                zip((field.name for field in fields(Memory)), db.execute(_SELECT, (number,)).fetchone(), strict=True)
            )
        return Memory(**values | {"source_type": CandidateSourceType(values["source_type"])})

    @contextmanager
    def _used(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection; whatever SQLite says is told with the file's name."""
        try:
            if self._connection is None:
                self._connection = self._opened()
                weakref.finalize(self, self._connection.close)
            yield self._connection
        except sqlite3.Error as error:
            hint = "; it can be deleted, and is then made anew from the ledger" if self._path is not None else ""
            raise LedgerError(f"recall index {self._path or 'in memory'}: {error}{hint}") from error

    def _opened(self) -> sqlite3.Connection:
        place = self._path or ":memory:"  # used by one task at a time, but closed by whichever thread collects it
        connection = sqlite3.connect(place, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        try:
            with _transaction(connection):
                self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, db: sqlite3.Connection) -> None:
        """Make the tables where there are none of this version."""
        owner, version = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        if tables and owner != APPLICATION_ID:
            raise LedgerError(f"recall index {self._path}: the file is a database of something else")
        if tables:  # `about` is the same in every version
            [(tenant,)] = db.execute("SELECT tenant FROM about")
            if tenant != self._tenant:
                raise LedgerError(f"recall index {self._path}: it is that of another tenant")
        if version == VERSION:
            return
        for table in ("about", "runs", "memories", "texts"):
            db.execute(f"DROP TABLE IF EXISTS {table}")
        for table in _TABLES:
            db.execute(table)
        db.execute("INSERT INTO about VALUES (?)", (self._tenant,))
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {VERSION}")


@contextmanager
def _transaction(db: sqlite3.Connection, how: str = "IMMEDIATE") -> Iterator[None]:
    db.execute(f"BEGIN {how}")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise


def _quoted(word: str) -> str:
    """Return a word as FTS5 takes it for a word, whatever it says."""
    return '"' + word.replace('"', '""') + '"'
