"""``work.issues``: what it reads, from where, and how it fails."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from converge_core import ContextKey, ContextState, ConvergeResult, Replayability
from converge_core.gates.stop import SuggestorFailed
from converge_core.repository import CommandResult
from converge_plugins.work_suggester.issues import Issue
from tests.fakes.repository import FakeRepository
from tests.plugins.work_suggester.stage import TODAY, run, source

ROW = {
    "number": 7,
    "title": "A slot is lost",
    "body": None,
    "labels": [{"name": "agent-task"}, {"name": "p1"}],
    "url": "https://example.org/7",
    "createdAt": "2026-10-30T08:00:00Z",
}
READ = Issue(
    number=7,
    title="A slot is lost",
    labels=("agent-task", "p1"),
    url="https://example.org/7",
    created_at="2026-10-30T08:00:00Z",
    seen_at=TODAY,
)


def rows(*changes: dict[str, Any]) -> str:
    return json.dumps([ROW | change for change in changes])


def issues(result: ConvergeResult) -> list[Issue]:
    assert result.converged, result.stop_reason
    return [fact.payload for fact in result.context.get(Issue)]


def read(text: str, **config: Any) -> ConvergeResult:
    return run(ContextState(), source({"file": "issues.json", **config}, files={"issues.json": text}))


def asked(answer: CommandResult | None = None, **config: Any) -> tuple[ConvergeResult, FakeRepository]:
    repository = FakeRepository(commands={} if answer is None else {"gh": answer})
    return run(ContextState(), source(config, repository=repository)), repository


def failure(result: ConvergeResult) -> str:
    assert isinstance(result.stop_reason, SuggestorFailed)
    assert not result.context.get(Issue)
    return result.stop_reason.message


def test_a_file_holds_what_gh_prints() -> None:
    assert issues(read(rows({}))) == [READ]


def test_an_issue_may_be_written_in_its_own_words() -> None:
    assert Issue.model_validate(READ.body()) == READ


def test_the_moment_of_the_reading_can_be_given() -> None:
    assert [one.seen_at for one in issues(read(rows({}), as_of="2026-01-01"))] == ["2026-01-01"]


def test_only_issues_with_the_label_are_taken_and_a_diagnostic_counts_them() -> None:
    result = read(rows({}, {"number": 8, "labels": []}, {"number": 9, "labels": [{"name": "p0"}]}))
    assert [one.number for one in issues(result)] == [7]
    [told] = result.context.get(ContextKey.DIAGNOSTIC)
    assert told.payload.summary() == "1 of 3 issues of issues.json are to be considered"
    assert len(issues(read(rows({}, {"number": 8, "labels": []}), label=None))) == 2


def test_no_more_issues_are_taken_than_the_limit() -> None:
    text = rows(*({"number": number} for number in range(1, 9)))
    assert [one.number for one in issues(read(text, limit=2))] == [1, 2]


def test_no_issues_are_no_failure_and_the_source_is_read_once() -> None:
    result = read("[]")
    assert (issues(result), result.cycles) == ([], 2)


def test_github_is_asked_by_a_command_whose_options_nobody_can_slip_in() -> None:
    result, repository = asked(
        CommandResult(0, rows({}), "", 5), repo="ann/house", label="--web", limit=3, timeout_ms=900
    )
    assert issues(result) == []
    [(command, timeout_ms)] = repository.ran
    assert command == (
        "gh",
        "issue",
        "list",
        "--state=open",
        "--limit=3",
        "--json=number,title,body,labels,url,createdAt",
        "--repo=ann/house",
        "--label=--web",
    )
    assert timeout_ms == 900


def test_what_github_answers_is_read_like_a_file() -> None:
    result, _ = asked(CommandResult(0, rows({}), "", 5))
    assert issues(result) == [READ]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "GitHub's command line cannot be used: gh: there is no such program"),
        (CommandResult(None, "", "", 900), "gh gave no answer within 30000 ms"),
        (CommandResult(4, "", "not\nlogged in", 5), "gh failed (4): not logged in"),
        (CommandResult(0, "[{", "", 5), "the repository on GitHub is not JSON"),
    ],
    ids=["no gh", "late", "refused", "torn"],
)
def test_s010_without_a_source_the_run_fails_and_says_why(answer: CommandResult | None, message: str) -> None:
    assert message in failure(asked(answer)[0])


def test_s010_a_file_that_is_not_there_is_named() -> None:
    result = run(ContextState(), source({"file": "issues.json"}))
    assert "(no_source): issues.json: No such file or directory" in failure(result)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"number": 7}', "issues.json is not a JSON list of issues"),
        (rows({}, {"number": 0}), "issues.json, issue 2 of the list: number: "),
        (rows({"labels": [3]}), "issue 1 of the list: labels.0: "),
        ("[7]", "issue 1 of the list: payload: "),
    ],
)
def test_a_row_that_is_no_issue_is_named_by_its_place(text: str, message: str) -> None:
    assert message in failure(read(text))


def test_a_file_and_github_exclude_each_other() -> None:
    with pytest.raises(ValidationError, match="give either `file` or `repo`"):
        source({"file": "issues.json", "repo": "ann/house"})


@pytest.mark.parametrize("repo", ["house", "ann/house/x", "--web", "ann/ho use"])
def test_a_repository_on_github_has_an_owner_and_a_name(repo: str) -> None:
    with pytest.raises(ValidationError):
        source({"repo": repo})


def test_what_changes_from_day_to_day_is_not_deterministic() -> None:
    assert source({}).replayability is Replayability.BEST_EFFORT
