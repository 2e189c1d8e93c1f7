"""Processes that share one file of capacity have one circuit for a provider, and outlive each other's sudden ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from converge_adapters.capacity import SqliteCapacityStore
from converge_adapters.testing.capacity import ManualClock
from converge_core.llm.capacity import ProviderState
from converge_plugins.pcsf.registry import ProviderRegistry, default_registry
from tests.chaos.nursery import PATHS

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL"),
    pytest.mark.timeout(120),
]

PROCESSES = 6
NOW, WINDOW_MS, LEASE_MS = 1_800_000_000_000, 30_000, 300_000

SCRIPT = """\
import os, sys
from pathlib import Path

from converge_adapters.capacity import SqliteCapacityStore
from converge_plugins.pcsf.registry import default_registry

now = [0]
registry = default_registry(SqliteCapacityStore(Path("capacity.db")), lambda: now[0])
print("ready", flush=True)
for line in sys.stdin:
    what, now[0] = line.split()[0], int(line.split()[1])
    if what == "fail":
        registry.record_error("ollama", "no answer")
        answer = "told"
    elif what == "ask":
        answer = "yes" if registry.admit("ollama").permit else "no"
    elif what == "chat":
        answer = "yes" if registry.consume("wanderer", "chat", "ann").granted else "no"
    print(answer, flush=True)
"""
"""A process that does as it is told, a line at a time; what time it is, it is told too."""


class Process:
    """The test's side of such a process."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(PATHS)},
        )
        assert self.answer() == "ready"

    def tell(self, what: str, now_ms: int) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what} {now_ms}\n")
        self._process.stdin.flush()

    def answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def does(self, what: str, now_ms: int) -> str:
        self.tell(what, now_ms)
        return self.answer()

    def kill(self) -> int:
        """Kill it, wherever it is, and return how it ended."""
        self._process.kill()
        self._process.communicate(timeout=30)
        return self._process.returncode


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[[], Process]]:
    begun: list[Process] = []

    def begin() -> Process:
        begun.append(Process(tmp_path))
        return begun[-1]

    yield begin
    for process in begun:
        process.kill()


def here(tmp_path: Path, now_ms: int) -> ProviderRegistry:
    """The registry of this process, over the same file."""
    return default_registry(SqliteCapacityStore(tmp_path / "capacity.db"), ManualClock(now_ms))


def trip(process: Process, now_ms: int = NOW) -> None:
    assert [process.does("fail", now_ms) for _ in range(3)] == ["told"] * 3


def test_cr004_three_failures_in_one_process_spare_the_provider_in_the_other(begin: Callable[[], Process]) -> None:
    one, other = begin(), begin()
    assert other.does("ask", NOW) == "yes"
    trip(one)
    assert [other.does("ask", NOW + passed) for passed in (0, WINDOW_MS - 1)] == ["no", "no"]


def test_cr004_failures_of_three_processes_add_up(begin: Callable[[], Process], tmp_path: Path) -> None:
    processes = [begin() for _ in range(3)]
    for process in processes:
        process.tell("fail", NOW)
    assert [process.answer() for process in processes] == ["told"] * 3
    state = here(tmp_path, NOW).get("ollama")
    assert (state.error_count, state.state) == (3, ProviderState.CIRCUIT_OPEN)


def test_cr004_of_many_processes_that_ask_at_once_after_the_window_exactly_one_is_let_through(
    begin: Callable[[], Process],
) -> None:
    processes = [begin() for _ in range(PROCESSES)]
    trip(processes[0])
    now_ms = NOW
    for trips in range(5):
        now_ms += WINDOW_MS << trips
        for process in processes:
            process.tell("ask", now_ms)
        answers = [process.answer() for process in processes]
        assert sorted(answers) == ["no"] * (PROCESSES - 1) + ["yes"]
        # nobody hears from this probe, so the next one that may report is the one after its lease
        now_ms += LEASE_MS
        assert processes[0].does("fail", now_ms) == "told"


def test_a_process_that_is_killed_with_a_probe_out_does_not_shut_the_circuit_for_ever(
    begin: Callable[[], Process],
) -> None:
    doomed, other = begin(), begin()
    trip(doomed)
    probed_ms = NOW + WINDOW_MS
    assert doomed.does("ask", probed_ms) == "yes"
    assert doomed.kill() == -signal.SIGKILL
    answers = [other.does("ask", probed_ms + passed) for passed in (0, LEASE_MS - 1, LEASE_MS, LEASE_MS)]
    assert answers == ["no", "no", "yes", "no"]


def test_a_file_whose_writers_are_killed_again_and_again_stays_whole(
    begin: Callable[[], Process], tmp_path: Path
) -> None:
    told = 0
    for _ in range(PROCESSES):
        doomed = begin()
        told += doomed.does("fail", NOW) == "told"
        for _ in range(20):
            doomed.tell("fail", NOW)
        doomed.kill()
    state = here(tmp_path, NOW).get("ollama")
    assert told == PROCESSES
    assert PROCESSES <= state.error_count <= PROCESSES * 21
    assert begin().does("ask", NOW) == "no"


def test_processes_that_count_the_same_quota_grant_no_more_than_it_allows(begin: Callable[[], Process]) -> None:
    processes = [begin() for _ in range(4)]
    for process in processes:
        for _ in range(30):
            process.tell("chat", NOW)
    answers = [process.answer() for process in processes for _ in range(30)]
    assert (answers.count("yes"), answers.count("no")) == (100, 20)
