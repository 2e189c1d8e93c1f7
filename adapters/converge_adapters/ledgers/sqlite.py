"""The ledger in one SQLite file: append-only tables, one commit an append, readable with ``sqlite3``.

The methods are ``async`` because the port is, but they call SQLite in the thread that awaits them: an append takes
about as long as handing it to another thread and back does four times over. So none of them ever gives way, and each
one is atomic to the tasks of its event loop; other processes are kept out by SQLite's lock, which every write takes
when it begins (``BEGIN IMMEDIATE``: a lock wanted only later is refused at once, whatever the time-out), and by the
fence of the port: an entry that is not the next one of its run is refused by the table. A ledger belongs to the thread
that opened it.

``synchronous="NORMAL"`` survives the death of the process at any point; after a loss of power the last appends may be
missing, as whole appends from the end. ``"FULL"`` survives that too, for one fsync an append, which takes ten times as
long. Either way what is found is a whole prefix of what was appended.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from os import PathLike
from pathlib import Path
from types import NoneType
from typing import Any, Literal, NamedTuple, get_args

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

_FAULTY = (sqlite3.Error, UnicodeDecodeError)
"""What goes wrong with a file; the driver decodes names and messages, too."""

# The entries of a run lie between two ids, see the migrations; one among them that names another run is none of them.
_OF_RUN = """
    FROM runs JOIN entries ON id BETWEEN first_id + ?2 AND last_id AND entries.run_id = runs.run_id
    WHERE runs.run_id = ?1 ORDER BY id
"""
_READ = f"SELECT seq, kind, body, leaf_hash, root, recorded_at {_OF_RUN}"
_READ_TEXTS = f"SELECT seq, CAST(kind AS BLOB), CAST(body AS BLOB), CAST(recorded_at AS BLOB) {_OF_RUN}"
_READ_LEAVES = f"SELECT seq, leaf_hash {_OF_RUN}"
_FIND = """
    SELECT first_id, (SELECT coalesce(max(id) + 1 - first_id, 0) FROM entries WHERE id BETWEEN first_id AND last_id)
    FROM runs WHERE run_id = ?
"""
_RUNS = """
    SELECT runs.run_id, runs.created_at,
        first.seq, first.kind, first.body, first.leaf_hash, first.root, first.recorded_at,
        last.seq, last.kind, last.body, last.leaf_hash, last.root, last.recorded_at
    FROM runs
    LEFT JOIN entries AS first ON first.id = first_id
    LEFT JOIN entries AS last ON last.id = (SELECT max(id) FROM entries WHERE id BETWEEN first_id AND last_id)
    ORDER BY runs.created_at, runs.run_id
