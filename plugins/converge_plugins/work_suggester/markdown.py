"""The text of a work spec, from what an issue says of itself: its files, its checklist, its test command.

Issues are written by anybody. Their words are quoted where they belong and never followed; a heading counts only where
it stands alone on its line, and what an issue does not say is said to be missing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from converge_plugins.work_suggester.issues import Issue
from converge_plugins.work_suggester.scores import IssueScore

PROBLEM_LENGTH = 500
FILES_HEADING, TEST_HEADING = "## Files to create", "## Test command"
NO_PROBLEM = "_(the issue has no text)_"
NO_FILES = "_(infer from issue body)_"
NO_CHECKLIST = "_No checklist items found in issue body._"
NO_TEST = "_(see issue body)_"
_PATH = re.compile(r"`((?:src|tests|apps)/[^`\s]+)`")
_PYTEST = re.compile(r"python -m pytest[^`]*")


def spec_of(issue: Issue, score: IssueScore) -> str:
    """Return the spec, in Markdown."""
    lines = issue.text.splitlines()
    files = "\n".join(files_of(lines)) or NO_FILES
    problem = issue.text[:PROBLEM_LENGTH].strip() + ("…" if len(issue.text) > PROBLEM_LENGTH else "")
    sections = {
        "Problem": "\n".join(f"> {line}".rstrip() for line in problem.splitlines()) or NO_PROBLEM,
        "Proposed implementation": files,
        "Files likely to change": files,
        "Acceptance criteria": "\n".join(line.strip() for line in lines if line.strip().startswith("- ["))
        or NO_CHECKLIST,
        "Test command": command_of(lines) or NO_TEST,
    }
    head = (
        f"# auto: {' '.join(issue.title.split())}\n\n"
        f"- Source: GitHub #{issue.number} — {issue.url or 'no link'}\n"
        f"- Score: {score.score:.4f}\n"
        f"- Stream: {score.stream or 'unspecified'}\n"
        f"- Generated: {issue.seen_at or 'unspecified'}\n"
    )
    return head + "".join(f"\n## {title}\n\n{text}\n" for title, text in sections.items())


def files_of(lines: Sequence[str]) -> list[str]:
    """Return the files as bullets: those under their heading, or the paths in back-ticks anywhere."""
    listed = [line.strip() for line in _under(FILES_HEADING, lines) if line.lstrip().startswith(("- ", "* "))]
    return listed or [f"- `{path}`" for path in dict.fromkeys(_PATH.findall("\n".join(lines)))]


def command_of(lines: Sequence[str]) -> str | None:
    """Return the first block of code under its heading, or else the first call of pytest, as a block."""
    fenced: list[str] | None = None
    for line in _under(TEST_HEADING, lines):
        if not line.lstrip().startswith("```"):
            if fenced is not None:
                fenced.append(line)
        elif fenced is None:
            fenced = []
        else:
            break
    command = "\n".join(fenced or ()).strip("\n")
    if not command:
        command = next((found[0].strip() for line in lines if (found := _PYTEST.search(line))), "")
    return f"```sh\n{command}\n```" if command else None


def _under(heading: str, lines: Sequence[str]) -> Sequence[str]:
    """Return the lines from a heading to the next one of its level or above; inside code there are no headings."""
    titles = [line.strip().lower() for line in lines]
    if heading.lower() not in titles:
        return ()
    start, fenced = titles.index(heading.lower()) + 1, False
    for place in range(start, len(lines)):
        if titles[place].startswith("```"):
            fenced = not fenced
        elif not fenced and titles[place].startswith(("# ", "## ")):
            return lines[start:place]
    return lines[start:]
