"""The file of the capacity keeps the promises of its port, and says what is wrong with it when something is."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from converge_adapters.capacity import APPLICATION_ID, SqliteCapacityStore, capacity_path
from converge_adapters.clocks import wall_clock_ms
from converge_adapters.testing.capacity import CapacityConformance, DurableCapacityStoreConformance, ManualClock
from converge_core.llm.capacity import Capacity, CapacityStore, ProviderCapacityState
from converge_core.llm.errors import CallOutcome, CapacityError
from converge_plugins.pcsf.registry import ProviderRegistry, default_registry

DELETE_IT = "the file can be deleted: what it knows is then learned again"


def registry_over(path: Path, clock: ManualClock) -> ProviderRegistry:
    registry = default_registry(SqliteCapacityStore(path), clock)
    registry.check_env(lambda name: "key")
    return registry


class TestSqliteCapacityStore(DurableCapacityStoreConformance):
    def make_store(self, tmp_path: Path) -> CapacityStore:
        return SqliteCapacityStore(tmp_path / "home" / "capacity.db")


class TestRegistryOverSqlite(CapacityConformance):
    def make_capacity(self, tmp_path: Path, clock: ManualClock) -> Capacity:
        return registry_over(tmp_path / "capacity.db", clock)


def filled(path: Path) -> Path:
    with closing(SqliteCapacityStore(path)) as store:
        for provider in ("a", "b"):
            store.update(provider, lambda state: (state.reported(CallOutcome.SUCCESS, 1, 1), None))
        store.update_use("ann", "chat", lambda use: (replace(use, used=1), None))
    return path


def refusal(path: Path) -> str:
    """What is said, and is the same for those who read and those who write."""
    said = []
    with closing(SqliteCapacityStore(path)) as store:
        with pytest.raises(CapacityError) as error:
            store.read()
        said.append(str(error.value))
        with pytest.raises(CapacityError) as error:
            store.update("a", lambda state: (state, None))
        said.append(str(error.value))
    assert said[0] == said[1]
    assert f"capacity of the providers, {path}: " in said[0]
    return said[0]


def altered(path: Path, *statements: str) -> Path:
    with closing(sqlite3.connect(filled(path))) as db, db:
        for statement in statements:
            db.execute(statement)
    return path


# --- one circuit for all who share the file ---------------------------------------------------------------------------


def test_three_failures_on_one_way_spare_the_other_every_call(tmp_path: Path) -> None:
    clock = ManualClock()
    loop, chat = (registry_over(tmp_path / "capacity.db", clock) for _ in range(2))
    for _ in range(3):
        loop.record_error("anthropic", "an empty answer")
    assert "anthropic" not in chat.chain()
    assert chat.admit("anthropic").permit is None
    clock.pass_ms(30_000)
    assert sum(way.admit("anthropic").permit is not None for way in (loop, chat)) == 1


def test_what_a_process_knows_of_keys_is_not_written(tmp_path: Path) -> None:
    path, clock = tmp_path / "capacity.db", ManualClock()
    with_keys, without = registry_over(path, clock), default_registry(SqliteCapacityStore(path), clock)
    without.check_env(lambda name: None)
    assert with_keys.admit("openai").permit is not None
    with_keys.record_success("openai", 10)
    assert without.admit("openai").permit is None
    assert with_keys.admit("openai").permit is not None
    stored = SqliteCapacityStore(path).read()["openai"]
    assert (stored.env_key, stored.key_present, stored.checked_at_ms) == (None, None, None)


# --- the file ---------------------------------------------------------------------------------------------------------


def test_reading_begins_no_file(tmp_path: Path) -> None:
    path = tmp_path / "home" / "capacity.db"
    assert dict(SqliteCapacityStore(path).read()) == {}
    assert not path.parent.exists()


def test_an_update_that_changes_nothing_writes_nothing(tmp_path: Path) -> None:
    path = filled(tmp_path / "capacity.db")
    with closing(SqliteCapacityStore(path)) as store, closing(sqlite3.connect(path)) as onlooker:
        before = onlooker.execute("PRAGMA data_version").fetchone()
        store.update("a", lambda state: (state, None))
        assert onlooker.execute("PRAGMA data_version").fetchone() == before
        store.update("a", lambda state: (state.reported(CallOutcome.SUCCESS, 1, 1), None))
        assert onlooker.execute("PRAGMA data_version").fetchone() != before


def test_rows_are_json_that_sqlite_can_read(tmp_path: Path) -> None:
    with closing(sqlite3.connect(filled(tmp_path / "capacity.db"))) as db:
        rows = db.execute("SELECT provider, json_extract(state, '$.success_count') FROM providers").fetchall()
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert rows == [("a", 1), ("b", 1)]


def test_a_file_that_is_no_database_can_be_deleted(tmp_path: Path) -> None:
    path = tmp_path / "capacity.db"
    path.write_bytes(bytes(range(256)) * 20)
    assert refusal(path).endswith(f"file is not a database; {DELETE_IT}")
    assert path.read_bytes() == bytes(range(256)) * 20


def test_a_database_of_something_else_is_left_alone_and_nobody_says_that_it_can_be_deleted(tmp_path: Path) -> None:
    path = tmp_path / "capacity.db"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE songs (title TEXT)")
    before = path.read_bytes()
    assert refusal(path).endswith("the file is a database of something else")
    assert path.read_bytes() == before


def test_a_file_of_another_version_can_be_deleted(tmp_path: Path) -> None:
    path = altered(tmp_path / "capacity.db", "PRAGMA user_version = 2")
    assert refusal(path).endswith(f"the file is of version 2, and this program knows 1; {DELETE_IT}")


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("'{'", "not JSON"),
        ("'{}'", "provider_id: Field required"),
        ("""'{"provider_id":"a","mood":1}'""", "mood: Unexpected keyword argument"),
        ("""'{"provider_id":"a","breaker":{"state":"ajar"}}'""", "breaker.state: Input should be"),
        ("""'{"provider_id":"b"}'""", "that of 'a' is of 'b'"),
        ("CAST(x'ff' AS TEXT)", "Could not decode to UTF-8"),
    ],
)
def test_a_row_that_is_none_is_told_with_its_fault(tmp_path: Path, state: str, reason: str) -> None:
    path = altered(tmp_path / "capacity.db", f"UPDATE providers SET state = {state} WHERE provider = 'a'")
    said = refusal(path)
    assert reason in said
    assert said.endswith(DELETE_IT)


def test_a_use_that_is_none_is_told(tmp_path: Path) -> None:
    path = altered(tmp_path / "capacity.db", """UPDATE uses SET use = '{"used": "many"}'""")
    with closing(SqliteCapacityStore(path)) as store, pytest.raises(CapacityError, match=r"used: .*deleted"):
        store.update_use("ann", "chat", lambda use: (use, None))


def test_a_table_that_is_missing_is_damage(tmp_path: Path) -> None:
    assert refusal(altered(tmp_path / "capacity.db", "DROP TABLE providers")).endswith(DELETE_IT)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    with pytest.raises(CapacityError, match="its folder cannot be made"):
        SqliteCapacityStore(tmp_path / "home" / "capacity.db").update("a", lambda state: (state, None))


def test_a_store_that_nobody_closes_closes_its_file_when_it_is_gone(tmp_path: Path) -> None:
    script = (
        "import gc, sys, warnings\n"
        "from pathlib import Path\n"
        "from converge_adapters.capacity import SqliteCapacityStore\n"
        "warnings.simplefilter('error')\n"
        "SqliteCapacityStore(Path(sys.argv[1])).update('a', lambda state: (state, None))\n"
        "gc.collect()\n"
    )
    command = [sys.executable, "-X", "dev", "-c", script, str(tmp_path / "capacity.db")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "ResourceWarning" not in done.stderr


def test_many_stores_that_are_opened_and_closed_leave_no_thread_behind(tmp_path: Path) -> None:
    before = threading.active_count()
    for _ in range(50):
        filled(tmp_path / "capacity.db")
    assert threading.active_count() == before


def test_the_file_is_in_the_home_that_the_environment_names(tmp_path: Path) -> None:
    assert capacity_path({"CONVERGE_HOME": str(tmp_path)}) == tmp_path / "capacity.db"


def test_the_wall_clock_counts_milliseconds_since_1970() -> None:
    of_2026, of_2100 = 1_767_225_600_000, 4_102_444_800_000
    assert of_2026 <= wall_clock_ms() < of_2100


def test_the_file_says_whose_it_is(tmp_path: Path) -> None:
    with closing(sqlite3.connect(filled(tmp_path / "capacity.db"))) as db:
        assert db.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)


def test_a_change_that_raises_inside_a_transaction_leaves_the_file_unlocked(tmp_path: Path) -> None:
    path = filled(tmp_path / "capacity.db")

    def fails(_: ProviderCapacityState) -> tuple[ProviderCapacityState, None]:
        raise LookupError

    with closing(SqliteCapacityStore(path)) as one, closing(SqliteCapacityStore(path)) as other:
        with pytest.raises(LookupError):
            one.update("a", fails)
        assert other.update("a", lambda state: (state, state.success_count)) == 1
