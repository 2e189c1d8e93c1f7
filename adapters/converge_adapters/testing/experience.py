"""What every experience store must do. One of a third party proves itself with a few lines:

    from converge_adapters.testing.experience import ExperienceStoreConformance

    class TestMyExperience(ExperienceStoreConformance):
        async def make_store(self, tmp_path, ledger):
            return MyExperience(ledger)

Each test records some runs, asks for what happened in them, and checks one promise of the port
`converge_core.ports.ExperienceStore`.
"""

# ruff: noqa: S101 (these are tests, if on their way to others)

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from converge_adapters.testing.ledgers import raised
from converge_adapters.testing.runs import minute_ledger, on_a_loop, remember
from converge_core.errors import UnknownRun
from converge_core.experience.query import ALL_TENANTS, ExperienceQuery, TimeRange
from converge_core.experience.records import ExperienceRecord
from converge_core.ledger.events import FactPromoted, RunStarted, RunStopped
from converge_core.ports import ExperienceStore, Ledger

_ACME, _OTHER = {"tenant": "acme"}, {"tenant": "other"}
_ENDS = (RunStarted.kind, RunStopped.kind)


class ExperienceStoreConformance:
    """The promises of the port, for any store."""

    async def make_store(self, tmp_path: Path, ledger: Ledger) -> ExperienceStore:
        """Return the store to be tested, over the runs of a ledger."""
        raise NotImplementedError

    @on_a_loop
    async def test_every_entry_of_a_run_is_a_record(self, tmp_path: Path) -> None:
        ledger = minute_ledger()
        await remember(ledger, "run", "words")
        records = await self._ask(tmp_path, ledger, ExperienceQuery(run="run"))
        stored = await ledger.read("run")
        assert [(one.run_id, one.sequence, one.entry) for one in records] == [
            ("run", entry.sequence, entry.kind) for entry in stored
        ]
        assert [one.recorded_at for one in records] == [entry.recorded_at for entry in stored]

    @on_a_loop
    async def test_records_are_told_oldest_first_whatever_their_run(self, tmp_path: Path) -> None:
        ledger = minute_ledger()
        for run_id in ("b", "a", "c"):
            await remember(ledger, run_id, run_id)
        records = await self._ask(tmp_path, ledger, ExperienceQuery())
        assert [one.run_id for one in records if one.kind == RunStopped.kind] == ["b", "a", "c"]
        assert [one.recorded_at for one in records] == sorted(one.recorded_at for one in records)

    @on_a_loop
    async def test_no_two_records_share_an_id(self, tmp_path: Path) -> None:
        ledger = minute_ledger()
        for run_id in ("one", "two"):
            await remember(ledger, run_id, "the same")
        records = await self._ask(tmp_path, ledger, ExperienceQuery())
        assert len({one.id for one in records}) == len(records) > 2

    @on_a_loop
    async def test_a_limit_leaves_the_newest_oldest_of_them_first(self, tmp_path: Path) -> None:
        ledger = minute_ledger()
        for run_id in ("one", "two"):
            await remember(ledger, run_id, "words")
        everything = await self._ask(tmp_path, ledger, ExperienceQuery())
        for limit in (1, 3, len(everything), len(everything) + 1):
            assert await self._ask(tmp_path, ledger, ExperienceQuery(limit=limit)) == everything[-limit:]

    @on_a_loop
    async def test_a_limit_counts_what_was_asked_for(self, tmp_path: Path) -> None:
        ledger = minute_ledger()
        for run_id in ("one", "two"):
            await remember(ledger, run_id, "words")
        records = await self._ask(tmp_path, ledger, ExperienceQuery(kinds=(RunStarted.kind,), limit=2))
        assert [(one.run_id, one.kind) for one in records] == [("one", RunStarted.kind), ("two", RunStarted.kind)]

    @on_a_loop
    async def test_records_are_of_any_of_the_kinds(self, tmp_path: Path) -> None:
        ledger = minute_ledger()
        await remember(ledger, "run", "words")
        assert [one.kind for one in await self._ask(tmp_path, ledger, ExperienceQuery(kinds=_ENDS))] == [*_ENDS]

    @on_a_loop
    async def test_a_kind_that_did_not_happen_finds_nothing(self, tmp_path: Path) -> None:
        ledger = minute_ledger()
        await remember(ledger, "run", "words")
        assert not await self._ask(tmp_path, ledger, ExperienceQuery(kinds=("user_correction",)))

    @on_a_loop
    async def test_a_record_says_what_it_is_about(self, tmp_path: Path) -> None:
        ledger = minute_ledger()
        await remember(ledger, "run", "words")
        [one] = await self._ask(tmp_path, ledger, ExperienceQuery(kinds=(FactPromoted.kind,)))
        assert one.subject == "seeds/s1"
        assert one.content is not None
        assert one.content["body"] == {"text": "words"}

    @on_a_loop
    async def test_a_run_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        ledger = minute_ledger()
        await remember(ledger, "run", "words")
        store = await self.make_store(tmp_path, ledger)
        assert (await raised(UnknownRun, store.query(ExperienceQuery(run="nobody")))).run_id == "nobody"

    @on_a_loop
    async def test_runs_are_found_by_their_correlation(self, tmp_path: Path) -> None:
        ledger = minute_ledger()
        for run_id, order in (("one", "7"), ("two", "8"), ("three", "7")):
            await remember(ledger, run_id, "words", labels={"correlation": order})
        await remember(ledger, "four", "words")
        query = ExperienceQuery(kinds=(RunStopped.kind,), correlation="7")
        assert [one.run_id for one in await self._ask(tmp_path, ledger, query)] == ["one", "three"]

    @on_a_loop
    async def test_tenants_are_kept_apart(self, tmp_path: Path) -> None:
        ledger = minute_ledger()
        for run_id, labels in (("ours", _ACME), ("theirs", _OTHER), ("free", None)):
            await remember(ledger, run_id, "words", labels=labels)
        for tenant, run_ids in (("acme", ["ours"]), ("other", ["theirs"]), (None, ["free"]), ("nobody", [])):
            query = ExperienceQuery(kinds=(RunStopped.kind,), tenant=tenant)
            assert [one.run_id for one in await self._ask(tmp_path, ledger, query)] == run_ids

    @on_a_loop
    async def test_the_run_of_a_tenant_is_not_told_of_by_its_name_either(self, tmp_path: Path) -> None:
        ledger = minute_ledger()
        await remember(ledger, "theirs", "words", labels=_OTHER)
        for tenant in ("acme", None):
            assert not await self._ask(tmp_path, ledger, ExperienceQuery(run="theirs", tenant=tenant))

    @on_a_loop
    async def test_who_asks_for_all_tenants_sees_every_run(self, tmp_path: Path) -> None:
        ledger = minute_ledger()
        for run_id, labels in (("ours", _ACME), ("theirs", _OTHER), ("free", None)):
            await remember(ledger, run_id, "words", labels=labels)
        query = ExperienceQuery(kinds=(RunStopped.kind,), tenant=ALL_TENANTS)
        records = await self._ask(tmp_path, ledger, query)
        assert [(one.run_id, one.tenant) for one in records] == [("ours", "acme"), ("theirs", "other"), ("free", None)]

    @on_a_loop
    async def test_a_time_range_includes_both_its_ends(self, tmp_path: Path) -> None:
        ledger = minute_ledger()
        for run_id in ("one", "two", "three"):
            await remember(ledger, run_id, "words")
        everything = await self._ask(tmp_path, ledger, ExperienceQuery())
        moments = sorted({_instant(one) for one in everything})
        for start in (None, moments[1], moments[-1]):
            for end in (None, moments[-1]):
                found = await self._ask(tmp_path, ledger, ExperienceQuery(time=TimeRange(start, end)))
                expected = [one for one in everything if _instant(one) in TimeRange(start, end)]
                assert list(found) == expected
                assert expected

    @on_a_loop
    async def test_all_conditions_must_hold_at_once(self, tmp_path: Path) -> None:
        ledger = minute_ledger()
        for run_id, labels in (("one", {**_ACME, "correlation": "7"}), ("two", {"correlation": "7"}), ("three", _ACME)):
            await remember(ledger, run_id, "words", labels=labels)
        query = ExperienceQuery((RunStopped.kind,), correlation="7", tenant="acme")
        assert [one.run_id for one in await self._ask(tmp_path, ledger, query)] == ["one"]

    @on_a_loop
    async def test_asking_changes_nothing(self, tmp_path: Path) -> None:
        ledger = minute_ledger()
        head = await remember(ledger, "run", "words")
        first = await self._ask(tmp_path, ledger, ExperienceQuery())
        assert await self._ask(tmp_path, ledger, ExperienceQuery()) == first
        assert await ledger.head("run") == head

    async def _ask(self, tmp_path: Path, ledger: Ledger, query: ExperienceQuery) -> Sequence[ExperienceRecord]:
        return await (await self.make_store(tmp_path, ledger)).query(query)


def _instant(record: ExperienceRecord) -> int:
    """Return the moment of a record in microseconds since 1970, as a time range counts."""
    return (datetime.fromisoformat(record.recorded_at) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
