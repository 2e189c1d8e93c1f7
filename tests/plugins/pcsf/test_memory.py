"""The store of one process keeps the promises of its port."""

from __future__ import annotations

from pathlib import Path

from converge_adapters.testing.capacity import CapacityStoreConformance
from converge_core.llm.capacity import CapacityStore
from converge_core.llm.errors import CallOutcome
from converge_plugins.pcsf.memory import MemoryCapacityStore


class TestMemoryCapacityStore(CapacityStoreConformance):
    def make_store(self, tmp_path: Path) -> CapacityStore:
        return MemoryCapacityStore()


def test_what_was_read_does_not_change_with_what_comes_after() -> None:
    store = MemoryCapacityStore()
    before = store.read()
    store.update("a", lambda state: (state.reported(CallOutcome.SUCCESS, 1, 1), None))
    assert (dict(before), set(store.read())) == ({}, {"a"})
