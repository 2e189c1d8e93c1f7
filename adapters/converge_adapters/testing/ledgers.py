"""What every ledger must do. A store of a third party proves itself with a few lines:

    from converge_adapters.testing.ledgers import DurableLedgerConformance

    class TestMyLedger(DurableLedgerConformance):
        def make_ledger(self, tmp_path):
            return MyLedger(tmp_path / "ledger")

Each test opens a ledger, checks one promise of the port `converge_core.ports.Ledger`, and closes it. For values in the
messages, put ``pytest.register_assert_rewrite("converge_adapters.testing.ledgers")`` into ``conftest.py``.
"""

# ruff: noqa: S101 (these are tests, if on their way to others)

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import anyio

from converge_core.errors import LedgerConflict, MisuseError, UnknownRun
from converge_core.ledger.canonical import JsonValue, canonical
from converge_core.ledger.events import Entry
from converge_core.ledger.merkle import EMPTY_ROOT, Head, MerkleLog, leaf_hash
from converge_core.ports import Ledger

E = TypeVar("E", bound=Exception)
_Promise = Callable[["LedgerConformance", Ledger], Awaitable[None]]


def note(content: JsonValue) -> Entry:
    """Return an entry with any content, for tests of stores, which look into no body."""
    body = canonical({"content": content, "kind": "note"})
    return Entry("note", body, leaf_hash(body.encode()))


def notes(start: int, stop: int) -> list[Entry]:
    """Return the entries that are numbered from ``start`` up to ``stop``."""
    return [note(number) for number in range(start, stop)]


def head_of(entries: Sequence[Entry]) -> Head:
    """Return the head of the log of these entries."""
    return MerkleLog(entry.leaf for entry in entries).head


async def raised(expected: type[E], attempt: Awaitable[object]) -> E:
    """Return the error that an attempt raises. Fails when it raises none; another one passes through."""
    try:
        await attempt
    except expected as error:
        return error
    raise AssertionError(f"{expected.__name__} was not raised")


def _promise(check: _Promise) -> Callable[[LedgerConformance, Path], None]:
    """Make a test that pytest can call of a check on an open ledger."""

    def test(self: LedgerConformance, tmp_path: Path) -> None:
        async def run() -> None:
            ledger = self.make_ledger(tmp_path)
            try:
                await check(self, ledger)
            finally:
                await ledger.close()

        anyio.run(run)

    test.__doc__ = check.__doc__
    return test


