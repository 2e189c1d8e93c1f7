"""The core is light and pure: importing it loads nothing that it does not need."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import converge_core

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
    loaded = loaded_by("import converge_core")
    assert "converge_core.engine.convergence" in loaded
    assert (loaded - needed) & HEAVY == set()


def test_importing_the_core_loads_nothing_of_its_neighbours() -> None:
    neighbours = ("converge_plugins", "converge_adapters", "converge_cli")
    assert [name for name in loaded_by("import converge_core") if name.startswith(neighbours)] == []


@pytest.mark.parametrize("name", converge_core.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(converge_core, name) is not None


def test_the_public_names_are_listed_in_order() -> None:
    assert sorted(converge_core.__all__) == sorted(set(converge_core.__all__))
