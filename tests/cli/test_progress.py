"""Live progress: on a terminal, on stderr, and out of the way of data and questions."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import anyio
import pexpect
import pytest

from converge_cli.progress import Progress
from converge_core import Approver, ContextState, Engine, GateDecision, GateRequest, SequentialExecutor
from tests.cli.desk import Desk, intent, python

SLOW = """\
import asyncio
from converge_core import ContextKey, ProposedFact, TextPayload

async def say(ctx):
    count = ctx.count(ContextKey.SIGNALS)
    await asyncio.sleep(0.3)
    if count < 2:
        return [ProposedFact(ContextKey.SIGNALS, f"n:{count}", TextPayload(text="x"))]
    return []
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no terminals of this kind")


@pytest.fixture
def slow(desk: Desk) -> Desk:
    """Return a folder with an intent that takes a moment; its suggestor has a name that looks like markup."""
    desk.write("slow.py", SLOW)
    section = python("slow:say", reads=["seeds", "signals"]) | {"name": "own[/]"}
    desk.write("intent.yaml", intent(suggestors=[section], budget={"cycles": 9, "facts": 50, "tokens": 700}))
    return desk


def _spawn(desk: Desk, arguments: str) -> pexpect.spawn[str]:
    command = f"{sys.executable} -m converge_cli run intent.yaml {arguments}"
    environment = desk.variables({"TERM": "xterm", "COLUMNS": "120"})
    return pexpect.spawn("sh", ["-c", command], env=environment, cwd=str(desk.folder), encoding="utf-8", timeout=30)


def _on_a_terminal(desk: Desk, *args: str, shell: str = "") -> str:
    """Run the intent on a terminal, with this redirection, and return all that appeared there."""
    child = _spawn(desk, f"{' '.join(args)} {shell}")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0, child.before
    return str(child.before)


@pytest.mark.parametrize("args", [[], ["--yes"], ["--no-input"]])
def test_a_terminal_shows_cycle_suggestors_facts_and_budget(slow: Desk, args: list[str]) -> None:
    shown = _on_a_terminal(slow, *args)
    assert "cycle 1/9 · 1 eligible (own[/]) · 2/50 facts · 700 tokens left" in shown
    assert "cycle 2/9 · 1 eligible (own[/]) · 3/50 facts" in shown
    assert "Converged: 4 facts" in shown


def test_progress_is_on_stderr(slow: Desk) -> None:
    assert "cycle 1/9" in _on_a_terminal(slow, shell=">out")
    assert "\x1b" not in (slow.folder / "out").read_text(encoding="utf-8")


@pytest.mark.parametrize(("args", "shell"), [(["--json"], ""), ([], "2>err"), (["--yes"], ">out 2>err")])
def test_nothing_is_shown_where_nobody_looks(slow: Desk, args: list[str], shell: str) -> None:
    assert "cycle 1/9" not in _on_a_terminal(slow, *args, shell=shell)
    written = [path.read_text(encoding="utf-8") for path in (slow.folder / "out", slow.folder / "err") if path.exists()]
    assert all("\x1b" not in text and "cycle" not in text.partition("Converged")[0] for text in written)


def test_progress_makes_room_for_a_question_and_comes_back(slow: Desk) -> None:
    child = _spawn(slow, "--set 'gates.hitl.keys=[signals]'")
    for cycle in (1, 2):
        child.expect_exact(f"cycle {cycle}/9")
        child.expect_exact("[a]pprove")
        assert "cycle" not in str(child.before).rpartition("signals/")[2].partition("\n")[2]
        child.sendline("a")
    child.expect_exact("cycle 3/9")
    child.expect_exact("Converged: 4 facts")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


class Deliberate(Approver):
    """Takes an hour for an answer."""

    def __init__(self) -> None:
        self.seconds = 100.0

    async def decide(self, requests: Sequence[GateRequest]) -> Sequence[GateDecision]:
        self.seconds += 3600
        sys.stdout.write("a question\n")
        return ()


def test_the_time_that_people_take_is_no_working_time(capsys: pytest.CaptureFixture[str]) -> None:
    person = Deliberate()
    progress = Progress(Engine().begin(ContextState()), SequentialExecutor(), person, clock=lambda: person.seconds)
    person.seconds += 2
    with progress.shown(wanted=False):
        sys.stdout.write("noise\n")
        anyio.run(progress.decide, ())
    assert progress.working_ms() == 2000
    assert capsys.readouterr() == ("a question\n", "noise\n")
