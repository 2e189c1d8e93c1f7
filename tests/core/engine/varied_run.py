"""Runs that use everything whose order might vary, under two event loops; prints one line each.

Started by `test_determinism` in processes that differ in their hash seeds.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import AsyncIterator, Iterable

import trio

from converge_core import (
    Context,
    ContextState,
    ConvergeResult,
    Engine,
    FactPayload,
    HitlPolicy,
    ProposedFact,
    RootIntent,
    suggestor,
)
from tests.core.scenarios import SCRIPTS, Invoice
from tests.core.stage import HYPOTHESES, SEEDS, SIGNALS, approve, bodies, data, text
from tests.fakes.approver import FakeApprover
from tests.fakes.observer import FakeObserver


def engine() -> Engine:
    made = Engine(hitl_policy=HitlPolicy(0.5))
    made.set_active_packs({"zeta", "alpha", "mid"})

    @suggestor(reads=[SEEDS, Invoice, (SEEDS, Invoice)], writes=[SIGNALS, HYPOTHESES])
    async def reads_sets(ctx: Context) -> AsyncIterator[ProposedFact[FactPayload]]:
        for fact in ctx.fresh(SEEDS):
            yield text(f"{fact.id}!", key=SIGNALS, evidence=[fact])

    @suggestor(reads=SIGNALS, optional=True)
    def unsure(ctx: Context) -> Iterable[ProposedFact[FactPayload]]:
        yield data("keys", HYPOTHESES, **{name: {"b": 1, "a": 2} for name in "zyxw"})
        yield text("low", key=HYPOTHESES, confidence=0.25)
        raise ValueError("after all")

    @suggestor(reads=SIGNALS)
    async def gated(ctx: Context) -> ProposedFact[FactPayload]:
        return text("low", key=HYPOTHESES, confidence=0.25)

    for rule, pack in ((reads_sets, "zeta"), (unsure, "alpha"), (gated, "mid")):
        made.register_suggestor(rule, pack=pack)
    return made


def context() -> ContextState:
    start = ContextState()
    for name in ("b", "a", "é", "🙂"):
        start.add_input(SEEDS, name, name * 3)
    return start.add_proposal(ProposedFact(SEEDS, "i", Invoice(cents=7)))


async def run(observer: FakeObserver) -> ConvergeResult:
    approver = FakeApprover({"hypotheses/low": approve()})
    intent = RootIntent("i", active_packs=("zeta", "mid", "alpha"))
    return await engine().run(context(), intent, approver=approver, observers=[observer])


def digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def main() -> None:
    for loop in (asyncio.run, lambda main: trio.run(lambda: main)):
        observer = FakeObserver()
        result = loop(run(observer))
        assert result.converged, result.stop_reason
        sys.stdout.write(f"{result.integrity.merkle_root} {digest(bodies(observer.entries))}\n")
    everything = (body for script in SCRIPTS.values() for append in script.play() for body in bodies(append))
    sys.stdout.write(f"{digest(everything)}\n")


if __name__ == "__main__":
    main()
