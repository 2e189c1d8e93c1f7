"""Recall through the command line: what one run has concluded, the next one is told of."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.desk import Desk, intent

MEMO: dict[str, Any] = {"key": "seeds", "id": "s:{n}", "items": [{"n": 1, "memo": "late fee"}]}


def recalls(**changes: object) -> dict[str, Any]:
    """The section of a recall by the memo of each seed."""
    config = {"for_each": "seeds", "fields": ["memo"], "key": "hypotheses", **changes}
    return {"use": "recall.lexical", "name": "precedents", "with": config}


def asks(memo: str = "late fee", **changes: object) -> str:
    """An intent with one seed, whose memo is looked for in the past."""
    seed = {**MEMO, "items": [{"n": 1, "memo": memo}]}
    return intent(inputs=[seed], suggestors=[recalls(**changes)])


def facts(desk: Desk, run_id: str, key: str = "hypotheses") -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = desk.json("show", run_id, "--key", key)["facts"]
    return told


def recalled(desk: Desk, run_id: str) -> list[str]:
    """The runs that were recalled."""
    return [fact["payload"]["run"] for fact in facts(desk, run_id)]


def search(desk: Desk, run_id: str) -> dict[str, Any]:
    """The record of the run's one search."""
    [fact] = facts(desk, run_id, "diagnostic")
    payload: dict[str, Any] = fact["payload"]
    return payload


def test_the_second_run_recalls_the_first(desk: Desk) -> None:
    first, second = (desk.finished(asks()) for _ in range(2))
    assert recalled(desk, first["run_id"]) == []
    [fact] = facts(desk, second["run_id"])
    assert (fact["payload"]["run"], fact["payload"]["subject"]) == (first["run_id"], "seeds/s:1")
    assert fact["payload"]["text"] == "fact | seeds/s:1: memo: late fee, n: 1"
    assert (fact["proposer"], fact["confidence"]) == ("precedents", 0.5)


def test_a_recalled_item_says_where_it_comes_from(desk: Desk) -> None:
    first, second = (desk.finished(asks()) for _ in range(2))
    [fact] = facts(desk, second["run_id"])
    assert fact["provenance"] == f"recall:{first['run_id']}:seeds/s:1"
    assert fact["evidence"] == ["seeds/s:1", "diagnostic/precedents:s:1"]


def test_what_was_recalled_is_not_recalled_in_its_turn(desk: Desk) -> None:
    _, second, third = (desk.finished(asks()) for _ in range(3))
    assert recalled(desk, third["run_id"]) == [second["run_id"]], "the newest of two seeds that say the same"
    assert search(desk, third["run_id"])["searched"] == 2, "the seed of each run before"


def test_a_recalled_item_waits_at_the_gate_as_everything_does(desk: Desk) -> None:
    desk.finished(asks())
    held = {**json.loads(asks()), "gates": {"hitl": {"keys": ["hypotheses"]}}}
    waiting = desk.finished(json.dumps(held), code=6)
    assert [row["proposal"]["id"] for row in waiting["pending"]] == ["precedents:s:1:1"]
    assert facts(desk, waiting["run_id"]) == []


def test_the_downgrade_is_seen_in_json(desk: Desk) -> None:
    told = search(desk, desk.finished(asks())["run_id"])
    assert (told["replayability"], told["downgraded_from"]) == ("best_effort", "deterministic")
    assert told["downgrade_reasons"] == ["recall_corpus_not_pinned"]


def test_the_downgrade_is_seen_by_people(desk: Desk) -> None:
    shown = desk.call("show", desk.finished(asks())["run_id"]).stdout
    [line] = [line for line in shown.splitlines() if line.startswith("diagnostic/precedents:s:1")]
    assert line.rstrip().endswith("best_effort: recall_corpus_not_pinned")


def test_a_search_under_the_limits_of_its_policy_says_what_it_left_out(desk: Desk) -> None:
    seeds = {**MEMO, "items": [{"n": n, "memo": f"late fee {n}"} for n in range(4)]}
    desk.finished(intent(inputs=[seeds], suggestors=[recalls()]))
    policy = {"max_k_total": 2, "max_tokens_injection": 12}
    told = search(desk, desk.finished(asks(policy=policy))["run_id"])
    assert (told["searched"], len(told["candidates"])) == (4, 1)
    assert told["left_out"] == [{"reason": "over_tokens", "count": 3}]


def test_a_policy_that_is_not_enabled_recalls_nothing(desk: Desk) -> None:
    desk.finished(asks())
    run_id = desk.finished(asks(policy={"enabled": False}))["run_id"]
    assert (recalled(desk, run_id), search(desk, run_id)["stop_reason"]) == ([], "disabled")


