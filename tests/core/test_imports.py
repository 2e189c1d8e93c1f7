"""The core is light and pure: importing it loads nothing that it does not need."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import converge_core

QUICK_START = """
from converge_core import ContextKey, ContextState, Engine
from converge_core.suggestors import ReactOnceSuggestor, SeedSuggestor
engine = Engine()
engine.register_suggestor(SeedSuggestor("seed-1", "initial data"))
engine.register_suggestor(ReactOnceSuggestor("hyp-1", "derived insight"))
run = engine.run(ContextState())
try:
    run.send(None)
except StopIteration as done:
    assert done.value.converged
"""
RARELY_ENTERED = (
    "converge_core.context.artifacts",
    "converge_core.context.hypotheses",
    "converge_core.context.tensions",
    "converge_core.deadlines",
    "converge_core.evals",
    "converge_core.experience",
    "converge_core.governance",
    "converge_core.hookspec",
    "converge_core.intent.document",
    "converge_core.intent.models",
    "converge_core.intent.sections",
    "converge_core.intent.truths",
    "converge_core.leases",
    "converge_core.ledger.history",
    "converge_core.llm.backend",
    "converge_core.llm.capacity",
    "converge_core.llm.selection",
    "converge_core.packs",
    "converge_core.recall",
    "converge_core.repository",
    "converge_core.validation",
    "converge_core.votes",
    "difflib",
    "pluggy",
)
HEAVY = {
    "anthropic",
    "anyio",
    "asyncio",
    "click",
    "concurrent.futures",
    "httpx",
    "multiprocessing",
    "openai",
    "rich",
    "socket",
    "sqlite3",
    "sqlite_utils",
    "ssl",
    "subprocess",
    "trio",
    "yaml",
}


def loaded_by(statement: str) -> set[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    script = f"{statement}\nimport sys\nprint(*sorted(sys.modules), sep='\\n')"
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_core_loads_nothing_heavy_beyond_what_pydantic_and_pluggy_load() -> None:
    needed = loaded_by("import pluggy, pydantic\nclass Model(pydantic.BaseModel, frozen=True): number: int")
    loaded = loaded_by("from converge_core import *")
    assert "converge_core.engine.convergence" in loaded
    assert (loaded - needed) & HEAVY == set()


def test_importing_the_core_loads_nothing_of_its_neighbours() -> None:
    neighbours = ("converge_plugins", "converge_adapters", "converge_cli")
    assert [name for name in loaded_by("from converge_core import *") if name.startswith(neighbours)] == []


def test_importing_the_core_enters_no_room() -> None:
    assert [name for name in loaded_by("import converge_core") if name.startswith("converge_core.")] == []


def test_every_room_can_be_the_first_to_be_entered() -> None:
    """No room leans on another having been entered before: nothing is imported in a circle."""
    core = Path(converge_core.__file__).parent
    rooms = [".".join(path.relative_to(core.parent).with_suffix("").parts) for path in sorted(core.rglob("*.py"))]
    assert "converge_core.engine.engine" in rooms
    loaded_by(
        f"import sys, pydantic\nfrom importlib import import_module\nfor room in {rooms!r}:\n"
        "    for name in [name for name in sys.modules if name.startswith('converge_core')]: del sys.modules[name]\n"
        "    import_module(room.removesuffix('.__init__'))\n"
    )


def test_an_engine_needs_only_the_rooms_of_a_run() -> None:
    loaded = loaded_by("from converge_core import Engine")
    assert [name for name in sorted(loaded) if name.startswith(RARELY_ENTERED)] == []
    assert len([name for name in loaded if name.startswith("converge_core")]) <= 70


def test_a_first_run_enters_no_room_that_did_not_come_with_its_engine() -> None:
    assert loaded_by(QUICK_START) == loaded_by("from converge_core import ContextState, Engine")


def test_proofs_are_checked_without_pydantic() -> None:
    loaded = loaded_by("from converge_core import Entry, LedgerCorrupt, canonical, verify, verify_inclusion")
    assert loaded.isdisjoint({"pydantic", "converge_core.context.payloads", "converge_core.engine"})


def test_every_public_name_is_what_its_line_on_the_page_says() -> None:
    page = ast.parse(Path(converge_core.__file__).read_text(encoding="utf-8"))
    (guard,) = (node for node in page.body if isinstance(node, ast.If))
    lines = [node for node in guard.body if isinstance(node, ast.ImportFrom)]
    listed = {alias.name: node.module for node in lines for alias in node.names if alias.name in converge_core.__all__}
    assert sorted(listed) == sorted(converge_core.__all__)
    for name, module in listed.items():
        assert getattr(converge_core, name) is getattr(import_module(str(module)), name), name


def test_an_unknown_name_is_refused_as_any_module_refuses_it() -> None:
    with pytest.raises(AttributeError, match="module 'converge_core' has no attribute 'Enigne'"):
        converge_core.Enigne  # type: ignore[attr-defined]  # noqa: B018


def test_every_public_name_is_listed_and_comes_with_a_star() -> None:
    said = "import converge_core; listed = dir(converge_core)\nfrom converge_core import *\n"
    loaded_by(f"{said}assert set(converge_core.__all__) <= set(listed) & set(globals())")


@pytest.mark.parametrize("name", converge_core.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(converge_core, name) is not None


def test_the_public_names_are_listed_in_order() -> None:
    assert sorted(converge_core.__all__) == sorted(set(converge_core.__all__))
