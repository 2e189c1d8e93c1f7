"""The port of a folder of files, usually one that is under version control: looked at, hashed, and tried out.

Paths are relative to the root, with ``/`` between their parts. Nothing is followed out of the root, and nothing is read
or walked without a bound: what was left out is said. Only `Repository.run` does anything that the folder could notice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from converge_core.errors import ConvergeError
from converge_core.suggestors.catalog import Port

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
    """What version control knows of the folder: the commit (None: there is none yet) and the paths that differ."""

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

    async def revision(self) -> Revision | None:
        """Return what version control says, None where there is none. Raises RepositoryError where it fails."""
        ...

    async def run(self, command: Sequence[str], timeout_ms: int) -> CommandResult:
        """Run a command in the root, without a shell. Raises RepositoryError for one that cannot be started."""
        ...


REPOSITORY: Port[Repository] = Port("repository")
"""The folder that the run is about: that of the intent, or the one that ``repository`` in it names."""
