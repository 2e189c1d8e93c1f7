"""What the audit of an earlier system found, item by item, and the tests that show it cannot happen here.

A test that is named after an item (``test_x08_a_denied_candidate_is_not_called``) shows it. What does not apply to this
runtime is in `ABSENT`, with the reason.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from functools import cache
from pathlib import Path

ITEMS: Mapping[str, str] = {
    "TD-001": "two engines of one name, without a link",
    "TD-002": "a stack that nobody calls through",
    "TD-003": "slots grow for ever",
    "TD-004": "a cache is emptied when it is full",
    "TD-005": "a cache of phases without a bound",
    "TD-006": "three validators that are one function",
    "TD-007": "modules imported by two paths",
    "TD-008": "a chain of agents that nothing starts",
    "TD-009": "health of features from the environment",
    "TD-010": "a log that grows for ever",
    "S-001": "one engine in place of several",
    "S-002": "a table of routes",
    "S-003": "one state of capacity",
    "S-004": "a cache that evicts what was used least recently",
    "S-005": "released slots are purged in the loop",
    "S-006": "names in the documents that nothing has",
    "S-007": "validators that are independent",
    "S-008": "chat is routed through the stack",
    "S-009": "the loop runs dry in continuous integration",
    "S-010": "one entry point",
    "CR-001": "an early exit leaves out evidence and promotion",
    "CR-002": "a hash of inputs that does not see them",
    "CR-003": "dilation is absent from routing",
    "CR-004": "a breaker of one's own for each path",
    "CR-005": "beliefs that are constants",
    "PR-001": "a walk without a bound",
    "PR-002": "a ring that blocks",
    "PR-003": "what is claimed is not on the disk",
    "PR-004": "an executor that is never shut down",
    "PR-005": "pushed whether or not anything has changed",
    "X-01": "providers that are never routable",
    "X-02": "a sort by rank that ranks by boost alone",
    "X-03": "claims that die after a minute",
    "X-04": "entitled users are denied by the agent's claim",
    "X-05": "honesty that is lost for ever",
    "X-06": "a misspelt tier opens a denial to all",
    "X-07": "labels that are lost by derivation",
    "X-08": "authority is not asked about the provider",
    "X-09": "an empty reply that counts as nothing",
    "X-10": "a ledger that fails after the call",
    "X-11": "a hash that does not notice a change",
    "X-12": "a critical constraint that is weaker than a hard one",
    "X-13": "edges that the planner does not read",
    "X-14": "a loop that spins on an unchanged state",
    "X-15": "a swap for a thousandth over the target",
    "X-16": "a swap to what cannot do the work, without a way back",
    "X-17": "an observation that keeps its first value",
    "X-18": "two of three are not enough",
    "X-19": "the critical scan is the one that is cut",
    "X-20": "a corrupt chain starts again from nothing",
    "X-21": "a receipt of the tick before",
    "X-22": "a count of calls under way that leaks",
    "X-23": "a breaker that sees no failure",
    "X-24": "parallel branches share one context",
    "X-25": "phases that do nothing and pass",
    "X-26": "keys that do not match, and a phase that always passes",
    "X-27": "a handler under a name that nobody has",
    "X-28": "a belief that never learns",
    "X-29": "two claims on one slot, and both succeed",
    "X-30": "gates in an order that nobody declares",
}

ABSENT: Mapping[str, str] = {}
"""Items that do not apply to this runtime, each with the reason."""

_TESTS = Path(__file__).parents[1] / "tests"


@cache
def shown() -> Mapping[str, tuple[str, ...]]:
    """Return the tests that show each item, as ``file::name``."""
    found: dict[str, list[str]] = {item: [] for item in ITEMS}
    by_prefix = {_prefix(item): item for item in ITEMS}
    for file in sorted(_TESTS.rglob("test_*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                item = by_prefix.get(node.name.split("_")[1])
                if item is not None:
                    found[item].append(f"{file.relative_to(_TESTS.parent).as_posix()}::{node.name}")
    return {item: tuple(tests) for item, tests in found.items()}


def _prefix(item: str) -> str:
    return item.lower().replace("-", "")
