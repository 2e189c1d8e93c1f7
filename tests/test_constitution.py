"""The rules on imports hold, and they bite: in a copy of the source tree each of them is broken once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("core", "plugins", "adapters", "cli")
RULES = "deny_imports.toml"
MODULES = sorted(module.relative_to(ROOT) for room in ROOMS for module in (ROOT / room).rglob("*.py"))

CORE = "core/converge_core/errors.py"
SCHEDULES = "The core schedules nothing: whoever drives it decides what runs when"
TOUCHES = "The core touches no machine: it runs on nothing but its arguments"
CLOCK = "The core owns no clock: order is Lamport's, and time is an input"
ONE_WAY = "Imports point one way: command line, adapters and plugins, core"
ALONE = "A plugin stands alone: taken out, no other misses it"
WORLD = "Only adapters touch the world: models, event loops, stores, files"
PEOPLE = "Only the command line talks to people"

FORBIDDEN_IN_THE_CORE = [
    *("anyio", "asyncio", "trio", "threading", "multiprocessing", "concurrent"),
    *("socket", "ssl", "http", "urllib", "httpx", "httpx2", "requests"),
    *("sqlite3", "sqlite_utils"),
    *("anthropic", "openai"),
    *("click", "rich", "yaml"),
    *("subprocess", "os", "pathlib", "io", "tempfile", "shutil"),
    *("random", "secrets", "uuid"),
    *("time", "datetime"),
    *("logging",),
    *("importlib", "sys"),
]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the source tree and its rules, to break them in."""
    for room in ROOMS:
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / RULES, tmp_path)
    return tmp_path


def add(tree: Path, module: str, code: str) -> None:
    with (tree / module).open("a") as stream:
        stream.write(f"\n\n{code}\n")


def lint(tree: Path) -> subprocess.CompletedProcess[str]:
    command = shutil.which("lint-imports", path=str(Path(sys.executable).parent))
    assert command, "import-linter is not installed beside this Python"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(tree / room) for room in ROOMS),
        "COLUMNS": "200",
    }
    return subprocess.run(
        [command, "--no-logo", "--no-cache", "--config", RULES],
        cwd=tree,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_source_tree_keeps_the_rules(tree: Path) -> None:
    report = lint(tree)
    assert report.returncode == 0, report.stdout + report.stderr
    assert " 0 broken" in report.stdout


@pytest.mark.parametrize(
    ("module", "code", "rule"),
    [
        (CORE, "import time", CLOCK),
        (CORE, "from asyncio import sleep", SCHEDULES),
        (CORE, "import os.path", TOUCHES),
        (CORE, "def peek() -> None:\n    import time", CLOCK),
        (CORE, "if TYPE_CHECKING:\n    from datetime import datetime", CLOCK),
        (CORE, "import converge_plugins", ONE_WAY),
        ("plugins/converge_plugins/__init__.py", "import converge_adapters", ONE_WAY),
        ("adapters/converge_adapters/__init__.py", "def load() -> None:\n    import converge_plugins", ONE_WAY),
        ("adapters/converge_adapters/__init__.py", "import converge_cli", ONE_WAY),
        ("plugins/converge_plugins/__init__.py", "import openai", WORLD),
        ("cli/converge_cli/__init__.py", "import yaml", WORLD),
        ("plugins/converge_plugins/__init__.py", "import click", PEOPLE),
        ("adapters/converge_adapters/__init__.py", "import rich.table", PEOPLE),
    ],
)
def test_an_import_that_breaks_a_rule_is_refused_and_the_rule_is_named(
    tree: Path, module: str, code: str, rule: str
) -> None:
    add(tree, module, code)
    report = lint(tree)
    assert report.returncode != 0
    assert f"{rule} BROKEN" in report.stdout


def test_a_plugin_that_imports_its_neighbour_is_refused(tree: Path) -> None:
    add(tree, "plugins/converge_plugins/left.py", "")
    add(tree, "plugins/converge_plugins/right.py", "from converge_plugins import left")
    report = lint(tree)
    assert report.returncode != 0
    assert f"{ALONE} BROKEN" in report.stdout


def test_the_core_is_closed_to_the_whole_outside(tree: Path) -> None:
    add(tree, CORE, "\n".join(f"import {name}" for name in FORBIDDEN_IN_THE_CORE))
    report = lint(tree)
    noticed = [name for name in FORBIDDEN_IN_THE_CORE if f"converge_core.errors -> {name} (" in report.stdout]
    assert noticed == FORBIDDEN_IN_THE_CORE
    assert " 10 broken" in report.stdout


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_module_is_read_in_one_sitting(module: Path) -> None:
    assert len((ROOT / module).read_text(encoding="utf-8").splitlines()) <= 600


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_module_is_named_for_what_it_holds(module: Path) -> None:
    names = {module.stem, *module.parent.parts}
    assert names.isdisjoint({"utils", "util", "helpers", "common", "misc"})
