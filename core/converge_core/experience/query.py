"""What may be asked about past runs.

The ledger is the one record of what happened, so experience is read and never written: there is no second log that
could disagree with it. A record has a kind of `EVENTS`, or, where a person acted, one of `UserExperience`; a query for
either finds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Literal

from converge_core.errors import MisuseError
from converge_core.ledger.events import EVENTS


class UserExperience(StrEnum):
    """What a person did, as a kind of experience. Answers that did not count are none, nor is what a time-out did."""

    APPROVAL_GRANTED = "user_approval_granted"
    """Somebody approved at a human gate, alone or as one of several."""
    APPROVAL_REJECTED = "user_approval_rejected"
    """Somebody turned a proposal down."""
    CORRECTION = "user_correction"
    """Somebody put another payload in the place of a proposal at a gate, or of a fact."""
    OVERRIDE_ISSUED = "user_override_issued"
    """Somebody called a run off, or let it go on under a changed engine."""
    BOUNDARY_ADJUSTED = "user_boundary_adjusted"
    """A run that had stopped was let go on under another budget."""


KINDS: tuple[str, ...] = (*EVENTS, *(kind.value for kind in UserExperience))
"""Every kind of experience: those of the ledger's entries, then those of what people did."""

TENANT, CORRELATION = "tenant", "correlation"
"""The labels by which runs belong together."""


class Tenants(Enum):
    """Whose runs, where that is not one tenant's."""

    ALL = "all"


ALL_TENANTS: Literal[Tenants.ALL] = Tenants.ALL
"""The tenant of a query that may see every run: to be said in so many words, and never the default."""


@dataclass(frozen=True, slots=True)
class TimeRange:
    """From ``start`` to ``end``, both included; None leaves a side open. Raises MisuseError where the end is first.

    Instants are microseconds since 1970-01-01T00:00:00Z, so that they are compared as instants, whatever time zone
    they were written in.
    """

    start: int | None = None
    end: int | None = None

    def __post_init__(self) -> None:
        if self.start is not None and self.end is not None and self.start > self.end:
            raise MisuseError("a time range ends before it starts")

    def __contains__(self, instant: int) -> bool:
        return (self.start is None or self.start <= instant) and (self.end is None or instant <= self.end)


ALWAYS = TimeRange()


@dataclass(frozen=True, slots=True)
class ExperienceQuery:
    """Which records: those that meet every condition given.

    ``kinds`` are any of these (none: all), ``run`` and ``correlation`` one run, or the runs of one label. Without a
    ``tenant``, only the runs that belong to none are seen; `ALL_TENANTS` sees all. ``limit`` is the most records, and
    they are the newest. Raises MisuseError for what cannot be asked.
    """

    kinds: tuple[str, ...] = ()
    run: str | None = None
    correlation: str | None = None
    tenant: str | Literal[Tenants.ALL] | None = None
    time: TimeRange = ALWAYS
    limit: int | None = None

    def __post_init__(self) -> None:
        if unknown := [kind for kind in self.kinds if kind not in KINDS]:
            raise MisuseError(f"{unknown[0]!r:.80} is no kind of experience; known: {', '.join(KINDS)}")
        for name in ("run", "correlation", "tenant"):
            value = getattr(self, name)
            if isinstance(value, str) and not value.strip():
                raise MisuseError(f"a blank {name} names nobody: leave it out")
        if self.limit is not None and self.limit < 1:
            raise MisuseError(f"a limit is at least 1, not {self.limit}")

    def wants(self, *kinds: str) -> bool:
        """Say whether a record that answers to any of these kinds is asked for."""
        return not self.kinds or not set(self.kinds).isdisjoint(kinds)

    def admits(self, run_id: str, labels: Mapping[str, str]) -> bool:
        """Say whether a run is one that may be seen, and is asked for."""
        return (
            self.run in (None, run_id)
            and self.correlation in (None, labels.get(CORRELATION))
            and (self.tenant is ALL_TENANTS or self.tenant == labels.get(TENANT))
        )
