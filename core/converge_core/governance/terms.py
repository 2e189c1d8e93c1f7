"""The words that the primitives share, and how they are read.

A word that nobody knows is refused where it is written, not where it is used: a misspelt tier that opened a denial to
everybody would be noticed by nobody.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import TypeVar

from converge_core.errors import MisuseError
from converge_core.llm.profiles import ProviderProfile

E = TypeVar("E", bound=StrEnum)


class Boundary(StrEnum):
    """Where something is executed: on the premises, in the cloud, or in both."""

    LOCAL = "local"
    HYBRID = "hybrid"
    CLOUD = "cloud"

    @classmethod
    def of(cls, profile: ProviderProfile) -> Boundary:
        """Return where a provider executes: data that it is given leaves the premises, or does not."""
        return cls.CLOUD if profile.remote else cls.LOCAL

    def reaches(self, other: Boundary) -> bool:
        """Say whether what is executed here may be executed there: the hybrid is in both places."""
        return self is other or self is Boundary.HYBRID


def member(words: type[E], word: str, place: str) -> E:
    """Return the member of an enum that a word names. Raises MisuseError that names the place, for any other word."""
    try:
        return words(word)
    except ValueError:
        raise MisuseError(f"{place}: {word!r:.80} is none of {', '.join(words)}") from None


def texts(given: Iterable[str], place: str) -> frozenset[str]:
    """Return texts as a set. Raises MisuseError for a blank one, and for a lone text, which would come apart."""
    if isinstance(given, str):
        raise MisuseError(f"{place}: {given!r:.80} is one text, where several are expected")
    found = frozenset(given)
    if any(not text.strip() for text in found):
        raise MisuseError(f"{place}: one of the texts is blank")
    return found
