from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_core import MisuseError
from converge_core.governance.screening import MOST_MATCHES, ListedParty, ScreeningList, normalised

GARCIA = ListedParty("p-1", "José García-López", ("El Lobo", "J. G. Lopez"))
LIST = ScreeningList("consolidated", (GARCIA, ListedParty("p-2", "Acme Trading, Ltd.")), "un.example", "2026-11-01")


@pytest.mark.parametrize(
    "name", ["JOSE GARCIA LOPEZ", "  josé   garcía-lópez ", "el lobo", "J G LOPEZ", "Ｅｌ Ｌｏｂｏ"]
)
def test_a_name_is_found_however_it_is_written(name: str) -> None:
    assert LIST.screen(name).matches == (GARCIA,)


@pytest.mark.parametrize("name", ["Garcia", "Jose Garcia", "Lopez Garcia Jose", "JoseGarciaLopez", "", "  ", "-"])
def test_a_part_of_a_name_is_nobody(name: str) -> None:
    assert not LIST.screen(name).denied


def test_an_answer_says_which_list_it_is_from() -> None:
    result = LIST.screen("acme trading ltd")
    assert result.denied
    assert (result.query, result.list_size) == ("acme trading ltd", 2)
    assert (result.dataset, result.source, result.as_of) == ("consolidated", "un.example", "2026-11-01")


def test_a_party_that_answers_by_two_names_is_one_match() -> None:
    twice = ScreeningList("d", (ListedParty("p", "Ann Lee", ("ANN LEE", "Ann  Lee")),))
    assert len(twice.screen("ann lee").matches) == 1


def test_an_answer_names_so_many_parties_and_no_more() -> None:
    many = ScreeningList("d", tuple(ListedParty(f"p-{n}", "Ann Lee") for n in range(MOST_MATCHES + 2)))
    assert [party.id for party in many.screen("Ann Lee").matches] == ["p-0", "p-1", "p-2", "p-3", "p-4"]


def test_an_id_that_two_parties_have_is_refused() -> None:
    with pytest.raises(MisuseError, match="two parties have one id"):
        ScreeningList("d", (ListedParty("p", "Ann"), ListedParty("p", "Bob")))


def test_a_list_without_a_name_is_refused() -> None:
    with pytest.raises(MisuseError, match="name of its dataset"):
        ScreeningList(" ", ())


@pytest.mark.parametrize(("name", "aliases"), [("--", ()), ("Ann", ("?",))])
def test_a_name_that_could_match_nothing_is_refused(name: str, aliases: tuple[str, ...]) -> None:
    with pytest.raises(MisuseError, match="no letter to compare"):
        ListedParty("p", name, aliases)


def test_aliases_given_as_one_text_are_refused() -> None:
    with pytest.raises(MisuseError, match="several texts"):
        ListedParty("p", "Ann", "Lee")  # type: ignore[arg-type]  # the mistake


@given(st.text())
def test_what_is_compared_does_not_change_by_comparing_it_again(name: str) -> None:
    assert normalised(normalised(name)) == normalised(name)


@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz éüßñ-.'", min_size=1))
def test_case_makes_no_difference(name: str) -> None:
    assert normalised(name.upper()) == normalised(name)
