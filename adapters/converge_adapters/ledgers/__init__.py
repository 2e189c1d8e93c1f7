"""Ledgers: where runs are kept. SQLite for everything that must last, memory for what need not.

A ledger is opened by its URL, and a store is imported when one is opened: to import this package costs nothing.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from converge_core.errors import LedgerError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from converge_adapters.ledgers.sqlite import Synchronous
    from converge_core.ports import Ledger

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")  # two letters at least: C:\ledger.db is a path
_SQLITE, MEMORY = "sqlite:///", "memory:"


class NoLedger(LedgerError):
    """There is no ledger yet at a path, and none was to be created."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path

    def __str__(self) -> str:
        return f"there is no ledger at {self.path} yet"


def open_ledger(
    url: str, *, read_only: bool = False, create: bool = True, synchronous: Synchronous = "NORMAL"
) -> Ledger:
    """Open the ledger of a URL: a path, ``sqlite:///path``, or ``memory:``, a new and empty one.

    The path of a URL begins after the third slash, as in SQLAlchemy: ``sqlite:///a.db`` is relative,
    ``sqlite:////a.db`` is absolute. ``read_only`` and ``synchronous`` are those of `SqliteLedger`.
    Raises NoLedger for a file that is not there unless ``create``, LedgerError for another scheme, and for what cannot
    be opened.
    """
    if url == MEMORY:
        from converge_adapters.ledgers.memory import MemoryLedger

        return MemoryLedger()
    path = ledger_path(url)
    if path is None:
        raise LedgerError(f"{url!r} names no ledger: give a path, {_SQLITE}path or {MEMORY}")
    if not create and not path.exists():
        raise NoLedger(str(path))
    from converge_adapters.ledgers.sqlite import SqliteLedger

    return SqliteLedger(path, read_only=read_only, synchronous=synchronous)


def ledger_path(url: str) -> Path | None:
    """Return the file that the URL of a ledger names, None where it names none."""
    path = url.removeprefix(_SQLITE)
    return None if not path or (path == url and _SCHEME.match(url)) else Path(path)


def default_path(environ: Mapping[str, str]) -> Path:
    """Return where the ledger is when nobody says so: in ``CONVERGE_HOME``, or else in the user's data directory."""
    if home := environ.get("CONVERGE_HOME"):
        return Path(home) / "ledger.db"
    from platformdirs import user_data_path

    return user_data_path("converge", appauthor=False) / "ledger.db"
