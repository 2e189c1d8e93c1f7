from __future__ import annotations

import pytest
from pydantic import BaseModel

from converge_core import Catalog, NoConfig, PluginError, Site, Suggestor
from converge_core.suggestors import SeedSuggestor


class SeedConfig(BaseModel):
    text: str


def load(name: str) -> None:
    raise LookupError(name)


SITE = Site("here", load)  # type: ignore[arg-type]  # nothing here is ever loaded


@pytest.fixture
def catalog() -> Catalog[Suggestor]:
    catalog: Catalog[Suggestor] = Catalog("suggestor")
    catalog.add("seed", lambda config, site: SeedSuggestor(site.name, config.text), SeedConfig, "Proposes one text.")
    catalog.plugin = "other"
    catalog.add("seed.plain", lambda config, site: SeedSuggestor(site.name, "words"))
    return catalog


def test_an_entry_is_made_from_its_configuration_and_the_name_it_has_there(catalog: Catalog[Suggestor]) -> None:
    made = catalog.find("seed").factory(SeedConfig(text="words"), SITE)
    assert made.name == "seed:here"


def test_an_entry_says_who_offers_it_and_what_it_takes(catalog: Catalog[Suggestor]) -> None:
    assert [(entry.name, entry.plugin, entry.config, entry.summary) for entry in catalog] == [
        ("seed", "converge", SeedConfig, "Proposes one text."),
        ("seed.plain", "other", NoConfig, ""),
    ]
    assert len(catalog) == 2


def test_s002_a_name_that_is_taken_is_refused_with_both_culprits(catalog: Catalog[Suggestor]) -> None:
    with pytest.raises(PluginError) as refused:
        catalog.add("seed", lambda config, site: SeedSuggestor(site.name, "words"))
    assert (refused.value.plugin, refused.value.reason) == (
        "other",
        "suggestor 'seed' is offered already, by converge",
    )


@pytest.mark.parametrize(
    ("name", "hint"),
    [("sed", "did you mean 'seed'?"), ("seed.plane", "did you mean 'seed.plain'"), ("llm", "known: seed, seed.plain")],
)
def test_s002_an_unknown_name_is_answered_with_the_nearest(catalog: Catalog[Suggestor], name: str, hint: str) -> None:
    with pytest.raises(LookupError, match=f"unknown suggestor '{name}'; .*{hint[:-1]}"):
        catalog.find(name)


class Compared(str):
    """A name that counts how often one is compared with another."""

    __slots__ = ()
    times = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        Compared.times += 1
        return super().__eq__(other)


def test_s002_of_ten_thousand_entries_one_is_looked_at() -> None:
    """What is called by its name here stands in a catalog; there are no routes."""
    catalog: Catalog[Suggestor] = Catalog("suggestor")
    for number in range(10_000):
        catalog.add(Compared(f"n{number}"), lambda config, site: SeedSuggestor(site.name, "words"))
    Compared.times = 0
    found = catalog.find("n7777")
    assert Compared.times == 1
    assert str(found.name) == "n7777"


def test_what_a_plugin_offers_can_be_withdrawn(catalog: Catalog[Suggestor]) -> None:
    catalog.withdraw("other")
    assert [entry.name for entry in catalog] == ["seed"]


def test_an_entry_without_configuration_takes_none() -> None:
    with pytest.raises(ValueError, match="Extra inputs are not permitted"):
        NoConfig.model_validate({"limit": 1})
