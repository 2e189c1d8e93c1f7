"""A person at a terminal: `converge` on a real pseudo-terminal, with an editor that is a script."""

from __future__ import annotations

import sys
from pathlib import Path

import pexpect

from tests.cli.desk import Desk

QUESTION = "[a]pprove, [r]eject, [e]dit, [d]efer or [q]uit"


class Terminal:
    """One call of `converge` on a terminal. Every test has to see it end."""

    def __init__(self, desk: Desk, *args: object, **environment: str) -> None:
        wide = {"TERM": "dumb", "COLUMNS": "200", "EDITOR": "false", "VISUAL": ""}
        self._child: pexpect.spawn[str] = pexpect.spawn(
            sys.executable,
            ["-m", "converge_cli", *map(str, args)],
            env=desk.variables({**wide, **environment}),
            cwd=str(desk.folder),
            encoding="utf-8",
            timeout=30,
            dimensions=(60, 200),
        )

    def question(self) -> str:
        """Wait until the person is asked about a gate, and return what was shown before."""
        self._child.expect_exact(QUESTION)
        shown = str(self._child.before).replace("\r\n", "\n")
        self._child.expect_exact("): ")
        return shown

    def sees(self, text: str) -> None:
        """Wait until a text appears."""
        self._child.expect_exact(text)

    def types(self, text: str) -> None:
        """Type a line."""
        self._child.sendline(text)

    def presses(self, key: str) -> None:
        """Press Ctrl and a key."""
        self._child.sendcontrol(key)

    def ends(self, code: int) -> str:
        """Wait for the end, expect an exit code, and return what was shown since."""
        self._child.expect(pexpect.EOF)
        self._child.close()
        shown = str(self._child.before).replace("\r\n", "\n")
        assert (self._child.exitstatus, self._child.signalstatus) == (code, None), shown
        return shown


def editor(desk: Desk, script: str) -> str:
    """Return an editor: a script in Python, to which ``path`` is the file to edit and ``calls`` how often it ran."""
    counter = desk.folder / "edited"
    source = f"""\
import sys
from pathlib import Path
path, counter = Path(sys.argv[1]), Path({str(counter)!r})
calls = int(counter.read_text()) if counter.exists() else 0
counter.write_text(str(calls + 1))
text = path.read_text(encoding="utf-8")
{script}
"""
    file: Path = desk.write("editor.py", source)
    return f"{sys.executable} {file}"
