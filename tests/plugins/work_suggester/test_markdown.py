"""The text of a spec: what an issue says of itself, and what it does not say."""

from __future__ import annotations

import pytest

from converge_plugins.work_suggester.markdown import (
    NO_CHECKLIST,
    NO_FILES,
    NO_TEST,
    command_of,
    files_of,
    spec_of,
)
from converge_plugins.work_suggester.scores import IssueScore
from tests.plugins.work_suggester.stage import TODAY, issue

SCORE = IssueScore(
    number=1,
    issue="seeds/issue:1",
    method="formula",
    score=0.7,
    urgency=1,
    importance=1,
    similarity=0,
    recency=0,
    stream="dream-journal",
)


def test_an_issue_that_says_everything_is_a_whole_spec() -> None:
    text = (
        "It is lost.\n\n## Files to create\n- `src/a.py`\n\n## Test command\n```sh\nmake test\n```\n- [ ] found again"
    )
    assert spec_of(issue(title="A slot\n# is lost", text=text, url="https://example.org/1"), SCORE) == (
        "# auto: A slot # is lost\n\n"
        "- Source: GitHub #1 — https://example.org/1\n"
        "- Score: 0.7000\n"
        "- Stream: dream-journal\n"
        f"- Generated: {TODAY}\n"
        "\n## Problem\n\n> It is lost.\n>\n> ## Files to create\n> - `src/a.py`\n>\n> ## Test command\n> ```sh\n"
        "> make test\n> ```\n> - [ ] found again\n"
        "\n## Proposed implementation\n\n- `src/a.py`\n"
        "\n## Files likely to change\n\n- `src/a.py`\n"
        "\n## Acceptance criteria\n\n- [ ] found again\n"
        "\n## Test command\n\n```sh\nmake test\n```\n"
    )


def test_what_an_issue_does_not_say_is_said_to_be_missing() -> None:
    spec = spec_of(issue(seen_at=None), SCORE.model_copy(update={"stream": None}))
    assert [spec.count(missing) for missing in (NO_FILES, NO_CHECKLIST, NO_TEST)] == [2, 1, 1]
    assert "- Stream: unspecified\n- Generated: unspecified\n" in spec


def test_a_long_problem_is_cut() -> None:
    spec = spec_of(issue(text="x" * 501), SCORE)
    assert f"> {'x' * 500}…\n" in spec
    assert "x…" not in spec_of(issue(text="x" * 500), SCORE)


@pytest.mark.parametrize(
    ("text", "files"),
    [
        ("## Files to create\n\n* `a.py`\n- b.py\nprose\n## Next\n- c", ["* `a.py`", "- b.py"]),
        ("see `src/a.py`, `lib/b.py`, `tests/b.py` and `src/a.py`", ["- `src/a.py`", "- `tests/b.py`"]),
        ("## Files to create\n\nnone yet, maybe `apps/c`", ["- `apps/c`"]),
        ("nothing", []),
    ],
)
def test_files_are_those_under_their_heading_or_the_paths_in_the_text(text: str, files: list[str]) -> None:
    assert files_of(text.splitlines()) == files


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("## Test command\n\n```\n# all\nmake\n```\n```\nno\n```", "# all\nmake"),
        ("run `python -m pytest tests/a.py`", "python -m pytest tests/a.py"),
        ("```\npython -m pytest -q\n```", "python -m pytest -q"),
        ("## Test command\n\nask ann", None),
    ],
)
def test_the_command_is_the_block_under_its_heading_or_a_line_that_runs_pytest(text: str, command: str | None) -> None:
    assert command_of(text.splitlines()) == (None if command is None else f"```sh\n{command}\n```")
