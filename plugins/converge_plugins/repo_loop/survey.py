"""A survey: the whole repository at one moment, with a digest that changes when anything in it does.

The digests of the files are made of their contents, tracked or not, so there is no need of version control to notice a
change; what version control says is part of the survey where there is any.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

from converge_core import canonical
from converge_core.ledger.canonical import JsonValue
from converge_core.repository import FileEntry, Repository, Revision, Walk


@dataclass(frozen=True)
class Survey:
    """What a look at the repository has shown. A file without a digest could not be read."""

    walk: Walk
    digests: Mapping[str, str]
    revision: Revision | None

    @cached_property
    def files(self) -> Mapping[str, FileEntry]:
        """The files by path."""
        return {entry.path: entry for entry in self.walk.files}

    @cached_property
    def unreadable(self) -> tuple[str, ...]:
        """What could not be looked into, or read."""
        return (*self.walk.unreadable, *(path for path in self.files if path not in self.digests))

    @cached_property
    def control(self) -> JsonValue:
        """What version control says of the folder as a whole."""
        revision = self.revision
        return None if revision is None else {"changed": [*map(told, revision.changed)], "commit": revision.commit}

    @cached_property
    def digest(self) -> str:
        """The digest of all of it, in hex."""
        walk = self.walk
        rest: JsonValue = {
            "control": self.control,
            "links": [*map(told, walk.links)],
            "truncated": walk.truncated,
            "unreadable": [*map(told, walk.unreadable)],
        }
        return sha256(f"{self.digest_of(walk.files)}{canonical(rest)}".encode()).hexdigest()

    def digest_of(self, files: Iterable[FileEntry]) -> str:
        """Return the digest of some files: their paths, contents and modes."""
        digest = sha256()
        for path, _, executable in files:
            line = f"{path}\0{self.digests.get(path)}\0{executable:d}\n"
            digest.update(line.encode(errors="surrogateescape"))
        return digest.hexdigest()


async def survey(repository: Repository, max_files: int, max_depth: int) -> Survey:
    """Look at a repository. Raises RepositoryError where it cannot be looked at, or version control fails."""
    walk = await repository.walk(max_files, max_depth)
    digests = await repository.digests(entry.path for entry in walk.files)
    return Survey(walk, digests, await repository.revision())


def told(path: str) -> str:
    """Return a path as it can be told: what is not UTF-8 in it is written out."""
    return path.encode(errors="surrogateescape").decode(errors="backslashreplace")
