"""The port of a folder of files, usually one that is under version control: looked at, hashed, and tried out.

Paths are relative to the root, with ``/`` between their parts. Nothing is followed out of the root, and nothing is read
or walked without a bound: what was left out is said. Only `Repository.run` does anything that the folder could notice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

from converge_core.errors import ConvergeError
from converge_core.ledger.canonical import JsonValue
from converge_core.suggestors.catalog import Port

T = TypeVar("T")

MAX_FILES = 50_000
MAX_DEPTH = 64


class RepositoryError(ConvergeError):
    """Something of a repository cannot be read. ``path`` says what, ``reason`` why."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class FileEntry(NamedTuple):
    """A regular file: its path, its size in bytes, and whether it may be executed."""

    path: str
    size: int
    executable: bool = False


@dataclass(frozen=True, slots=True)
class Walk:
    """What a walk has found: files by path, in order. Symbolic links are listed, and not followed.

    ``truncated`` says that the bound on files or depth was reached; ``unreadable`` are the paths that could not be
    looked into.
    """

    files: tuple[FileEntry, ...]
    directories: int
    links: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a command ended: ``exit_code`` is None where it was stopped at its time limit. Output is cut to a bound."""

    exit_code: int | None
    stdout: str
    stderr: str
    duration_ms: int

    @property
    def timed_out(self) -> bool:
        """Whether it was stopped."""
        return self.exit_code is None


class Revision(NamedTuple):
    """What version control knows of the folder: the commit (None: there is none yet) and the paths that differ.

    Of a folder that is ignored as a whole, only its own path is told, with a ``/`` at its end.
    """

    commit: str | None
    tracked: frozenset[str]
    changed: tuple[str, ...]
    ignored: frozenset[str] = frozenset()


class Repository(Protocol):
    """One folder."""

    @property
    def root(self) -> str:
        """Where it is, for people."""
        ...

    async def walk(self, max_files: int = MAX_FILES, max_depth: int = MAX_DEPTH) -> Walk:
        """List the files, version control's own and ignored ones left out. Raises RepositoryError for no folder."""
        ...

    async def read(self, path: str, max_bytes: int = 1_000_000) -> bytes:
        """Return the first bytes of a file. Raises RepositoryError."""
        ...

    async def digest(self, path: str) -> str:
        """Return the SHA-256 of a file, in hex. Raises RepositoryError."""
        ...

    async def digests(self, paths: Iterable[str]) -> Mapping[str, str]:
        """Return the SHA-256 of each file that can be read, in hex, by path; one that cannot be read is left out."""
        ...

    async def search(
        self, paths: Iterable[str], find: Callable[[str, bytes], T], max_bytes: int = 1_000_000
    ) -> Sequence[T]:
        """Return what a pure function says to the path and the first bytes of each file. Raises RepositoryError."""
        ...

    async def revision(self) -> Revision | None:
        """Return what version control says, None where there is none. Raises RepositoryError where it fails."""
        ...

    async def run(self, command: Sequence[str], timeout_ms: int) -> CommandResult:
        """Run a command in the root, without a shell, and end it with all that it has started.

        Raises RepositoryError for one that cannot be started.
        """
        ...


REPOSITORY: Port[Repository] = Port("repository")
"""The folder that the run is about: that of the intent, or the one that ``repository`` in it names."""


class PastReceipt(NamedTuple):
    """What an earlier run said about a repository: in which run, the hash of that fact (hex), and what it says."""

    run_id: str
    hash: str
    body: Mapping[str, JsonValue]


class Receipts(Protocol):
    """The receipts of earlier runs, found in their ledgers."""

    async def newest(self, family: str, matching: Mapping[str, JsonValue]) -> PastReceipt | None:
        """Return the newest fact of a payload family whose body has these values, None where there is none.

        Runs of other tenants are not looked into. Raises LedgerError and its subclasses.
        """
        ...


RECEIPTS: Port[Receipts] = Port("receipts")
"""What earlier runs of the tenant whose run it is have concluded."""
