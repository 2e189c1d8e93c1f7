"""What is printed: data on one line each, and nothing that moves a cursor."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_cli.output import counted, emit, safe, say, table

TEXTS = st.text(st.characters(codec="utf-8"))


@given(TEXTS)
def test_safe_text_moves_no_cursor(text: str) -> None:
    assert all(c.isprintable() or c in "\n\t" for c in safe(text))


@given(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"])))
def test_safe_leaves_what_can_be_printed(text: str) -> None:
    assert safe(text) == text


@given(st.dictionaries(TEXTS, TEXTS))
def test_an_object_is_one_printable_line_that_says_the_same(value: dict[str, Any]) -> None:
    from contextlib import redirect_stdout
    from io import StringIO

    stdout = StringIO()
    with redirect_stdout(stdout):
        emit(value)
    [line] = stdout.getvalue().splitlines()
    assert line.isprintable()
    assert json.loads(line) == value


def test_words_for_people_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    say("a \x1b[31mword")
    assert capsys.readouterr() == ("", "a \N{REPLACEMENT CHARACTER}[31mword\n")


def test_a_table_without_a_terminal_keeps_each_row_on_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    table(("name", "says"), [("one", "x" * 500), ("[red]two", "\x1b[31mred")])
    _, _, first, second = capsys.readouterr().out.splitlines()
    assert first.split() == ["one", "x" * 500]
    assert second.split() == ["[red]two", "\N{REPLACEMENT CHARACTER}[31mred"]


def test_one_thing_is_not_said_to_be_several() -> None:
    assert [counted(number, "fact") for number in (0, 1, 2)] == ["0 facts", "1 fact", "2 facts"]
