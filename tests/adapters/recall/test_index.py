"""The index file: what it holds, whose it is, and what becomes of one that cannot be used."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_adapters.recall.index import APPLICATION_ID, VERSION, RecallIndex
from converge_core import LedgerError
from converge_core.recall.memories import Memory
from converge_core.recall.payloads import CandidateSourceType
from tests.cli.desk import PATHS
from tests.core.recall.found import memory

FEE = memory("a late fee", 3, "one", subject="seeds/s", detail="because", tenant="acme", recorded_at="then")
CHAIRS = memory("new chairs", 4, "two")

RACER = """\
import sys
from pathlib import Path
from converge_adapters.recall.index import RecallIndex
from converge_core.recall.memories import Memory
from converge_core.recall.payloads import CandidateSourceType

path, name = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
index = RecallIndex(Path(path), None)
for number in range(20):
    run_id = f"{name}-{number}"
    told = Memory(run_id, 0, "a fee", "", CandidateSourceType.RUNBOOK, 0.5, "1:aa")
    index.replace((), {run_id: ("1:aa", "now", [told])})
    shared = Memory("shared", 0, f"said by {name}", "", CandidateSourceType.RUNBOOK, 0.5, "1:aa")
    index.replace((), {"shared": ("1:aa", "now", [shared])})
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db.recall"


def filled(path: Path | None, *memories: Memory, tenant: str | None = None) -> RecallIndex:
    """An index with these memories."""
    index = RecallIndex(path, tenant)
    index.replace((), {run_id: ("1:aa", "then", _of(run_id, memories)) for run_id in {m.run_id for m in memories}})
    return index


def _of(run_id: str, memories: Sequence[Memory]) -> list[Memory]:
    return [one for one in memories if one.run_id == run_id]


