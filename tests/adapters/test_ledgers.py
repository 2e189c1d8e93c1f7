"""Both stores keep the promises of the port; URLs and the default place of a ledger."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from pathlib import Path

import anyio
import pytest

from converge_adapters.ledgers import default_path, open_ledger
from converge_adapters.ledgers.memory import MemoryLedger
from converge_adapters.ledgers.sqlite import SqliteLedger
from converge_adapters.ledgers.wall_clock import Now, timestamp
from converge_adapters.testing.ledgers import DurableLedgerConformance, LedgerConformance, notes
from converge_core.errors import LedgerError
from converge_core.ledger import merkle
from converge_core.ports import Ledger


class TestMemoryLedger(LedgerConformance):
    def make_ledger(self, tmp_path: Path) -> Ledger:
        return MemoryLedger()


class TestSqliteLedger(DurableLedgerConformance):
    def make_ledger(self, tmp_path: Path) -> Ledger:
        return SqliteLedger(tmp_path / "ledger.db")


class TestSqliteLedgerWithFsync(DurableLedgerConformance):
    def make_ledger(self, tmp_path: Path) -> Ledger:
        return SqliteLedger(tmp_path / "ledger.db", synchronous="FULL")


def clock(*seconds: int) -> Now:
    """A clock that shows these seconds after noon, one after the other."""
    moments: Iterator[datetime] = (datetime(2026, 10, 31, 12, tzinfo=UTC) + timedelta(seconds=s) for s in seconds)
    return lambda: next(moments)


STORES: dict[str, Callable[[Path, Now], Ledger]] = {
    "memory": lambda path, now: MemoryLedger(now=now),
    "sqlite": lambda path, now: SqliteLedger(path / "ledger.db", now=now),
}


@pytest.mark.parametrize("store", STORES)
def test_runs_are_ordered_by_creation_and_then_by_name(store: str, tmp_path: Path) -> None:
    async def run() -> list[str]:
        ledger = STORES[store](tmp_path, clock(9, 5, 5))
        for run_id in ("a", "c", "b"):
            await ledger.create_run(run_id)
        infos = await ledger.runs()
        await ledger.close()
        return [info.run_id for info in infos]

    assert anyio.run(run) == ["b", "c", "a"]


@pytest.mark.parametrize("store", STORES)
def test_the_clock_of_the_store_dates_runs_and_appends(store: str, tmp_path: Path) -> None:
    async def run() -> None:
        ledger = STORES[store](tmp_path, clock(1, 2, 3))
        await ledger.create_run("run")
        await ledger.append("run", 0, notes(0, 2))
        await ledger.append("run", 2, notes(2, 3))
        [info] = await ledger.runs()
        assert (info.created_at, info.updated_at) == ("2026-10-31T12:00:01.000Z", "2026-10-31T12:00:03.000Z")
        assert [entry.recorded_at[-7:] for entry in await ledger.read("run")] == ["02.000Z", "02.000Z", "03.000Z"]
        await ledger.close()

    anyio.run(run)


def test_a_timestamp_is_utc_with_milliseconds_whatever_the_time_zone() -> None:
    moment = datetime(2026, 10, 31, 1, 2, 3, 4567, tzinfo=timezone(timedelta(hours=2)))
    assert timestamp(moment) == "2026-10-30T23:02:03.004Z"


@pytest.mark.parametrize("prefix", ["", "sqlite:///"])
def test_a_path_or_a_sqlite_url_opens_a_file(prefix: str, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "ledger.db"
    anyio.run(open_ledger(f"{prefix}{path}").close)
    assert path.is_file()


def test_a_sqlite_url_with_three_slashes_is_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    anyio.run(open_ledger("sqlite:///here.db").close)
    assert (tmp_path / "here.db").is_file()


def test_the_url_memory_opens_a_new_ledger_each_time() -> None:
    one, other = open_ledger("memory:"), open_ledger("memory:")
    anyio.run(one.create_run, "run")
    assert [len(anyio.run(ledger.runs)) for ledger in (one, other)] == [1, 0]


@pytest.mark.parametrize("url", ["postgresql://host/db", "sqlite:ledger.db", "sqlite:///", "memory:x", ""])
def test_a_url_of_no_known_scheme_is_refused_with_those_that_are(url: str) -> None:
    with pytest.raises(LedgerError, match=r"names no ledger: give a path, sqlite:///path or memory:"):
        open_ledger(url)


def test_a_drive_letter_is_no_scheme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    anyio.run(open_ledger(r"C:\ledger.db").close)
    assert len(list(tmp_path.iterdir())) == 1


def test_the_options_of_a_url_reach_the_store(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="cannot be opened"):
        open_ledger(str(tmp_path / "ledger.db"), read_only=True)


def test_the_default_ledger_is_in_the_home_that_the_environment_names(tmp_path: Path) -> None:
    assert default_path({"CONVERGE_HOME": str(tmp_path)}) == tmp_path / "ledger.db"


@pytest.mark.parametrize("environ", [{}, {"CONVERGE_HOME": ""}])
def test_without_a_home_the_default_ledger_is_in_the_users_data_directory(environ: dict[str, str]) -> None:
    path = default_path(environ)
    assert path.is_absolute()
    assert path.parts[-2:] == ("converge", "ledger.db")


def test_importing_the_package_loads_no_store() -> None:
    script = "import converge_adapters.ledgers, sys; print(*{'sqlite3', 'sqlite_utils', 'anyio'} & set(sys.modules))"
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert process.stdout == "\n"


def test_what_is_only_appended_to_memory_has_a_node_hashed_for_each_entry_and_no_root(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hashed: list[bytes] = []

    def counted(data: bytes) -> object:
        hashed.append(data)
        return sha256(data)

    async def run() -> list[int]:
        ledger = MemoryLedger()
        await ledger.create_run("run")
        for place, line in enumerate(lines):
            await ledger.append("run", place, [line])
        counts = [len(hashed)]
        for _ in range(2):  # the second reader finds what was made for the first
            hashed.clear()
            await ledger.read("run", 128)
            counts.append(len(hashed))
        return counts

    lines = notes(0, 256)
    monkeypatch.setattr(merkle, "sha256", counted)
    appending, reading, again = anyio.run(run)
    assert appending == 255
    assert 255 < reading <= 255 + 256 * 8
    assert again == 0
