"""Commands: no shell, a deadline for a program and its children, bounded output, an environment without secrets."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import anyio
import pytest
from anyio.to_thread import run_sync

from converge_adapters.repository.commands import Ends, Whole, environment, run_command, supervise
from converge_core.repository import RepositoryError

pytestmark = pytest.mark.anyio

PARENT = """
import os, sys, time
if os.fork() == 0:
    pipe = os.open(sys.argv[1], os.O_WRONLY)
    os.write(pipe, b"ready")
    time.sleep(600)
print("begun", flush=True)
time.sleep(600 if sys.argv[2] == "stay" else 0)
"""


def python(code: str, *arguments: object) -> tuple[str, ...]:
    return (sys.executable, "-c", code, *map(str, arguments))


def pipe(folder: Path) -> tuple[Path, int]:
    """Return a pipe and its reading end, which is at its end once nobody is left who has it open for writing."""
    path = folder / "pipe"
    os.mkfifo(path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reading, True)
    return path, reading


async def test_a_command_tells_its_exit_code_and_what_it_said(tmp_path: Path) -> None:
    code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"

    result = await run_command(tmp_path, python(code), 60_000)

    assert (result.exit_code, result.stdout, result.stderr, result.timed_out) == (3, "out\n", "err\n", False)


async def test_a_command_runs_in_the_folder_without_a_shell_and_without_input(tmp_path: Path) -> None:
    code = "import os, sys; print(os.getcwd(), sys.argv[1], repr(sys.stdin.read()))"

    result = await run_command(tmp_path, python(code, "$HOME; *"), 60_000)

    assert result.stdout == f"{tmp_path} $HOME; * ''\n"


@pytest.mark.parametrize("command", [["no-such-program-anywhere"], [], ["a\0b"]])
async def test_a_command_that_cannot_be_started_is_an_error(tmp_path: Path, command: list[str]) -> None:
    with pytest.raises(RepositoryError):
        await run_command(tmp_path, command, 1000)


async def test_a_command_that_hangs_is_ended_at_its_deadline_with_its_children(tmp_path: Path) -> None:
    path, reading = pipe(tmp_path)
    try:
        result = await run_command(tmp_path, python(PARENT, path, "stay"), 1500)
        left = await run_sync(lambda: b"".join(iter(lambda: os.read(reading, 100), b"")))
    finally:
        os.close(reading)

    assert result.timed_out
    assert left in (b"ready", b"")  # the end of the pipe: nobody holds it any more


async def test_children_that_outlive_a_command_are_ended_with_it(tmp_path: Path) -> None:
    path, reading = pipe(tmp_path)
    try:
        result = await run_command(tmp_path, python(PARENT, path, "go"), 60_000)
        left = await run_sync(lambda: b"".join(iter(lambda: os.read(reading, 100), b"")))
    finally:
        os.close(reading)

    assert (result.exit_code, result.stdout) == (0, "begun\n")
    assert left in (b"ready", b"")


async def test_who_has_left_the_group_and_keeps_the_output_open_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("converge_adapters.repository.commands._LINGER_SECONDS", 0.1)
    path, reading = pipe(tmp_path)
    writing = os.open(path, os.O_WRONLY)
    code = "import os, sys\nif os.fork() == 0:\n os.setsid()\n os.read(os.open(sys.argv[1], os.O_RDONLY), 1)"
    try:
        result = await run_command(tmp_path, python(f"{code}\nelse:\n print('done')", path), 60_000)
    finally:
        os.close(writing)  # and with it the last who could write: it reads the end, and goes
        os.close(reading)

    assert (result.exit_code, result.stdout) == (0, "done\n")


async def test_a_command_that_is_cancelled_leaves_nobody_behind(tmp_path: Path) -> None:
    path, reading = pipe(tmp_path)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run_command, tmp_path, python(PARENT, path, "stay"), 600_000)
            await run_sync(_wait_for_writer, reading)
            tasks.cancel_scope.cancel()
        left = await run_sync(os.read, reading, 100)
    finally:
        os.close(reading)

    assert left == b""


def _wait_for_writer(reading: int) -> None:
    """Return when somebody has written."""
    import select

    poller = select.poll()
    poller.register(reading, select.POLLIN)
    poller.poll()
    assert os.read(reading, 5) == b"ready"


async def test_output_is_cut_in_its_middle(tmp_path: Path) -> None:
    code = "import sys; sys.stdout.write('a' * 200_000 + 'b' * 10_000_000 + 'c' * 200_000)"

    result = await run_command(tmp_path, python(code), 60_000)

    assert len(result.stdout) < 70_000
    assert result.stdout.startswith("aaa")
    assert "bytes ...]" in result.stdout
    assert result.stdout.endswith("ccc")


def test_what_is_not_utf8_is_marked() -> None:
    ends = Ends()
    ends.add(b"\xff ok")

    assert ends.text() == "\N{REPLACEMENT CHARACTER} ok"


@pytest.mark.parametrize("pieces", [[b"0123456789"], [b"0", b"123", b"456789"], [b"012345", b"6789"]])
def test_the_ends_do_not_depend_on_the_pieces(pieces: list[bytes]) -> None:
    ends = Ends(4)
    for piece in pieces:
        ends.add(piece)

    assert ends.text() == "01\n[... 6 bytes ...]\n89"


def test_an_answer_that_is_needed_whole_says_when_it_is_not() -> None:
    whole = Whole(4)
    whole.add(b"123")
    assert not whole.overflowed

    whole.add(b"45")
    assert whole.overflowed


async def test_a_command_is_told_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANTHROPIC_API_KEY", "GITHUB_TOKEN", "DATABASE_URL", "MY_THING", "SSH_AUTH_SOCK"):
        monkeypatch.setenv(name, "value-of-it")

    result = await run_command(tmp_path, python("import os; print(dict(os.environ))"), 60_000)

    assert "value-of-it" not in result.stdout
    assert "PATH" in result.stdout


def test_a_command_is_told_where_programs_are_and_to_leave_no_bytecode() -> None:
    told = environment({"PATH": "/bin", "LC_ALL": "C", "PYTHONPATH": "x", "TOKEN": "t"})

    assert told == {"PATH": "/bin", "LC_ALL": "C", "PYTHONPATH": "x", "PYTHONDONTWRITEBYTECODE": "1"}


async def test_a_folder_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError):
        await supervise(tmp_path / "gone", ["true"], 1000, {}, Ends(), Ends())
