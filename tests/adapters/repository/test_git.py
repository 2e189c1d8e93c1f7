"""Version control: what git says, that nothing is written by asking it, and that its silence is an error."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from converge_adapters.repository import FolderRepository
from converge_adapters.repository.git import revision
from converge_core.repository import RepositoryError, Revision
from tests.adapters.repository.conftest import Git

pytestmark = pytest.mark.anyio


async def test_a_folder_without_version_control_has_no_revision(tmp_path: Path) -> None:
    assert await revision(tmp_path) is None


async def test_a_repository_without_a_commit_has_none(tmp_path: Path, git: Git) -> None:
    git("init", "-q")
    (tmp_path / "new").touch()

    assert await revision(tmp_path) == Revision(None, frozenset(), ("new",))


async def test_tracked_changed_untracked_and_ignored_are_told_apart(tmp_path: Path, git: Git) -> None:
    git("init", "-q")
    for name in ("same", "edited", "gone", "a b\nc"):
        (tmp_path / name).write_text("before", encoding="utf-8")
    (tmp_path / ".gitignore").write_text("out/\n*.log\n", encoding="utf-8")
    git("add", ".")
    git("commit", "-qm", "one")
    (tmp_path / "edited").write_text("after!", encoding="utf-8")
    (tmp_path / "gone").unlink()
    (tmp_path / "new/deep").mkdir(parents=True)
    (tmp_path / "new/deep/file").touch()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/x").touch()
    (tmp_path / "a.log").touch()

    found = await revision(tmp_path)

    assert found == Revision(
        git("rev-parse", "HEAD"),
        frozenset({"same", "edited", "gone", "a b\nc", ".gitignore"}),
        ("edited", "gone", "new/deep/file"),
        frozenset({"out/", "a.log"}),
    )


async def test_paths_are_relative_to_a_folder_inside_of_the_repository(tmp_path: Path, git: Git) -> None:
    git("init", "-q")
    (tmp_path / "sub/x").mkdir(parents=True)
    (tmp_path / "sub/x/new").touch()
    (tmp_path / "outside").touch()

    found = await revision(tmp_path / "sub")

    assert found is not None
    assert found.changed == ("x/new",)


async def test_a_folder_that_is_ignored_as_a_whole_is_on_its_own(tmp_path: Path, git: Git) -> None:
    git("init", "-q")
    (tmp_path / ".gitignore").write_text("build/\n", encoding="utf-8")
    (tmp_path / "build/deep").mkdir(parents=True)
    (tmp_path / "build/deep/file").touch()
    folder = FolderRepository(tmp_path / "build/deep")

    assert await folder.revision() is None
    assert [entry.path for entry in (await folder.walk()).files] == ["file"]


async def test_x19_an_error_of_git_is_an_error(tmp_path: Path) -> None:
    (tmp_path / ".git").write_text("gitdir: nowhere\n", encoding="utf-8")

    with pytest.raises(RepositoryError, match="git rev-parse"):
        await revision(tmp_path)
    with pytest.raises(RepositoryError):
        await FolderRepository(tmp_path).walk()


async def test_x19_a_repository_without_git_to_ask_is_an_error(
    tmp_path: Path, git: Git, monkeypatch: pytest.MonkeyPatch
) -> None:
    git("init", "-q")
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(RepositoryError, match="cannot be started"):
        await revision(tmp_path)


async def test_an_answer_that_is_too_long_is_an_error(
    tmp_path: Path, git: Git, monkeypatch: pytest.MonkeyPatch
) -> None:
    git("init", "-q")
    (tmp_path / ("n" * 200)).touch()
    monkeypatch.setattr("converge_adapters.repository.git.MAX_OUTPUT", 100)

    with pytest.raises(RepositoryError, match="more than 100 bytes"):
        await revision(tmp_path)


async def test_git_is_asked_about_this_folder_whatever_the_environment_says(
    tmp_path: Path, git: Git, monkeypatch: pytest.MonkeyPatch
) -> None:
    git("init", "-q")
    (tmp_path / "here").touch()
    monkeypatch.setenv("GIT_DIR", "/nowhere")

    found = await revision(tmp_path)

    assert found is not None
    assert found.changed == ("here",)


async def test_asking_writes_nothing_and_runs_nothing_of_the_repository(tmp_path: Path, git: Git) -> None:
    git("init", "-q")
    (tmp_path / "file").write_text("one", encoding="utf-8")
    git("add", ".")
    git("commit", "-qm", "one")
    witness = tmp_path.with_name(f"{tmp_path.name}-witness")
    git("config", "core.fsmonitor", f"touch {witness}")
    os.utime(tmp_path / "file", (1, 1))  # the index knows another time, and would be written anew
    index = (tmp_path / ".git/index").read_bytes()

    await revision(tmp_path)

    assert (tmp_path / ".git/index").read_bytes() == index
    assert not witness.exists()
