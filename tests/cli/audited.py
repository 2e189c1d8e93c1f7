"""A ledger with a run to be audited, and the command line beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from click.testing import CliRunner, Result

from converge_adapters.ledgers.sqlite import SqliteLedger
from converge_cli.main import main
from converge_core import ContextKey, ContextState, Engine, Entry, Head, Ledger, MerkleLog
from converge_core.suggestors import ReactOnceSuggestor
from tests.fakes.observer import FakeObserver

RUN = "audited"
FACT = "hypotheses/hyp-1"


def entries_of(texts: Sequence[str], run_id: str = RUN) -> list[Entry]:
    """Return the entries of a run that starts from these texts."""

    engine, context, observer = Engine(), ContextState(), FakeObserver()
    engine.register_suggestor(ReactOnceSuggestor("hyp-1", "derived insight"))
    for number, text in enumerate(texts):
        context.add_input(ContextKey.SEEDS, f"s-{number}", text)
    anyio.run(partial(engine.run, context, run_id=run_id, observers=[observer]))
    return observer.entries


ENTRIES = entries_of(["one", "two", "drei ≠ three"])
LEAVES = [entry.leaf for entry in ENTRIES]
HEAD = MerkleLog(LEAVES).head
OTHER_PAST = entries_of(["eins", "two", "drei ≠ three"])


def head_at(size: int) -> Head:
    """Return the head of the run when it had so many entries."""
    return MerkleLog(LEAVES[:size]).head


class Audited:
    """A ledger file in a folder, and `converge` with that ledger."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def holds(self, entries: Sequence[Entry], run_id: str = RUN, ledger: str = "ledger.db") -> None:
        """Let the ledger hold these entries of a run: append those that are not there yet."""

        async def grow(store: Ledger) -> None:
            if run_id not in [info.run_id for info in await store.runs()]:
                await store.create_run(run_id)
            size = (await store.head(run_id)).size
            await store.append(run_id, size, entries[size:])
            await store.close()

        anyio.run(grow, SqliteLedger(self.folder / ledger))

    def call(self, *args: object, ledger: str = "ledger.db") -> Result:
        """Call `converge`."""
        environment = {"CONVERGE_LEDGER": str(self.folder / ledger), "CONVERGE_PLUGINS": ""}
        return CliRunner().invoke(main, [str(arg) for arg in args], env=environment)

    def out(self, *args: object) -> str:
        """Call `converge`, which has to succeed, and return its stdout."""
        result = self.call(*args)
        assert result.exit_code == 0, result.output
        return result.stdout

    def json(self, *args: object) -> Any:
        """Call `converge`, which has to print one JSON object."""
        return json.loads(self.out(*args))

    def file(self, name: str, content: str | bytes) -> Path:
        """Keep something in a file."""
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def refused(self, *args: object, ledger: str = "ledger.db") -> str:
        """Call `converge`, which has to exit with 7 and one line on stderr, and return that line."""
        result = self.call(*args, ledger=ledger)
        assert (result.exit_code, result.stdout) == (7, ""), result.output
        [line] = result.stderr.splitlines()
        return line
