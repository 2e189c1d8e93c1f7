"""The ledger in one SQLite file: append-only tables, one commit an append, readable with ``sqlite3``.

The methods are ``async`` because the port is, but they call SQLite in the thread that awaits them: an append takes
about as long as handing it to another thread and back does four times over. So none of them ever gives way, and each
one is atomic to the tasks of its event loop; other processes are kept out by SQLite's lock, which every write takes
when it begins (``BEGIN IMMEDIATE``: a lock wanted only later is refused at once, whatever the time-out), and by the
fence of the port. A ledger belongs to the thread that opened it.

``synchronous="NORMAL"`` survives the death of the process at any point; after a loss of power the last appends may be
missing, as whole appends from the end. ``"FULL"`` survives that too, for one fsync an append, which takes ten times as
long. Either way what is found is a whole prefix of what was appended.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args

from sqlite_utils import Database

from converge_adapters.ledgers.migrations import MIGRATIONS, Schema, schema_of
from converge_adapters.ledgers.wall_clock import Now, timestamp, utc_now
from converge_core.errors import LedgerConflict, LedgerCorrupt, LedgerError, MisuseError, UnknownRun
from converge_core.ledger.events import Entry
from converge_core.ledger.hashes import DIGEST_SIZE
from converge_core.ledger.merkle import Head, MerkleLog
from converge_core.ports import RunInfo, StoredEntry

Synchronous = Literal["NORMAL", "FULL"]

BUSY_TIMEOUT_S = 30
MAX_LOGS = 1_000
"""Runs whose Merkle log is kept at hand (about 1 kB each); that of another is rebuilt from its leaves."""

_FAULTS = {
    sqlite3.SQLITE_BUSY: f"another process has kept it locked for {BUSY_TIMEOUT_S} s",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened",
    sqlite3.SQLITE_CORRUPT: "the file is damaged",
    sqlite3.SQLITE_FULL: "disk full, nothing was written",
    sqlite3.SQLITE_IOERR: "the disk failed, nothing was written",
    sqlite3.SQLITE_NOTADB: "the file is no SQLite database",
    sqlite3.SQLITE_READONLY: "the file may only be read",
}

_READ = """
    SELECT seq, kind, body, leaf_hash, root, recorded_at FROM entries WHERE run_id = ? AND seq >= ? ORDER BY seq
"""
_READ_TEXTS = """
    SELECT seq, CAST(kind AS BLOB), CAST(body AS BLOB), CAST(recorded_at AS BLOB)
    FROM entries WHERE run_id = ? AND seq >= ? ORDER BY seq
"""
_ENTRY_TYPES = {(int, str, str, bytes, root, str) for root in (bytes, NoneType)}
_RUNS = """
    SELECT runs.run_id, runs.created_at,
        first.seq, first.kind, first.body, first.leaf_hash, first.root, first.recorded_at,
        last.seq, last.kind, last.body, last.leaf_hash, last.root, last.recorded_at
    FROM runs
    LEFT JOIN entries AS first ON first.run_id = runs.run_id AND first.seq = 0
    LEFT JOIN entries AS last ON last.run_id = runs.run_id
        AND last.seq = (SELECT max(seq) FROM entries WHERE run_id = runs.run_id)
    ORDER BY runs.created_at, runs.run_id
