"""What a fact is about: a typed reference ``scheme://kind/id``, so that facts can be found by subject."""

from __future__ import annotations

import re
from typing import Self

_SUBJECT = re.compile(r"([A-Za-z][A-Za-z0-9-]*)://([A-Za-z][A-Za-z0-9-]*)/([^/\s\x00-\x1f\x7f]+)")


class SubjectRef(str):
    """``scheme://kind/id``: scheme and kind in lower case, an id without slash or white space.

    Raises ValueError for any other text.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        match = _SUBJECT.fullmatch(text)
        if match is None:
            raise ValueError(f"{text[:80]!r} is not a subject of the form scheme://kind/id")
        scheme, kind, subject_id = match.groups()
        return super().__new__(cls, f"{scheme.lower()}://{kind.lower()}/{subject_id}")

    @property
    def kind(self) -> str:
        """The middle part: the kind of thing."""
        return self.split("/")[2]

    @property
    def id(self) -> str:
        """The last part: which one."""
        return self.rpartition("/")[2]
