"""A process that bears others: each calls `converge` a few times, and may be killed at any moment.

``python nursery.py`` has imported everything before it forks, so a child is at work within milliseconds. It bears a
child for each line it is told, ``{"out": FILE, "calls": [[ARG, ...], ...]}``, and answers with its process id; for the
line ``wait PID`` it answers with the exit code, or -9 for one that was killed. A child stays a child until then, so its
id is nobody else's.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

RUN = "the-run"
ROOT = Path(__file__).parents[2]
WARM = (
    "anyio._backends._asyncio",
    "sqlite_utils",
    "converge_adapters.ledgers.sqlite",
    *(f"converge_cli.commands.{name}" for name in ("run", "resume", "approve", "reject", "correct")),
)
"""What is imported once, for all children."""

PATHS = [str(ROOT / room) for room in ("core", "plugins", "adapters", "cli")]


class Child:
    """A process that calls `converge`; its output is in a file, one JSON object a line."""

    def __init__(self, nursery: Nursery, pid: int, out: Path) -> None:
        self._nursery, self.pid, self.out = nursery, pid, out
        self.lives = True

    def kill(self) -> None:
        """Kill it, wherever it is; nothing happens to one that has ended."""
        os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Wait for its end, and return the code of its last call, or -9 when it was killed."""
        code = int(self._nursery.ask(f"wait {self.pid}"))
        self.lives = False
        return code

    def told(self) -> list[dict[str, Any]]:
        """Return what it has printed."""
        return [json.loads(line) for line in self.out.read_text(encoding="utf-8").splitlines()]


class Nursery:
    """The test's side of the process."""

    def __init__(self, folder: Path) -> None:
        variables = {**os.environ, "PYTHONPATH": os.pathsep.join(PATHS), "CONVERGE_HOME": str(folder / "home")}
        self._folder = folder
        self._children: list[Child] = []
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env=variables,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for child in self._children:
            if child.lives:
                child.kill()
                child.wait()
        self._process.communicate(timeout=30)

    def bear(self, *calls: Sequence[object]) -> Child:
        """Let a child make these calls of `converge`, one after the other."""
        out = self._folder / f"out-{len(self._children)}"
        words = [[str(word) for word in call] for call in calls]
        child = Child(self, int(self.ask(json.dumps({"out": str(out), "calls": words}))), out)
        self._children.append(child)
        return child

    def converge(self, *words: object, code: int = 0) -> list[dict[str, Any]]:
        """Call `converge --json` in a child, expect an exit code, and return what it prints."""
        child = self.bear([*words, "--json"])
        found = child.wait()
        assert found == code, f"exit {found}: {child.out.with_suffix('.err').read_text(encoding='utf-8')}"
        return child.told()

    def ask(self, line: str) -> str:
        """Tell the process a line, and return its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()


def serve() -> None:
    """Bear children, as told on standard input."""
    for name in WARM:
        importlib.import_module(name)
    from converge_cli.commands import run
    from converge_cli.session import Session

    def new_run_id(intent_id: str) -> str:
        return RUN

    run.new_run_id = new_run_id
    assert Session().offers
    for line in sys.stdin:
        if line.startswith("wait "):
            answer = os.waitstatus_to_exitcode(os.waitpid(int(line.split()[1]), 0)[1])
        else:
            task = json.loads(line)
            answer = os.fork()
            if answer == 0:
                os._exit(live(task["calls"], Path(task["out"])))
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


def live(calls: Sequence[Sequence[str]], out: Path) -> int:
    """Make calls of `converge`, the output to a file; return the code of the last one."""
    from converge_cli.main import main

    code: object = 0
    with out.open("w", encoding="utf-8") as told, out.with_suffix(".err").open("w", encoding="utf-8") as complained:
        sys.stdout, sys.stderr = told, complained
        for words in calls:
            try:
                main([*words])
            except SystemExit as end:
                code = end.code
    return int(str(code or 0))


def until(path: Path, content: str) -> None:
    """Wait until a file holds something."""
    while not path.exists() or content not in path.read_text(encoding="utf-8"):
        time.sleep(0.002)


if __name__ == "__main__":
    serve()
