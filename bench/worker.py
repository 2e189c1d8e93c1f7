"""One system in a process of its own: it reads requests and writes answers, a JSON object a line.

``{"setup": "chain", "params": {"length": 200}}`` prepares a workload and is answered ``{"versions": {...}}``, then
every ``{"sample": true}`` is answered by one measurement: ``seconds`` for so many ``units``, or ``bytes``, or more of
both. Anything that goes wrong is answered ``{"error": "..."}``. What a library prints goes to stderr.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable, Coroutine, Mapping
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any, cast

Sample = dict[str, float]
Measurement = Coroutine[Any, Any, Sample]
Work = Callable[[], Measurement | Sample]
Workloads = Mapping[str, Callable[..., Work]]
"""Named set-ups. Each takes the parameters of its workload and returns what makes one measurement."""


def timed(call: Callable[[], object], units: int) -> Callable[[], Measurement]:
    """Return what measures one call, which may be awaitable. Garbage of earlier calls is collected before."""

    async def sample() -> Sample:
        gc.collect()
        began = perf_counter()
        said = call()
        if inspect.isawaitable(said):
            await said
        return {"seconds": perf_counter() - began, "units": units}

    return sample


def resident() -> int:
    """Return the bytes of memory that this process has resident now. Raises OSError where there is no /proc."""
    gc.collect()
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def on_disk(database: Path) -> int:
    """Return the bytes of an SQLite database with the files beside it."""
    return sum(path.stat().st_size for path in database.parent.glob(f"{database.name}*"))


def process(argv: list[str]) -> Work:
    """W7: a process of this python, less one that does nothing; ``whole`` is the process as it is."""

    def taken(arguments: list[str]) -> float:
        began = perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        return perf_counter() - began

    def sample() -> Sample:
        nothing, whole = taken(["-c", "pass"]), taken(argv)
        return {"seconds": whole - nothing, "units": 1, "whole": whole}

    taken(argv)  # once for the caches
    return sample


def serve(workloads: Workloads, *distributions: str) -> None:
    """Answer requests until there are no more. ``distributions`` are those whose versions are told."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    work: Work | None = None
    with asyncio.Runner() as runner:
        for line in sys.stdin:
            try:
                request: dict[str, Any] = json.loads(line)
                if "setup" in request:
                    work = runner.run(_prepared({**workloads, "process": process}[request["setup"]], request["params"]))
                    answer: dict[str, Any] = {"versions": {name: version(name) for name in distributions}}
                else:
                    assert work is not None
                    answer = _measured(runner, work)
            except Exception as error:  # whatever a peer raises: the table says it in its place
                answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
            print(json.dumps(answer), file=answers)


async def _prepared(setup: Callable[..., Work], params: dict[str, Any]) -> Work:
    """Set a workload up where the loop runs already: some libraries want one to be there."""
    return setup(**params)


def _measured(runner: asyncio.Runner, work: Work) -> Sample:
    """Measure once: outside the loop what brings a loop of its own, inside it what is a coroutine."""
    said = work()
    return runner.run(said) if inspect.iscoroutine(said) else cast("Sample", said)


if __name__ == "__main__":
    serve({})
