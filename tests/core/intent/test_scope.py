from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_core import DataPayload, FactPayload, ProposedFact, Scope, SubjectRef
from converge_core.ledger.canonical import JsonValue, canonical, parse
from tests.core.context.test_payloads import json_values
from tests.core.stage import SEEDS, text

SCOPE = Scope((("product", "expenses"), ("product", "claims"), ("region", "eu")))


def about(subject: str, **fields: JsonValue) -> ProposedFact[FactPayload]:
    return ProposedFact(SEEDS, "s1", DataPayload(data=fields), subject=SubjectRef(subject))


def proposal(**fields: JsonValue) -> ProposedFact[FactPayload]:
    return ProposedFact(SEEDS, "s1", DataPayload(data=fields))


@pytest.mark.parametrize(
    "inside",
    [
        proposal(),
        proposal(product="expenses"),
        proposal(product="claims", region="eu"),
        proposal(product=None),
        about("erp://product/claims"),
        about("erp://invoice/7"),
        about("erp://product/travel", product="expenses"),
        text("s1", "travel"),
    ],
    ids=lambda p: str(p.payload.body()),
)
def test_what_names_a_value_of_the_scope_or_no_dimension_of_it_is_inside(inside: ProposedFact[FactPayload]) -> None:
    assert SCOPE.excludes(inside) is None


@pytest.mark.parametrize(
    ("outside", "why"),
    [
        (proposal(product="travel"), "product 'travel' is not among claims, expenses"),
        (proposal(product="expenses", region="us"), "region 'us' is not among eu"),
        (proposal(product=7), "product 7 is not among claims, expenses"),
        (proposal(product=["expenses"]), "product ('expenses',) is not among claims, expenses"),
        (proposal(product={"a": 1}), "product {'a': 1} is not among claims, expenses"),
        (about("erp://product/travel"), "product 'travel' is not among claims, expenses"),
    ],
    ids=lambda value: str(value.payload.body()) if isinstance(value, ProposedFact) else "",
)
def test_what_names_another_value_is_outside(outside: ProposedFact[FactPayload], why: str) -> None:
    assert SCOPE.excludes(outside) == why


@given(st.dictionaries(st.sampled_from(["product", "region", "other"]), json_values))
def test_whatever_a_payload_holds_has_an_answer(fields: dict[str, JsonValue]) -> None:
    named = [name for name in ("product", "region") if fields.get(name) is not None]
    inside = all(fields[name] in [value for key, value in SCOPE.constraints if key == name] for name in named)
    assert (SCOPE.excludes(proposal(**fields)) is None) is inside


def test_without_constraints_everything_is_inside() -> None:
    assert Scope().excludes(proposal(product="travel")) is None


def test_a_scope_stands_in_the_ledger_as_it_stands_in_an_intent() -> None:
    assert parse(canonical(SCOPE.to_json())) == [{"product": "expenses"}, {"product": "claims"}, {"region": "eu"}]
