"""The release gate, on this repository: what it writes (nothing), how it ends, and who lets a release pass."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.examples.running import EXAMPLES, ROOT, Converge

INTENT = EXAMPLES / "release_gate" / "intent.yaml"
ON_ITSELF = "suggestors.4.with.commands=[{name: pytest, run: [python, -c, 'print(1)']}]"
"""The tests of the gate do not run all tests once more."""


@pytest.fixture(scope="module", autouse=True)
def path() -> Iterator[None]:
    """Let the programs of this Python be found first, as where its environment is active."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])))
        yield


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Return a repository of another shape, which passes: no Python, one commit."""
    folder = tmp_path / "small"
    folder.mkdir()
    for name, text in {
        "README.md": "# Small\n\nA repository that has what a release needs, see [changes](CHANGELOG.md).\n",
        "CHANGELOG.md": "# Changes\n\n## 1.0.0\n\n- everything\n",
        "deny_imports.toml": "# nothing\n",
        "pyproject.toml": '[project]\nname = "small"\nversion = "1.0.0"\ndependencies = ["pluggy"]\n',
    }.items():
        (folder / name).write_text(text, encoding="utf-8")
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    for command in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "one"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


def on(folder: Path, *settings: str) -> list[str]:
    """Return the options for another repository, whose tests are a small command, and without a contract on imports."""
    passes = "[{run: [python3, -c, 'pass']}]"
    given = (f"repository={folder}", f"suggestors.4.with.commands={passes}", f"suggestors.5.with.commands={passes}")
    return [word for setting in (*given, *settings) for word in ("--set", setting)]


def tree(root: Path) -> str:
    """Return a digest of everything below a folder: names, modes and contents, and what git ignores as well."""
    digest = sha256()
    for folder, folders, files in os.walk(root):
        folders.sort()
        for name in sorted(files):
            path = Path(folder, name)
            content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
            digest.update(f"{path.relative_to(root)} {path.lstat().st_mode}\n".encode() + content)
    return digest.hexdigest()


def receipt(converge: Converge, result: dict[str, Any]) -> dict[str, Any]:
    """Return the receipt of a run."""
    shown = converge.json("show", result["run_id"], "--key", "consensus_outcomes")
    (payload,) = (fact["payload"] for fact in shown["facts"] if fact["id"] == "receipt")
    found: dict[str, Any] = payload
    return found


def test_s009_a_dry_run_writes_nothing_at_all(tmp_path: Path, small: Path) -> None:
    before, home = tree(small), tmp_path / "home"

    Converge(home).json("run", INTENT, "--ledger", "memory:", "--no-input", *on(small), code=6)

    assert tree(small) == before
    assert not home.exists()


def test_this_repository_is_looked_at_to_the_end(converge: Converge) -> None:
    said = receipt(converge, converge.json("run", INTENT, "--yes", "--set", ON_ITSELF))

    assert said["outcome"] == "settled"
    statuses = {phase["phase"]: phase["status"] for phase in said["phases"]}
    looked_at = ("secrets", "tests", "licences", "import-contract", "changelog", "version", "docs", "validated")
    assert {phase: statuses[phase] for phase in looked_at} == dict.fromkeys(looked_at, "pass")


def test_s009_without_a_human_the_release_waits(converge: Converge, small: Path) -> None:
    waiting = converge.json("run", INTENT, "--no-input", *on(small), code=6)

    (request,) = waiting["pending"]
    assert request["proposal"]["payload"]["family"] == "repo.promotion"
    assert receipt(converge, waiting)["verdict"] == "promote"


def test_s009_a_human_who_agrees_makes_it_a_release(converge: Converge, small: Path) -> None:
    done = converge.json("run", INTENT, "--yes", *on(small))

    assert done["criteria"] == {"promoted": "met"}
    assert receipt(converge, done)["run_id"] == done["run_id"]


def test_s009_a_failing_phase_holds_and_the_exit_code_says_so(converge: Converge, small: Path) -> None:
    fails = "suggestors.4.with.commands=[{run: [python3, -c, 'raise SystemExit(1)']}]"

    held = converge.json("run", INTENT, "--yes", *on(small, fails), code=8)

    said = receipt(converge, held)
    assert (said["verdict"], said["reasons"]) == ("hold", ["tests failed (1 issue)"])
    assert converge.json("show", held["run_id"], "--key", "strategies")["facts"] == []


def test_x26_what_the_ring_disputes_fails_the_phase_that_reads_it(converge: Converge, small: Path) -> None:
    (small / "deny_imports.toml").write_text("# changed, and not committed\n", encoding="utf-8")

    held = converge.json("run", INTENT, "--yes", *on(small, "suggestors.12.with.needed=3"), code=8)

    said = receipt(converge, held)
    assert {phase["phase"]: phase["status"] for phase in said["phases"]}["validated"] == "fail"
    assert "validated failed (1 issue)" in said["reasons"]


def test_x21_a_receipt_names_the_one_before_it_in_the_ledger(converge: Converge, small: Path) -> None:
    first = converge.json("run", INTENT, "--yes", *on(small))
    (small / "CHANGELOG.md").unlink()
    second = receipt(converge, converge.json("run", INTENT, "--yes", *on(small), code=8))

    assert second["previous"]["run_id"] == first["run_id"]
    assert set(second["drift"]["regressed"]) == {"changelog", "docs", "grounding"}
    assert second["drift"]["input_changed"]


def test_a_secret_that_was_added_drops_the_run(converge: Converge, small: Path) -> None:
    (small / "notes.txt").write_text(f"token: ghp_{sha256(b'x').hexdigest()[:36]}\n", encoding="utf-8")

    said = receipt(converge, converge.json("run", INTENT, "--yes", *on(small), code=8))

    assert said["outcome"] == "dropped"
    assert "secrets failed, and dropped the run (1 issue)" in said["reasons"]


def test_a_run_of_the_gate_can_be_verified_and_replayed(converge: Converge, small: Path) -> None:
    done = converge.json("run", INTENT, "--yes", *on(small))

    assert converge.json("verify", done["run_id"])["ledger_head"] == done["ledger_head"]
    assert converge.json("replay", done["run_id"])["merkle_root"] == done["merkle_root"]


def test_a_release_that_waits_is_decided_later_and_nothing_is_run_again(converge: Converge, small: Path) -> None:
    waiting = converge.json("run", INTENT, "--no-input", *on(small), code=6)
    (small / "README.md").unlink()  # what was looked at has been looked at

    converge.json("approve", waiting["run_id"], waiting["pending"][0]["gate_id"])
    done = converge.json("resume", waiting["run_id"])

    assert done["criteria"] == {"promoted": "met"}
    assert receipt(converge, done)["tick"] == 1


def test_the_demo_holds_mends_and_releases_and_leaves_nothing_behind(tmp_path: Path) -> None:
    command = tmp_path / "bin" / "converge"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m converge_cli "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    (tmp_path / "tmp").mkdir()
    path = os.pathsep.join((str(command.parent), os.environ["PATH"]))
    env = {**os.environ, "PATH": path, "TMPDIR": str(tmp_path / "tmp")}
    demo = INTENT.with_name("demo.sh")

    done = subprocess.run(["sh", demo], env=env, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert "no heading tells of 1.1.0" in done.stdout
    assert "Held, mended, released" in done.stdout
    assert list((tmp_path / "tmp").iterdir()) == []
