"""Validation: commands are really run, and pass by their exit code."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from converge_adapters.repository import FolderRepository
from converge_core.repository import CommandResult
from converge_plugins.repo_loop.commands import ValidationConfig
from converge_plugins.repo_loop.payloads import Status
from tests.fakes.repository import FakeRepository
from tests.plugins.repo_loop.loop import README, report, told
from tests.plugins.repo_loop.test_secrets import SECRETS


def result(code: int | None = 0, stdout: str = "", stderr: str = "") -> CommandResult:
    return CommandResult(code, stdout, stderr, 5)


def test_x25_a_command_that_is_named_is_run_and_shown_with_its_exit_code() -> None:
    folder = FakeRepository(README, commands={"check": result()})

    said = report(folder, "validation", commands=[{"run": ["check", "-x"], "seconds": 2}])

    assert folder.ran == [(("check", "-x"), 2000)]
    assert said.status is Status.PASS
    assert said.evidence["1:check"]["exit_code"] == 0
    assert said.evidence["1:check"]["command"] == "check -x"


def test_a_failing_command_fails_the_phase_and_the_others_are_run_all_the_same() -> None:
    folder = FakeRepository(README, commands={"bad": result(2, "", "broken\npipe"), "good": result()})

    said = report(folder, "validation", commands=[{"run": ["bad"]}, {"run": ["good"], "name": "fine"}])

    assert told(said) == ["bad: ended with 2, not 0: broken pipe"]
    assert [command for command, _ in folder.ran] == [("bad",), ("good",)]


def test_a_command_that_took_too_long_fails() -> None:
    said = report(FakeRepository(README, commands={"slow": result(None)}), "validation", commands=[{"run": ["slow"]}])

    assert told(said) == ["slow: was stopped after 600 s: it said nothing"]


def test_a_command_that_cannot_be_started_fails() -> None:
    assert told(report(FakeRepository(README), "validation", commands=[{"run": ["absent"]}])) == [
        "absent: there is no such program"
    ]


def test_another_exit_code_may_be_wanted() -> None:
    folder = FakeRepository(README, commands={"grep": result(1)})

    assert report(folder, "validation", commands=[{"run": ["grep"], "exit_code": 1}]).status is Status.PASS


def test_what_a_command_says_is_told_without_secrets() -> None:
    value = SECRETS["GitHub token"]
    folder = FakeRepository(README, commands={"curl": result(1, f"sent {value}")})

    said = report(folder, "validation", commands=[{"run": ["curl", value]}]).model_dump_json()

    assert value not in said
    assert "sent [secret]" in said


def test_a_validation_without_commands_is_no_validation() -> None:
    with pytest.raises(ValidationError):
        ValidationConfig.model_validate({"commands": []})


def test_a_real_command_that_hangs_with_children_fails_at_its_deadline(tmp_path: Path) -> None:
    code = "import os, time; os.fork(); time.sleep(600)"
    folder = FolderRepository(tmp_path)

    said = report(folder, "validation", commands=[{"run": [sys.executable, "-c", code], "seconds": 0.5}])

    assert told(said) == [f"{sys.executable}: was stopped after 0.5 s: it said nothing"]
    assert asyncio.run(folder.walk()).files == ()