class LedgerConformance:
    """The promises of the port, for any store."""

    def make_ledger(self, tmp_path: Path) -> Ledger:
        """Open the ledger to be tested; ``tmp_path`` is a folder of its own for each test. Called on an event loop."""
        raise NotImplementedError

    @_promise
    async def test_entries_come_back_as_they_were_appended(self, ledger: Ledger) -> None:
        await ledger.create_run("run")
        await ledger.append("run", 0, notes(0, 2))
        await ledger.append("run", 2, notes(2, 3))
        stored = await ledger.read("run")
        assert [entry.sequence for entry in stored] == [0, 1, 2]
        assert [Entry(entry.kind, entry.body, entry.leaf) for entry in stored] == notes(0, 3)

    @_promise
    async def test_reading_starts_where_it_is_told_to(self, ledger: Ledger) -> None:
        await ledger.create_run("run")
        await ledger.append("run", 0, notes(0, 5))
        assert [entry.sequence for entry in await ledger.read("run", 3)] == [3, 4]
        assert list(await ledger.read("run", 5)) == []

    @_promise
    async def test_the_last_entry_of_an_append_holds_the_root_and_no_other(self, ledger: Ledger) -> None:
        await ledger.create_run("run")
        first = await ledger.append("run", 0, notes(0, 2))
        second = await ledger.append("run", 2, notes(2, 5))
        roots = [entry.root for entry in await ledger.read("run")]
        assert roots == [None, first.root, None, None, second.root]

    @_promise
    async def test_the_entries_of_an_append_are_of_one_moment(self, ledger: Ledger) -> None:
        await ledger.create_run("run")
        await ledger.append("run", 0, notes(0, 3))
        assert len({entry.recorded_at for entry in await ledger.read("run")}) == 1

    @_promise
    async def test_a_new_run_is_empty(self, ledger: Ledger) -> None:
        await ledger.create_run("run")
        assert list(await ledger.read("run")) == []
        assert await ledger.head("run") == Head(0, EMPTY_ROOT)

    @_promise
    async def test_a_run_cannot_be_created_twice(self, ledger: Ledger) -> None:
        await ledger.create_run("run")
        await ledger.append("run", 0, notes(0, 2))
        conflict = await raised(LedgerConflict, ledger.create_run("run"))
        assert (conflict.run_id, conflict.found_size) == ("run", 2)
        assert (await ledger.head("run")).size == 2

    @_promise
    async def test_who_appends_at_a_place_that_is_taken_meets_the_fence(self, ledger: Ledger) -> None:
        await ledger.create_run("run")
        await ledger.append("run", 0, notes(0, 3))
        for expected_size in (0, 2, 4):
            conflict = await raised(LedgerConflict, ledger.append("run", expected_size, notes(7, 9)))
            assert (conflict.run_id, conflict.expected_size, conflict.found_size) == ("run", expected_size, 3)
        assert await ledger.head("run") == head_of(notes(0, 3))
        assert len(await ledger.read("run")) == 3

    @_promise
    async def test_who_lost_at_the_fence_appends_after_a_reload(self, ledger: Ledger) -> None:
        await ledger.create_run("run")
        await ledger.append("run", 0, notes(0, 3))
        conflict = await raised(LedgerConflict, ledger.append("run", 0, notes(3, 4)))
        assert await ledger.append("run", conflict.found_size, notes(3, 4)) == head_of(notes(0, 4))

    @_promise
    async def test_appending_nothing_checks_the_fence_and_changes_nothing(self, ledger: Ledger) -> None:
        await ledger.create_run("run")
        head = await ledger.append("run", 0, notes(0, 3))
        assert await ledger.append("run", 3, []) == head
        await raised(LedgerConflict, ledger.append("run", 2, []))
        assert len(await ledger.read("run")) == 3

    @_promise
    async def test_an_append_is_whole_or_not_at_all(self, ledger: Ledger) -> None:
        await ledger.create_run("run")
        await ledger.append("run", 0, notes(0, 1))
        broken = Entry("note", "{}", b"not a hash of 32 bytes")
        await raised(MisuseError, ledger.append("run", 1, [*notes(1, 3), broken]))
        assert await ledger.head("run") == head_of(notes(0, 1))
        assert await ledger.append("run", 1, notes(1, 3)) == head_of(notes(0, 3))

    @_promise
    async def test_every_head_is_that_of_the_merkle_log(self, ledger: Ledger) -> None:
        await ledger.create_run("run")
        size = 0
        for more in (1, 1, 2, 3, 5, 8):
            assert await ledger.append("run", size, notes(size, size + more)) == head_of(notes(0, size + more))
            size += more
            assert await ledger.head("run") == head_of(notes(0, size))

    @_promise
    async def test_a_run_that_does_not_exist_is_named(self, ledger: Ledger) -> None:
        await ledger.create_run("run")
        for attempt in (
            ledger.append("nobody", 0, notes(0, 1)),
            ledger.append("nobody", 0, []),
            ledger.read("nobody"),
            ledger.head("nobody"),
            ledger.record_effect("nobody", 1, "ask", "{}"),
            ledger.recorded_effects("nobody", 1),
        ):
            assert (await raised(UnknownRun, attempt)).run_id == "nobody"
        assert [info.run_id for info in await ledger.runs()] == ["run"]

    @_promise
    async def test_runs_do_not_mix(self, ledger: Ledger) -> None:
        for run_id in ("a", "b"):
            await ledger.create_run(run_id)
        await ledger.append("a", 0, notes(0, 3))
        await ledger.append("b", 0, notes(5, 7))
        await ledger.append("a", 3, notes(3, 4))
        assert await ledger.head("a") == head_of(notes(0, 4))
        assert await ledger.head("b") == head_of(notes(5, 7))

    @_promise
    async def test_runs_are_told_of_with_size_and_ends(self, ledger: Ledger) -> None:
        for run_id in ("long", "short", "empty"):
            await ledger.create_run(run_id)
        await ledger.append("long", 0, notes(0, 3))
        await ledger.append("short", 0, notes(9, 10))
        infos = {info.run_id: info for info in await ledger.runs()}
        for run_id, size in {"long": 3, "short": 1, "empty": 0}.items():
            stored = await ledger.read(run_id)
            info = infos.pop(run_id)
            assert info.size == size
            assert info.first == (stored[0] if stored else None)
            assert info.last == (stored[-1] if stored else None)
            assert info.updated_at == (stored[-1].recorded_at if stored else info.created_at)
        assert not infos

    @_promise
    async def test_runs_are_listed_oldest_first(self, ledger: Ledger) -> None:
        for run_id in ("c", "a", "b"):
            await ledger.create_run(run_id)
        await ledger.append("c", 0, notes(0, 1))
        created = [info.created_at for info in await ledger.runs()]
        assert len(created) == 3
        assert created == sorted(created)

    @_promise
    async def test_the_journal_gives_back_what_was_recorded_in_a_cycle(self, ledger: Ledger) -> None:
        for run_id in ("run", "other"):
            await ledger.create_run(run_id)
        await ledger.record_effect("run", 1, "ask", '{"says":1}')
        await ledger.record_effect("run", 2, "ask", '{"says":2}')
        await ledger.record_effect("run", 2, "look-up", '{"says":3}')
        await ledger.record_effect("other", 2, "ask", '{"says":4}')
        assert dict(await ledger.recorded_effects("run", 1)) == {"ask": '{"says":1}'}
        assert dict(await ledger.recorded_effects("run", 2)) == {"ask": '{"says":2}', "look-up": '{"says":3}'}
        assert dict(await ledger.recorded_effects("run", 3)) == {}

    @_promise
    async def test_the_first_outcome_of_a_call_stays_in_the_journal(self, ledger: Ledger) -> None:
        await ledger.create_run("run")
        await ledger.record_effect("run", 1, "ask", '{"says":1}')
        await ledger.record_effect("run", 1, "ask", '{"says":2}')
        assert dict(await ledger.recorded_effects("run", 1)) == {"ask": '{"says":1}'}

    @_promise
    async def test_the_journal_is_no_part_of_the_log(self, ledger: Ledger) -> None:
        await ledger.create_run("run")
        await ledger.record_effect("run", 1, "ask", "{}")
        assert await ledger.append("run", 0, notes(0, 1)) == head_of(notes(0, 1))

    @_promise
    async def test_every_text_comes_back_to_the_letter(self, ledger: Ledger) -> None:
        text = "žluť 漢字 🏡 e\u0301 \u2028 \x00 \x7f \\u0041 ' \" \ufeff"
        await ledger.create_run(text)
        await ledger.append(text, 0, [note(text)])
        await ledger.record_effect(text, 1, text, note(text).body)
        assert [entry.body for entry in await ledger.read(text)] == [note(text).body]
        assert dict(await ledger.recorded_effects(text, 1)) == {text: note(text).body}
        assert [info.run_id for info in await ledger.runs()] == [text]

    @_promise
    async def test_many_entries_and_a_long_one_are_no_matter(self, ledger: Ledger) -> None:
        entries = [*notes(0, 5_000), note("long " * 200_000)]
        await ledger.create_run("run")
        assert await ledger.append("run", 0, entries) == head_of(entries)
        assert [entry.body for entry in await ledger.read("run")] == [entry.body for entry in entries]


