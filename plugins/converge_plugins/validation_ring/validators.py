"""Three ways to look at a file that share nothing but the folder it is in.

The file system says that there is content, version control that it is the content that was committed, and a hash that
it is the content somebody named. None of them takes another's word: what is damaged, forgotten or forged in one place
shows in another. Where one cannot look, the claim does not hold (there is no file, no version control) or it abstains
(git failed, the claim names no digest); neither counts as a yes.
"""

from __future__ import annotations

from converge_core import NoConfig, Site
from converge_core.ledger.canonical import JsonValue
from converge_core.repository import REPOSITORY, RepositoryError
from converge_core.validation import CannotSay, Claim, Finding


class FileValidator:
    """Whether the file is there, and not empty."""

    strategy = "file"

    def __init__(self, config: NoConfig, site: Site) -> None:
        self._repository = site.port(REPOSITORY)

    async def validate(self, claim: Claim) -> Finding:
        """Read the first byte."""
        try:
            empty = not await self._repository.read(claim.path, 1)
        except RepositoryError as error:
            return Finding(False, {"path": claim.path, "readable": False}, str(error))
        saw: dict[str, JsonValue] = {"path": claim.path, "readable": True, "empty": empty}
        return Finding(not empty, saw, f"{claim.path} is empty" if empty else None)


class VersionControlValidator:
    """Whether the file is tracked, and is what was committed."""

    strategy = "version_control"

    def __init__(self, config: NoConfig, site: Site) -> None:
        self._repository = site.port(REPOSITORY)

    async def validate(self, claim: Claim) -> Finding:
        """Ask version control. Raises RepositoryError where it fails."""
        revision = await self._repository.revision()
        if revision is None:
            return Finding(False, {"path": claim.path, "commit": None}, "the folder is not under version control")
        tracked, changed = claim.path in revision.tracked, claim.path in revision.changed
        saw = {"path": claim.path, "commit": revision.commit, "tracked": tracked, "changed": changed}
        if not tracked:
            return Finding(False, saw, f"{claim.path} is not tracked")
        return Finding(not changed, saw, f"{claim.path} is not what was committed" if changed else None)


class HashValidator:
    """Whether the file has the SHA-256 that the claim names."""

    strategy = "hash"

    def __init__(self, config: NoConfig, site: Site) -> None:
        self._repository = site.port(REPOSITORY)

    async def validate(self, claim: Claim) -> Finding:
        """Hash the file. Raises CannotSay for a claim without a digest."""
        if claim.sha256 is None:
            raise CannotSay("the claim names no digest")
        try:
            found = await self._repository.digest(claim.path)
        except RepositoryError as error:
            return Finding(False, {"path": claim.path, "sha256": None}, str(error))
        holds = found == claim.sha256
        return Finding(holds, {"path": claim.path, "sha256": found}, None if holds else "the digest is another one")
