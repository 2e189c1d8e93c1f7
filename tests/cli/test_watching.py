"""``converge providers --watch``: what is sent when something has changed, and that nothing is sent otherwise."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from converge_cli.exit_codes import ExitCode
from converge_cli.session import Session
from tests.cli.desk import Desk


def watched(desk: Desk, monkeypatch: pytest.MonkeyPatch, *between: Callable[[Session], None]) -> list[dict[str, Any]]:
    """Return what is sent if these things happen between one look and the next; then somebody presses Ctrl-C."""
    monkeypatch.setenv("CONVERGE_HOME", str(desk.home))
    happening, elsewhere = iter(between), Session(third_party=False)

    def pause(seconds: float) -> None:
        try:
            happen = next(happening)
        except StopIteration:
            raise KeyboardInterrupt from None
        happen(elsewhere)

    monkeypatch.setattr("converge_cli.commands.providers.time.sleep", pause)
    sent = desk.call("providers", "--watch", "--json", code=ExitCode.INTERRUPTED).stdout.splitlines()
    return [json.loads(line) for line in sent]


def nothing(session: Session) -> None:
    """What happens most of the time."""


def overloaded(session: Session) -> None:
    session.capacity.record_error("ollama", "overloaded")


def test_pr005_sixty_looks_that_show_the_same_are_sent_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = watched(desk, monkeypatch, *[nothing] * 60)
    names = [row["provider_id"] for row in sent]
    assert len(names) == len(set(names)) > 3


def test_pr005_only_the_provider_that_has_changed_is_sent_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    before = watched(desk, monkeypatch)
    sent = watched(desk, monkeypatch, nothing, overloaded, nothing)
    assert [(row["provider_id"], row["error_count"]) for row in sent[len(before) :]] == [("ollama", 1)]
