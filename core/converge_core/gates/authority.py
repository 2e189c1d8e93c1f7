"""Authority: who may answer at a human gate, for what, until when, and how many it takes.

Either the intent names its approvers, and then only they decide, within the scope of their grant; or it names none, and
then any person may, except the one whose proposal it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from converge_core.context.keys import ContextKey
from converge_core.errors import MisuseError
from converge_core.ledger.canonical import JsonValue

_DATE = r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
_INSTANT = re.compile(rf"{_DATE}T([01]\d|2[0-3]):[0-5]\d:[0-5]\dZ", re.ASCII)


def instant(text: str) -> str:
    """Return a moment as it is compared here: UTC, to the second, ``2026-10-31T18:00:00Z`` (RFC 3339).

    A date alone is the last second of that day. Raises MisuseError for anything else.
    """
    moment = f"{text}T23:59:59Z" if len(text) == len("2026-10-31") else text
    if not _INSTANT.fullmatch(moment):
        raise MisuseError(f"{text[:40]!r} is no moment of the form 2026-10-31T18:00:00Z, nor a date")
    return moment


@dataclass(frozen=True, slots=True)
class AuthorityScope:
    """What a grant covers: facts under these keys (all, when empty), until a moment (for ever, when None)."""

    keys: tuple[ContextKey, ...] = ()
    until: str | None = None

    def __post_init__(self) -> None:
        if self.until is not None:
            object.__setattr__(self, "until", instant(self.until))


@dataclass(frozen=True, slots=True)
class AuthorityGrant:
    """The right to decide, given to a person or to the members of a role.

    ``level`` orders those who are asked one after the other when a gate is escalated; the first are 1.
    """

    name: str
    members: tuple[str, ...]
    scope: AuthorityScope = AuthorityScope()
    level: int = 1

    def to_json(self) -> dict[str, JsonValue]:
        """Return the grant as it stands in the ledger."""
        return {
            "keys": [key.value for key in self.scope.keys],
            "level": self.level,
            "members": self.members,
            "name": self.name,
            "until": self.scope.until,
        }


@dataclass(frozen=True, slots=True)
class ApprovalPolicy:
    """Who may decide at the gates of a run: no grants means any person; ``needs`` different people must approve."""

    grants: tuple[AuthorityGrant, ...] = ()
    needs: int = 1

    def __post_init__(self) -> None:
        if self.needs < 1:
            raise MisuseError(f"a gate needs at least one approval, not {self.needs}")
        people = {member for grant in self.grants for member in grant.members}
        if self.grants and len(people) < self.needs:
            raise MisuseError(f"a gate needs {self.needs} approvals, and only {len(people)} may give one")

    @property
    def levels(self) -> int:
        """How many levels of approvers there are."""
        return max((grant.level for grant in self.grants), default=1)

    def to_json(self) -> dict[str, JsonValue]:
        """Return the policy as it stands in the ledger."""
        return {"grants": [grant.to_json() for grant in self.grants], "needs": self.needs}
