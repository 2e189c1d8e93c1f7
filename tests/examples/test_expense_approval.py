"""Expense approval: the run against a policy that is computed here a second time, from the CSV files alone."""

from __future__ import annotations

import csv
import re
import shutil
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from converge_core import ContextKey, ConvergeResult
from converge_core.gates.stop import CriteriaMet, InvariantViolated, SuggestorFailed
from tests.examples.running import EXAMPLES, Converge, Human, edit, reject, rows, run

FOLDER = EXAMPLES / "expense_approval"
INTENT = FOLDER / "intent.yaml"
TOTAL = "payout:2026-10"

# Found by reading the file: the later of two claims for one receipt, and the earlier.
DUPLICATES = {
    "EX-20553": "EX-20503",
    "EX-20569": "EX-20548",
    "EX-20655": "EX-20652",
    "EX-20676": "EX-20555",
    "EX-20725": "EX-20673",
    "EX-20743": "EX-20709",
    "EX-20817": "EX-20790",
    "EX-20857": "EX-20648",
    "EX-20899": "EX-20609",
}
SPLIT = {"EX-20665", "EX-20695", "EX-20829", "EX-20830", "EX-20831"}
OVER_BUDGET = {"EX-20947", "EX-20948", "EX-20949"}
GATED = 20


class Claim(NamedTuple):
    """A row of claims.csv, read as the policy means it; amounts are EUR cents."""

    id: str
    employee: str
    category: str
    amount: int
    spent: date
    days: int
    receipt: str
    text: str


