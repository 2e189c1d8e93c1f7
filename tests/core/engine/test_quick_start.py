from __future__ import annotations

import asyncio
from typing import Any

import pytest
import trio

from converge_core import ContextKey, ContextState, Engine
from converge_core.suggestors import ReactOnceSuggestor, SeedSuggestor
from tests.core.stage import finish


async def quick_start() -> str:
    engine = Engine()
    engine.register_suggestor(SeedSuggestor("seed-1", "initial data"))
    engine.register_suggestor(ReactOnceSuggestor("hyp-1", "derived insight"))
    result = await engine.run(ContextState())

    assert result.converged
    assert result.context.has(ContextKey.SEEDS)
    assert result.context.has(ContextKey.HYPOTHESES)
    return f"Converged in {result.cycles} cycles"


def test_the_quick_start_converges_in_three_cycles_without_an_event_loop() -> None:
    assert finish(quick_start()) == "Converged in 3 cycles"


@pytest.mark.parametrize("loop", [asyncio.run, lambda main: trio.run(lambda: main)], ids=["asyncio", "trio"])
def test_the_quick_start_runs_on_any_event_loop(loop: Any) -> None:
    assert loop(quick_start()) == "Converged in 3 cycles"


def test_the_derived_insight_cites_the_seed_that_woke_it() -> None:
    engine = Engine()
    engine.register_suggestor(SeedSuggestor("seed-1", "initial data"))
    engine.register_suggestor(ReactOnceSuggestor("hyp-1", "derived insight"))

    insight = finish(engine.run(ContextState())).context.get(ContextKey.HYPOTHESES)[0]

    assert insight.evidence == ("seeds/seed-1",)
