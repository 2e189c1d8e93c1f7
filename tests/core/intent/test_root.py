from __future__ import annotations

from typing import Any

import pytest

from converge_core import Budget, Criterion, IntentKind, RootIntent, Scope, canonical
from converge_core.ledger.canonical import parse

FULL = RootIntent(
    id="expenses",
    kind=IntentKind.RISK_ASSESSMENT,
    objective="Decide.",
    scope=Scope((("product", "expenses"), ("product", "claims"))),
    success=(Criterion("decided", "All are decided."), Criterion("nice", required=False)),
    budget=Budget(max_cycles=20, max_cost_usd=1.25),
    active_packs=("a", "b"),
)


@pytest.mark.parametrize("intent", [RootIntent("i"), FULL], ids=["least", "full"])
def test_an_intent_is_read_back_from_the_ledger(intent: RootIntent) -> None:
    value: Any = parse(canonical(intent.to_json()))
    assert RootIntent.from_json(value) == intent


@pytest.mark.parametrize(
    "other",
    [
        RootIntent("j"),
        RootIntent("i", kind=IntentKind.SCHEDULING),
        RootIntent("i", objective="more"),
        RootIntent("i", scope=Scope((("a", "b"),))),
        RootIntent("i", success=(Criterion("c"),)),
        RootIntent("i", budget=Budget()),
        RootIntent("i", active_packs=("a",)),
    ],
    ids=lambda intent: str(intent.to_json()),
)
def test_the_hash_of_an_intent_names_all_of_it(other: RootIntent) -> None:
    assert RootIntent("i").hash == RootIntent("i").hash
    assert other.hash != RootIntent("i").hash
