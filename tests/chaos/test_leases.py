"""Leases under several processes and sudden death.

The processes run functions of this file, by name: ``python test_leases.py claim_and_die PATH``. They say a line when
they are ready and act on a line that they are told, so nothing here depends on how fast a machine is.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from converge_adapters.leases import SqliteLeases
from converge_adapters.ledgers.wall_clock import utc_now
from converge_core.leases import DAY_MS, Lease, LeaseHeld

CLAIMS = 100


# --- what the processes do ------------------------------------------------------------------------------------------


def say(text: object) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def claim_and_die(path: str) -> None:
    """Claim a slot and be gone, without an end of any kind."""
    await SqliteLeases(Path(path)).claim("desk", "child", DAY_MS)
    os.kill(os.getpid(), signal.SIGKILL)


async def claim_many(path: str, owner: str, shared: str) -> None:
    """Claim slots of one's own, or those that the other claims too; say which ones were had."""
    leases = SqliteLeases(Path(path))
    say("ready")
    sys.stdin.readline()
    for number in range(CLAIMS):
        try:
            say((await leases.claim(f"{shared or owner}-{number}", owner, DAY_MS)).slot)
        except LeaseHeld as held:
            say(f"lost to {held.lease.owner}")
    await leases.close()


# --- the tests ------------------------------------------------------------------------------------------------------


def race(path: Path, shared: str) -> list[list[str]]:
    """Let two processes claim at once; return what each of them has said."""
    command = [sys.executable, __file__, claim_many.__name__, str(path)]
    pipe = subprocess.PIPE
    processes = [
        subprocess.Popen([*command, owner, shared], stdin=pipe, stdout=pipe, text=True) for owner in ("one", "other")
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        said = [process.communicate()[0].splitlines() for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert [process.returncode for process in processes] == [0, 0]
    return said


def active(path: Path) -> list[Lease]:
    async def look() -> list[Lease]:
        leases = SqliteLeases(path)
        found = list(await leases.active())
        await leases.close()
        return found

    return anyio.run(look)


def test_pr003_what_a_killed_process_has_claimed_stays_claimed_until_the_lease_ends(tmp_path: Path) -> None:
    path = tmp_path / "leases.db"
    child = subprocess.run([sys.executable, __file__, claim_and_die.__name__, str(path)], check=False)
    assert child.returncode == -signal.SIGKILL
    [lease] = active(path)
    assert (lease.slot, lease.owner) == ("desk", "child")

    async def take(days: int) -> Lease:
        leases = SqliteLeases(path, now=lambda: utc_now() + timedelta(days=days))
        try:
            return await leases.claim("desk", "parent", DAY_MS)
        finally:
            await leases.close()

    with pytest.raises(LeaseHeld) as raised:
        anyio.run(take, 0)
    assert raised.value.lease == lease
    assert anyio.run(take, 1).owner == "parent"


def test_pr003_two_processes_that_claim_a_hundred_slots_each_leave_two_hundred(tmp_path: Path) -> None:
    one, other = race(tmp_path / "leases.db", shared="")
    assert sorted(lease.slot for lease in active(tmp_path / "leases.db")) == sorted(one + other)
    assert len(set(one + other)) == 2 * CLAIMS


def test_x29_of_two_processes_that_claim_the_same_slots_each_is_had_by_one(tmp_path: Path) -> None:
    one, other = race(tmp_path / "leases.db", shared="slot")
    assert all({mine, theirs} & {"lost to one", "lost to other"} for mine, theirs in zip(one, other, strict=True))
    had = {lease.slot: lease.owner for lease in active(tmp_path / "leases.db")}
    assert len(had) == CLAIMS
    assert [had[f"slot-{number}"] == "one" for number in range(CLAIMS)] == [line.startswith("slot") for line in one]
    assert [had[f"slot-{number}"] == "other" for number in range(CLAIMS)] == [line.startswith("slot") for line in other]


if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    anyio.run(globals()[name], *arguments)
