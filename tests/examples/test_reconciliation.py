"""Reconciliation: the run against the ledgers and the truth, as they are read here a second time from the CSV files."""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest

from converge_core import ContextKey
from converge_core.gates.stop import CriteriaMet, InvariantViolated
from tests.examples.running import EXAMPLES, Converge, Human, edit, reject, rows, run

FOLDER = EXAMPLES / "reconciliation"
INTENT = FOLDER / "intent.yaml"
GATED = 22
PRECISION, RECALL = 0.98, 0.97


class Line(NamedTuple):
    """What the balances are made of, in cents."""

    currency: str
    amount: int


def _cells(name: str) -> list[dict[str, str]]:
    with (FOLDER / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _ledger(name: str) -> dict[str, Line]:
    return {row["line"]: Line(row["currency"], int(Decimal(row["amount"]) * 100)) for row in _cells(name)}


LEDGERS = {"bank": _ledger("bank.csv"), "book": _ledger("book.csv")}
LINES = LEDGERS["bank"] | LEDGERS["book"]
TRUTH = {(row["bank"], row["book"]): row["kind"] for row in _cells("truth.csv")}


@pytest.fixture(scope="module")
def finished(converge: Converge) -> dict[str, Any]:
    """Return the result of a run whose gates were all approved."""
    return converge.json("run", INTENT, "--yes", "--concurrency", 8)


@pytest.fixture(scope="module")
def facts(converge: Converge, finished: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the facts of that run, as the ledger shows them."""
    shown: list[dict[str, Any]] = converge.json("show", finished["run_id"])["facts"]
    return shown


def _payloads(facts: list[dict[str, Any]], key: str, prefix: str = "") -> list[dict[str, Any]]:
    return [fact["payload"] for fact in facts if fact["key"] == key and fact["id"].startswith(prefix)]


def _links(facts: list[dict[str, Any]]) -> dict[tuple[str, str], float]:
    """Return which bank line is said to belong to which book line, and how sure that is."""
    return {
        (bank, book): fact["confidence"]
        for fact in facts
        if fact["key"] == "evaluations"
        for bank in fact["payload"]["bank"]
        for book in fact["payload"]["book"]
    }


def _sum(names: list[str], currency: str) -> int:
    return sum(LINES[name].amount for name in names if LINES[name].currency == currency)


# The data.


def test_the_ledgers_are_a_thousand_lines_each_in_two_currencies() -> None:
    assert [len(ledger) for ledger in LEDGERS.values()] == [1_000, 1_000]
    assert {line.currency for line in LINES.values()} == {"EUR", "USD"}


def test_the_truth_holds_every_sort_of_noise() -> None:
    assert set(TRUTH.values()) == {"one", "fee", "discount", "typo", "split", "merged"}
    assert len({bank for bank, _ in TRUTH}) < 1_000
    assert len({book for _, book in TRUTH}) < 1_000


# The run.


def test_the_month_converges(finished: dict[str, Any]) -> None:
    assert finished["status"] == "converged"
    assert set(finished["criteria"].values()) == {"met"}


def test_the_facts_do_not_depend_on_the_run_nor_on_concurrency(converge: Converge, finished: dict[str, Any]) -> None:
    again = converge.json("run", INTENT, "--yes", "--concurrency", 1)
    assert again["run_id"] != finished["run_id"]
    assert again["merkle_root"] == finished["merkle_root"]


def test_the_run_derives_again_and_its_matching_is_solved_again(converge: Converge, finished: dict[str, Any]) -> None:
    converge.json("replay", finished["run_id"], "--live")


def test_both_plans_are_proven_optima(facts: list[dict[str, Any]]) -> None:
    assert [plan["report"]["stop"] for plan in _payloads(facts, "strategies")] == ["optimal", "optimal"]


def test_every_line_is_in_one_match_or_listed_without_one(facts: list[dict[str, Any]]) -> None:
    matched = [name for match in _payloads(facts, "evaluations") for name in (*match["bank"], *match["book"])]
    unmatched = [listed["line"] for listed in _payloads(facts, "proposals", "unmatched:")]
    assert sorted(matched + unmatched) == sorted(LINES)


@pytest.mark.parametrize("currency", ["EUR", "USD"])
@pytest.mark.parametrize("ledger", ["bank", "book"])
def test_the_balances_are_those_of_the_files_to_the_cent(
    facts: list[dict[str, Any]], ledger: str, currency: str
) -> None:
    matched = [name for match in _payloads(facts, "evaluations") for name in match[ledger]]
    unmatched = sorted(set(LEDGERS[ledger]) - set(matched))
    (balance,) = _payloads(facts, "proposals", f"balance:{currency}")
    assert balance[f"{ledger}_matched"] == _sum(matched, currency)
    assert balance[f"{ledger}_unmatched"] == _sum(unmatched, currency)
    assert balance[f"{ledger}_total"] == _sum(list(LEDGERS[ledger]), currency)


def test_a_match_is_of_one_currency_and_one_direction(facts: list[dict[str, Any]]) -> None:
    for match in _payloads(facts, "evaluations"):
        lines = [LINES[name] for name in (*match["bank"], *match["book"])]
        assert len({(line.currency, line.amount > 0) for line in lines}) == 1


def test_a_group_adds_up_to_the_cent(facts: list[dict[str, Any]]) -> None:
    groups = [match for match in _payloads(facts, "evaluations") if len(match["bank"]) + len(match["book"]) > 2]
    assert len(groups) >= 20
    assert all(group["bank_amount"] == group["book_amount"] for group in groups)


def test_a_match_cites_its_lines_and_the_plan(facts: list[dict[str, Any]]) -> None:
    (match,) = (fact for fact in facts if fact["id"] == "match:B0397=K0442")
    assert match["evidence"] == ["strategies/match-lines:lines", "seeds/bank:B0397", "seeds/book:K0442"]


# The truth.


def test_what_is_matched_is_right(facts: list[dict[str, Any]]) -> None:
    links = _links(facts)
    assert len(links.keys() & TRUTH.keys()) / len(links) >= PRECISION


def test_what_is_right_is_matched(facts: list[dict[str, Any]]) -> None:
    assert len(_links(facts).keys() & TRUTH.keys()) / len(TRUTH) >= RECALL


@pytest.mark.parametrize("kind", ["one", "fee", "discount", "typo", "split", "merged"])
def test_no_sort_of_noise_is_lost_on_it(facts: list[dict[str, Any]], kind: str) -> None:
    found, there = Counter(TRUTH.get(link) for link in _links(facts)), Counter(TRUTH.values())
    assert found[kind] / there[kind] >= 0.8


def test_a_human_is_asked_about_few_matches_and_about_all_that_are_wrong(facts: list[dict[str, Any]]) -> None:
    links = _links(facts)
    wrong = {link for link in links if link not in TRUTH}
    asked = {link for link, confidence in links.items() if confidence <= 0.7}
    assert len(asked) == GATED
    assert wrong <= asked


# People.


def test_without_answers_the_run_waits_for_the_doubtful(converge: Converge) -> None:
    waiting = converge.json("run", INTENT, "--no-input", code=6)
    assert len(waiting["pending"]) == GATED


def test_what_a_human_turns_down_is_listed_and_the_balances_hold() -> None:
    result = run(FOLDER, Human(reject))
    assert isinstance(result.stop_reason, CriteriaMet)
    matches = rows(result, ContextKey.EVALUATIONS)
    assert all(match.confidence > 0.7 for match in matches.values())
    listed = {fact.payload.get("line") for fact in rows(result, ContextKey.PROPOSALS).values()}
    assert {"B0397", "K0403", "K0442"} <= listed


def test_an_edit_that_changes_an_amount_stops_the_run() -> None:
    result = run(FOLDER, Human(otherwise={"evaluations/match:B0397=K0442": edit(bank_amount=-53747)}))
    assert isinstance(result.stop_reason, InvariantViolated)
    assert result.stop_reason.invariant == "balances-to-the-cent"


def test_an_edit_that_takes_a_line_twice_stops_the_run() -> None:
    result = run(FOLDER, Human(otherwise={"evaluations/match:B0397=K0442": edit(book=["K0017"])}))
    assert isinstance(result.stop_reason, InvariantViolated)
    assert result.stop_reason.invariant == "every-line-in-one-place"


def test_an_edit_may_give_a_match_its_right_line() -> None:
    result = run(FOLDER, Human(otherwise={"evaluations/match:B0397=K0442": edit(book=["K0403"])}))
    assert isinstance(result.stop_reason, CriteriaMet)
    unmatched = rows(result, ContextKey.PROPOSALS)
    assert "unmatched:K0442" in unmatched
    assert "unmatched:K0403" not in unmatched


# The files.


def test_the_order_of_the_lines_does_not_matter(tmp_path: Path, facts: list[dict[str, Any]]) -> None:
    folder = Path(shutil.copytree(FOLDER, tmp_path / "shuffled"))
    for name in ("bank.csv", "book.csv"):
        head, *lines = (folder / name).read_text(encoding="utf-8").splitlines()
        Random(1).shuffle(lines)
        (folder / name).write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    result = run(folder, Human())
    assert set(rows(result, ContextKey.EVALUATIONS)) == {fact["id"] for fact in facts if fact["key"] == "evaluations"}
