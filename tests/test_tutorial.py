"""The tutorial and the guides, from the first file to the last command, with the outputs that they show."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("core", "plugins", "adapters", "cli")
BLOCK = re.compile(r"^```(\w+)(?: (>> )?(\S+))?\n(.*?)^```$", re.M | re.S)
NAME = re.compile(r"gate-[0-9a-f]{16}|[a-z]+-[0-9a-f]{8}(?![0-9a-f])|\d+:[0-9a-f]{64}")
"""What is another one in each run: names of runs and gates, and heads."""
CODE = re.compile(r"  # exit code (\d+)$")
"""How a command ends, if not with 0."""
POINT = re.compile(r"^\[project\.entry-points\.converge\]$", re.M)


class Reader:
    """Somebody who does what the page says, in an empty folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: dict[str, str] = {}
        programs = folder / "bin"
        programs.mkdir()
        for name, options in (("converge", "-m converge_cli"), ("python", "-W error")):
            shim = programs / name
            shim.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {options} "$@"\n', encoding="utf-8")
            shim.chmod(0o755)
        paths = [str(place) for place in (*(ROOT / room for room in ROOMS), folder / "site")]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CONVERGE_")}
        self._environment = {
            **kept,
            "PATH": os.pathsep.join((str(programs), os.environ["PATH"])),
            "PYTHONPATH": os.pathsep.join(paths),
            "CONVERGE_HOME": str(folder / "home"),
        }

    def save(self, name: str, text: str, *, at_the_end: bool) -> None:
        """Write a file, in place of one that is there, or the end of one."""
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a" if at_the_end else "w", encoding="utf-8") as file:
            file.write(text)

    def announce(self, entry_point: str) -> None:
        """Announce the plugins of the folder ``site``, as an installation would."""
        self.save(
            "site/acme-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n", at_the_end=False
        )
        points = entry_point.replace("project.entry-points.", "").replace('"', "")
        self.save("site/acme-1.0.dist-info/entry_points.txt", points, at_the_end=False)

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
        code = CODE.search(command)
        assert done.returncode == (int(code[1]) if code else 0), done.stdout + done.stderr
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


@pytest.mark.parametrize("page", ["tutorial", "release-gate", "validation", "work"])
def test_every_file_and_command_of_a_page_does_what_it_says(page: str, tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    commands = 0
    for language, more, name, text in BLOCK.findall((ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")):
        if name:
            reader.save(name, text, at_the_end=bool(more))
        elif POINT.search(text):
            reader.announce(text)
        else:
            assert language == "console"
            _, *calls = re.split(r"^\$ ", text, flags=re.M)
            for call in calls:
                command, *shown = call.rstrip("\n").split("\n")
                reader.type(command, shown)
                commands += 1
    assert commands > 3
