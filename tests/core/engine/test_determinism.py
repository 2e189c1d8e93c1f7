"""Same input, same bytes: whatever the hash seed, the event loop or the order in which calls finish."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.engine import varied_run
from tests.core.scenarios import SCRIPTS
from tests.core.stage import bodies, play
from tests.fakes.executor import FakeExecutor


def printed(seed: str) -> list[str]:
    """What a process with that hash seed prints: a line for each event loop, and one for all scripts."""
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, str(Path(varied_run.__file__))], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_three_hash_seeds_and_two_event_loops_give_one_root_and_the_same_bytes() -> None:
    lines = [printed(seed) for seed in ("0", "1", "2")]
    assert lines[0] == lines[1] == lines[2]
    on_asyncio, on_trio, _ = lines[0]
    assert on_asyncio == on_trio


@given(st.sampled_from(sorted(SCRIPTS)), st.permutations(range(5)))
def test_the_order_in_which_calls_finish_leaves_no_trace(name: str, order: list[int]) -> None:
    script = SCRIPTS[name]
    one = play(script.engine(), script.context(), script.intent)
    other = play(script.engine(), script.context(), script.intent, executor=FakeExecutor(order))
    assert bodies(one.log) == bodies(other.log)


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_same_run_twice_gives_the_same_bytes(name: str) -> None:
    one, other = (script.play() for script in (SCRIPTS[name], SCRIPTS[name]))
    assert [bodies(append) for append in one] == [bodies(append) for append in other]


def test_the_root_of_the_facts_depends_on_what_was_concluded_and_not_on_the_run() -> None:
    script = SCRIPTS["messy inputs"]
    one, other = (play(script.engine(), script.context(), run_id=run_id) for run_id in ("one", "other"))
    assert one.result.integrity == other.result.integrity
    assert bodies(one.log) != bodies(other.log)