"""
_ENTRY_TYPES = {(int, str, str, bytes, root, str) for root in (bytes, NoneType)}


class _Place(NamedTuple):
    """Where a run is: the id of its first entry, and how many there are."""

    first_id: int
    size: int


class _Open(NamedTuple):
    """A run that is appended to: the id of its first entry, and its log."""

    first_id: int
    log: MerkleLog


class SqliteLedger:
    """Implements the port `Ledger` on one file, which is created, with its folders, unless it is opened to be read.

    A file of an earlier version is brought up to date when it is opened; to be read only, a copy of it in memory is.

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
        self._open: dict[str, _Open] = {}
        with self._faults_named():
            self._connection = self._connect(read_only)
            try:
                if read_only:
                    self._prepare_to_read()
                else:
                    self._prepare(synchronous)
            except BaseException:
                self._connection.close()
                raise

    async def create_run(self, run_id: str) -> None:
        with self._transaction():
            found = self._find(run_id)
            if found is not None:
                raise LedgerConflict(run_id, 0, found.size)
            insert = "INSERT INTO runs (run_id, created_at) VALUES (?, ?)"
            self._connection.execute(insert, (run_id, timestamp(self._now())))

    async def append(self, run_id: str, expected_size: int, entries: Sequence[Entry]) -> Head:
        with self._transaction():
            # Out of the cache until the commit: whatever goes wrong, no log stays there that is ahead of the table.
            run = self._open.pop(run_id, None)
            if run is None or run.log.size != expected_size or not entries:
                run = self._opened(run_id, expected_size)
            first_id, log = run
            log.extend([entry.leaf for entry in entries])
            recorded_at, head = timestamp(self._now()), log.head
            last = head.size - 1
            rows = [
                (first_id + seq, run_id, seq, *entry, recorded_at, head.root if seq == last else None)
                for seq, entry in enumerate(entries, expected_size)
            ]
            try:
                self._connection.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
            except sqlite3.IntegrityError:  # a trigger refuses whatever is not the next entry
                self._opened(run_id, expected_size)
                raise
        self._open[run_id] = run
        if len(self._open) > MAX_LOGS:
            del self._open[next(iter(self._open))]
        return head

    async def read(self, run_id: str, start: int = 0) -> Sequence[StoredEntry]:
        """Return the entries from ``start`` on, unchecked. Raises UnknownRun, and LedgerCorrupt for what is none."""
        with self._faults_named():
            try:
                rows = self._connection.execute(_READ, (run_id, start)).fetchall()
            except sqlite3.OperationalError:
                self._find_undecodable(run_id, start)
                raise
            if not rows:
                self._place(run_id)
        for seq, row in enumerate(rows, start):
            if tuple(map(type, row)) not in _ENTRY_TYPES:
                raise LedgerCorrupt(run_id, seq, "an entry", f"a row of other types: {row!r:.200}")
        return tuple(map(StoredEntry._make, rows))

    async def runs(self) -> Sequence[RunInfo]:
        with self._faults_named():
            return tuple(map(_info, self._connection.execute(_RUNS)))

    async def head(self, run_id: str) -> Head:
        """Return size and root, computed from the leaves. Raises UnknownRun, and LedgerCorrupt for a leaf missing."""
        with self._faults_named():
            return self._read_log(run_id, self._place(run_id).size).head

    async def record_effect(self, run_id: str, cycle: int, suggestor: str, body: str) -> None:
        """Keep the outcome of a finished call. The first one recorded for a call stays. Raises UnknownRun."""
        with self._transaction():
            self._place(run_id)
            self._connection.execute(
                "INSERT INTO journal SELECT ?1, ?2, ?3, ?4, ?5 WHERE NOT EXISTS"
                " (SELECT 1 FROM journal WHERE (run_id, cycle, suggestor) = (?1, ?2, ?3))",
                (run_id, cycle, suggestor, body, timestamp(self._now())),
            )

    async def recorded_effects(self, run_id: str, cycle: int) -> Mapping[str, str]:
        with self._faults_named():
            select = "SELECT suggestor, body FROM journal WHERE run_id = ? AND cycle = ?"
            effects = dict(self._connection.execute(select, (run_id, cycle)).fetchall())
            if not effects:
                self._place(run_id)
            return effects

    async def close(self) -> None:
        """Close the file. Closing again does nothing; everything else raises LedgerError from now on."""
        self._connection.close()

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

    def _prepare(self, synchronous: Synchronous) -> None:
        self._connection.execute(f"PRAGMA synchronous = {synchronous}")
        database = Database(self._connection, execute_plugins=False)
        schema = self._schema(database)
        self._enable_wal(database)  # first, for a new file: its tables then cost one write, and no journal beside it
        if schema is not Schema.CURRENT:
            with self._transaction():
                self._schema(database)  # again, now that nobody else can be creating it
                MIGRATIONS.apply(database)

    def _prepare_to_read(self) -> None:
        """See that there is a ledger. One of an earlier version is not changed, but copied to memory and read there."""
        schema = self._schema(Database(self._connection, execute_plugins=False))
        if schema is Schema.NONE:
            raise self._error(f"the file is {schema.value}")
        if schema is Schema.EARLIER:
            with closing(self._connection) as file:
                self._connection = sqlite3.connect(":memory:", isolation_level=None)
                file.backup(self._connection)
            MIGRATIONS.apply(Database(self._connection, execute_plugins=False))
            self._connection.execute("PRAGMA query_only = ON")

    def _schema(self, database: Database) -> Schema:
        """Return what the file is. Raises LedgerError when it is nothing for this program."""
        schema = schema_of(database)
        if schema in (Schema.NEWER, Schema.FOREIGN):
            raise self._error(f"the file is {schema.value}")
        return schema

    def _enable_wal(self, database: Database) -> None:
        try:
            database.enable_wal()
        except sqlite3.OperationalError as error:
            # SQLite does not always wait here. Who is in the way may be about to switch too; if not, the file works
            # as it is, and the next one to open it switches.
            if _result_code(error) != sqlite3.SQLITE_BUSY:
                raise

    def _find(self, run_id: str) -> _Place | None:
        """Return where a run is, by look-ups in keys, or None where there is no such run."""
        row = self._connection.execute(_FIND, (run_id,)).fetchone()
        return None if row is None else _Place._make(row)

    def _place(self, run_id: str) -> _Place:
        place = self._find(run_id)
        if place is None:
            raise UnknownRun(run_id)
        return place

    def _opened(self, run_id: str, expected_size: int) -> _Open:
        """Read what an append needs. Raises LedgerConflict where the run has grown, and as `_read_log` does."""
        first_id, size = self._place(run_id)
        if size != expected_size:
            raise LedgerConflict(run_id, expected_size, size)
        return _Open(first_id, self._read_log(run_id, size))

    def _read_log(self, run_id: str, size: int) -> MerkleLog:
        """Build the log from the leaves, ``size`` or more. Raises LedgerCorrupt for a gap, and for what is no leaf."""
        leaves: list[bytes] = []
        for seq, leaf in self._connection.execute(_READ_LEAVES, (run_id, 0)):
            if seq != len(leaves) or not isinstance(leaf, bytes) or len(leaf) != DIGEST_SIZE:
                raise LedgerCorrupt(run_id, len(leaves), "its leaf hash", f"that of entry {seq}, {leaf!r:.100}")
            leaves.append(leaf)
        if len(leaves) < size:
            raise LedgerCorrupt(run_id, len(leaves), "its leaf hash", "an entry of another run")
        return MerkleLog(leaves)

    def _find_undecodable(self, run_id: str, start: int) -> None:
        """Raise LedgerCorrupt for the first entry with bytes that are not UTF-8: the driver does not say where."""
        for seq, *columns in self._connection.execute(_READ_TEXTS, (run_id, start)):
            for column in columns:
                try:
                    (column or b"").decode()
                except UnicodeDecodeError as error:
                    raise LedgerCorrupt(run_id, seq, "UTF-8 text", str(error)) from None

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Write everything that happens inside, or nothing."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                self._connection.rollback()
                raise
        except _FAULTY as error:
            raise self._named(error) from error

    @contextmanager
    def _faults_named(self) -> Iterator[None]:
        """Turn the faults of the disk and of SQLite into LedgerErrors that name the file."""
        try:
            yield
        except _FAULTY as error:
            raise self._named(error) from error

    def _named(self, error: sqlite3.Error | UnicodeDecodeError) -> LedgerError:
        """Return the error that names the file."""
        if isinstance(error, UnicodeDecodeError):
            return self._error(f"{_FAULTS[sqlite3.SQLITE_CORRUPT]} ({error})")
        fault = _FAULTS.get(_result_code(error))
        return self._error(f"{fault} ({error})" if fault else str(error))

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
