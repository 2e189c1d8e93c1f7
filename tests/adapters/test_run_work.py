"""What a whole run costs in the SQLite ledger: commits and statements are counted, and nothing is timed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import anyio
import pytest
from sqlite_utils import Database

from converge_adapters.ledgers.migrations import MIGRATIONS
from converge_adapters.ledgers.sqlite import SqliteLedger
from converge_core import AgentEffect, Budget, Context, ContextKey, ContextState, Engine, ProposedFact, Suggestor
from converge_core.context.payloads import TextPayload


class Talker(Suggestor):
    """Proposes so many facts in each of so many cycles, one cycle after the other."""

    name = "talker"

    def __init__(self, cycles: int, facts: int) -> None:
        self._cycles, self._facts = cycles, facts

    def accepts(self, ctx: Context) -> bool:
        return len(ctx.facts()) < self._cycles * self._facts

    def execute(self, ctx: Context) -> AgentEffect:
        known = len(ctx.facts())
        names = [f"f{known + number}" for number in range(self._facts)]
        return AgentEffect.with_proposals(
            [ProposedFact(ContextKey.SEEDS, name, TextPayload(text=name)) for name in names]
        )


def statements_of(path: Path, cycles: int, facts: int = 1, asleep: int = 0) -> Counter[str]:
    """Count the statements of a run by their first word, and its entries."""
    words: Counter[str] = Counter()

    async def run() -> None:
        ledger = SqliteLedger(path)
        ledger._connection.set_trace_callback(lambda statement: words.update([statement.split()[0]]))
        engine = Engine(budget=Budget(max_cycles=1_000, max_facts=10_000))
        engine.register_suggestor(Talker(cycles, facts))
        for number in range(asleep):
            sleeper = Talker(0, 0)
            sleeper.name = f"asleep{number}"
            sleeper.dependencies = (ContextKey.SIGNALS,)
            engine.register_suggestor(sleeper)
        result = await engine.run(ContextState(), ledger=ledger)
        assert result.converged
        assert len(result.context.facts()) == cycles * facts
        ledger._connection.set_trace_callback(None)
        words["entries"] = (await ledger.head("run")).size
        await ledger.close()

    anyio.run(run)
    return words


@pytest.mark.parametrize("cycles", [1, 10, 100])
def test_a_cycle_is_committed_once(cycles: int, tmp_path: Path) -> None:
    words = statements_of(tmp_path / "ledger.db", cycles)
    assert words["BEGIN"] == words["COMMIT"] == cycles + 2, "one to create the run, one for its end"


def test_a_commit_writes_hardly_more_than_the_page_where_the_run_ends(tmp_path: Path) -> None:
    """A page of the file costs a frame of the log, which is synced at each commit or when the ledger is closed."""

    def frames(cycles: int) -> int:
        path, written = tmp_path / f"{cycles}.db", 0

        async def run() -> None:
            nonlocal written
            ledger = SqliteLedger(path)
            engine = Engine(budget=Budget(max_cycles=1_000))
            engine.register_suggestor(Talker(cycles, 1))
            await engine.run(ContextState(), ledger=ledger)
            written = path.with_name(f"{path.name}-wal").stat().st_size // 4_096
            await ledger.close()

        anyio.run(run)
        return written

    assert frames(120) - frames(20) <= 170


@pytest.mark.parametrize("facts", [1, 10, 100])
def test_a_cycle_of_many_facts_is_committed_once(facts: int, tmp_path: Path) -> None:
    assert statements_of(tmp_path / "ledger.db", 5, facts)["COMMIT"] == 7


def test_a_cycle_needs_the_same_statements_however_long_the_run_is(tmp_path: Path) -> None:
    short, middle, long = (statements_of(tmp_path / f"{cycles}.db", cycles) for cycles in (10, 20, 120))
    for word in ("BEGIN", "SELECT", "INSERT", "COMMIT"):
        assert long[word] - middle[word] == 10 * (middle[word] - short[word])


def test_a_cycle_needs_no_statements_but_to_insert(tmp_path: Path) -> None:
    few, many = statements_of(tmp_path / "1.db", 10), statements_of(tmp_path / "10.db", 10, 10)
    assert set(many) == {"BEGIN", "SELECT", "INSERT", "COMMIT", "entries"}
    assert many["SELECT"] == few["SELECT"] == 3, "at the beginning: whether there is such a run, its size and its log"
    rows = many["entries"] + 1
    assert many["INSERT"] <= 2 * rows, (
        "a row for each entry and for the run; the trigger on a table repeats what fired it"
    )


def test_the_statements_of_a_run_do_not_depend_on_how_many_are_registered(tmp_path: Path) -> None:
    alone, among_many = (statements_of(tmp_path / f"{asleep}.db", 10, asleep=asleep) for asleep in (0, 500))
    assert alone == among_many


def test_the_tables_of_a_new_ledger_go_through_its_write_ahead_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a rollback journal, which a new file begins with, every ledger would cost more syncs when it is made."""
    modes: list[str] = []
    apply = MIGRATIONS.apply

    def noted(database: Database) -> None:
        modes.append(database.journal_mode)
        apply(database)

    monkeypatch.setattr(MIGRATIONS, "apply", noted)
    anyio.run(SqliteLedger(tmp_path / "ledger.db").close)
    assert modes == ["wal"]
