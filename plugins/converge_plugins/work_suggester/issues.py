"""``work.issues``: the open issues of a repository, once in a run.

    use: work.issues
    with: {file: issues.json, label: agent-task}

A file holds what ``gh issue list --json number,title,body,labels,url,createdAt`` prints. Without one that command is
run in the folder of the intent, and GitHub is asked. A source that cannot be read fails; that there are no issues is no
failure, and a diagnostic says how many there were. The source changes from day to day, so the stage is not
deterministic: what it read is in the ledger, and what follows is reckoned from that. So is the moment of the reading.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from converge_core import (
    AgentEffect,
    Context,
    ContextKey,
    DiagnosticPayload,
    FactPayload,
    ProposedFact,
    Replayability,
    Site,
    Suggestor,
    SuggestorError,
)
from converge_core.context.facts import AnyProposal
from converge_core.context.payloads import one_line
from converge_core.ledger.canonical import JsonValue, parse
from converge_core.ledger.events import printable
from converge_core.ports import FILES, TIME_OF_DAY
from converge_core.repository import REPOSITORY, Repository, RepositoryError

FIELDS = "number,title,body,labels,url,createdAt"
_NAMES = {"createdAt": "created_at", "body": "text"}


class Issue(FactPayload):
    """An open issue; moments are ISO 8601. A row as ``gh`` prints it is one, too."""

    family: ClassVar[str] = "converge.work.issue"

    number: int = Field(ge=1)
    title: str = Field(min_length=1)
    text: str = ""
    labels: tuple[str, ...] = ()
    url: str = ""
    created_at: str | None = None
    seen_at: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_github(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        row: dict[str, Any] = {_NAMES.get(str(name), str(name)): item for name, item in value.items()}
        row["text"] = row.get("text") or ""
        if isinstance(row.get("labels"), list | tuple):
            row["labels"] = tuple(label.get("name") if isinstance(label, Mapping) else label for label in row["labels"])
        return row

    def summary(self) -> str:
        return f"#{self.number} {self.title}"


class IssuesConfig(BaseModel):
    """Where the issues are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str | None = Field(
        default=None, min_length=1, description="A JSON file, relative to the intent; GitHub is asked, if absent."
    )
    repo: str | None = Field(
        default=None, pattern=r"^[\w.-]+/[\w.-]+$", description="`owner/name` on GitHub; that of the folder, if absent."
    )
    label: str | None = Field(default="agent-task", min_length=1, description="Only issues with this label; all.")
    limit: int = Field(default=100, ge=1, le=1000, description="The most issues.")
    timeout_ms: int = Field(default=30_000, ge=1, description="How long GitHub may take.")
    as_of: str | None = Field(
        default=None, min_length=1, description="The moment of the reading, ISO 8601; now, if absent."
    )
    key: ContextKey = Field(default=ContextKey.SEEDS, description="Where the issues are proposed.")

    @model_validator(mode="after")
    def _one_source(self) -> IssuesConfig:
        if self.file is not None and self.repo is not None:
            raise ValueError("give either `file` or `repo`")
        return self


def moment_of(now_ms: int) -> str:
    """Return a time of day, in milliseconds since 1970, as issues have theirs: UTC, ISO 8601, to the second."""
    return f"{datetime.fromtimestamp(now_ms // 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


class IssueSource(Suggestor):
    """Reads the issues, once. Raises LookupError where files, a repository or the time are not offered."""

    payloads = (Issue,)
    replayability = Replayability.BEST_EFFORT

    def __init__(self, config: IssuesConfig, site: Site) -> None:
        self.name = site.name
        self.writes = (config.key, ContextKey.DIAGNOSTIC)
        self.config = config.model_dump(mode="json")
        self._source = config
        self._files: Callable[[str], str] = site.port(FILES)
        self._repository: Repository = site.port(REPOSITORY)
        self._now = site.port(TIME_OF_DAY)

    def accepts(self, ctx: Context) -> bool:
        """Say whether the source has not been read yet."""
        return ctx.find(ContextKey.DIAGNOSTIC, self._told) is None

    async def execute(self, ctx: Context) -> AgentEffect:
        """Return the issues, and how many there were. Raises SuggestorError for a source that cannot be read."""
        text = await self._text()
        issues = list(self._read(text, self._source.as_of or moment_of(self._now())))
        wanted = [issue for issue in issues if self._source.label is None or self._source.label in issue.labels]
        wanted = wanted[: self._source.limit]
        message = f"{len(wanted)} of {len(issues)} issues of {self._place} are to be considered"
        proposals: list[AnyProposal] = [
            ProposedFact(ContextKey.DIAGNOSTIC, self._told, DiagnosticPayload(source=self.name, message=message))
        ]
        proposals += [ProposedFact(self._source.key, f"issue:{issue.number}", issue) for issue in wanted]
        return AgentEffect.with_proposals(proposals)

    @property
    def _told(self) -> str:
        return f"{self.name}:read"

    @property
    def _place(self) -> str:
        return self._source.file or self._source.repo or "the repository on GitHub"

    async def _text(self) -> str:
        if self._source.file is not None:
            try:
                return self._files(self._source.file)
            except LookupError as error:
                raise self._unreadable(str(error.args[0])) from error
        try:
            done = await self._repository.run(self._command(), self._source.timeout_ms)
        except RepositoryError as error:
            raise self._unreadable(f"GitHub's command line cannot be used: {error}") from error
        if done.timed_out:
            raise self._unreadable(f"gh gave no answer within {self._source.timeout_ms} ms")
        if done.exit_code:
            raise self._unreadable(f"gh failed ({done.exit_code}): {printable(done.stderr)}")
        return done.stdout

    def _command(self) -> list[str]:
        # Values are joined to their options, so that none of them can be taken for an option itself.
        given = {"repo": self._source.repo, "label": self._source.label}
        options = [f"--{name}={value}" for name, value in given.items() if value is not None]
        return ["gh", "issue", "list", "--state=open", f"--limit={self._source.limit}", f"--json={FIELDS}", *options]

    def _read(self, text: str, seen_at: str) -> Iterator[Issue]:
        try:
            rows: JsonValue = parse(text)
        except ValueError as error:
            raise self._unreadable(f"{self._place} is not JSON: {printable(str(error))}") from error
        if not isinstance(rows, list | tuple):
            raise self._unreadable(f"{self._place} is not a JSON list of issues")
        for place, row in enumerate(rows, 1):
            try:
                yield Issue.model_validate({"seen_at": seen_at, **row} if isinstance(row, Mapping) else row)
            except ValidationError as error:
                raise self._unreadable(f"{self._place}, issue {place} of the list: {one_line(error)}") from error

    def _unreadable(self, reason: str) -> SuggestorError:
        return SuggestorError(self.name, "no_source", reason)
