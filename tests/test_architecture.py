"""One of each: a path for a module, a class for an idea, a registry for all who ask; and nothing is left behind."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NamedTuple, cast

import anyio
import pytest

from converge_adapters.capacity import SqliteCapacityStore
from converge_adapters.executors import AnyioExecutor
from converge_adapters.leases import SqliteLeases
from converge_adapters.ledgers.sqlite import SqliteLedger
from converge_cli.models import PROVIDERS
from converge_cli.session import Session
from converge_core import (
    ContextKey,
    ContextState,
    Engine,
    LedgerError,
    MisuseError,
    ProposedFact,
    Suggestor,
    TextPayload,
    suggestor,
)
from converge_core.context.state import Context
from converge_core.llm.models import Models
from converge_core.ports import CAPACITY, MODELS, QUOTAS
from tests.cli.desk import PATHS, Desk, intent

ROOT = Path(__file__).parents[1]
ROOMS = ("core", "plugins", "adapters", "cli")
SOURCES = {path: path.read_text(encoding="utf-8") for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))}
CLASSES = Counter(
    node.name for source in SOURCES.values() for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef)
)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONVERGE_HOME", str(tmp_path / "home"))
    return Desk(tmp_path)


# TD-007: a module has one path, and loading it does nothing else.

IMPORT_EVERYTHING = """
import importlib, json, os, pkgutil, sys

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
EVENTS = {"os.mkdir", "os.remove", "os.rename", "socket.connect", "sqlite3.connect", "subprocess.Popen"}
touched, without = [], []

def listen(event, args):
    if event in EVENTS or (event == "open" and isinstance(args[2], int) and args[2] & WRITES):
        touched.append([event, str(args[:2])])

before, paths = dict(os.environ), list(sys.path)
sys.addaudithook(listen)
for room in ("converge_core", "converge_plugins", "converge_adapters", "converge_cli"):
    for module in pkgutil.walk_packages(importlib.import_module(room).__path__, f"{room}."):
        if not module.name.endswith("__main__"):
            try:
                importlib.import_module(module.name)
            except ModuleNotFoundError as error:
                without.append(error.name)
changed = dict(os.environ) != before or sys.path != paths
files = {}
for module in list(sys.modules.values()):
    if getattr(module, "__name__", "").startswith("converge_"):
        files.setdefault(os.path.realpath(module.__file__), set()).add(id(module))
print(json.dumps({"touched": touched, "without": without, "changed": changed, "loaded": len(files),
                  "twice": sorted(file for file, modules in files.items() if len(modules) > 1)}))
"""


class Imported(NamedTuple):
    """What a fresh interpreter says after it has imported everything."""

    touched: list[list[str]]
    without: list[str]
    changed: bool
    loaded: int
    twice: list[str]


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Imported:
    folder = tmp_path_factory.mktemp("fresh")
    command = [sys.executable, "-B", "-c", IMPORT_EVERYTHING]
    environment = {"PYTHONPATH": os.pathsep.join(PATHS)}  # nothing that the imports of this process may have left there
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    assert list(folder.iterdir()) == []
    return Imported(**json.loads(done.stdout))


def test_td007_no_module_is_loaded_twice_from_one_file(imported: Imported) -> None:
    assert imported.twice == []
    assert imported.loaded > 100
    assert [name for name in imported.without if name.startswith("converge")] == []


def test_td007_importing_everything_changes_neither_environment_nor_disk(imported: Imported) -> None:
    assert not imported.changed
    assert imported.touched == []


def test_td007_nobody_changes_where_modules_are_found_but_for_the_code_of_an_intent() -> None:
    """That lies in the intent's folder; the path is there while it loads, and is taken back (see `code_loader`)."""
    changing = {
        path.name: [ast.unparse(node) for node in ast.walk(ast.parse(source)) if _changes_the_path(node)]
        for path, source in SOURCES.items()
    }
    assert {name: nodes for name, nodes in changing.items() if nodes} == {
        "code_loader.py": ["sys.path.append(str(self._folder))", "sys.path.remove(str(self._folder))"]
    }


def _changes_the_path(node: ast.AST) -> bool:
    """Whether a node calls a method of `sys.path` or a like list, assigns to it, or takes it by another name."""
    lists = r"sys\.(path|meta_path|path_hooks)\b"
    match node:
        case ast.Call(func=function):
            return re.match(rf"({lists}\.|site\.addsitedir$)", ast.unparse(function)) is not None
        case ast.Assign(targets=targets) | ast.Delete(targets=targets):
            return any(re.match(lists, ast.unparse(target)) for target in targets)
        case ast.AugAssign(target=target):
            return re.match(lists, ast.unparse(target)) is not None
        case ast.ImportFrom(module="sys", names=names):
            return any(name.name in {"path", "meta_path", "path_hooks"} for name in names)
    return False


@pytest.mark.parametrize(
    "line",
    ["sys.path.insert(0, 'x')", "sys.path += ['x']", "sys.path[:0] = ['x']", "del sys.path[0]", "from sys import path"],
)
def test_td007_every_way_to_change_the_path_is_noticed(line: str) -> None:
    assert any(_changes_the_path(node) for node in ast.walk(ast.parse(line)))


