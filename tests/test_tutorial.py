"""The tutorial, from its first file to its last command, with the outputs that it shows."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TUTORIAL = ROOT / "docs" / "tutorial.md"
BLOCK = re.compile(r"^```(\w+)(?: (>> )?(\S+))?\n(.*?)^```$", re.M | re.S)
NAME = re.compile(r"refunds-[0-9a-f]{8}|gate-[0-9a-f]{16}|\d+:[0-9a-f]{64}")
"""What is another one in each run: names of runs and gates, and heads."""


class Reader:
    """Somebody who does what the page says, in an empty folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: dict[str, str] = {}
        shim = folder / "bin" / "converge"
        shim.parent.mkdir()
        shim.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m converge_cli "$@"\n', encoding="utf-8")
        shim.chmod(0o755)
        paths = [str(ROOT / room) for room in ("core", "plugins", "adapters", "cli")]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CONVERGE_")}
        self._environment = {
            **kept,
            "PATH": os.pathsep.join((str(shim.parent), os.environ["PATH"])),
            "PYTHONPATH": os.pathsep.join(paths),
            "CONVERGE_HOME": str(folder / "home"),
        }

    def save(self, name: str, text: str, *, at_the_end: bool) -> None:
        """Write a file, or the end of one."""
        with (self._folder / name).open("a" if at_the_end else "x", encoding="utf-8") as file:
            file.write(text)

    def type(self, command: str, shown: list[str]) -> None:
        """Type a command under the names that things have here, and find the lines shown in its output, in order."""
        typed = NAME.sub(lambda name: self._names[name[0]], command)
        done = subprocess.run(
            ["sh", "-c", typed],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert done.returncode == (6 if "--no-input" in command else 0), done.stderr
        lines = iter([line.rstrip() for line in done.stdout.splitlines()])
        for wanted in shown:
            assert any(self._is(wanted, line) for line in lines), f"{command} does not print: {wanted}\n{done.stdout}"

    def _is(self, wanted: str, line: str) -> bool:
        """Whether a line is the one shown; then what has a name of its own there is known from now on."""
        names = NAME.findall(wanted)
        pattern = re.escape(wanted).replace("…", ".*")
        for name in names:
            pattern = pattern.replace(re.escape(name), f"({NAME.pattern})", 1)
        found = re.fullmatch(pattern, line)
        if found is None:
            return False
        here = dict(zip(names, found.groups(), strict=True))
        if any(self._names.get(name, actual) != actual for name, actual in here.items()):
            return False
        self._names |= here
        return True


def test_every_file_and_command_of_the_tutorial_does_what_the_page_says(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    commands = 0
    for language, more, name, text in BLOCK.findall(TUTORIAL.read_text(encoding="utf-8")):
        if name:
            reader.save(name, text, at_the_end=bool(more))
            continue
        assert language == "console"
        _, *calls = re.split(r"^\$ ", text, flags=re.M)
        for call in calls:
            command, *shown = call.rstrip("\n").split("\n")
            reader.type(command, shown)
            commands += 1
    assert commands > 10
