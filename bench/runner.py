"""Running the workloads: a process for each system, and the samples of all of them round by round.

The processes of one workload live side by side, and only one of them works at a time. In each round every system gives
one sample, and each round begins with another system, so that whatever else the machine does slows all of them alike.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from threading import Timer
from typing import Any

from bench.environment import peers_python
from bench.table import SYSTEMS, System, Workload

ROOT = Path(__file__).parent.parent
TIME_LIMIT_S = 300
"""For one answer: a set-up or a sample."""


class Unavailable(Exception):
    """A system cannot do its part; the message says why."""


class Worker:
    """The process of a system."""

    def __init__(self, system: System, python: Path, scratch: str) -> None:
        path = [str(ROOT)] if system.is_peer else [str(ROOT), *filter(None, sys.path)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "TMPDIR": scratch, "PYTHONWARNINGS": "ignore"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # what is imported is compiled, as it is for everybody
        self._said = tempfile.TemporaryFile("w+", dir=scratch)  # noqa: SIM115  # closed by `close`
        self._process = subprocess.Popen(
            [python, "-m", system.module],
            cwd=scratch,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
        )

    def ask(self, request: dict[str, object]) -> dict[str, Any]:
        """Return the answer to a request. Raises Unavailable."""
        requests, answers = self._process.stdin, self._process.stdout
        assert requests is not None
        assert answers is not None
        watchdog = Timer(TIME_LIMIT_S, self._process.kill)
        watchdog.start()
        try:
            print(json.dumps(request), file=requests, flush=True)
            line = answers.readline()
        except BrokenPipeError:
            line = ""
        finally:
            watchdog.cancel()
        answer: dict[str, Any] = json.loads(line) if line else {"error": self._last_words()}
        if "error" in answer:
            raise Unavailable(answer["error"])
        return answer

    def _last_words(self) -> str:
        self._process.wait()
        self._said.seek(0)
        return next((line for line in reversed(self._said.read().splitlines()) if line.strip()), "it took too long")

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._said.close()


class Bench:
    """A benchmark while it runs: the samples of every workload by system, and whoever could not take part."""

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds
        self._peers = peers_python()
        self.samples: dict[str, dict[str, list[dict[str, float]]]] = {}
        self.unavailable: dict[str, dict[str, str]] = {}
        self.versions: dict[str, str] = {}

    def measure(self, workload: Workload, names: Sequence[str]) -> None:
        """Take the samples of a workload."""
        samples = self.samples[workload.id] = {name: [] for name in names}
        missing = self.unavailable[workload.id] = {}
        with tempfile.TemporaryDirectory(prefix="converge-bench-") as scratch:
            workers: dict[str, Worker] = {}
            try:
                for number in range(self.rounds):
                    _tell(f"{workload.id} {workload.title}: round {number + 1} of {self.rounds}")
                    for name in (*names[number % len(names) :], *names[: number % len(names)]):
                        if name in missing:
                            continue
                        try:
                            if name not in workers:
                                workers[name] = self._started(workload, SYSTEMS[name], scratch)
                            samples[name].append(workers[name].ask({"sample": True}))
                        except Unavailable as error:
                            missing[name] = str(error)
                            _tell(f"{workload.id}: {name} cannot: {error}")
                        if name in workers and (workload.fresh or name in missing):
                            workers.pop(name).close()
            finally:
                for worker in workers.values():
                    worker.close()

    def _started(self, workload: Workload, system: System, scratch: str) -> Worker:
        worker = Worker(system, self._peers if system.is_peer else Path(sys.executable), scratch)
        try:
            ready = worker.ask({"setup": workload.setup, "params": workload.params_of(system)})
        except Unavailable:
            worker.close()
            raise
        self.versions |= ready["versions"]
        return worker

    def results(self) -> dict[str, Any]:
        """Return everything: the machine, the versions, all samples."""
        return {
            "machine": machine(),
            "rounds": self.rounds,
            "samples": self.samples,
            "unavailable": {workload: missing for workload, missing in self.unavailable.items() if missing},
            "versions": {"converge-runtime": _version("converge-runtime"), **dict(sorted(self.versions.items()))},
        }


def machine() -> dict[str, object]:
    """Describe the machine, without its name."""
    about = Path("/proc/cpuinfo")
    models = [line.partition(":")[2].strip() for line in _lines(about) if line.startswith("model name")]
    return {
        "cores": os.cpu_count(),
        "processor": models[0] if models else platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
    }


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except ImportError:  # run from a checkout that is not installed
        return "checkout"


def _tell(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
