"""Running a program: without a shell, with a deadline, in a process group of its own, told as little as it needs.

A program that is late is ended with all that it has started, as far as that has stayed in its process group; so are
children that outlive it. Its environment is a list of names that are known to be harmless, because no list of those
that are not is complete. Of its output the beginning and the end are kept: an error is told at either.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import anyio
from anyio.abc import ByteReceiveStream, Process

from converge_core.repository import CommandResult, RepositoryError

OUTPUT_BYTES = 64_000
"""How much of each stream of a program is kept."""

_TOLD = frozenset(
    {
        *("CI", "HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "PATHEXT", "SHELL", "SYSTEMROOT"),
        *("TEMP", "TERM", "TMP", "TMPDIR", "TZ", "USER", "VIRTUAL_ENV"),
    }
)
_FAMILIES = ("LC_", "PYTHON")
_LINGER_SECONDS = 2
"""How long output is waited for once nobody is left who could write any."""


class Kept(Protocol):
    """Takes output piece by piece, and holds on to a bounded part of it."""

    def add(self, piece: bytes) -> None:
        """Take the next piece."""
        ...


class Ends:
    """The beginning and the end of what is added, ``bound`` bytes in all."""

    def __init__(self, bound: int = OUTPUT_BYTES) -> None:
        self._half = bound // 2
        self._head, self._tail, self._size = bytearray(), bytearray(), 0

    def add(self, piece: bytes) -> None:
        self._size += len(piece)
        room = max(self._half - len(self._head), 0)
        self._head += piece[:room]
        self._tail += piece[room:]
        del self._tail[: -self._half]

    def text(self) -> str:
        """Return it as text; what is not UTF-8, and what was left out, is marked."""
        left_out = self._size - len(self._head) - len(self._tail)
        gap = f"\n[... {left_out} bytes ...]\n".encode() if left_out else b""
        return bytes(self._head + gap + self._tail).decode(errors="replace")


class Whole:
    """All that is added, and no more than ``bound`` bytes: beyond that, `overflowed`."""

    def __init__(self, bound: int) -> None:
        self._bound, self.content, self.overflowed = bound, bytearray(), False

    def add(self, piece: bytes) -> None:
        if len(self.content) + len(piece) > self._bound:
            self.overflowed = True
        else:
            self.content += piece


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """Return what a program is told of its surroundings; Python programs are asked to leave no bytecode behind."""
    told = {name: value for name, value in given.items() if name.upper() in _TOLD or name.upper().startswith(_FAMILIES)}
    return {**told, "PYTHONDONTWRITEBYTECODE": "1"}


async def run_command(root: Path, command: Sequence[str], timeout_ms: int) -> CommandResult:
    """Run a program in a folder. Raises RepositoryError for one that cannot be started."""
    out, err = Ends(), Ends()
    began = time.monotonic_ns()
    code = await supervise(root, command, timeout_ms, environment(os.environ), out, err)
    return CommandResult(code, out.text(), err.text(), (time.monotonic_ns() - began) // 1_000_000)


async def supervise(
    root: Path, command: Sequence[str], timeout_ms: int, env: Mapping[str, str], out: Kept, err: Kept
) -> int | None:
    """Run a program, feed what it says to ``out`` and ``err``, and return its exit code, None if its time was up.

    When this returns, or is cancelled, nobody of its process group is left. Raises RepositoryError.
    """
    if not command or not all(part.isprintable() for part in command[:1]):
        raise RepositoryError(" ".join(command), "is no command")
    try:
        process = await anyio.open_process(
            list(command), stdin=subprocess.DEVNULL, cwd=root, env=env, start_new_session=True
        )
    except (OSError, ValueError) as error:
        raise RepositoryError(command[0], f"cannot be started: {getattr(error, 'strerror', None) or error}") from error
    late = False
    try:
        async with anyio.create_task_group() as readers:
            readers.start_soon(_read, process.stdout, out)
            readers.start_soon(_read, process.stderr, err)
            with anyio.move_on_after(timeout_ms / 1000) as deadline:
                await process.wait()
            late = deadline.cancelled_caught
            _end_group(process)
            readers.cancel_scope.deadline = anyio.current_time() + _LINGER_SECONDS
    except BaseException:
        _end_group(process)
        raise
    finally:
        with anyio.CancelScope(shield=True):
            await process.wait()
            await process.aclose()
    return None if late else process.returncode


async def _read(stream: ByteReceiveStream | None, kept: Kept) -> None:
    if stream is not None:
        async for piece in stream:
            kept.add(piece)


def _end_group(process: Process) -> None:
    """End a program and all who have stayed in its process group; its number is free once all are gone."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
