"""Globs over the paths of a repository: ``*`` and ``?`` stay within a name, ``**`` spans any number of folders."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache

ALL = "**"


@lru_cache(maxsize=256)
def _compiled(globs: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{_translated(glob)})" for glob in globs) or r"(?!)", re.DOTALL)


def _translated(glob: str) -> str:
    if glob == ALL or glob.endswith("/**"):
        return _translated(glob[:-2]) + ".+"
    parts = re.split(r"(\*\*/|\*|\?)", glob)
    sorts = {"**/": "(?:.+/)?", "*": "[^/]*", "?": "[^/]"}
    return "".join(sorts.get(part, re.escape(part)) for part in parts)


def matcher(globs: Iterable[str]) -> Callable[[str], bool]:
    """Return a function that says whether a path is meant by one of the globs; nothing is meant by none."""
    match = _compiled(tuple(globs)).fullmatch
    return lambda path: match(path) is not None
