"""demo.sh: end to end, and how it behaves when a step fails or somebody can be asked."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.examples.running import EXAMPLES, ROOT

DEMO = EXAMPLES / "expense_approval" / "demo.sh"
REAL = f'exec {shlex.quote(sys.executable)} -m converge_cli "$@"'
RUNS = """test "$1" != runs || echo '{"run_id": "some-run", "status": "converged"}'"""


def _environment(folder: Path, converge: str) -> dict[str, str]:
    """Put a ``converge`` of these lines of shell on the path, and temporary files into the folder."""
    command = folder / "bin" / "converge"
    command.parent.mkdir()
    command.write_text(f"#!/bin/sh\n{converge}\n", encoding="utf-8")
    command.chmod(0o755)
    (folder / "tmp").mkdir()
    path = os.pathsep.join((str(command.parent), os.environ["PATH"]))
    return {**os.environ, "PATH": path, "TMPDIR": str(folder / "tmp")}


def _demo(folder: Path, converge: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", DEMO],
        env=_environment(folder, converge),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


def test_the_demo_decides_the_month_and_proves_it(tmp_path: Path) -> None:
    done = _demo(tmp_path, REAL)

    assert done.returncode == 0, done.stderr
    assert "--yes approves at every gate" in done.stdout
    assert "proposals/payout:2026-10 " in done.stdout
    assert '"amount_eur": "34,123.67"' in done.stdout
    assert "entries intact" in done.stdout
    assert "derived again, all equal" in done.stdout
    assert "All 332 claims are decided" in done.stdout


def test_the_demo_leaves_nothing_behind(tmp_path: Path) -> None:
    assert _demo(tmp_path, f'test -d "$CONVERGE_HOME" || exit 1\n{RUNS}').returncode == 0
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize(("step", "code"), [("run", 4), ("runs", 1), ("show", 1), ("verify", 7), ("replay", 7)])
def test_a_step_that_fails_fails_the_demo(tmp_path: Path, step: str, code: int) -> None:
    done = _demo(tmp_path, f'test "$1" != {step} || exit {code}\n{RUNS}')

    assert done.returncode == code
    assert "All 332 claims" not in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="there are no terminals of this kind")
def test_on_a_terminal_the_demo_asks(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    try:
        environment = _environment(tmp_path, f'test "$1" != run || echo "ran with $# arguments"\n{RUNS}')
        done = subprocess.run(["sh", DEMO], env=environment, cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs)
        said = os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(theirs)

    assert done.returncode == 0, said
    assert "ran with 2 arguments" in said
    assert "--yes" not in said
