"""A cap on what may be spent, and many calls at once that all want it: a real engine, on both event loops."""

from __future__ import annotations

from dataclasses import dataclass, field

import anyio
import pytest

from converge_adapters.executors import AnyioExecutor
from converge_core import Budget, ContextState, ConvergeResult, Engine
from converge_core.llm.backend import BackendRequest, BackendResponse, Listener
from converge_core.llm.errors import BackendError, NetworkFailed, Unavailable
from tests.core.stage import SEEDS, engine_of, text
from tests.fakes.backend import FakeBackend, FakeCapacity, profile_of
from tests.plugins.llm.stage import models_of, suggestor_of

pytestmark = pytest.mark.anyio

CALLS, PAID_FOR = 50, 20
PROMPT, ANSWER = 10, 5
MOST = PROMPT + ANSWER
"""What a call sets aside: micro-dollars, at one a token."""


@dataclass
class Slow(FakeBackend):
    """Answers when all who may ask have asked, and knows how many were at it at once."""

    error: BackendError | None = None
    under_way: int = 0
    most_under_way: int = 0
    made: int = 0
    gate: anyio.Event = field(default_factory=anyio.Event)
    full: int = PAID_FOR

    async def complete(self, request: BackendRequest, listen: Listener | None = None) -> BackendResponse:
        self.made += 1
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        if self.under_way == self.full:
            self.gate.set()
        try:
            await self.gate.wait()
        finally:
            self.under_way -= 1
        if self.error is not None:
            raise self.error
        self.said.append("because")
        return await super().complete(request)


def engine(*backends: FakeBackend, cap: int) -> tuple[Engine, FakeCapacity]:
    capacity = FakeCapacity()
    models = models_of(*backends, capacity=capacity)
    asks = {"max_tokens": ANSWER, "retry": {"attempts": 1}}
    suggestors = [suggestor_of(models, **asks) for _ in range(CALLS)]
    for number, suggestor in enumerate(suggestors):
        suggestor.name, suggestor.optional = f"causes-{number}", True
    return engine_of(*suggestors, budget=Budget(max_cost_usd=cap / 1_000_000)), capacity


async def run(engine: Engine) -> ConvergeResult:
    context = ContextState()
    context.add_proposal(text("a", "smoke", SEEDS))
    return await engine.run(context, executor=AnyioExecutor(concurrency=CALLS))


async def test_of_fifty_calls_at_once_only_those_are_made_that_the_cap_pays_for() -> None:
    model = Slow(profile_of("m"), [], PROMPT)
    cap = MOST * PAID_FOR
    made, capacity = engine(model, cap=cap)
    result = await run(made)
    assert (model.made, model.most_under_way) == (PAID_FOR, PAID_FOR)
    assert result.usage.cost_microusd == cap
    assert capacity.out == 0


async def test_what_a_call_gives_back_pays_for_others_and_the_cap_holds() -> None:
    model = Slow(profile_of("m"), [], PROMPT, full=1)
    cap = MOST * PAID_FOR - 1
    made, _ = engine(model, cap=cap)
    result = await run(made)
    assert result.usage.cost_microusd <= cap
    assert model.made >= PAID_FOR - 1


@pytest.mark.parametrize(
    ("error", "fallbacks"),
    [(NetworkFailed("dead", "the line is dead"), 0), (Unavailable("dead", "it says so"), PAID_FOR)],
    ids=["a call that may have been billed", "a call that was not"],
)
async def test_fallbacks_are_paid_for_under_the_same_cap(error: BackendError, fallbacks: int) -> None:
    dead, second = Slow(profile_of("dead"), [], PROMPT, error=error), Slow(profile_of("second"), [], PROMPT, full=1)
    cap = MOST * PAID_FOR
    made, capacity = engine(dead, second, cap=cap)
    result = await run(made)
    assert (dead.made, second.made) == (PAID_FOR, fallbacks)
    assert result.usage.cost_microusd == cap
    assert capacity.out == 0


async def test_a_cap_below_one_call_makes_none() -> None:
    model = Slow(profile_of("m"), [], PROMPT)
    made, capacity = engine(model, cap=MOST - 1)
    result = await run(made)
    assert (model.made, result.usage.cost_microusd, capacity.out) == (0, 0, 0)