class DurableLedgerConformance(LedgerConformance):
    """The promises of a store that lasts: ``make_ledger``, called again with the same folder, opens the same ledger."""

    def test_what_was_appended_is_there_when_the_ledger_is_opened_again(self, tmp_path: Path) -> None:
        async def write() -> None:
            ledger = self.make_ledger(tmp_path)
            await ledger.create_run("run")
            await ledger.append("run", 0, notes(0, 3))
            await ledger.record_effect("run", 1, "ask", "{}")
            await ledger.close()

        async def read() -> None:
            ledger = self.make_ledger(tmp_path)
            assert [entry.body for entry in await ledger.read("run")] == [entry.body for entry in notes(0, 3)]
            assert dict(await ledger.recorded_effects("run", 1)) == {"ask": "{}"}
            assert await ledger.append("run", 3, notes(3, 5)) == head_of(notes(0, 5))
            await ledger.close()

        anyio.run(write)
        anyio.run(read)

    def test_an_append_of_nothing_is_refused_too_where_another_ledger_has_appended(self, tmp_path: Path) -> None:
        async def run() -> None:
            one, other = self.make_ledger(tmp_path), self.make_ledger(tmp_path)
            await one.create_run("run")
            await one.append("run", 0, notes(0, 2))
            await other.append("run", 2, notes(2, 3))
            await raised(LedgerConflict, one.append("run", 2, []))
            assert await one.append("run", 3, []) == head_of(notes(0, 3))
            await one.close()
            await other.close()

        anyio.run(run)

    def test_two_open_ledgers_see_what_the_other_appends(self, tmp_path: Path) -> None:
        async def run() -> None:
            one, other = self.make_ledger(tmp_path), self.make_ledger(tmp_path)
            await one.create_run("run")
            await one.append("run", 0, notes(0, 2))
            await other.append("run", 2, notes(2, 3))
            conflict = await raised(LedgerConflict, one.append("run", 2, notes(2, 3)))
            assert (conflict.expected_size, conflict.found_size) == (2, 3)
            assert await one.append("run", 3, notes(3, 4)) == head_of(notes(0, 4)) == await other.head("run")
            await other.append("run", 4, notes(4, 6))
            assert await one.append("run", 6, notes(6, 7)) == head_of(notes(0, 7)) == await other.head("run")
            await one.close()
            await other.close()

        anyio.run(run)
