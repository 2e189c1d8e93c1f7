"""Asking git, through its program: what is tracked, what has changed, what is ignored.

Whether a folder is under version control is told by a ``.git`` in it or above it. Where there is one, everything git
cannot answer is an error: a gate that takes silence for "nothing has changed" lets anything pass. Git is told to write
nothing, not even its index, and to run nothing that the repository's own configuration names.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from converge_adapters.repository.commands import Ends, Whole, environment, supervise
from converge_core.repository import RepositoryError, Revision

TIMEOUT_MS = 120_000
MAX_OUTPUT = 64 << 20
"""The most bytes that git may answer with: the paths of about a million files."""

_CAREFULLY = ("-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}", "-c", "core.untrackedCache=false")


def is_controlled(root: Path) -> bool:
    """Say whether the folder, or one that it lies in, has a repository."""
    return any(os.path.lexists(folder / ".git") for folder in (root, *root.parents))  # a worktree has a file there


async def revision(root: Path) -> Revision | None:
    """Return what git says about a folder, None where there is none. Raises RepositoryError for whatever it cannot."""
    if not is_controlled(root):
        return None
    prefix = (await _git(root, "rev-parse", "--show-prefix")).removesuffix(b"\n")
    tracked = await _git(root, "ls-files", "-z")
    listed = ("--porcelain=v2", "--branch", "--no-renames", "--untracked-files=all", "--ignored=matching")
    status = _split(await _git(root, "status", "-z", *listed, "--", "."))
    commit, changed, ignored = None, [], []
    for line in status:
        sort, _, rest = line.partition(b" ")
        match sort:
            case b"#":
                name, _, value = rest.partition(b" ")
                if name == b"branch.oid" and value != b"(initial)":
                    commit = value.decode("ascii")
            case b"1":
                changed.append(_path(rest.split(b" ", 7)[-1], prefix))
            case b"u":
                changed.append(_path(rest.split(b" ", 9)[-1], prefix))
            case b"?":
                changed.append(_path(rest, prefix))
            case b"!":
                ignored.append(_path(rest, prefix))
            case _:
                raise RepositoryError("git status", "gave an answer that cannot be read")
    known = frozenset(_path(path, b"") for path in _split(tracked))
    return Revision(commit, known, tuple(sorted(set(changed))), frozenset(ignored))


async def _git(root: Path, *arguments: str) -> bytes:
    """Return what git prints. Raises RepositoryError."""
    out, err = Whole(MAX_OUTPUT), Ends(1000)
    quiet = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    command = ("git", "--no-pager", *_CAREFULLY, *arguments)
    code = await supervise(root, command, TIMEOUT_MS, {**environment(os.environ), **quiet}, out, err)
    if code is None:
        raise RepositoryError(f"git {arguments[0]}", f"gave no answer within {TIMEOUT_MS // 1000} s")
    if code:
        raise RepositoryError(f"git {arguments[0]}", err.text().strip() or f"ended with {code}")
    if out.overflowed:
        raise RepositoryError(f"git {arguments[0]}", f"answered with more than {MAX_OUTPUT} bytes")
    return bytes(out.content)


def _split(answer: bytes) -> Sequence[bytes]:
    return [part for part in answer.split(b"\0") if part]


def _path(name: bytes, prefix: bytes) -> str:
    """Return a path relative to the folder; that of the folder itself, or of one it lies in, is ``/``."""
    if not name.startswith(prefix) or name == prefix:
        return "/"
    return os.fsdecode(name[len(prefix) :])
