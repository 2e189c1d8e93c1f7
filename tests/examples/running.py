"""Two ways to run an example: by the command line, as its users do, or in this process with a human at its gates."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from converge_adapters.documents import load_document
from converge_adapters.event_loop import run_async
from converge_cli.compose import compose
from converge_cli.session import Session
from converge_core import ConvergeResult, DataPayload, Fact, GateDecision, GateRequest
from converge_core.context.keys import ContextKey

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


class Converge:
    """``converge`` without a terminal, in a home of its own."""

    def __init__(self, home: Path) -> None:
        self._env = {**os.environ, "CONVERGE_HOME": str(home), "CONVERGE_ACTOR": "tom"}
        self._env.pop("CONVERGE_LEDGER", None)

    def json(self, *args: object, code: int = 0) -> dict[str, Any]:
        """Call it for its one JSON object, and expect an exit code."""
        value: dict[str, Any] = json.loads(self.call(*args, "--json", code=code))
        return value

    def call(self, *args: object, code: int = 0) -> str:
        """Call it for what it prints, and expect an exit code."""
        command = [sys.executable, "-m", "converge_cli", *map(str, args)]
        done = subprocess.run(
            command, env=self._env, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        assert done.returncode == code, done.stderr
        return done.stdout


Answer = Callable[[GateRequest], GateDecision]


def approve(request: GateRequest) -> GateDecision:
    return GateDecision.approve(request.gate_id, "tom")


def reject(request: GateRequest) -> GateDecision:
    return GateDecision.reject(request.gate_id, "tom", "no")


def edit(**changes: object) -> Answer:
    """Return the answer that puts a payload with these changes in the place of the proposed one."""

    def answer(request: GateRequest) -> GateDecision:
        proposed: Any = request.proposal["payload"]
        return GateDecision.edit(request.gate_id, "tom", DataPayload(data={**proposed["body"], **changes}))

    return answer


class Human:
    """Gives one answer at every gate, but for those of the facts (``key/id``) in ``otherwise``."""

    def __init__(self, answer: Answer = approve, otherwise: Mapping[str, Answer] | None = None) -> None:
        self._answer = answer
        self._otherwise = otherwise or {}

    async def decide(self, requests: Sequence[GateRequest]) -> Sequence[GateDecision]:
        return [self._otherwise.get(request.ref, self._answer)(request) for request in requests]


def run(folder: Path, human: Human) -> ConvergeResult:
    """Run an example in this process, by the composition that the command line uses."""
    composition = compose(load_document(folder / "intent.yaml"), Session(third_party=False).offers, folder)

    async def drive() -> ConvergeResult:
        return await composition.engine.run(composition.context, composition.intent, approver=human)

    return run_async(drive)


def rows(result: ConvergeResult, key: ContextKey) -> dict[str, Fact[DataPayload]]:
    """Return the facts of a key by id."""
    return {fact.id: fact for fact in result.context.get(key, DataPayload)}
