"""Truths: written down once, upheld by name, and no weaker in one intent than in another."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from converge_core import (
    ConstraintSeverity,
    ContentHash,
    ContextKey,
    Criterion,
    IntentConstraint,
    PluginError,
    RootIntent,
    TruthCatalog,
    TruthDefinition,
    TruthKind,
    uphold,
)
from converge_core.intent.root import UpheldTruth

POLICY = TruthDefinition.model_validate(
    {
        "key": "expense-policy",
        "kind": "policy",
        "summary": "Nobody approves what nobody has looked at.",
        "success": [
            {"id": "decided", "cel": "size(evaluations) == size(seeds)"},
            {"id": "cheap", "required": False, "description": "Under 500.", "cel": "true"},
        ],
        "constraints": [{"key": "limit", "value": "500"}, {"key": "tone", "value": "kind", "severity": "soft"}],
        "approval_points": ["strategies"],
        "packs": ["expenses"],
    }
)


def test_there_are_three_kinds_of_truths() -> None:
    assert [kind.value for kind in TruthKind] == ["job", "policy", "invariant"]


# --- the catalog ------------------------------------------------------------------------------------------------------


def test_a_truth_is_found_by_its_key() -> None:
    catalog = TruthCatalog()
    catalog.define(POLICY)
    assert catalog.find_truth("expense-policy") is POLICY
    assert [(entry.name, entry.summary) for entry in catalog] == [("expense-policy", POLICY.summary)]


def test_an_unknown_truth_is_told_with_the_nearest() -> None:
    catalog = TruthCatalog()
    catalog.define(POLICY)
    with pytest.raises(LookupError, match="unknown truth 'expense-polizy'; did you mean 'expense-policy'"):
        catalog.find_truth("expense-polizy")


def test_a_truth_is_defined_once() -> None:
    catalog = TruthCatalog()
    catalog.define(POLICY)
    with pytest.raises(PluginError, match="offered already"):
        catalog.define(POLICY)


def test_what_a_plugin_has_defined_goes_with_it() -> None:
    catalog = TruthCatalog()
    catalog.plugin = "finance"
    catalog.define(POLICY)
    catalog.withdraw("finance")
    with pytest.raises(LookupError):
        catalog.find_truth("expense-policy")


# --- the definition ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"key": ""}, "key"),
        ({"key": "a b"}, "key"),
        ({"key": "a/b"}, "key"),
        ({"kind": "wish"}, "kind"),
        ({"approval_points": ["nowhere"]}, "approval_points"),
        ({"success": [{"id": "x"}]}, "success"),
        ({"more": 1}, "more"),
    ],
)
def test_what_is_no_truth_is_refused(change: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TruthDefinition.model_validate({"key": "t", "kind": "job", **change})
    assert [fault["loc"][0] for fault in caught.value.errors()] == [field]


@pytest.mark.parametrize(
    "change",
    [
        {"key": "other"},
        {"kind": "job"},
        {"summary": ""},
        {"success": [{"id": "decided", "cel": "true"}]},
        {"constraints": []},
        {"approval_points": []},
        {"packs": []},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_hash_of_a_truth_covers_all_of_it(change: dict[str, Any]) -> None:
    value = POLICY.model_dump(mode="json", by_alias=True)
    assert TruthDefinition.model_validate(value).hash == POLICY.hash
    assert TruthDefinition.model_validate(value | change).hash != POLICY.hash


def test_the_hash_of_a_truth_does_not_depend_on_what_is_left_out() -> None:
    short = TruthDefinition(key="t", kind=TruthKind.JOB)
    long = TruthDefinition.model_validate({"key": "t", "kind": "job", "summary": "", "success": [], "packs": []})
    assert short.hash == long.hash == ContentHash.of('{"key":"t","kind":"job"}')


# --- what an intent gets ----------------------------------------------------------------------------------------------


def test_an_intent_gets_what_its_truth_brings() -> None:
    assert uphold(RootIntent("i"), [POLICY]) == RootIntent(
        "i",
        success=(
            Criterion("expense-policy/decided"),
            Criterion("expense-policy/cheap", "Under 500.", required=False),
        ),
        constraints=(IntentConstraint("limit", "500"), IntentConstraint("tone", "kind", ConstraintSeverity.SOFT)),
        truths=(UpheldTruth("expense-policy", str(POLICY.hash)),),
        approval_points=(ContextKey.STRATEGIES,),
    )


def test_what_the_intent_says_itself_stays() -> None:
    own = RootIntent(
        "i", success=(Criterion("decided"),), constraints=(IntentConstraint("limit", "500"),), active_packs=("own",)
    )
    intent = uphold(own, [POLICY])
    assert [criterion.id for criterion in intent.success][:2] == ["decided", "expense-policy/decided"]
    assert [constraint.key for constraint in intent.constraints] == ["limit", "tone"]
    assert intent.active_packs == ("own", "expenses")
    assert intent.faults() == ()


def test_an_intent_in_which_all_packs_are_active_keeps_it_so() -> None:
    assert uphold(RootIntent("i"), [POLICY]).active_packs == ()


def test_truths_that_demand_different_things_are_a_fault() -> None:
    other = TruthDefinition.model_validate(
        {"key": "thrift", "kind": "policy", "constraints": [{"key": "limit", "value": "100"}]}
    )
    assert [str(fault) for fault in uphold(RootIntent("i"), [POLICY, other]).faults()] == [
        "constraints: 'limit' stands there twice"
    ]


def test_a_truth_that_is_upheld_twice_is_a_fault() -> None:
    assert "truths" in {fault.path for fault in uphold(RootIntent("i"), [POLICY, POLICY]).faults()}


def test_the_hash_of_an_intent_follows_its_truths() -> None:
    changed = POLICY.model_copy(update={"summary": "Anything goes."})
    assert uphold(RootIntent("i"), [POLICY]).hash != uphold(RootIntent("i"), [changed]).hash


@given(st.permutations(["a", "b", "c"]))
def test_truths_are_upheld_in_the_order_in_which_they_are_named(keys: list[str]) -> None:
    truths = [TruthDefinition(key=key, kind=TruthKind.INVARIANT) for key in keys]
    intent = uphold(RootIntent("i"), truths)
    assert [truth.key for truth in intent.truths] == keys
    assert RootIntent.from_json(intent.to_json()) == intent
