"""Leases: who has claimed a slot, and until when.

A slot is a name that many may want and one may have: a work item, a desk. Claiming it is a compare-and-set on what is
recorded for it, so of two claims one wins and the other is told who has it. Nobody has anything for ever: a lease ends
by itself, and what its owner did not come to finish, because the process died, is free again then. Releasing a lease
is letting it end now, so there is one question about a slot, whether its lease has ended, and no flag beside it.

=================  ========================  ===========================  ================================
found              claim                     renew                        release
=================  ========================  ===========================  ================================
nothing            a new lease               lost                         lost
a lease, ended     a new lease               lost                         ended already, if it is the same
the same, held     held: refused             ends later                   ends now
another's, held    held: refused             lost                         lost
=================  ========================  ===========================  ================================

The functions here decide, and know no clock; a store records what they return before anybody is told. Moments are
milliseconds since the epoch, by the store's clock: those who share a store have to agree on the time, within what
their leases can spare. A lease keeps others from beginning, not its owner from going on too long; who must not write
twice needs a fence besides, as a ledger has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from converge_core.errors import ConvergeError, MisuseError
from converge_core.suggestors.catalog import Port

DAY_MS = 24 * 60 * 60 * 1000
MAX_NAME = 256


@dataclass(frozen=True, slots=True)
class Lease:
    """A claim on a slot: whose, since when, and until when; the last moment is not part of it."""

    slot: str
    owner: str
    claimed_at: int
    ends_at: int

    def is_held(self, now: int) -> bool:
        """Say whether it has not ended."""
        return now < self.ends_at

    def is_same(self, other: Lease | None) -> bool:
        """Say whether another record is of this claim, however long it was renewed."""
        return other is not None and replace(other, ends_at=self.ends_at) == self


class LeaseHeld(ConvergeError):
    """Somebody has the slot."""

    def __init__(self, lease: Lease) -> None:
        super().__init__(lease)
        self.lease = lease

    def __str__(self) -> str:
        return f"the slot {self.lease.slot!r} is held by {self.lease.owner!r}"


class LeaseLost(ConvergeError):
    """A lease has ended, and whoever claimed the slot since has it."""

    def __init__(self, lease: Lease) -> None:
        super().__init__(lease)
        self.lease = lease

    def __str__(self) -> str:
        return f"{self.lease.owner!r} no longer has the slot {self.lease.slot!r}"


def claimed(found: Lease | None, slot: str, owner: str, ttl_ms: int, now: int) -> Lease:
    """Return the lease of a claim on a slot for which ``found`` is recorded.

    Raises LeaseHeld, also for the owner of that lease: it is renewed, not claimed twice. Raises MisuseError for a name
    that is none, and for a time that is not at least 1 ms.
    """
    for name in (slot, owner):
        if not (name.strip() and name.isprintable() and len(name) <= MAX_NAME):
            raise MisuseError(f"{name[:80]!r} names no slot or owner: 1 to {MAX_NAME} printable characters are needed")
    if found is not None and found.is_held(now):
        raise LeaseHeld(found)
    return Lease(slot, owner, now, now + _positive(ttl_ms))


def renewed(found: Lease | None, lease: Lease, ttl_ms: int, now: int) -> Lease:
    """Return the lease as it ends so long from now, but never earlier than it did. Raises LeaseLost, MisuseError."""
    end = now + _positive(ttl_ms)
    if found is None or not lease.is_same(found) or not found.is_held(now):
        raise LeaseLost(lease)
    return replace(found, ends_at=max(found.ends_at, end))


def released(found: Lease | None, lease: Lease, now: int) -> Lease:
    """Return the lease as it has ended, now at the latest. Raises LeaseLost where nothing of it is recorded."""
    if found is None or not lease.is_same(found):
        raise LeaseLost(lease)
    return replace(found, ends_at=min(found.ends_at, now))


def _positive(ttl_ms: int) -> int:
    if ttl_ms < 1:
        raise MisuseError(f"a lease is for at least 1 ms, not {ttl_ms}")
    return ttl_ms


@dataclass(frozen=True, slots=True)
class Retention:
    """How long leases are remembered after their end, and how many are at most; those that are held always stay.

    Every claim and every release forgets what is over the bounds, the one that has ended first before the others.
    """

    max_age_ms: int = DAY_MS
    cap: int = 1000

    def __post_init__(self) -> None:
        if self.max_age_ms < 0 or self.cap < 0:
            raise MisuseError("a retention has no negative bounds")

    def cutoff(self, now: int) -> int:
        """Return the moment that must have passed since the end of a lease for it to be remembered."""
        return now - self.max_age_ms

    def surplus(self, recorded: int) -> int:
        """Return how many of so many leases are too many."""
        return max(0, recorded - self.cap)


class Leases(Protocol):
    """A store of leases. What it returns is durable: a process that dies in the next moment has claimed the slot."""

    async def claim(self, slot: str, owner: str, ttl_ms: int) -> Lease:
        """Claim a slot. Raises LeaseHeld when somebody has it, MisuseError as `claimed` does."""
        ...

    async def renew(self, lease: Lease, ttl_ms: int) -> Lease:
        """Let a lease end so long from now. Raises LeaseLost when it has ended."""
        ...

    async def release(self, lease: Lease) -> None:
        """Let a lease end now. Raises LeaseLost when another has claimed the slot, or nobody remembers it."""
        ...

    async def active(self, prefix: str = "") -> Sequence[Lease]:
        """Return the leases that are held, of slots that begin with ``prefix``, by slot."""
        ...

    async def prune(self) -> int:
        """Forget the leases that have ended too long ago, or are too many; return how many those were."""
        ...

    async def close(self) -> None:
        """Release what the store holds."""
        ...


LEASES: Port[Leases] = Port("leases")
"""The leases of everybody who shares the ledger of the run."""
