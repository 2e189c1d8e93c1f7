"""``kill -9`` at random instants of a run with slow suggestors and human gates.

A run that was killed is resumed, and has to come to the same derived entries as one that nobody disturbed, without a
finished call being made again. The instants are drawn from a seed; what the processes are doing then is up to the
machine, and it must not matter.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from converge_adapters.ledgers.sqlite import SqliteLedger
from converge_core import UnknownRun
from converge_core.ledger.events import EVENTS
from tests.chaos.nursery import RUN, Nursery

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="there is no fork"),
    pytest.mark.timeout(180),
]

KILLS = 20
SEED = 20261031

SLOW = """\
from pathlib import Path

import anyio
from converge_core import ContextKey, ProposedFact, Replayability, TextPayload, suggestor


def slow(name, reads, writes, milliseconds):
    @suggestor(name=name, reads=reads, writes=writes, replayability=Replayability.NONE)
    async def call(ctx):
        new = list(ctx.fresh(reads))
        made = f"{name}-{ctx.version}"
        with Path("calls").open("a") as calls:
            calls.write(f"{made}\\n")
        await anyio.sleep(milliseconds / 1000)
        return [ProposedFact(writes, made, TextPayload(text=str(len(new))), evidence=new)] if ctx.version < 14 else []

    return call


reads = slow("reads", ContextKey.SEEDS, ContextKey.SIGNALS, 20)
weighs = slow("weighs", ContextKey.SIGNALS, ContextKey.HYPOTHESES, 50)
doubts = slow("doubts", ContextKey.SIGNALS, ContextKey.EVALUATIONS, 30)
decides = slow("decides", ContextKey.HYPOTHESES, ContextKey.STRATEGIES, 40)
returns = slow("returns", ContextKey.STRATEGIES, ContextKey.SIGNALS, 25)
"""

INTENT: dict[str, Any] = {
    "intent": {"id": "t"},
    "inputs": [{"key": "seeds", "id": "s:{n}", "items": [{"n": 1}, {"n": 2}]}],
    "suggestors": [
        {"use": "python", "name": name, "with": {"callable": f"slow:{name}"}}
        for name in ("reads", "weighs", "doubts", "decides", "returns")
    ],
    "gates": {"hitl": {"keys": ["strategies", "evaluations"]}},
}


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[Nursery]:
    (tmp_path / "slow.py").write_text(SLOW, encoding="utf-8")
    (tmp_path / "intent.yaml").write_text(json.dumps(INTENT), encoding="utf-8")
    with Nursery(tmp_path) as nursery:
        yield nursery


class Trial:
    """One run in a ledger of its own, and the calls that it has made."""

    def __init__(self, nursery: Nursery, folder: Path, name: str) -> None:
        self._nursery, self._folder = nursery, folder
        self.path = folder / f"{name}.db"
        (folder / "calls").unlink(missing_ok=True)

    def begin(self) -> list[object]:
        return ["run", "intent.yaml", "--yes", "--ledger", self.path]

    def go_on(self) -> list[object]:
        return ["resume", RUN, "--yes", "--ledger", self.path]

    def killed(self, words: list[object], after: float) -> bool:
        """Call `converge`, and kill it after some seconds; say whether it was at work until then."""
        child = self._nursery.bear(words)
        time.sleep(after)
        child.kill()
        return child.wait() == -9

    def finished(self) -> dict[str, Any]:
        """Bring the run to its end, from wherever it stands."""
        [result] = self._nursery.converge(*self.go_on())
        return result

    def calls(self) -> Counter[str]:
        """Return how often each call was begun."""
        path = self._folder / "calls"
        return Counter(path.read_text().split() if path.exists() else ())

    def bodies(self) -> list[tuple[str, str]]:
        """Return kind and body of each entry; none where the run was killed before it began."""

        async def read() -> list[tuple[str, str]]:
            ledger = SqliteLedger(self.path)
            try:
                return [(entry.kind, entry.body) for entry in await ledger.read(RUN)]
            except UnknownRun:
                return []
            finally:
                await ledger.close()

        return anyio.run(read)

    def journaled(self) -> set[str]:
        """Return the calls that have finished: what they made is in the journal."""

        async def read() -> set[str]:
            ledger = SqliteLedger(self.path)
            effects = [await ledger.recorded_effects(RUN, cycle) for cycle in range(30)]
            await ledger.close()
            made = [json.loads(body)["proposals"] for cycle in effects for body in cycle.values()]
            return {proposal["id"] for proposals in made for proposal in proposals}

        return anyio.run(read)


def derived(bodies: list[tuple[str, str]]) -> list[str]:
    return [body for kind, body in bodies if not EVENTS[kind].is_input]


def test_a_run_killed_at_any_instant_comes_to_the_same_end_and_repeats_no_finished_call(
    nursery: Nursery, tmp_path: Path
) -> None:
    undisturbed = Trial(nursery, tmp_path, "undisturbed")
    began = time.monotonic()
    [expected] = nursery.converge(*undisturbed.begin())
    duration = time.monotonic() - began
    whole = derived(undisturbed.bodies())
    assert expected["status"] == "converged"
    names = set(undisturbed.calls())
    assert set(undisturbed.calls().values()) == {1}
    assert {"gate_decided", "run_paused"} <= {kind for kind, _ in undisturbed.bodies()}

    instants, killed = random.Random(SEED), 0
    for attempt in range(5 * KILLS):
        trial = Trial(nursery, tmp_path, f"trial-{attempt}")
        if not trial.killed(trial.begin(), instants.random() * duration):
            duration *= 0.9  # it had ended: the first run took longer, as first runs do
            continue
        if not trial.bodies():  # it had not begun
            continue
        killed += 1
        finished, before = trial.journaled(), trial.calls()

        assert trial.finished()["merkle_root"] == expected["merkle_root"]

        assert derived(trial.bodies()) == whole
        after = trial.calls()
        assert {name: after[name] for name in finished} == {name: before[name] for name in finished}
        assert set(after) == names
        if killed == KILLS:
            return
    raise AssertionError(f"only {killed} were killed at work")


def test_a_run_that_is_killed_again_and_again_gets_on(nursery: Nursery, tmp_path: Path) -> None:
    undisturbed = Trial(nursery, tmp_path, "undisturbed")
    began = time.monotonic()
    nursery.converge(*undisturbed.begin())
    duration = time.monotonic() - began
    expected = set(undisturbed.calls())

    instants = random.Random(SEED)
    trial = Trial(nursery, tmp_path, "trial-0")
    finished: dict[str, int] = {}
    for kill in range(1, KILLS + 1):
        begun = bool(trial.bodies())
        if not begun:
            trial = Trial(nursery, tmp_path, f"trial-{kill}")
        trial.killed(trial.go_on() if begun else trial.begin(), instants.uniform(0.2, 0.5) * duration)
        if trial.bodies():
            calls = trial.calls()
            assert {name: calls[name] for name in finished} == finished, "what had finished was not called again"
            finished = {name: calls[name] for name in trial.journaled()}

    assert trial.bodies(), "it has begun at last"
    trial.finished()
    assert derived(trial.bodies()) == derived(undisturbed.bodies())
    assert set(trial.calls()) == expected
