"""``make bench``: run every workload, interleaved, and print one table.

Each round runs every workload once beside the limit of its machine: making a payload, awaiting an empty function,
encoding it as canonical JSON and hashing it once a unit, with no engine around. The median of the rounds is shown, and
the ratio to the limit taken within each round, so that a busy machine slows both.
"""

from __future__ import annotations

import asyncio
import gc
import json
import platform
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from hashlib import sha256
from pathlib import Path

from bench.workloads import FILLER, WORKLOADS
from converge_core import TextPayload, canonical

ROUNDS = 7
RESULTS = Path(__file__).parent / "results"


async def nothing() -> None:
    """Do nothing, asynchronously."""


async def limit(units: int) -> None:
    """Do what no engine could leave out."""
    for number in range(units):
        payload = TextPayload(text=f"{number} {FILLER}")
        await nothing()
        sha256(canonical(payload.body()).encode()).digest()


async def timed(call: Callable[[], Awaitable[object]]) -> float:
    """Return the seconds that one call takes."""
    gc.collect()
    began = time.perf_counter()
    await call()
    return time.perf_counter() - began


async def measure(rounds: int, names: list[str]) -> dict[str, dict[str, float]]:
    """Return each workload's milliseconds, microseconds a unit and ratio to the limit: medians of the rounds."""
    works = {name: WORKLOADS[name]() for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    ratios: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
        for name, work in works.items():
            taken = await timed(work.call)
            least = await timed(lambda units=work.units: limit(units))  # type: ignore[misc]
            seconds[name].append(taken)
            ratios[name].append(taken / least)
    return {
        name: {
            "ms": statistics.median(seconds[name]) * 1e3,
            "us_per_unit": statistics.median(seconds[name]) * 1e6 / work.units,
            "ratio_to_limit": statistics.median(ratios[name]),
        }
        for name, work in works.items()
    }


def main() -> None:
    """Measure, print the table, write the numbers."""
    wanted = [name for name in WORKLOADS if not sys.argv[1:] or any(name.startswith(arg) for arg in sys.argv[1:])]
    measured = asyncio.run(measure(ROUNDS, wanted))
    print(f"{'workload':24}{'ms':>10}{'µs a unit':>12}{'x limit':>9}")
    for name, numbers in measured.items():
        print(f"{name:24}{numbers['ms']:>10.2f}{numbers['us_per_unit']:>12.1f}{numbers['ratio_to_limit']:>9.1f}")
    RESULTS.mkdir(exist_ok=True)
    about = {"python": platform.python_version(), "machine": platform.machine(), "rounds": ROUNDS}
    (RESULTS / "latest.json").write_text(json.dumps({"about": about, "workloads": measured}, indent=2) + "\n")


if __name__ == "__main__":
    main()
