"""Both stores of leases keep the promises of the port; what the one in a file does beside."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path

import anyio
import pytest

from converge_adapters.leases import MemoryLeases, SqliteLeases, leases_path
from converge_adapters.ledgers.sqlite import SqliteLedger
from converge_adapters.testing.leases import DurableLeasesConformance, Hands, LeasesConformance, slots
from converge_core import LedgerError
from converge_core.leases import DAY_MS, Leases, Retention

Now = Callable[[], datetime]


class TestMemoryLeases(LeasesConformance):
    def make_leases(self, tmp_path: Path, retention: Retention, now: Now) -> Leases:
        return MemoryLeases(retention=retention, now=now)


class TestSqliteLeases(DurableLeasesConformance):
    def make_leases(self, tmp_path: Path, retention: Retention, now: Now) -> Leases:
        return SqliteLeases(tmp_path / "new" / "leases.db", retention=retention, now=now)


def rows(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("SELECT count(*) FROM leases").fetchone()[0])


def test_td003_ten_thousand_claims_and_releases_leave_a_thousand_entries_and_a_small_file(tmp_path: Path) -> None:
    path = tmp_path / "leases.db"

    async def run() -> None:
        leases = SqliteLeases(path, synchronous="NORMAL")
        early = await leases.claim("early", "ann", DAY_MS)
        for number in range(10_000):
            await leases.release(await leases.claim(f"slot-{number}", "ann", DAY_MS))
        assert await leases.active() == (early,)
        await leases.close()

    anyio.run(run)
    assert rows(path) == 1000
    assert path.stat().st_size < 500_000


def test_td003_pruning_ends(tmp_path: Path) -> None:
    """The original's waits for its own lock for ever; the time limit of the test is the watchdog."""

    async def run() -> int:
        hands = Hands()
        leases = SqliteLeases(tmp_path / "leases.db", now=hands)
        await leases.release(await leases.claim("old", "ann", 1000))
        hands.ms = 25 * DAY_MS // 24
        pruned = await leases.prune()
        await leases.close()
        return pruned

    assert anyio.run(run) == 1


def test_s005_what_ended_a_day_ago_is_purged_from_its_own_store_and_counted(tmp_path: Path) -> None:
    async def run() -> None:
        hour, hands = DAY_MS // 24, Hands()
        own, other = (SqliteLeases(tmp_path / name, now=hands) for name in ("own.db", "other.db"))
        for leases in (own, other):
            hands.ms = 0
            await leases.claim("active for 48 h", "ann", 100 * hour)
            hands.ms = 23 * hour
            await leases.claim("released 25 h ago", "ann", hour)
            await leases.claim("released 23 h ago", "ann", 2 * hour)
        hands.ms = 48 * hour
        assert (await own.prune(), await own.prune()) == (1, 0)
        assert await slots(own) == ["active for 48 h"]
        await own.close()
        await other.close()

    anyio.run(run)
    assert (rows(tmp_path / "own.db"), rows(tmp_path / "other.db")) == (2, 3)


def test_the_leases_of_a_ledger_lie_beside_it() -> None:
    assert leases_path(Path("home/ledger.db")) == Path("home/ledger.leases.db")


def test_a_claim_that_fails_leaves_the_slot_free(tmp_path: Path) -> None:
    async def run() -> None:
        leases = SqliteLeases(tmp_path / "leases.db", now=_stopped)
        with pytest.raises(RuntimeError):
            await leases.claim("desk", "ann", 1000)
        await leases.close()
        leases = SqliteLeases(tmp_path / "leases.db")
        assert await slots(leases) == []
        await leases.claim("desk", "bob", 1000)
        await leases.close()

    anyio.run(run)


def _stopped() -> datetime:
    raise RuntimeError("the clock has stopped")


def test_a_file_of_something_else_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"

    async def run() -> None:
        await SqliteLedger(path).close()
        before = path.read_bytes()
        with pytest.raises(LedgerError, match=r"leases .*ledger\.db: the file is of something else"):
            await SqliteLeases(path).claim("desk", "ann", 1000)
        assert path.read_bytes() == before

    anyio.run(run)


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "leases.db"
    path.write_text("no database, however one looks at it " * 100)
    with pytest.raises(LedgerError, match=r"leases .*leases\.db: file is not a database"):
        anyio.run(SqliteLeases(path).active)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match=r"leases .*leases\.db: "):
        anyio.run(SqliteLeases(tmp_path / "file" / "leases.db").active)


def test_nothing_is_made_before_somebody_asks(tmp_path: Path) -> None:
    SqliteLeases(tmp_path / "leases.db")
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_was_closed_is_opened_again(tmp_path: Path) -> None:
    async def run() -> None:
        leases = SqliteLeases(tmp_path / "leases.db")
        await leases.claim("desk", "ann", DAY_MS)
        await leases.close()
        await leases.close()
        assert await slots(leases) == ["desk"]
        await leases.close()

    anyio.run(run)
