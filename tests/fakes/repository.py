"""A repository in a dictionary: the port's promises and nothing more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from typing import TypeVar

from converge_core.repository import (
    MAX_DEPTH,
    MAX_FILES,
    CommandResult,
    FileEntry,
    RepositoryError,
    Revision,
    Walk,
)

T = TypeVar("T")


class FakeRepository:
    """Holds files by path. ``revision`` is what version control says, or the error that it fails with.

    A command has the scripted answer; one that the script does not know cannot be started.
    """

    def __init__(
        self,
        files: Mapping[str, bytes] | None = None,
        revision: Revision | RepositoryError | None = None,
        commands: Mapping[str, CommandResult] | None = None,
    ) -> None:
        self.files = dict(files or {})
        self.state = revision
        self.commands = dict(commands or {})
        self.ran: list[tuple[tuple[str, ...], int]] = []

    @property
    def root(self) -> str:
        return "fake"

    async def walk(self, max_files: int = MAX_FILES, max_depth: int = MAX_DEPTH) -> Walk:
        found = [path for path in sorted(self.files) if path.count("/") < max_depth]
        entries = tuple(FileEntry(path, len(self.files[path])) for path in found[:max_files])
        folders = {path.rpartition("/")[0] for path in self.files}
        return Walk(entries, len(folders), truncated=len(entries) < len(self.files))

    async def read(self, path: str, max_bytes: int = 1_000_000) -> bytes:
        if path not in self.files:
            raise RepositoryError(path, "there is no such file")
        return self.files[path][:max_bytes]

    async def digest(self, path: str) -> str:
        return sha256(await self.read(path, 10**9)).hexdigest()

    async def digests(self, paths: Iterable[str]) -> Mapping[str, str]:
        return {path: await self.digest(path) for path in paths if path in self.files}

    async def search(
        self, paths: Iterable[str], find: Callable[[str, bytes], T], max_bytes: int = 1_000_000
    ) -> Sequence[T]:
        return [find(path, await self.read(path, max_bytes)) for path in paths]

    async def revision(self) -> Revision | None:
        if isinstance(self.state, RepositoryError):
            raise self.state
        return self.state

    async def run(self, command: Sequence[str], timeout_ms: int) -> CommandResult:
        self.ran.append((tuple(command), timeout_ms))
        if command[0] not in self.commands:
            raise RepositoryError(command[0], "there is no such program")
        return self.commands[command[0]]
