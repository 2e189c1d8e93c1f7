"""The phases that look at what a repository consists of."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from converge_core.repository import Revision
from converge_plugins.repo_loop.contents import BoundariesConfig
from converge_plugins.repo_loop.globs import matcher
from converge_plugins.repo_loop.payloads import Report, Status
from tests.fakes.repository import FakeRepository
from tests.plugins.repo_loop.loop import README, Past, receipt, report, run, told


def look(phase: str, files: dict[str, bytes], revision: Revision | None = None, **config: Any) -> Report:
    return report(FakeRepository(files, revision), phase, **config)


@pytest.mark.parametrize(
    ("glob", "path", "meant"),
    [
        ("**", "a/b/c.py", True),
        ("*.py", "a.py", True),
        ("*.py", "b/a.py", False),
        ("**/*.py", "a.py", True),
        ("**/*.py", "a/b/c.py", True),
        ("src/**", "src/a/b", True),
        ("src/**", "src", False),
        ("src/**/x?.md", "src/x1.md", True),
        ("src/**/x?.md", "src/a/x12.md", False),
        ("a.b", "axb", False),
        ("[a]", "[a]", True),
    ],
)
def test_a_glob_means_paths(glob: str, path: str, meant: bool) -> None:
    assert matcher((glob,))(path) is meant


@given(st.text(st.characters(exclude_characters="*?"), min_size=1))
def test_a_glob_without_wildcards_means_itself_alone(path: str) -> None:
    assert matcher((path,))(path)
    assert not matcher((path,))(path + "x")
    assert not matcher(())(path)


def test_sources_tell_what_version_control_says() -> None:
    said = look("sources", {"a.py": b""}, Revision("c0ffee", frozenset({"a.py"}), ("b.py",)))

    assert said.status is Status.PASS
    assert said.evidence["version_control"] == {"changed": ("b.py",), "commit": "c0ffee", "tracked": 1}


def test_sources_that_must_be_clean_are_not() -> None:
    said = look("sources", {"a.py": b""}, Revision("c0ffee", frozenset(), ("a.py",)), clean=True)

    assert told(said) == ["a.py: differs from the commit"]


@pytest.mark.parametrize(
    ("revision", "issue"),
    [(None, "there is no version control"), (Revision(None, frozenset(), ()), "there is no commit yet")],
)
def test_sources_that_must_be_controlled_are_not(revision: Revision | None, issue: str) -> None:
    assert told(look("sources", {"a": b""}, revision, controlled=True)) == [issue]


def test_manifests_are_read() -> None:
    said = look(
        "manifests", {"pyproject.toml": b'[project]\nname = "it"\nversion = "1.2"', "package.json": b'{"name": "js"}'}
    )

    assert said.evidence == {
        "pyproject.toml": {"name": "it", "version": "1.2"},
        "package.json": {"name": "js", "version": None},
    }


def test_x25_a_repository_without_manifests_does_not_pass_for_it() -> None:
    assert told(look("manifests", README)) == ["there is no manifest"]


def test_a_manifest_that_cannot_be_parsed_fails() -> None:
    assert look("manifests", {"pyproject.toml": b"[project", "package.json": b"[1]"}).status is Status.FAIL


def test_the_objective_is_what_the_readme_begins_with() -> None:
    text = b"# Title\n\n[![badge](x)](y)\n\nIt *counts* the [beans](beans.md) of everybody.\n\nMore."

    assert look("objective", {"README.md": text}).evidence["objective"] == "It counts the beans of everybody."


def test_the_objective_may_be_stated_and_must_be_somewhere() -> None:
    assert look("objective", {}, objective="to count").evidence == {"objective": "to count"}
    assert told(look("objective", {"README.md": b"# Title"})) == ["nothing says what this is for"]


def test_retired_parts_are_listed_and_what_must_be_gone_is() -> None:
    files = {"legacy/a.py": b"", "src/old/b.py": b"", "src/c.py": b"", "tmp.bak": b""}

    said = look("retired", files, gone=["*.bak"])

    assert said.evidence["retired"] == {"legacy": 1, "src/old": 1}
    assert told(said) == ["tmp.bak: is to be gone"]
    assert look("retired", files).status is Status.PASS


def test_evidence_is_mapped_with_the_receipt_before() -> None:
    past = Past()
    past.keep(run(FakeRepository(README), {"use": "repo.docs"}))
    folder = FakeRepository({"results/a.json": b"{}", "results/empty.json": b""})

    said = report(folder, "evidence", past, files=["results/*.json"])
    missing = report(folder, "evidence", files=["absent/*"])

    assert said.evidence["receipt"] == {"run_id": "run-1", "hash": past.kept[0].hash}
    assert list(said.evidence["results/*.json"]) == ["results/a.json"]
    assert told(missing) == ["there is no evidence under absent/*"]


def test_what_crosses_a_boundary_is_found_by_line() -> None:
    rules = [{"files": ["core/**"], "never": r"^import os\b", "because": "the core touches no machine"}]
    files = {"core/a.py": b"x\nimport os\n", "cli/b.py": b"import os\n", "core/c.py": b"import ossuary\n"}

    said = look("boundaries", files, rules=rules)

    assert told(said) == ["core/a.py:2: crosses a boundary: the core touches no machine"]


def test_a_boundary_that_is_no_regular_expression_is_refused() -> None:
    with pytest.raises(ValidationError, match="is no regular expression"):
        BoundariesConfig.model_validate({"rules": [{"files": ["a"], "never": "("}]})


def test_ground_is_what_must_be_there() -> None:
    said = look("grounding", README, has=["README*", "LICENSE"])

    assert told(said) == ["there is no LICENSE"]
    assert said.evidence["found"]["README*"] == ("README.md",)


def test_measurements_are_held_against_their_limits() -> None:
    files = {"bench/results/latest.json": json.dumps({"run": {"ms": [5, 20.5]}, "ok": True}).encode()}

    good = look("benchmarks", files, at_most={"run.ms.1": 21}, at_least={"run.ms.0": 5})
    bad = look("benchmarks", files, at_most={"run.ms.1": 20, "run.kb": 1}, at_least={"run.ms.0": 6})

    assert (good.status, good.evidence["limits"]) == (Status.PASS, {"run.ms.1": 20.5, "run.ms.0": 5})
    assert told(bad) == ["run.ms.1 is 20.5, more than 20", "run.kb was not measured", "run.ms.0 is 5, less than 6"]


def test_x25_nothing_measured_is_no_pass() -> None:
    assert told(look("benchmarks", README)) == ["nothing was measured"]


def test_a_name_that_is_no_text_is_told_written_out() -> None:
    result = run(FakeRepository({**README, "b\udcff.py": b"x"}), {"use": "repo.retired", "with": {"gone": ["b*"]}})

    assert receipt(result).payload.reasons == ("repo.retired failed (1 issue)",)
