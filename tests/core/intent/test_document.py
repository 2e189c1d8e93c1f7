from __future__ import annotations

import copy
from typing import Any

import pytest
from pydantic import ValidationError

from converge_core import (
    Budget,
    ConflictPolicy,
    ContextKey,
    Criterion,
    HitlPolicy,
    IntentDocument,
    IntentKind,
    ProposalKind,
    RootIntent,
    Scope,
    TimeoutAction,
    TimeoutPolicy,
    ValidationPolicy,
)

LEAST: dict[str, Any] = {"intent": {"id": "i"}, "suggestors": [{"use": "seed"}]}

FULL: dict[str, Any] = {
    "intent": {"id": "expenses-2026-10", "kind": "risk_assessment", "objective": "Decide October's expense claims"},
    "scope": [{"product": "expenses"}],
    "budget": {"cycles": 20, "facts": 5000, "tokens": 0, "cost_usd": 0, "seconds": 60},
    "inputs": [
        {"key": "seeds", "file": "claims.csv", "payload": "data", "id": "claim:{id}"},
        {"key": "seeds", "items": [{"id": 1}], "id": "claim:{id}", "types": {"id": "integer"}, "confidence": 0.5},
    ],
    "suggestors": [
        {"use": "rules.cel", "name": "over-limit", "pack": "rules", "optional": True, "with": {"for_each": "seeds"}}
    ],
    "gates": {
        "hitl": {
            "confidence_at_most": 0.7,
            "keys": ["strategies"],
            "kinds": ["plan"],
            "suggestors": ["over-limit"],
            "timeout": {"seconds": 86400, "action": "approve"},
        },
        "validation": {"require": ["has_evidence"], "max_payload_bytes": 1000},
        "conflict": "reject",
    },
    "invariants": [{"name": "all", "class": "acceptance", "cel": "size(evaluations) >= size(seeds)"}],
    "success": [{"id": "decided", "required": False, "cel": "true", "description": "All are decided."}],
    "packs": ["rules"],
}


def document(value: dict[str, Any]) -> IntentDocument:
    return IntentDocument.model_validate(value)


def test_the_least_intent_has_an_id_and_somebody_who_suggests() -> None:
    least = document(LEAST)
    assert least.root_intent() == RootIntent("i", budget=Budget())
    assert least.gates.hitl is None
    assert least.gates.conflict is ConflictPolicy.STOP
    assert least.gates.validation.policy() == ValidationPolicy()


def test_a_whole_intent_says_what_the_engine_takes() -> None:
    full = document(FULL)
    assert full.root_intent() == RootIntent(
        "expenses-2026-10",
        IntentKind.RISK_ASSESSMENT,
        "Decide October's expense claims",
        Scope((("product", "expenses"),)),
        (Criterion("decided", "All are decided.", required=False),),
        Budget(20, 5000, 0, 0, 60_000),
        ("rules",),
    )
    assert full.gates.hitl is not None
    assert full.gates.hitl.policy() == HitlPolicy(
        0.7,
        (ContextKey.STRATEGIES,),
        (ProposalKind.PLAN,),
        ("over-limit",),
        TimeoutPolicy(86400, TimeoutAction.APPROVE),
    )
    assert full.gates.validation.policy() == ValidationPolicy(("has_evidence",), 1000)
    assert full.suggestors[0].with_ == {"for_each": "seeds"}


def changed(path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    whole = copy.deepcopy(FULL)
    parent: Any = whole
    for step in path[:-1]:
        parent = parent[step]
    if value is None:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return whole


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        (("intent",), None, "intent"),
        (("intent", "id"), "", "at least 1 character"),
        (("intent", "kind"), "guessing", "Input should be"),
        (("intent", "owner"), "ann", "Extra inputs are not permitted"),
        (("suggestors",), [], "at least 1 item"),
        (("suggestors", 0, "use"), None, "Field required"),
        (("budget", "cycles"), -1, "greater than or equal to 0"),
        (("budget", "cycles"), 1.5, "valid integer"),
        (("budget", "cost_usd"), float("inf"), "finite"),
        (("budget", "cost_usd"), 10**10, "less than or equal"),
        (("budget", "seconds"), float("nan"), "finite"),
        (("inputs", 0, "key"), "nowhere", "Input should be"),
        (("inputs", 0, "items"), [{}], "give either `file` or `items`"),
        (("inputs", 0, "file"), None, "give either `file` or `items`"),
        (("inputs", 0, "format"), "xml", "Input should be"),
        (("inputs", 0, "confidence"), 1.1, "less than or equal to 1"),
        (("gates", "hitl", "confidence_at_most"), 2, "less than or equal to 1"),
        (("gates", "hitl", "timeout", "action"), "wait", "Input should be"),
        (("gates", "conflict"), "ignore", "Input should be"),
        (("gates", "validation", "max_payload_bytes"), 1, "greater than or equal to 2"),
        (("invariants", 0, "cel"), None, "give either `cel` or `use`"),
        (("invariants", 0, "use"), "sums", "give either `cel` or `use`"),
        (("invariants", 0, "with"), {"a": 1}, "`with` belongs to `use`"),
        (("invariants", 0, "class"), "vague", "Input should be"),
        (("success", 0, "id"), None, "Field required"),
    ],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_what_does_not_fit_is_refused(path: tuple[str | int, ...], value: Any, why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        document(changed(path, value))


def test_all_faults_are_found_at_once() -> None:
    value = changed(("budget", "cycles"), -1)
    value["inputs"][0]["key"] = "nowhere"
    with pytest.raises(ValidationError) as refused:
        document(value)
    assert [fault["loc"] for fault in refused.value.errors()] == [("budget", "cycles"), ("inputs", 0, "key")]
