"""A folder in which somebody works with `converge`: files, a ledger of its own, and the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from converge_cli.main import main

ROOT = Path(__file__).parents[2]
PATHS = [str(ROOT / room) for room in ("core", "plugins", "adapters", "cli")]

SEED: dict[str, Any] = {"key": "seeds", "id": "s:{n}", "items": [{"n": 1}, {"n": 2}]}
RULE: dict[str, Any] = {
    "use": "rules.cel",
    "name": "rule",
    "with": {"for_each": "seeds", "key": "signals", "id": "x:{fact.id}", "payload": {"n": "fact.n"}},
}


def intent(**sections: object) -> str:
    """Return an intent of two seeds and a signal for each; sections replace those of this name. JSON is YAML."""
    return json.dumps({"intent": {"id": "t"}, "inputs": [SEED], "suggestors": [RULE], **sections})


def python(callable: str, **options: object) -> dict[str, object]:
    """Return the section of a suggestor in the intent's folder, woken by the seeds."""
    return {"use": "python", "name": "own", "with": {"callable": callable, "reads": ["seeds"], **options}}


class Desk:
    """The folder is the current one, so that paths in messages are short."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.environment: dict[str, str | None] = {
            "CONVERGE_HOME": str(self.home),
            "CONVERGE_ACTOR": "ann",
            "CONVERGE_PLUGINS": None,
            "CONVERGE_LEDGER": None,
            "CONVERGE_DEBUG": None,
        }

    def write(self, name: str, content: str | bytes) -> Path:
        """Keep something in a file of the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def call(self, *args: object, code: int = 0, **environment: str | None) -> Result:
        """Call `converge` in this process, without a terminal, and expect an exit code."""
        result = CliRunner().invoke(main, [str(arg) for arg in args], env={**self.environment, **environment})
        assert result.exit_code == code, f"exit {result.exit_code}: {result.output}"
        return result

    def run(self, text: str, *args: object, code: int = 0) -> Result:
        """Run an intent."""
        self.write("intent.yaml", text)
        return self.call("run", "intent.yaml", *args, code=code)

    def json(self, *args: object, code: int = 0) -> dict[str, Any]:
        """Call `converge --json`, for the one object that it prints."""
        [line] = self.call(*args, "--json", code=code).stdout.splitlines()
        value: dict[str, Any] = json.loads(line)
        return value

    def finished(self, text: str, *args: object, code: int = 0) -> dict[str, Any]:
        """Run an intent, for the result that `--json` prints."""
        self.write("intent.yaml", text)
        return self.json("run", "intent.yaml", *args, code=code)

    def refused(self, text: str, *args: object) -> list[str]:
        """Run an intent that is at fault, which leaves nothing behind, and return what is said of it."""
        result = self.run(text, *args, code=3)
        assert result.stdout == ""
        assert not self.home.exists()
        return result.stderr.splitlines()

    def process(
        self, *args: object, code: int = 0, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Call `converge` in a process of its own, and expect an exit code."""
        done = subprocess.run(
            [sys.executable, "-m", "converge_cli", *map(str, args)],
            env=self.variables(environment),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, f"exit {done.returncode}: {done.stdout}{done.stderr}"
        return done

    def variables(self, changes: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment of a process that works here."""
        here = {name: value for name, value in self.environment.items() if value is not None}
        kept = {name: value for name, value in os.environ.items() if name not in self.environment}
        return {**kept, "PYTHONPATH": os.pathsep.join(PATHS), **here, **(changes or {})}
