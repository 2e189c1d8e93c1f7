"""What every store of leases must do. One of a third party proves itself with a few lines:

    from converge_adapters.testing.leases import DurableLeasesConformance

    class TestMyLeases(DurableLeasesConformance):
        def make_leases(self, tmp_path, retention, now):
            return MyLeases(tmp_path / "leases", retention, now)

Each test opens a store whose clock it sets itself, checks one promise of the port `converge_core.leases.Leases`, and
closes it.
"""

# ruff: noqa: S101 (these are tests, if on their way to others)

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio

from converge_adapters.testing.ledgers import raised
from converge_core.errors import MisuseError
from converge_core.leases import DAY_MS, Lease, LeaseHeld, LeaseLost, Leases, Retention

HOUR_MS = DAY_MS // 24
NOON = datetime(2026, 10, 31, 12, tzinfo=UTC)
START = round(NOON.timestamp() * 1000)
_Promise = Callable[["LeasesConformance", Leases, "Hands"], Awaitable[None]]


class Hands:
    """A clock whose hands the test moves; it begins at noon."""

    def __init__(self) -> None:
        self.ms = 0

    def __call__(self) -> datetime:
        return NOON + timedelta(milliseconds=self.ms)


def _promise(check: _Promise) -> Callable[[LeasesConformance, Path], None]:
    """Make a test that pytest can call of a check on an open store and its clock."""

    def test(self: LeasesConformance, tmp_path: Path) -> None:
        async def run() -> None:
            hands = Hands()
            leases = self.make_leases(tmp_path, self.retention, hands)
            try:
                await check(self, leases, hands)
            finally:
                await leases.close()

        anyio.run(run)

    test.__doc__ = check.__doc__
    return test


async def slots(leases: Leases, prefix: str = "") -> list[str]:
    """Return the slots that are held."""
    return [lease.slot for lease in await leases.active(prefix)]


