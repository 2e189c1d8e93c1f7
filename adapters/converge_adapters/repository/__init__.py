"""A real folder behind the port `Repository`: what is in it, what version control says of it, and commands run in it.

Whatever may take long (walking, hashing, searching) is done in a worker thread, one hop for all of it. A thread that is
still reading when nobody waits for it any longer is left behind: it changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from anyio.to_thread import run_sync

from converge_adapters.repository import git, walk
from converge_adapters.repository.commands import run_command
from converge_core.repository import MAX_DEPTH, MAX_FILES, CommandResult, RepositoryError, Revision, Walk

T = TypeVar("T")


class FolderRepository:
    """Implements the port `Repository`. Digests are remembered as long as this object is."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._digests = walk.Digests(time.time_ns)

    @property
    def root(self) -> str:
        return str(self._root)

    async def walk(self, max_files: int = MAX_FILES, max_depth: int = MAX_DEPTH) -> Walk:
        revision = await self.revision()
        if revision is None:
            look = partial(walk.walk, self._root, max_files, max_depth, names=walk.DERIVED)
        else:
            look = partial(walk.walk, self._root, max_files, max_depth, revision.ignored)
        return await run_sync(look, abandon_on_cancel=True)

    async def read(self, path: str, max_bytes: int = 1_000_000) -> bytes:
        return await run_sync(walk.read, self._root, path, max_bytes, abandon_on_cancel=True)

    async def digest(self, path: str) -> str:
        return await run_sync(self._digests.of, self._root, path, abandon_on_cancel=True)

    async def digests(self, paths: Iterable[str]) -> Mapping[str, str]:
        return await run_sync(self._all_digests, tuple(paths), abandon_on_cancel=True)

    async def search(
        self, paths: Iterable[str], find: Callable[[str, bytes], T], max_bytes: int = 1_000_000
    ) -> Sequence[T]:
        return await run_sync(walk.search, self._root, tuple(paths), find, max_bytes, abandon_on_cancel=True)

    async def revision(self) -> Revision | None:
        found = await git.revision(self._root) if self._root.is_dir() else None
        return None if found is None or "/" in found.ignored else found  # one that is ignored as a whole is on its own

    async def run(self, command: Sequence[str], timeout_ms: int) -> CommandResult:
        return await run_command(self._root, command, timeout_ms)

    def _all_digests(self, paths: Sequence[str]) -> dict[str, str]:
        root, found = self._root, dict[str, str]()
        for path in paths:
            try:
                found[path] = self._digests.of(root, path)
            except RepositoryError:
                continue  # it is left out, and so told apart
        return found
