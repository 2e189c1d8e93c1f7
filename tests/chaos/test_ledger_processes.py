"""The SQLite ledger under several processes, sudden death and a full disk.

The processes run functions of this file, by name: ``python test_ledger_processes.py race PATH``. They say a line when
they are ready and act on a line that they are told, so nothing here depends on how fast a machine is.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import anyio
import pytest

from converge_adapters.ledgers.sqlite import SqliteLedger
from converge_adapters.testing.ledgers import head_of, note, notes
from converge_core.errors import LedgerConflict, LedgerError
from converge_core.ledger.events import Entry
from converge_core.ledger.merkle import MerkleLog, leaf_hash
from converge_core.ports import StoredEntry

BATCH = 5
ROUNDS = 20
WRITERS = 4
RUNS = 200
DISK = 1 << 20

Process = subprocess.Popen[str]


# --- what the processes do ------------------------------------------------------------------------------------------


def say(text: object) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def race(path: str, racer: str) -> None:
    """In each round append to the one run, at the place where the round begins."""
    ledger = SqliteLedger(path)
    for number in range(ROUNDS):
        say("ready")
        sys.stdin.readline()
        try:
            await ledger.append("run", number * BATCH, [note(racer)] * BATCH)
            say("won")
        except LedgerConflict as conflict:
            say(f"lost at {conflict.found_size}")
    await ledger.close()


async def write_runs(path: str, writer: str) -> None:
    """Write many runs of two appends into a file that may not be there yet."""
    say("ready")
    sys.stdin.readline()
    ledger = SqliteLedger(path)
    for number in range(RUNS):
        run_id = f"{writer}-{number}"
        await ledger.create_run(run_id)
        await ledger.append(run_id, 0, notes(0, 3))
        await ledger.record_effect(run_id, 1, "ask", "{}")
        await ledger.append(run_id, 3, notes(3, 5))
    await ledger.close()


async def append_for_ever(path: str) -> None:
    """Append batch after batch, and say each size once it has been returned."""
    ledger = SqliteLedger(path)
    size = (await ledger.head("run")).size
    while True:
        size = (await ledger.append("run", size, notes(size, size + BATCH))).size
        say(size)


class Deadly(tuple[Entry, ...]):
    """Entries that kill who goes through them, before the last."""

    def __iter__(self) -> Iterator[Entry]:
        for place in range(len(self) - 1):
            yield self[place]
        os.kill(os.getpid(), signal.SIGKILL)


async def die_while_appending(path: str) -> None:
    await SqliteLedger(path).append("run", BATCH, Deadly(notes(BATCH, 5_000)))


async def fill_the_disk(folder: str, copy: str, limited: str) -> None:
    """Append until it fails, make room, append once more; then copy the folder to where it outlives this process.

    The disk is either small, and a ballast is taken away, or it has a limit for each file, which is lifted.
    """
    ballast = Path(folder) / "ballast"
    if limited:
        resource.setrlimit(resource.RLIMIT_FSIZE, (DISK, resource.RLIM_INFINITY))
    else:
        ballast.write_bytes(bytes(DISK // 4))
    ledger = SqliteLedger(Path(folder) / "ledger.db")
    await ledger.create_run("run")
    size = 0
    try:
        while True:
            size = (await ledger.append("run", size, [note("long " * 1_000)] * BATCH)).size
    except LedgerError as error:
        say(error)
    assert size > 0
    assert (await ledger.head("run")).size == size
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    ballast.unlink(missing_ok=True)
    head = await ledger.append("run", size, notes(0, BATCH))
    assert head == await ledger.head("run")
    say(size + BATCH)
    await ledger.close()
    shutil.copytree(folder, copy)


# --- the tests ------------------------------------------------------------------------------------------------------


@contextmanager
def started(task: Callable[..., object], *arguments: object, within: Sequence[str] = ()) -> Iterator[Process]:
    """Run a function of this file in a process; kill it if it is not over at the end."""
    command = [*within, sys.executable, __file__, task.__name__, *map(str, arguments)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def heard(process: Process) -> str:
    """Return the next line that a process says."""
    assert process.stdout
    assert process.stderr
    return process.stdout.readline().removesuffix("\n") or pytest.fail(process.stderr.read())


def rest(process: Process) -> list[str]:
    """Return what else a process says until it ends. (`communicate` misses what `heard` has read ahead.)"""
    assert process.stdout
    return process.stdout.read().splitlines()


def tell(process: Process) -> None:
    """Let a process that is ready go on."""
    assert heard(process) == "ready"
    assert process.stdin
    process.stdin.write("go\n")
    process.stdin.flush()


def ended(process: Process) -> list[str]:
    """Return what else a process says until it ends, which it does well."""
    lines = rest(process)
    assert process.stderr
    assert (process.wait(), process.stderr.read()) == (0, "")
    return lines


def begin(path: Path, size: int = 0) -> None:
    """Make a ledger with a run of some entries."""

    async def run() -> None:
        ledger = SqliteLedger(path)
        await ledger.create_run("run")
        await ledger.append("run", 0, notes(0, size))
        await ledger.close()

    anyio.run(run)


def whole(path: Path) -> Sequence[StoredEntry]:
    """Return the entries of the run, after checking every hash and root, and that it ends with an append."""

    async def read() -> Sequence[StoredEntry]:
        ledger = SqliteLedger(path)
        stored = await ledger.read("run")
        await ledger.close()
        return stored

    stored = anyio.run(read)
    log = MerkleLog()
    for entry in stored:
        assert (entry.sequence, entry.leaf) == (log.size, leaf_hash(entry.body.encode()))
        log.append(entry.leaf)
        assert entry.root in (None, log.root())
    assert stored[-1].root is not None
    return stored


def test_of_two_processes_that_append_at_one_place_one_wins(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    begin(path)
    winners = []
    with started(race, path, "one") as one, started(race, path, "other") as other:
        for number in range(ROUNDS):
            tell(one)
            tell(other)
            answers = {heard(one): "one", heard(other): "other"}
            assert answers.keys() == {"won", f"lost at {(number + 1) * BATCH}"}
            winners += [answers["won"]] * BATCH
        ended(one)
        ended(other)
    assert [entry.body for entry in whole(path)] == [note(winner).body for winner in winners]


def test_processes_that_write_many_runs_into_a_new_file_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "new" / "ledger.db"
    with ExitStack() as stack:
        writers = [stack.enter_context(started(write_runs, path, number)) for number in range(WRITERS)]
        for writer in writers:
            tell(writer)
        for writer in writers:
            assert ended(writer) == []

    async def check() -> None:
        ledger = SqliteLedger(path)
        names = {f"{writer}-{number}" for writer in range(WRITERS) for number in range(RUNS)}
        assert {info.run_id: info.size for info in await ledger.runs()} == dict.fromkeys(names, 5)
        for name in names:
            assert await ledger.head(name) == head_of(notes(0, 5))
            assert await ledger.recorded_effects(name, 1) == {"ask": "{}"}
        await ledger.close()

    anyio.run(check)


def test_a_process_that_is_killed_leaves_whole_appends_and_all_that_it_was_told_of(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    begin(path, BATCH)
    for appends in (1, 10, 100):
        with started(append_for_ever, path) as process:
            told = [int(heard(process)) for _ in range(appends)]
            process.kill()
            told += [int(line) for line in rest(process)]
        stored = whole(path)
        assert len(stored) in (told[-1], told[-1] + BATCH)  # the last one may have been killed before it was told
        assert [Entry(*entry[1:4]) for entry in stored] == notes(0, len(stored))


def test_a_process_that_is_killed_within_an_append_leaves_nothing_of_it(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    begin(path, BATCH)
    with started(die_while_appending, path) as process:
        assert process.wait() == -signal.SIGKILL
    assert len(whole(path)) == BATCH
    with started(append_for_ever, path) as process:
        assert heard(process) == str(2 * BATCH)


def small_disk(folder: Path) -> list[str]:
    """Return the command that runs another one where ``folder`` is a disk of its own, or skip where none can be had."""
    script = f'mount -t tmpfs -o size={DISK} none "$0" && exec "$@"'
    within = ["unshare", "--mount", "--map-root-user", "sh", "-c", script, str(folder)]
    if shutil.which("unshare") is None or subprocess.run([*within, "true"], capture_output=True).returncode:
        pytest.skip("only who may mount a file system has a disk to fill")
    return within


@pytest.mark.parametrize(("limited", "reason"), [("", "disk full"), ("limited", "the disk failed")])
def test_a_full_disk_is_an_error_and_nothing_is_torn(limited: str, reason: str, tmp_path: Path) -> None:
    disk, copy = tmp_path / "disk", tmp_path / "copy"
    disk.mkdir()
    with started(fill_the_disk, disk, copy, limited, within=() if limited else small_disk(disk)) as process:
        error, size = ended(process)
    assert error.startswith(f"ledger {disk / 'ledger.db'}: {reason}, nothing was written")
    stored = whole(copy / "ledger.db")
    assert len(stored) == int(size)
    assert [entry.body for entry in stored[-BATCH:]] == [entry.body for entry in notes(0, BATCH)]


if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    anyio.run(globals()[name], *arguments)
