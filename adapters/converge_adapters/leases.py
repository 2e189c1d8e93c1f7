"""Leases in one SQLite file, which lies beside the ledger; and in memory, for embedding and for tests.

A ledger never changes what it holds and triggers see to that; a lease is there to be changed and to be forgotten. So
they have a file of their own: the history stays append-only to the last table, and who deletes the leases has lost none
of it. Every write takes SQLite's lock when it begins, decides on what it finds, and is on the disk before it returns:
unlike a run, which only ever loses its end, a claim that was lost would be made twice.
"""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING

from converge_adapters.ledgers.wall_clock import Now, utc_now
from converge_core.errors import LedgerError
from converge_core.leases import Lease, Retention, claimed, released, renewed

if TYPE_CHECKING:
    from converge_adapters.ledgers.sqlite import Synchronous

APPLICATION_ID = 0x43764C73
VERSION = 1
BUSY_TIMEOUT_S = 30
DEFAULT = Retention()

_TABLES = (
    """
    CREATE TABLE leases (
        slot TEXT NOT NULL PRIMARY KEY,
        owner TEXT NOT NULL,
        claimed_at INTEGER NOT NULL,
        ends_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX leases_by_end ON leases (ends_at)",
)


def leases_path(ledger: Path) -> Path:
    """Return the file for the leases of a ledger: ``ledger.leases.db`` beside ``ledger.db``."""
    return ledger.with_name(f"{ledger.stem}.leases{ledger.suffix}")


def _milliseconds(now: Now) -> int:
    return round(now().timestamp() * 1000)


class MemoryLeases:
    """Implements the port `Leases`. What it holds is gone with it."""

    def __init__(self, *, retention: Retention = DEFAULT, now: Now = utc_now) -> None:
        self._retention, self._now = retention, now
        self._leases: dict[str, Lease] = {}

    async def claim(self, slot: str, owner: str, ttl_ms: int) -> Lease:
        now = _milliseconds(self._now)
        lease = self._put(claimed(self._leases.get(slot), slot, owner, ttl_ms, now))
        self._forget(now)
        return lease

    async def renew(self, lease: Lease, ttl_ms: int) -> Lease:
        return self._put(renewed(self._leases.get(lease.slot), lease, ttl_ms, _milliseconds(self._now)))

    async def release(self, lease: Lease) -> None:
        now = _milliseconds(self._now)
        self._put(released(self._leases.get(lease.slot), lease, now))
        self._forget(now)

    async def active(self, prefix: str = "") -> Sequence[Lease]:
        now = _milliseconds(self._now)
        held = [lease for lease in self._leases.values() if lease.is_held(now) and lease.slot.startswith(prefix)]
        return tuple(sorted(held, key=lambda lease: lease.slot))

    async def prune(self) -> int:
        return self._forget(_milliseconds(self._now))

    async def close(self) -> None:
        """Nothing is held that would need to be released."""

    def _put(self, lease: Lease) -> Lease:
        self._leases[lease.slot] = lease
        return lease

    def _forget(self, now: int) -> int:
        before = len(self._leases)
        ended = sorted((lease for lease in self._leases.values() if not lease.is_held(now)), key=_by_end)
        old = sum(lease.ends_at <= self._retention.cutoff(now) for lease in ended)
        for lease in ended[: max(old, self._retention.surplus(before))]:
            del self._leases[lease.slot]
        return before - len(self._leases)


def _by_end(lease: Lease) -> tuple[int, str]:
    return lease.ends_at, lease.slot


class SqliteLeases:
    """Implements the port `Leases` on one file, which is opened, and made, when it is first used.

    ``synchronous`` is that of `SqliteLedger`; with ``"FULL"`` a claim survives a loss of power, for one fsync each.
    Raises LedgerError, with the path in it, for a file that is something else, and for what SQLite cannot do.
    """

    def __init__(
        self,
        path: Path,
        *,
        retention: Retention = DEFAULT,
        synchronous: Synchronous = "FULL",
        now: Now = utc_now,
    ) -> None:
        self._path, self._retention, self._synchronous, self._now = path, retention, synchronous, now
        self._connection: sqlite3.Connection | None = None

    async def claim(self, slot: str, owner: str, ttl_ms: int) -> Lease:
        with self._writing() as db:
            now = _milliseconds(self._now)
            lease = _put(db, claimed(_find(db, slot), slot, owner, ttl_ms, now))
            self._forget(db, now)
            return lease

    async def renew(self, lease: Lease, ttl_ms: int) -> Lease:
        with self._writing() as db:
            return _put(db, renewed(_find(db, lease.slot), lease, ttl_ms, _milliseconds(self._now)))

    async def release(self, lease: Lease) -> None:
        with self._writing() as db:
            now = _milliseconds(self._now)
            _put(db, released(_find(db, lease.slot), lease, now))
            self._forget(db, now)

    async def active(self, prefix: str = "") -> Sequence[Lease]:
        select = "SELECT * FROM leases WHERE ends_at > ?1 AND substr(slot, 1, length(?2)) = ?2 ORDER BY slot"
        with self._used() as db:
            rows = db.execute(select, (_milliseconds(self._now), prefix)).fetchall()
        return tuple(Lease(*row) for row in rows)

    async def prune(self) -> int:
        with self._writing() as db:
            return self._forget(db, _milliseconds(self._now))

    async def close(self) -> None:
        """Close the file; it is opened again when it is used again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _forget(self, db: sqlite3.Connection, now: int) -> int:
        old = db.execute("DELETE FROM leases WHERE ends_at <= ?", (self._retention.cutoff(now),)).rowcount
        surplus = self._retention.surplus(db.execute("SELECT count(*) FROM leases").fetchone()[0])
        if not surplus:
            return old
        ended = "SELECT slot FROM leases WHERE ends_at <= ? ORDER BY ends_at, slot LIMIT ?"
        return old + db.execute(f"DELETE FROM leases WHERE slot IN ({ended})", (now, surplus)).rowcount  # noqa: S608

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Write everything that happens inside, or nothing, while nobody else writes."""
        with self._used() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                db.execute("ROLLBACK")
                raise

    @contextmanager
    def _used(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection; whatever the disk or SQLite says is told with the file's name."""
        try:
            if self._connection is None:
                self._connection = self._opened()
                weakref.finalize(self, self._connection.close)
            yield self._connection
        except (sqlite3.Error, OSError) as error:
            raise LedgerError(f"leases {self._path}: {error}") from error

    def _opened(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # It is used by one task at a time, but closed by whichever thread collects it.
        connection = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        try:
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            self._prepare(connection)
            with suppress(sqlite3.OperationalError):  # who is in the way may be about to switch, too; it works as it is
                connection.execute("PRAGMA journal_mode = WAL")
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, db: sqlite3.Connection) -> None:
        """Make the table where there is none, once, whoever else is about to."""
        db.execute("BEGIN IMMEDIATE")
        owner, version = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
        tables = db.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table'").fetchone()[0]
        if tables and (owner, version) != (APPLICATION_ID, VERSION):
            raise LedgerError(f"leases {self._path}: the file is of something else, or of another version")
        if not tables:
            for statement in _TABLES:
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {VERSION}")
        db.execute("COMMIT")


def _find(db: sqlite3.Connection, slot: str) -> Lease | None:
    row = db.execute("SELECT * FROM leases WHERE slot = ?", (slot,)).fetchone()
    return None if row is None else Lease(*row)


def _put(db: sqlite3.Connection, lease: Lease) -> Lease:
    db.execute("INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?)", astuple(lease))
    return lease