def test_td007_a_class_is_the_same_one_on_both_sides_of_a_plugin() -> None:
    classes = [entry.factory for entry in Session(third_party=False).offers.suggestors]
    made = [found for found in classes if isinstance(found, type)]
    assert len(made) > 10
    assert [found for found in made if not issubclass(found, Suggestor)] == []
    again = [entry.factory for entry in Session(third_party=False).offers.suggestors]
    assert [found for found in again if isinstance(found, type)] == made


# S-001 and TD-001: one implementation of an idea, and one object of it for all.


@pytest.mark.parametrize(
    ("ending", "names"),
    [
        ("Engine", {"Engine"}),
        ("Breaker", {"Breaker"}),
        ("DilationField", {"DilationField"}),
        ("Hysteresis", {"SwapHysteresis"}),
        ("Optimizer", {"PCSFOptimizer"}),
        ("Router", {"Router"}),
        ("CapacityState", {"ProviderCapacityState"}),
        ("Contract", {"ExecutionContract", "OutputContract", "EvidenceContract"}),
        ("Registry", {"ProviderRegistry", "HotSwapRegistry", "PayloadRegistry", "EvalRegistry"}),
    ],
)
def test_s001_there_is_one_class_for_each_of_these(ending: str, names: set[str]) -> None:
    assert {name: CLASSES[name] for name in CLASSES if name.endswith(ending)} == dict.fromkeys(names, 1)


def test_td001_runs_and_chats_are_given_one_registry(desk: Desk) -> None:
    session = Session(third_party=False)
    loop, router = session.ports({}), session.ports({"tenant": "other"})
    assert loop.find(CAPACITY) is router.find(CAPACITY) is session.capacity
    assert loop.find(PROVIDERS) is router.find(PROVIDERS) is session.capacity
    assert loop.find(QUOTAS) is router.find(QUOTAS) is session.capacity


def test_td001_a_failure_that_one_process_records_is_in_the_snapshot_of_the_next(desk: Desk) -> None:
    loop, router = Session(third_party=False), Session(third_party=False)
    loop.capacity.record_error("anthropic", "overloaded")
    assert router.capacity.get("anthropic").error_count == 1


def test_td001_runs_and_chats_are_recorded_in_one_ledger(desk: Desk) -> None:
    chat, run = desk.json("chat-route", "hello")["run_id"], desk.finished(intent())["run_id"]
    assert {json.loads(line)["run_id"] for line in desk.call("runs", "--json").stdout.splitlines()} == {chat, run}


# PR-004: what is opened is closed, and threads end.


@suggestor(name="blocking", writes=ContextKey.SIGNALS)
def blocking(ctx: Context) -> Iterator[ProposedFact[TextPayload]]:
    yield ProposedFact(ContextKey.SIGNALS, "s", TextPayload(text=threading.current_thread().name))


def test_pr004_fifty_executors_that_used_threads_leave_none() -> None:
    before = set(threading.enumerate())
    for _ in range(50):
        engine = Engine()
        engine.register_suggestor(blocking)
        result = anyio.run(partial(engine.run, ContextState(), executor=AnyioExecutor(threads=True)))
        (fact,) = result.context.get(ContextKey.SIGNALS)
        assert fact.payload != TextPayload(text=threading.current_thread().name)
    assert set(threading.enumerate()) == before


def test_pr004_calls_of_the_command_line_leave_no_thread(desk: Desk) -> None:
    before = set(threading.enumerate())
    for _ in range(5):
        desk.finished(intent())
        desk.call("chat-route", "hello")
    assert set(threading.enumerate()) == before


def test_pr004_stores_are_opened_and_closed_fifty_times_and_each_time_twice(tmp_path: Path) -> None:
    async def open_and_close(number: int) -> None:
        ledger, leases = SqliteLedger(tmp_path / "ledger.db"), SqliteLeases(tmp_path / "leases.db")
        await ledger.create_run(f"run-{number}")
        await leases.claim(f"slot-{number}", "ann", 1000)
        for _ in range(2):
            await ledger.close()
            await leases.close()

    before = set(threading.enumerate())
    for number in range(50):
        anyio.run(open_and_close, number)
        with closing(SqliteCapacityStore(tmp_path / "capacity.db")) as store:
            store.read()
            store.close()
    assert set(threading.enumerate()) == before


def test_pr004_a_store_that_was_closed_says_so(tmp_path: Path) -> None:
    ledger, store = SqliteLedger(tmp_path / "ledger.db"), SqliteCapacityStore(tmp_path / "capacity.db")
    anyio.run(ledger.close)
    store.close()
    with pytest.raises(LedgerError, match="closed"):
        anyio.run(ledger.runs)
    with pytest.raises(MisuseError, match="closed"):
        store.read()


class Connections:
    """What the models of a run hold; giving it back may fail."""

    def __init__(self, error: Exception | None = None) -> None:
        self.closed, self._error = 0, error

    async def aclose(self) -> None:
        self.closed += 1
        if self._error is not None:
            raise self._error


def test_pr004_who_fails_to_close_does_not_keep_the_others_from_it(desk: Desk) -> None:
    session, given = Session(third_party=False), [Connections(), Connections(OSError("gone")), Connections()]
    for connections in given:
        session.ports({}).offer(MODELS, cast("Models", connections))  # they are only closed
    with pytest.raises(OSError, match="gone"):
        anyio.run(session.give_back_connections)
    assert [connections.closed for connections in given] == [1, 1, 1]
