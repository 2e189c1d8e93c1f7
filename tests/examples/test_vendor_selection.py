"""Vendor selection: the ranking and the requirements, computed here a second time from vendors.yaml alone."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest

from converge_adapters.documents import load_document
from converge_core import ContextKey
from converge_core.gates.stop import CriteriaMet, InvariantViolated
from tests.examples.running import EXAMPLES, Converge, Human, edit, reject, rows, run

FOLDER = EXAMPLES / "vendor_selection"
INTENT = FOLDER / "intent.yaml"
GATE = "strategies/recommendation:delta-trace"

OFFERS = cast("list[dict[str, Any]]", load_document(FOLDER / "vendors.yaml").value)
ELIGIBLE = [
    offer
    for offer in OFFERS
    if set(offer["residency"]) - {"CH"} == {"EU"}
    and "ISO 27001" in offer["certifications"]
    and Decimal(offer["annual_price"]) <= 120_000
]


def _scores() -> dict[str, float]:
    """Return the scores of the offers that violate nothing, best first."""
    figures = [
        {
            "cost": -float(3 * Decimal(offer["annual_price"]) + Decimal(offer["exit_cost"])),
            "references": float(offer["references"]),
            "onboarding": -float(offer["onboarding_weeks"]),
        }
        for offer in ELIGIBLE
    ]

    def place(criterion: str, of: Mapping[str, float]) -> float:
        values = [figure[criterion] for figure in figures]
        return (of[criterion] - min(values)) / (max(values) - min(values))

    scores = {
        offer["vendor"]: 0.35 * place("cost", figure)
        + 0.20 * (offer["sla"] - 99.5) / 0.49
        + 0.15 * (offer["support_hours"] - 40) / 128
        + 0.15 * place("references", figure)
        + 0.15 * place("onboarding", figure)
        for offer, figure in zip(ELIGIBLE, figures, strict=True)
    }
    return dict(sorted(scores.items(), key=lambda item: -item[1]))


@pytest.fixture(scope="module")
def finished(converge: Converge) -> dict[str, Any]:
    """Return the result of a run whose gate was approved."""
    return converge.json("run", INTENT, "--yes", "--concurrency", 8)


@pytest.fixture(scope="module")
def facts(converge: Converge, finished: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the payloads of that run by ``key/id``."""
    shown = converge.json("show", finished["run_id"])
    return {f"{fact['key']}/{fact['id']}": fact["payload"] for fact in shown["facts"]}


def test_one_vendor_is_recommended(finished: dict[str, Any], facts: dict[str, dict[str, Any]]) -> None:
    assert finished["status"] == "converged"
    assert finished["criteria"] == {"recommended": "met", "carried": "met", "unanimous": "unmet"}
    assert [ref for ref in facts if ref.startswith("strategies/")] == [GATE]


def test_the_facts_do_not_depend_on_the_run_nor_on_concurrency(converge: Converge, finished: dict[str, Any]) -> None:
    again = converge.json("run", INTENT, "--yes", "--concurrency", 1)

    assert again["run_id"] != finished["run_id"]
    assert again["merkle_root"] == finished["merkle_root"]


def test_the_run_can_be_verified_and_replayed(converge: Converge, finished: dict[str, Any]) -> None:
    assert converge.json("verify", finished["run_id"])["ledger_head"] == finished["ledger_head"]
    assert converge.json("replay", finished["run_id"])["merkle_root"] == finished["merkle_root"]


def test_without_a_human_the_recommendation_waits(converge: Converge) -> None:
    waiting = converge.json("run", INTENT, "--no-input", code=6)

    (request,) = waiting["pending"]
    assert request["code"] == "gated_key"
    assert request["proposal"]["payload"]["body"]["vendor"] == "delta-trace"


def test_the_ranking_leaves_out_who_violates_a_requirement(facts: dict[str, dict[str, Any]]) -> None:
    ranked = {payload["item"] for ref, payload in facts.items() if ref.startswith("evaluations/")}

    assert ranked == {offer["vendor"] for offer in ELIGIBLE}


def test_the_ranking_is_the_weighted_sum_of_the_criteria(facts: dict[str, dict[str, Any]]) -> None:
    found = {payload["item"]: payload for ref, payload in facts.items() if ref.startswith("evaluations/")}
    expected = _scores()

    assert [payload["item"] for payload in sorted(found.values(), key=lambda p: int(p["rank"]))] == list(expected)
    assert {item: payload["score"] for item, payload in found.items()} == pytest.approx(expected, abs=1e-5)


def test_procurement_is_outvoted_and_its_reason_stays_on_record(facts: dict[str, dict[str, Any]]) -> None:
    votes = {payload["voter"]: payload["decision"] for ref, payload in facts.items() if ref.startswith("votes/")}

    assert votes == {"procurement": "no", "security": "yes", "engineering": "yes"}
    assert facts["disagreements/disagreement:procurement:delta-trace"]["reason"] == "leaving costs 21000 EUR"
    assert facts[GATE]["against"] == ["procurement: leaving costs 21000 EUR"]
    assert facts[GATE]["votes"] == "2 of 3"


def test_a_human_who_says_no_leaves_no_recommendation() -> None:
    result = run(FOLDER, Human(reject))

    assert isinstance(result.stop_reason, InvariantViolated)
    assert result.stop_reason.invariant == "exactly-one-recommendation"


def test_a_human_may_choose_another_eligible_vendor() -> None:
    result = run(FOLDER, Human(edit(vendor="granit")))

    (recommendation,) = rows(result, ContextKey.STRATEGIES).values()
    assert isinstance(result.stop_reason, CriteriaMet)
    assert recommendation.payload["vendor"] == "granit"


def test_not_even_a_human_may_choose_one_that_violates_a_requirement() -> None:
    result = run(FOLDER, Human(edit(vendor="helios")))

    assert isinstance(result.stop_reason, InvariantViolated)
    assert result.stop_reason.invariant == "recommendation-violates-nothing"


def test_without_a_majority_there_is_no_recommendation(tmp_path: Path) -> None:
    folder = shutil.copytree(FOLDER, tmp_path / "example")
    intent = folder / "intent.yaml"
    text = intent.read_text(encoding="utf-8")
    intent.write_text(text.replace("rule: majority", "rule: unanimous"), encoding="utf-8")

    result = run(folder, Human())

    assert isinstance(result.stop_reason, InvariantViolated)
    assert not result.context.has(ContextKey.STRATEGIES)