def test_a_run_that_waits_is_not_recalled(desk: Desk) -> None:
    held = {**json.loads(asks()), "gates": {"hitl": {"keys": ["seeds"]}}}
    desk.finished(json.dumps(held), code=6)
    assert search(desk, desk.finished(asks())["run_id"])["searched"] == 0


def test_what_people_have_said_of_a_run_is_recalled(desk: Desk) -> None:
    held = {**json.loads(asks()), "gates": {"hitl": {"keys": ["seeds"]}}}
    waiting = desk.finished(json.dumps(held), code=6)
    [row] = waiting["pending"]
    desk.call("reject", waiting["run_id"], row["gate_id"], "--reason", "this vendor is barred")
    desk.call("resume", waiting["run_id"])
    [fact] = facts(desk, desk.finished(asks("barred vendor"))["run_id"])
    assert fact["payload"]["text"].startswith("user rejection: this vendor is barred | seeds/s:1: ")
    assert (fact["payload"]["source_type"], fact["confidence"]) == ("anti_pattern", 0.7)


# --- tenants ----------------------------------------------------------------------------------------------------------


def test_nobody_recalls_the_runs_of_another_tenant(desk: Desk) -> None:
    ours = desk.finished(asks(), "--tenant", "acme")["run_id"]
    for options in (["--tenant", "other"], []):
        run_id = desk.finished(asks(), *options)["run_id"]
        assert (recalled(desk, run_id), search(desk, run_id)["searched"]) == ([], 0)
    assert recalled(desk, desk.finished(asks(), "--tenant", "acme")["run_id"]) == [ours]


def test_each_tenant_has_an_index_of_its_own(desk: Desk) -> None:
    for options in (["--tenant", "acme"], ["--tenant", "other"], []):
        desk.finished(asks(), *options)
    files = sorted(path.name for path in desk.home.iterdir() if ".recall" in path.name)
    assert len(files) == 3
    assert not any("acme" in name for name in files)


# --- the index --------------------------------------------------------------------------------------------------------


def test_an_index_that_is_lost_is_made_anew_from_the_ledger(desk: Desk) -> None:
    first = desk.finished(asks())["run_id"]
    desk.finished(asks("chairs"))
    (desk.home / "ledger.db.recall").unlink()
    assert recalled(desk, desk.finished(asks())["run_id"]) == [first]


def test_an_index_that_is_spoilt_fails_the_run_with_what_can_be_done(desk: Desk) -> None:
    desk.finished(asks())
    index = desk.home / "ledger.db.recall"
    index.write_bytes(b"spoilt " * 2_000)
    desk.write("intent.yaml", asks())
    done = desk.call("run", "intent.yaml", code=9)
    assert "it can be deleted, and is then made anew from the ledger" in done.stdout + done.stderr


# --- replay -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def pinned(desk: Desk) -> str:
    """A run that has recalled from a past that is pinned, after which the past has grown."""
    first = desk.finished(asks())
    run_id: str = desk.finished(asks(runs={first["run_id"]: first["ledger_head"]}))["run_id"]
    desk.finished(asks())
    return run_id


def test_a_pinned_past_is_deterministic(desk: Desk, pinned: str) -> None:
    told = search(desk, pinned)
    assert (told["replayability"], told["downgraded_from"], told["downgrade_reasons"]) == ("deterministic", None, [])


def test_a_pinned_past_is_recalled_again_to_the_same_bytes(desk: Desk, pinned: str) -> None:
    replayed = desk.json("replay", pinned, "--live")
    assert (replayed["equal"], replayed["live"]) == (True, True)
    assert len(recalled(desk, pinned)) == 1


def test_a_past_that_has_grown_is_not_asked_again_when_a_run_is_replayed(desk: Desk) -> None:
    desk.finished(asks())
    run_id = desk.finished(asks())["run_id"]
    desk.finished(asks())
    (desk.home / "ledger.db.recall").write_bytes(b"spoilt " * 2_000)
    assert desk.json("replay", run_id, "--live")["equal"]


def test_a_pinned_head_that_a_run_never_had_fails_the_run(desk: Desk) -> None:
    first = desk.finished(asks())
    size, _ = first["ledger_head"].split(":")
    desk.write("intent.yaml", asks(runs={first["run_id"]: f"{size}:{'00' * 32}"}))
    assert "the root" in desk.call("run", "intent.yaml", code=9).output


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"key": "seeds"}, "`key` differs from `for_each`"),
        ({"runs": {"past": "latest"}}, "size:root"),
        ({"policy": {"max_k": 3}}, "max_k"),
    ],
)
def test_a_recall_that_cannot_be_meant_is_refused_before_anything_runs(
    desk: Desk, changes: dict[str, Any], fault: str
) -> None:
    assert any(fault in line for line in desk.refused(asks(**changes)))
