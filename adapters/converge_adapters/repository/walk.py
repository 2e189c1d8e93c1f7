"""Walking a folder, and reading what is in it: one directory after the other, nothing followed, all of it bounded.

The walk is a loop over a stack of directories still to be looked into. No more entries of a directory are held than
files may still be found, so a walk needs no more memory than its bounds allow, however large the folder is. Within a
directory entries are taken by name; only where a bound cuts a directory short does its own order decide what is seen.
"""

from __future__ import annotations

import os
import stat
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

from converge_core.repository import FileEntry, RepositoryError, Walk

T = TypeVar("T")

CONTROL = frozenset({".git", ".hg", ".svn"})
"""Where version control keeps its own files."""

DERIVED = frozenset(
    {".mypy_cache", ".nox", ".pytest_cache", ".ruff_cache", ".tox", ".venv", "__pycache__", "node_modules", "venv"}
)
"""What tools write and can write again; left out where there is no version control to say what is to be ignored."""

MAX_DIGESTS = 200_000
_CHUNK = 1 << 20
_OTHERS = 1000
"""Entries that a directory may have beside files and what is ignored."""
_EXECUTABLE = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH
_OPENING = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


def walk(
    root: Path, max_files: int, max_depth: int, ignored: Collection[str] = (), names: Collection[str] = ()
) -> Walk:
    """List the files under a folder. Raises RepositoryError where the root is none that can be looked into.

    ``ignored`` are paths that are left out, directories with a ``/`` at their end; ``names`` are left out everywhere.
    """
    left_out = CONTROL | frozenset(names)
    files: list[FileEntry] = []
    links: list[str] = []
    unreadable: list[str] = []
    directories, truncated = 0, False
    waiting = [("", 0)]
    while waiting:
        folder, depth = waiting.pop()
        room = max_files - len(files)
        try:
            with os.scandir(root / folder) as found:
                entries = sorted(islice(found, room + len(ignored) + _OTHERS), key=lambda entry: entry.name)
                truncated = truncated or next(found, None) is not None
        except OSError as error:
            if not folder:
                raise RepositoryError(str(root), error.strerror or "cannot be looked into") from error
            unreadable.append(folder.rstrip("/"))
            continue
        directories += 1
        below: list[tuple[str, int]] = []
        for entry in entries:
            path = f"{folder}{entry.name}"
            if entry.name in left_out or path in ignored or f"{path}/" in ignored:
                continue
            try:
                if entry.is_symlink():
                    links.append(path)
                elif entry.is_dir(follow_symlinks=False):
                    below.append((f"{path}/", depth + 1))
                elif entry.is_file(follow_symlinks=False):
                    status = entry.stat(follow_symlinks=False)
                    files.append(FileEntry(path, status.st_size, bool(status.st_mode & _EXECUTABLE)))
            except OSError:
                unreadable.append(path)
            if len(files) > max_files:
                break
        if len(files) > max_files or len(links) > max_files or directories + len(waiting) + len(below) > max_files:
            truncated = True
            break
        if below and depth >= max_depth:
            truncated = True
        else:
            waiting += reversed(below)
    return Walk(
        tuple(sorted(files[:max_files])),
        directories,
        tuple(sorted(links[:max_files])),
        tuple(sorted(unreadable)),
        truncated,
    )


def locate(root: Path, path: str) -> Path:
    """Return where a path of the folder is. Raises RepositoryError for one that leads out of it."""
    inside = root / path
    try:
        is_inside = ".." not in inside.parts and inside.parent.resolve().is_relative_to(root)
    except (OSError, ValueError) as error:
        raise RepositoryError(path, "cannot be found") from error
    if not path or not is_inside:
        raise RepositoryError(path, "leads out of the folder")
    return inside


def read(root: Path, path: str, max_bytes: int) -> bytes:
    """Return the first bytes of a regular file. Raises RepositoryError."""
    return b"".join(_pieces(root, path, max_bytes))


def search(root: Path, paths: Iterable[str], find: Callable[[str, bytes], T], max_bytes: int) -> list[T]:
    """Return what a function finds in each file. Raises RepositoryError."""
    return [find(path, read(root, path, max_bytes)) for path in paths]


def _pieces(root: Path, path: str, max_bytes: int | None = None) -> Iterator[bytes]:
    try:
        descriptor = os.open(locate(root, path), _OPENING)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise RepositoryError(path, "is not a regular file")
            left = max_bytes
            while left is None or left > 0:
                piece = file.read(_CHUNK if left is None else min(_CHUNK, left))
                if not piece:
                    return
                left = None if left is None else left - len(piece)
                yield piece
    except (OSError, ValueError) as error:
        raise RepositoryError(path, getattr(error, "strerror", None) or "cannot be read") from error


class _Stamp(NamedTuple):
    """What changes with a file's content, and is known without reading it."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


class Digests:
    """SHA-256 of files. One that looks untouched since it was last hashed is not read again.

    The digests of ``bound`` files are remembered, the least recently used being forgotten first; ``evictions`` counts
    those. A file that was touched less than ``settling_ns`` ago is not remembered: the clock of a file system is
    coarse, and the file may be written once more without looking any different.
    """

    def __init__(self, now_ns: Callable[[], int], bound: int = MAX_DIGESTS, settling_ns: int = 2_000_000_000) -> None:
        self._now_ns, self._bound, self._settling_ns = now_ns, bound, settling_ns
        self._known: OrderedDict[str, tuple[_Stamp, str]] = OrderedDict()
        self.evictions = 0

    def __len__(self) -> int:
        return len(self._known)

    def of(self, root: Path, path: str) -> str:
        """Return the digest of a file, in hex. Raises RepositoryError."""
        before = self._stamp(root, path)
        known = self._known.get(path)
        if known is not None and known[0] == before:
            self._known.move_to_end(path)
            return known[1]
        digest = sha256()
        for piece in _pieces(root, path):
            digest.update(piece)
        found = digest.hexdigest()
        self._known.pop(path, None)
        touched = max(before.mtime_ns, before.ctime_ns)
        if self._stamp(root, path) == before and touched + self._settling_ns < self._now_ns():
            self._known[path] = before, found
            if len(self._known) > self._bound:
                self._known.popitem(last=False)
                self.evictions += 1
        return found

    @staticmethod
    def _stamp(root: Path, path: str) -> _Stamp:
        try:
            status = os.lstat(locate(root, path))
        except (OSError, ValueError) as error:
            raise RepositoryError(path, getattr(error, "strerror", None) or "cannot be read") from error
        return _Stamp(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
