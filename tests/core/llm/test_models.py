"""The models of a deployment: who is meant by a name, and that all of them give back what they hold."""

from __future__ import annotations

import pytest

from converge_core.llm.models import Model, Models
from converge_core.llm.router import Candidate
from converge_core.llm.selection import SelectionCriteria
from tests.core.stage import finish
from tests.fakes.backend import FakeBackend, FakeCapacity, FakePrices, profile_of


class Stubborn(FakeBackend):
    """Does not let go."""

    async def aclose(self) -> None:
        raise OSError("it does not let go")


def models_of(*backends: FakeBackend) -> Models:
    async def sleep(delay_ms: int) -> None:
        raise AssertionError("nobody waits")

    return Models([Model(Candidate(backend, FakePrices())) for backend in backends], FakeCapacity(), lambda: 0, sleep)


def test_all_connections_are_given_back_whatever_one_of_them_does() -> None:
    first, last = FakeBackend(profile_of("a"), []), FakeBackend(profile_of("c"), [])
    with pytest.raises(OSError, match="does not let go"):
        finish(models_of(first, Stubborn(profile_of("b"), []), last).aclose())
    assert (first.closed, last.closed) == (True, True)


def test_models_are_asked_in_the_order_in_which_they_are_named() -> None:
    models = models_of(FakeBackend(profile_of("a"), []), FakeBackend(profile_of("b"), []))
    assert [candidate.id for candidate in models.router(["b", "a"]).candidates] == ["b", "a"]
    assert [candidate.id for candidate in models.router().candidates] == ["a", "b"]


@pytest.mark.parametrize(
    ("names", "keep", "complaint"),
    [
        (["z"], False, "there is no model 'z'; there is a"),
        ([], True, "no place for full exchanges"),
    ],
)
def test_what_cannot_be_is_refused_when_it_is_set_up(names: list[str], keep: bool, complaint: str) -> None:
    with pytest.raises(LookupError, match=complaint):
        models_of(FakeBackend(profile_of("a"), [])).router(names, keep_exchange=keep)


def test_where_there_are_no_models_it_says_where_they_are_declared() -> None:
    with pytest.raises(LookupError, match="declares them under `models`"):
        models_of().router()


def test_criteria_put_the_fittest_first() -> None:
    models = models_of(FakeBackend(profile_of("a"), []), FakeBackend(profile_of("b"), []))
    router = models.router((), SelectionCriteria())
    assert [objection.gate for objection in router.objections] == ["classification", "selection"]
