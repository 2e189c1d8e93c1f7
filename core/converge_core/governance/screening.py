"""Screening: whether a party is on a list of those with whom nobody here deals.

The list is data, given to it with the name of its source and the day it was published; who fetches it, and how often,
is decided elsewhere. A name is compared as a whole, letter by letter, once what only looks different is out of the way:
compatibility forms, accents, case, punctuation and space. So *José García-López* is *JOSE GARCIA LOPEZ*, and *Garcia*
alone is nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from types import MappingProxyType
from unicodedata import combining, normalize

from converge_core.errors import MisuseError

MOST_MATCHES = 5


def normalised(name: str) -> str:
    """Return a name as it is compared: NFKD without combining marks, folded, words of letters and digits only."""
    letters = (letter for letter in normalize("NFKD", name) if not combining(letter))
    return " ".join("".join(letter if letter.isalnum() else " " for letter in letters).casefold().split())


@dataclass(frozen=True, slots=True)
class ListedParty:
    """Somebody on a list, by an id that is theirs alone, a name, and other names."""

    id: str
    name: str
    aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.aliases, str):
            raise MisuseError(f"listed party {self.id!r:.80}: the aliases are several texts, not one")
        for name in (self.id, self.name, *self.aliases):
            if not normalised(name):
                raise MisuseError(f"listed party {self.id!r:.80}: {name!r:.80} has no letter to compare")


@dataclass(frozen=True, slots=True)
class ScreeningResult:
    """The answer of a list: up to `MOST_MATCHES` parties that answer to the name, and which list it was."""

    query: str
    matches: tuple[ListedParty, ...]
    list_size: int
    dataset: str
    source: str
    as_of: str

    @property
    def denied(self) -> bool:
        """Whether anybody answers to the name."""
        return bool(self.matches)


@dataclass(frozen=True, slots=True)
class ScreeningList:
    """The parties of one dataset; ``as_of`` is the day or moment of its publication, as its source writes it.

    Raises MisuseError for an id that two parties have, and for a list without a name.
    """

    dataset: str
    parties: tuple[ListedParty, ...]
    source: str = ""
    as_of: str = ""
    _by_name: Mapping[str, tuple[ListedParty, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.dataset.strip():
            raise MisuseError("a screening list needs the name of its dataset")
        object.__setattr__(self, "parties", tuple(self.parties))
        if len({party.id for party in self.parties}) < len(self.parties):
            raise MisuseError(f"screening list {self.dataset!r:.80}: two parties have one id")
        object.__setattr__(self, "_by_name", _index(self.parties))

    def screen(self, name: str) -> ScreeningResult:
        """Say who on the list answers to a name."""
        matches = tuple(islice(self._by_name.get(normalised(name), ()), MOST_MATCHES))
        return ScreeningResult(name, matches, len(self.parties), self.dataset, self.source, self.as_of)


def _index(parties: Iterable[ListedParty]) -> Mapping[str, tuple[ListedParty, ...]]:
    found: dict[str, list[ListedParty]] = {}
    for party in parties:
        for name in {normalised(name) for name in (party.name, *party.aliases)}:
            found.setdefault(name, []).append(party)
    return MappingProxyType({name: tuple(known) for name, known in found.items()})
