"""What is known of the providers, in one SQLite file that outlives processes and is shared by those that use it.

A state is a row of JSON. It is read, changed and written in one transaction that holds SQLite's lock from its beginning
(``BEGIN IMMEDIATE``), so of any number of processes that ask a half-open circuit, one is let through. The methods call
SQLite in the thread that calls them, one thread at a time; an update takes well below a millisecond.

Nothing in the file is worth more than the time that it takes to learn it again: when it is damaged, the error says that
it can be deleted.
"""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import TypeVar

from converge_adapters.ledgers import default_path
from converge_core.errors import MisuseError
from converge_core.ledger.canonical import JsonValue, canonical, parse
from converge_core.llm.capacity import ProviderCapacityState, QuotaUse
from converge_core.llm.errors import CapacityError

APPLICATION_ID = 0x43764370
VERSION = 1
BUSY_TIMEOUT_S = 10

_TABLES = (
    "CREATE TABLE providers (provider TEXT NOT NULL PRIMARY KEY, state TEXT NOT NULL) STRICT, WITHOUT ROWID",
    """
    CREATE TABLE uses (
        user TEXT NOT NULL,
        action TEXT NOT NULL,
        use TEXT NOT NULL,
        PRIMARY KEY (user, action)
    ) STRICT, WITHOUT ROWID
    """,
)
_DAMAGE = {None, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_NOTADB}
"""What SQLite says of a file that is damaged. A table that is missing is an error like any; a text that is none has no
code."""
_HINT = "the file can be deleted: what it knows is then learned again"

A = TypeVar("A")


def capacity_path(environ: Mapping[str, str]) -> Path:
    """Return where the file is: beside the default ledger, so in ``CONVERGE_HOME`` where that is set."""
    return default_path(environ).with_name("capacity.db")


class SqliteCapacityStore:
    """Implements the port `CapacityStore` on a file, which is made, with its folders, by the first update.

    Raises CapacityError, with the path in it, for a file that is damaged, is a database of something else or of another
    version, and for whatever else SQLite cannot do. Whatever is raised, nothing was changed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = RLock()
        self._connection: sqlite3.Connection | None = None
        self._closed = False

    def read(self) -> Mapping[str, ProviderCapacityState]:
        with self._lock, self._faults_named():
            self._check_open()
            if self._connection is None and not self._path.exists():
                return {}
            rows = self._opened().execute("SELECT provider, state FROM providers ORDER BY provider").fetchall()
            return {provider: _state(provider, text) for provider, text in rows}

    def update(self, provider: str, change: Callable[[ProviderCapacityState], tuple[ProviderCapacityState, A]]) -> A:
        with self._transaction() as db:
            row = db.execute("SELECT state FROM providers WHERE provider = ?", (provider,)).fetchone()
            known = ProviderCapacityState(provider) if row is None else _state(provider, row[0])
            state, answer = change(known)
            if state != known:
                db.execute("INSERT OR REPLACE INTO providers VALUES (?, ?)", (provider, canonical(state.to_json())))
            return answer

    def update_use(self, user: str, action: str, change: Callable[[QuotaUse], tuple[QuotaUse, A]]) -> A:
        with self._transaction() as db:
            row = db.execute("SELECT use FROM uses WHERE (user, action) = (?, ?)", (user, action)).fetchone()
            known = QuotaUse() if row is None else _read(QuotaUse.from_json, row[0])
            use, answer = change(known)
            if use != known:
                db.execute("INSERT OR REPLACE INTO uses VALUES (?, ?, ?)", (user, action, canonical(use.to_json())))
            return answer

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._connection is not None:
                self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Write everything that happens inside, or nothing; nobody else writes meanwhile."""
        with self._lock, self._faults_named():
            self._check_open()
            db = self._opened()
            with _immediate(db):
                yield db

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise self._error(f"its folder cannot be made ({error})") from error
            db = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
            try:
                self._prepare(db)
            except BaseException:
                db.close()
                raise
            self._connection = db
            weakref.finalize(self, db.close)
        return self._connection

    def _prepare(self, db: sqlite3.Connection) -> None:
        """Make the tables in an empty file, and refuse one that is not of this version."""
        with _immediate(db):
            owner, version = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
            if owner != APPLICATION_ID:
                if db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                    raise self._error("the file is a database of something else")
                for table in _TABLES:
                    db.execute(table)
                db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                db.execute(f"PRAGMA user_version = {VERSION}")
            elif version != VERSION:
                raise self._error(f"the file is of version {version}, and this program knows {VERSION}; {_HINT}")
        db.execute("PRAGMA synchronous = NORMAL")
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if _code(error) != sqlite3.SQLITE_BUSY:  # who is in the way may be about to switch too; it works as it is
                raise

    def _check_open(self) -> None:
        if self._closed:
            raise MisuseError("this store of capacity is closed")

    @contextmanager
    def _faults_named(self) -> Iterator[None]:
        """Turn what SQLite says, and a row that is none, into errors that name the file."""
        try:
            yield
        except sqlite3.Error as error:
            raise self._error(f"{error}; {_HINT}" if _code(error) in _DAMAGE else str(error)) from error
        except _Unreadable as error:
            raise self._error(f"a row that is none: {error}; {_HINT}") from error

    def _error(self, reason: str) -> CapacityError:
        return CapacityError(str(self._path), reason)


class _Unreadable(Exception):
    """A row is not what a store writes."""


def _read(read: Callable[[JsonValue], A], text: str) -> A:
    try:
        return read(parse(text))
    except ValueError as error:
        raise _Unreadable(str(error)) from None


def _state(provider: str, text: str) -> ProviderCapacityState:
    state = _read(ProviderCapacityState.from_json, text)
    if state.provider_id != provider:
        raise _Unreadable(f"that of {provider!r} is of {state.provider_id!r}")
    return state


def _code(error: sqlite3.Error) -> int | None:
    """Return the primary result code: the lowest byte of the extended one. The driver's own errors have none."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


@contextmanager
def _immediate(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # SQLite may have given it up by itself
            db.execute("ROLLBACK")
        raise