"""


class SqliteLedger:
    """Implements the port `Ledger` on one file, which is created, with its folders, unless it is opened to be read.

    Raises LedgerError, with the path in it, for a file that cannot be opened, is no database, is a database of
    something else, or was written by a later version; later on for a full or failing disk, a file that may only be
    read, and a lock that somebody keeps for `BUSY_TIMEOUT_S`. Whatever is raised, nothing was written.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        read_only: bool = False,
        synchronous: Synchronous = "NORMAL",
        now: Now = utc_now,
    ) -> None:
        if synchronous not in get_args(Synchronous):
            raise MisuseError(f"synchronous is one of {', '.join(get_args(Synchronous))}, not {synchronous!r}")
        self._path = Path(path)
        self._now = now
        self._logs: dict[str, MerkleLog] = {}
        with self._faults_named():
            connection = self._connect(read_only)
            try:
                self._db = Database(connection, execute_plugins=False)
                self._prepare(read_only, synchronous)
            except BaseException:
                connection.close()
                raise

    async def create_run(self, run_id: str) -> None:
        with self._transaction():
            size = self._find(run_id)
            if size is not None:
                raise LedgerConflict(run_id, 0, size)
            self._db.execute("INSERT INTO runs VALUES (?, ?)", (run_id, timestamp(self._now())))

    async def append(self, run_id: str, expected_size: int, entries: Sequence[Entry]) -> Head:
        with self._transaction():
            size = self._size(run_id)
            if size != expected_size:
                raise LedgerConflict(run_id, expected_size, size)
            # Out of the cache until the commit: whatever goes wrong, no log stays there that is ahead of the table.
            log = self._logs.pop(run_id, None)
            if log is None or log.size != size:
                log = self._read_log(run_id)
            self._db.conn.executemany(
                "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?)", self._rows(run_id, entries, log)
            )
        self._logs[run_id] = log
        if len(self._logs) > MAX_LOGS:
            del self._logs[next(iter(self._logs))]
        return log.head

    async def read(self, run_id: str, start: int = 0) -> Sequence[StoredEntry]:
        """Return the entries from ``start`` on, unchecked. Raises UnknownRun, and LedgerCorrupt for what is none."""
        with self._faults_named():
            try:
                rows = self._db.execute(_READ, (run_id, start)).fetchall()
            except sqlite3.OperationalError:
                self._find_undecodable(run_id, start)
                raise
            if not rows:
                self._size(run_id)
        for seq, row in enumerate(rows, start):
            if tuple(map(type, row)) not in _ENTRY_TYPES:
                raise LedgerCorrupt(run_id, seq, "an entry", f"a row of other types: {row!r:.200}")
        return tuple(map(StoredEntry._make, rows))

    async def runs(self) -> Sequence[RunInfo]:
        with self._faults_named():
            return tuple(map(_info, self._db.execute(_RUNS)))

    async def head(self, run_id: str) -> Head:
        """Return size and root, computed from the leaves. Raises UnknownRun, and LedgerCorrupt for a leaf missing."""
        with self._faults_named():
            self._size(run_id)
            return self._read_log(run_id).head

    async def record_effect(self, run_id: str, cycle: int, suggestor: str, body: str) -> None:
        """Keep the outcome of a finished call. The first one recorded for a call stays. Raises UnknownRun."""
        with self._transaction():
            self._size(run_id)
            self._db.execute(
                "INSERT INTO journal SELECT ?1, ?2, ?3, ?4, ?5 WHERE NOT EXISTS"
                " (SELECT 1 FROM journal WHERE (run_id, cycle, suggestor) = (?1, ?2, ?3))",
                (run_id, cycle, suggestor, body, timestamp(self._now())),
            )

    async def recorded_effects(self, run_id: str, cycle: int) -> Mapping[str, str]:
        with self._faults_named():
            select = "SELECT suggestor, body FROM journal WHERE run_id = ? AND cycle = ?"
            effects = dict(self._db.execute(select, (run_id, cycle)).fetchall())
            if not effects:
                self._size(run_id)
            return effects

    async def close(self) -> None:
        """Close the file. Closing again does nothing; everything else raises LedgerError from now on."""
        self._db.close()

    def _connect(self, read_only: bool) -> sqlite3.Connection:
        path = self._path.absolute()
        if not read_only:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise self._error(f"its folder cannot be made ({error})") from error
        uri = f"{path.as_uri()}?mode={'ro' if read_only else 'rwc'}"
        # No isolation level: the driver begins no transactions of its own.
        return sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)

    def _prepare(self, read_only: bool, synchronous: Synchronous) -> None:
        self._db.execute(f"PRAGMA synchronous = {synchronous}")
        schema = schema_of(self._db)
        if schema in (Schema.NEWER, Schema.FOREIGN) or (read_only and schema is Schema.BEHIND):
            raise self._error(f"the file is {schema.value}")
        if not read_only:
            self._enable_wal()  # first, for a new file: its tables then cost one write, and no journal beside it
        if schema is Schema.BEHIND:
            with self._transaction():
                schema = schema_of(self._db)  # again, now that nobody else can be creating it
                if schema in (Schema.NEWER, Schema.FOREIGN):
                    raise self._error(f"the file is {schema.value}")
                MIGRATIONS.apply(self._db)

    def _enable_wal(self) -> None:
        try:
            self._db.enable_wal()
        except sqlite3.OperationalError as error:
            # SQLite does not always wait here. Who is in the way may be about to switch too; if not, the file works
            # as it is, and the next one to open it switches.
            if _result_code(error) != sqlite3.SQLITE_BUSY:
                raise

    def _find(self, run_id: str) -> int | None:
        """Return the number of entries of a run, by look-ups in primary keys, or None where there is no such run."""
        select = "SELECT (SELECT max(seq) + 1 FROM entries WHERE run_id = ?1) FROM runs WHERE run_id = ?1"
        row = self._db.execute(select, (run_id,)).fetchone()
        return None if row is None else row[0] or 0

    def _size(self, run_id: str) -> int:
        size = self._find(run_id)
        if size is None:
            raise UnknownRun(run_id)
        return size

    def _read_log(self, run_id: str) -> MerkleLog:
        """Build the log from the leaves. Raises LedgerCorrupt for a gap, and for what is no leaf."""
        log = MerkleLog()
        select = "SELECT seq, leaf_hash FROM entries WHERE run_id = ? ORDER BY seq"
        for seq, leaf in self._db.execute(select, (run_id,)):
            if seq != log.size or not isinstance(leaf, bytes) or len(leaf) != DIGEST_SIZE:
                raise LedgerCorrupt(run_id, log.size, "its leaf hash", f"that of entry {seq}, {leaf!r:.100}")
            log.append(leaf)
        return log

    def _rows(self, run_id: str, entries: Sequence[Entry], log: MerkleLog) -> Iterator[tuple[object, ...]]:
        """Grow the log by the entries, and yield the row of each; the last one has the log's new root."""
        recorded_at = timestamp(self._now())
        end = log.size + len(entries)
        for entry in entries:
            log.append(entry.leaf)
            root = log.root() if log.size == end else None
            yield run_id, log.size - 1, entry.kind, entry.body, entry.leaf, recorded_at, root

    def _find_undecodable(self, run_id: str, start: int) -> None:
        """Raise LedgerCorrupt for the first entry with bytes that are not UTF-8: the driver does not say where."""
        for seq, *columns in self._db.execute(_READ_TEXTS, (run_id, start)):
            for column in columns:
                try:
                    (column or b"").decode()
                except UnicodeDecodeError as error:
                    raise LedgerCorrupt(run_id, seq, "UTF-8 text", str(error)) from None

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Write everything that happens inside, or nothing."""
        with self._faults_named():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.commit()
            except BaseException:
                self._db.rollback()
                raise

    @contextmanager
    def _faults_named(self) -> Iterator[None]:
        """Turn the faults of the disk and of SQLite into LedgerErrors that name the file."""
        try:
            yield
        except sqlite3.Error as error:
            fault = _FAULTS.get(_result_code(error))
            raise self._error(f"{fault} ({error})" if fault else str(error)) from error
        except UnicodeDecodeError as error:  # the driver decodes names and messages, too
            raise self._error(f"{_FAULTS[sqlite3.SQLITE_CORRUPT]} ({error})") from error

    def _error(self, reason: str) -> LedgerError:
        return LedgerError(f"ledger {self._path}: {reason}")


def _result_code(error: sqlite3.Error) -> int:
    """The primary result code: the lowest byte of the extended one. The driver's own errors have none, hence 0."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _info(row: tuple[Any, ...]) -> RunInfo:
    run_id, created_at, *columns = row
    first, last = (None if entry[0] is None else StoredEntry._make(entry) for entry in (columns[:6], columns[6:]))
    updated_at = last.recorded_at if last else created_at
    return RunInfo(run_id, last.sequence + 1 if last else 0, created_at, updated_at, first, last)