class LeasesConformance:
    """The promises of the port, for any store."""

    retention = Retention(cap=20)

    def make_leases(self, tmp_path: Path, retention: Retention, now: Callable[[], datetime]) -> Leases:
        """Open the store to be tested; ``tmp_path`` is a folder of its own for each test. Called on an event loop."""
        raise NotImplementedError

    @_promise
    async def test_a_claim_is_a_lease_until_its_time_is_up(self, leases: Leases, hands: Hands) -> None:
        lease = await leases.claim("desk", "ann", 1000)
        assert lease == Lease("desk", "ann", START, START + 1000)
        hands.ms = 999
        assert await leases.active() == (lease,)
        hands.ms = 1000
        assert await leases.active() == ()

    @_promise
    async def test_x29_of_two_claims_on_one_slot_one_wins(self, leases: Leases, hands: Hands) -> None:
        lease = await leases.claim("desk", "ann", 1000)
        for owner in ("bob", "ann"):
            hands.ms += 1
            assert (await raised(LeaseHeld, leases.claim("desk", owner, 5000))).lease == lease
        assert await leases.active() == (lease,)

    @_promise
    async def test_a_slot_is_free_once_its_lease_has_ended(self, leases: Leases, hands: Hands) -> None:
        await leases.claim("desk", "ann", 1000)
        hands.ms = 1000
        lease = await leases.claim("desk", "bob", 1000)
        assert await leases.active() == (lease,)
        assert lease.owner == "bob"

    @_promise
    async def test_a_slot_that_was_released_is_free_at_once(self, leases: Leases, hands: Hands) -> None:
        await leases.release(await leases.claim("desk", "ann", 1000))
        assert await slots(leases) == []
        assert (await leases.claim("desk", "bob", 1000)).owner == "bob"

    @_promise
    async def test_slots_do_not_mind_each_other(self, leases: Leases, hands: Hands) -> None:
        for slot in ("work/b", "work/a", "word", "w%rk/"):
            await leases.claim(slot, "ann", 1000)
        assert await slots(leases) == ["w%rk/", "word", "work/a", "work/b"]
        assert await slots(leases, "work/") == ["work/a", "work/b"]
        assert await slots(leases, "w%") == ["w%rk/"]

    @_promise
    async def test_renewing_moves_the_end_and_never_back(self, leases: Leases, hands: Hands) -> None:
        lease = await leases.claim("desk", "ann", 1000)
        hands.ms = 500
        assert (await leases.renew(lease, 100)).ends_at == START + 1000
        renewed = await leases.renew(lease, 2000)
        assert renewed == Lease("desk", "ann", START, START + 2500)
        assert await leases.active() == (renewed,)
        await leases.release(lease)  # the one that was claimed is the one that was renewed
        assert await slots(leases) == []

    @_promise
    async def test_a_lease_that_has_ended_is_not_renewed(self, leases: Leases, hands: Hands) -> None:
        lease = await leases.claim("desk", "ann", 1000)
        hands.ms = 1000
        assert (await raised(LeaseLost, leases.renew(lease, 1000))).lease == lease

    @_promise
    async def test_who_comes_too_late_does_not_touch_the_lease_of_the_next(self, leases: Leases, hands: Hands) -> None:
        late = await leases.claim("desk", "ann", 1000)
        hands.ms = 1000
        lease = await leases.claim("desk", "bob", 1000)
        await raised(LeaseLost, leases.release(late))
        await raised(LeaseLost, leases.renew(late, 1000))
        assert await leases.active() == (lease,)

    @_promise
    async def test_releasing_twice_is_releasing_once(self, leases: Leases, hands: Hands) -> None:
        lease = await leases.claim("desk", "ann", 1000)
        await leases.release(lease)
        hands.ms = 10
        await leases.release(lease)
        assert (await leases.claim("desk", "bob", 1000)).claimed_at == START + 10

    @_promise
    async def test_a_lease_that_nobody_has_recorded_is_lost(self, leases: Leases, hands: Hands) -> None:
        stranger = Lease("desk", "ann", START, START + 1000)
        await raised(LeaseLost, leases.release(stranger))
        await raised(LeaseLost, leases.renew(stranger, 1000))

    @_promise
    async def test_what_makes_no_sense_is_refused_and_leaves_nothing(self, leases: Leases, hands: Hands) -> None:
        for slot, owner, ttl_ms in (("", "ann", 1), ("desk", " ", 1), ("desk\n", "ann", 1), ("desk", "ann", 0)):
            await raised(MisuseError, leases.claim(slot, owner, ttl_ms))
        assert await slots(leases) == []

    @_promise
    async def test_td003_leases_are_forgotten_a_day_after_their_end(self, leases: Leases, hands: Hands) -> None:
        await leases.claim("held", "ann", 100 * HOUR_MS)
        await leases.release(await leases.claim("old", "ann", 1000))
        hands.ms = 2 * HOUR_MS
        await leases.release(await leases.claim("young", "ann", 1000))
        hands.ms = 25 * HOUR_MS
        assert await leases.prune() == 1
        assert await leases.prune() == 0
        assert await slots(leases) == ["held"]

    @_promise
    async def test_s005_what_is_held_is_not_forgotten_however_old_it_is(self, leases: Leases, hands: Hands) -> None:
        lease = await leases.claim("held", "ann", 100 * HOUR_MS)
        hands.ms = 48 * HOUR_MS
        assert await leases.prune() == 0
        assert await leases.active() == (lease,)

    @_promise
    async def test_td003_at_most_so_many_are_remembered_and_the_held_ones(self, leases: Leases, hands: Hands) -> None:
        early = await leases.claim("early", "ann", HOUR_MS)
        made = []
        for number in range(3 * self.retention.cap):
            hands.ms += 1
            made.append(await leases.claim(f"slot-{number}", "ann", HOUR_MS))
            await leases.release(made[-1])
        assert await leases.active() == (early,)
        assert await leases.prune() == 0
        await raised(LeaseLost, leases.release(made[0]))  # forgotten, to the first
        await leases.release(made[-1])  # remembered, to the last

    @_promise
    async def test_td003_more_may_be_held_than_are_remembered(self, leases: Leases, hands: Hands) -> None:
        names = [f"slot-{number:02}" for number in range(2 * self.retention.cap)]
        held = [await leases.claim(name, "ann", HOUR_MS) for name in names]
        assert await slots(leases) == names
        await leases.release(held[0])
        await raised(LeaseLost, leases.release(held[0]))  # it was one too many, and is forgotten at once
        assert await slots(leases) == names[1:]

    @_promise
    async def test_every_name_comes_back_to_the_letter(self, leases: Leases, hands: Hands) -> None:
        slot, owner = "žluť 漢字 🏡 ' \" \\u0041 %_*", "o'connor; --"
        assert await leases.active() == ()
        lease = await leases.claim(slot, owner, 1000)
        assert await leases.active(slot[:9]) == (lease,)
        assert (lease.slot, lease.owner) == (slot, owner)


class DurableLeasesConformance(LeasesConformance):
    """The promises of a store that lasts: ``make_leases``, called again with the same folder, opens the same one."""

    def test_pr003_a_claim_is_there_when_the_store_is_opened_again(self, tmp_path: Path) -> None:
        async def claim() -> Lease:
            leases = self.make_leases(tmp_path, self.retention, Hands())
            lease = await leases.claim("desk", "ann", 1000)
            await leases.close()
            return lease

        async def look() -> None:
            leases = self.make_leases(tmp_path, self.retention, Hands())
            assert await leases.active() == (lease,)
            assert (await raised(LeaseHeld, leases.claim("desk", "bob", 1000))).lease == lease
            await leases.release(lease)
            await leases.close()

        lease = anyio.run(claim)
        anyio.run(look)

    def test_two_open_stores_see_what_the_other_claims(self, tmp_path: Path) -> None:
        async def run() -> None:
            one, other = (self.make_leases(tmp_path, self.retention, Hands()) for _ in range(2))
            lease = await one.claim("desk", "ann", 1000)
            assert (await raised(LeaseHeld, other.claim("desk", "bob", 1000))).lease == lease
            await other.release(lease)
            assert await slots(one) == []
            await one.close()
            await other.close()

        anyio.run(run)
