"""What docs/models.md shows works as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from converge_cli.main import COMMANDS
from tests.cli.desk import Desk

PAGE = (Path(__file__).parents[1] / "docs" / "models.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.M | re.S)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    return Desk(tmp_path)


def test_the_intent_runs_with_every_section_that_the_page_adds_to_it(desk: Desk) -> None:
    whole, models, denials = _blocks("yaml")
    assert desk.finished(whole)["status"] == "converged"
    desk.run(whole.replace(whole[whole.index("models:") : whole.index("inputs:")], models), "--dry-run")
    desk.run(whole + denials, "--dry-run")


def test_the_commands_are_known_and_the_chats_are_answered(desk: Desk) -> None:
    commands = [line for block in _blocks("console") for line in re.findall(r"^\$ converge (\S+)", block, re.M)]
    assert set(commands) <= set(COMMANDS)
    desk.call("chat-route", "I flew over a mill")


def test_the_cassette_is_recorded_and_played_as_it_stands(tmp_path: Path) -> None:
    [source] = _blocks("python")
    scope: dict[str, object] = {}
    exec(compile(source, "docs/models.md", "exec"), scope)  # our own page
    (tmp_path / "tape.json").write_text("[]", encoding="utf-8")
    played = scope["played"]
    assert callable(played)
    assert "claude" in repr(played(tmp_path / "tape.json"))
