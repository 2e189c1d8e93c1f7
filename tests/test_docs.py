"""The reference says what the code says: what is not documented does not pass."""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import click
import pytest

from converge_cli.exit_codes import ExitCode
from converge_cli.main import COMMANDS, main
from converge_cli.session import Session
from converge_core.gates.stop import STOP_REASONS
from converge_core.ledger.events import EVENTS

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference"
SOURCES = [path for room in ("core", "plugins", "adapters", "cli") for path in (ROOT / room).rglob("*.py")]


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATOR = _generator()


def _text(name: str) -> str:
    return (REFERENCE / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", GENERATOR.PAGES)
def test_a_generated_page_is_what_would_be_written_now(name: str) -> None:
    assert _text(name) == GENERATOR.page(name), "run: python -m docs.reference"


def test_every_page_of_the_reference_is_generated_or_written_by_hand_on_purpose() -> None:
    assert {path.name for path in REFERENCE.iterdir()} == {*GENERATOR.PAGES, "settings.md"}


@pytest.mark.parametrize("kind", EVENTS)
def test_every_event_is_documented_with_its_fields(kind: str) -> None:
    _, _, rest = _text("events.md").partition(f"### `{kind}`\n")
    section = rest.partition("\n###")[0]
    assert all(f"`{field.name}`" in section for field in dataclasses.fields(EVENTS[kind]))
    assert len(section.strip().splitlines()[0]) > 20


@pytest.mark.parametrize("name", STOP_REASONS)
def test_every_stop_reason_is_documented_with_its_class(name: str) -> None:
    [row] = [line for line in _text("stop-reasons.md").splitlines() if line.startswith(f"| `{name}` |")]
    assert f"| {STOP_REASONS[name].stop_class} |" in row
    assert len(row.split("|")[4].strip()) > 20


def _hooks() -> dict[str, str]:
    """The signature of every hook, as the source has it."""
    tree = ast.parse((ROOT / "core/converge_core/hookspec.py").read_text(encoding="utf-8"))
    return {
        node.name: f"({ast.unparse(node.args)}) -> {ast.unparse(node.returns)}"
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.returns is not None
    }


@pytest.mark.parametrize("name", _hooks())
def test_every_hook_is_documented_with_its_exact_signature(name: str) -> None:
    assert f"\n### `{name}{_hooks()[name]}`\n" in _text("hooks.md")


def test_no_other_hook_is_documented() -> None:
    assert set(re.findall(r"### `(converge_\w+)", _text("hooks.md"))) == set(_hooks())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented_with_its_options(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    _, _, rest = _text("cli.md").partition(f"\n## converge {name}\n")
    section = rest.partition("\n## ")[0]
    options = [parameter.opts[-1] for parameter in command.params if isinstance(parameter, click.Option)]
    assert [option for option in options if option not in section] == []


@pytest.mark.parametrize("code", ExitCode)
def test_every_exit_code_is_documented(code: ExitCode) -> None:
    assert f"\n| {code.value} | {code.name} | {code.meaning} |\n" in _text("cli.md")


def test_every_setting_is_documented_and_no_other() -> None:
    read = {name for path in SOURCES for name in re.findall(r"\bCONVERGE_[A-Z]+\b", path.read_text(encoding="utf-8"))}
    assert set(re.findall(r"^\| `(CONVERGE_[A-Z]+)`", _text("settings.md"), re.M)) == read
    assert len(read) > 3


@pytest.mark.parametrize(
    ("what", "name"),
    [(catalog.what, entry.name) for catalog in Session(third_party=False).offers.catalogs() for entry in catalog],
)
def test_everything_that_comes_with_converge_is_documented(what: str, name: str) -> None:
    assert f"\n## {what} `{name}`\n" in _text("catalog.md")


PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    anchors = {_anchor(title) for title in re.findall(r"^#+ (.*)$", text, re.M)}
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            assert not path or (page.parent / path).exists(), target
            assert path or anchor in anchors, target


TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}
CLASSES = {node.name for tree in TREES.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
ORIGINAL = {*(ROOT / "docs/seed-names.txt").read_text(encoding="utf-8").split(), "AgentRefused", "PromotionRejected"}
WRITTEN = [page for page in PAGES if page.parent != REFERENCE or page.name == "settings.md"]

WORLD = {
    *("API", "CEL", "CI", "GPT", "HTTP", "ISO", "JSON", "MB", "README", "RFC", "SHA", "SLA", "SPDX", "URL", "YAML"),
    *("EU", "EUR", "US", "USD"),
    *("DELETE", "FULL", "NO", "NORMAL", "SQL", "UPDATE"),
    *("AMD", "CLIPS", "DBOS", "EPYC"),
}
"""What is written in capitals everywhere; the abbreviations of this house are in its code."""


def _metavars(command: click.Command) -> set[str]:
    """What the command line calls what is to be put in the place of something."""
    words = {parameter.make_metavar(click.Context(command)) for parameter in command.params}
    return {found for word in words for found in re.findall(r"[A-Z]{2,}", word)}


def _abbreviations() -> set[str]:
    """Abbreviations that begin the name of a class (`PCSFOptimizer`), or that the command line asks for."""
    words = {found for name in CLASSES for found in re.findall(r"^[A-Z]{2,}(?=[A-Z][a-z])", name)}
    for name in COMMANDS:
        command = main.get_command(click.Context(main), name)
        assert command is not None
        words |= _metavars(command)
    return words


def unknown_names(text: str) -> set[str]:
    """Return the abbreviations in the prose of a page, and the classes in its code, that nothing here has."""
    blocks = "\n".join(re.findall(r"^```.*?^```", text, re.M | re.S))
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    named = set(re.findall(r"`([A-Z][a-z]+(?:[A-Z][a-z]+)+)\b[^`\n]*`", prose))
    shouted = set(re.findall(r"(?<![\w-])[A-Z]{2,}(?![\w-]|\.\w)", re.sub(r"`[^`]*`|\]\([^)]*\)", "", prose)))
    own = set(re.findall(r"^class (\w+)", blocks, re.M))
    return (named - CLASSES - ORIGINAL - own) | (shouted - WORLD - _abbreviations())


@pytest.mark.parametrize("page", WRITTEN, ids=lambda path: str(path.relative_to(ROOT)))
def test_s006_a_page_speaks_of_nothing_that_does_not_exist(page: Path) -> None:
    assert unknown_names(page.read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("Decided by CEG and ESF.", {"ESF"}),
        ("A `ProviderRegistry` and an `EngineStateField` hold it.", {"EngineStateField"}),
        ("As `ESF` it is code, and in a block it is not read:\n```text\nESF\n```\n", set()),
    ],
)
def test_s006_a_name_that_nothing_has_is_noticed(text: str, unknown: set[str]) -> None:
    assert unknown_names(text) == unknown


def test_s006_a_name_is_known_as_long_as_something_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert unknown_names("`PCSFOptimizer` plans by PCSF.") == set()
    left = {name for name in CLASSES if not name.startswith("PCSF")}
    monkeypatch.setitem(globals(), "CLASSES", left)
    assert unknown_names("`ProviderRegistry` plans by PCSF.") == {"PCSF"}


def _anchor(title: str) -> str:
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