def _cells(name: str) -> list[dict[str, str]]:
    with (FOLDER / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _claims() -> list[Claim]:
    rates = {row["currency"]: Decimal(row["per_eur"]) for row in _cells("rates.csv")}
    return [
        Claim(
            row["id"],
            row["employee_no"],
            row["category"].strip().lower(),
            int((Decimal(row["amount"]) / rates[row["currency"].upper()] * 100).quantize(Decimal(1), ROUND_HALF_UP)),
            date.fromisoformat(row["spent_on"]),
            (date.fromisoformat(row["submitted_on"]) - date.fromisoformat(row["spent_on"])).days,
            row["receipt"].strip(),
            f"{row['merchant']} {row['description']}".lower(),
        )
        for row in _cells("claims.csv")
    ]


CLAIMS = _claims()
LIMITS = {row["category"]: int(Decimal(row["limit"]) * 100) for row in _cells("limits.csv")}
DRINKS = re.compile(r"\b(minibar|mini-bar|beer|pints|wine|whiskey|prosecco)\b")
REFUSED = {
    claim.id
    for claim in CLAIMS
    if claim.id in DUPLICATES
    or (not claim.receipt and claim.amount > 2500)
    or claim.days > 90
    or DRINKS.search(claim.text)
}


@pytest.fixture(scope="module")
def finished(converge: Converge) -> dict[str, Any]:
    """Return the result of a run whose gates were all approved."""
    return converge.json("run", INTENT, "--yes", "--concurrency", 8)


@pytest.fixture(scope="module")
def shown(converge: Converge, finished: dict[str, Any]) -> dict[str, Any]:
    """Return everything that the ledger tells about that run."""
    return converge.json("show", finished["run_id"])


def _flags(shown: dict[str, Any], flag: str) -> set[str]:
    signals = [fact["payload"] for fact in shown["facts"] if fact["key"] == "signals"]
    return {signal["claim"] for signal in signals if signal.get("flag") == flag}


def _payload(shown: dict[str, Any], key: str, fact_id: str) -> dict[str, Any]:
    (found,) = (fact for fact in shown["facts"] if (fact["key"], fact["id"]) == (key, fact_id))
    payload: dict[str, Any] = found["payload"]
    return payload


def test_the_month_converges(finished: dict[str, Any]) -> None:
    assert finished["status"] == "converged"
    assert finished["criteria"] == {"decided": "met", "payable": "met", "few-questions": "met"}


def test_the_facts_do_not_depend_on_the_run_nor_on_concurrency(converge: Converge, finished: dict[str, Any]) -> None:
    again = converge.json("run", INTENT, "--yes", "--concurrency", 1)

    assert again["run_id"] != finished["run_id"]
    assert again["merkle_root"] == finished["merkle_root"]


def test_the_run_can_be_verified_and_replayed(converge: Converge, finished: dict[str, Any]) -> None:
    assert converge.json("verify", finished["run_id"])["ledger_head"] == finished["ledger_head"]
    assert converge.json("replay", finished["run_id"])["merkle_root"] == finished["merkle_root"]


def test_without_a_human_the_large_and_the_doubtful_claims_wait(converge: Converge) -> None:
    waiting = converge.json("run", INTENT, "--no-input", code=6)

    codes = [request["code"] for request in waiting["pending"]]
    assert waiting["status"] == "waiting"
    assert (codes.count("low_confidence"), codes.count("gated_suggestor")) == (GATED - 4, 4)
    assert {request["proposal"]["payload"]["body"]["action"] for request in waiting["pending"]} == {"approve"}


def test_every_claim_of_1000_eur_or_more_is_decided_by_a_human_or_refused(shown: dict[str, Any]) -> None:
    large = {claim.id for claim in CLAIMS if claim.amount >= 100_000}
    by_people = {fact["payload"]["claim"] for fact in shown["facts"] if fact["approver"] == "human:tom"}

    assert _flags(shown, "large") == large
    assert large - by_people == {"EX-20899"}
    assert _payload(shown, "strategies", "decision:EX-20899")["action"] == "reject"


def test_over_limit_is_more_than_the_category_allows(shown: dict[str, Any]) -> None:
    assert _flags(shown, "over-limit") == {c.id for c in CLAIMS if c.amount > LIMITS.get(c.category, c.amount)}


def test_unknown_category_is_one_without_a_limit(shown: dict[str, Any]) -> None:
    assert _flags(shown, "unknown-category") == {claim.id for claim in CLAIMS if claim.category not in LIMITS}


def test_weekend_is_asked_about_where_it_is_unusual(shown: dict[str, Any]) -> None:
    unusual = {"meals", "taxi", "client entertainment", "misc", "team event"}
    expected = {claim.id for claim in CLAIMS if claim.spent.isoweekday() > 5 and claim.category in unusual}

    assert _flags(shown, "weekend") == expected


def test_late_is_31_to_90_days_and_expired_is_more(shown: dict[str, Any]) -> None:
    assert _flags(shown, "late") == {claim.id for claim in CLAIMS if 30 < claim.days <= 90}
    assert _flags(shown, "expired") == {claim.id for claim in CLAIMS if claim.days > 90}


def test_duplicates_are_found_whoever_submits_them_and_however_they_are_spelled(shown: dict[str, Any]) -> None:
    signals = [fact["payload"] for fact in shown["facts"] if fact["id"].startswith("duplicate:")]

    assert {signal["claim"]: signal["of"] for signal in signals} == DUPLICATES


def test_a_bill_that_was_split_is_found(shown: dict[str, Any]) -> None:
    assert _flags(shown, "split") == SPLIT


def test_claims_beyond_an_employees_budget_are_found(shown: dict[str, Any]) -> None:
    assert _flags(shown, "over-budget") == OVER_BUDGET


def test_the_rules_refuse_what_the_policy_refuses(shown: dict[str, Any]) -> None:
    decisions = [fact["payload"] for fact in shown["facts"] if fact["key"] == "strategies"]

    assert len(decisions) == len(CLAIMS)
    assert {decision["claim"] for decision in decisions if decision["action"] == "reject"} == REFUSED


def test_the_total_is_what_the_file_comes_to(shown: dict[str, Any]) -> None:
    paid = [claim for claim in CLAIMS if claim.id not in REFUSED]
    total = _payload(shown, "proposals", TOTAL)

    assert total["amount"] == sum(claim.amount for claim in paid)
    assert total["claims"] == len(paid)


def test_each_employee_has_a_line(shown: dict[str, Any]) -> None:
    lines = {fact["id"]: fact["payload"]["amount"] for fact in shown["facts"] if fact["key"] == "proposals"}
    expected: dict[str, int] = {}
    for claim in CLAIMS:
        if claim.id not in REFUSED:
            line = f"{TOTAL}:{claim.employee}"
            expected[line] = expected.get(line, 0) + claim.amount

    assert {line: amount for line, amount in lines.items() if line != TOTAL} == expected


def test_an_assessment_cites_the_claim_and_all_its_flags(shown: dict[str, Any]) -> None:
    (assessment,) = (fact for fact in shown["facts"] if fact["id"] == "assessment:EX-20502")

    assert assessment["evidence"] == [
        "hypotheses/claim:EX-20502",
        "signals/late:EX-20502",
        "signals/round-amount:EX-20502",
        "signals/weekend:EX-20502",
    ]


def test_the_readme_counts_the_flags_as_the_run_does(shown: dict[str, Any]) -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    told = {flag: int(count) for flag, count in re.findall(r"^\| `([a-z-]+)` \| (\d+) \|", text, re.MULTILINE)}

    assert len(told) == 12
    assert told == {flag: len(_flags(shown, flag)) for flag in told}


# A human at the gates.


def _total(result: ConvergeResult) -> int:
    amount: int = rows(result, ContextKey.PROPOSALS)[TOTAL].payload["amount"]
    return amount


def _approved(result: ConvergeResult) -> int:
    decisions = rows(result, ContextKey.STRATEGIES).values()
    return sum(decision.payload["amount"] for decision in decisions if decision.payload["action"] == "approve")


def test_when_a_human_rejects_everything_every_claim_is_still_decided_once() -> None:
    result = run(FOLDER, Human(reject))

    decisions = rows(result, ContextKey.STRATEGIES)
    turned_down = [decision for decision in decisions.values() if decision.proposer == "turn-down"]
    assert isinstance(result.stop_reason, CriteriaMet)
    assert sorted(decisions) == sorted(f"decision:{claim.id}" for claim in CLAIMS)
    assert len(turned_down) == GATED
    assert {(decision.payload["action"], decision.payload["amount"]) for decision in turned_down} == {("reject", 0)}
    assert _total(result) == _approved(result)


def test_one_rejection_takes_one_claim_out_of_the_total() -> None:
    (claim,) = (claim for claim in CLAIMS if claim.id == "EX-20534")

    result = run(FOLDER, Human(otherwise={"strategies/decision:EX-20534": reject}))

    assert isinstance(result.stop_reason, CriteriaMet)
    assert _total(result) == sum(claim.amount for claim in CLAIMS if claim.id not in REFUSED) - claim.amount


def test_a_human_may_lower_an_amount() -> None:
    result = run(FOLDER, Human(otherwise={"strategies/decision:EX-20825": edit(amount=25_000)}))

    assert isinstance(result.stop_reason, CriteriaMet)
    assert rows(result, ContextKey.STRATEGIES)["decision:EX-20825"].payload["amount"] == 25_000
    assert _total(result) == _approved(result)


def test_nobody_may_raise_an_amount() -> None:
    result = run(FOLDER, Human(otherwise={"strategies/decision:EX-20825": edit(amount=34_251)}))

    assert isinstance(result.stop_reason, InvariantViolated)
    assert result.stop_reason.invariant == "decided-as-assessed"
    assert result.stop_reason.facts == ("strategies/decision:EX-20825",)


# What the files get wrong.


def _changed(folder: Path, file: str, old: str, new: str) -> Path:
    shutil.copytree(FOLDER, folder)
    text = (folder / file).read_text(encoding="utf-8")
    assert old in text
    (folder / file).write_text(text.replace(old, new), encoding="utf-8")
    return folder


def test_a_currency_without_a_rate_fails_the_run(tmp_path: Path) -> None:
    result = run(_changed(tmp_path / "example", "rates.csv", "GBP,", "CHF,"), Human())

    assert isinstance(result.stop_reason, SuggestorFailed)
    assert "rates.csv has no rate" in str(result.stop_reason)


def test_a_flag_that_the_policy_does_not_explain_fails_the_run(tmp_path: Path) -> None:
    result = run(_changed(tmp_path / "example", "policy.yaml", "flag: weekend", "flag: week-end"), Human())

    assert isinstance(result.stop_reason, SuggestorFailed)
    assert "what the flag 'weekend' means" in str(result.stop_reason)


def test_a_total_that_is_not_the_sum_of_its_lines_is_not_accepted(tmp_path: Path) -> None:
    folder = _changed(tmp_path / "example", "policy.py", "**_sum(approved)}", "**_sum(approved[1:])}")

    result = run(folder, Human())

    assert isinstance(result.stop_reason, InvariantViolated)
    assert result.stop_reason.invariant == "total-is-the-sum-of-its-lines"


def test_a_claim_that_nobody_decides_is_not_accepted(tmp_path: Path) -> None:
    folder = _changed(tmp_path / "example", "intent.yaml", "fact.refuse || !('large' in fact.flags)", "fact.refuse")

    result = run(folder, Human())

    assert isinstance(result.stop_reason, InvariantViolated)
    assert result.stop_reason.invariant == "every-claim-decided-once"
