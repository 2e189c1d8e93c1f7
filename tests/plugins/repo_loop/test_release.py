"""The phases that look at what a release consists of."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from converge_adapters.repository import FolderRepository
from converge_core.repository import CommandResult
from converge_plugins.repo_loop.payloads import Report, Status
from converge_plugins.repo_loop.release import is_allowed
from tests.fakes.repository import FakeRepository
from tests.plugins.repo_loop.loop import README, report, told

PROJECT = b'[project]\nname = "it"\nversion = "1.2.0"\ndependencies = ["dep>=1; python_version > \'3\'", "other"]\n'


def look(phase: str, files: dict[str, bytes], **config: Any) -> Report:
    return report(FakeRepository(files), phase, **config)


def test_one_version_in_all_places_passes() -> None:
    files = {"pyproject.toml": PROJECT, "it.py": b'__version__ = "1.2.0"'}

    said = look("version", files, also={"it.py": r'__version__ = "(.*)"'})

    assert (said.status, said.evidence) == (Status.PASS, {"it.py": "1.2.0", "pyproject.toml": "1.2.0"})


@pytest.mark.parametrize(
    ("content", "issue"),
    [
        (b'__version__ = "1.3"', "several versions: it.py says 1.3, pyproject.toml says 1.2.0"),
        (b"nothing", "it.py: says no version"),
        (None, "it.py: is not there to say its version"),
    ],
)
def test_another_place_must_say_the_same_version(content: bytes | None, issue: str) -> None:
    files = {"pyproject.toml": PROJECT} | ({} if content is None else {"it.py": content})

    assert told(look("version", files, also={"it.py": r'__version__ = "(.*)"'})) == [issue]


def test_a_version_must_be_one_and_be_said() -> None:
    assert told(look("version", {"package.json": b'{"version": "soon"}'})) == ["package.json: 'soon' is no version"]
    assert told(look("version", README)) == ["no manifest says a version"]


@pytest.mark.parametrize("version", ["1", "1.2.3", "v2.0", "1.0rc1", "2.0.0-beta.1", "1.0.post2", "1.0.dev3+local.1"])
def test_the_usual_forms_of_a_version_are_known(version: str) -> None:
    assert look("version", {"package.json": json.dumps({"version": version}).encode()}).status is Status.PASS


@pytest.mark.parametrize(
    "text",
    [
        "# Changelog\n\n## 1.2.0 (soon)\n\n- new\n",
        "Changes\n=======\n\n1.2.0\n-----\n\n* new\n",
        "# C\n\n## [1.2.0]\n- x\n",
    ],
)
def test_a_changelog_tells_of_the_version(text: str) -> None:
    said = look("changelog", {"pyproject.toml": PROJECT, "CHANGELOG.md": text.encode()})

    assert (said.status, said.evidence["version"], said.evidence["lines"]) == (Status.PASS, "1.2.0", 1)


@pytest.mark.parametrize(
    ("text", "issue"),
    [
        ("# C\n\n## 1.1\n\n- old\n", "CHANGELOG.md: no heading tells of 1.2.0"),
        ("# C\n\n## 11.2.0\n\n- other\n", "CHANGELOG.md: no heading tells of 1.2.0"),
        ("# C\n\n## 1.2.0\n\n## 1.1\n\n- old\n", "CHANGELOG.md: nothing stands under '1.2.0'"),
    ],
)
def test_a_changelog_that_is_silent_about_the_version_fails(text: str, issue: str) -> None:
    assert told(look("changelog", {"pyproject.toml": PROJECT, "CHANGELOG.md": text.encode()})) == [issue]


@pytest.mark.parametrize(
    "text",
    ["# C\n\n## 1.2.0\n\n### Added\n\n- new\n\n## 1.1\n", "C\n===\n\nit 1.2.0\n========\n\n- new\n\nit 1.1\n======\n"],
)
def test_headings_below_that_of_a_version_belong_to_it(text: str) -> None:
    assert look("changelog", {"pyproject.toml": PROJECT, "CHANGES": text.encode()}).evidence["lines"] == 1


def test_headings_alone_tell_nothing() -> None:
    said = look("changelog", {"pyproject.toml": PROJECT, "CHANGES": b"# C\n\n## 1.2.0\n\n### Added\n"})

    assert told(said) == ["CHANGES: nothing stands under '1.2.0'"]


def test_without_a_version_the_newest_heading_with_one_counts_and_not_the_title() -> None:
    text = b"=======\nHistory\n=======\n\n2.0 (today)\n===========\n\n* new\n"

    assert look("changelog", {"HISTORY.rst": text}).evidence["heading"] == "2.0 (today)"


def test_a_changelog_must_be_there() -> None:
    assert told(look("changelog", {"pyproject.toml": PROJECT})) == ["there is no changelog"]


def test_links_are_followed_and_broken_ones_found_with_what_may_be_meant() -> None:
    text = b"[a](docs/a.md#part) [w](https://x.y/z) [s](#here) ![i](img/p.png)\n\n[b](b.md) [up](../out.md)\n"

    said = look(
        "docs", {"README.md": text, "docs/a.md": b"[r](../README.md) [d](.)", "docs/b.md": b"", "img/p.png": b""}
    )

    assert told(said) == ["README.md:3: links to b.md, which is not there"]
    assert said.issues[0].remedy == "link to docs/b.md"
    assert said.evidence["links"] == 6


def test_what_stands_in_code_is_no_link() -> None:
    text = b"```\n[x](nowhere.md)\n```\n\nas in `[y](nowhere.md)`\n"

    assert look("docs", {"README.md": text}).evidence["links"] == 0


def answer(**licences: str | None) -> CommandResult:
    """What the Python of a project would say of its dependencies."""
    told_of = {
        name.replace("_", "-"): None
        if licence is None
        else {"expression": licence, "text": "", "classifiers": [], "version": "1", "needs": []}
        for name, licence in licences.items()
    }
    return CommandResult(0, json.dumps(told_of), "", 1)


def test_licences_are_asked_for_and_held_against_what_is_allowed() -> None:
    folder = FakeRepository({"pyproject.toml": PROJECT}, commands={"python3": answer(dep="MIT", other="GPL-3.0-only")})

    said = report(folder, "licences", allowed=["MIT"])

    assert told(said) == ["other is under GPL-3.0-only"]
    assert folder.ran[0][0][-2:] == ("dep", "other")


def test_a_dependency_that_nothing_is_known_of_fails_unless_its_licence_is_accepted() -> None:
    folder = FakeRepository(
        {"pyproject.toml": PROJECT}, commands={"python3": answer(dep=None, other="MIT", deeper=None)}
    )

    assert told(report(folder, "licences", allowed=["MIT"])) == ["dep is not installed, so nothing says its licence"]
    assert report(folder, "licences", allowed=["MIT"], accepted={"dep": "MIT"}).status is Status.PASS


def test_licences_that_cannot_be_asked_for_fail() -> None:
    broken = FakeRepository(
        {"pyproject.toml": PROJECT}, commands={"python3": CommandResult(1, "", "no such module", 1)}
    )

    assert told(report(broken, "licences", allowed=["MIT"])) == ["python3 could not say: no such module"]
    assert told(look("licences", README, allowed=["MIT"])) == ["there is no manifest that lists any"]


def test_a_real_python_is_asked_for_what_is_installed(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\ndependencies = ["Pluggy>=1"]', encoding="utf-8")

    said = report(FolderRepository(tmp_path), "licences", allowed=["MIT"], python=[sys.executable])

    assert (said.status, said.evidence["licences"]) == (Status.PASS, {"pluggy": "MIT"})


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("MIT OR GPL-3.0-only", True),
        ("MIT AND GPL-3.0-only", False),
        ("(MIT OR GPL-3.0-only) AND BSD-3-Clause", True),
        ("(MIT OR BSD-3-Clause) AND GPL-3.0-only", False),
        ("GPL-3.0-only OR (MIT AND BSD-3-Clause)", True),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("(MIT", False),
        ("MIT MIT", False),
        ("", False),
    ],
)
def test_an_expression_is_allowed_if_it_can_be_satisfied(expression: str, allowed: bool) -> None:
    assert is_allowed(expression, ("MIT", "BSD-*", "Apache-2.0")) is allowed