def texts(index: RecallIndex, word: str) -> list[str]:
    return sorted(index.memory(number).text for number in index.having(word))


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """The file as any program sees it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


# --- what it holds ----------------------------------------------------------------------------------------------------


def test_a_memory_comes_back_as_it_was_put_in() -> None:
    index = filled(None, FEE)
    [number] = index.having("fee")
    assert index.memory(number) == FEE


@given(
    st.builds(
        memory,
        st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
        st.integers(0, 2**31),
        detail=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
        confidence=st.floats(0, 1),
        source_type=st.sampled_from(CandidateSourceType),
        subject=st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    )
)
def test_any_memory_comes_back_as_it_was_put_in(told: Memory) -> None:
    index = filled(None, told)
    assert index.memory(1) == told


def test_it_lasts(path: Path) -> None:
    filled(path, FEE, CHAIRS)
    again = RecallIndex(path, None)
    assert (again.size(), again.runs()) == (2, {"one": ("1:aa", "then"), "two": ("1:aa", "then")})
    assert texts(again, "fee") == [FEE.text]


def test_a_run_that_is_put_in_again_takes_the_place_of_what_was_there() -> None:
    index = filled(None, FEE, CHAIRS)
    index.replace((), {"one": ("2:bb", "now", [memory("a gift", 3, "one")])})
    assert (index.size(), index.runs()["one"]) == (2, ("2:bb", "now"))
    assert (texts(index, "fee"), texts(index, "gift")) == ([], ["a gift"])


def test_a_run_that_is_taken_out_leaves_nothing_behind() -> None:
    index = filled(None, FEE, CHAIRS)
    index.replace(["one"], {})
    assert (index.size(), set(index.runs()), index.having("fee")) == (1, {"two"}, set())


def test_runs_are_put_in_all_or_none() -> None:
    index = filled(None, FEE)
    with pytest.raises(LedgerError):
        index.replace(["one"], {"two": ("1:aa", "now", [CHAIRS]), "three": ("1:aa", None, [CHAIRS])})  # type: ignore[dict-item]
    assert (set(index.runs()), index.size(), texts(index, "fee")) == ({"one"}, 1, [FEE.text])


def test_a_memory_with_more_of_the_words_has_the_greater_bm25() -> None:
    index = filled(None, FEE, memory("a fee", 5, "one"), CHAIRS)
    found = index.scores(["late", "fee"])
    assert [index.memory(number).text for number in sorted(found, key=lambda n: -found[n])] == [FEE.text, "a fee"]


def test_without_words_nothing_has_a_score() -> None:
    assert filled(None, FEE).scores([]) == {}


@pytest.mark.parametrize("word", ['"', "fee OR chairs", "*", "text:fee", "NEAR(late fee)", "fee*"])
def test_a_word_is_a_word_whatever_it_says(word: str) -> None:
    assert texts(filled(None, FEE, CHAIRS), word) in ([], [FEE.text])


def test_who_reads_sees_nothing_of_what_others_write_meanwhile(path: Path) -> None:
    one, other = filled(path, FEE), RecallIndex(path, None)
    with one.reading():
        assert one.size() == 1
        with opened(path) as db:
            db.execute("PRAGMA busy_timeout = 0")
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                db.execute("INSERT INTO runs VALUES ('x', 'y', 'z')")
        assert one.size() == 1
    other.replace((), {"two": ("1:aa", "now", [CHAIRS])})
    assert one.size() == 2


# --- files that cannot be used ----------------------------------------------------------------------------------------


def refusal(path: Path, tenant: str | None = None) -> str:
    with pytest.raises(LedgerError) as caught:
        RecallIndex(path, tenant).runs()
    return str(caught.value)


def test_a_file_that_is_no_database_is_refused_by_name_with_what_can_be_done(path: Path) -> None:
    path.write_bytes(b"not a database, and long enough to be looked at " * 40)
    said = refusal(path)
    assert said.startswith(f"recall index {path}: ")
    assert said.endswith("; it can be deleted, and is then made anew from the ledger")


def test_a_file_that_was_damaged_is_refused_by_name_with_what_can_be_done(path: Path) -> None:
    index = filled(path, *[memory(f"a fee {number}", number, "one") for number in range(500)])
    del index
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    said = refusal(path)
    assert said.startswith(f"recall index {path}: ")
    assert said.endswith("made anew from the ledger")


def test_the_database_of_another_program_is_left_as_it_is(path: Path) -> None:
    with opened(path) as db:
        db.execute("CREATE TABLE memories (dear TEXT)")
        db.execute("INSERT INTO memories VALUES ('diary')")
    assert refusal(path) == f"recall index {path}: the file is a database of something else"
    with opened(path) as db:
        assert db.execute("SELECT * FROM memories").fetchall() == [("diary",)]


@pytest.mark.parametrize(("owner", "asks"), [("acme", "other"), ("acme", None), (None, "acme")])
def test_the_index_of_another_tenant_is_refused_without_a_word_of_whose_it_is(
    path: Path, owner: str | None, asks: str | None
) -> None:
    filled(path, FEE, tenant=owner)
    assert refusal(path, asks) == f"recall index {path}: it is that of another tenant"
    assert RecallIndex(path, owner).size() == 1


@pytest.mark.parametrize("version", [0, VERSION + 1])
def test_an_index_of_another_version_is_made_anew(path: Path, version: int) -> None:
    filled(path, FEE)
    with opened(path) as db:
        db.execute(f"PRAGMA user_version = {version}")
    anew = RecallIndex(path, None)
    assert (anew.size(), anew.runs(), anew.having("fee")) == (0, {}, set())
    with opened(path) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (VERSION,)
        assert db.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)


def test_an_index_of_another_tenant_and_another_version_is_refused_all_the_same(path: Path) -> None:
    filled(path, FEE, tenant="acme")
    with opened(path) as db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
    assert refusal(path, "other") == f"recall index {path}: it is that of another tenant"


def test_an_empty_file_becomes_an_index(path: Path) -> None:
    path.touch()
    assert filled(path, FEE).size() == 1


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "ledger.db.recall"
    assert refusal(path).startswith(f"recall index {path}: unable to open database file")


def test_a_disk_that_is_full_is_told_as_what_it_is(path: Path) -> None:
    index = filled(path, FEE)
    with index._used() as db:  # as small a disk as there is
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        db.execute(f"PRAGMA max_page_count = {pages}")
    long = [memory("long " * 2_000, number, "two") for number in range(20)]
    with pytest.raises(LedgerError, match="full"):
        index.replace((), {"two": ("1:aa", "now", long)})
    assert set(index.runs()) == {"one"}
    index.replace(["one"], {})
    assert index.size() == 0


# --- several processes ------------------------------------------------------------------------------------------------


def test_two_processes_fill_one_index(path: Path) -> None:
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(path), name],
            env={"PYTHONPATH": ":".join(PATHS)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("a", "b")
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.communicate("go\n")
    assert [racer.returncode for racer in racers] == [0, 0]
    index = RecallIndex(path, None)
    assert set(index.runs()) == {"shared", *(f"{name}-{number}" for name in "ab" for number in range(20))}
    assert (index.size(), len(index.having("fee")), len(index.having("said"))) == (41, 40, 1)
