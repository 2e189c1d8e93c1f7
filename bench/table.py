"""The benchmark as data: the systems, the workloads, and the targets that the numbers are held against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

OWN = "converge"
LIMIT = "limit"


class System(NamedTuple):
    """Something that is measured: the module that speaks for it, and whether the python of the peers runs it."""

    name: str
    module: str
    is_peer: bool = False
    params: Mapping[str, object] = {}


SYSTEMS = {
    system.name: system
    for system in (
        System(OWN, "bench.converge"),
        System(LIMIT, "bench.limit", is_peer=True),
        System("limit (json)", "bench.limit", params={"encoder": "json"}),
        System("langgraph", "bench.peers.langgraph", is_peer=True),
        System("pydantic-graph", "bench.peers.pydantic_graph", is_peer=True),
        System("burr", "bench.peers.burr", is_peer=True),
        System("dbos", "bench.peers.dbos", is_peer=True),
        System("clipspy", "bench.peers.clipspy", is_peer=True),
        System("pydantic", "bench.worker"),
        System("click", "bench.worker"),
    )
}
"""In the order of the columns. pydantic and click are what a start-up is compared with."""

LIMITS = (LIMIT, "limit (json)")
GRAPHS = ("langgraph", "pydantic-graph", "burr", "dbos")
ALL = (*GRAPHS, "clipspy")


class Shown(NamedTuple):
    """A row of the table: a measure, seconds always being those of one unit, times a factor, in a unit."""

    unit: str
    factor: float = 1
    measure: str = "seconds"


@dataclass(frozen=True)
class Workload:
    """What is set up, with which parameters (``own`` holds those of single systems), by whom, and how it is shown.

    ``fresh`` asks for a new process for each sample: memory that was used before is no measure. What is ``long`` is
    left out of a quick run.
    """

    id: str
    title: str
    setup: str
    params: Mapping[str, object]
    systems: Sequence[str]
    shown: Sequence[Shown]
    own: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    fresh: bool = False
    long: bool = False

    def params_of(self, system: System) -> dict[str, object]:
        """Return the parameters that a system is set up with; an encoder only where the limit has one to choose."""
        extra = {} if self.setup in ("process", "sleepers") else system.params
        return {**self.params, **extra, **self.own.get(system.name, {})}


def _import(statement: str) -> dict[str, object]:
    return {"argv": ["-c", statement]}


_IMPORTS = {
    "langgraph": _import("import langgraph.graph"),
    "pydantic-graph": _import("import pydantic_graph"),
    "burr": _import("import burr.core"),
    "dbos": _import("import dbos"),
    "clipspy": _import("import clips"),
    "pydantic": _import("from pydantic import BaseModel"),
}
_HELLO = """
import click
@click.command()
@click.option("--name", default="world", help="Whom to greet.")
def hello(name): click.echo(f"Hello, {name}!")
hello(["--help"])
"""
_STEP = Shown("µs a step", 1e6)
_CYCLE = Shown("µs a cycle", 1e6)
_EACH = Shown("B each", 1, "bytes")
_DISK = Shown("B a fact on disk", 1, "bytes")

WORKLOADS = {
    workload.id: workload
    for workload in (
        Workload("W1", "chain of 200", "chain", {"length": 200}, (OWN, *LIMITS, *ALL), [Shown("ms", 200e3)]),
        Workload("W1-2000", "chain of 2,000", "chain", {"length": 2_000}, (OWN, *LIMITS), [_STEP]),
        Workload("W1-10000", "chain of 10,000", "chain", {"length": 10_000}, (OWN, *LIMITS), [_STEP], long=True),
        Workload(
            "W2", "fan-out of 200 and a join", "fan_out", {"width": 200}, (OWN, *LIMITS, *ALL), [Shown("ms", 200e3)]
        ),
        Workload(
            "W3",
            "1,000 registered, 10 awake in each of 50 cycles",
            "sparse",
            {"registered": 1_000},
            (OWN, *LIMITS, "langgraph", "pydantic-graph", "clipspy"),
            [Shown("ms", 500e3)],
        ),
        Workload(
            "W3b",
            "10,000 registered, 10 awake in each of 50 cycles",
            "sparse",
            {"registered": 10_000},
            (OWN, *LIMITS, "clipspy"),
            [Shown("ms", 500e3)],
            long=True,
        ),
        Workload(
            "W4",
            "10,000 facts, then 20 cycles of one",
            "large_context",
            {"facts": 10_000},
            (OWN, *LIMITS, "langgraph", "pydantic-graph", "burr", "clipspy"),
            [_CYCLE],
        ),
        Workload(
            "W4b",
            "100,000 facts, then 20 cycles of one",
            "large_context",
            {"facts": 100_000},
            (OWN, *LIMITS, "langgraph", "pydantic-graph", "clipspy"),
            [_CYCLE],
            long=True,
        ),
        Workload(
            "W5-NORMAL",
            "chain of 200, durable, NORMAL",
            "durable",
            {"length": 200, "synchronous": "NORMAL"},
            (OWN, *LIMITS),
            [Shown("ms", 200e3)],
        ),
        Workload(
            "W5-FULL",
            "chain of 200, durable, FULL (the peers' own setting)",
            "durable",
            {"length": 200, "synchronous": "FULL"},
            (OWN, *LIMITS, *GRAPHS[:1], *GRAPHS[2:]),
            [Shown("ms", 200e3), _DISK],
        ),
        Workload(
            "W5-1000",
            "chain of 1,000, durable, NORMAL (the peers: FULL)",
            "durable",
            {"length": 1_000, "synchronous": "NORMAL"},
            (OWN, *GRAPHS[:1], *GRAPHS[2:]),
            [_DISK],
            long=True,
        ),
        Workload(
            "W5r",
            "resume a finished run of 10,000 facts",
            "resume",
            {"facts": 10_000},
            (OWN, *LIMITS, *GRAPHS[:1], *GRAPHS[2:]),
            [Shown("ms", 10e6)],
        ),
        Workload("W5v", "verify alone", "verification", {"facts": 10_000}, (OWN,), [Shown("µs an entry", 1e6)]),
        Workload(
            "W6",
            "1,000 runs of 5 suggestors and 3 cycles (clipspy: 100, dbos: 50)",
            "many_small",
            {"runs": 1_000},
            (OWN, *LIMITS, *ALL),
            [Shown("µs a run", 1e6)],
            own={"clipspy": {"runs": 100}, "dbos": {"runs": 50}},
        ),
        Workload(
            "W6w",
            "2,000 runs that wait for a human (clipspy: 50)",
            "waiting",
            {"runs": 2_000},
            (OWN, "langgraph", "pydantic-graph", "burr", "clipspy"),
            [_EACH],
            own={"clipspy": {"runs": 50}},
            fresh=True,
        ),
        Workload(
            "W7-import",
            "import, over an empty process",
            "process",
            {},
            (OWN, *_IMPORTS),
            [Shown("ms", 1e3)],
            own={OWN: _import("import converge_core"), **_IMPORTS},
        ),
        Workload(
            "W7-engine",
            "import the engine, over an empty process",
            "process",
            {},
            (OWN, *_IMPORTS),
            [Shown("ms", 1e3)],
            own={OWN: _import("from converge_core import Engine"), **_IMPORTS},
        ),
        Workload(
            "W7-help",
            "--help, over an empty process",
            "process",
            {},
            (OWN, "click"),
            [Shown("ms", 1e3)],
            own={OWN: {"argv": ["-m", "converge_cli", "--help"]}, "click": _import(_HELLO)},
        ),
        Workload(
            "W8-asyncio",
            "50 suggestors that await 100 ms, asyncio",
            "sleepers",
            {"count": 50, "milliseconds": 100},
            (OWN, LIMIT, *GRAPHS),
            [Shown("ms", 1e3)],
        ),
        Workload(
            "W8-trio",
            "50 suggestors that await 100 ms, trio",
            "sleepers",
            {"count": 50, "milliseconds": 100, "loop": "trio"},
            (OWN,),
            [Shown("ms", 1e3)],
        ),
        Workload("W9-1000", "1,000 inputs", "inputs", {"count": 1_000}, (OWN, *LIMITS), [Shown("ms", 1_000e3)]),
        Workload("W9-9000", "9,000 inputs", "inputs", {"count": 9_000}, (OWN, *LIMITS), [Shown("ms", 9_000e3)]),
        Workload("W10", "replay of W1's ledger", "replaying", {"length": 200}, (OWN,), [Shown("ms", 200e3)]),
        Workload(
            "memory",
            "a fact of 100,000, beside its payload's own bytes",
            "memory",
            {"facts": 100_000},
            (OWN,),
            [_EACH],
            fresh=True,
            long=True,
        ),
    )
}


class Cell(NamedTuple):
    """Where a number stands."""

    workload: str
    system: str = OWN
    measure: str = "seconds"


class Target(NamedTuple):
    """A bound on a number, or on its ratio to another; ``than`` says in words what the bound is compared with."""

    cell: Cell
    over: Cell | None
    than: str
    at_most: float | None = None
    at_least: float | None = None
    factor: float = 1

    @property
    def workload(self) -> str:
        """The workload under which it is listed."""
        return self.cell.workload

    @property
    def bound(self) -> str:
        """The bound in words."""
        return f"≤ {self.at_most:,g} {self.than}" if self.at_most is not None else f"≥ {self.at_least:,g} {self.than}"

    def is_met_by(self, value: float) -> bool:
        """Say whether a value keeps the bound."""
        return (self.at_most is None or value <= self.at_most) and (self.at_least is None or value >= self.at_least)


def _limited(workload: str, bound: float) -> Target:
    return Target(Cell(workload), Cell(workload, LIMIT), "× the limit", at_most=bound)


def _faster(workload: str, than: str, bound: float) -> Target:
    return Target(Cell(workload, than), Cell(workload), f"× faster than {than}", at_least=bound)


def _within(workload: str, than: str, bound: float) -> Target:
    return Target(Cell(workload), Cell(workload, than), f"× {than}", at_most=bound)


def _grown(workload: str, over: str, bound: float, measure: str = "seconds") -> Target:
    return Target(Cell(workload, OWN, measure), Cell(over, OWN, measure), f"× that of {over}, a unit", at_most=bound)


def _absolute(workload: str, unit: str, bound: float, factor: float = 1, measure: str = "seconds") -> Target:
    return Target(Cell(workload, OWN, measure), None, unit, at_most=bound, factor=factor)


TARGETS = (
    _limited("W1", 8),
    _faster("W1", "langgraph", 12),
    _faster("W1", "pydantic-graph", 4),
    _within("W1", "clipspy", 1),
    _grown("W1-2000", "W1", 1.3),
    _grown("W1-10000", "W1", 2),
    _limited("W2", 3),
    _faster("W2", "langgraph", 9),
    _faster("W2", "pydantic-graph", 8),
    _within("W2", "clipspy", 1),
    _limited("W3", 3),
    _faster("W3", "langgraph", 8),
    _faster("W3", "pydantic-graph", 3.5),
    _grown("W3b", "W3", 1.15),
    _limited("W4", 7),
    _faster("W4", "langgraph", 10),
    _limited("W4b", 7),
    _faster("W4b", "langgraph", 30),
    _grown("W4b", "W4", 1.4),
    _limited("W5-NORMAL", 2.5),
    _limited("W5-FULL", 1.3),
    _faster("W5-FULL", "langgraph", 4.5),
    _faster("W5-FULL", "burr", 6),
    _faster("W5-FULL", "dbos", 6),
    _absolute("W5-FULL", "× its canonical body on disk", 2.5, measure="bodies"),
    _absolute("W5-1000", "× its canonical body on disk", 2.5, measure="bodies"),
    _grown("W5-1000", "W5-FULL", 1, "bytes"),
    _limited("W5r", 2),
    _within("W5r", "langgraph", 4),
    _faster("W5r", "dbos", 15),
    _absolute("W5v", "µs an entry (100,000 entries/s)", 10, 1e6),
    _limited("W6", 4),
    _faster("W6", "langgraph", 9),
    _faster("W6", "pydantic-graph", 8),
    _faster("W6", "burr", 3),
    _absolute("W6w", "bytes each", 12_000, measure="bytes"),
    _within("W7-import", "pydantic", 1.6),
    _within("W7-import", "langgraph", 0.2),
    _within("W7-engine", "pydantic", 1.6),
    _within("W7-engine", "langgraph", 0.2),
    _within("W7-help", "click", 2.5),
    _absolute("W8-asyncio", "ms", 104, 1e3),
    _absolute("W8-trio", "ms", 104, 1e3),
    _grown("W9-9000", "W9-1000", 1.15),
    _absolute("W9-9000", "ms (what the Rust original took on another day)", 164, 9_000e3),
    Target(Cell("W10"), Cell("W10", OWN, "run"), "× the run", at_most=2),
    _absolute("memory", "bytes each", 1_300, measure="bytes"),
)
