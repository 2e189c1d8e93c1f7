from __future__ import annotations

from converge_plugins.solvers.naming import few, miscounted, repeated


def test_a_message_gives_a_few_names_in_order() -> None:
    assert few("gfedcba") == "a, b, c, d, e"


def test_of_no_names_there_is_nothing_to_say() -> None:
    assert few(()) == repeated("abc") == miscounted("ab", "ba") == ""


def test_a_name_that_is_there_twice_is_named_once() -> None:
    assert repeated("abcbaa") == "a, b"


def test_names_that_are_missing_strange_or_there_too_often_are_miscounted() -> None:
    assert miscounted("aabcd", "abbcx") == "a, b, d, x"
