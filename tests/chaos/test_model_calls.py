"""``kill -9`` in the middle of a cycle of model calls: what was answered, and paid for, is not asked again."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from converge_adapters.ledgers.sqlite import SqliteLedger
from converge_core import UnknownRun
from tests.adapters.backends.server import Asked, Told, serving
from tests.adapters.backends.wire import COMPATIBLE
from tests.chaos.nursery import RUN, Nursery

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="there is no fork"),
    pytest.mark.timeout(180),
]

NAMES = [f"asks-{number}" for number in range(6)]
STUCK = NAMES[-1]
"""Whoever is not answered while the process lives."""


def _intent(url: str) -> dict[str, Any]:
    config = {"provider": "mine", "model": "m-1", "base_url": f"{url}/v1"}
    ask = {"for_each": "seeds", "key": "hypotheses", "retry": {"attempts": 1}, "prompt": "Why? {{ fact }}"}
    return {
        "intent": {"id": "t"},
        "models": [{"use": "openai-compatible", "with": config, "price": {"input_usd": 1, "output_usd": 1}}],
        "budget": {"cost_usd": 1},
        "inputs": [{"key": "seeds", "id": "a", "items": [{"what": "smoke"}]}],
        "suggestors": [{"use": "llm", "name": name, "with": {**ask, "system": f"You are {name}."}} for name in NAMES],
    }


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[Nursery]:
    with Nursery(tmp_path) as nursery:
        yield nursery


def test_a_run_killed_among_its_calls_asks_only_for_what_it_had_not_heard(nursery: Nursery, tmp_path: Path) -> None:
    asked: Counter[str] = Counter()
    stuck, alive = threading.Event(), [True]

    def answer(request: Asked) -> Told:
        who = next(name for name in NAMES if name in str(request.body["messages"]))
        asked[who] += 1
        if who == STUCK and alive[0]:
            stuck.set()
            return Told(then="hang")
        return COMPATIBLE.answer(f"{who} says smoke", "stop")

    with serving(answer) as server:
        (tmp_path / "intent.yaml").write_text(json.dumps(_intent(server.url)), encoding="utf-8")
        path = tmp_path / "runs.db"
        child = nursery.bear(["run", "intent.yaml", "--ledger", path])
        assert stuck.wait(60)
        _until_journaled(path, len(NAMES) - 1)
        child.kill()
        assert child.wait() == -9
        assert asked == Counter(dict.fromkeys(NAMES, 1))

        alive[0] = False
        [resumed] = nursery.converge("resume", RUN, "--ledger", path)
        assert resumed["status"] == "converged"
        assert asked == Counter({**dict.fromkeys(NAMES, 1), STUCK: 2})
        assert resumed["usage"]["input_tokens"] == 23 * len(NAMES)
    [replayed] = nursery.converge("replay", RUN, "--ledger", path)  # and the server is gone
    assert replayed["equal"] is True


def _until_journaled(path: Path, count: int) -> None:
    """Wait until so many effects are in the journal of a run: what has finished is durable from then on."""

    async def recorded() -> int:
        ledger = SqliteLedger(path)
        try:
            return len(await ledger.recorded_effects(RUN, 1))
        except UnknownRun:
            return 0
        finally:
            await ledger.close()

    while anyio.run(recorded) < count:
        time.sleep(0.02)
