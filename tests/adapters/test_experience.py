"""Experience out of a ledger: the port's promises, time as instants, and what is never read."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_adapters.experience import LedgerExperience, instant
from converge_adapters.ledgers.memory import MemoryLedger
from converge_adapters.testing.experience import ExperienceStoreConformance
from converge_adapters.testing.ledgers import raised
from converge_adapters.testing.runs import NOON, minute_ledger, remember
from converge_core import LedgerCorrupt, StoredEntry
from converge_core.experience.query import ALL_TENANTS, ExperienceQuery, TimeRange
from converge_core.ports import Ledger

OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.datetimes(datetime(1900, 1, 2), datetime(2200, 1, 1), timezones=OFFSETS)  # st.datetimes adds it


class TestLedgerExperience(ExperienceStoreConformance):
    async def make_store(self, tmp_path: Path, ledger: Ledger) -> LedgerExperience:
        return LedgerExperience(ledger)


class Reads(MemoryLedger):
    """Remembers which runs were read, and may have been dated by somebody else."""

    def __init__(self, recorded_at: str | None = None) -> None:
        super().__init__()
        self.reads: list[str] = []
        self.recorded_at = recorded_at

    async def read(self, run_id: str, start: int = 0) -> Sequence[StoredEntry]:
        self.reads.append(run_id)
        stored = await super().read(run_id, start)
        return [entry._replace(recorded_at=self.recorded_at or entry.recorded_at) for entry in stored]


# --- time -------------------------------------------------------------------------------------------------------------


@given(MOMENTS)
def test_a_moment_is_the_same_in_every_time_zone(moment: datetime) -> None:
    assert instant(moment.isoformat()) == instant(moment.astimezone(UTC).isoformat())


@given(MOMENTS, MOMENTS)
def test_moments_are_compared_as_instants_and_not_as_text(one: datetime, other: datetime) -> None:
    assert (instant(one.isoformat()) < instant(other.isoformat())) == (one < other)


def test_moments_are_counted_in_microseconds() -> None:
    assert instant("1970-01-01T00:00:01.000002+00:00") == 1_000_002
    assert instant("1969-12-31T23:59:59Z") == -1_000_000


@pytest.mark.parametrize("text", ["2026-10-31T12:00:00", "yesterday", ""])
def test_what_names_no_instant_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        instant(text)


def test_a_query_in_another_time_zone_finds_the_same_records() -> None:
    async def run() -> tuple[int, int]:
        ledger = minute_ledger()
        await remember(ledger, "run", "words")
        noon = instant(NOON.astimezone(timezone(timedelta(hours=5))).isoformat())
        store = LedgerExperience(ledger)
        after = await store.query(ExperienceQuery(time=TimeRange(start=noon)))
        before = await store.query(ExperienceQuery(time=TimeRange(end=noon - 1)))
        return len(after), len(before)

    after, before = anyio.run(run)
    assert after > 0
    assert before == 0


def test_a_record_that_is_not_dated_is_found_with_its_place() -> None:
    async def run() -> None:
        ledger = Reads("soon")
        await remember(ledger, "run", "words")
        error = await raised(LedgerCorrupt, LedgerExperience(ledger).query(ExperienceQuery()))
        assert (error.run_id, error.sequence) == ("run", 0)
        assert "the time when it was recorded" in str(error)

    anyio.run(run)


# --- what is read -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "read"),
    [
        (ExperienceQuery(tenant="acme"), ["ours"]),
        (ExperienceQuery(), ["free"]),
        (ExperienceQuery(run="theirs", tenant="acme"), []),
        (ExperienceQuery(tenant=ALL_TENANTS), ["ours", "theirs", "free"]),
    ],
)
def test_the_runs_of_others_are_never_read(query: ExperienceQuery, read: list[str]) -> None:
    async def run() -> list[str]:
        ledger = Reads()
        for run_id, tenant in (("ours", "acme"), ("theirs", "other"), ("free", None)):
            await remember(ledger, run_id, "words", labels=None if tenant is None else {"tenant": tenant})
        ledger.reads.clear()
        await LedgerExperience(ledger).query(query)
        return ledger.reads

    assert sorted(anyio.run(run)) == sorted(read)


def test_a_run_that_was_created_and_never_begun_tells_nothing() -> None:
    async def run() -> None:
        ledger = MemoryLedger()
        await ledger.create_run("empty")
        assert await LedgerExperience(ledger).query(ExperienceQuery()) == ()

    anyio.run(run)


def test_of_one_moment_the_records_are_told_run_by_run_in_their_order() -> None:
    async def run() -> list[str]:
        ledger = Reads("2026-10-31T12:00:00Z")
        for run_id in ("one", "two"):
            await remember(ledger, run_id, "words")
        return [one.id for one in await LedgerExperience(ledger).query(ExperienceQuery())]

    ids = anyio.run(run)
    half = len(ids) // 2
    assert ids == [f"{run_id}/{place}" for run_id in ("one", "two") for place in range(half)]
